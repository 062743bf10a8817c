//! Opens connections to backends: TCP, unix sockets, TLS over either.
//!
//! It tries the addresses that a backend has now; resolving names is the prober's.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout_at;
use tokio_rustls::TlsConnector;

use crate::config::model::BackendAddress;

use super::backend::{Backend, Tls};
use super::health::ProbeFailure;
use super::stream::{Plain, Stream};

/// A connection that could not be opened. No byte of a request was sent.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The backend's name has no address yet.
    #[error("the backend's name does not resolve")]
    Unresolved,
    /// Nothing listens there.
    #[error("the backend refused the connection")]
    Refused(#[source] io::Error),
    /// There is no way there: the tunnel or its route is missing.
    #[error("there is no route to the backend")]
    NoRoute(#[source] io::Error),
    /// It did not stand in time.
    #[error("no connection to the backend stood in time")]
    Timeout,
    /// The TLS handshake failed.
    #[error("the tls handshake with the backend failed")]
    Tls(#[source] io::Error),
    /// The system refused: no descriptor is left, no permission, and the like.
    #[error("no connection to the backend could be opened")]
    System(#[source] io::Error),
}

impl DialError {
    /// What it says of the backend; `None`: nothing, the fault is here.
    pub fn evidence(&self) -> Option<ProbeFailure> {
        match self {
            Self::Unresolved => Some(ProbeFailure::Unresolved),
            Self::Refused(_) => Some(ProbeFailure::Refused),
            Self::NoRoute(_) => Some(ProbeFailure::NoRoute),
            Self::Timeout => Some(ProbeFailure::ConnectTimeout),
            Self::Tls(_) => Some(ProbeFailure::Tls),
            Self::System(_) => None,
        }
    }
}

/// Silence after which the kernel asks whether the other end still lives.
///
/// Its patience (30 s + 8 times 15 s) is longer than the outages that a tunnel heals from: a poll that
/// waits through one must find its connection alive. It exists to let go of ends that are gone for good.
const KEEPALIVE: TcpKeepalive = keepalive();

#[cfg(target_os = "linux")]
const fn keepalive() -> TcpKeepalive {
    TcpKeepalive::new()
        .with_time(Duration::from_secs(30))
        .with_interval(Duration::from_secs(15))
        .with_retries(8)
}

#[cfg(not(target_os = "linux"))]
const fn keepalive() -> TcpKeepalive {
    TcpKeepalive::new().with_time(Duration::from_secs(30))
}

/// Opens a connection that stands, TLS included, by `deadline`.
pub async fn open(backend: &Backend, deadline: Instant) -> Result<Stream, DialError> {
    let whole = async {
        let plain = match backend.address() {
            BackendAddress::Unix(path) => unix(path).await?,
            BackendAddress::Socket(addr) => tcp(*addr).await?,
            BackendAddress::Name(..) => first_of(backend, deadline).await?,
        };
        match backend.tls() {
            Some(tls) => handshake(tls, plain).await,
            None => Ok(Stream::Plain(plain)),
        }
    };
    timeout_at(deadline.into(), whole).await.unwrap_or(Err(DialError::Timeout))
}

/// Tries the addresses of a name in turn, each with its share of the time that is left.
async fn first_of(backend: &Backend, deadline: Instant) -> Result<Plain, DialError> {
    let addresses = std::sync::Arc::clone(&backend.resolved());
    let mut last = DialError::Unresolved;
    for (tried, addr) in addresses.iter().enumerate() {
        let now = crate::clock::now();
        let others = u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
        let share = now + deadline.saturating_duration_since(now) / others;
        match timeout_at(share.into(), tcp(*addr)).await.unwrap_or(Err(DialError::Timeout)) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn tcp(addr: SocketAddr) -> Result<Plain, DialError> {
    let stream = TcpStream::connect(addr).await.map_err(failure)?;
    // A head and its body go out in one write; waiting for more to send along would only be slow.
    stream.set_nodelay(true).map_err(failure)?;
    // Not worth failing for: without it a dead end is noticed later.
    let _ = SockRef::from(&stream).set_tcp_keepalive(&KEEPALIVE);
    Ok(Plain::Tcp(stream))
}

async fn unix(path: &Path) -> Result<Plain, DialError> {
    UnixStream::connect(path).await.map(Plain::Unix).map_err(failure)
}

async fn handshake(tls: &Tls, plain: Plain) -> Result<Stream, DialError> {
    let connector = TlsConnector::from(std::sync::Arc::clone(&tls.config));
    let stream = connector.connect(tls.name.clone(), plain).await.map_err(DialError::Tls)?;
    Ok(Stream::Tls(Box::new(stream)))
}

fn failure(error: io::Error) -> DialError {
    use io::ErrorKind as Kind;
    match error.kind() {
        // A unix socket that is not there yet is a backend that does not listen yet.
        Kind::ConnectionRefused | Kind::ConnectionReset | Kind::NotFound => DialError::Refused(error),
        Kind::HostUnreachable | Kind::NetworkUnreachable | Kind::NetworkDown | Kind::AddrNotAvailable => {
            DialError::NoRoute(error)
        }
        Kind::TimedOut => DialError::Timeout,
        _ => DialError::System(error),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;

    use rustls::ServerConfig;
    use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
    use tokio::net::{TcpListener, UnixListener};
    use tokio_rustls::TlsAcceptor;

    use super::super::error::Cause;
    use super::super::fake::{self, Fake, Peer, error, fetch, get};
    use super::super::group::{self, Group};
    use super::super::pool::Pools;
    use super::*;
    use crate::config::model::BackendTls;

    const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";

    #[tokio::test]
    async fn unix_socket_is_a_backend() {
        let dir = std::env::temp_dir().join(format!(
            "porchd-dial-{}-{:x}",
            std::process::id(),
            crate::clock::random()
        ));
        std::fs::create_dir(&dir).unwrap();
        let path = dir.join("s");
        let listener = UnixListener::bind(&path).unwrap();
        tokio::spawn(async move {
            let mut peer = Peer::new(listener.accept().await.unwrap().0);
            while peer.request().await.is_some() {
                peer.send(OK).await;
            }
        });
        let group = fake::groups(&[fake::upstream(&[BackendAddress::Unix(path)])]).remove(0);
        let pools = Pools::new();
        for _ in 0..2 {
            assert_eq!(fetch(&pools, &group).await, (200, "hi".to_owned()));
        }
        assert_eq!((pools.kept(), group.backends()[0].open()), (1, 1));
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn socket_that_is_not_there_refuses() {
        let group = fake::groups(&[fake::upstream(&[BackendAddress::Unix("/nowhere/s".into())])]).remove(0);
        let sent = Pools::new().send(&group, get(&http::Method::GET)).await.0;
        assert!(matches!(error(sent).cause, Cause::Dial(DialError::Refused(_))));
    }

    /// A TLS backend for the name `home.test`; its root as PEM.
    async fn tls_backend() -> (SocketAddr, String) {
        let signed = rcgen::generate_simple_self_signed(["home.test".to_owned()]).unwrap();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(signed.signing_key.serialize_der()));
        let client = super::super::tls::client_config(Some(signed.cert.pem().as_bytes())).unwrap();
        let mut config = ServerConfig::builder_with_provider(Arc::clone(client.crypto_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![signed.cert.der().clone()], key)
            .unwrap();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
                    let mut peer = Peer::new(stream);
                    while peer.request().await.is_some() {
                        peer.send(OK).await;
                    }
                });
            }
        });
        (addr, signed.cert.pem())
    }

    fn tls_group(addr: SocketAddr, name: Option<&str>, roots: &str, old: &[Arc<Group>]) -> Arc<Group> {
        let mut def = fake::upstream(&[BackendAddress::Socket(addr)]);
        def.connect_timeout = Duration::from_millis(300);
        def.tls = Some(BackendTls {
            server_name: name.map(Arc::from),
            ca_file: Some(PathBuf::from("/etc/roots.pem")),
        });
        group::build(&[def], old, &mut |_| Ok(roots.as_bytes().to_vec())).unwrap().remove(0)
    }

    #[tokio::test]
    async fn tls_backend_is_verified_and_its_connection_kept() {
        let (addr, roots) = tls_backend().await;
        let group = tls_group(addr, Some("home.test"), &roots, &[]);
        let pools = Pools::new();
        for _ in 0..3 {
            assert_eq!(fetch(&pools, &group).await, (200, "hi".to_owned()));
        }
        assert_eq!((pools.kept(), group.backends()[0].open()), (1, 1));
    }

    #[tokio::test]
    async fn tls_backend_of_another_name_or_root_is_refused() {
        let (addr, roots) = tls_backend().await;
        let other = rcgen::generate_simple_self_signed(["home.test".to_owned()]).unwrap().cert.pem();
        for (name, roots) in [(Some("other.test"), &roots), (None, &roots), (Some("home.test"), &other)] {
            let group = tls_group(addr, name, roots, &[]);
            let sent = Pools::new().send(&group, get(&http::Method::GET)).await.0;
            assert!(matches!(error(sent).cause, Cause::Dial(DialError::Tls(_))));
        }
    }

    #[tokio::test]
    async fn roots_that_changed_make_a_new_group() {
        let (addr, roots) = tls_backend().await;
        let old = tls_group(addr, Some("home.test"), &roots, &[]);
        let same = tls_group(addr, Some("home.test"), &roots, &[Arc::clone(&old)]);
        assert!(Arc::ptr_eq(&old, &same));
        let more = format!("{roots}{roots}");
        let new = tls_group(addr, Some("home.test"), &more, &[Arc::clone(&old)]);
        assert!(!Arc::ptr_eq(&old.backends()[0], &new.backends()[0]));
    }

    #[tokio::test(start_paused = true)]
    async fn handshake_that_hangs_times_out() {
        let backend = Fake::start(|_, mut peer| async move { peer.closed().await }).await;
        let (_, roots) = tls_backend().await;
        let group = tls_group(backend.addr, Some("home.test"), &roots, &[]);
        let start = crate::clock::now();
        let error = error(Pools::new().send(&group, get(&http::Method::GET)).await.0);
        assert!(matches!(error.cause, Cause::Dial(DialError::Timeout)), "{error:?}");
        assert!(crate::clock::now() - start >= Duration::from_millis(300));
        assert_eq!(group.backends()[0].open(), 0);
    }
}
