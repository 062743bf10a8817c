//! What a CA sees that looks for the proof of a name: documents (http-01), handshakes (tls-alpn-01).

use std::fs::read_to_string;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use porchd::tls::challenges::{ALPN, Challenges};
use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConnection, StreamOwned};

use crate::client::{Client, connect};
use crate::home::{Home, ok};
use crate::porch::{Porch, matrix};
use crate::streams::Streams;
use crate::tls::config;

const DIGEST: [u8; 32] = [7; 32];
const TOKEN: &str = "/.well-known/acme-challenge/to_k-en";

/// A porch whose site sends HSTS, whose plain listener sends all to https, and what it offers to CAs.
fn porch() -> (Porch, Challenges) {
    let text = "sites:\n  - hosts: [ example.com ]\n    hsts: { max_age: 365d }\n\
                \x20   routes: [ { path: /, respond: { status: 404, body: route } } ]\n\
                log: { access: { file: $DIR/access.log, format: json } }\nthreads: 4\n";
    let porch = Porch::new(text);
    let challenges = porch.running().challenges().expect("it runs");
    (porch, challenges)
}

fn ask(client: &mut Client, method: &str, host: &str, target: &str) -> crate::client::Answer {
    client.write(format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
    client.answer_to(method)
}

#[test]
fn a_document_is_given_to_whoever_asks_by_whatever_name() {
    let (porch, challenges) = porch();
    let mut plain = porch.connect_plain("http");
    assert_eq!(ask(&mut plain, "GET", "example.com", TOKEN).status, 301);
    let offer = challenges.offer_document("to_k-en", "to_k-en.thumb");
    for host in ["example.com", "other.test:80", "192.0.2.1", "[2001:db8::1]"] {
        for mut client in
            [porch.connect_plain("http"), porch.connect(), porch.connect_as("https", "localhost")]
        {
            let answer = ask(&mut client, "GET", host, TOKEN);
            assert_eq!((answer.status, answer.text()), (200, "to_k-en.thumb"), "{host}");
            assert_eq!(answer.header("content-type"), Some("application/octet-stream"));
            assert_eq!(answer.header("content-length"), Some("13"));
            assert_eq!(answer.header("cache-control"), Some("no-store"));
            assert_eq!(answer.header("strict-transport-security"), None);
            let head = ask(&mut client, "HEAD", host, TOKEN);
            assert_eq!((head.status, head.header("content-length")), (200, Some("13")));
        }
    }
    let answer = Streams::to(&porch).get(TOKEN);
    assert_eq!((answer.status, &answer.body[..]), (200, &b"to_k-en.thumb"[..]));
    // Of so many connections some are on every thread.
    for _ in 0..40 {
        assert_eq!(ask(&mut porch.connect_plain("http"), "GET", "x.test", TOKEN).status, 200);
    }
    drop(offer);
    assert_eq!(ask(&mut plain, "GET", "example.com", TOKEN).status, 301);
}

#[test]
fn what_is_not_offered_goes_its_way() {
    let (porch, challenges) = porch();
    let _offer = challenges.offer_document("to_k-en", "to_k-en.thumb");
    let (mut plain, mut tls) = (porch.connect_plain("http"), porch.connect());
    for (method, target) in [
        ("GET", "/.well-known/acme-challenge/other"),
        ("GET", "/.well-known/acme-challenge/"),
        ("GET", "/.well-known/acme-challenge/x/../to_k-en"),
        ("DELETE", TOKEN),
    ] {
        let status = ask(&mut plain, method, "example.com", target).status;
        assert_eq!(status, if method == "GET" { 301 } else { 308 }, "{method} {target}");
        let answer = ask(&mut tls, method, "example.com", target);
        assert_eq!((answer.status, answer.text()), (404, "route"), "{method} {target}");
        assert!(answer.header("strict-transport-security").is_some());
    }
    assert_eq!(ask(&mut plain, "GET", "other.test", "/.well-known/acme-challenge/other").status, 404);
    // A request that means two things is refused, whatever it asks for.
    plain.write(format!("GET {TOKEN} HTTP/1.1\r\nHost: a.test\r\nHost: b.test\r\n\r\n"));
    assert_eq!(plain.answer().status, 400);
}

/// A CA looks at a listener, after `first`: what it is shown, or what it is told.
fn look(porch: &Porch, first: &[u8], name: &str) -> Result<Vec<u8>, String> {
    let mut tcp = connect(porch.address("https"));
    tcp.write_all(first).expect("the porch takes bytes");
    look_over(tcp, name)
}

fn look_over(mut tcp: TcpStream, name: &str) -> Result<Vec<u8>, String> {
    let mut config = config(&[&TLS12, &TLS13]);
    config.alpn_protocols = vec![ALPN.to_vec()];
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let mut tls = ClientConnection::new(Arc::new(config), name).expect("a client");
    while tls.is_handshaking() {
        tls.complete_io(&mut tcp).map_err(|error| error.to_string())?;
    }
    assert_eq!(tls.alpn_protocol(), Some(ALPN));
    let shown = tls.peer_certificates().expect("a certificate")[0].to_vec();
    let mut stream = StreamOwned::new(tls, tcp);
    // Nothing is answered, and the end is a clean one.
    let _ = stream.write_all(b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n");
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => assert!(rest.is_empty(), "{rest:?}"),
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
    }
    Ok(shown)
}

fn is_proof(certificate: &[u8]) -> bool {
    certificate.windows(DIGEST.len()).any(|window| window == DIGEST)
}

#[test]
fn a_handshake_proves_a_name_while_it_is_offered() {
    let (mut porch, challenges) = porch();
    let told = look(&porch, b"", "example.com").expect_err("nothing is offered");
    assert!(told.contains("UnrecognisedName"), "{told}");
    let offers = ["example.com", "elsewhere.test", "192.0.2.10"]
        .map(|name| challenges.offer_certificate(name, &DIGEST).expect("an offer"));
    for name in ["example.com", "Elsewhere.test", "10.2.0.192.in-addr.arpa"] {
        assert!(is_proof(&look(&porch, b"", name).expect(name)), "{name}");
    }
    // Of so many connections some are on every thread; ordinary clients see nothing of it.
    for _ in 0..20 {
        assert!(is_proof(&look(&porch, b"", "example.com").expect("a proof")));
        assert_eq!(porch.connect().get("/").status, 404);
    }
    assert_eq!(Streams::to(&porch).get("/").status, 404);
    drop(offers);
    assert!(look(&porch, b"", "example.com").is_err());
    assert_eq!(porch.connect().get("/last").status, 404);
    porch.halt();
    let lines = read_to_string(porch.folder().join("access.log")).expect("a log");
    assert_eq!(lines.lines().count(), 22, "a CA that looks is no request");
}

#[test]
fn a_proof_is_seen_through_a_proxy_and_after_a_reload() {
    let home = Home::new(|_| ok("home"));
    let from = "proxy_protocol: { from: [ 127.0.0.1 ] }";
    let listeners = format!(
        "listeners:\n  https: {{ bind: [ \"127.0.0.1:0\" ], tls: true, {from} }}\n  http: {{ bind: [ \"127.0.0.1:0\" ], {from} }}\n"
    );
    let text = matrix(&home, &listeners).replace("matrix:\n", "matrix:\n  federation: false\n");
    let porch = Porch::new(&text);
    let challenges = porch.running().challenges().expect("it runs");
    let _offers = (
        challenges.offer_document("to_k-en", "to_k-en.thumb"),
        challenges.offer_certificate("example.com", &DIGEST).expect("an offer"),
    );
    let header = b"PROXY TCP4 203.0.113.9 192.0.2.1 56324 443\r\n";
    for _ in 0..2 {
        assert!(is_proof(&look(&porch, header, "example.com").expect("a proof")));
        let mut client = porch.connect_plain("http");
        client.write(header);
        assert_eq!(ask(&mut client, "GET", "example.com", TOKEN).text(), "to_k-en.thumb");
        porch.reload(&format!("{text}limits: {{ handshake: 9s }}\n")).expect("a good configuration");
    }
}
