//! HTTP/2 in front: the same requests, streams instead of connections.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use h2::client::SendRequest;
use http::{Request, StatusCode};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::home::{Act, Home, ok};
use crate::porch::Porch;

/// An HTTP/2 connection for `example.com`.
async fn connect(address: SocketAddr, roots: Arc<RootCertStore>) -> SendRequest<Bytes> {
    let mut config = ClientConfig::builder_with_provider(porchd::tls::provider())
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let stream = TcpStream::connect(address).await.expect("the porch accepts");
    let name = ServerName::try_from("example.com").expect("a name");
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.expect("a handshake");
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (send, connection) = h2::client::handshake(stream).await.expect("an HTTP/2 preface");
    tokio::spawn(connection);
    send
}

fn run<T>(porch: &Porch, test: impl AsyncFnOnce(SendRequest<Bytes>) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async { test(connect(porch.address("https"), porch.roots()).await).await })
}

fn get(target: &str) -> http::request::Builder {
    Request::get(format!("https://example.com{target}"))
}

/// Status and body; `None` for a body that broke off.
async fn answer(
    send: &mut SendRequest<Bytes>,
    request: Request<()>,
    body: Option<&'static [u8]>,
) -> (StatusCode, Option<Vec<u8>>) {
    let mut ready = send.clone().ready().await.expect("a stream");
    let (response, mut stream) = ready.send_request(request, body.is_none()).expect("sent");
    if let Some(body) = body {
        stream.send_data(Bytes::from_static(body), true).expect("sent");
    }
    let response = response.await.expect("an answer");
    let (parts, mut incoming) = response.into_parts();
    let mut all = Vec::new();
    while let Some(piece) = incoming.data().await {
        match piece {
            Ok(piece) => {
                incoming.flow_control().release_capacity(piece.len()).expect("capacity");
                all.extend_from_slice(&piece);
            }
            Err(_) => return (parts.status, None),
        }
    }
    (parts.status, Some(all))
}

#[test]
fn many_streams_share_a_connection() {
    let home = Home::new(|request| ok(request.target()));
    let porch = Porch::before(&home);
    run(&porch, async |mut send| {
        for n in 0..50 {
            let target = format!("/_matrix/{n}%2F%23?x=%zz");
            let request =
                get(&target).header("cookie", "a=1").header("cookie", "b=2").body(()).expect("built");
            assert_eq!(answer(&mut send, request, None).await, (StatusCode::OK, Some(target.into_bytes())));
        }
    });
    let seen = home.seen();
    assert_eq!(seen[0].header("host"), Some("example.com"));
    assert_eq!(seen[0].header("cookie"), Some("a=1; b=2"));
    assert_eq!(seen[0].header("x-forwarded-proto"), Some("https"));
}

#[test]
fn an_upload_reaches_home_with_its_framing() {
    let home = Home::new(|request| ok(std::str::from_utf8(&request.body).expect("text")));
    let porch = Porch::before(&home);
    run(&porch, async |mut send| {
        let put = |length: Option<&str>| {
            let mut request = Request::put("https://example.com/_matrix/x");
            if let Some(length) = length {
                request = request.header("content-length", length);
            }
            request.body(()).expect("built")
        };
        let expected = (StatusCode::OK, Some(b"hello".to_vec()));
        assert_eq!(answer(&mut send, put(Some("5")), Some(b"hello")).await, expected);
        assert_eq!(answer(&mut send, put(None), Some(b"hello")).await, expected);
    });
    let seen = home.seen();
    assert_eq!(seen[0].header("content-length"), Some("5"));
    assert_eq!(seen[1].header("transfer-encoding"), Some("chunked"));
}

#[test]
fn a_truncated_answer_resets_its_stream_alone() {
    let home = Home::new(|request| match request.target() {
        "/_matrix/cut" => {
            Act::AnswerAndClose(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this".into())
        }
        _ => ok("fine"),
    });
    let porch = Porch::before(&home);
    run(&porch, async |mut send| {
        let cut = get("/_matrix/cut").body(()).expect("built");
        assert_eq!(answer(&mut send, cut, None).await, (StatusCode::OK, None));
        let fine = get("/_matrix/x").body(()).expect("built");
        assert_eq!(answer(&mut send, fine, None).await.0, StatusCode::OK);
    });
}

#[test]
fn ambiguity_is_refused_on_its_stream() {
    let home = Home::new(|_| ok("fine"));
    let porch = Porch::before(&home);
    run(&porch, async |mut send| {
        for (name, value) in
            [("host", "evil.test"), ("x_forwarded_for", "6.6.6.6"), ("x-forwarded_proto", "http")]
        {
            let request = get("/_matrix/x").header(name, value).body(()).expect("built");
            assert_eq!(answer(&mut send, request, None).await.0, StatusCode::BAD_REQUEST, "{name}");
        }
        let other = Request::get("https://evil.test/_matrix/x").body(()).expect("built");
        assert_eq!(answer(&mut send, other, None).await.0, StatusCode::MISDIRECTED_REQUEST);
    });
    assert_eq!(home.seen().len(), 0);
}

#[test]
fn head_has_a_length_and_no_data() {
    let home = Home::new(|_| Act::Answer(b"HTTP/1.1 200 OK\r\nContent-Length: 12345\r\n\r\n".into()));
    let porch = Porch::before(&home);
    run(&porch, async |mut send| {
        for target in ["/_matrix/x", "/.well-known/matrix/client"] {
            let request = Request::head(format!("https://example.com{target}")).body(()).expect("built");
            assert_eq!(
                answer(&mut send, request, None).await,
                (StatusCode::OK, Some(Vec::new())),
                "{target}"
            );
        }
    });
}

#[test]
fn a_rapid_reset_ends_the_connection_and_no_other() {
    let home = Home::new(|_| ok("fine"));
    let porch = Porch::before(&home);
    run(&porch, async |send| {
        let mut refused = false;
        for _ in 0..5000 {
            let Ok(mut ready) = send.clone().ready().await else {
                refused = true;
                break;
            };
            let request = get("/_matrix/x").body(()).expect("built");
            let Ok((_, mut stream)) = ready.send_request(request, true) else {
                refused = true;
                break;
            };
            stream.send_reset(h2::Reason::CANCEL);
        }
        assert!(refused || home.seen().len() < 5000, "every reset stream was served");
    });
    assert_eq!(porch.connect().get("/_matrix/x").status, 200);
}
