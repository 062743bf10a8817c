//! Listeners and the TLS settings that they share.

use serde::{Deserialize, Deserializer, Serialize};

use crate::config::decode::{At, scalar_or_map};
use crate::config::scalar::address::{BindAddress, Net};
use crate::config::scalar::name::Pattern;
use crate::config::scalar::web::FilePath;

/// One listener. Written for a name that the preset has (`https`, `federation`, `http`), its keys replace
/// the preset's one by one.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields, expecting = "a map with `bind` and `tls`")]
pub struct Listener {
    /// Addresses and ports. `[::]` is IPv6 alone: write `0.0.0.0` beside it. An entry may also be a map
    /// with `address` and `best_effort`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bind: Option<At<Vec<At<Bind>>>>,
    /// Whether it speaks TLS. Default: false (true for the preset's `https` and `federation`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<bool>,
    /// The PROXY protocol (version 1 or 2) of a balancer in front of this listener.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy_protocol: Option<ProxyProtocol>,
}

/// One address of a listener.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(untagged)]
pub enum Bind {
    /// The address alone: an error at start when it can't be bound.
    Address(BindAddress),
    /// The address with more to say.
    Detailed(DetailedBind),
}

/// An address with more to say.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "a map with `address` and `best_effort`")]
pub struct DetailedBind {
    /// The address and port.
    pub address: BindAddress,
    /// True: only a warning when it can't be bound, as with the preset's own `[::]`.
    #[serde(default)]
    pub best_effort: bool,
}

impl Bind {
    /// The address.
    pub fn address(&self) -> BindAddress {
        match self {
            Self::Address(address) => *address,
            Self::Detailed(bind) => bind.address,
        }
    }

    /// Whether a failure is a warning only.
    pub fn best_effort(&self) -> bool {
        matches!(self, Self::Detailed(DetailedBind { best_effort: true, .. }))
    }
}

impl<'de> Deserialize<'de> for Bind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expecting = "an address like `0.0.0.0:443`, or a map with `address`";
        scalar_or_map(deserializer, expecting, Self::Address, Self::Detailed)
    }
}

/// The PROXY protocol of a balancer in front.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "a map with `from`")]
pub struct ProxyProtocol {
    /// Addresses or networks of the balancers: they must send the header, all others must not.
    pub from: At<Vec<Net>>,
}

/// Certificates and TLS settings of all TLS listeners.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields, expecting = "a map with `certificates`")]
pub struct Tls {
    /// The least TLS version that is accepted: "1.2" or "1.3".
    pub min_version: TlsVersion,
    /// Certificates from files. The first one is shown to clients that name no host, or an unknown one.
    pub certificates: Vec<At<Certificate>>,
    /// True: a local CA signs what no certificate covers. For development: browsers don't trust it.
    pub internal_ca: bool,
}

/// A TLS version.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246) and newer.
    #[default]
    #[serde(rename = "1.2")]
    Tls12,
    /// TLS 1.3 (RFC 8446) alone.
    #[serde(rename = "1.3")]
    Tls13,
}

impl<'de> Deserialize<'de> for TlsVersion {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = TlsVersion;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("\"1.2\" or \"1.3\"")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<TlsVersion, E> {
                match text {
                    "1.2" => Ok(TlsVersion::Tls12),
                    "1.3" => Ok(TlsVersion::Tls13),
                    _ => Err(E::unknown_variant(text, &["1.2", "1.3"])),
                }
            }

            // Without quotes YAML reads a number; what is meant is plain.
            fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<TlsVersion, E> {
                self.visit_str(&number.to_string())
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// A certificate chain and its key, as PEM files.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "a map with `cert` and `key`")]
pub struct Certificate {
    /// Hosts it is for. Default: those that the certificate names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<At<Pattern>>,
    /// The chain, the host's own certificate first.
    pub cert: FilePath,
    /// The private key.
    pub key: FilePath,
}
