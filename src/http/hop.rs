//! Which headers belong to one connection alone (RFC 9110 7.6.1), and the lists that name them.
//!
//! Shared by both directions in `headers`.

use http::HeaderName;
use http::header::{
    CONNECTION, HeaderMap, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE,
};

/// Headers that never go further than one hop, named in `Connection` or not.
///
/// Beside RFC 9110 7.6.1: `proxy-connection` (RFC 9112 C.2.2), the credentials for a proxy (RFC 9110 11.7:
/// none of ours), `http2-settings` (RFC 7540 3.2.1) and `transfer-encoding` (RFC 9112 6.1).
pub(crate) static HOP_BY_HOP: [HeaderName; 9] = [
    CONNECTION,
    TRANSFER_ENCODING,
    UPGRADE,
    TE,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("http2-settings"),
];

/// The place of `name` in `HOP_BY_HOP`; the length decides nearly always.
#[inline]
pub(crate) fn hop_by_hop(name: &str) -> Option<usize> {
    let (word, at) = match name.len() {
        2 => ("te", 3),
        7 => ("upgrade", 2),
        10 if name.as_bytes()[0] == b'k' => ("keep-alive", 6),
        10 => ("connection", 0),
        14 => ("http2-settings", 8),
        16 => ("proxy-connection", 7),
        17 => ("transfer-encoding", 1),
        18 => ("proxy-authenticate", 4),
        19 => ("proxy-authorization", 5),
        _ => return None,
    };
    (name == word).then_some(at)
}

/// The tokens of all Connection lines, as written, without empty ones.
pub(crate) fn connection_tokens(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    headers.get_all(CONNECTION).into_iter().flat_map(|line| tokens(line.as_bytes()))
}

/// The members of a comma-separated list, without empty ones (RFC 9110 5.6.1).
pub(crate) fn tokens(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|token| !token.is_empty())
}

/// The headers that Connection lines name, beyond those that are dropped anyhow.
///
/// Nobody can name away what the message can't do without: then it would mean something else behind the
/// edge than before it. Such tokens are passed over.
pub(crate) struct Nominated<'a> {
    headers: &'a HeaderMap,
    any: bool,
}

impl<'a> Nominated<'a> {
    pub(crate) fn of(headers: &'a HeaderMap) -> Self {
        let any = connection_tokens(headers).any(|token| !is_usual(token));
        Self { headers, any }
    }

    /// Whether any token is unusual at all.
    pub(crate) fn any(&self) -> bool {
        self.any
    }

    /// Whether a Connection line names `name` (lower case). Nearly always decided without a look.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.any
            && !is_protected(name)
            && connection_tokens(self.headers).any(|token| token.eq_ignore_ascii_case(name.as_bytes()))
    }
}

/// Tokens that name no header beyond those that are dropped anyhow.
fn is_usual(token: &[u8]) -> bool {
    const USUAL: [&[u8]; 4] = [b"keep-alive", b"close", b"upgrade", b"te"];
    USUAL.iter().any(|usual| token.eq_ignore_ascii_case(usual))
}

/// What framing, routing and authorisation stand on.
fn is_protected(name: &str) -> bool {
    const PROTECTED: [&str; 12] = [
        "host",
        "content-length",
        "content-type",
        "content-encoding",
        "content-range",
        "authorization",
        "cookie",
        "set-cookie",
        "cache-control",
        "trailer",
        "x-request-id",
        "strict-transport-security",
    ];
    PROTECTED.contains(&name) || name.starts_with("x-forwarded-")
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn connection(lines: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(CONNECTION, HeaderValue::from_str(line).expect("a value"));
        }
        headers
    }

    #[test]
    fn every_hop_by_hop_header_is_found_at_its_place() {
        for (at, name) in HOP_BY_HOP.iter().enumerate() {
            assert_eq!(hop_by_hop(name.as_str()), Some(at), "{name}");
        }
        for name in ["", "connectio", "keep-alivf", "connections", "trailer", "content-length", "host"] {
            assert_eq!(hop_by_hop(name), None, "{name}");
        }
    }

    #[test]
    fn all_lines_and_tokens_count() {
        let headers = connection(&["close, X-One", " x-two ,,\tX-THREE"]);
        let nominated = Nominated::of(&headers);
        for name in ["x-one", "x-two", "x-three"] {
            assert!(nominated.has(name), "{name}");
        }
        assert!(!nominated.has("x-four") && !nominated.has("x"));
    }

    #[test]
    fn usual_tokens_cost_no_search() {
        let headers = connection(&["Keep-Alive, Upgrade", "close, TE"]);
        assert!(!Nominated::of(&headers).any());
    }

    #[test]
    fn nobody_names_away_what_the_message_stands_on() {
        let headers = connection(&["host, content-length, x-forwarded-for, x-request-id, authorization"]);
        let nominated = Nominated::of(&headers);
        for name in ["host", "content-length", "x-forwarded-for", "x-request-id", "authorization"] {
            assert!(!nominated.has(name), "{name}");
        }
    }
}
