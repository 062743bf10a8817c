//! Escaping for log lines: what a client sent can't end a line, close a quote or steer a terminal.

use std::io::Write;

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Appends `bytes` with everything but printable ASCII, and quotes and backslashes, as `\xNN`.
pub fn escaped(out: &mut Vec<u8>, bytes: &[u8]) {
    for &byte in bytes {
        match byte {
            b' '..=b'~' if byte != b'"' && byte != b'\\' => out.push(byte),
            _ => hex(out, byte),
        }
    }
}

/// Appends `bytes` as a value of `key=value`: like `escaped`, and blanks can't make it two fields.
pub fn token(out: &mut Vec<u8>, bytes: &[u8]) {
    if bytes.is_empty() {
        return out.push(b'-');
    }
    for &byte in bytes {
        match byte {
            b'!'..=b'~' if byte != b'"' && byte != b'\\' => out.push(byte),
            _ => hex(out, byte),
        }
    }
}

/// Appends `text` as a JSON string (RFC 8259 section 7), with its quotes.
pub fn json(out: &mut Vec<u8>, text: &str) {
    // Neither the serialisation of a string nor a write to a Vec can fail.
    let _ = serde_json::to_writer(&mut *out, text);
}

/// Appends header bytes as a JSON string; what is not UTF-8 becomes U+FFFD.
pub fn json_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    json(out, &String::from_utf8_lossy(bytes));
}

/// Appends text for people: control characters escaped, further lines indented.
///
/// The indent keeps a block together and keeps a forged line from looking like one of ours.
pub fn block(out: &mut Vec<u8>, text: &str) {
    let text = text.trim_end_matches('\n');
    for (n, part) in text.split('\n').enumerate() {
        if n > 0 {
            out.extend_from_slice(b"\n    ");
        }
        for c in part.chars() {
            match c {
                '\t' => out.push(b'\t'),
                c if c.is_control() => {
                    let _ = write!(out, "{}", c.escape_default());
                }
                c => {
                    let _ = write!(out, "{c}");
                }
            }
        }
    }
}

/// Appends a field's value: bare when that can't be misread, else quoted with escapes.
pub fn value(out: &mut Vec<u8>, text: &str) {
    let plain = |c: char| !c.is_whitespace() && !c.is_control() && !matches!(c, '"' | '\\' | '=');
    if !text.is_empty() && text.chars().all(plain) {
        out.extend_from_slice(text.as_bytes());
    } else {
        let _ = write!(out, "{text:?}");
    }
}

fn hex(out: &mut Vec<u8>, byte: u8) {
    out.extend_from_slice(&[b'\\', b'x', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn with<T: ?Sized>(f: fn(&mut Vec<u8>, &T), input: &T) -> String {
        let mut out = Vec::new();
        f(&mut out, input);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn bytes_that_could_break_a_line_are_escaped() {
        assert_eq!(
            with(escaped, b"a b\"c\\\r\n\x1b[31m\xc3\xa9\x7f".as_slice()),
            r"a b\x22c\x5c\x0d\x0a\x1b[31m\xc3\xa9\x7f"
        );
        assert_eq!(with(token, b"a b".as_slice()), r"a\x20b");
        assert_eq!(with(token, b"".as_slice()), "-");
        assert_eq!(with(json, "a\"\u{1}\n"), r#""a\"\u0001\n""#);
        assert_eq!(with(json_bytes, b"\xff".as_slice()), "\"\u{fffd}\"");
    }

    #[test]
    fn blocks_stay_readable_and_can_not_forge_a_line() {
        assert_eq!(
            with(block, "reload refused:\n\tline 3: bad\x1b key\n"),
            "reload refused:\n    \tline 3: bad\\u{1b} key"
        );
        assert_eq!(with(value, "10.0.0.1:8008"), "10.0.0.1:8008");
        assert_eq!(with(value, "two words\n"), r#""two words\n""#);
        assert_eq!(with(value, ""), "\"\"");
    }

    proptest! {
        #[test]
        fn escaped_text_is_one_printable_line(bytes: Vec<u8>) {
            let line = with(escaped, bytes.as_slice());
            prop_assert!(line.bytes().all(|b| matches!(b, b' '..=b'~') && b != b'"'));
            prop_assert!(!with(token, bytes.as_slice()).contains(' '));
        }
    }
}
