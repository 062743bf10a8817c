//! Connections to the proxy: TCP on loopback, TLS 1.3 over it. It says nothing over them.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider, kx_group};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// What every client is told.
#[derive(Debug, Clone, Args)]
pub(crate) struct Target {
    /// The proxy's port on 127.0.0.1.
    #[arg(long)]
    pub(crate) port: u16,
    /// What is asked for.
    #[arg(long, default_value = "/_matrix/client/v3/account/whoami")]
    pub(crate) path: String,
}

/// What is spoken over a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spoken {
    Http1,
    Http2,
}

/// Whether handshakes use tickets of earlier ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tickets {
    Used,
    Refused,
}

/// Opens connections to one proxy, all alike.
#[derive(Clone)]
pub(crate) struct Dialer {
    connector: TlsConnector,
    proxy: SocketAddr,
}

impl Dialer {
    /// For the proxy at `port`.
    ///
    /// # Errors
    /// When the provider does not know TLS 1.3.
    pub(crate) fn new(port: u16, spoken: Spoken, tickets: Tickets) -> io::Result<Self> {
        let config = client_config(spoken, tickets).map_err(io::Error::other)?;
        let proxy = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Ok(Self { connector: TlsConnector::from(Arc::new(config)), proxy })
    }

    /// Opens the connection of this number, TLS included; gives up after a while.
    pub(crate) async fn dial(&self, number: usize) -> io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
        let dialed = async { self.connector.connect(name, self.dial_tcp(number).await?).await };
        timeout(PATIENCE, dialed).await?
    }

    async fn dial_tcp(&self, number: usize) -> io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from((source(number), 0)))?;
        let stream = socket.connect(self.proxy).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

/// The source address of a connection: many of 127.0.0.0/8, so that no address runs out of ports.
fn source(number: usize) -> Ipv4Addr {
    let [.., low] = (number / PER_ADDRESS % 250).to_be_bytes();
    Ipv4Addr::new(127, 0, 1, low + 1)
}

fn client_config(spoken: Spoken, tickets: Tickets) -> Result<ClientConfig, Error> {
    let mut provider = default_provider();
    // One cipher and one group for all proxies, whatever they like best.
    provider.cipher_suites =
        vec![cipher_suite::TLS13_AES_128_GCM_SHA256, cipher_suite::TLS13_AES_256_GCM_SHA384];
    provider.kx_groups = vec![kx_group::X25519];
    let unverified = Arc::new(Unverified(provider.signature_verification_algorithms));
    let mut config = ClientConfig::builder_with_provider(Arc::<CryptoProvider>::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(unverified)
        .with_no_client_auth();
    config.resumption = match tickets {
        Tickets::Used => Resumption::in_memory_sessions(256),
        Tickets::Refused => Resumption::disabled(),
    };
    config.alpn_protocols = match spoken {
        Spoken::Http1 => vec![b"http/1.1".to_vec()],
        Spoken::Http2 => vec![b"h2".to_vec()],
    };
    Ok(config)
}

/// Believes every certificate: to check them would cost the client more than the handshake costs the proxy.
#[derive(Debug)]
struct Unverified(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

/// Far more than a proxy that is busy needs.
const PATIENCE: Duration = Duration::from_secs(20);
/// Well below the ephemeral ports of one address.
const PER_ADDRESS: usize = 4000;
