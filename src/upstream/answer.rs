//! The rest of an exchange after the answer's head: its body, or the tunnel that it became.
//!
//! Dropped before its end, the body closes the connection: nothing is left of a client that went away.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::Response;
use http_body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::backend::Counted;
use super::codec::framing::BodyLength;
use super::codec::head::Head;
use super::error::BodyError;
use super::exchange::{Conn, Exchange};
use super::lane::Lane;

/// The body of an answer. Polled, it drives the rest of the request's body too.
///
/// Its connection is kept for another request in the moment in which both sides are over, which is
/// before the last frame is handed out.
#[derive(Debug)]
pub struct AnswerBody<B> {
    state: State<B>,
}

#[derive(Debug)]
enum State<B> {
    /// All of it is here; empty: it is over.
    Whole(Bytes),
    Flowing(Box<Flow<B>>),
    Upgraded(Box<Upgraded>),
}

/// A body that is still coming.
#[derive(Debug)]
struct Flow<B> {
    exchange: Exchange<B>,
    home: Home,
}

/// Where a connection goes when its exchange is over, and what is counted until then.
#[derive(Debug)]
pub struct Home {
    /// Where it is kept.
    pub lane: Rc<Lane>,
    /// Whether the answer's head lets the connection stay open.
    pub keeps_open: bool,
    /// The request's place in the count of those in flight, where the choice of a backend needs it.
    pub request: Option<Counted>,
}

impl<B: Body<Data = Bytes> + Unpin> AnswerBody<B> {
    /// The rest of `exchange`, whose head said that the body is of `length`.
    pub fn new(mut exchange: Exchange<B>, length: BodyLength, home: Home) -> Self {
        if length == BodyLength::Upgraded {
            let (conn, first) = exchange.into_conn();
            let upgraded = Upgraded { conn, first, _request: home.request };
            return Self { state: State::Upgraded(Box::new(upgraded)) };
        }
        let state = match exchange.take_whole() {
            Some(bytes) => {
                home.receive(exchange);
                State::Whole(bytes)
            }
            None => State::Flowing(Box::new(Flow { exchange, home })),
        };
        Self { state }
    }

    /// The tunnel, if the answer was a 101; `None` for any other.
    pub fn into_upgraded(self) -> Option<Upgraded> {
        match self.state {
            State::Upgraded(upgraded) => Some(*upgraded),
            State::Whole(_) | State::Flowing(_) => None,
        }
    }

    /// Bounds the frames to come to `bytes` each; without it they are as large as pays.
    pub fn set_piece(&mut self, bytes: usize) {
        if let State::Flowing(flow) = &mut self.state {
            flow.exchange.set_piece(bytes);
        }
    }

    /// Bytes that have come from the backend behind the last frame.
    pub fn behind(&self) -> usize {
        match &self.state {
            State::Flowing(flow) => flow.exchange.download().behind(),
            State::Whole(_) | State::Upgraded(_) => 0,
        }
    }

    /// Ends the flow: its connection is kept if both sides are over.
    fn end(&mut self) {
        if let State::Flowing(flow) = std::mem::replace(&mut self.state, State::Whole(Bytes::new())) {
            flow.home.receive(flow.exchange);
        }
    }
}

/// The answer whose head has come over `exchange`.
pub fn response<B>(head: Head, exchange: Exchange<B>, home: Home) -> Response<AnswerBody<B>>
where
    B: Body<Data = Bytes> + Unpin,
{
    let mut response = Response::new(AnswerBody::new(exchange, head.length, home));
    *response.status_mut() = head.status;
    *response.headers_mut() = head.headers;
    response
}

impl Home {
    /// Takes the connection back, or closes it.
    ///
    /// An answer that ended while the request was still on its way is final: the rest of the request is
    /// of no use to anybody.
    fn receive<B: Body<Data = Bytes> + Unpin>(self, exchange: Exchange<B>) {
        if self.keeps_open && exchange.is_clean() {
            self.lane.give(exchange.into_conn().0, crate::clock::now());
        }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for AnswerBody<B> {
    type Data = Bytes;
    type Error = BodyError<B::Error>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let flow = match &mut self.state {
            State::Whole(bytes) if bytes.is_empty() => return Poll::Ready(None),
            State::Whole(bytes) => return Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            State::Upgraded(_) => return Poll::Ready(None),
            State::Flowing(flow) => flow,
        };
        let frame = ready!(flow.exchange.poll_frame(cx));
        if !matches!(&frame, Ok(Some(_)) if !flow.exchange.download().is_ended()) {
            // The last frame, the end, or a failure (which is not clean, so the connection is closed).
            match frame.is_err() {
                true => self.state = State::Whole(Bytes::new()),
                false => self.end(),
            }
        }
        Poll::Ready(frame.transpose())
    }

    fn is_end_stream(&self) -> bool {
        match &self.state {
            State::Whole(bytes) => bytes.is_empty(),
            State::Flowing(_) => false,
            State::Upgraded(_) => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.state {
            State::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            State::Flowing(flow) => {
                flow.exchange.download().left().map_or_else(SizeHint::default, SizeHint::with_exact)
            }
            State::Upgraded(_) => SizeHint::with_exact(0),
        }
    }
}

/// A connection that speaks another protocol now. It is never used for HTTP again.
#[derive(Debug)]
pub struct Upgraded {
    conn: Conn,
    /// What came along with the 101.
    first: Bytes,
    _request: Option<Counted>,
}

impl AsyncRead for Upgraded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.first.is_empty() {
            return Pin::new(&mut self.conn.stream).poll_read(cx, buf);
        }
        let take = self.first.len().min(buf.remaining());
        buf.put_slice(&self.first[..take]);
        self.first.advance(take);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Upgraded {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.conn.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.conn.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.conn.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.conn.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, Method};
    use http_body_util::{BodyExt, Full};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::super::error::{Cause, Progress};
    use super::super::fake::{self, Fake, error, get, read, text};
    use super::super::pool::{Call, Load, Pools};
    use super::super::upload::Framing;
    use super::*;

    const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";

    const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

    /// The answer to `method` by a backend that sends `pieces` and closes; and connections kept then.
    async fn answer(method: Method, pieces: &'static [&'static str]) -> (u16, String, usize) {
        let backend = Fake::start(move |_, mut peer| async move {
            peer.request().await;
            for piece in pieces {
                peer.send(piece).await;
                tokio::task::yield_now().await;
            }
        })
        .await;
        let pools = Pools::new();
        let mut call = get(&method);
        call.replay = false;
        let (status, body) = read(pools.send(&backend.group(), call).await.0).await;
        (status, body, pools.kept())
    }

    #[tokio::test]
    async fn bodies_end_where_their_framing_says() {
        let cases: &[(Method, &'static [&'static str], u16, &str, usize)] = &[
            (Method::GET, &[OK], 200, "hi", 1),
            (
                Method::GET,
                &["HTTP/1.1 200 OK\r\nContent-Le", "ngth: 4\r\n", "\r\nh", "i", "ho"],
                200,
                "hiho",
                1,
            ),
            (Method::GET, &["HTTP/1.1 200 OK\r\n\r\nto the", " end"], 200, "to the end", 0),
            (Method::GET, &["HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi"], 200, "hi", 0),
            (
                Method::GET,
                &["HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi"],
                200,
                "hi",
                0,
            ),
            (Method::HEAD, &["HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"], 200, "", 1),
            (Method::GET, &["HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n"], 304, "", 1),
            (Method::GET, &["HTTP/1.1 204 No Content\r\n\r\n"], 204, "", 1),
            // A body where none may be, and bytes after an answer: not ours to interpret.
            (Method::GET, &["HTTP/1.1 204 No Content\r\n\r\nbody"], 204, "", 0),
            (Method::HEAD, &["HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody"], 200, "", 0),
            (
                Method::GET,
                &["HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhiHTTP/1.1 200 OK\r\n\r\n"],
                200,
                "hi",
                0,
            ),
            (Method::GET, &["HTTP/1.1 100 Continue\r\n\r\n", OK], 200, "hi", 1),
            (
                Method::GET,
                &["HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\nHTTP/1.1 102 A\r\n\r\n", OK],
                200,
                "hi",
                1,
            ),
        ];
        for (method, pieces, status, body, kept) in cases {
            let got = answer(method.clone(), pieces).await;
            assert_eq!(got, (*status, (*body).to_owned(), *kept), "{pieces:?}");
        }
    }

    #[tokio::test]
    async fn chunked_bodies_arrive_with_their_trailers() {
        let got = answer(Method::GET, &[CHUNKED, "2\r\nhi\r\n0\r\n\r\n"]).await;
        assert_eq!(got, (200, "hi".to_owned(), 1));
        let got = answer(
            Method::GET,
            &[CHUNKED, "2", "\r\nh", "i\r\n0\r\nX-Sum: 1\r\nContent-Length: 3\r\n", "\r\n"],
        )
        .await;
        assert_eq!(got, (200, "hi+{\"x-sum\": \"1\"}".to_owned(), 1));
        let got = answer(Method::GET, &[CHUNKED, "2\r\nhi\r\n0\r\n\r\nmore"]).await;
        assert_eq!(got, (200, "hi".to_owned(), 0));
    }

    #[tokio::test]
    async fn truncated_bodies_are_seen_as_truncated() {
        let cases: &[(&'static [&'static str], &str)] = &[
            (&["HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhi"], "hi!Truncated"),
            (&[CHUNKED, "5\r\nhi"], "hi!Truncated"),
            (&[CHUNKED, "2\r\nhi\r\n"], "hi!Truncated"),
            (&[CHUNKED, "2\r\nhi\r\n0\r\n"], "hi!Truncated"),
            (&[CHUNKED, "2\r\nhi\r\nX\r\n"], "hi!Malformed(Size)"),
        ];
        for (pieces, body) in cases {
            assert_eq!(answer(Method::GET, pieces).await, (200, (*body).to_owned(), 0), "{pieces:?}");
        }
    }

    #[tokio::test]
    async fn reset_is_no_end_of_a_body_that_ends_with_the_connection() {
        let backend = Fake::start(|_, mut peer| async move {
            peer.request().await;
            peer.send("HTTP/1.1 200 OK\r\n\r\nhi").await;
            peer.until("go").await;
            peer.reset();
        })
        .await;
        let (feed, body) = fake::fed();
        feed.send(Ok(Frame::data("a".into()))).unwrap();
        let load = Load::Fresh(Framing::Length(3), body);
        let call = Call { load, ..fake::stream(&Method::POST, fake::fed().1) };
        let call = Call { head: b"POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\n".to_vec(), ..call };
        let sent = Pools::new().send(&backend.group(), call).await.0;
        feed.send(Ok(Frame::data("go".into()))).unwrap();
        let text = text(sent.unwrap().into_body()).await;
        assert!(text.starts_with("hi!Io("), "{text}");
    }

    #[tokio::test]
    async fn answer_that_begins_and_breaks_off_is_told_apart() {
        let cases: &[(&'static str, Progress)] = &[
            ("HTTP/1.1 200 OK\r\nContent-", Progress::AnswerBegan),
            ("HTTP/1.1 100 Continue\r\n\r\n", Progress::AnswerBegan),
            ("", Progress::SentNoAnswer),
        ];
        for (piece, progress) in cases {
            let backend = Fake::start(move |_, mut peer| async move {
                peer.request().await;
                peer.send(piece).await;
            })
            .await;
            let mut call = get(&Method::GET);
            call.replay = false;
            let error = error(Pools::new().send(&backend.group(), call).await.0);
            assert_eq!(error.progress, *progress, "{piece:?}");
            assert!(matches!(error.cause, Cause::Closed | Cause::Io(_)));
            assert_eq!(backend.count("GET"), 1);
        }
    }

    #[tokio::test]
    async fn malformed_answers_are_refused_and_not_asked_for_again() {
        let flood = "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(17).leak();
        for piece in [
            "SSH-2.0-OpenSSH_9.2\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            flood,
        ] {
            let backend = Fake::answering(piece).await;
            let error = error(Pools::new().send(&backend.group(), get(&Method::GET)).await.0);
            assert_eq!(error.progress, Progress::AnswerBegan);
            assert!(matches!(error.cause, Cause::Malformed(_)), "{error:?}");
            assert_eq!(backend.count("GET"), 1);
        }
    }

    #[tokio::test]
    async fn body_and_trailers_of_a_request_arrive() {
        let backend = Fake::answering(OK).await;
        let (pools, group) = (Pools::new(), backend.group());
        let (feed, body) = fake::fed();
        let feeding = async {
            feed.send(Ok(Frame::data("one".into()))).unwrap();
            tokio::task::yield_now().await;
            feed.send(Ok(Frame::data(Bytes::new()))).unwrap();
            feed.send(Ok(Frame::data("three".into()))).unwrap();
            let mut trailers = HeaderMap::new();
            trailers.insert("x-sum", "1".parse().unwrap());
            feed.send(Ok(Frame::trailers(trailers))).unwrap();
            drop(feed);
        };
        let (sent, ()) = tokio::join!(pools.send(&group, fake::stream(&Method::POST, body)), feeding);
        assert_eq!(read(sent.0).await, (200, "hi".to_owned()));
        assert!(backend.seen()[0].ends_with("\r\n\r\n3\r\none\r\n5\r\nthree\r\n0\r\nx-sum: 1\r\n\r\n"));
        assert_eq!(pools.kept(), 1);
    }

    #[tokio::test]
    async fn early_answer_arrives_while_the_upload_still_runs() {
        let backend = Fake::start(|_, mut peer| async move {
            peer.head().await;
            peer.send("HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig").await;
        })
        .await;
        let pools = Pools::new();
        let (feed, body) = fake::fed();
        feed.send(Ok(Frame::data("a".into()))).unwrap();
        let sent = pools.send(&backend.group(), fake::stream(&Method::POST, body)).await.0;
        assert_eq!(read(sent).await, (413, "big".to_owned()));
        assert!(feed.send(Ok(Frame::data("b".into()))).is_err(), "the rest is of no use");
        assert_eq!(pools.kept(), 0);
    }

    #[tokio::test]
    async fn upload_goes_on_while_the_answer_is_read() {
        let backend = Fake::start(|_, mut peer| async move {
            peer.head().await;
            peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
            for _ in 0..3 {
                peer.until("x\r\n").await;
                peer.send("1\r\ny\r\n").await;
            }
            peer.until("0\r\n\r\n").await;
            peer.send("0\r\n\r\n").await;
        })
        .await;
        let pools = Pools::new();
        let (feed, body) = fake::fed();
        let sent = pools.send(&backend.group(), fake::stream(&Method::POST, body)).await.0;
        let mut body = sent.unwrap().into_body();
        for _ in 0..3 {
            feed.send(Ok(Frame::data("x".into()))).unwrap();
            assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "y");
        }
        drop(feed);
        assert_eq!(text(body).await, "");
        assert_eq!(pools.kept(), 1);
    }

    #[tokio::test]
    async fn failed_request_body_closes_the_connection_and_is_told() {
        let backend = Fake::start(|_, mut peer| async move {
            peer.head().await;
            peer.closed().await;
        })
        .await;
        let (pools, group) = (Pools::new(), backend.group());
        let (feed, body) = fake::fed();
        feed.send(Ok(Frame::data("a".into()))).unwrap();
        let failing = async {
            tokio::task::yield_now().await;
            feed.send(Err("client gone")).unwrap();
        };
        let (sent, ()) = tokio::join!(pools.send(&group, fake::stream(&Method::POST, body)), failing);
        assert!(matches!(error(sent.0).cause, Cause::RequestBody("client gone")));
        assert_eq!(group.backends()[0].open(), 0);
    }

    #[tokio::test]
    async fn failed_rest_of_a_request_body_fails_the_answer() {
        let backend = Fake::start(|_, mut peer| async move {
            peer.head().await;
            peer.send("HTTP/1.1 200 OK\r\n\r\nhi").await;
            peer.closed().await;
        })
        .await;
        let (feed, body) = fake::fed();
        let sent = Pools::new().send(&backend.group(), fake::stream(&Method::POST, body)).await.0;
        feed.send(Err("too large")).unwrap();
        assert!(text(sent.unwrap().into_body()).await.ends_with("!RequestBody(\"too large\")"));
    }

    #[tokio::test]
    async fn dropped_body_closes_the_connection() {
        let backend = Fake::answering("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhi").await;
        let (pools, group) = (Pools::new(), backend.group());
        let sent = pools.send(&group, get(&Method::GET)).await.0;
        assert_eq!(group.backends()[0].open(), 1);
        drop(sent);
        assert_eq!((group.backends()[0].open(), pools.kept()), (0, 0));
    }

    #[tokio::test]
    async fn connection_is_kept_before_the_last_frame_is_handed_out() {
        let backend = Fake::start(|_, mut peer| async move {
            peer.request().await;
            peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
            tokio::task::yield_now().await;
            peer.send("2\r\nhi\r\n0\r\n\r\n").await;
            peer.closed().await;
        })
        .await;
        let pools = Pools::new();
        let mut body = pools.send(&backend.group(), get(&Method::GET)).await.0.unwrap().into_body();
        assert!(!body.is_end_stream());
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "hi");
        assert!(body.is_end_stream());
        assert_eq!(pools.kept(), 1);
    }

    fn upgrade(method: &Method) -> Call<'_, Full<Bytes>> {
        Call {
            head: b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n".to_vec(),
            wants_upgrade: true,
            ..get(method)
        }
    }

    #[tokio::test]
    async fn upgrade_gives_a_tunnel_that_begins_with_what_came_along() {
        let backend = Fake::start(|_, mut peer| async move {
            peer.head().await;
            peer.send(
                "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\nfirst",
            )
            .await;
            let asked = peer.until("?").await.unwrap();
            peer.send(asked).await;
        })
        .await;
        let (pools, group) = (Pools::new(), backend.group());
        let answer = pools.send(&group, upgrade(&Method::GET)).await.0.unwrap();
        assert_eq!((answer.status().as_u16(), &answer.headers()["upgrade"]), (101, &"echo".parse().unwrap()));
        let mut tunnel = answer.into_body().into_upgraded().unwrap();
        tunnel.write_all(b"what?").await.unwrap();
        let mut got = String::new();
        tunnel.read_to_string(&mut got).await.unwrap();
        assert_eq!(got, "firstwhat?");
        drop(tunnel);
        assert_eq!((group.backends()[0].open(), pools.kept()), (0, 0));
    }

    #[tokio::test]
    async fn refused_upgrade_is_a_plain_answer_on_a_connection_that_is_not_kept() {
        let backend = Fake::answering(OK).await;
        let pools = Pools::new();
        let sent = pools.send(&backend.group(), upgrade(&Method::GET)).await.0;
        assert_eq!(read(sent).await, (200, "hi".to_owned()));
        assert_eq!(pools.kept(), 0);
    }

    #[tokio::test]
    async fn large_bodies_arrive_whole_both_ways() {
        let backend = Fake::start(|_, mut peer| async move {
            let request = peer.request().await.unwrap();
            let body = request.split_once("\r\n\r\n").unwrap().1;
            peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())).await;
            peer.closed().await;
        })
        .await;
        let (pools, group) = (Pools::new(), backend.group());
        let body: &'static str = "0123456789abcdef".repeat(200_000).leak();
        let sent = pools.send(&group, fake::put(&Method::PUT, body, true)).await.0;
        assert!(read(sent).await.1 == body);
        assert_eq!(pools.kept(), 1);
    }
}
