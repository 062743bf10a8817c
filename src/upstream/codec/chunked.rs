//! The chunked transfer coding (RFC 9112 section 7.1), both ways.
//!
//! The decoder is strict: hexadecimal digits alone for a size, CRLF alone for a line end. It hands data
//! on as slices of what was read and keeps no bytes but those of a trailer section.

use bytes::{Buf, Bytes};
use http::HeaderMap;

use super::head::HeadError;
use super::trailers;

/// Most bytes of chunk extensions in one body; nobody uses them but to waste a reader's time.
pub const MOST_EXTENSIONS: usize = 16 * 1024;

/// A chunked body that is malformed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// A size that is empty, too large, or not hexadecimal digits alone.
    #[error("a chunk's size is malformed")]
    Size,
    /// A line that does not end with CRLF, or data that runs over its chunk.
    #[error("a chunk does not end with CRLF")]
    LineEnd,
    /// A control character in an extension.
    #[error("a chunk's extension is malformed")]
    Extension,
    /// More than `MOST_EXTENSIONS`.
    #[error("the body's chunk extensions are longer than 16 KiB")]
    TooManyExtensions,
    /// The trailer section is longer than `trailers::MOST_BYTES`.
    #[error("the body's trailer section is longer than 16 KiB")]
    TrailersTooLong,
    /// A field of the trailer section is malformed.
    #[error("the body's trailer section is malformed")]
    Trailers(#[source] HeadError),
}

/// What the decoder found.
#[derive(Debug, PartialEq, Eq)]
pub enum Decoded {
    /// Data of a chunk, never empty.
    Data(Bytes),
    /// The body has ended with these trailers, if any; what is left in the buffer is not its.
    End(Option<HeaderMap>),
    /// The buffer is used up and the body goes on.
    More,
}

/// Decodes one chunked body.
#[derive(Debug, Default)]
pub struct Decoder {
    state: State,
    extensions: usize,
    section: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// In a size of so many digits so far.
    Size { size: u64, digits: u8 },
    /// In an extension of the chunk of that size.
    Extension { size: u64 },
    /// The CR of a size line has come.
    SizeLf { size: u64 },
    /// In data with so much left, at least 1.
    Data { left: u64 },
    /// After data, before CR.
    DataCr,
    /// After data, before LF.
    DataLf,
    /// In the trailer section, at byte `line` of a line.
    Trailers { line: usize },
    /// The body is over.
    Ended,
}

impl Default for State {
    fn default() -> Self {
        Self::Size { size: 0, digits: 0 }
    }
}

impl Decoder {
    /// Takes the next piece from the front of `buf`.
    pub fn decode(&mut self, buf: &mut Bytes) -> Result<Decoded, ChunkError> {
        loop {
            if let State::Data { left } = self.state {
                return Ok(self.data(left, buf));
            }
            if let State::Trailers { line } = self.state {
                return self.trailer_bytes(line, buf);
            }
            if self.state == State::Ended {
                return Ok(Decoded::End(None));
            }
            let Some(&byte) = buf.first() else { return Ok(Decoded::More) };
            buf.advance(1);
            self.state = self.step(byte)?;
        }
    }

    /// Whether a chunk's data is complete and its CRLF is next.
    pub fn is_between(&self) -> bool {
        self.state == State::DataCr
    }

    /// One byte of a size line or of the line end after data.
    fn step(&mut self, byte: u8) -> Result<State, ChunkError> {
        match (self.state, byte) {
            (State::Size { size, digits }, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                // 16 digits are 64 bits; leading zeros beyond that only serve to confuse.
                if digits == 16 {
                    return Err(ChunkError::Size);
                }
                let digit = char::from(byte).to_digit(16).ok_or(ChunkError::Size)?;
                Ok(State::Size { size: size << 4 | u64::from(digit), digits: digits + 1 })
            }
            (State::Size { digits: 0, .. }, _) => Err(ChunkError::Size),
            (State::Size { size, .. }, b';') => Ok(State::Extension { size }),
            (State::Size { size, .. } | State::Extension { size }, b'\r') => Ok(State::SizeLf { size }),
            (State::Size { .. }, _) => Err(ChunkError::Size),
            (State::Extension { size }, b'\t' | b' '..=b'~' | 0x80..) => {
                self.extensions += 1;
                match self.extensions > MOST_EXTENSIONS {
                    true => Err(ChunkError::TooManyExtensions),
                    false => Ok(State::Extension { size }),
                }
            }
            (State::Extension { .. }, _) => Err(ChunkError::Extension),
            (State::SizeLf { size: 0 }, b'\n') => Ok(State::Trailers { line: 0 }),
            (State::SizeLf { size }, b'\n') => Ok(State::Data { left: size }),
            (State::DataCr, b'\r') => Ok(State::DataLf),
            (State::DataLf, b'\n') => Ok(State::default()),
            (state @ (State::Data { .. } | State::Trailers { .. } | State::Ended), _) => Ok(state),
            (State::SizeLf { .. } | State::DataCr | State::DataLf, _) => Err(ChunkError::LineEnd),
        }
    }

    fn data(&mut self, left: u64, buf: &mut Bytes) -> Decoded {
        if buf.is_empty() {
            return Decoded::More;
        }
        let take = usize::try_from(left).unwrap_or(usize::MAX).min(buf.len());
        let left = left - take as u64;
        self.state = if left == 0 { State::DataCr } else { State::Data { left } };
        Decoded::Data(buf.split_to(take))
    }

    fn trailer_bytes(&mut self, mut line: usize, buf: &mut Bytes) -> Result<Decoded, ChunkError> {
        while let Some(&byte) = buf.first() {
            buf.advance(1);
            if self.section.len() == trailers::MOST_BYTES {
                return Err(ChunkError::TrailersTooLong);
            }
            self.section.push(byte);
            line += 1;
            if byte == b'\n' {
                // An empty line, CRLF or (refused by the parser) LF alone, ends the section.
                if line <= 2 {
                    self.state = State::Ended;
                    return self.trailers();
                }
                line = 0;
            }
        }
        self.state = State::Trailers { line };
        Ok(Decoded::More)
    }

    fn trailers(&mut self) -> Result<Decoded, ChunkError> {
        let section = Bytes::from(std::mem::take(&mut self.section));
        if &section[..] == b"\r\n" {
            return Ok(Decoded::End(None));
        }
        let trailers = trailers::parse(&section).map_err(ChunkError::Trailers)?;
        Ok(Decoded::End((!trailers.is_empty()).then_some(trailers)))
    }
}

/// Writes the size line of a chunk of `size` bytes.
///
/// The CRLF after its data is the caller's. A size of 0 would end the body, so callers skip empty data.
pub fn write_size(size: usize, out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let nibbles = (usize::BITS - size.leading_zeros()).div_ceil(4).max(1);
    for nibble in (0..nibbles).rev() {
        out.push(DIGITS[size >> (4 * nibble) & 15]);
    }
    out.extend_from_slice(b"\r\n");
}

/// Writes the last chunk and the trailers.
pub fn write_end(trailers: Option<&HeaderMap>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"0\r\n");
    match trailers {
        Some(map) => trailers::write(map, out),
        None => out.extend_from_slice(b"\r\n"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Whole = (Vec<u8>, Option<HeaderMap>, usize);

    /// Decodes `text` in pieces of `step` bytes: data, trailers, bytes left over; `None` is unfinished.
    fn decode(text: &[u8], step: usize) -> Result<Option<Whole>, ChunkError> {
        let mut decoder = Decoder::default();
        let mut data = Vec::new();
        let mut used = 0;
        for piece in text.chunks(step.max(1)) {
            let mut buf = Bytes::copy_from_slice(piece);
            used += piece.len();
            loop {
                match decoder.decode(&mut buf)? {
                    Decoded::Data(bytes) => data.extend_from_slice(&bytes),
                    Decoded::More => break,
                    Decoded::End(trailers) => {
                        return Ok(Some((data, trailers, text.len() - used + buf.len())));
                    }
                }
            }
        }
        Ok(None)
    }

    #[test]
    fn body_is_decoded_whatever_the_pieces() {
        let text = b"5;a=\"b\"\r\nhello\r\n00006\r\n world\r\n0\r\nX-Sum: 1\r\n\r\nNEXT";
        for step in 1..=text.len() {
            let (data, trailers, left) = decode(text, step).unwrap().unwrap();
            assert_eq!(data, b"hello world");
            assert_eq!(trailers.unwrap()["x-sum"], "1");
            assert_eq!(left, 4);
        }
    }

    #[test]
    fn malformed_bodies_are_refused() {
        let cases: &[(&[u8], ChunkError)] = &[
            (b"\r\n", ChunkError::Size),
            (b"+5\r\n", ChunkError::Size),
            (b"-5\r\n", ChunkError::Size),
            (b" 5\r\n", ChunkError::Size),
            (b"5 \r\n", ChunkError::Size),
            (b"0x5\r\n", ChunkError::Size),
            (b"5\nhello\n0\n\n", ChunkError::Size),
            (b"10000000000000000\r\n", ChunkError::Size),
            (b"00000000000000001\r\n", ChunkError::Size),
            (b"5\rhello", ChunkError::LineEnd),
            (b"5\r\nhelloX", ChunkError::LineEnd),
            (b"5\r\nhello\n", ChunkError::LineEnd),
            (b"5;a\n", ChunkError::Extension),
            (b"5;a\0\r\n", ChunkError::Extension),
            (b"0\r\n\n", ChunkError::Trailers(HeadError::Field)),
            (b"0\r\nA: b\n\r\n", ChunkError::Trailers(HeadError::Field)),
            (b"0\r\n : b\r\n\r\n", ChunkError::Trailers(HeadError::Field)),
        ];
        for (text, expected) in cases {
            for step in [1, text.len()] {
                assert_eq!(decode(text, step).unwrap_err(), *expected, "{}", text.escape_ascii());
            }
        }
    }

    #[test]
    fn extensions_and_trailers_are_bounded() {
        let extension = format!("1;{}\r\nx\r\n", "e".repeat(1000)).repeat(17);
        assert_eq!(decode(extension.as_bytes(), 4096), Err(ChunkError::TooManyExtensions));
        let section = format!("0\r\n{}", "A: bbbbbbbb\r\n".repeat(1500));
        assert_eq!(decode(section.as_bytes(), 4096), Err(ChunkError::TrailersTooLong));
    }

    #[test]
    fn sizes_are_written_without_leading_zeros() {
        for (size, text) in [(1, "1\r\n"), (15, "f\r\n"), (16, "10\r\n"), (65536, "10000\r\n"), (0, "0\r\n")]
        {
            let mut out = Vec::new();
            write_size(size, &mut out);
            assert_eq!(out, text.as_bytes());
        }
        let mut out = Vec::new();
        write_size(usize::MAX, &mut out);
        assert_eq!(out, b"ffffffffffffffff\r\n");
    }

    proptest! {
        #[test]
        fn any_bytes_are_decoded_without_panic(text in proptest::collection::vec(any::<u8>(), 0..200), step in 1_usize..9) {
            prop_assert_eq!(decode(&text, step).is_err(), decode(&text, text.len()).is_err());
        }

        #[test]
        fn near_misses_are_decoded_alike_whatever_the_pieces(text in "[0-3a;\r\n\t X:]{0,40}", step in 1_usize..9) {
            prop_assert_eq!(decode(text.as_bytes(), step), decode(text.as_bytes(), text.len()));
        }

        #[test]
        fn what_is_encoded_is_decoded(
            chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..70), 0..9),
            step in 1_usize..40, trailer in proptest::option::of("[a-z]{1,9}"),
        ) {
            let mut text = Vec::new();
            for chunk in &chunks {
                write_size(chunk.len(), &mut text);
                text.extend_from_slice(chunk);
                text.extend_from_slice(b"\r\n");
            }
            let trailers = trailer.map(|value| {
                let mut map = HeaderMap::new();
                map.insert("x-sum", value.parse().unwrap());
                map
            });
            write_end(trailers.as_ref(), &mut text);
            text.extend_from_slice(b"tail");
            prop_assert_eq!(decode(&text, step), Ok(Some((chunks.concat(), trailers, 4))));
        }
    }
}
