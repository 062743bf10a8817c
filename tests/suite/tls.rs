//! TLS through the daemon: names, versions, resumption, and certificates that change underneath.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::version::{TLS12, TLS13};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, HandshakeKind, ProtocolVersion, SignatureScheme,
    StreamOwned, SupportedProtocolVersion,
};

use crate::client::connect;
use crate::home::{Home, ok};
use crate::porch::{Porch, matrix};

/// Takes any certificate: these tests look at what is shown, not at whom it convinces.
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
        porchd::tls::provider().signature_verification_algorithms.supported_schemes()
    }
}

/// A client that takes any certificate.
pub(crate) fn config(versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
    ClientConfig::builder_with_provider(porchd::tls::provider())
        .with_protocol_versions(versions)
        .expect("versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anything))
        .with_no_client_auth()
}

/// A connection whose handshake is over.
pub(crate) struct Shaken {
    stream: StreamOwned<ClientConnection, TcpStream>,
}

impl Shaken {
    pub(crate) fn new(porch: &Porch, config: &Arc<ClientConfig>, name: &str) -> std::io::Result<Self> {
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        let mut tls = ClientConnection::new(config.clone(), name).expect("a client");
        let mut tcp = connect(porch.address("https"));
        while tls.is_handshaking() {
            tls.complete_io(&mut tcp)?;
        }
        Ok(Self { stream: StreamOwned::new(tls, tcp) })
    }

    pub(crate) fn certificate(&self) -> Vec<u8> {
        self.stream.conn.peer_certificates().expect("a certificate")[0].to_vec()
    }

    /// The status of a request for `host`. By the way it takes the tickets, which come after the handshake.
    pub(crate) fn status(&mut self, host: &str) -> u16 {
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        self.stream.write_all(request.as_bytes()).expect("the porch takes bytes");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            self.stream.read_exact(&mut byte).expect("an answer");
            head.push(byte[0]);
        }
        let text = String::from_utf8_lossy(&head).to_ascii_lowercase();
        let length =
            text.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()).expect("a length");
        let mut body = vec![0; length.parse().expect("a number")];
        self.stream.read_exact(&mut body).expect("a body");
        text.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status")
    }
}

/// Writes a fresh certificate for `hosts` as `NAME.pem` and `NAME.key`; its DER.
pub(crate) fn certificate(folder: &Path, name: &str, hosts: &[&str]) -> Vec<u8> {
    let names: Vec<String> = hosts.iter().map(|&host| host.to_owned()).collect();
    let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
    std::fs::create_dir_all(folder).expect("a folder");
    std::fs::write(folder.join(format!("{name}.pem")), made.cert.pem()).expect("written");
    std::fs::write(folder.join(format!("{name}.key")), made.signing_key.serialize_pem()).expect("written");
    made.cert.der().to_vec()
}

/// A folder for certificates that are there before the porch is.
pub(crate) struct Folder(pub(crate) std::path::PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(std::env::temp_dir().join(format!("porchd-suite-tls-{:016x}", porchd::clock::random())))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

const SITES: &str = "sites:\n  - hosts: [ one.test ]\n    routes: [ { path: /, respond: { body: one } } ]\n\
                     \x20 - hosts: [ two.test ]\n    routes: [ { path: /, respond: { body: two } } ]\n\
                     \x20 - hosts: [ \"*.wild.test\" ]\n    routes: [ { path: /, respond: { body: wild } } ]\n";

fn two_sites(folder: &Folder, more: &str) -> String {
    let at = folder.0.display();
    let pairs: String = ["one", "two", "wild"]
        .iter()
        .map(|name| format!("    - {{ cert: {at}/{name}.pem, key: {at}/{name}.key }}\n"))
        .collect();
    format!("{SITES}tls:\n  internal_ca: true\n{more}  certificates:\n{pairs}")
}

fn three(folder: &Folder) -> [Vec<u8>; 3] {
    [
        certificate(&folder.0, "one", &["one.test"]),
        certificate(&folder.0, "two", &["two.test"]),
        certificate(&folder.0, "wild", &["*.wild.test"]),
    ]
}

#[test]
fn the_name_picks_the_certificate() {
    let folder = Folder::new();
    let [one, two, wild] = three(&folder);
    let porch = Porch::new(&two_sites(&folder, ""));
    let named = Arc::new(config(&[&TLS12, &TLS13]));
    for (name, shown) in [("one.test", &one), ("TWO.test", &two), ("x.wild.test", &wild)] {
        let mut client = Shaken::new(&porch, &named, name).expect("a handshake");
        assert!(client.certificate() == *shown, "{name}");
        assert_eq!(client.status(name), 200, "{name}");
    }
    let mut client = Shaken::new(&porch, &named, "unknown.test").expect("the default certificate");
    assert!(client.certificate() == one, "a name that nothing covers");
    assert_eq!((client.status("unknown.test"), client.status("two.test")), (421, 421));
    let mut unnamed = config(&[&TLS12, &TLS13]);
    unnamed.enable_sni = false;
    let mut client = Shaken::new(&porch, &Arc::new(unnamed), "any.test").expect("the default certificate");
    assert!(client.certificate() == one, "the first one is the default");
    assert_eq!((client.status("two.test"), client.status("other.test")), (200, 421), "routed by Host");
}

#[test]
fn an_address_that_is_a_host_has_its_own_certificate() {
    let folder = Folder::new();
    three(&folder);
    let by_address = certificate(&folder.0, "two", &["127.0.0.1", "two.test"]);
    let porch = Porch::new(&two_sites(&folder, "").replace("two.test ]", "two.test, 127.0.0.1 ]"));
    let mut unnamed = config(&[&TLS12, &TLS13]);
    unnamed.enable_sni = false;
    let mut client = Shaken::new(&porch, &Arc::new(unnamed), "127.0.0.1").expect("a handshake");
    assert!(client.certificate() == by_address);
    assert_eq!(client.status("127.0.0.1"), 200);
}

#[test]
fn tls_1_2_is_spoken_unless_it_is_forbidden() {
    let folder = Folder::new();
    three(&folder);
    let porch = Porch::new(&two_sites(&folder, ""));
    let (old, new) = (Arc::new(config(&[&TLS12])), Arc::new(config(&[&TLS13])));
    let version = |config| {
        let client = Shaken::new(&porch, config, "one.test");
        client.map(|client| client.stream.conn.protocol_version()).map_err(|error| error.to_string())
    };
    assert_eq!(version(&old), Ok(Some(ProtocolVersion::TLSv1_2)));
    assert_eq!(version(&new), Ok(Some(ProtocolVersion::TLSv1_3)));
    let mut standing = Shaken::new(&porch, &old, "one.test").expect("a handshake");
    porch.reload(&two_sites(&folder, "  min_version: \"1.3\"\n")).expect("a good configuration");
    let told = version(&old).expect_err("1.2 is forbidden now");
    assert!(told.contains("ProtocolVersion"), "{told}");
    assert_eq!(version(&new), Ok(Some(ProtocolVersion::TLSv1_3)));
    assert_eq!(standing.status("one.test"), 200, "a connection that stands goes on");
}

// The fallback provider has no such exchange.
#[cfg(feature = "aws-lc")]
#[test]
fn a_post_quantum_exchange_is_preferred() {
    let folder = Folder::new();
    three(&folder);
    let porch = Porch::new(&two_sites(&folder, ""));
    let client = Shaken::new(&porch, &Arc::new(config(&[&TLS13])), "one.test").expect("a handshake");
    let group = client.stream.conn.negotiated_key_exchange_group().expect("a group");
    assert_eq!(group.name(), rustls::NamedGroup::X25519MLKEM768);
}

#[test]
fn sessions_resume_on_every_thread_and_after_a_reload() {
    let folder = Folder::new();
    three(&folder);
    let text = format!("{}threads: 4\n", two_sites(&folder, ""));
    let porch = Porch::new(&text);
    for versions in [&[&TLS13][..], &[&TLS12]] {
        let config = Arc::new(config(versions));
        let kind = || {
            let mut client = Shaken::new(&porch, &config, "one.test").expect("a handshake");
            assert_eq!(client.status("one.test"), 200);
            client.stream.conn.handshake_kind().expect("it is over")
        };
        assert_ne!(kind(), HandshakeKind::Resumed);
        // Which thread takes a connection is the kernel's choice: of so many, some meet another one.
        for n in 0..24 {
            if n == 12 {
                let more = text.replace("body: two", "body: changed");
                porch.reload(&more).expect("a good configuration");
            }
            assert_eq!(kind(), HandshakeKind::Resumed, "connection {n} of {versions:?}");
        }
    }
}

#[test]
fn a_certificate_that_changes_is_shown_to_newcomers() {
    let folder = Folder::new();
    let [old, ..] = three(&folder);
    let text = two_sites(&folder, "");
    let porch = Porch::new(&text);
    let fresh = || Arc::new(config(&[&TLS12, &TLS13]));
    let mut standing = Shaken::new(&porch, &fresh(), "one.test").expect("a handshake");
    assert!(standing.certificate() == old);
    let new = certificate(&folder.0, "one", &["one.test"]);
    porch.reload(&text).expect("a good configuration");
    let mut newcomer = Shaken::new(&porch, &fresh(), "one.test").expect("a handshake");
    assert!(newcomer.certificate() == new, "the new one is shown");
    assert_eq!((standing.status("one.test"), newcomer.status("one.test")), (200, 200));
    std::fs::write(folder.0.join("one.key"), "no key").expect("written");
    let told = porch.reload(&text).expect_err("a broken key");
    assert!(told.contains("one.key"), "{told}");
    certificate(&folder.0, "other", &["one.test"]);
    std::fs::copy(folder.0.join("other.key"), folder.0.join("one.key")).expect("copied");
    let told = porch.reload(&text).expect_err("the key of another certificate");
    assert!(told.contains("one."), "{told}");
    let newcomer = Shaken::new(&porch, &fresh(), "one.test").expect("a handshake");
    assert!(newcomer.certificate() == new, "what is in force stays");
}

#[test]
fn a_certificate_that_is_replaced_on_disk_is_taken_up_by_itself() {
    let folder = Folder::new();
    let [old, two, _] = three(&folder);
    let porch = Porch::new(&two_sites(&folder, ""));
    // Each a client of its own: none resumes what another was shown.
    let any = || Arc::new(config(&[&TLS13]));
    let shown = |name: &str| Shaken::new(&porch, &any(), name).expect("a handshake").certificate();
    let mut standing = Shaken::new(&porch, &any(), "one.test").expect("a handshake");
    assert_eq!(porch.running().look(), Vec::<String>::new(), "the start has told it");
    let new = certificate(&folder.0, "one", &["one.test"]);
    assert!(shown("one.test") == old, "nobody has looked yet");
    assert_eq!(porch.running().look(), Vec::<String>::new());
    assert!(shown("one.test") == new && shown("two.test") == two);
    assert_eq!(standing.status("one.test"), 200, "a connection that stands goes on");

    // Half of a file; and beside it a certificate that is whole.
    let text = std::fs::read(folder.0.join("one.pem")).expect("a file");
    let third = certificate(&folder.0, "one", &["one.test"]);
    let whole = std::fs::read(folder.0.join("one.pem")).expect("a file");
    std::fs::write(folder.0.join("one.pem"), &whole[..whole.len() / 2]).expect("written");
    let other = certificate(&folder.0, "two", &["two.test"]);
    let told = porch.running().look();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("one.pem") && told[0].contains("the one before stays in use"), "{told:?}");
    assert!(shown("one.test") == new && shown("two.test") == other);
    assert_eq!(porch.running().look(), Vec::<String>::new(), "it is told once");

    // The old certificate with the new key, as between two writes.
    std::fs::write(folder.0.join("one.pem"), text).expect("written");
    let told = porch.running().look();
    assert!(told.len() == 1 && told[0].contains("does not belong"), "{told:?}");
    assert!(shown("one.test") == new);
    std::fs::write(folder.0.join("one.pem"), &whole).expect("written");
    assert_eq!(porch.running().look(), Vec::<String>::new());
    assert!(shown("one.test") == third);
    // What was mended and breaks again is told again.
    std::fs::remove_file(folder.0.join("one.pem")).expect("removed");
    let told = porch.running().look();
    assert!(told.len() == 1 && told[0].contains("no such file"), "{told:?}");
    assert!(shown("one.test") == third);
}

#[test]
fn a_connection_may_be_used_for_what_its_certificate_covers() {
    let folder = Folder::new();
    three(&folder);
    certificate(&folder.0, "one", &["one.test", "two.test"]);
    let porch = Porch::new(&two_sites(&folder, ""));
    let mut client = Shaken::new(&porch, &Arc::new(config(&[&TLS13])), "one.test").expect("a handshake");
    for (host, status) in [("one.test", 200), ("two.test", 200), ("x.wild.test", 421)] {
        assert_eq!(client.status(host), status, "{host}");
    }
}

#[test]
fn a_stand_in_speaks_for_all_sites_and_its_sessions_for_none_that_got_another() {
    let folder = Folder::new();
    let site = |host: &str| {
        format!("  - {{ hosts: [ {host} ], routes: [ {{ path: /, respond: {{ body: {host} }} }} ] }}\n")
    };
    let sites = format!("state_dir: $DIR/state\nsites:\n{}{}", site("localhost"), site("127.0.0.1"));
    let porch = Porch::new(&sites);
    // Nobody is at that port, so nothing is ever ordered.
    let ordering = format!("{sites}acme: {{ contact: a@lab.test, directory: \"https://127.0.0.1:1/\" }}\n");
    porch.reload(&format!("{ordering}tls: {{}}\n")).expect("a good configuration");
    let named = Arc::new(config(&[&TLS13]));
    let mut unnamed = config(&[&TLS13]);
    unnamed.enable_sni = false;
    let unnamed = Arc::new(unnamed);
    let shake = |config: &Arc<ClientConfig>| Shaken::new(&porch, config, "localhost").expect("a handshake");
    let mut first = shake(&named);
    let stand_in = first.certificate();
    assert_eq!(["localhost", "127.0.0.1", "other.test"].map(|host| first.status(host)), [200, 200, 421]);

    let own = certificate(&folder.0, "own", &["localhost"]);
    let at = folder.0.display();
    let pair = format!("tls: {{ certificates: [ {{ cert: {at}/own.pem, key: {at}/own.key }} ] }}\n");
    porch.reload(&format!("{ordering}{pair}")).expect("a good configuration");
    // The session is the stand-in's, and the certificate of now says for whom it may be used.
    let mut resumed = shake(&named);
    assert_eq!(resumed.stream.conn.handshake_kind(), Some(HandshakeKind::Resumed));
    assert_eq!(["localhost", "127.0.0.1"].map(|host| resumed.status(host)), [200, 421]);
    assert_eq!(["localhost", "127.0.0.1"].map(|host| first.status(host)), [200, 200], "what stands goes on");
    assert!(shake(&Arc::new(config(&[&TLS12, &TLS13]))).certificate() == own);
    let mut reached = shake(&unnamed);
    assert!(![&own, &stand_in].contains(&&reached.certificate()), "a stand-in for the address alone");
    assert_eq!(reached.status("127.0.0.1"), 200);
}

#[test]
fn a_listener_speaks_what_the_client_offers() {
    let home = Home::new(|_| ok("home"));
    let porch = Porch::new(&matrix(&home, ""));
    for (offered, chosen) in [
        (&["h2", "http/1.1"][..], Some("h2")),
        (&["http/1.1", "h2"], Some("h2")),
        (&["http/1.1"], Some("http/1.1")),
        (&[], None),
    ] {
        let mut config = config(&[&TLS13]);
        config.alpn_protocols = offered.iter().map(|name| name.as_bytes().to_vec()).collect();
        let client = Shaken::new(&porch, &Arc::new(config), "example.com").expect("a handshake");
        assert_eq!(client.stream.conn.alpn_protocol(), chosen.map(str::as_bytes), "{offered:?}");
    }
    let mut odd = config(&[&TLS13]);
    odd.alpn_protocols = vec![b"spdy/3".to_vec()];
    let error = Shaken::new(&porch, &Arc::new(odd), "example.com").err().expect("no protocol in common");
    assert!(error.to_string().contains("NoApplicationProtocol"), "{error}");
}
