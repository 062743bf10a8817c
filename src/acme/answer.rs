//! What an answer of a CA says beside its body. Pure.

use std::time::{Duration, SystemTime};

use http::header::{CONTENT_TYPE, DATE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::acme::moment::Moment;

/// What the last answer said beside its body; nothing when the request was not answered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// Its status.
    pub status: Option<StatusCode>,
    /// The earliest time at which the CA wants to hear of it again.
    pub retry_after: Option<Moment>,
    /// Its media type, as it was sent.
    pub content_type: String,
}

impl Seen {
    /// What `status` and `headers` say, which came at `now`.
    pub fn of(status: StatusCode, headers: &HeaderMap, now: SystemTime) -> Self {
        let content_type = headers.get(CONTENT_TYPE).map(|value| value.as_bytes());
        Self {
            status: Some(status),
            retry_after: retry_after(headers, now),
            content_type: String::from_utf8_lossy(content_type.unwrap_or_default()).into_owned(),
        }
    }

    /// Whether the body claims to be a page for people.
    pub fn is_page(&self) -> bool {
        self.content_type.to_ascii_lowercase().starts_with("text/html")
    }
}

/// Seconds or a date (RFC 9110 section 10.2.3).
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Moment> {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).map(str::trim);
    let value = text(RETRY_AFTER)?;
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than a number holds: as late as can be.
        return Some(Moment::of(now).after(Duration::from_secs(value.parse().unwrap_or(u64::MAX))));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    // By the CA's own clock where it tells it: ours may be wrong by hours.
    let theirs = text(DATE).and_then(|date| httpdate::parse_http_date(date).ok()).unwrap_or(now);
    Some(Moment::of(now).after(date.duration_since(theirs).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date_by_the_servers_clock() {
        let now = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let date = |after: u64| httpdate::fmt_http_date(now + Duration::from_secs(after));
        let asked = |value: &str, date: Option<&str>| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, value.parse().unwrap());
            date.map(|date| headers.insert(DATE, date.parse().unwrap()));
            retry_after(&headers, now).map(|at| at.since(Moment::of(now)).as_secs())
        };
        assert_eq!(asked(" 3 ", None), Some(3));
        assert_eq!(asked(&date(90), None), Some(90));
        assert_eq!(asked(&date(86_490), Some(&date(86_400))), Some(90));
        assert_eq!(asked(&date(0), Some(&date(60))), Some(0));
        assert!(asked("99999999999999999999999", None).is_some_and(|seconds| seconds > 1 << 32));
        for nonsense in ["", "-1", "soon", "1.5"] {
            assert_eq!(asked(nonsense, None), None, "{nonsense}");
        }
    }
}
