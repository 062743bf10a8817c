//! The half of an exchange that reads: the answer's head, body, trailers.
//!
//! It holds only bytes that have come and were not yet asked for; while it waits it holds none.

use std::io;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http_body::Frame;
use tokio::io::AsyncRead;

use super::codec::chunked::{ChunkError, Decoded, Decoder};
use super::codec::framing::{Asked, BodyLength};
use super::codec::head::{self, Head, HeadError, Parsed};
use super::scratch;

/// Why reading stopped.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The backend closed the connection where the answer was not over.
    #[error("the backend closed the connection too early")]
    Closed,
    /// The connection failed.
    #[error("reading from the backend failed")]
    Io(#[source] io::Error),
    /// The answer's head is malformed.
    #[error(transparent)]
    Head(#[from] HeadError),
    /// The answer's chunks are malformed.
    #[error(transparent)]
    Chunk(#[from] ChunkError),
}

/// The answer's body as it comes.
#[derive(Debug)]
enum Coming {
    /// The head has not come yet.
    Head,
    /// So many bytes more.
    Exactly(u64),
    Chunked(Decoder),
    UntilClose,
    /// It is over (or was none).
    Ended,
}

/// An answer on its way in.
#[derive(Debug)]
pub struct Download {
    coming: Coming,
    /// Bytes that have come and are not used.
    buf: Bytes,
    /// The beginning of a head that needed more than one read.
    partial: BytesMut,
    interim: u32,
    began: bool,
    /// Most bytes of one read.
    piece: usize,
}

impl Default for Download {
    fn default() -> Self {
        Self {
            coming: Coming::Head,
            buf: Bytes::new(),
            partial: BytesMut::new(),
            interim: 0,
            began: false,
            piece: scratch::READ,
        }
    }
}

impl Download {
    /// Reads the head of the final answer; interim ones are skipped.
    pub fn poll_head<S: AsyncRead + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut S,
        asked: Asked,
    ) -> Poll<Result<Head, ReadError>> {
        loop {
            while !self.buf.is_empty() {
                match head::parse(&self.buf, asked)? {
                    Parsed::Complete(head, used) => {
                        self.begin_body(&head, used);
                        return Poll::Ready(Ok(head));
                    }
                    Parsed::Interim(used) => {
                        self.interim += 1;
                        if self.interim > head::MOST_INTERIM {
                            return Poll::Ready(Err(HeadError::TooManyInterim.into()));
                        }
                        drop(self.buf.split_to(used));
                    }
                    Parsed::Partial => self.partial = BytesMut::from(std::mem::take(&mut self.buf)),
                }
            }
            let read = ready!(self.poll_read(cx, stream))?;
            if self.partial.is_empty() {
                self.buf = read;
                continue;
            }
            self.partial.extend_from_slice(&read);
            // A head is judged again only after a line end, so that single bytes cost single bytes.
            if memchr::memchr(b'\n', &read).is_some() || self.partial.len() >= head::MOST_BYTES {
                self.buf = std::mem::take(&mut self.partial).freeze();
            }
        }
    }

    /// The next frame of the body; `None`: it is over.
    pub fn poll_frame<S: AsyncRead + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut S,
    ) -> Poll<Result<Option<Frame<Bytes>>, ReadError>> {
        loop {
            if let Some(frame) = self.take()? {
                return Poll::Ready(Ok(Some(frame)));
            }
            if self.is_ended() {
                return Poll::Ready(Ok(None));
            }
            match ready!(self.poll_read(cx, stream)) {
                Ok(read) => self.buf = read,
                Err(ReadError::Closed) if matches!(self.coming, Coming::UntilClose) => {
                    self.coming = Coming::Ended;
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// Bounds the bytes that are read at once from now on.
    pub fn set_piece(&mut self, bytes: usize) {
        self.piece = bytes;
    }

    /// Bytes that have come and were not asked for yet.
    pub fn behind(&self) -> usize {
        self.buf.len()
    }

    /// Whether any byte of an answer has come, be it of an interim one.
    pub fn has_begun(&self) -> bool {
        self.began
    }

    /// Whether the whole answer has come.
    pub fn is_ended(&self) -> bool {
        matches!(self.coming, Coming::Ended)
    }

    /// Whether bytes have come that are not the answer's.
    pub fn has_leftovers(&self) -> bool {
        self.is_ended() && !self.buf.is_empty()
    }

    /// Bytes of the body that are still to come, where that is known.
    pub fn left(&self) -> Option<u64> {
        match self.coming {
            Coming::Exactly(left) => Some(left),
            Coming::Ended => Some(0),
            _ => None,
        }
    }

    /// The body, if its length is known and all of it has come.
    pub fn take_whole(&mut self) -> Option<Bytes> {
        match self.coming {
            Coming::Ended => Some(Bytes::new()),
            Coming::Exactly(left) if left <= self.buf.len() as u64 => {
                self.coming = Coming::Ended;
                // No longer than the buffer, so it is an usize.
                Some(self.buf.split_to(left as usize))
            }
            _ => None,
        }
    }

    /// What was read beyond the head of a 101: the other protocol's first bytes.
    pub fn into_leftovers(self) -> Bytes {
        self.buf
    }

    fn begin_body(&mut self, head: &Head, used: usize) {
        drop(self.buf.split_to(used));
        self.coming = match head.length {
            BodyLength::Empty | BodyLength::Upgraded => Coming::Ended,
            BodyLength::Exactly(length) => Coming::Exactly(length),
            BodyLength::Chunked => Coming::Chunked(Decoder::default()),
            BodyLength::UntilClose => Coming::UntilClose,
        };
    }

    /// A frame from what has come. The end is noticed along with the last data where both are here, so
    /// that the client gets both in one write.
    fn take(&mut self) -> Result<Option<Frame<Bytes>>, ReadError> {
        if self.buf.is_empty() {
            return Ok(None);
        }
        match &mut self.coming {
            Coming::Head | Coming::Ended => Ok(None),
            Coming::UntilClose => Ok(Some(Frame::data(std::mem::take(&mut self.buf)))),
            Coming::Exactly(left) => {
                let take = usize::try_from(*left).unwrap_or(usize::MAX).min(self.buf.len());
                *left -= take as u64;
                if *left == 0 {
                    self.coming = Coming::Ended;
                }
                Ok(Some(Frame::data(self.buf.split_to(take))))
            }
            Coming::Chunked(decoder) => match decoder.decode(&mut self.buf)? {
                Decoded::More => Ok(None),
                Decoded::End(trailers) => {
                    self.coming = Coming::Ended;
                    Ok(trailers.map(Frame::trailers))
                }
                Decoded::Data(data) => {
                    self.look_for_end();
                    Ok(Some(Frame::data(data)))
                }
            },
        }
    }

    /// Takes the usual end of a chunked body, if it is all that is here.
    fn look_for_end(&mut self) {
        if &self.buf[..] == b"\r\n0\r\n\r\n"
            && matches!(&self.coming, Coming::Chunked(decoder) if decoder.is_between())
        {
            self.buf = Bytes::new();
            self.coming = Coming::Ended;
        }
    }

    fn poll_read<S: AsyncRead + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut S,
    ) -> Poll<Result<Bytes, ReadError>> {
        let read = ready!(scratch::poll_read(stream, cx, self.piece)).map_err(ReadError::Io)?;
        if read.is_empty() {
            return Poll::Ready(Err(ReadError::Closed));
        }
        self.began = true;
        Poll::Ready(Ok(read))
    }
}
