//! HTTP/2 as a client sees it: streams on one connection.

use std::io;

use bytes::Bytes;
use h2::client::SendRequest;
use http::Request;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::client::TlsStream;

use crate::wire::HEADERS;

/// An open connection.
pub(crate) struct Connection {
    streams: SendRequest<Bytes>,
    driver: JoinHandle<()>,
}

impl Connection {
    /// Begins HTTP/2 on an open TLS connection.
    pub(crate) async fn open(stream: TlsStream<TcpStream>) -> io::Result<Self> {
        let (streams, connection) = h2::client::handshake(stream).await.map_err(io::Error::other)?;
        // How it ended is seen by the streams.
        let driver = tokio::spawn(async move { drop(connection.await) });
        Ok(Self { streams, driver })
    }

    /// Asks for `path` on a stream of its own: status and body.
    pub(crate) async fn ask(&mut self, path: &str) -> io::Result<(u16, Vec<u8>)> {
        let request = request(path).map_err(io::Error::other)?;
        std::future::poll_fn(|task| self.streams.poll_ready(task)).await.map_err(io::Error::other)?;
        let (response, _) = self.streams.send_request(request, true).map_err(io::Error::other)?;
        let (head, mut incoming) = response.await.map_err(io::Error::other)?.into_parts();
        let mut body = Vec::new();
        while let Some(piece) = incoming.data().await {
            let piece = piece.map_err(io::Error::other)?;
            incoming.flow_control().release_capacity(piece.len()).map_err(io::Error::other)?;
            body.extend_from_slice(&piece);
        }
        Ok((head.status.as_u16(), body))
    }

    /// Waits until the proxy closes the connection.
    pub(crate) async fn closed(&mut self) {
        // Its end is all that is asked for.
        let _ = (&mut self.driver).await;
    }
}

fn request(path: &str) -> http::Result<Request<()>> {
    let request = Request::get(format!("https://localhost{path}"));
    HEADERS.iter().fold(request, |request, (name, value)| request.header(*name, *value)).body(())
}
