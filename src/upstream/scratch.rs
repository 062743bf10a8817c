//! The buffer that a thread reads answers into: one for all connections, none held while one waits.
//!
//! Small reads are copied out, so that they hold no more memory than they are long; large ones are
//! handed on in place, and the buffer is used again once whoever got them has let go.

use std::cell::RefCell;
use std::io;
use std::pin::pin;
use std::task::{Context, Poll, ready};

use bytes::{BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

/// Most bytes of one read: measured, larger does not pay and smaller costs.
pub const READ: usize = 64 * 1024;
/// Up to so many bytes a copy is cheaper than holding on to a whole buffer.
const COPIED: usize = 8 * 1024;

thread_local!(static BUFFER: RefCell<BytesMut> = RefCell::new(BytesMut::new()));

/// Reads what has come, `most` bytes of it; empty bytes are the end of the stream.
///
/// Who asks for less than `READ` is short of memory: its piece never holds on to a larger buffer.
pub fn poll_read<S: AsyncRead + Unpin>(
    stream: &mut S,
    cx: &mut Context<'_>,
    most: usize,
) -> Poll<io::Result<Bytes>> {
    BUFFER.with_borrow_mut(|buffer| {
        buffer.clear();
        buffer.reserve(READ);
        let read = ready!(pin!(stream.read_buf(&mut (&mut *buffer).limit(most))).poll(cx))?;
        if read <= COPIED || most < READ {
            return Poll::Ready(Ok(Bytes::copy_from_slice(buffer)));
        }
        Poll::Ready(Ok(buffer.split().freeze()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn reads_of_any_size_arrive_whole_and_stay_as_they_are() {
        let wanted: Vec<u8> = (0..300_000_u32).map(|at| (at % 251) as u8).collect();
        for most in [READ, 20_000, 1] {
            let mut source = &wanted[..];
            let mut pieces = Vec::new();
            loop {
                let piece = std::future::poll_fn(|cx| poll_read(&mut source, cx, most)).await.unwrap();
                if piece.is_empty() {
                    break;
                }
                pieces.push(piece);
            }
            assert_eq!(pieces.concat(), wanted);
            assert!(pieces.iter().all(|piece| piece.len() <= most));
        }
    }
}
