//! The `matrix` section.

use std::fmt;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::{Deserialize, Deserializer, Serialize};

use crate::config::decode::At;
use crate::config::scalar::address::Net;
use crate::config::scalar::name::{Home, Host, ServerName};
use crate::config::scalar::web::{FilePath, UnavailableStatus};

/// One homeserver, or several.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(untagged)]
pub enum Homeservers {
    /// The usual one.
    One(Box<Homeserver>),
    /// Several on one edge.
    Several(Vec<Homeserver>),
}

impl Homeservers {
    /// All of them.
    pub fn list(&self) -> &[Homeserver] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Several(several) => several,
        }
    }

    /// All of them, to change.
    pub(crate) fn list_mut(&mut self) -> &mut [Homeserver] {
        match self {
            Self::One(one) => std::slice::from_mut(one),
            Self::Several(several) => several,
        }
    }
}

impl<'de> Deserialize<'de> for Homeservers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Homeservers;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map with `server_name` and `home`, or a list of such maps")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, access: A) -> Result<Homeservers, A::Error> {
                let one = Homeserver::deserialize(MapAccessDeserializer::new(access))?;
                Ok(Homeservers::One(Box::new(one)))
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, access: A) -> Result<Homeservers, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(access)).map(Homeservers::Several)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// One homeserver.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "a map with `server_name` and `home`")]
pub struct Homeserver {
    /// The name in user ids and room names: `example.com` of `@me:example.com`.
    pub server_name: At<ServerName>,
    /// Where clients and other servers connect. Default: `server_name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<At<Host>>,
    /// Where Synapse is: its address (`10.77.0.2:8008`), or the name of an upstream.
    pub home: At<Home>,
    /// False: the website of `server_name` lives elsewhere. porchd then has no site for it and needs no
    /// certificate; `porchd check` prints the documents that must be put there.
    #[serde(default = "yes")]
    pub serve_server_name: bool,
    /// False: no listener on 8448.
    #[serde(default = "yes")]
    pub federation: bool,
    /// The documents below `/.well-known/matrix/`.
    #[serde(default)]
    pub well_known: WellKnown,
    /// Element Web, from a folder, on a host of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub element: Option<Element>,
    /// Who may reach `/_synapse/admin`. Default: nobody.
    #[serde(default)]
    pub admin_api: AdminApi,
    /// The status of answers while home is away: 503, or 429 behind a CDN that marks 503 as down.
    #[serde(default = "unavailable")]
    pub unavailable_status: UnavailableStatus,
}

fn yes() -> bool {
    true
}

fn unavailable() -> UnavailableStatus {
    UnavailableStatus(http::StatusCode::SERVICE_UNAVAILABLE)
}

impl Homeserver {
    /// Where clients and other servers connect.
    pub fn host(&self) -> At<Host> {
        let default = || At::made(self.server_name.value.host.clone(), self.server_name.place);
        self.host.clone().unwrap_or_else(default)
    }
}

/// A JSON object, written as YAML.
pub type Json = serde_json::Map<String, serde_json::Value>;

/// The discovery documents.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields, expecting = "a map with `server`, `client` and `support`")]
pub struct WellKnown {
    /// `m.server`, for other servers. Default: the host and port 443. `false`: 404, for delegation by SRV
    /// records or plain 8448.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<Delegation>,
    /// Keys that are merged into the document for clients.
    pub client: Json,
    /// The document with contacts of the administrators. Default: 404.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub support: Option<Json>,
}

/// What `/.well-known/matrix/server` says.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(untagged)]
pub enum Delegation {
    /// A host, usually with its port.
    To(ServerName),
    /// Nothing: 404. (`true` is the default.)
    Flag(bool),
}

impl<'de> Deserialize<'de> for Delegation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Delegation;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a host and port like `matrix.example.com:443`, or `false`")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Delegation, E> {
                text.parse().map(Delegation::To).map_err(E::custom)
            }

            fn visit_bool<E>(self, flag: bool) -> Result<Delegation, E> {
                Ok(Delegation::Flag(flag))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// Element Web.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "a map with `host` and `root`")]
pub struct Element {
    /// Its own host, never the homeserver's (Element's security note).
    pub host: At<Host>,
    /// The folder it was unpacked into.
    pub root: FilePath,
}

/// Access to Synapse's admin API.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields, expecting = "a map with `allow`")]
pub struct AdminApi {
    /// Addresses or networks that may use it.
    pub allow: Vec<At<Net>>,
}
