//! Any bytes as an answer's head: no panic, and nothing is accepted that a second reading would differ on.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

use house::upstream::codec::framing::{Asked, BodyLength};
use house::upstream::codec::head::{Parsed, parse};

fuzz_target!(|input: (u8, &[u8])| {
    let asked = Asked { head: input.0 & 1 != 0, upgrade: input.0 & 2 != 0 };
    let buf = Bytes::copy_from_slice(input.1);
    let Ok(Parsed::Complete(head, used)) = parse(&buf, asked) else { return };
    let text = &buf[..used];
    assert!(text.ends_with(b"\r\n\r\n"));
    // One end, no bare line ends, no fold: whoever reads it next finds the same lines.
    assert_eq!(text.windows(4).position(|part| part == b"\r\n\r\n"), Some(used - 4));
    for (at, byte) in text.iter().enumerate() {
        match byte {
            b'\n' => assert_eq!(text[at - 1], b'\r'),
            b'\r' => assert_eq!(text[at + 1], b'\n'),
            0 => panic!("a NUL was accepted"),
            _ => {}
        }
    }
    assert!(!text.windows(3).any(|part| part == b"\r\n " || part == b"\r\n\t"));
    let lower = text.to_ascii_lowercase();
    if lower.windows(20).any(|part| part == b"\r\ntransfer-encoding:") {
        assert!(!lower.windows(17).any(|part| part == b"\r\ncontent-length:"));
    }
    assert_eq!(head.length == BodyLength::Upgraded, head.status.as_u16() == 101);
    // Shortened by any byte it is a beginning.
    assert!(matches!(parse(&buf.slice(..used - 1), asked), Ok(Parsed::Partial)));
});
