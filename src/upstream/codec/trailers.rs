//! Trailer fields (RFC 9110 section 6.5): parsing, and which of them may be passed on.
//!
//! Fields that frame, route or authenticate must not be taken from a trailer section (section 6.5.1):
//! they are dropped both ways.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, header};

use super::fields;
use super::head::HeadError;

/// Most bytes of a trailer section.
pub const MOST_BYTES: usize = 16 * 1024;
/// Most fields of a trailer section.
pub const MOST_FIELDS: usize = 64;

/// Parses a trailer section, its empty line included; forbidden fields are dropped.
pub fn parse(section: &Bytes) -> Result<HeaderMap, HeadError> {
    let Some((mut trailers, end)) = fields::parse(section, 0, MOST_FIELDS)? else {
        return Err(HeadError::Field);
    };
    if end != section.len() {
        return Err(HeadError::Field);
    }
    for name in FORBIDDEN {
        trailers.remove(name);
    }
    Ok(trailers)
}

/// Writes the fields that may be passed on and the empty line that ends a chunked body.
pub fn write(trailers: &HeaderMap, out: &mut Vec<u8>) {
    for (name, value) in trailers {
        if !FORBIDDEN.contains(name) {
            out.extend_from_slice(name.as_str().as_bytes());
            out.extend_from_slice(b": ");
            out.extend_from_slice(value.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
    }
    out.extend_from_slice(b"\r\n");
}

const FORBIDDEN: &[HeaderName] = &[
    header::AUTHORIZATION,
    header::CACHE_CONTROL,
    header::CONNECTION,
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::CONTENT_RANGE,
    header::CONTENT_TYPE,
    header::COOKIE,
    header::EXPECT,
    header::HOST,
    header::LOCATION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::RANGE,
    header::SET_COOKIE,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::WWW_AUTHENTICATE,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forbidden_fields_are_dropped_both_ways() {
        let section = Bytes::from_static(b"Content-Length: 5\r\nX-Sum: 1\r\nHost: a\r\n\r\n");
        let trailers = parse(&section).unwrap();
        assert_eq!(trailers.len(), 1);
        let mut map = trailers;
        map.insert(header::TRANSFER_ENCODING, header::HeaderValue::from_static("chunked"));
        let mut out = Vec::new();
        write(&map, &mut out);
        assert_eq!(out, b"x-sum: 1\r\n\r\n");
    }

    #[test]
    fn malformed_sections_are_refused() {
        for section in
            [&b"A: b\n\n"[..], b"A: b\r\n folded\r\n\r\n", b"A : b\r\n\r\n", b"A: b\r\n", b"\0\r\n\r\n"]
        {
            assert!(parse(&Bytes::copy_from_slice(section)).is_err(), "{}", section.escape_ascii());
        }
        let many = Bytes::from(format!("{}\r\n", "a: b\r\n".repeat(MOST_FIELDS + 1)));
        assert_eq!(parse(&many).unwrap_err(), HeadError::TooManyFields);
    }
}
