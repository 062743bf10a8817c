//! A CA for tests: on loopback, with real TLS and real signatures on certificates, and faults at will.
//!
//! It checks nonces, URLs and what is offered for a challenge, and no signature: the real one does.

pub(in crate::acme) mod state;

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use serde_json::Value;
use tokio::net::{TcpListener, TcpSocket};
use tokio_rustls::TlsAcceptor;

use crate::acme::fake::state::State;
use crate::config::model::acme::Authority;
use crate::tls::provider;

/// What goes wrong with one answer.
#[derive(Clone)]
pub(super) enum Fault {
    /// A problem document with this status, type and `Retry-After`.
    Problem(u16, &'static str, &'static str),
    /// A problem document of one's own.
    Told(u16, Value),
    /// An HTML page with this status and `Retry-After`.
    Page(u16, &'static str),
    /// Nothing goes wrong, this time.
    Fine,
    Reset,
    Hang,
    Garbage,
    Truncated,
    NoNonce,
    /// The question is dealt with, and the answer lost.
    Lost,
    /// The connection ends behind the answer, as idle ones do.
    Last,
    /// More than anybody wants.
    Huge,
}

/// A port that nobody else gets and where nobody listens: connections are refused.
pub(super) fn closed_port() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let closed = socket.local_addr().unwrap();
    (socket, closed)
}

/// The CA. It runs as long as the test's runtime.
pub(super) struct Fake {
    pub(super) authority: Authority,
    pub(super) root: String,
    state: Arc<Mutex<State>>,
}

impl Fake {
    pub(super) async fn start() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let root = issuer.pem();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let base = format!("https://{}", listener.local_addr().unwrap());
        let acceptor = acceptor(&issuer);
        let authority = Authority {
            name: "fake".into(),
            directory: format!("{base}/directory").into(),
            ca_file: None,
            profile: None,
            external_account: None,
        };
        let state = Arc::new(Mutex::new(State::new(issuer, base)));
        tokio::spawn(serve(listener, acceptor, state.clone()));
        Self { authority, root, state }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// The next answer at `place` goes wrong.
    pub(super) fn fault(&self, place: &'static str, fault: Fault) {
        self.state().faults.push((place, fault));
    }

    /// How often `place` was asked.
    pub(super) fn asked(&self, place: &str) -> usize {
        self.state().log.iter().filter(|(other, _)| other == place).count()
    }

    /// What `place` was told last.
    pub(super) fn told(&self, place: &str) -> Value {
        let state = self.state();
        let told = state.log.iter().rev().find(|(other, _)| other == place);
        told.map(|(_, payload)| payload.clone()).unwrap_or_default()
    }
}

fn acceptor(issuer: &CertifiedIssuer<'static, KeyPair>) -> TlsAcceptor {
    let key = KeyPair::generate().unwrap();
    let cert = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap().signed_by(&key, issuer).unwrap();
    let config =
        ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = config.with_no_client_auth().with_single_cert(vec![cert.der().clone()], key).unwrap();
    TlsAcceptor::from(Arc::new(config))
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor, state: Arc<Mutex<State>>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        // Paused time runs while the system waits for an acknowledgement.
        stream.set_nodelay(true).unwrap();
        state.lock().unwrap().connections += 1;
        let (acceptor, state) = (acceptor.clone(), state.clone());
        tokio::spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let service = service_fn(|request| answer(request, state.clone()));
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

type Answer = Response<Body>;

/// A body that does not say how long it is, so that its head may lie, and that is sent before it ends.
struct Body {
    text: Option<Bytes>,
    sent: bool,
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Self { text: Some(text.into()), sent: false }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(text) = self.text.take() {
            return Poll::Ready(Some(Ok(Frame::data(text))));
        }
        if self.sent {
            return Poll::Ready(None);
        }
        self.sent = true;
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

async fn answer(request: Request<Incoming>, state: Arc<Mutex<State>>) -> Result<Answer, std::io::Error> {
    let path = request.uri().path().to_owned();
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let place = path.split('/').nth(1).unwrap_or_default().to_owned();
    let reset = || Err(std::io::ErrorKind::ConnectionReset.into());
    let fault = {
        let mut state = state.lock().unwrap();
        let at = state.faults.iter().position(|(on, _)| *on == place);
        at.map(|at| state.faults.remove(at).1)
    };
    match fault {
        Some(Fault::Hang) => tokio::time::sleep(Duration::from_secs(100_000)).await,
        Some(Fault::Reset) => return reset(),
        _ => {}
    }
    let mut state = state.lock().unwrap();
    let mut reply = state.reply(&place, &path, &body, fault.as_ref());
    match fault {
        Some(Fault::Lost) => return reset(),
        Some(Fault::Garbage) => *reply.body_mut() = Body::from("\u{1}garbage".to_owned()),
        Some(Fault::Truncated) => {
            drop(reply.headers_mut().insert("content-length", "99999".parse().unwrap()))
        }
        Some(Fault::Last) => drop(reply.headers_mut().insert("connection", "close".parse().unwrap())),
        Some(Fault::Huge) => *reply.body_mut() = Body::from("x".repeat(2 << 20)),
        _ => {}
    }
    if !matches!(fault, Some(Fault::NoNonce)) {
        let nonce = state.nonce();
        reply.headers_mut().insert("replay-nonce", nonce.parse().unwrap());
    }
    Ok(reply)
}
