//! A response's body from memory or from a file.
//!
//! Files are sent in pieces of 64 KiB. A piece that the page cache holds is copied on the serving thread (about
//! 10 microseconds; a hop to another thread costs more); one that a disk must bring is read by tokio's blocking
//! threads, so that a slow disk delays its own download and no other request. Only Linux can tell the two
//! apart: elsewhere pieces are read on the serving thread.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::task::JoinHandle;

use crate::os::beneath;

/// Most bytes of a file that are read at a time.
const PIECE: usize = 64 * 1024;

/// A body of known length.
#[derive(Debug)]
pub struct FileBody {
    source: Source,
    piece: usize,
}

#[derive(Debug)]
enum Source {
    Memory(Bytes),
    File { file: Arc<File>, at: u64, left: u64, reading: Option<JoinHandle<io::Result<Vec<u8>>>> },
}

impl FileBody {
    /// No bytes.
    pub fn empty() -> Self {
        Self::memory(Bytes::new())
    }

    /// These bytes.
    pub fn memory(bytes: Bytes) -> Self {
        Self { source: Source::Memory(bytes), piece: PIECE }
    }

    /// `len` bytes of `file` from `at` on; that the file ends before is an error of the body.
    pub(super) fn file(file: File, at: u64, len: u64) -> Self {
        Self { source: Source::File { file: Arc::new(file), at, left: len, reading: None }, piece: PIECE }
    }

    /// Bounds the pieces to come.
    pub fn set_piece(&mut self, bytes: usize) {
        self.piece = bytes.min(PIECE);
    }
}

impl Body for FileBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let this = self.get_mut();
        let piece = match &mut this.source {
            Source::Memory(bytes) if bytes.is_empty() => return Poll::Ready(None),
            Source::Memory(bytes) => Ok(std::mem::take(bytes)),
            Source::File { left: 0, .. } => return Poll::Ready(None),
            Source::File { file, at, left, reading } => {
                let most = usize::try_from(*left).map_or(this.piece, |left| left.min(this.piece));
                let piece = ready!(poll_piece(cx, file, *at, most, reading)).and_then(whole);
                // After an error nothing more is read: the length that was announced can't be kept.
                let taken = piece.as_ref().map_or(*left, |piece| piece.len() as u64);
                *at += taken;
                *left -= taken;
                piece
            }
        };
        Poll::Ready(Some(piece.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.size_hint().exact() == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match &self.source {
            Source::Memory(bytes) => bytes.len() as u64,
            Source::File { left, .. } => *left,
        })
    }
}

fn poll_piece(
    cx: &mut Context<'_>,
    file: &Arc<File>,
    at: u64,
    most: usize,
    reading: &mut Option<JoinHandle<io::Result<Vec<u8>>>>,
) -> Poll<io::Result<Vec<u8>>> {
    if reading.is_none() {
        match beneath::read_in_memory(file, most, at) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            read => return Poll::Ready(read),
        }
    }
    let task = reading.get_or_insert_with(|| {
        let file = Arc::clone(file);
        tokio::task::spawn_blocking(move || read_from_disk(&file, most, at))
    });
    let read = ready!(Pin::new(task).poll(cx));
    *reading = None;
    Poll::Ready(read.unwrap_or_else(|lost| Err(io::Error::other(lost))))
}

fn read_from_disk(file: &File, most: usize, at: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; most];
    let n = file.read_at(&mut bytes, at)?;
    bytes.truncate(n);
    Ok(bytes)
}

/// A file that ends too early was cut while it was sent; silence would make the client believe a part is all.
fn whole(piece: Vec<u8>) -> io::Result<Bytes> {
    if piece.is_empty() {
        let what = "the file became shorter while it was sent";
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, what));
    }
    Ok(piece.into())
}
