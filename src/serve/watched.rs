//! The byte stream of a client's connection, watched for progress on its way to hyper.
//!
//! It tells `Progress` what came and whether a write waits, and does two things that hyper would do with
//! buffers of 8 KiB for each connection: between requests it reads the next head by itself, and while an
//! answer is awaited it notices that the client has left.

use std::cell::RefCell;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::clock;
use crate::serve::progress::Progress;
use crate::serve::stream::Stream;

/// Bytes of one read of a head: most heads of Matrix clients come in one.
const READ: usize = 4 * 1024;
/// A head that grew so large is hyper's to read, and to refuse.
const MOST_EARLY: usize = 8 * 1024;

/// A stream that reports to `Progress`. Clones are the same stream: hyper has one while it answers.
pub(super) struct Watched<IO>(Rc<State<IO>>);

struct State<IO> {
    inner: RefCell<Inner<IO>>,
    progress: Rc<Progress>,
}

struct Inner<IO> {
    io: IO,
    /// What was read, and reported, before hyper asked for it.
    early: Vec<u8>,
}

impl<IO> Clone for Watched<IO> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<IO> Watched<IO> {
    pub(super) fn new(io: IO, progress: Rc<Progress>) -> Self {
        Self(Rc::new(State { inner: RefCell::new(Inner { io, early: Vec::new() }), progress }))
    }

    /// Takes back what was read and not used.
    pub(super) fn unread(&self, bytes: &[u8]) {
        self.0.inner.borrow_mut().early.splice(..0, bytes.iter().copied());
    }

    fn progress(&self) -> &Progress {
        &self.0.progress
    }

    fn written<T>(&self, result: Poll<T>) -> Poll<T> {
        self.progress().writing(result.is_pending(), clock::now);
        result
    }
}

impl Watched<Stream> {
    /// Whether a client has left whose request waits, and of whose body so much has come that the rest is not
    /// looked at: the system knows.
    pub(super) fn has_left(&self) -> bool {
        let inner = self.0.inner.borrow();
        inner.early.len() > MOST_EARLY && self.progress().awaits_answer() && inner.io.has_left()
    }
}

impl<IO: AsyncRead + Unpin> Watched<IO> {
    /// Ready once a request's head has come, or something that hyper has to refuse; false: the client
    /// left before.
    pub(super) fn poll_head(&self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let inner = &mut *self.0.inner.borrow_mut();
        while !is_for_hyper(&inner.early, self.progress()) {
            if !ready!(self.poll_early(inner, cx))? {
                return Poll::Ready(Ok(false));
            }
        }
        Poll::Ready(Ok(true))
    }

    /// Ready once the client has left while it waits for an answer. What comes meanwhile is kept for hyper,
    /// and bounded: behind that, only `has_left` sees anything.
    pub(super) fn poll_gone(&self, cx: &mut Context<'_>) -> Poll<()> {
        let inner = &mut *self.0.inner.borrow_mut();
        while self.progress().awaits_answer() && inner.early.len() <= MOST_EARLY {
            match self.poll_early(inner, cx) {
                Poll::Ready(Ok(true)) => {}
                Poll::Ready(Ok(false) | Err(_)) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Pending
    }

    /// Reads a piece before hyper asks for it; false: there is an end instead.
    fn poll_early(&self, inner: &mut Inner<IO>, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let mut room = [MaybeUninit::uninit(); READ];
        let mut buf = ReadBuf::uninit(&mut room);
        ready!(Pin::new(&mut inner.io).poll_read(cx, &mut buf))?;
        self.progress().received(buf.filled(), clock::now());
        inner.early.extend_from_slice(buf.filled());
        Poll::Ready(Ok(!buf.filled().is_empty()))
    }
}

fn is_for_hyper(early: &[u8], progress: &Progress) -> bool {
    // What can't begin a request (a TLS record, say) is refused without waiting for more.
    let begins = |byte: &u8| byte.is_ascii_graphic() || matches!(byte, b'\r' | b'\n');
    progress.head_came() || early.len() > MOST_EARLY || early.first().is_some_and(|byte| !begins(byte))
}

impl<IO: AsyncRead + Unpin> AsyncRead for Watched<IO> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Inner { io, early } = &mut *self.0.inner.borrow_mut();
        if !early.is_empty() {
            let used = early.len().min(buf.remaining());
            buf.put_slice(&early[..used]);
            early.drain(..used);
            if early.is_empty() {
                *early = Vec::new();
            }
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let result = Pin::new(io).poll_read(cx, buf);
        let fresh = &buf.filled()[before..];
        if !fresh.is_empty() {
            self.progress().received(fresh, clock::now());
        }
        result
    }
}

impl<IO: AsyncWrite + Unpin> Watched<IO> {
    /// TLS takes bytes that its socket does not: whether the client takes them shows at the flush.
    fn accepted(&self, cx: &mut Context<'_>, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        let Poll::Ready(Ok(bytes)) = result else { return self.written(result) };
        // Bytes moved, so a wait that is seen now begins now.
        self.progress().writing(false, clock::now);
        let waits = Pin::new(&mut self.0.inner.borrow_mut().io).poll_flush(cx).is_pending();
        self.progress().writing(waits, clock::now);
        self.progress().wrote(bytes);
        result
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Watched<IO> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.0.inner.borrow_mut().io).poll_write(cx, buf);
        self.accepted(cx, result)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.0.inner.borrow_mut().io).poll_write_vectored(cx, bufs);
        self.accepted(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.inner.borrow().io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.0.inner.borrow_mut().io).poll_flush(cx);
        self.written(result)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.0.inner.borrow_mut().io).poll_shutdown(cx);
        self.written(result)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    use std::sync::Arc;

    use super::*;
    use crate::serve::seat::Seat;

    const HEAD: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

    fn watched(room: usize) -> (DuplexStream, Watched<DuplexStream>) {
        let (client, edge) = tokio::io::duplex(room);
        let progress =
            Rc::new(Progress::new("https".into(), Arc::new(Seat::new(clock::now())), false, clock::now()));
        (client, Watched::new(edge, progress))
    }

    async fn head(io: &Watched<DuplexStream>) -> bool {
        poll_fn(|cx| io.poll_head(cx)).await.unwrap()
    }

    #[tokio::test]
    async fn a_head_is_read_once_whole_and_given_on_byte_for_byte() {
        let (mut client, mut io) = watched(7);
        let sent = [HEAD, b"GET /2"].concat();
        let sending = async {
            client.write_all(&sent).await.unwrap();
            drop(client);
        };
        let reading = async {
            assert!(head(&io).await);
            let mut came = Vec::new();
            io.read_to_end(&mut came).await.unwrap();
            came
        };
        let ((), came) = tokio::join!(sending, reading);
        assert_eq!(came, sent);
    }

    #[tokio::test]
    async fn a_head_that_is_not_whole_holds_what_came() {
        let (mut client, io) = watched(1024);
        client.write_all(&HEAD[..9]).await.unwrap();
        assert!(poll_fn(|cx| Poll::Ready(io.poll_head(cx).is_pending())).await);
        let early = io.0.inner.borrow().early.clone();
        assert_eq!(early, HEAD[..9]);
        assert!(io.0.inner.borrow().early.capacity() < 64);
        drop(client);
        assert!(!head(&io).await, "the client left");
    }

    #[tokio::test]
    async fn what_no_request_begins_with_is_not_waited_for() {
        let (mut client, io) = watched(64 * 1024);
        client.write_all(b"\x16\x03\x01").await.unwrap();
        assert!(head(&io).await);
        let (mut client, io) = watched(64 * 1024);
        client.write_all(&[b'x'; MOST_EARLY + 1]).await.unwrap();
        assert!(head(&io).await, "hyper refuses what is too large");
    }

    #[tokio::test]
    async fn what_is_taken_back_comes_first() {
        let (mut client, mut io) = watched(1024);
        client.write_all(&HEAD[5..]).await.unwrap();
        io.progress().received(&HEAD[..5], clock::now());
        io.unread(&HEAD[..5]);
        assert!(head(&io).await);
        let mut came = vec![0; HEAD.len()];
        io.read_exact(&mut came).await.unwrap();
        assert_eq!(came, HEAD);
    }
}
