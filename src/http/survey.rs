//! One look over the headers of a request: it refuses what can be read in more than one way, and notes
//! which of the headers are there that somebody asks for later, so that nobody searches for them in vain.
//!
//! `Host` is only noted: `authority` judges it.

use http::{HeaderMap, Version};

use super::ambiguity::Ambiguity;
use super::edits::{is_odd, is_twin};

/// Which headers a request has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Survey {
    /// `Host`.
    pub host: bool,
    /// `Connection`; never in HTTP/2.
    pub connection: bool,
    /// `Upgrade`; never in HTTP/2.
    pub upgrade: bool,
    /// `Content-Length`.
    pub content_length: bool,
    /// `Expect`.
    pub expect: bool,
    /// `X-Request-ID`.
    pub request_id: bool,
    /// `Range` or a header whose name begins with `If-`: the answer may be a part, or none (RFC 9110 13, 14).
    pub conditional: bool,
}

impl Survey {
    /// Looks over the headers of a request.
    ///
    /// # Errors
    /// The first header that means different things to different readers.
    pub fn of(version: Version, headers: &HeaderMap) -> Result<Self, Ambiguity> {
        let http2 = version >= Version::HTTP_2;
        let (mut survey, mut encoding) = (Self::default(), false);
        for (name, value) in headers {
            let (name, value) = (name.as_str(), value.as_bytes());
            // The length decides nearly always, without a comparison.
            match name.len() {
                2 if http2 && name == "te" && !value.eq_ignore_ascii_case(b"trailers") => {
                    return Err(Ambiguity::ConnectionSpecific);
                }
                4 => survey.host |= name == "host",
                5 => survey.conditional |= name == "range",
                6 => survey.expect |= name == "expect",
                7 => survey.upgrade |= name == "upgrade",
                10 => survey.connection |= name == "connection",
                12 => survey.request_id |= name == "x-request-id",
                14 if name == "content-length" => {
                    check_length(value, survey.content_length)?;
                    survey.content_length = true;
                }
                17 if name == "transfer-encoding" => {
                    check_encoding(value, http2, encoding)?;
                    encoding = true;
                }
                _ => {}
            }
            survey.conditional |= name.starts_with("if-");
            if is_of_http1_alone(name) && http2 {
                return Err(Ambiguity::ConnectionSpecific);
            }
            if matches!(name.as_bytes()[0], b'c' | b't' | b'x') && is_odd(name) && is_twin_of_ours(name) {
                return Err(Ambiguity::Twin);
            }
        }
        let both = survey.content_length && encoding;
        if both { Err(Ambiguity::LengthWithEncoding) } else { Ok(survey) }
    }
}

fn check_length(value: &[u8], before: bool) -> Result<(), Ambiguity> {
    let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    if before || !digits { Err(Ambiguity::BadLength) } else { Ok(()) }
}

fn check_encoding(value: &[u8], http2: bool, before: bool) -> Result<(), Ambiguity> {
    if http2 {
        return Err(Ambiguity::ConnectionSpecific);
    }
    let chunked = value.trim_ascii().eq_ignore_ascii_case(b"chunked");
    if before || !chunked { Err(Ambiguity::BadEncoding) } else { Ok(()) }
}

/// What RFC 9113 8.2.2 forbids, beside `transfer-encoding`.
fn is_of_http1_alone(name: &str) -> bool {
    match name.len() {
        7 => name == "upgrade",
        10 => name == "connection" || name == "keep-alive",
        16 => name == "proxy-connection",
        _ => false,
    }
}

/// Whether an odd name reads like one that the edge sets or that frames a message.
fn is_twin_of_ours(odd: &str) -> bool {
    const OURS: [&str; 5] =
        ["x-request-id", "x-real-ip", "content-length", "transfer-encoding", "x-forwarded"];
    const PREFIX: &str = "x-forwarded-";
    let prefix = odd.get(..PREFIX.len()).unwrap_or_default();
    // Behind the prefix anything odd is a twin: which of these names a backend knows, nobody can tell.
    is_twin(prefix, PREFIX) || prefix == PREFIX || OURS.iter().any(|name| is_twin(odd, name))
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn survey(version: Version, lines: &[(&str, &str)]) -> Result<Survey, Ambiguity> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            let name: HeaderName = name.parse().expect("a name");
            headers.append(name, HeaderValue::from_bytes(value.as_bytes()).expect("a value"));
        }
        Survey::of(version, &headers)
    }

    fn verdict(version: Version, lines: &[(&str, &str)]) -> Result<(), Ambiguity> {
        survey(version, lines).map(drop)
    }

    #[test]
    fn what_is_there_is_noted() {
        let all = [
            ("host", "a"),
            ("connection", "upgrade"),
            ("upgrade", "x"),
            ("content-length", "0"),
            ("expect", "100-continue"),
            ("x-request-id", "1"),
            ("range", "bytes=0-"),
        ];
        let noted = survey(Version::HTTP_11, &all).expect("no ambiguity");
        let Survey { host, connection, upgrade, content_length, expect, request_id, conditional } = noted;
        assert!(host && connection && upgrade && content_length && expect && request_id && conditional);
        assert!(survey(Version::HTTP_2, &[("if-none-match", "*")]).expect("no ambiguity").conditional);
        let others =
            [("from", "a"), ("accept", "*"), ("referer", "a"), ("keep-alive", "a"), ("x-request-ix", "1")];
        assert_eq!(survey(Version::HTTP_11, &others), Ok(Survey::default()));
    }

    #[test]
    fn twins_of_ours_are_refused() {
        let twins = [
            "x_forwarded_for",
            "x-forwarded_for",
            "x.forwarded.for",
            "x-forwarded.host",
            "x_forwarded-anything",
            "x_request_id",
            "x_real_ip",
            "content_length",
            "transfer_encoding",
            "x_forwarded",
        ];
        for name in twins {
            assert_eq!(verdict(Version::HTTP_11, &[(name, "1")]), Err(Ambiguity::Twin), "{name}");
        }
        for name in ["x-forwarded-for", "x_custom", "x_forwardedfor", "a.b", "_"] {
            assert_eq!(verdict(Version::HTTP_11, &[(name, "1")]), Ok(()), "{name}");
        }
    }

    #[test]
    fn framing_that_can_be_read_in_two_ways_is_refused() {
        use Ambiguity::*;
        let table: [(&[(&str, &str)], _); 9] = [
            (&[("content-length", "5")], Ok(())),
            (&[("transfer-encoding", "Chunked")], Ok(())),
            (&[("content-length", "5"), ("content-length", "5")], Err(BadLength)),
            (&[("content-length", "5, 5")], Err(BadLength)),
            (&[("content-length", "+5")], Err(BadLength)),
            (&[("content-length", "")], Err(BadLength)),
            (&[("transfer-encoding", "gzip, chunked")], Err(BadEncoding)),
            (&[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")], Err(BadEncoding)),
            (&[("content-length", "5"), ("transfer-encoding", "chunked")], Err(LengthWithEncoding)),
        ];
        for (lines, expected) in table {
            assert_eq!(verdict(Version::HTTP_11, lines), expected, "{lines:?}");
        }
    }

    #[test]
    fn http2_has_no_headers_of_a_connection() {
        let refused = [
            ("connection", "close"),
            ("keep-alive", "x"),
            ("proxy-connection", "x"),
            ("upgrade", "x"),
            ("transfer-encoding", "chunked"),
            ("te", "gzip"),
        ];
        for line in refused {
            assert_eq!(verdict(Version::HTTP_2, &[line]), Err(Ambiguity::ConnectionSpecific), "{line:?}");
        }
        assert_eq!(verdict(Version::HTTP_2, &[("te", "trailers")]), Ok(()));
        assert_eq!(verdict(Version::HTTP_11, &[("te", "gzip"), ("upgrade", "x")]), Ok(()));
    }
}
