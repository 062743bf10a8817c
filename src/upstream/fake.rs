//! Backends made of scripts, for the tests of this floor.
//!
//! A script gets raw bytes and sends raw bytes; what came in is kept, to count what a backend saw.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Full};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc;

use crate::config::model::{self, BackendAddress};

use super::answer::AnswerBody;
use super::group::{self, Group};
use super::journey::Unsent;
use super::pool::{Call, Load, Pools, Sent};
use super::upload::Framing;

/// A port that nobody else gets and where nobody listens yet: connections are refused.
pub(crate) fn reserved() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let addr = socket.local_addr().unwrap();
    (socket, addr)
}

/// A backend on loopback.
pub(crate) struct Fake {
    pub(crate) addr: SocketAddr,
    seen: Seen,
}

/// The heads and bodies that a backend read, in order.
type Seen = Arc<Mutex<Vec<String>>>;

impl Fake {
    /// Runs `script` for each connection, with its number from 0.
    pub(crate) async fn start<F, Fut>(script: F) -> Self
    where
        F: Fn(usize, Peer<TcpStream>) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        Self::on(reserved().0, script)
    }

    /// The same at a socket that was reserved for it.
    pub(crate) fn on<F, Fut>(socket: TcpSocket, script: F) -> Self
    where
        F: Fn(usize, Peer<TcpStream>) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let listener = socket.listen(64).unwrap();
        let addr = listener.local_addr().unwrap();
        let seen = Seen::default();
        let log = Arc::clone(&seen);
        tokio::spawn(async move {
            for number in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(script(number, Peer { stream, seen: Arc::clone(&log), buf: Vec::new() }));
            }
        });
        Self { addr, seen }
    }

    /// Answers every request with `answer`, on as many connections as are opened.
    pub(crate) async fn answering(answer: &'static str) -> Self {
        Self::start(move |_, mut peer| async move {
            while peer.request().await.is_some() {
                peer.send(answer).await;
            }
        })
        .await
    }

    /// What it has read, a request each.
    pub(crate) fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }

    /// How many requests that begin with `start` it has read.
    pub(crate) fn count(&self, start: &str) -> usize {
        self.seen().iter().filter(|request| request.starts_with(start)).count()
    }

    pub(crate) fn group(&self) -> Arc<Group> {
        groups(&[upstream(&[BackendAddress::Socket(self.addr)])]).remove(0)
    }
}

/// The backend's end of one connection.
pub(crate) struct Peer<S> {
    pub(crate) stream: S,
    seen: Seen,
    buf: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Peer<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, seen: Seen::default(), buf: Vec::new() }
    }

    /// One whole request; `None`: the connection ended.
    pub(crate) async fn request(&mut self) -> Option<String> {
        let head = self.head().await?;
        let lower = head.to_lowercase();
        let mut whole = head;
        if let Some(at) = lower.find("content-length: ") {
            let length: usize = lower[at + 16..].split("\r\n").next().unwrap().parse().unwrap();
            whole += &self.exactly(length).await?;
        } else if lower.contains("transfer-encoding: chunked") {
            whole += &self.until("0\r\n").await?;
            while !whole.ends_with("\r\n\r\n") {
                whole += &self.until("\r\n").await?;
            }
        }
        self.seen.lock().unwrap().push(whole.clone());
        Some(whole)
    }

    /// A request's head alone.
    pub(crate) async fn head(&mut self) -> Option<String> {
        self.until("\r\n\r\n").await
    }

    /// What comes up to the end of `mark`.
    pub(crate) async fn until(&mut self, mark: &str) -> Option<String> {
        loop {
            if let Some(at) = self.buf.windows(mark.len()).position(|part| part == mark.as_bytes()) {
                return Some(self.cut(at + mark.len()));
            }
            self.more().await?;
        }
    }

    pub(crate) async fn exactly(&mut self, length: usize) -> Option<String> {
        while self.buf.len() < length {
            self.more().await?;
        }
        Some(self.cut(length))
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        // A client that went away is what some scripts are about.
        let _ = self.stream.write_all(bytes.as_ref()).await;
        let _ = self.stream.flush().await;
    }

    /// Waits until the other end closes.
    pub(crate) async fn closed(&mut self) {
        while self.more().await.is_some() {}
    }

    async fn more(&mut self) -> Option<()> {
        matches!(self.stream.read_buf(&mut self.buf).await, Ok(1..)).then_some(())
    }

    fn cut(&mut self, length: usize) -> String {
        let rest = self.buf.split_off(length);
        String::from_utf8_lossy(&std::mem::replace(&mut self.buf, rest)).into_owned()
    }
}

impl Peer<TcpStream> {
    /// Ends the connection with RST.
    pub(crate) fn reset(self) {
        socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).unwrap();
    }
}

/// An upstream with these backends and short, plain settings.
pub(crate) fn upstream(addresses: &[BackendAddress]) -> model::Upstream {
    let backend = |address: &BackendAddress| model::Backend {
        address: address.clone(),
        weight: 1,
        backup: false,
        max_connections: None,
    };
    model::Upstream {
        name: "home".into(),
        backends: addresses.iter().map(backend).collect(),
        balance: model::Balance::RoundRobin,
        probe: model::Probe {
            kind: model::ProbeKind::Http("/health".into()),
            every: Duration::from_secs(5),
            every_when_down: Duration::from_secs(1),
            timeout: Duration::from_secs(3),
            down_after: 2,
            up_after: 1,
        },
        connect_timeout: Duration::from_secs(2),
        idle_timeout: Duration::from_secs(25),
        response_timeout: None,
        tls: None,
        host: None,
        park: crate::config::model::park::Park::default(),
    }
}

pub(crate) fn groups(defs: &[model::Upstream]) -> Vec<Arc<Group>> {
    group::build(defs, &[], &mut |path| std::fs::read(path).map_err(|_| unreachable!())).unwrap()
}

/// A request without a body.
pub(crate) fn get(method: &Method) -> Call<'_, Full<Bytes>> {
    Call {
        method,
        head: format!("{method} /path HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes(),
        load: Load::Fresh(Framing::None, Full::default()),
        replay: true,
        head_timeout: Duration::from_secs(60),
        piece: crate::upstream::scratch::READ,
        wants_upgrade: false,
        stay: None,
        again: None,
    }
}

/// A request with a body that is all there.
pub(crate) fn put<'a>(method: &'a Method, body: &'static str, replay: bool) -> Call<'a, Full<Bytes>> {
    let length = body.len();
    Call {
        head: format!("{method} /path HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n").into_bytes(),
        load: Load::Fresh(Framing::Length(length as u64), Full::new(Bytes::from_static(body.as_bytes()))),
        replay,
        ..get(method)
    }
}

/// A request whose body the test feeds, in chunks.
pub(crate) fn stream<B>(method: &Method, body: B) -> Call<'_, B> {
    Call {
        method,
        head: format!("{method} /path HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
            .into_bytes(),
        load: Load::Fresh(Framing::Chunked, body),
        replay: false,
        head_timeout: Duration::from_secs(60),
        piece: crate::upstream::scratch::READ,
        wants_upgrade: false,
        stay: None,
        again: None,
    }
}

/// A body that is fed through a channel; its error is a text.
pub(crate) struct Fed(pub(crate) mpsc::UnboundedReceiver<Result<Frame<Bytes>, &'static str>>);

/// The feeding end of [`Fed`].
pub(crate) type Feed = mpsc::UnboundedSender<Result<Frame<Bytes>, &'static str>>;

pub(crate) fn fed() -> (Feed, Fed) {
    let (feed, fed) = mpsc::unbounded_channel();
    (feed, Fed(fed))
}

impl Body for Fed {
    type Data = Bytes;
    type Error = &'static str;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
        self.0.poll_recv(cx)
    }
}

/// Status and body of an answer; a body that failed is told so.
pub(crate) async fn read<B: Body<Data = Bytes> + Unpin>(sent: Sent<B>) -> (u16, String)
where
    B::Error: std::fmt::Debug,
{
    let answer = sent.unwrap();
    let status = answer.status().as_u16();
    (status, text(answer.into_body()).await)
}

/// The text of a body; `!` and the error at its end if it failed.
pub(crate) async fn text<B: Body<Data = Bytes> + Unpin>(mut body: AnswerBody<B>) -> String
where
    B::Error: std::fmt::Debug,
{
    let mut text = String::new();
    while let Some(frame) = body.frame().await {
        match frame.map(Frame::into_data) {
            Ok(Ok(data)) => text += &String::from_utf8_lossy(&data),
            Ok(Err(trailers)) => text += &format!("+{:?}", trailers.into_trailers().unwrap()),
            Err(error) => text += &format!("!{error:?}"),
        }
    }
    text
}

/// Sends a GET and reads its answer.
pub(crate) async fn fetch(pools: &Pools, group: &Arc<Group>) -> (u16, String) {
    read::<Full<Bytes>>(pools.send(group, get(&Method::GET)).await.0).await
}

/// The error of a request that got no answer.
pub(crate) fn error<B: Body<Data = Bytes>>(sent: Sent<B>) -> super::error::SendError<B::Error> {
    match sent {
        Ok(answer) => panic!("answered with {}", answer.status()),
        Err(Unsent::Failed(error)) => error,
        Err(Unsent::Recalled(held)) => panic!("recalled: {held:?}"),
    }
}
