//! Real handshakes against stores, in memory.

use std::io;
use std::sync::Arc;

use rustls::client::{Resumption, Tls12Resumption};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::Acceptor;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, HandshakeKind, ProtocolVersion, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio_rustls::{LazyConfigAcceptor, TlsConnector, client, server};

use crate::config::model::{Config, TlsVersion};
use crate::tls::fixtures::{self, Ca, Files};
use crate::tls::live::Live;
use crate::tls::load::{self, Carried};
use crate::tls::provider;
use crate::tls::store::Store;

type Client = client::TlsStream<DuplexStream>;
type Serving = server::TlsStream<DuplexStream>;

const BOTH: &[&rustls::SupportedProtocolVersion] = &[&TLS13, &TLS12];

/// A client that trusts `roots` and offers `alpn`.
fn client(
    roots: &str,
    versions: &[&'static rustls::SupportedProtocolVersion],
    alpn: &[&str],
) -> ClientConfig {
    let mut store = RootCertStore::empty();
    store.add(CertificateDer::from_pem_slice(roots.as_bytes()).unwrap()).unwrap();
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(store)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    config
}

async fn connect(config: &ClientConfig, name: &str, io: DuplexStream) -> io::Result<Client> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    TlsConnector::from(Arc::new(config.clone())).connect(name, io).await
}

/// The server's side, as a listener does it.
async fn accept(live: &Live, io: DuplexStream) -> io::Result<Serving> {
    let start = LazyConfigAcceptor::new(Acceptor::default(), io).await?;
    let store = live.load();
    let served = store.lookup(start.client_hello().server_name()).unwrap();
    start.into_stream(Arc::clone(&served.config)).await
}

/// A handshake and a few bytes, by which the client has seen its tickets.
async fn shake(live: &Live, config: &ClientConfig, name: &str) -> io::Result<(Client, Serving)> {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let (client, serving) = tokio::join!(connect(config, name, near), accept(live, far));
    let (mut client, mut serving) = (client?, serving?);
    exchange(&mut client, &mut serving).await;
    Ok((client, serving))
}

async fn exchange(client: &mut Client, serving: &mut Serving) {
    serving.write_all(b"hello").await.unwrap();
    serving.flush().await.unwrap();
    let mut seen = [0; 5];
    client.read_exact(&mut seen).await.unwrap();
    assert_eq!(&seen, b"hello");
}

fn names(client: &Client) -> Vec<String> {
    let chain = client.get_ref().1.peer_certificates().unwrap();
    let facts = crate::tls::inspect::facts_of(chain).unwrap();
    facts.names.iter().map(ToString::to_string).collect()
}

fn kind(client: &Client) -> HandshakeKind {
    client.get_ref().1.handshake_kind().unwrap()
}

fn loaded(config: &Config, files: &mut Files, carried: &Carried) -> Arc<Store> {
    Arc::new(load::load(config, files, carried, &[], crate::clock::wall()).unwrap().store)
}

/// A store with one certificate for `a.test`, and a CA to trust.
fn one() -> (Ca, Files, Config) {
    let (ca, mut files) = (Ca::new(), Files::default());
    let certificate = files.put("a", ca.leaf(&["a.test"]), &[]);
    (ca, files, fixtures::config(vec![certificate], &[&["a.test"]]))
}

fn live(config: &Config, files: &mut Files) -> Live {
    Live::new(loaded(config, files, &Carried::fresh().unwrap()))
}

#[tokio::test]
async fn name_chooses_the_certificate() {
    let (ca, mut files) = (Ca::new(), Files::default());
    let certificates = vec![
        files.put("first", ca.leaf(&["first.test", "127.0.0.1"]), &[]),
        files.put("wild", ca.leaf(&["*.wild.test"]), &[]),
        files.put("exact", ca.leaf(&["exact.wild.test"]), &[]),
    ];
    let live = live(&fixtures::config(certificates, &[]), &mut files);
    let config = client(&ca.pem(), BOTH, &[]);
    for (name, expected) in [
        ("first.test", "first.test"),
        ("any.wild.test", "*.wild.test"),
        ("ANY.Wild.test", "*.wild.test"),
        ("exact.wild.test", "exact.wild.test"),
        ("127.0.0.1", "first.test"),
    ] {
        let (client, _) = shake(&live, &config, name).await.unwrap();
        assert_eq!(names(&client)[0], expected, "{name}");
    }
    // The default is served, and it is the client that turns it down.
    let error = shake(&live, &config, "deep.any.wild.test").await.unwrap_err();
    assert!(error.to_string().contains("not valid for name"), "{error}");
}

#[tokio::test]
async fn alpn_prefers_h2_and_settles_for_http_1_1() {
    let (ca, mut files, config) = one();
    let live = live(&config, &mut files);
    for (offered, expected) in
        [(&["http/1.1", "h2"][..], Some("h2")), (&["http/1.1"], Some("http/1.1")), (&[], None)]
    {
        let (_, serving) = shake(&live, &client(&ca.pem(), BOTH, offered), "a.test").await.unwrap();
        assert_eq!(serving.get_ref().1.alpn_protocol(), expected.map(str::as_bytes), "{offered:?}");
    }
}

#[tokio::test]
async fn least_version_is_kept() {
    let (ca, mut files, mut config) = one();
    for (least, offered, expected) in [
        (TlsVersion::Tls12, BOTH, Some(ProtocolVersion::TLSv1_3)),
        (TlsVersion::Tls12, &[&TLS12], Some(ProtocolVersion::TLSv1_2)),
        (TlsVersion::Tls13, BOTH, Some(ProtocolVersion::TLSv1_3)),
        (TlsVersion::Tls13, &[&TLS12], None),
    ] {
        config.tls.min_version = least;
        let live = live(&config, &mut files);
        let shaken = shake(&live, &client(&ca.pem(), offered, &[]), "a.test").await;
        let version = shaken.ok().and_then(|(client, _)| client.get_ref().1.protocol_version());
        assert_eq!(version, expected, "{least:?}");
    }
}

#[tokio::test]
async fn session_resumes_on_another_acceptor_and_after_a_reload() {
    let (ca, mut files, config) = one();
    for (versions, resumption) in [
        (&[&TLS13], Resumption::in_memory_sessions(8)),
        (&[&TLS12], Resumption::in_memory_sessions(8)),
        (&[&TLS12], Resumption::in_memory_sessions(8).tls12_resumption(Tls12Resumption::SessionIdOnly)),
    ] {
        let carried = Carried::fresh().unwrap();
        let (first, second) = (loaded(&config, &mut files, &carried), loaded(&config, &mut files, &carried));
        assert!(!Arc::ptr_eq(&first.all()[0], &second.all()[0]));
        let mut client = client(&ca.pem(), versions, &[]);
        client.resumption = resumption;
        let live = Live::new(Arc::clone(&first));
        assert_eq!(kind(&shake(&live, &client, "a.test").await.unwrap().0), HandshakeKind::Full);
        live.store(second);
        assert_eq!(kind(&shake(&live, &client, "a.test").await.unwrap().0), HandshakeKind::Resumed);
        // A renewal: another certificate, the same tickets.
        let certificate = files.put("a", ca.leaf(&["a.test"]), &[]);
        assert_eq!(config.tls.certificates, [certificate]);
        live.store(loaded(&config, &mut files, &carried.with(first)));
        assert_eq!(kind(&shake(&live, &client, "a.test").await.unwrap().0), HandshakeKind::Resumed);
        // Other keys know nothing of it.
        live.store(loaded(&config, &mut files, &Carried::fresh().unwrap()));
        assert_eq!(kind(&shake(&live, &client, "a.test").await.unwrap().0), HandshakeKind::Full);
    }
}

#[tokio::test]
async fn session_of_one_name_does_not_resume_under_another() {
    let (ca, mut files) = (Ca::new(), Files::default());
    let certificates = ["a.test", "b.test"].map(|name| files.put(name, ca.leaf(&[name]), &[]));
    let live = live(&fixtures::config(certificates.to_vec(), &[]), &mut files);
    let client = client(&ca.pem(), BOTH, &[]);
    shake(&live, &client, "a.test").await.unwrap();
    assert_eq!(kind(&shake(&live, &client, "b.test").await.unwrap().0), HandshakeKind::Full);
}

#[cfg(feature = "aws-lc")]
#[tokio::test]
async fn key_exchange_is_post_quantum_when_the_client_can() {
    use rustls::NamedGroup::{X25519, X25519MLKEM768};

    let (ca, mut files, config) = one();
    let live = live(&config, &mut files);
    let mut classic = (*provider()).clone();
    classic.kx_groups.retain(|group| group.name() == X25519);
    for (provider, expected) in [(provider(), X25519MLKEM768), (Arc::new(classic), X25519)] {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(ca.pem().as_bytes()).unwrap()).unwrap();
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let (_, serving) = shake(&live, &config, "a.test").await.unwrap();
        assert_eq!(serving.get_ref().1.negotiated_key_exchange_group().unwrap().name(), expected);
    }
}

#[tokio::test]
async fn swap_leaves_a_connection_alone_and_shows_in_the_next() {
    let (ca, mut files, config) = one();
    let live = live(&config, &mut files);
    let client = client(&ca.pem(), BOTH, &[]);
    let (mut before, mut serving) = shake(&live, &client, "a.test").await.unwrap();

    files.put("a", ca.leaf(&["a.test", "renewed.test"]), &[]);
    live.store(loaded(&config, &mut files, &Carried::fresh().unwrap()));

    exchange(&mut before, &mut serving).await;
    assert_eq!(names(&before), ["a.test"]);
    let (after, _) = shake(&live, &client, "a.test").await.unwrap();
    assert_eq!(names(&after), ["a.test", "renewed.test"]);
}

#[tokio::test]
async fn internal_ca_serves_what_no_file_covers() {
    let (ca, mut files, mut config) = one();
    config.sites = fixtures::config(Vec::new(), &[&["a.test", "b.test", "*.c.test"]]).sites;
    config.tls.internal_ca = true;
    let store = loaded(&config, &mut files, &Carried::fresh().unwrap());
    let internal = store.ca().unwrap().pem();
    let live = Live::new(store);
    for (name, roots) in
        [("a.test", &ca.pem()), ("b.test", &internal), ("any.c.test", &internal), ("localhost", &internal)]
    {
        shake(&live, &client(roots, BOTH, &[]), name).await.unwrap();
    }
}

#[tokio::test]
async fn internal_ca_alone_serves_addresses_too() {
    let mut config = fixtures::config(Vec::new(), &[]);
    config.tls.internal_ca = true;
    let store = loaded(&config, &mut Files::default(), &Carried::fresh().unwrap());
    let client = client(&store.ca().unwrap().pem(), BOTH, &[]);
    let live = Live::new(store);
    for address in ["127.0.0.1", "::1"] {
        shake(&live, &client, address).await.unwrap();
    }
}
