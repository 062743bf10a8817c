//! Certificates by ACME: where they are ordered and how control over names is proved.

use std::fmt;

use serde::de::value::SeqAccessDeserializer;
use serde::de::{self, IntoDeserializer, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::config::decode::{At, scalar_or_map};
use crate::config::model::acme as model;
use crate::config::scalar::acme::{Contact, DirectoryUrl, Label};
use crate::config::scalar::web::FilePath;
use crate::config::tree::Place;

/// Certificates that porchd orders and renews by itself (ACME, RFC 8555), one for each site on a TLS
/// listener, for its hosts that no file in `tls.certificates` covers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "a map with `contact`")]
pub struct Acme {
    /// One e-mail address for the CA to write to. Writing it states that you agree to the terms of service
    /// of every CA that is named here.
    pub contact: At<Contact>,
    /// The CA: `letsencrypt`, `letsencrypt-staging` (for trials: browsers don't trust it), `zerossl` (needs
    /// `external_account`) or the https URL of a directory. Default: letsencrypt.
    #[serde(default = "letsencrypt")]
    pub directory: At<Directory>,
    /// PEM file of the CA to trust when `directory` is asked, instead of the public ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<FilePath>,
    /// How control over a name is proved, tried in this order: `http-01` (on port 80) and `tls-alpn-01` (on
    /// port 443), one or a list. Default: both.
    #[serde(default = "both")]
    pub challenge: At<Challenges>,
    /// The profile to ask `directory` for, such as Let's Encrypt's `shortlived` (six days). Default: the
    /// CA's own choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<Label>,
    /// The keys of certificates, a new one for each: p256, p384 or rsa2048. Default: p256.
    #[serde(default)]
    pub key_type: KeyType,
    /// An account at the CA that exists already (external account binding). It is for `directory`, and for
    /// `zerossl` among the fallbacks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_account: Option<At<ExternalAccount>>,
    /// CAs to turn to, in this order, while those before cannot be reached or refuse: names or URLs as in
    /// `directory`, or maps that say more.
    #[serde(default)]
    pub fallback: Vec<At<Fallback>>,
    /// What becomes of a site's other names when one can't be proved: `leave-out` (they get a certificate
    /// without it, until it works) or `wait`. Default: leave-out.
    #[serde(default)]
    pub failing_name: FailingName,
}

fn letsencrypt() -> At<Directory> {
    At::made(Directory::Word(KnownCa::LetsEncrypt), Place::ROOT)
}

fn both() -> At<Challenges> {
    let both = [Challenge::Http01, Challenge::TlsAlpn01];
    At::made(Challenges(both.map(|challenge| At::made(challenge, Place::ROOT)).into()), Place::ROOT)
}

/// Where certificates are ordered.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(untagged)]
pub enum Directory {
    /// A CA that is known by its name.
    Word(KnownCa),
    /// Any other.
    Url(DirectoryUrl),
}

/// A CA that is known by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum KnownCa {
    /// Let's Encrypt.
    #[serde(rename = "letsencrypt")]
    LetsEncrypt,
    /// Let's Encrypt's other one, for trials.
    #[serde(rename = "letsencrypt-staging")]
    LetsEncryptStaging,
    /// ZeroSSL.
    #[serde(rename = "zerossl")]
    ZeroSsl,
}

impl KnownCa {
    /// Its name and the URL of its directory.
    pub(crate) fn facts(self) -> (&'static str, &'static str) {
        match self {
            Self::LetsEncrypt => ("letsencrypt", model::LETSENCRYPT),
            Self::LetsEncryptStaging => ("letsencrypt-staging", model::LETSENCRYPT_STAGING),
            Self::ZeroSsl => ("zerossl", model::ZEROSSL),
        }
    }
}

impl Directory {
    /// The URL.
    pub(crate) fn url(&self) -> &str {
        match self {
            Self::Word(known) => known.facts().1,
            Self::Url(url) => &url.0,
        }
    }

    /// Whether an account must exist there beforehand; `None`: only the CA knows.
    pub(crate) fn needs_account(&self) -> Option<bool> {
        match self.url() {
            model::ZEROSSL => Some(true),
            model::LETSENCRYPT | model::LETSENCRYPT_STAGING => Some(false),
            _ => None,
        }
    }
}

impl fmt::Display for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Word(known) => f.write_str(known.facts().0),
            Self::Url(url) => url.fmt(f),
        }
    }
}

impl<'de> Deserialize<'de> for Directory {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const KNOWN: &[&str] =
            &["letsencrypt", "letsencrypt-staging", "zerossl", "https://ca.example/directory"];
        let text = String::deserialize(deserializer)?;
        match text.as_str() {
            "letsencrypt" => Ok(Self::Word(KnownCa::LetsEncrypt)),
            "letsencrypt-staging" => Ok(Self::Word(KnownCa::LetsEncryptStaging)),
            "zerossl" => Ok(Self::Word(KnownCa::ZeroSsl)),
            url if url.contains([':', '/']) => url.parse().map(Self::Url).map_err(de::Error::custom),
            other => Err(de::Error::unknown_variant(other, KNOWN)),
        }
    }
}

/// A way to prove control over a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Challenge {
    /// A document on port 80 (RFC 8555 section 8.3).
    #[serde(rename = "http-01")]
    Http01,
    /// A certificate in a TLS handshake on port 443 (RFC 8737).
    #[serde(rename = "tls-alpn-01")]
    TlsAlpn01,
}

/// Ways to prove control, written as one word or as a list.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Challenges(pub Vec<At<Challenge>>);

impl<'de> Deserialize<'de> for Challenges {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrList;
        impl<'de> Visitor<'de> for OneOrList {
            type Value = Challenges;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`http-01` or `tls-alpn-01`, or a list of both")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Challenges, E> {
                let one = Challenge::deserialize(text.into_deserializer())?;
                Ok(Challenges(vec![At::made(one, Place::ROOT)]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, access: A) -> Result<Challenges, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(access)).map(Challenges)
            }
        }
        deserializer.deserialize_any(OneOrList)
    }
}

#[cfg(test)]
impl schemars::JsonSchema for Challenges {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Challenges".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let one = generator.subschema_for::<Challenge>();
        schemars::json_schema!({ "anyOf": [one, { "type": "array", "items": one, "minItems": 1 }] })
    }
}

/// The kind of a certificate's key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum KeyType {
    /// ECDSA on P-256.
    #[default]
    P256,
    /// ECDSA on P-384.
    P384,
    /// RSA of 2048 bits.
    Rsa2048,
}

/// What becomes of a site's other names when one can't be proved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum FailingName {
    /// They get a certificate without it, until it works.
    #[default]
    LeaveOut,
    /// They wait for it.
    Wait,
}

/// An account at the CA that exists already (RFC 8555 section 7.3.4).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "a map with `key_id` and `key_file`")]
pub struct ExternalAccount {
    /// The CA's name for the key.
    pub key_id: Label,
    /// A file with the key itself (the HMAC key), base64url as the CA hands it out.
    pub key_file: FilePath,
}

/// A CA to turn to when those before it don't answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(untagged)]
pub enum Fallback {
    /// The CA alone.
    Directory(Directory),
    /// The CA with more to say.
    Detailed(DetailedFallback),
}

/// A fallback with more to say.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "a map with `directory`")]
pub struct DetailedFallback {
    /// The CA, as in `acme.directory`.
    pub directory: At<Directory>,
    /// PEM file of the CA to trust when it is asked, instead of the public ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<FilePath>,
    /// The profile to ask it for. Default: the CA's own choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<Label>,
    /// An account that exists there already. Default for `zerossl`: that of `acme` itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_account: Option<At<ExternalAccount>>,
}

impl At<Fallback> {
    /// With every key.
    pub(crate) fn detailed(&self) -> DetailedFallback {
        match &self.value {
            Fallback::Detailed(fallback) => fallback.clone(),
            Fallback::Directory(directory) => DetailedFallback {
                directory: At::made(directory.clone(), self.place),
                ca_file: None,
                profile: None,
                external_account: None,
            },
        }
    }
}

impl<'de> Deserialize<'de> for Fallback {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expecting = "a CA like `zerossl`, its URL, or a map with `directory`";
        scalar_or_map(deserializer, expecting, Self::Directory, Self::Detailed)
    }
}
