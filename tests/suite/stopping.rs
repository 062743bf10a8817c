//! What becomes of connections that have not asked for anything yet when porchd stops.

use std::io::{Read, Write};
use std::sync::Arc;

use http::Request;
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::client::{self, Client};
use crate::home::{Home, ok};
use crate::patience::PATIENCE;
use crate::porch::{Porch, matrix};
use crate::streams;

const GET: &str = "GET /_matrix/x HTTP/1.1\r\nHost: example.com\r\n\r\n";

/// A porch of one thread, which accepts connections in the order in which they come. A test's patience is over long
/// before a stop is.
fn porch(home: &Home) -> Porch {
    Porch::new(&matrix(home, "threads: 1\ndrain: { stop: 5m }\n"))
}

/// Stops the porch, and returns when its connections know: `kept` idles, and is closed at once.
fn stop(porch: &Porch, mut kept: Client) {
    porch.running().stop();
    assert!(kept.closed(), "who has had an answer and idles is not waited for");
}

/// A connection that has had its answer, so that all that came before it are let in.
fn kept(porch: &Porch) -> Client {
    let mut kept = porch.connect();
    assert_eq!(kept.get("/_matrix/x").status, 200);
    kept
}

#[test]
fn a_first_request_is_answered_that_comes_after_the_stop() {
    let home = Home::new(|_| ok("home"));
    let porch = porch(&home);
    let (mut shaken, mut begun) = (porch.connect(), porch.connect());
    // Nothing to send: this shakes hands.
    shaken.write("");
    assert_eq!(begun.get("/_matrix/x").status, 200);
    begun.write(&GET[..9]);
    stop(&porch, kept(&porch));
    begun.write(&GET[9..]);
    shaken.write(GET);
    for client in [&mut shaken, &mut begun] {
        let answer = client.answer();
        assert_eq!((answer.status, answer.header("connection")), (200, Some("close")), "{answer:?}");
        assert!(client.closed());
    }
    porch.stop();
}

#[test]
fn a_client_that_never_asks_is_not_waited_for_long() {
    let home = Home::new(|_| ok("home"));
    let porch = porch(&home);
    let (mut shaken, mut begun, mut plain) = (porch.connect(), porch.connect(), porch.connect_plain("http"));
    shaken.write("");
    begun.write(&GET[..9]);
    assert_eq!(porch.connect_plain("http").get("/").status, 301);
    stop(&porch, kept(&porch));
    // Long before `drain.stop`, after which all is closed: the porch ends by itself.
    for client in [&mut shaken, &mut begun, &mut plain] {
        assert!(client.closed());
    }
    porch.stop();
}

#[test]
fn a_handshake_that_is_under_way_comes_to_its_request() {
    let home = Home::new(|_| ok("home"));
    let porch = porch(&home);
    let mut socket = client::connect(porch.address("https"));
    let name = ServerName::try_from("example.com").expect("a name");
    let mut tls = ClientConnection::new(Arc::new(client::config(porch.roots())), name).expect("a client");
    let mut hello = Vec::new();
    while tls.wants_write() {
        tls.write_tls(&mut hello).expect("memory takes it");
    }
    socket.write_all(&hello[..20]).expect("written");
    stop(&porch, kept(&porch));
    socket.write_all(&hello[20..]).expect("written");
    let mut stream = StreamOwned::new(tls, socket);
    stream.write_all(GET.as_bytes()).expect("written");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer, and a goodbye");
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("connection: close"), "{answer}");
    porch.stop();
}

#[test]
fn first_streams_are_answered_too() {
    let home = Home::new(|_| ok("home"));
    let porch = porch(&home);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let connect = async || {
            let stream = TcpStream::connect(porch.address("https")).await.expect("the porch accepts");
            let name = ServerName::try_from("example.com").expect("a name");
            let tls = TlsConnector::from(Arc::new(streams::config(porch.roots())));
            tls.connect(name, stream).await.expect("a handshake")
        };
        let (asks, mut silent) = (connect().await, connect().await);
        stop(&porch, kept(&porch));
        let (mut send, connection) = h2::client::handshake(asks).await.expect("a preface");
        let request = Request::get("https://example.com/_matrix/x").body(()).expect("built");
        let (answer, _) = send.send_request(request, true).expect("sent");
        let read = async {
            let mut body = answer.await.expect("an answer").into_body();
            body.data().await.expect("a body").expect("all of it")
        };
        // The client's own last words may find nobody any more.
        let (body, _) = tokio::join!(read, connection);
        assert_eq!(body, "home");
        drop(send);
        // Without even a preface it is closed.
        let mut rest = Vec::new();
        let closed = tokio::io::AsyncReadExt::read_to_end(&mut silent, &mut rest);
        let _ = tokio::time::timeout(PATIENCE, closed).await.expect("long before `drain.stop`");
    });
    porch.stop();
}
