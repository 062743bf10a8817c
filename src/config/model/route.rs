//! Routes and what is done with the requests that they take.

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, StatusCode};

use super::{Access, HeaderEdits};

/// One route: a path and what is done with requests for it and for what is below it.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    /// Starts with `/`. It matches itself and, on a segment edge, everything below it.
    pub path: Arc<str>,
    /// What is done.
    pub action: Action,
    /// Replaces the site's.
    pub access: Option<Access>,
    /// Beside the site's; they win over them.
    pub headers: HeaderEdits,
}

/// What is done with a request.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// The Matrix discovery documents, below `/.well-known/matrix/`.
    WellKnown(Arc<WellKnown>),
    /// Sent to an upstream.
    Forward(Forward),
    /// Answered with a `Location`.
    Redirect(Redirect),
    /// Answered with fixed bytes.
    Respond(Respond),
    /// Refused.
    Deny,
    /// Answered from a folder.
    Files(Files),
}

/// Discovery documents, as JSON bytes ready to send; `None` is a 404.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WellKnown {
    /// `/.well-known/matrix/server`.
    pub server: Option<Bytes>,
    /// `/.well-known/matrix/client`.
    pub client: Option<Bytes>,
    /// `/.well-known/matrix/support`.
    pub support: Option<Bytes>,
}

/// Forwarding to an upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forward {
    /// Name of the upstream; it exists.
    pub upstream: Arc<str>,
    /// Prefix that is cut off the path, without trailing slash; never under `/_matrix`.
    pub strip: Option<Arc<str>>,
    /// 503, or 429 for operators behind a CDN that marks 503 as down.
    pub unavailable_status: StatusCode,
    /// Whether requests wait while the upstream is away; `None`: those of Matrix do, others do not.
    pub park: Option<bool>,
}

impl Forward {
    /// A target without the prefix that is cut off; always a path.
    pub fn stripped<'a>(&self, target: &'a str) -> Cow<'a, str> {
        let rest = self.strip.as_deref().and_then(|prefix| target.strip_prefix(prefix));
        let Some(rest) = rest else { return target.into() };
        if rest.starts_with('/') { rest.into() } else { format!("/{rest}").into() }
    }
}

/// A redirect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redirect {
    /// Where to: an absolute URL or a path.
    pub to: Arc<str>,
    /// Whether path and query of the request are appended to `to`.
    pub keep_path: bool,
    /// 301, 302, 303, 307 or 308.
    pub status: StatusCode,
}

/// A fixed answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Respond {
    /// Its status.
    pub status: StatusCode,
    /// Its body.
    pub body: Bytes,
    /// Its content type.
    pub content_type: HeaderValue,
}

/// A folder of files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// The folder.
    pub root: PathBuf,
    /// Names tried in a directory, in this order.
    pub index: Vec<Arc<str>>,
    /// Whether a directory without an index is listed.
    pub listing: bool,
    /// Element Web's cache and security headers.
    pub element: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stripped_target_stays_a_path_and_keeps_its_bytes() {
        let table = [
            ("/livekit/jwt/sfu/get?a=%2F", Some("/livekit/jwt"), "/sfu/get?a=%2F"),
            ("/livekit/jwt", Some("/livekit/jwt"), "/"),
            ("/livekit/jwt?x=1", Some("/livekit/jwt"), "/?x=1"),
            ("/_matrix/x", None, "/_matrix/x"),
        ];
        for (target, prefix, expected) in table {
            let strip = prefix.map(Arc::from);
            let unavailable_status = StatusCode::SERVICE_UNAVAILABLE;
            let forward = Forward { upstream: "home".into(), strip, unavailable_status, park: None };
            assert_eq!(forward.stripped(target), expected, "{target}");
        }
    }
}
