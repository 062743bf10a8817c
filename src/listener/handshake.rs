//! The TLS handshake: the name that is asked for picks the certificate, plain HTTP gets a plain answer.
//!
//! It has no deadline of its own: `admission.rs` bounds everything before the first request together.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::server::{Acceptor, ClientHello};
use rustls::{HandshakeKind, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tokio_rustls::{LazyConfigAcceptor, StartHandshake};

use crate::serve::stream::Socket;
use crate::tls::challenges::ALPN;

/// A certificate that is ready to be served.
pub trait Certificate {
    /// The TLS settings that present it.
    fn config(&self) -> &Arc<ServerConfig>;
}

/// A handshake that succeeded.
#[derive(Debug)]
pub struct Established<C> {
    /// The encrypted stream.
    pub stream: Box<TlsStream<Socket>>,
    /// The name that the client asked for: lower case, without trailing dot.
    pub sni: Option<Arc<str>>,
    /// Whether HTTP/2 was negotiated (RFC 7301).
    pub h2: bool,
    /// Whether it took up an earlier session.
    pub resumed: bool,
    /// The certificate that the client was shown.
    pub certificate: C,
}

/// What a handshake was for.
#[derive(Debug)]
pub enum Shaken<C> {
    /// A connection to serve.
    Established(Established<C>),
    /// A CA has seen what proves control over a name (RFC 8737), and there is nothing more to say.
    Proven,
}

/// A handshake that failed.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The client speaks http to a port that speaks https; it was told so.
    #[error("plain http on a port that speaks https")]
    PlainHttp,
    /// No certificate covers the name.
    #[error("no certificate covers {}", sni.as_deref().unwrap_or("a client that asks for no name"))]
    NoCertificate {
        /// The name that was asked for.
        sni: Option<Arc<str>>,
    },
    /// A CA looks for a proof that is not offered.
    #[error("no order is under way that tls-alpn-01 would prove {} for", sni.as_deref().unwrap_or("no name"))]
    NoChallenge {
        /// The name that was asked for.
        sni: Option<Arc<str>>,
    },
    /// The client left, or sent what TLS does not allow.
    #[error("tls handshake failed")]
    Tls(#[from] io::Error),
}

/// Shakes hands. `lookup` finds the certificate for the name that the client asks for, `challenge` what a CA
/// that asks for it should see.
///
/// Every step is boxed apart: thousands of clients may stand half-way through, and an unboxed one would
/// hold room for all steps (rustls' states are above 1 KiB each).
pub async fn handshake<C: Certificate>(
    stream: TcpStream,
    lookup: impl FnOnce(Option<&Arc<str>>) -> Option<C>,
    challenge: impl FnOnce(&str) -> Option<Arc<ServerConfig>>,
) -> Result<Shaken<C>, TlsError> {
    let opening = first_record(&stream).await?;
    if opening.first().is_some_and(u8::is_ascii_uppercase) {
        // Records begin with a content type of 20 to 24 (RFC 8446 5.1), methods with a capital letter.
        tell_plain_client(stream).await;
        return Err(TlsError::PlainHttp);
    }
    let mut start = Box::pin(hello(Socket(stream), opening)).await?;
    let sni = start.client_hello().server_name().map(canonical);
    if asks_for_proof(&start.client_hello()) {
        let Some(config) = sni.as_deref().and_then(challenge) else {
            let _ = start.io.write_all(UNRECOGNIZED_NAME).await;
            return Err(TlsError::NoChallenge { sni });
        };
        Box::pin(prove(start, config)).await?;
        return Ok(Shaken::Proven);
    }
    let Some(certificate) = lookup(sni.as_ref()) else {
        // The client's own message is better when it is told why; it may be gone already.
        let _ = start.io.write_all(UNRECOGNIZED_NAME).await;
        return Err(TlsError::NoCertificate { sni });
    };
    let config = certificate.config().clone();
    let stream = Box::pin(async move { start.into_stream(config).await.map(Box::new) }).await?;
    let tls = stream.get_ref().1;
    let h2 = tls.alpn_protocol() == Some(b"h2");
    let resumed = tls.handshake_kind() == Some(HandshakeKind::Resumed);
    Ok(Shaken::Established(Established { stream, sni, h2, resumed, certificate }))
}

/// Whether a CA looks: it offers its protocol and no other (RFC 8737 section 3).
fn asks_for_proof(hello: &ClientHello<'_>) -> bool {
    hello.alpn().is_some_and(|mut offered| offered.next() == Some(ALPN) && offered.next().is_none())
}

/// Shows a CA the proof and says goodbye: nothing is ever spoken over such a connection.
async fn prove(start: Box<StartHandshake<Socket>>, config: Arc<ServerConfig>) -> Result<(), TlsError> {
    let mut stream = start.into_stream(config).await?;
    // The handshake was what counts; a CA may have left after it.
    let _ = stream.shutdown().await;
    Ok(())
}

/// Reads until there is a whole record, or something that is none.
///
/// rustls would take several KiB for the first byte; a client that stands half-way costs what it sent.
async fn first_record(stream: &TcpStream) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    while !begins_with_record(&bytes) {
        stream.readable().await?;
        match read_now(stream, &mut bytes) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(bytes)
}

/// Whether rustls can judge these bytes: a handshake record is whole, or they are something else.
fn begins_with_record(bytes: &[u8]) -> bool {
    match *bytes {
        [] => false,
        [HANDSHAKE, _, _, high, low, ..] => {
            let length = usize::from(u16::from_be_bytes([high, low]));
            length > LARGEST_RECORD || bytes.len() - RECORD_HEADER >= length
        }
        [HANDSHAKE, ..] => false,
        _ => true,
    }
}

/// Appends what is readable, in no more memory than it needs. The large buffer is not kept.
fn read_now(stream: &TcpStream, bytes: &mut Vec<u8>) -> io::Result<usize> {
    let mut buffer = [0; 4096];
    let count = stream.try_read(&mut buffer)?;
    bytes.extend_from_slice(&buffer[..count]);
    Ok(count)
}

/// Reads the ClientHello, of which `opening` has come already.
async fn hello(mut stream: Socket, opening: Vec<u8>) -> Result<Box<StartHandshake<Socket>>, TlsError> {
    let mut acceptor = Acceptor::default();
    let mut rest = &opening[..];
    while !rest.is_empty() {
        acceptor.read_tls(&mut rest)?;
    }
    match acceptor.accept() {
        Ok(Some(accepted)) => Ok(Box::new(StartHandshake::from_parts(accepted, stream))),
        // It goes over several records.
        Ok(None) => Ok(Box::new(LazyConfigAcceptor::new(acceptor, stream).await?)),
        Err((error, mut alert)) => {
            let mut bytes = Vec::new();
            alert.write_all(&mut bytes)?;
            stream.write_all(&bytes).await?;
            Err(io::Error::new(io::ErrorKind::InvalidData, error).into())
        }
    }
}

/// DNS names are compared without case and without the trailing dot (RFC 6066 3).
fn canonical(name: &str) -> Arc<str> {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase().into()
}

/// Says in plain text what is wrong. Whether it arrives is the client's affair.
async fn tell_plain_client(mut stream: TcpStream) {
    if stream.write_all(SPEAKS_HTTPS).await.is_err() || stream.shutdown().await.is_err() {
        return;
    }
    // Closing with unread bytes would reset the connection and destroy the answer on its way.
    let mut rest = tokio::io::sink();
    let mut bounded = stream.take(LINGER_BYTES);
    let _ = tokio::time::timeout(LINGER, tokio::io::copy(&mut bounded, &mut rest)).await;
}

/// A fatal alert `unrecognized_name` (RFC 6066 3) in a record of its own: nothing is encrypted yet.
const UNRECOGNIZED_NAME: &[u8] = &[21, 3, 3, 0, 2, 2, 112];

/// Content type of handshake records (RFC 8446 5.1).
const HANDSHAKE: u8 = 22;
const RECORD_HEADER: usize = 5;
/// Of a plaintext record (RFC 8446 5.1); rustls refuses what claims to be larger.
const LARGEST_RECORD: usize = 1 << 14;

const SPEAKS_HTTPS: &[u8] = b"HTTP/1.1 400 Bad Request\r\n\
    Content-Type: text/plain; charset=utf-8\r\n\
    Content-Length: 59\r\n\
    Connection: close\r\n\
    \r\n\
    This port speaks https: the address must begin with https.\n";

const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: u64 = 64 * 1024;

#[cfg(test)]
mod tests {
    use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
    use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsConnector;
    use tokio_rustls::client::TlsStream as ClientStream;

    use super::*;
    use crate::tls::challenges::Challenges;

    /// Counts as the certificate of `example.com`.
    #[derive(Debug, Clone)]
    struct Test(Arc<ServerConfig>);

    impl Certificate for Test {
        fn config(&self) -> &Arc<ServerConfig> {
            &self.0
        }
    }

    /// Takes any certificate, as a CA does that looks into it by itself.
    #[derive(Debug)]
    struct Anything;

    impl ServerCertVerifier for Anything {
        fn verify_server_cert(
            &self,
            _: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: &ServerName<'_>,
            _: &[u8],
            _: UnixTime,
        ) -> Result<ServerCertVerified, rustls::Error> {
            Ok(ServerCertVerified::assertion())
        }

        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            Ok(HandshakeSignatureValid::assertion())
        }

        fn verify_tls13_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            Ok(HandshakeSignatureValid::assertion())
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            crate::tls::provider().signature_verification_algorithms.supported_schemes()
        }
    }

    struct Lab {
        certificate: Test,
        client: TlsConnector,
    }

    fn lab(client_alpn: &[&[u8]]) -> Lab {
        let provider = crate::tls::provider();
        let made = rcgen::generate_simple_self_signed(["example.com".to_owned()]).unwrap();
        let der: CertificateDer<'static> = made.cert.der().clone();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let mut server = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![der.clone()], key)
            .unwrap();
        server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let mut roots = rustls::RootCertStore::empty();
        roots.add(der).unwrap();
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        client.alpn_protocols = client_alpn.iter().map(|name| name.to_vec()).collect();
        Lab { certificate: Test(Arc::new(server)), client: TlsConnector::from(Arc::new(client)) }
    }

    async fn pair() -> (TcpStream, TcpStream) {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (client, accepted) =
            tokio::join!(TcpStream::connect(socket.local_addr().unwrap()), socket.accept());
        (client.unwrap(), accepted.unwrap().0)
    }

    impl Lab {
        async fn shake(&self, stream: TcpStream) -> Result<Established<Test>, TlsError> {
            match self.shake_with(stream, &Challenges::default()).await? {
                Shaken::Established(established) => Ok(established),
                Shaken::Proven => panic!("nobody asked for a proof"),
            }
        }

        async fn shake_with(
            &self,
            stream: TcpStream,
            challenges: &Challenges,
        ) -> Result<Shaken<Test>, TlsError> {
            let certificate = self.certificate.clone();
            let lookup = move |sni: Option<&Arc<str>>| {
                sni.is_some_and(|name| &**name == "example.com").then_some(certificate)
            };
            handshake(stream, lookup, |sni| challenges.handshake(sni)).await
        }
    }

    /// A CA that looks: it takes any certificate, and asks for `name` (in any form a client could).
    async fn look(stream: TcpStream, name: &str, alpn: &[&[u8]]) -> io::Result<ClientStream<TcpStream>> {
        let mut config = ClientConfig::builder_with_provider(crate::tls::provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anything))
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }

    #[tokio::test]
    async fn ca_that_looks_sees_the_proof_and_a_goodbye() {
        let lab = lab(&[]);
        let challenges = Challenges::default();
        let _offers = ["example.com", "other.test", "192.0.2.10"]
            .map(|name| challenges.offer_certificate(name, &[7; 32]).unwrap());
        for asked in ["EXAMPLE.com", "other.test", "10.2.0.192.in-addr.arpa"] {
            let (client, stream) = pair().await;
            let (shaken, seen) =
                tokio::join!(lab.shake_with(stream, &challenges), look(client, asked, &[ALPN]));
            assert!(matches!(shaken, Ok(Shaken::Proven)), "{asked}: {shaken:?}");
            let mut seen = seen.unwrap();
            assert_eq!(seen.get_ref().1.alpn_protocol(), Some(ALPN));
            let shown = seen.get_ref().1.peer_certificates().unwrap()[0].clone();
            // The extension's value: an octet string of the 32 bytes in an octet string (RFC 8737 section 3).
            let proof = [&[0x04, 0x22, 0x04, 0x20][..], &[7; 32]].concat();
            assert!(shown.windows(proof.len()).any(|window| window == proof), "{asked}");
            assert_eq!(seen.read(&mut [0; 8]).await.unwrap(), 0, "closed, and said so");
        }
    }

    #[tokio::test]
    async fn ca_that_looks_for_nothing_is_told_that_the_name_is_unknown() {
        let lab = lab(&[]);
        let challenges = Challenges::default();
        drop(challenges.offer_certificate("example.com", &[7; 32]).unwrap());
        for asked in ["example.com", "other.test", "192.0.2.1"] {
            let (client, stream) = pair().await;
            let (shaken, seen) =
                tokio::join!(lab.shake_with(stream, &challenges), look(client, asked, &[ALPN]));
            assert!(matches!(shaken, Err(TlsError::NoChallenge { .. })), "{asked}: {shaken:?}");
            assert!(seen.unwrap_err().to_string().contains("UnrecognisedName"), "{asked}");
        }
    }

    #[tokio::test]
    async fn client_that_offers_more_than_the_challenge_is_no_ca() {
        let lab = lab(&[]);
        let challenges = Challenges::default();
        let _offer = challenges.offer_certificate("example.com", &[7; 32]).unwrap();
        for offered in [&[ALPN, b"h2"][..], &[b"h2", ALPN]] {
            let (client, stream) = pair().await;
            let (shaken, seen) =
                tokio::join!(lab.shake_with(stream, &challenges), look(client, "example.com", offered));
            assert!(matches!(shaken, Ok(Shaken::Established(Established { h2: true, .. }))), "{shaken:?}");
            assert_eq!(seen.unwrap().get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        }
    }

    #[tokio::test]
    async fn asked_name_and_protocol_are_told() {
        for (offered, h2) in [(&[&b"h2"[..], b"http/1.1"][..], true), (&[b"http/1.1"], false), (&[], false)] {
            let lab = lab(offered);
            let (client, stream) = pair().await;
            let name = ServerName::try_from("EXAMPLE.com").unwrap();
            let (established, connected) = tokio::join!(lab.shake(stream), lab.client.connect(name, client));
            let established = established.unwrap();
            connected.unwrap();
            assert_eq!(established.sni.as_deref(), Some("example.com"));
            assert_eq!(established.h2, h2);
        }
    }

    #[tokio::test]
    async fn uncovered_name_gets_the_alert_for_it() {
        let lab = lab(&[]);
        let (client, stream) = pair().await;
        let name = ServerName::try_from("other.example").unwrap();
        let (established, connected) = tokio::join!(lab.shake(stream), lab.client.connect(name, client));
        let error = established.unwrap_err();
        assert_eq!(error.to_string(), "no certificate covers other.example");
        assert!(connected.unwrap_err().to_string().contains("UnrecognisedName"));
    }

    #[tokio::test]
    async fn plain_http_is_answered_in_plain_text() {
        let lab = lab(&[]);
        let (mut client, stream) = pair().await;
        let talk = async {
            client.write_all(b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n").await.unwrap();
            let mut answer = String::new();
            client.read_to_string(&mut answer).await.unwrap();
            drop(client);
            answer
        };
        let (established, answer) = tokio::join!(lab.shake(stream), talk);
        assert!(matches!(established, Err(TlsError::PlainHttp)));
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 400 "));
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())));
    }

    #[test]
    fn records_are_known_when_they_are_whole() {
        let cases: [(&[u8], bool); 8] = [
            (b"", false),
            (b"\x16", false),
            (b"\x16\x03\x01\x00", false),
            (b"\x16\x03\x01\x00\x02a", false),
            (b"\x16\x03\x01\x00\x02ab", true),
            (b"\x16\x03\x01\xff\xff", true),
            (b"\x15", true),
            (b"G", true),
        ];
        for (bytes, whole) in cases {
            assert_eq!(begins_with_record(bytes), whole, "{bytes:?}");
        }
    }

    #[tokio::test]
    async fn hello_in_pieces_and_records_is_put_together() {
        let lab = lab(&[]);
        let (client, stream) = pair().await;
        let (relay, back) = pair().await;
        let name = ServerName::try_from("example.com").unwrap();
        // The client's first record goes on in records of 100 bytes, each in two pieces.
        let cut = async {
            let (mut from, mut to) = (back, client);
            let mut header = [0; 5];
            from.read_exact(&mut header).await.unwrap();
            let mut hello = vec![0; usize::from(u16::from_be_bytes([header[3], header[4]]))];
            from.read_exact(&mut hello).await.unwrap();
            for part in hello.chunks(100) {
                let head = [22, 3, 1, 0, u8::try_from(part.len()).unwrap()];
                for piece in [&head[..3], &head[3..], part] {
                    to.write_all(piece).await.unwrap();
                    tokio::task::yield_now().await;
                }
            }
            tokio::io::copy_bidirectional(&mut from, &mut to).await.map(drop)
        };
        let shaking = async {
            let (established, connected) = tokio::join!(lab.shake(stream), lab.client.connect(name, relay));
            connected.unwrap();
            established.unwrap()
        };
        tokio::select! {
            established = shaking => assert_eq!(established.sni.as_deref(), Some("example.com")),
            ended = cut => panic!("the relay ended: {ended:?}"),
        }
    }

    #[tokio::test]
    async fn garbage_is_answered_with_an_alert() {
        let lab = lab(&[]);
        let (mut client, stream) = pair().await;
        let talk = async {
            client.write_all(b"\x16\x03\x01\xff\xff garbage").await.unwrap();
            let mut answer = Vec::new();
            client.read_to_end(&mut answer).await.unwrap();
            answer
        };
        let (established, answer) = tokio::join!(lab.shake(stream), talk);
        assert!(matches!(established, Err(TlsError::Tls(_))));
        assert_eq!(answer.first(), Some(&21), "an alert record");
    }

    #[tokio::test]
    async fn leaving_before_the_hello_is_an_error() {
        let lab = lab(&[]);
        let (client, stream) = pair().await;
        drop(client);
        assert!(matches!(lab.shake(stream).await, Err(TlsError::Tls(_))));
    }
}
