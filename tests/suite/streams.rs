//! A client that speaks HTTP/2 and waits for each answer, for tests that ask the same of both versions.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use h2::client::SendRequest;
use http::{HeaderMap, Request, Response};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio_rustls::TlsConnector;

use crate::patience::PATIENCE;
use crate::porch::Porch;

/// One connection.
pub(crate) struct Streams {
    runtime: Runtime,
    send: SendRequest<Bytes>,
    connection: tokio::task::JoinHandle<Result<(), h2::Error>>,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The status.
    pub(crate) status: u16,
    /// Its headers.
    pub(crate) headers: HeaderMap,
    /// Its body, as far as it came.
    pub(crate) body: Vec<u8>,
    /// Whether the body came to its end.
    pub(crate) whole: bool,
}

impl Answer {
    /// The only value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.get_all(name).iter();
        let value = values.next().map(|value| value.to_str().expect("text"));
        assert_eq!(values.next(), None, "{name} came twice: {self:?}");
        value
    }
}

impl Streams {
    /// A connection to the porch's `https` listener, for `example.com`.
    pub(crate) fn to(porch: &Porch) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let (send, connection) = runtime.block_on(connect(porch.address("https"), porch.roots()));
        Self { runtime, send, connection }
    }

    /// GET of a target of `example.com`.
    pub(crate) fn get(&mut self, target: &str) -> Answer {
        self.request("GET", &format!("https://example.com{target}"), &[])
    }

    /// A request without a body.
    pub(crate) fn request(&mut self, method: &str, uri: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(()).expect("a request");
        self.runtime.block_on(async {
            let mut ready = self.send.clone().ready().await.expect("a stream");
            let (response, _) = ready.send_request(request, true).expect("sent");
            answer(response.await.expect("an answer")).await
        })
    }

    /// PUT of a body that is never ended, as far as the porch takes it; the answer to it.
    pub(crate) fn put_without_end(&mut self, target: &str, body: Vec<u8>) -> Answer {
        let request = Request::put(format!("https://example.com{target}")).body(()).expect("a request");
        self.runtime.block_on(async {
            let mut ready = self.send.clone().ready().await.expect("a stream");
            let (response, mut stream) = ready.send_request(request, false).expect("sent");
            // What does not fit in the window waits in the client.
            stream.send_data(body.into(), false).expect("sent");
            answer(response.await.expect("an answer")).await
        })
    }

    /// Begins a request and resets its stream once `begun` says so.
    pub(crate) fn leave(&mut self, target: &str, begun: impl Fn() -> bool) {
        let request = Request::get(format!("https://example.com{target}")).body(()).expect("a request");
        self.runtime.block_on(async {
            let mut ready = self.send.clone().ready().await.expect("a stream");
            let (_response, mut stream) = ready.send_request(request, true).expect("sent");
            wait(begun).await;
            stream.send_reset(h2::Reason::CANCEL);
        });
    }

    /// Begins a request and reads nothing of its answer, until `over` says that it is over.
    pub(crate) fn ignore(&mut self, target: &str, over: impl Fn() -> bool) {
        let request = Request::get(format!("https://example.com{target}")).body(()).expect("a request");
        self.runtime.block_on(async {
            let mut ready = self.send.clone().ready().await.expect("a stream");
            let (response, _) = ready.send_request(request, true).expect("sent");
            let mut incoming = response.await.expect("an answer").into_body();
            wait(over).await;
            let mut broken = false;
            while let Some(piece) = incoming.data().await {
                broken |= piece.is_err();
                if broken {
                    break;
                }
            }
            assert!(broken, "the client sees that it was cut");
        });
    }

    /// Waits until the porch closes the connection.
    pub(crate) fn closed(mut self) {
        let end = self.runtime.block_on(async { tokio::time::timeout(PATIENCE, &mut self.connection).await });
        end.expect("the porch closes").expect("the connection's task ends").ok();
    }
}

/// Waits until it is so, while the connection goes on.
async fn wait(so: impl Fn() -> bool) {
    let waiting = async {
        while !so() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("it comes about");
}

/// Reads an answer to its end.
async fn answer(response: Response<h2::RecvStream>) -> Answer {
    let (parts, mut incoming) = response.into_parts();
    let (status, headers) = (parts.status.as_u16(), parts.headers);
    let mut answer = Answer { status, headers, body: Vec::new(), whole: true };
    while let Some(piece) = incoming.data().await {
        let Ok(piece) = piece else {
            answer.whole = false;
            break;
        };
        incoming.flow_control().release_capacity(piece.len()).expect("capacity");
        answer.body.extend_from_slice(&piece);
    }
    answer
}

/// The TLS client's settings.
pub(crate) fn config(roots: Arc<RootCertStore>) -> ClientConfig {
    let mut config = ClientConfig::builder_with_provider(porchd::tls::provider())
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    config
}

async fn connect(
    address: SocketAddr,
    roots: Arc<RootCertStore>,
) -> (SendRequest<Bytes>, tokio::task::JoinHandle<Result<(), h2::Error>>) {
    let stream = TcpStream::connect(address).await.expect("the porch accepts");
    let name = ServerName::try_from("example.com").expect("a name");
    let stream =
        TlsConnector::from(Arc::new(config(roots))).connect(name, stream).await.expect("a handshake");
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (send, connection) = h2::client::handshake(stream).await.expect("an HTTP/2 preface");
    (send, tokio::spawn(connection))
}
