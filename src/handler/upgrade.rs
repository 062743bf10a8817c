//! Tunnels: a WebSocket or another upgrade, once home agreed to it with a 101.
//!
//! Nothing is sent raw before that 101 (CVE-2026-2833). A tunnel ends with either side, after
//! `tunnel_idle` without a byte, or when the porch closes. Which upgrades are passed on is `http::headers`'.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

use crate::clock;

/// Carries bytes both ways until one side ends, nothing moves for `idle`, or `closed` is ready.
///
/// `early` is what the client sent behind its request.
pub async fn tunnel<C, H>(client: C, early: &[u8], home: H, idle: Duration, closed: impl Future<Output = ()>)
where
    C: AsyncRead + AsyncWrite + Unpin,
    H: AsyncRead + AsyncWrite + Unpin,
{
    let moved = Cell::new(clock::now());
    let mut client = Noted { io: client, moved: &moved };
    let mut home = Noted { io: home, moved: &moved };
    let carried = async {
        home.write_all(early).await?;
        tokio::io::copy_bidirectional(&mut client, &mut home).await
    };
    tokio::select! {
        // How a tunnel ends is its two ends' affair; both streams are closed by the drop.
        _ = carried => {}
        () = silence(&moved, idle) => tracing::debug!(seconds = idle.as_secs(), "closing an idle tunnel"),
        () = closed => {}
    }
}

/// Ready once nothing moved for `idle`.
async fn silence(moved: &Cell<Instant>, idle: Duration) {
    loop {
        let quiet = clock::now().saturating_duration_since(moved.get());
        match idle.checked_sub(quiet) {
            Some(left) if !left.is_zero() => tokio::time::sleep(left).await,
            _ => return,
        }
    }
}

/// A stream that notes when bytes moved.
struct Noted<'a, IO> {
    io: IO,
    moved: &'a Cell<Instant>,
}

impl<IO> Noted<'_, IO> {
    fn note<T>(&self, polled: Poll<T>) -> Poll<T> {
        if polled.is_ready() {
            self.moved.set(clock::now());
        }
        polled
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Noted<'_, IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.io).poll_read(cx, buf);
        self.note(polled)
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Noted<'_, IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write(cx, buf);
        self.note(polled)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn silence_counts_from_the_last_byte() {
        let begun = clock::now();
        let moved = Cell::new(begun);
        let touch = async {
            tokio::time::sleep(Duration::from_secs(4)).await;
            moved.set(clock::now());
        };
        tokio::join!(silence(&moved, Duration::from_secs(5)), touch);
        assert_eq!(clock::now() - begun, Duration::from_secs(9));
    }
}
