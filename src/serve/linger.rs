//! The end of an HTTP/1 connection whose client has not finished sending.
//!
//! Closing a socket that holds unread bytes resets the connection, and the reset may destroy an answer
//! that the client has not read yet: a 413 would look like a broken line (RFC 9112 9.6). So what still
//! comes is read and thrown away, for a while.

use std::future::Future;
use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

/// Long enough for a client to notice the answer; whoever goes on after it is reset.
const PATIENCE: Duration = Duration::from_secs(5);

/// Closes our half and reads the other one to its end, or until `closed` is ready or patience is over.
pub(super) async fn linger<IO>(client: &mut IO, closed: impl Future<Output = ()>)
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let rest = async {
        client.shutdown().await?;
        tokio::io::copy(client, &mut tokio::io::sink()).await?;
        Ok::<(), io::Error>(())
    };
    tokio::select! {
        // The connection may break as it likes: the answer is out.
        _ = rest => {}
        () = tokio::time::sleep(PATIENCE) => {}
        () = closed => {}
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_still_comes_is_read_to_its_end() {
        let (mut client, mut porch) = tokio::io::duplex(16);
        let send = async {
            client.write_all(&[0; 10_000]).await.unwrap();
            client.shutdown().await.unwrap();
            client.read(&mut [0]).await.unwrap()
        };
        let (end, ()) = tokio::join!(send, linger(&mut porch, std::future::pending()));
        assert_eq!(end, 0, "our half is closed");
    }

    #[tokio::test(start_paused = true)]
    async fn patience_ends() {
        let (_client, mut porch) = tokio::io::duplex(16);
        let begun = crate::clock::now();
        linger(&mut porch, std::future::pending()).await;
        assert_eq!(crate::clock::now() - begun, PATIENCE);
        linger(&mut porch, std::future::ready(())).await;
        assert_eq!(crate::clock::now() - begun, PATIENCE, "an order to close is obeyed at once");
    }
}
