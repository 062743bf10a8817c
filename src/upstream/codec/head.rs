//! The head of an answer: status line and header fields (RFC 9112 sections 4 and 5).
//!
//! Header values are slices of the one buffer that was read.

use bytes::Bytes;
use http::{HeaderMap, StatusCode, Version};

use super::fields;
use super::framing::{self, Asked, BodyLength, FramingError};

/// Most bytes of a head.
pub const MOST_BYTES: usize = 64 * 1024;
/// Most header fields of a head.
pub const MOST_FIELDS: usize = 128;
/// Most interim (1xx) answers before a final one.
pub const MOST_INTERIM: u32 = 16;

/// The head of an answer.
#[derive(Debug)]
pub struct Head {
    /// Its status; 1xx only as 101 to a request that asked for an upgrade.
    pub status: StatusCode,
    /// HTTP/1.0 or HTTP/1.1.
    pub version: Version,
    /// Its fields, without `Transfer-Encoding`.
    pub headers: HeaderMap,
    /// Where its body ends.
    pub length: BodyLength,
    /// Whether the connection stays open afterwards, as far as the head says.
    pub keeps_open: bool,
}

/// What the bytes so far are.
#[derive(Debug)]
pub enum Parsed {
    /// The beginning of a head.
    Partial,
    /// A head, and its length in bytes.
    Complete(Head, usize),
    /// An interim (1xx) answer of that many bytes, to be skipped.
    Interim(usize),
}

/// Bytes that are not the head of an HTTP/1.x answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// Not HTTP, HTTP/2 or later, or a status line of another form.
    #[error("the answer does not begin with an HTTP/1.x status line")]
    StatusLine,
    /// A field with a bad name, a control character, a folded line or a bare CR or LF.
    #[error("the answer has a malformed header field")]
    Field,
    /// More than `MOST_BYTES`.
    #[error("the answer's head is longer than 64 KiB")]
    TooLong,
    /// More than `MOST_FIELDS`.
    #[error("the answer has more than 128 header fields")]
    TooManyFields,
    /// More than `MOST_INTERIM`.
    #[error("the answer is preceded by too many interim ones")]
    TooManyInterim,
    /// Fields that leave the body's length in doubt.
    #[error(transparent)]
    Framing(#[from] FramingError),
}

/// Parses the head at the start of `buf`.
///
/// A head is judged again from its start when more bytes have come, so callers ask only after a new
/// line end: `MOST_FIELDS` then bounds the work.
pub fn parse(buf: &Bytes, asked: Asked) -> Result<Parsed, HeadError> {
    let parsed = if buf.len() > MOST_BYTES {
        complete(&buf.slice(..MOST_BYTES), asked)?
    } else {
        complete(buf, asked)?
    };
    match parsed {
        Some(parsed) => Ok(parsed),
        None if buf.len() >= MOST_BYTES => Err(HeadError::TooLong),
        None => Ok(Parsed::Partial),
    }
}

/// Parses a head that may be the whole of `buf`; `None`: it has not ended.
fn complete(buf: &Bytes, asked: Asked) -> Result<Option<Parsed>, HeadError> {
    // RFC 9112 section 2.2 lets servers skip empty lines before a request; before an answer they are
    // leftovers of another one.
    if !b"HTTP/1.".iter().zip(buf.iter()).all(|(wanted, got)| wanted == got) {
        return Err(HeadError::StatusLine);
    }
    let Some(line) = fields::line(buf)? else { return Ok(None) };
    let (version, status) = status_line(line)?;
    let Some((mut headers, used)) = fields::parse(buf, line.len() + 2, MOST_FIELDS)? else { return Ok(None) };
    if status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(Some(Parsed::Interim(used)));
    }
    let length = framing::body_length(asked, version, status, &mut headers)?;
    let keeps_open = length != BodyLength::UntilClose && framing::keeps_open(version, &headers);
    Ok(Some(Parsed::Complete(Head { status, version, headers, length, keeps_open }, used)))
}

/// `HTTP/1.1 200` or `HTTP/1.1 200 any words` (RFC 9112 section 4); the words are not used.
fn status_line(line: &[u8]) -> Result<(Version, StatusCode), HeadError> {
    let version = match line.get(..9) {
        Some(b"HTTP/1.1 ") => Version::HTTP_11,
        Some(b"HTTP/1.0 ") => Version::HTTP_10,
        _ => return Err(HeadError::StatusLine),
    };
    let (code, words) = line[9..].split_at_checked(3).ok_or(HeadError::StatusLine)?;
    let is_text = |byte: &u8| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f);
    if !words.iter().all(is_text) || !matches!(words.first(), None | Some(b' ')) {
        return Err(HeadError::StatusLine);
    }
    let status = StatusCode::from_bytes(code).map_err(|_| HeadError::StatusLine)?;
    Ok((version, status))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    const PLAIN: Asked = Asked { head: false, upgrade: false };

    fn judge(text: &[u8]) -> Result<Parsed, HeadError> {
        parse(&Bytes::copy_from_slice(text), PLAIN)
    }

    #[test]
    fn head_is_read_in_place() {
        let buf =
            Bytes::from_static(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-A: b\xe9c\r\nX-A:\r\n\r\nhi");
        let Ok(Parsed::Complete(head, used)) = parse(&buf, PLAIN) else { panic!("not complete") };
        assert_eq!(used, buf.len() - 2);
        assert_eq!(head.length, BodyLength::Exactly(2));
        assert!(head.keeps_open);
        let values: Vec<_> = head.headers.get_all("x-a").iter().map(HeaderValue::as_bytes).collect();
        assert_eq!(values, [&b"b\xe9c"[..], b""]);
        let range = buf.as_ptr_range();
        assert!(range.contains(&head.headers["x-a"].as_bytes().as_ptr()));
    }

    #[test]
    fn reason_may_be_missing() {
        for text in ["HTTP/1.1 200\r\n\r\n", "HTTP/1.1 200 \r\n\r\n", "HTTP/1.0 200 Fine so\r\n\r\n"] {
            assert!(matches!(judge(text.as_bytes()), Ok(Parsed::Complete(..))), "{text:?}");
        }
    }

    #[test]
    fn every_beginning_of_a_head_is_partial() {
        let text = b"HTTP/1.1 404 Not Found\r\nServer: x\r\nContent-Length: 0\r\n\r\n";
        for end in 0..text.len() {
            assert!(matches!(judge(&text[..end]), Ok(Parsed::Partial)), "{end}");
        }
        assert!(matches!(judge(text), Ok(Parsed::Complete(..))));
    }

    #[test]
    fn malformed_heads_are_refused() {
        let cases: &[(&[u8], HeadError)] = &[
            (b"hello", HeadError::StatusLine),
            (b"\r\nHTTP/1.1 200 OK\r\n\r\n", HeadError::StatusLine),
            (b"HTTP/2 200\r\n\r\n", HeadError::StatusLine),
            (b"HTTP/1.2 200 OK\r\n\r\n", HeadError::StatusLine),
            (b"HTTP/1.1 20 OK\r\n\r\n", HeadError::StatusLine),
            (b"HTTP/1.1 099 OK\r\n\r\n", HeadError::StatusLine),
            (b"HTTP/1.1  200 OK\r\n\r\n", HeadError::StatusLine),
            (b"HTTP/1.1 200 O\0K\r\n\r\n", HeadError::StatusLine),
            (b"HTTP/1.1 200 OK\n\n", HeadError::Field),
            (b"HTTP/1.1 200 OK\r\nA: b\nC: d\r\n\r\n", HeadError::Field),
            (b"HTTP/1.1 200 OK\r\nA: b\rC: d\r\n\r\n", HeadError::Field),
            (b"HTTP/1.1 200 OK\r\nA: b\r\n folded\r\n\r\n", HeadError::Field),
            (b"HTTP/1.1 200 OK\r\n A: b\r\n\r\n", HeadError::Field),
            (b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n", HeadError::Field),
            (b"HTTP/1.1 200 OK\r\nA: \0\r\n\r\n", HeadError::Field),
            (b"HTTP/1.1 200 OK\r\n: b\r\n\r\n", HeadError::Field),
            (b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n", HeadError::Field),
            (b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n", HeadError::Framing(FramingError::Switching)),
        ];
        for (text, expected) in cases {
            assert_eq!(judge(text).unwrap_err(), *expected, "{}", text.escape_ascii());
        }
    }

    #[test]
    fn interim_answers_are_skipped() {
        let text = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\n\r\n";
        let Ok(Parsed::Interim(used)) = judge(text) else { panic!("not interim") };
        assert!(matches!(judge(&text[used..]), Ok(Parsed::Complete(..))));
    }

    #[test]
    fn limits_are_the_documented_ones() {
        let fields = |count: usize| format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(count));
        assert!(matches!(judge(fields(MOST_FIELDS).as_bytes()), Ok(Parsed::Complete(..))));
        assert_eq!(judge(fields(MOST_FIELDS + 1).as_bytes()).unwrap_err(), HeadError::TooManyFields);
        let long = format!("HTTP/1.1 200 OK\r\nA: {}\r\n\r\n", "a".repeat(MOST_BYTES));
        assert_eq!(judge(long.as_bytes()).unwrap_err(), HeadError::TooLong);
    }

    proptest! {
        #[test]
        fn any_bytes_are_judged_without_panic(tail in proptest::collection::vec(any::<u8>(), 0..300), http: bool) {
            let mut text = if http { b"HTTP/1.1 200 OK\r\n".to_vec() } else { Vec::new() };
            text.extend(tail);
            if let Ok(Parsed::Complete(_, used) | Parsed::Interim(used)) = judge(&text) {
                prop_assert!(used <= text.len());
                prop_assert!(text[..used].ends_with(b"\r\n\r\n"));
            }
        }

        #[test]
        fn cutting_never_changes_the_judgement(
            lines in proptest::collection::vec("[A-Za-z]{1,8}:[ -~]{0,12}", 0..6), cut in 0_usize..200,
        ) {
            let text = format!("HTTP/1.1 200 OK\r\n{}\r\n", lines.iter().map(|l| format!("{l}\r\n")).collect::<String>());
            let whole = judge(text.as_bytes());
            let cut = cut.min(text.len() - 1);
            if whole.is_ok() {
                prop_assert!(matches!(judge(&text.as_bytes()[..cut]), Ok(Parsed::Partial)));
            }
        }
    }
}
