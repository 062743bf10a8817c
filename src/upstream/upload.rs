//! The half of an exchange that writes: head, body, trailers.
//!
//! Head and first body bytes go out in one write where the body has them ready. It takes a piece of the
//! body only when the last one is written: back-pressure from the backend reaches the client.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::HeaderMap;
use http_body::{Body, Frame};
use tokio::io::AsyncWrite;

use super::codec::chunked;
use super::replay::Kept;

/// How a request's body is framed; its head, already written, says the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// No body; it is never polled.
    None,
    /// So many bytes.
    Length(u64),
    /// In chunks, with trailers.
    Chunked,
}

/// Why an upload stopped.
#[derive(Debug)]
pub enum UploadError<E> {
    /// The request's body failed: the client went away, or sent too much.
    Request(E),
    /// The request's body is shorter or longer than its framing says.
    Length,
    /// The connection does not take more.
    Write(io::Error),
}

/// A request on its way out.
#[derive(Debug)]
pub struct Upload<B> {
    head: Vec<u8>,
    head_at: usize,
    framing: Framing,
    /// Bytes of a `Length` body that are still to be taken.
    left: u64,
    body: Option<B>,
    trailers: Option<Box<HeaderMap>>,
    /// Chunk lines that go before `piece`.
    line: Vec<u8>,
    line_at: usize,
    piece: Bytes,
    /// What goes after `piece`: its CRLF.
    tail: &'static [u8],
    /// The end of the body is in `line` or written.
    ended: bool,
    flushed: bool,
    /// Bytes written on the connection of now.
    written: u64,
    /// Nothing is left to write before the client sends more.
    starved: bool,
    kept: Kept,
    again: VecDeque<Bytes>,
}

impl<B: Body<Data = Bytes> + Unpin> Upload<B> {
    /// An upload of `head`, a complete HTTP/1.1 head, and `body`; kept for a second time if `replay`.
    pub fn new(head: Vec<u8>, framing: Framing, body: B, replay: bool) -> Self {
        let mut upload = Self {
            head,
            head_at: 0,
            framing,
            left: 0,
            body: Some(body),
            trailers: None,
            line: Vec::new(),
            line_at: 0,
            piece: Bytes::new(),
            tail: b"",
            ended: false,
            flushed: false,
            written: 0,
            starved: false,
            kept: Kept::new(replay),
            again: VecDeque::new(),
        };
        upload.frame_anew();
        upload
    }

    /// Writes on until all is written.
    pub fn poll<S: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut S,
    ) -> Poll<Result<(), UploadError<B::Error>>> {
        if self.is_done() {
            return Poll::Ready(Ok(()));
        }
        self.starved = false;
        loop {
            let fed = if self.wants_piece() { self.poll_piece(cx) } else { Poll::Ready(Ok(())) };
            if let Poll::Ready(Err(error)) = fed {
                return Poll::Ready(Err(error));
            }
            while self.has_bytes() {
                ready!(self.poll_write(cx, stream)).map_err(UploadError::Write)?;
            }
            if fed.is_pending() || self.ended {
                ready!(Pin::new(&mut *stream).poll_flush(cx)).map_err(UploadError::Write)?;
                self.starved = fed.is_pending();
                ready!(fed)?;
                self.flushed = true;
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// Whether the whole request has been written.
    pub fn is_done(&self) -> bool {
        self.flushed
    }

    /// Bytes written on the connection of now.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Whether only the client can make it go on.
    pub fn is_starved(&self) -> bool {
        self.starved
    }

    /// Whether all that was taken from the body is still at hand, so that `rewind` can be called.
    pub fn can_rewind(&self) -> bool {
        self.kept.is_whole()
    }

    /// Begins again from the head's first byte, for another connection, and once only.
    pub fn rewind(&mut self) {
        self.again = std::iter::from_fn(|| self.kept.pop()).collect();
        self.kept.release();
        (self.piece, self.tail) = (Bytes::new(), b"");
        self.frame_anew();
    }

    /// Goes with another head from now on; nothing of it may be on its way.
    pub fn rehead(&mut self, head: Vec<u8>) {
        self.head = head;
    }

    /// Changes the head that goes out next; nothing of it may be on its way.
    pub fn change_head(&mut self, change: impl FnOnce(&mut Vec<u8>)) {
        change(&mut self.head);
    }

    /// How its body is framed.
    pub fn framing(&self) -> Framing {
        self.framing
    }

    /// Bytes of it that are in memory.
    pub fn held(&self) -> u64 {
        (self.head.capacity() + self.kept.bytes() + self.again.iter().map(Bytes::len).sum::<usize>()) as u64
    }

    /// Lets go of what is kept for a second time.
    pub fn release(&mut self) {
        self.kept.release();
    }

    fn frame_anew(&mut self) {
        self.line.clear();
        (self.head_at, self.line_at, self.written) = (0, 0, 0);
        (self.flushed, self.starved) = (false, false);
        self.left = if let Framing::Length(length) = self.framing { length } else { 0 };
        self.ended = match self.framing {
            Framing::None => true,
            Framing::Length(length) => length == 0,
            Framing::Chunked => false,
        };
    }

    fn wants_piece(&self) -> bool {
        !self.ended && self.piece.is_empty() && self.tail.is_empty() && self.line_at == self.line.len()
    }

    fn has_bytes(&self) -> bool {
        let body = !self.piece.is_empty() || !self.tail.is_empty();
        body || self.head_at < self.head.len() || self.line_at < self.line.len()
    }

    /// Takes the next piece of the body, or its end.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), UploadError<B::Error>>> {
        if let Some(piece) = self.again.pop_front() {
            return Poll::Ready(self.frame(piece));
        }
        while let Some(body) = &mut self.body {
            let frame = match ready!(Pin::new(body).poll_frame(cx)) {
                Some(Ok(frame)) => frame,
                Some(Err(error)) => {
                    self.body = None;
                    return Poll::Ready(Err(UploadError::Request(error)));
                }
                None => {
                    self.body = None;
                    break;
                }
            };
            match frame.into_data().map_err(Frame::into_trailers) {
                Ok(piece) if piece.is_empty() => {}
                Ok(piece) => {
                    self.kept.push(&piece);
                    return Poll::Ready(self.frame(piece));
                }
                Err(trailers) => self.trailers = trailers.ok().map(Box::new),
            }
        }
        if self.left > 0 {
            return Poll::Ready(Err(UploadError::Length));
        }
        (self.line_at, self.tail) = (0, b"");
        self.line.clear();
        chunked::write_end(self.trailers.as_deref(), &mut self.line);
        self.ended = true;
        Poll::Ready(Ok(()))
    }

    fn frame(&mut self, piece: Bytes) -> Result<(), UploadError<B::Error>> {
        if self.framing == Framing::Chunked {
            (self.line_at, self.tail) = (0, b"\r\n");
            self.line.clear();
            chunked::write_size(piece.len(), &mut self.line);
        } else {
            self.left = self.left.checked_sub(piece.len() as u64).ok_or(UploadError::Length)?;
            self.ended = self.left == 0;
        }
        self.piece = piece;
        Ok(())
    }

    fn poll_write<S: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut S,
    ) -> Poll<io::Result<()>> {
        let (head, line) = (&self.head[self.head_at..], &self.line[self.line_at..]);
        let parts = [head, line, &self.piece, self.tail].map(IoSlice::new);
        let stream = Pin::new(stream);
        let framed = !line.is_empty() || !self.tail.is_empty();
        let wrote = match (head.is_empty(), framed, self.piece.is_empty()) {
            (false, false, true) => stream.poll_write(cx, head),
            (true, false, false) => stream.poll_write(cx, &self.piece),
            _ => stream.poll_write_vectored(cx, &parts),
        };
        let wrote = ready!(wrote)?;
        if wrote == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.advance(wrote);
        Poll::Ready(Ok(()))
    }

    fn advance(&mut self, wrote: usize) {
        self.written += wrote as u64;
        let of_head = wrote.min(self.head.len() - self.head_at);
        self.head_at += of_head;
        let of_line = (wrote - of_head).min(self.line.len() - self.line_at);
        self.line_at += of_line;
        let of_piece = (wrote - of_head - of_line).min(self.piece.len());
        self.piece.advance(of_piece);
        let of_tail = (wrote - of_head - of_line - of_piece).min(self.tail.len());
        self.tail = &self.tail[of_tail..];
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http_body_util::{BodyExt, Full};
    use proptest::prelude::*;

    use super::*;

    /// Takes so many bytes a write; counts writes.
    struct Sink {
        got: Vec<u8>,
        most: usize,
        writes: usize,
    }

    impl AsyncWrite for Sink {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
            let take = buf.len().min(self.most);
            self.got.extend_from_slice(&buf[..take]);
            self.writes += 1;
            Poll::Ready(Ok(take))
        }

        fn poll_write_vectored(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            bufs: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let all: Vec<u8> = bufs.iter().flat_map(|buf| buf.to_vec()).collect();
            self.as_mut().poll_write(cx, &all)
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn drive<B: Body<Data = Bytes> + Unpin>(
        upload: &mut Upload<B>,
        sink: &mut Sink,
    ) -> Poll<Result<(), UploadError<B::Error>>> {
        upload.poll(&mut Context::from_waker(std::task::Waker::noop()), sink)
    }

    fn sink(most: usize) -> Sink {
        Sink { got: Vec::new(), most, writes: 0 }
    }

    #[test]
    fn head_and_ready_body_go_in_one_write() {
        let body = Full::new(Bytes::from_static(b"hello"));
        let mut upload = Upload::new(b"HEAD".to_vec(), Framing::Length(5), body, false);
        let mut sink = sink(100);
        assert!(matches!(drive(&mut upload, &mut sink), Poll::Ready(Ok(()))));
        assert_eq!((&sink.got[..], sink.writes), (&b"HEADhello"[..], 1));
        assert!(upload.is_done());
    }

    #[test]
    fn body_of_another_length_is_refused() {
        for (length, expected) in [(4, "HEAD"), (6, "HEADhello")] {
            let body = Full::new(Bytes::from_static(b"hello"));
            let mut upload = Upload::new(b"HEAD".to_vec(), Framing::Length(length), body, false);
            let mut sink = sink(100);
            assert!(matches!(drive(&mut upload, &mut sink), Poll::Ready(Err(UploadError::Length))));
            assert!(expected.as_bytes().starts_with(&sink.got));
        }
    }

    #[test]
    fn head_goes_out_while_the_body_is_awaited() {
        let mut upload = Upload::new(b"HEAD".to_vec(), Framing::Chunked, Never, false);
        let mut sink = sink(100);
        assert!(drive(&mut upload, &mut sink).is_pending());
        assert_eq!(sink.got, b"HEAD");
        assert!(upload.is_starved());
    }

    /// A body that never has anything.
    struct Never;

    impl Body for Never {
        type Data = Bytes;
        type Error = Infallible;
        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Pending
        }
    }

    proptest! {
        #[test]
        fn chunks_and_trailers_arrive_whatever_the_writes(
            pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..6),
            most in 1_usize..50, stop in 0_usize..200,
        ) {
            let frames: VecDeque<_> = pieces.iter().map(|piece| Bytes::from(piece.clone())).collect();
            let mut trailers = HeaderMap::new();
            trailers.insert("x-sum", http::HeaderValue::from_static("1"));
            let body = Frames(frames).with_trailers(std::future::ready(Some(Ok(trailers))));
            let mut upload = Upload::new(b"HEAD".to_vec(), Framing::Chunked, body, true);
            // Cut the first attempt at some byte, then send all again.
            let mut broken = Broken(sink(most), stop);
            let mut cx = Context::from_waker(std::task::Waker::noop());
            if let Poll::Ready(Err(_)) = upload.poll(&mut cx, &mut broken) {
                prop_assert!(upload.can_rewind());
            }
            upload.rewind();
            let mut whole = sink(most);
            prop_assert!(matches!(drive(&mut upload, &mut whole), Poll::Ready(Ok(()))));
            let expected: String = pieces.iter().filter(|piece| !piece.is_empty())
                .map(|piece| format!("{:x}\r\n{}\r\n", piece.len(), piece.escape_ascii())).collect();
            let mut text = whole.got.strip_prefix(b"HEAD").unwrap().to_vec();
            prop_assert!(text.ends_with(b"0\r\nx-sum: 1\r\n\r\n"));
            let mut decoder = chunked::Decoder::default();
            let mut buf = Bytes::from(std::mem::take(&mut text));
            let mut seen = String::new();
            while let Ok(chunked::Decoded::Data(data)) = decoder.decode(&mut buf) {
                seen += &format!("{:x}\r\n{}\r\n", data.len(), data.escape_ascii());
            }
            prop_assert_eq!(seen, expected);
        }
    }

    /// Frames that are all ready.
    struct Frames(VecDeque<Bytes>);

    impl Body for Frames {
        type Data = Bytes;
        type Error = Infallible;
        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Ready(self.0.pop_front().map(|piece| Ok(Frame::data(piece))))
        }
    }

    /// A sink that fails after so many bytes.
    struct Broken(Sink, usize);

    impl AsyncWrite for Broken {
        fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
            if self.0.got.len() >= self.1 {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            Pin::new(&mut self.0).poll_write(cx, buf)
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }
}
