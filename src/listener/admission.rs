//! The way of one accepted connection until it may be served: PROXY header, limits, TLS handshake.
//!
//! One deadline bounds all of it. Failures are the client's affair: told at debug level and counted.

use std::any::Any;
use std::future::ready;
use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::net::TcpStream;

use crate::clock;
use crate::listener::handshake::{Established, Shaken, TlsError, handshake};
use crate::listener::open_connections::OpenConnection;
use crate::listener::permits::{Slot, TooMany};
use crate::listener::proxy_header::{self, ProxyHeaderError};
use crate::listener::proxy_protocol::Origin;
use crate::listener::serving::{Arrived, Serving, Terms, TlsFacts};
use crate::listener::shared::Shared;
use crate::serve::stream::{Socket, Stream};

/// A connection as accept(2) gave it.
#[derive(Debug)]
pub struct Accepted {
    /// The connection, non-blocking.
    pub stream: std::net::TcpStream,
    /// Its other end.
    pub peer: SocketAddr,
    /// Name of the listener that accepted it.
    pub listener: Arc<str>,
    /// Its slot in the total of connections.
    pub slot: Slot,
}

/// A connection that never came to be served.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// A proxy that must name its client did not.
    #[error("no good PROXY header from a peer that must send one")]
    ProxyHeader(#[source] ProxyHeaderError),
    /// The client has too many connections already.
    #[error(transparent)]
    TooMany(#[from] TooMany),
    /// TLS failed, or no certificate covers the name that was asked for.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The deadline passed.
    #[error("the handshake took longer than limits.handshake")]
    TimedOut,
    /// All places are taken, and somebody else got this one.
    #[error("the handshake was slow, and as many connections are open as limits.connections allows")]
    GaveWay,
    /// The listener was removed by a reload meanwhile, or speaks TLS now.
    #[error("the listener is no longer what it was")]
    Removed,
    /// The connection broke.
    #[error("the connection broke")]
    Broken(#[source] io::Error),
}

/// Brings a connection to where it can be served, and serves it to its end.
pub async fn admit_and_serve<S: Serving>(
    serving: Rc<S>,
    shared: Arc<Shared>,
    accepted: Accepted,
    connection: OpenConnection,
) {
    let (listener, peer) = (accepted.listener.clone(), accepted.peer);
    // Boxed: what a handshake needs would otherwise stay reserved for the connection's whole life.
    match Box::pin(admit_in_time(serving, &shared, accepted, connection)).await {
        Ok(service) => service.await,
        Err(error) => record_failure(&shared, &listener, peer, &error),
    }
}

/// Serves an admitted connection to its end.
type Service = Pin<Box<dyn Future<Output = ()>>>;

/// Counts a connection that did not come to be served, and tells of it.
fn record_failure(shared: &Shared, listener: &str, peer: SocketAddr, error: &HandshakeError) {
    if let HandshakeError::TooMany(_) = error {
        shared.counters.too_many.add();
        if shared.too_many.allows(clock::now()) {
            let dropped = shared.counters.too_many.get();
            tracing::info!(listener, %peer, dropped, "connection dropped: {error}");
        }
        return;
    }
    shared.counters.failed.add();
    match error {
        HandshakeError::Tls(_) => shared.counters.unshaken.add(),
        HandshakeError::TimedOut => shared.counters.timed_out.add(),
        _ => {}
    }
    let error: &dyn std::error::Error = error;
    tracing::debug!(listener, %peer, error, "connection dropped before its first request");
}

async fn admit_in_time<S: Serving>(
    serving: Rc<S>,
    shared: &Shared,
    accepted: Accepted,
    connection: OpenConnection,
) -> Result<Service, HandshakeError> {
    let listener = accepted.listener.clone();
    let peer = accepted.peer.ip().to_canonical();
    let seat = accepted.slot.seat();
    let terms = serving.terms(&listener, peer).ok_or(HandshakeError::Removed)?;
    let admission = admit(serving.clone(), shared, terms, accepted, connection);
    let admitted = tokio::time::timeout(terms.handshake, admission);
    let service = tokio::select! {
        biased;
        admitted = admitted => admitted.map_err(|_| HandshakeError::TimedOut)??,
        () = seat.wanted() => return Err(HandshakeError::GaveWay),
    };
    // Closed, or turned to TLS, while it was on its way: it was in nobody's list to be told.
    let still = serving.terms(&listener, peer).filter(|still| still.tls == terms.tls);
    still.ok_or(HandshakeError::Removed)?;
    Ok(service)
}

async fn admit<S: Serving>(
    serving: Rc<S>,
    shared: &Shared,
    terms: Terms,
    accepted: Accepted,
    connection: OpenConnection,
) -> Result<Service, HandshakeError> {
    let Accepted { stream, peer, listener, slot } = accepted;
    let seat = slot.seat();
    let mut stream = TcpStream::from_std(stream).map_err(HandshakeError::Broken)?;
    let (client, local) = ends(&mut stream, peer, terms.proxy_header).await?;
    let permit = if serving.stands_for_many(client.ip()) { slot.of_many() } else { slot.claim(client.ip())? };
    let permit = connection.with_permit(permit);
    if !terms.tls {
        let arrived = Arrived { client, local, listener, tls: None, permit, seat };
        return Ok(Box::pin(serving.serve(arrived, Stream::Plain(Socket(stream)))));
    }
    let certificate = |sni: Option<&Arc<str>>| serving.certificate(sni, local.ip());
    let shaken = handshake(stream, certificate, |sni| serving.challenge(sni)).await?;
    let Established { stream, sni, h2, resumed, certificate } = match shaken {
        Shaken::Established(established) => established,
        Shaken::Proven => {
            tracing::debug!(listener = &*listener, peer = %client, "a CA has looked by tls-alpn-01");
            return Ok(Box::pin(ready(())));
        }
    };
    if resumed { &shared.counters.resumed } else { &shared.counters.shaken }.add();
    let tls = Some(TlsFacts { sni, h2, served: certificate });
    let arrived = Arrived { client, local, listener, tls, permit, seat };
    Ok(Box::pin(serving.serve(arrived, Stream::Tls(stream))))
}

/// Who is at the ends of this connection: the client, and the address that it reached.
async fn ends(
    stream: &mut TcpStream,
    peer: SocketAddr,
    proxy_header: bool,
) -> Result<(SocketAddr, SocketAddr), HandshakeError> {
    if proxy_header {
        let origin = proxy_header::read(stream).await.map_err(HandshakeError::ProxyHeader)?;
        if let Origin::Client { from, to } = origin {
            return Ok((from, to));
        }
    }
    let local = stream.local_addr().map_err(HandshakeError::Broken)?;
    Ok((canonical(peer), canonical(local)))
}

fn canonical(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
}

pin_project_lite::pin_project! {
    /// A connection's task, run so that a panic in it ends this connection and nothing else.
    pub struct Contained<F> {
        #[pin]
        task: F,
    }
}

impl<F> Contained<F> {
    /// Contains `task`.
    pub fn new(task: F) -> Self {
        Self { task }
    }
}

impl<F: Future<Output = ()>> Future for Contained<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let task = self.project().task;
        // A task that panicked is never polled again, so nobody meets its broken invariants.
        catch_unwind(AssertUnwindSafe(|| clock::hold(|| task.poll(cx)))).unwrap_or_else(|payload| {
            tracing::error!("a connection was lost to a panic: {}", panic_text(&*payload));
            Poll::Ready(())
        })
    }
}

fn panic_text(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use rustls::{ClientConfig, ClientConnection, RootCertStore};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::time::Duration;

    use super::*;
    use crate::listener::echo::{self, Echo};
    use crate::listener::open_connections::OpenConnections;
    use crate::tls::challenges::ALPN;

    async fn accepted(shared: &Shared) -> (TcpStream, Accepted) {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let connect = TcpStream::connect(socket.local_addr().unwrap());
        let (client, accepted) = tokio::join!(connect, socket.accept());
        let (stream, peer) = accepted.unwrap();
        let slot = shared.permits.try_slot().unwrap();
        let stream = stream.into_std().unwrap();
        (client.unwrap(), Accepted { stream, peer, listener: "http".into(), slot })
    }

    /// What a client reads that sends `sent` to an echo.
    async fn talk(echo: Echo, shared: &Arc<Shared>, sent: &[u8]) -> String {
        let (mut client, accepted) = accepted(shared).await;
        client.write_all(sent).await.unwrap();
        client.shutdown().await.unwrap();
        let mut answer = String::new();
        let admission =
            admit_and_serve(Rc::new(echo), shared.clone(), accepted, OpenConnections::default().add());
        let (read, ()) = tokio::join!(client.read_to_string(&mut answer), admission);
        // A dropped connection may end with a reset, as the client's bytes were not read.
        let _ = read;
        answer
    }

    fn proxied() -> Echo {
        Echo { proxies: vec!["127.0.0.0/8".parse().unwrap()], ..Echo::new("a") }
    }

    #[tokio::test]
    async fn listed_proxy_names_the_client() {
        let shared = echo::shared(10, 10);
        let header = b"PROXY TCP4 203.0.113.9 192.0.2.1 56324 443\r\nhello";
        assert_eq!(talk(proxied(), &shared, header).await, "a http 203.0.113.9\nhello");
        assert_eq!(talk(proxied(), &shared, b"PROXY UNKNOWN\r\nhello").await, "a http 127.0.0.1\nhello");
    }

    #[tokio::test]
    async fn listed_proxy_must_name_the_client() {
        let shared = echo::shared(10, 10);
        assert_eq!(talk(proxied(), &shared, b"GET / HTTP/1.1\r\n\r\n").await, "");
        assert_eq!(shared.counters.failed.get(), 1);
    }

    #[tokio::test]
    async fn unlisted_peer_is_served_as_it_is() {
        let shared = echo::shared(10, 10);
        let echo = Echo { proxies: vec!["192.0.2.0/24".parse().unwrap()], ..Echo::new("a") };
        assert_eq!(talk(echo, &shared, b"PROXY UNKNOWN\r\n").await, "a http 127.0.0.1\nPROXY UNKNOWN\r\n");
    }

    #[tokio::test]
    async fn limit_counts_the_client_that_the_proxy_names() {
        let shared = echo::shared(10, 1);
        let other = shared.permits.try_slot().unwrap().claim("203.0.113.8".parse().unwrap()).unwrap();
        let same = shared.permits.try_slot().unwrap().claim("203.0.113.9".parse().unwrap()).unwrap();
        let header = b"PROXY TCP4 203.0.113.9 192.0.2.1 56324 443\r\n";
        assert_eq!(talk(proxied(), &shared, header).await, "");
        assert_eq!(shared.counters.too_many.get(), 1);
        drop(same);
        assert_eq!(talk(proxied(), &shared, header).await, "a http 203.0.113.9\n");
        drop(other);
    }

    #[tokio::test]
    async fn proxy_of_many_clients_has_no_limit() {
        let shared = echo::shared(10, 0);
        let header = b"PROXY TCP4 0.0.0.0 192.0.2.1 56324 443\r\n";
        assert_eq!(talk(proxied(), &shared, header).await, "a http 0.0.0.0\n");
    }

    #[tokio::test(start_paused = true)]
    async fn silent_client_is_dropped_at_the_deadline() {
        for echo in [Echo { tls: true, ..Echo::new("a") }, proxied()] {
            let shared = echo::shared(10, 10);
            let (client, accepted) = accepted(&shared).await;
            let start = crate::clock::now();
            admit_and_serve(Rc::new(echo), shared.clone(), accepted, OpenConnections::default().add()).await;
            assert_eq!(crate::clock::now().duration_since(start).as_secs(), 10);
            assert_eq!((shared.counters.failed.get(), shared.permits.open()), (1, 0));
            drop(client);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn dripping_client_does_not_extend_the_deadline() {
        let shared = echo::shared(10, 10);
        let (mut client, accepted) = accepted(&shared).await;
        let echo = Rc::new(Echo { tls: true, ..proxied() });
        let start = crate::clock::now();
        let drip = async {
            for byte in b"PROXY UNKNOWN\r\n\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".repeat(9) {
                tokio::time::sleep(Duration::from_secs(1)).await;
                if client.write_all(&[byte]).await.is_err() {
                    break;
                }
            }
        };
        let admission = admit_and_serve(echo, shared.clone(), accepted, OpenConnections::default().add());
        tokio::select! { () = admission => {}, () = drip => unreachable!("the deadline comes first") }
        assert_eq!(crate::clock::now().duration_since(start).as_secs(), 10);
    }

    #[tokio::test]
    async fn removed_listener_takes_nobody() {
        let shared = echo::shared(10, 10);
        let echo = Echo::new("a");
        echo.retire("http");
        assert_eq!(talk(echo, &shared, b"hello").await, "");
    }

    /// A ClientHello that asks for `example.com` and offers `acme-tls/1` alone.
    fn looking() -> Vec<u8> {
        let mut config = ClientConfig::builder_with_provider(crate::tls::provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        config.alpn_protocols = vec![ALPN.to_vec()];
        let name = "example.com".try_into().unwrap();
        let mut hello = Vec::new();
        ClientConnection::new(Arc::new(config), name).unwrap().write_tls(&mut hello).unwrap();
        hello
    }

    #[tokio::test]
    async fn ca_behind_a_proxy_is_answered_and_never_served() {
        let shared = echo::shared(10, 10);
        let echo = Rc::new(Echo { tls: true, ..proxied() });
        let (mut client, accepted) = accepted(&shared).await;
        let hello = [&b"PROXY TCP4 203.0.113.9 192.0.2.1 56324 443\r\n"[..], &looking()].concat();
        client.write_all(&hello).await.unwrap();
        client.shutdown().await.unwrap();
        let _offer = echo.challenges.offer_certificate("example.com", &[7; 32]).unwrap();
        admit_and_serve(echo, shared.clone(), accepted, OpenConnections::default().add()).await;
        let mut answer = [0; 6];
        client.read_exact(&mut answer).await.unwrap();
        // A handshake record with a ServerHello (RFC 8446 section 4.1.3): nothing else would be shown here.
        assert_eq!((answer[0], answer[5]), (22, 2));
        assert_eq!(shared.permits.open(), 0);
    }
}
