//! Sites: what is served under which hosts.

use serde::{Deserialize, Serialize};

use crate::config::decode::At;
use crate::config::file::route::Route;
use crate::config::scalar::address::Net;
use crate::config::scalar::name::{Name, Pattern};
use crate::config::scalar::quantity::Time;
use crate::config::scalar::web::{Field, FieldValue, FilePath};

/// One site. With a host that `matrix` serves too, the two are one site.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "a site: a map with `hosts` and `routes`")]
pub struct Site {
    /// Its hosts. `*.example.com` (in quotes) stands for every host one label below.
    pub hosts: At<Vec<At<Pattern>>>,
    /// Names of the listeners that it is on. Default: every TLS listener. On the others its hosts are
    /// redirected to https.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listeners: Option<At<Vec<At<Name>>>>,
    /// Strict-Transport-Security: browsers use https alone for this site.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hsts: Option<At<Hsts>>,
    /// Header changes on all its routes.
    #[serde(default, skip_serializing_if = "Headers::is_empty")]
    pub headers: Headers,
    /// Who may use it, where a route says nothing else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<Access>,
    /// Folder with pages for errors that porchd itself answers: 404.html, 50x.html.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_pages: Option<FilePath>,
    /// What is done with which paths, in any order: the exact path wins, then the longest prefix.
    #[serde(default)]
    pub routes: Vec<At<Route>>,
}

/// HTTP Strict Transport Security.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields, expecting = "a map such as { max_age: 365d, subdomains: true }")]
pub struct Hsts {
    /// How long browsers remember. Default: 365d.
    pub max_age: Time,
    /// Also for all hosts below this one.
    pub subdomains: bool,
    /// Consent to the lists that are built into browsers: needs `subdomains` and 365d.
    pub preload: bool,
}

impl Default for Hsts {
    fn default() -> Self {
        Self {
            max_age: Time(std::time::Duration::from_secs(365 * 86_400)),
            subdomains: false,
            preload: false,
        }
    }
}

/// Header changes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields, expecting = "a map with `response` and `request`")]
pub struct Headers {
    /// On responses to clients.
    #[serde(skip_serializing_if = "Edits::is_empty")]
    pub response: Edits,
    /// On requests to backends.
    #[serde(skip_serializing_if = "Edits::is_empty")]
    pub request: Edits,
}

impl Headers {
    /// Whether nothing is changed.
    pub fn is_empty(&self) -> bool {
        self.response.is_empty() && self.request.is_empty()
    }
}

/// Headers to set and to remove.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields, expecting = "a map with `set` and `remove`")]
pub struct Edits {
    /// Name and value; replaces what is there.
    #[cfg_attr(test, schemars(with = "std::collections::BTreeMap<String, FieldValue>"))]
    #[serde(serialize_with = "as_map", deserialize_with = "from_map")]
    pub set: Vec<(At<Field>, FieldValue)>,
    /// Names; removed before others are set.
    pub remove: Vec<Field>,
}

impl Edits {
    /// Whether nothing is changed.
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.remove.is_empty()
    }
}

fn as_map<S: serde::Serializer>(set: &[(At<Field>, FieldValue)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(set.iter().map(|(name, value)| (name, value)))
}

fn from_map<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<(At<Field>, FieldValue)>, D::Error> {
    struct Visitor;
    impl<'de> serde::de::Visitor<'de> for Visitor {
        type Value = Vec<(At<Field>, FieldValue)>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a map from header names to values")
        }

        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(Vec::new())
        }

        fn visit_map<A: serde::de::MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
            let mut set = Vec::new();
            while let Some(entry) = access.next_entry()? {
                set.push(entry);
            }
            Ok(set)
        }
    }
    deserializer.deserialize_map(Visitor)
}

/// Who may use a site or a route, by client address. Deny wins.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields, expecting = "a map with `allow` and `deny`")]
pub struct Access {
    /// Addresses or networks that are refused.
    pub deny: Vec<Net>,
    /// Addresses or networks that alone are let in; empty: everybody.
    pub allow: Vec<Net>,
}
