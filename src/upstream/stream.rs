//! An open byte stream to a backend: TCP or a unix socket, plain or under TLS.
//!
//! It knows nothing of HTTP and does not open anything (`dial` does).

use std::io;
use std::io::IoSlice;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::client::TlsStream;

/// A plain stream.
#[derive(Debug)]
pub enum Plain {
    /// Over IP.
    Tcp(TcpStream),
    /// Within this machine.
    Unix(UnixStream),
}

/// A stream as the client uses it.
#[derive(Debug)]
pub enum Stream {
    /// Bytes as they are.
    Plain(Plain),
    /// Under TLS; boxed, since its state is a kilobyte that plain streams need not carry.
    Tls(Box<TlsStream<Plain>>),
}

impl Stream {
    /// Whether nothing has come on a stream that nothing is expected on: no byte, end or error.
    ///
    /// It asks what the reactor has already seen; a quiet stream costs no system call.
    pub fn is_quiet(&mut self) -> bool {
        let mut byte = [0];
        let read = match self {
            Self::Plain(Plain::Tcp(stream)) => stream.try_read(&mut byte),
            Self::Plain(Plain::Unix(stream)) => stream.try_read(&mut byte),
            Self::Tls(stream) => {
                // Session tickets come without being asked for; rustls takes them in here.
                let mut cx = Context::from_waker(Waker::noop());
                return Pin::new(stream).poll_read(&mut cx, &mut ReadBuf::new(&mut byte)).is_pending();
            }
        };
        matches!(read, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }
}

/// Runs a method of whichever stream it is.
macro_rules! of_each {
    ($self:ident, $kind:ident { $($variant:ident),+ }, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            $($kind::$variant($stream) => $call,)+
        }
    };
}

impl AsyncRead for Plain {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        of_each!(self, Self { Tcp, Unix }, stream => Pin::new(stream).poll_read(cx, buf))
    }
}

impl AsyncWrite for Plain {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        of_each!(self, Self { Tcp, Unix }, stream => Pin::new(stream).poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        of_each!(self, Self { Tcp, Unix }, stream => Pin::new(stream).poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        of_each!(self, Self { Tcp, Unix }, stream => Pin::new(stream).poll_shutdown(cx))
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        of_each!(self, Self { Plain, Tls }, stream => Pin::new(stream).poll_read(cx, buf))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        of_each!(self, Self { Plain, Tls }, stream => Pin::new(stream).poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        of_each!(self, Self { Plain, Tls }, stream => Pin::new(stream).poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        of_each!(self, Self { Plain, Tls }, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        of_each!(self, Self { Plain, Tls }, stream => Pin::new(stream).poll_shutdown(cx))
    }
}
