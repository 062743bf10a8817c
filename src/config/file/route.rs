//! Routes: a path and the one thing that is done with it.

use serde::{Deserialize, Deserializer, Serialize};

use crate::config::decode::At;
use crate::config::file::site::{Access, Headers};
use crate::config::scalar::name::{Name, ServerName};
use crate::config::scalar::web::{
    AnswerStatus, FieldValue, FileName, FilePath, RedirectStatus, Target, UrlPath,
};

/// One route: `path` and exactly one of `well_known`, `forward`, `redirect`, `respond`, `deny`, `files`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "a route: a map with `path` and what is done with it")]
pub struct Route {
    /// The path itself and everything below it.
    pub path: At<UrlPath>,
    /// True: the Matrix discovery documents of the homeserver whose host this is; or the name of a
    /// homeserver.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub well_known: Option<At<Discovery>>,
    /// Requests go to the upstream of this name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forward: Option<At<Name>>,
    /// With `forward`: cut off from the front of the path. Refused below `/_matrix`: signatures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strip: Option<At<UrlPath>>,
    /// With `forward`: whether requests wait while the upstream is away. Default: those of Matrix do, others
    /// do not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub park: Option<At<bool>>,
    /// The client is sent elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redirect: Option<At<Redirect>>,
    /// A fixed answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub respond: Option<At<Respond>>,
    /// True: refused, as if nothing were there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deny: Option<At<bool>>,
    /// Files from a folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<At<Files>>,
    /// Who may use it; replaces the site's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<Access>,
    /// Header changes beside the site's; they win over them.
    #[serde(default, skip_serializing_if = "Headers::is_empty")]
    pub headers: Headers,
}

impl Route {
    /// A route without anything to do yet.
    pub(crate) fn at(path: At<UrlPath>) -> Self {
        Self {
            path,
            well_known: None,
            forward: None,
            strip: None,
            park: None,
            redirect: None,
            respond: None,
            deny: None,
            files: None,
            access: None,
            headers: Headers::default(),
        }
    }
}

/// Whose discovery documents.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(untagged)]
pub enum Discovery {
    /// True: the homeserver's whose host this is.
    Own(bool),
    /// The homeserver's of this name.
    Of(ServerName),
}

impl<'de> Deserialize<'de> for Discovery {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Discovery;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("`true`, or a homeserver's `server_name`")
            }

            fn visit_bool<E>(self, flag: bool) -> Result<Discovery, E> {
                Ok(Discovery::Own(flag))
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Discovery, E> {
                text.parse().map(Discovery::Of).map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// A redirect.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "a map such as { to: \"https://example.com/\", status: 301 }")]
pub struct Redirect {
    /// Where to: an absolute URL, or a path of the same host.
    pub to: Target,
    /// `path`: path and query of the request are appended to `to`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep: Option<Keep>,
    /// 301 and 308 are for good, 302, 303 and 307 for now. Default: 302.
    #[serde(default = "found")]
    pub status: RedirectStatus,
}

fn found() -> RedirectStatus {
    RedirectStatus(http::StatusCode::FOUND)
}

/// What of the request a redirect keeps.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Keep {
    /// Path and query.
    Path,
}

/// A fixed answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields, expecting = "a map such as { status: 200, body: \"text\" }")]
pub struct Respond {
    /// Its status. Default: 200.
    pub status: AnswerStatus,
    /// Its body. Default: empty.
    pub body: String,
    /// Its content type. Default: text/plain; charset=utf-8.
    #[serde(rename = "type")]
    pub content_type: FieldValue,
}

impl Default for Respond {
    fn default() -> Self {
        Self {
            status: AnswerStatus(http::StatusCode::OK),
            body: String::new(),
            content_type: FieldValue(http::HeaderValue::from_static("text/plain; charset=utf-8")),
        }
    }
}

/// A folder of files.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "a map such as { root: /var/www/site }")]
pub struct Files {
    /// The folder. The whole path of the request is looked up in it.
    pub root: FilePath,
    /// Names tried in a folder, in this order. Default: [ index.html ].
    #[serde(default = "index")]
    pub index: Vec<FileName>,
    /// True: a folder without index is listed.
    #[serde(default)]
    pub listing: bool,
    /// True: the cache and security headers that Element Web wants.
    #[serde(default)]
    pub element: bool,
}

pub(crate) fn index() -> Vec<FileName> {
    vec![FileName("index.html".into())]
}
