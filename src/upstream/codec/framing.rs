//! How long an answer's body is and whether its connection may carry another (RFC 9112 sections 6.3, 9.3).
//!
//! It reads header fields only; the bytes of a body are `chunked`'s.

use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderValue, StatusCode, Version};

/// What the request said that its answer's framing depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// The method was HEAD.
    pub head: bool,
    /// The request asked for an upgrade, so that 101 is an answer.
    pub upgrade: bool,
}

/// Where an answer's body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyLength {
    /// There is none.
    Empty,
    /// After so many bytes, at least 1.
    Exactly(u64),
    /// After the last chunk and its trailers.
    Chunked,
    /// Where the backend closes.
    UntilClose,
    /// Never: the connection belongs to another protocol from here on.
    Upgraded,
}

/// An answer's header fields that contradict each other or the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    /// RFC 9112 section 6.1: the smuggling pair.
    #[error("the answer has both transfer-encoding and content-length")]
    BothLengths,
    /// Anything but exactly one `chunked`.
    #[error("the answer has a transfer-encoding other than chunked")]
    TransferEncoding,
    /// RFC 9112 section 6.1: HTTP/1.0 has no transfer codings.
    #[error("the answer is HTTP/1.0 with a transfer-encoding")]
    OldChunked,
    /// Not plain digits, or more than 64 bits.
    #[error("the answer's content-length is not a number")]
    ContentLength,
    /// Two lines that disagree.
    #[error("the answer has several different content-lengths")]
    SeveralLengths,
    /// A 101 that nobody asked for, or without `Upgrade`.
    #[error("the answer switches protocols unasked")]
    Switching,
}

/// The length of the body of an answer.
///
/// Fields that frame this connection's bytes alone are taken out of `headers`: `Transfer-Encoding`
/// always, repeated equal `Content-Length` lines become one, and a 204 loses its `Content-Length` (RFC
/// 9110 section 8.6).
pub fn body_length(
    asked: Asked,
    version: Version,
    status: StatusCode,
    headers: &mut HeaderMap,
) -> Result<BodyLength, FramingError> {
    let chunked = transfer_encoding(version, headers)?;
    let length = content_length(headers)?;
    if chunked && length.is_some() {
        return Err(FramingError::BothLengths);
    }
    if status == StatusCode::SWITCHING_PROTOCOLS {
        headers.remove(CONTENT_LENGTH);
        let switches = asked.upgrade && headers.contains_key(UPGRADE) && version == Version::HTTP_11;
        return if switches { Ok(BodyLength::Upgraded) } else { Err(FramingError::Switching) };
    }
    if status == StatusCode::NO_CONTENT {
        headers.remove(CONTENT_LENGTH);
    }
    if asked.head || status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED {
        return Ok(BodyLength::Empty);
    }
    Ok(match (chunked, length) {
        (true, _) => BodyLength::Chunked,
        (false, Some(0)) => BodyLength::Empty,
        (false, Some(length)) => BodyLength::Exactly(length),
        (false, None) => BodyLength::UntilClose,
    })
}

/// Whether the connection stays open after this answer, as far as its head says.
pub fn keeps_open(version: Version, headers: &HeaderMap) -> bool {
    let says = |word: &str| headers.get_all(CONNECTION).iter().any(|line| has_token(line, word));
    match version {
        Version::HTTP_11 => !says("close"),
        _ => says("keep-alive") && !says("close"),
    }
}

/// Whether the answer is chunked; takes the header out.
fn transfer_encoding(version: Version, headers: &mut HeaderMap) -> Result<bool, FramingError> {
    if !headers.contains_key(TRANSFER_ENCODING) {
        return Ok(false);
    }
    let mut lines = headers.get_all(TRANSFER_ENCODING).iter();
    let first = lines.next().map(HeaderValue::as_bytes).unwrap_or_default();
    if lines.next().is_some() || !first.eq_ignore_ascii_case(b"chunked") {
        return Err(FramingError::TransferEncoding);
    }
    if version != Version::HTTP_11 {
        return Err(FramingError::OldChunked);
    }
    headers.remove(TRANSFER_ENCODING);
    Ok(true)
}

/// The length that all `Content-Length` lines agree on.
fn content_length(headers: &mut HeaderMap) -> Result<Option<u64>, FramingError> {
    let mut lines = headers.get_all(CONTENT_LENGTH).iter();
    let Some(first) = lines.next() else { return Ok(None) };
    let length = digits(first.as_bytes()).ok_or(FramingError::ContentLength)?;
    let mut several = false;
    for line in lines {
        several = true;
        if digits(line.as_bytes()).ok_or(FramingError::ContentLength)? != length {
            return Err(FramingError::SeveralLengths);
        }
    }
    if several {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    Ok(Some(length))
}

/// A number of digits alone: no sign, no space, no list.
fn digits(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u64, |sum, digit| {
        let digit = digit.checked_sub(b'0').filter(|digit| *digit < 10)?;
        sum.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

/// Whether a comma-separated field names `word`.
fn has_token(line: &HeaderValue, word: &str) -> bool {
    line.as_bytes()
        .split(|byte| *byte == b',')
        .any(|token| token.trim_ascii().eq_ignore_ascii_case(word.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Asked = Asked { head: false, upgrade: false };

    type Lines = &'static [(&'static str, &'static str)];

    fn map(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in lines {
            map.append(*name, HeaderValue::from_static(value));
        }
        map
    }

    fn length(
        asked: Asked,
        status: u16,
        lines: &[(&'static str, &'static str)],
    ) -> Result<BodyLength, FramingError> {
        body_length(asked, Version::HTTP_11, StatusCode::from_u16(status).unwrap(), &mut map(lines))
    }

    #[test]
    fn length_follows_rfc_9112_section_6_3() {
        let head = Asked { head: true, upgrade: false };
        let upgrade = Asked { head: false, upgrade: true };
        let cases: &[(Asked, u16, Lines, Result<BodyLength, FramingError>)] = &[
            (PLAIN, 200, &[("content-length", "5")], Ok(BodyLength::Exactly(5))),
            (PLAIN, 200, &[("content-length", "0")], Ok(BodyLength::Empty)),
            (PLAIN, 200, &[("content-length", "5"), ("content-length", "5")], Ok(BodyLength::Exactly(5))),
            (
                PLAIN,
                200,
                &[("content-length", "5"), ("content-length", "6")],
                Err(FramingError::SeveralLengths),
            ),
            (PLAIN, 200, &[("content-length", "5, 5")], Err(FramingError::ContentLength)),
            (PLAIN, 200, &[("content-length", "+5")], Err(FramingError::ContentLength)),
            (PLAIN, 200, &[("content-length", "")], Err(FramingError::ContentLength)),
            (PLAIN, 200, &[("content-length", "18446744073709551616")], Err(FramingError::ContentLength)),
            (PLAIN, 200, &[("transfer-encoding", "Chunked")], Ok(BodyLength::Chunked)),
            (PLAIN, 200, &[("transfer-encoding", "gzip, chunked")], Err(FramingError::TransferEncoding)),
            (PLAIN, 200, &[("transfer-encoding", "identity")], Err(FramingError::TransferEncoding)),
            (
                PLAIN,
                200,
                &[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")],
                Err(FramingError::TransferEncoding),
            ),
            (
                PLAIN,
                200,
                &[("transfer-encoding", "chunked"), ("content-length", "5")],
                Err(FramingError::BothLengths),
            ),
            (
                head,
                200,
                &[("transfer-encoding", "chunked"), ("content-length", "5")],
                Err(FramingError::BothLengths),
            ),
            (PLAIN, 200, &[], Ok(BodyLength::UntilClose)),
            (PLAIN, 204, &[("content-length", "5")], Ok(BodyLength::Empty)),
            (PLAIN, 304, &[("content-length", "5")], Ok(BodyLength::Empty)),
            (head, 200, &[("content-length", "5")], Ok(BodyLength::Empty)),
            (head, 200, &[("transfer-encoding", "chunked")], Ok(BodyLength::Empty)),
            (PLAIN, 101, &[("upgrade", "websocket")], Err(FramingError::Switching)),
            (upgrade, 101, &[], Err(FramingError::Switching)),
            (upgrade, 101, &[("upgrade", "websocket")], Ok(BodyLength::Upgraded)),
            (upgrade, 200, &[("content-length", "5")], Ok(BodyLength::Exactly(5))),
        ];
        for (asked, status, lines, expected) in cases {
            assert_eq!(length(*asked, *status, lines), *expected, "{status} {lines:?}");
        }
    }

    #[test]
    fn old_version_cannot_be_chunked() {
        let mut headers = map(&[("transfer-encoding", "chunked")]);
        let length = body_length(PLAIN, Version::HTTP_10, StatusCode::OK, &mut headers);
        assert_eq!(length, Err(FramingError::OldChunked));
    }

    #[test]
    fn length_of_a_304_or_head_stays_and_that_of_a_204_goes() {
        let cases = [(200, true, true), (304, false, true), (204, false, false)];
        for (status, head, stays) in cases {
            let mut headers = map(&[("content-length", "7")]);
            let status = StatusCode::from_u16(status).unwrap();
            body_length(Asked { head, upgrade: false }, Version::HTTP_11, status, &mut headers).unwrap();
            assert_eq!(headers.contains_key(CONTENT_LENGTH), stays, "{status}");
        }
    }

    #[test]
    fn connection_stays_open_by_version_and_words() {
        let cases: &[(Version, Lines, bool)] = &[
            (Version::HTTP_11, &[], true),
            (Version::HTTP_11, &[("connection", "x"), ("connection", "foo , Close")], false),
            (Version::HTTP_11, &[("connection", "closed")], true),
            (Version::HTTP_10, &[], false),
            (Version::HTTP_10, &[("connection", "Keep-Alive")], true),
            (Version::HTTP_10, &[("connection", "keep-alive, close")], false),
        ];
        for (version, lines, expected) in cases {
            assert_eq!(keeps_open(*version, &map(lines)), *expected, "{version:?} {lines:?}");
        }
    }
}
