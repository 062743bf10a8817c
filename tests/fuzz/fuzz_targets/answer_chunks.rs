//! Any bytes as a chunked body: no panic, and the pieces in which they come make no difference.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

use house::upstream::codec::chunked::{ChunkError, Decoded, Decoder};

fuzz_target!(|input: (u8, &[u8])| {
    let step = usize::from(input.0).max(1);
    assert_eq!(decode(input.1, step), decode(input.1, input.1.len().max(1)));
});

/// The data, and whether the body ended.
fn decode(text: &[u8], step: usize) -> Result<(Vec<u8>, bool), ChunkError> {
    let mut decoder = Decoder::default();
    let mut data = Vec::new();
    for piece in text.chunks(step) {
        let mut buf = Bytes::copy_from_slice(piece);
        loop {
            match decoder.decode(&mut buf)? {
                Decoded::Data(bytes) => data.extend_from_slice(&bytes),
                Decoded::More => break,
                Decoded::End(_) => return Ok((data, true)),
            }
        }
    }
    Ok((data, false))
}
