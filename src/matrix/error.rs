//! Matrix error bodies (client-server API, "Standard error response").
//!
//! Only the bytes: status, CORS and `Retry-After` are the reply's.

use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;

/// `errcode` for what has none of its own.
pub const UNKNOWN: &str = "M_UNKNOWN";
/// `errcode` of an endpoint that is not there.
pub const UNRECOGNIZED: &str = "M_UNRECOGNIZED";
/// `errcode` of a 429.
pub const LIMIT_EXCEEDED: &str = "M_LIMIT_EXCEEDED";
/// `errcode` of a 413.
pub const TOO_LARGE: &str = "M_TOO_LARGE";
/// `errcode` of a 403.
pub const FORBIDDEN: &str = "M_FORBIDDEN";

#[derive(Serialize)]
struct Body<'a> {
    errcode: &'a str,
    error: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
}

/// The body of an error answer; `retry_after` belongs to `M_LIMIT_EXCEEDED` alone.
pub fn body(errcode: &str, text: &str, retry_after: Option<Duration>) -> Bytes {
    // Rounded up: who comes back then is not early.
    let millis = |wait: Duration| u64::try_from(wait.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
    let body = Body { errcode, error: text, retry_after_ms: retry_after.map(millis) };
    // Strings and one number always serialise.
    serde_json::to_vec(&body).map_or_else(|_| Bytes::from_static(b"{}"), Bytes::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn body_is_what_the_specification_says() {
        assert_eq!(body(UNKNOWN, "home is away", None), r#"{"errcode":"M_UNKNOWN","error":"home is away"}"#);
        assert_eq!(
            body(LIMIT_EXCEEDED, "slow down", Some(Duration::from_secs(5))),
            r#"{"errcode":"M_LIMIT_EXCEEDED","error":"slow down","retry_after_ms":5000}"#
        );
    }

    #[test]
    fn text_is_escaped() {
        let bytes = body(UNKNOWN, "a \"b\"\n\u{1}", None);
        let value: serde_json::Value = serde_json::from_slice(&bytes).expect("JSON");
        assert_eq!(value["error"], "a \"b\"\n\u{1}");
    }
}
