//! Reads the PROXY header off a fresh connection, and not one byte more.
//!
//! It has no deadline of its own (`admission.rs` bounds everything before the first request together).

use std::io;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::listener::proxy_protocol::{self, HeaderError, MAX_V2, Origin, Progress};

/// A PROXY header that did not come as it must.
#[derive(Debug, thiserror::Error)]
pub enum ProxyHeaderError {
    /// It is not one, or not acceptable.
    #[error("unacceptable PROXY header")]
    Header(#[source] HeaderError),
    /// The connection broke or ended before it was complete.
    #[error("the connection ended within its PROXY header")]
    Io(#[source] io::Error),
}

/// Reads the header. What follows it stays in the socket, so nothing needs to be put back.
pub async fn read(stream: &mut TcpStream) -> Result<Origin, ProxyHeaderError> {
    // Room for one peek beyond the largest header: the parser gives up before it is full.
    let mut header = vec![0; MAX_V2 + 1];
    let mut have = 0;
    loop {
        let seen = stream.peek(&mut header[have..]).await.map_err(ProxyHeaderError::Io)?;
        if seen == 0 {
            return Err(ProxyHeaderError::Io(io::ErrorKind::UnexpectedEof.into()));
        }
        let progress = proxy_protocol::parse(&header[..have + seen]).map_err(ProxyHeaderError::Header)?;
        let upto = match progress {
            // All of it belongs to the header; left in the socket it would wake us again and again.
            Progress::More => have + seen,
            Progress::Complete { used, .. } => used,
        };
        stream.read_exact(&mut header[have..upto]).await.map_err(ProxyHeaderError::Io)?;
        have = upto;
        if let Progress::Complete { origin, .. } = progress {
            return Ok(origin);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (TcpStream, TcpStream) {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (client, accepted) =
            tokio::join!(TcpStream::connect(socket.local_addr().unwrap()), socket.accept());
        (client.unwrap(), accepted.unwrap().0)
    }

    #[tokio::test]
    async fn data_behind_the_header_stays_in_the_socket() {
        let (mut client, mut stream) = pair().await;
        client.write_all(b"PROXY TCP4 203.0.113.9 192.0.2.1 56324 443\r\nHELLO").await.unwrap();
        let origin = read(&mut stream).await.unwrap();
        assert_eq!(
            origin,
            Origin::Client {
                from: "203.0.113.9:56324".parse().unwrap(),
                to: "192.0.2.1:443".parse().unwrap()
            }
        );
        let mut rest = [0; 5];
        stream.read_exact(&mut rest).await.unwrap();
        assert_eq!(&rest, b"HELLO");
    }

    #[tokio::test]
    async fn header_in_pieces_is_put_together() {
        let (mut client, mut stream) = pair().await;
        let reading = tokio::spawn(async move { (read(&mut stream).await, stream) });
        for piece in [&b"PRO"[..], b"XY TCP6 ::1 ::", b"2 1 2\r", b"\nX"] {
            client.write_all(piece).await.unwrap();
            tokio::task::yield_now().await;
        }
        let (origin, mut stream) = reading.await.unwrap();
        assert!(matches!(origin, Ok(Origin::Client { from, .. }) if from.port() == 1));
        assert_eq!(stream.read_u8().await.unwrap(), b'X');
    }

    #[tokio::test]
    async fn end_within_the_header_is_an_error() {
        let (mut client, mut stream) = pair().await;
        client.write_all(b"PROXY TCP4 203").await.unwrap();
        drop(client);
        assert!(matches!(read(&mut stream).await, Err(ProxyHeaderError::Io(_))));
    }

    #[tokio::test]
    async fn other_data_is_refused_at_once() {
        let (mut client, mut stream) = pair().await;
        client.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        assert!(matches!(read(&mut stream).await, Err(ProxyHeaderError::Header(HeaderError::Missing))));
    }
}
