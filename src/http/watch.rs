//! Follows the raw bytes of an HTTP/1 connection from request to request, so that each head is scanned.
//!
//! Bodies are only measured, never judged: their bytes are the front's. Once a head was flagged or a body
//! is not framed as it should be, nothing that follows can be told apart any more, and it stops looking.

use memchr::memchr;

use super::scan::{Body, Flags, HeadScanner, Scan};

/// Where in the stream of requests a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Between requests, and before the first.
    Idle,
    /// Within a head.
    Head,
    /// Within a body.
    Body,
    /// Not looking any more.
    Blind,
}

/// Watches one connection.
#[derive(Debug, Default)]
pub struct Watch {
    scanner: HeadScanner,
    state: State,
    heads: u64,
    flagged: Option<(u64, Flags)>,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Head,
    /// So many bytes of a body, or of a chunk with its CRLF if the flag is set.
    Bytes(u64, Chunked),
    /// A chunk's size line, read so far.
    Size(Size),
    /// A line of the trailer section; whether it has any byte but CR.
    Trailer(bool),
    Blind,
}

#[derive(Debug, PartialEq, Eq, Clone, Copy)]
enum Chunked {
    No,
    Yes,
}

/// A chunk's size line (RFC 9112 7.1).
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
enum Size {
    Digits(u64),
    Extension(u64),
}

impl Watch {
    /// A watch over a connection that begins.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes that the client sent.
    pub fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && self.state != State::Blind {
            let used = match self.state {
                State::Head => self.head(bytes),
                State::Bytes(left, chunked) => self.bytes(left, chunked, bytes.len()),
                State::Size(size) => self.size(size, bytes[0]),
                State::Trailer(filled) => self.trailer(filled, bytes),
                State::Blind => return,
            };
            bytes = &bytes[used..];
        }
    }

    /// Stops looking: what follows is a tunnel's.
    pub fn stop(&mut self) {
        self.state = State::Blind;
    }

    /// What is wrong with the connection's `nth` request (from 0) or with what came before it.
    pub fn flags(&self, nth: u64) -> Flags {
        self.flagged.filter(|(first, _)| *first <= nth).map_or(Flags::default(), |(_, flags)| flags)
    }

    /// How many heads have ended.
    pub fn heads(&self) -> u64 {
        self.heads
    }

    /// Where the client is in its stream of requests.
    pub fn phase(&self) -> Phase {
        match self.state {
            State::Head if self.scanner.is_within() => Phase::Head,
            State::Head => Phase::Idle,
            State::Blind => Phase::Blind,
            _ => Phase::Body,
        }
    }

    fn head(&mut self, bytes: &[u8]) -> usize {
        let Scan::Complete { used, flags, body } = self.scanner.feed(bytes) else {
            return bytes.len();
        };
        self.state = match body {
            _ if !flags.is_empty() => {
                self.flagged = Some((self.heads, flags));
                State::Blind
            }
            Body::Length(0) => State::Head,
            Body::Length(length) => State::Bytes(length, Chunked::No),
            Body::Chunked => State::Size(Size::Digits(0)),
        };
        self.heads += 1;
        used
    }

    fn bytes(&mut self, left: u64, chunked: Chunked, there: usize) -> usize {
        let used = left.min(there as u64);
        self.state = match chunked {
            _ if left > used => State::Bytes(left - used, chunked),
            Chunked::No => State::Head,
            Chunked::Yes => State::Size(Size::Digits(0)),
        };
        // At most `there`.
        used as usize
    }

    /// One byte of a size line: they are short, and most are three bytes long.
    fn size(&mut self, size: Size, byte: u8) -> usize {
        let value = match size {
            Size::Digits(value) | Size::Extension(value) => value,
        };
        let digit = char::from(byte).to_digit(16).map(u64::from);
        self.state = match (size, byte, digit) {
            (_, b'\n', _) if value == 0 => State::Trailer(false),
            // The chunk's own CRLF is measured with it.
            (_, b'\n', _) => value.checked_add(2).map_or(State::Blind, |all| State::Bytes(all, Chunked::Yes)),
            (Size::Digits(_), _, Some(digit)) if value >> 60 == 0 => {
                State::Size(Size::Digits(value << 4 | digit))
            }
            (Size::Digits(_), _, Some(_)) => State::Blind,
            _ => State::Size(Size::Extension(value)),
        };
        1
    }

    fn trailer(&mut self, filled: bool, bytes: &[u8]) -> usize {
        let end = memchr(b'\n', bytes);
        let line = &bytes[..end.unwrap_or(bytes.len())];
        let filled = filled || line.iter().any(|byte| *byte != b'\r');
        self.state = match end {
            Some(_) if !filled => State::Head,
            Some(_) => State::Trailer(false),
            None => State::Trailer(filled),
        };
        end.map_or(bytes.len(), |end| end + 1)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const THREE: &[u8] = b"PUT /a HTTP/1.1\r\nContent-Length: 5\r\n\r\nGET /\
        POST /b HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n\
        5;x=\"y\"\r\nGET /\r\n0a\r\n0123456789\r\n0\r\nX-Sum: 1\r\n\r\n\
        GET /c HTTP/1.1\r\n\r\n";

    #[test]
    fn every_head_is_found_behind_every_body() {
        let mut watch = Watch::new();
        watch.feed(THREE);
        assert_eq!((watch.heads(), watch.phase(), watch.flags(2)), (3, Phase::Idle, Flags::default()));
    }

    #[test]
    fn phases_follow_the_bytes() {
        let mut watch = Watch::new();
        assert_eq!(watch.phase(), Phase::Idle);
        watch.feed(b"PUT / HT");
        assert_eq!(watch.phase(), Phase::Head);
        watch.feed(b"TP/1.1\r\nContent-Length: 2\r\n\r\n");
        assert_eq!(watch.phase(), Phase::Body);
        watch.feed(b"ab");
        assert_eq!(watch.phase(), Phase::Idle);
        watch.feed(b"GET /# HTTP/1.1\r\n\r\n");
        assert_eq!(watch.phase(), Phase::Blind);
    }

    #[test]
    fn flags_are_of_their_request_and_of_all_behind_it() {
        let mut watch = Watch::new();
        watch.feed(b"GET / HTTP/1.1\r\n\r\nGET /# HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n");
        assert_eq!(watch.flags(0), Flags::default());
        assert_eq!((watch.flags(1), watch.flags(2)), (Flags::FRAGMENT, Flags::FRAGMENT));
        assert_eq!(watch.heads(), 2);
    }

    #[test]
    fn a_tunnel_is_not_looked_at() {
        let mut watch = Watch::new();
        watch.feed(b"GET / HTTP/1.1\r\n\r\n");
        watch.stop();
        watch.feed(b"GET /# HTTP/1.1\r\n\r\n");
        assert_eq!((watch.heads(), watch.flags(9)), (1, Flags::default()));
    }

    #[test]
    fn chunk_sizes_can_not_overflow() {
        for size in ["fffffffffffffffff", "ffffffffffffffff", "10000000000000000"] {
            let mut watch = Watch::new();
            watch.feed(format!("PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{size}\r\n").as_bytes());
            assert_eq!(watch.phase(), Phase::Blind, "{size}");
        }
    }

    proptest! {
        #[test]
        fn pieces_give_what_the_whole_gives(cuts in proptest::collection::vec(1..20usize, 1..40)) {
            let mut watch = Watch::new();
            let (mut rest, mut cuts) = (THREE, cuts.into_iter().cycle());
            while !rest.is_empty() {
                let (piece, behind) = rest.split_at(cuts.next().unwrap_or(1).min(rest.len()));
                watch.feed(piece);
                rest = behind;
            }
            prop_assert_eq!((watch.heads(), watch.phase()), (3, Phase::Idle));
        }

        #[test]
        fn any_bytes_are_taken(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut watch = Watch::new();
            watch.feed(b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n");
            watch.feed(&bytes);
            prop_assert!(watch.heads() >= 1);
        }
    }
}
