//! A stand-in for the homeserver: answers that never change, and long polls, over HTTP/1.1.
//!
//! It is as cheap as an answer can be, for its time is taken from the load's. It keeps nothing and knows
//! only the paths of `Wanted::of`.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::lines::{Orders, tell};

/// Serves on a free port, which it tells, until standard input ends.
pub(crate) async fn run() -> io::Result<()> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(([127, 0, 0, 1], 0).into())?;
    let listener = socket.listen(4096)?;
    tell(&json!({ "port": listener.local_addr()?.port() }))?;
    let answers = Arc::new(Answers::new());
    let mut ended = std::pin::pin!(Orders::read().ended());
    loop {
        let (stream, _) = tokio::select! {
            accepted = listener.accept() => accepted?,
            () = &mut ended => return Ok(()),
        };
        stream.set_nodelay(true)?;
        let conversation = Conversation { stream, received: BytesMut::new(), answers: Arc::clone(&answers) };
        // A proxy that goes away is nothing to tell.
        tokio::spawn(async move { drop(conversation.serve().await) });
    }
}

/// What is sent, made once, and how many long polls wait.
struct Answers {
    small: Vec<u8>,
    empty: Vec<u8>,
    unknown: Vec<u8>,
    big_head: Vec<u8>,
    big_piece: Vec<u8>,
    waiting: AtomicUsize,
}

impl Answers {
    fn new() -> Self {
        Self {
            small: whole("200 OK", "application/json", small_body().as_bytes()),
            empty: whole("200 OK", "application/json", b"{}"),
            unknown: whole("404 Not Found", "application/json", b"{\"errcode\":\"M_UNRECOGNIZED\"}"),
            big_head: head("200 OK", "application/octet-stream", BIG),
            big_piece: vec![b'x'; PIECE],
            waiting: AtomicUsize::new(0),
        }
    }
}

fn whole(status: &str, kind: &str, body: &[u8]) -> Vec<u8> {
    let mut answer = head(status, kind, body.len());
    answer.extend_from_slice(body);
    answer
}

/// The headers that Synapse sends.
fn head(status: &str, kind: &str, length: usize) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status}\r\nCache-Control: no-cache, no-store, must-revalidate\r\n\
         Date: Sat, 28 Nov 2026 09:00:00 GMT\r\nServer: Synapse/1.163.2\r\nContent-Type: {kind}\r\n\
         Access-Control-Allow-Origin: *\r\n\
         Access-Control-Allow-Methods: GET, HEAD, POST, PUT, DELETE, OPTIONS\r\n\
         Access-Control-Allow-Headers: X-Requested-With, Content-Type, Authorization, Date\r\n\
         Access-Control-Expose-Headers: Synapse-Trace-Id, Server\r\nContent-Length: {length}\r\n\r\n"
    )
    .into_bytes()
}

/// A small object of 200 bytes.
fn small_body() -> String {
    let known = r#"{"user_id":"@porch:localhost","device_id":"QWERTYUIOP","is_guest":false,"note":""#;
    let rest = SMALL - known.len() - 2;
    format!("{known}{}\"}}", "abcdefghijklmnopqrstuvwxyz".chars().cycle().take(rest).collect::<String>())
}

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Small,
    Big,
    Poll(Duration),
    /// How many polls wait, for `run.py`.
    Waiting,
    Health,
    Unknown,
}

impl Wanted {
    fn of(path: &str) -> Self {
        match path.split_once('?') {
            Some(("/_matrix/client/v3/sync", query)) => {
                let wait = query.strip_prefix("timeout=").and_then(|wait| wait.parse().ok());
                wait.map_or(Self::Unknown, |wait| Self::Poll(Duration::from_millis(wait)))
            }
            _ => match path {
                "/_matrix/client/v3/account/whoami" => Self::Small,
                "/_matrix/client/v1/media/download/localhost/big" => Self::Big,
                "/waiting" => Self::Waiting,
                "/health" => Self::Health,
                _ => Self::Unknown,
            },
        }
    }
}

/// The head of one request.
#[derive(Debug, PartialEq, Eq)]
struct Asked {
    wanted: Wanted,
    /// Bytes of a body that follow; only uploads have one.
    body: Option<usize>,
    expects_continue: bool,
    head: usize,
}

impl Asked {
    fn parse(received: &[u8]) -> io::Result<Option<Self>> {
        let mut headers = [httparse::EMPTY_HEADER; 48];
        let mut request = httparse::Request::new(&mut headers);
        let httparse::Status::Complete(head) = request.parse(received).map_err(io::Error::other)? else {
            return Ok(None);
        };
        let mut asked = Self {
            wanted: Wanted::of(request.path.unwrap_or_default()),
            body: None,
            expects_continue: false,
            head,
        };
        for header in request.headers.iter() {
            if header.name.eq_ignore_ascii_case("content-length") {
                asked.body = std::str::from_utf8(header.value).ok().and_then(|length| length.parse().ok());
            } else if header.name.eq_ignore_ascii_case("expect") {
                asked.expects_continue = true;
            } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
                return Err(io::Error::other("bodies without a length are not for here"));
            }
        }
        Ok(Some(asked))
    }
}

/// One connection of a proxy.
struct Conversation {
    stream: TcpStream,
    received: BytesMut,
    answers: Arc<Answers>,
}

impl Conversation {
    async fn serve(mut self) -> io::Result<()> {
        loop {
            let asked = loop {
                if let Some(asked) = Asked::parse(&self.received)? {
                    break asked;
                }
                if self.read().await? == 0 {
                    return Ok(());
                }
            };
            self.received.advance(asked.head);
            let answers = Arc::clone(&self.answers);
            match (asked.body, asked.wanted) {
                (Some(body), _) => self.upload(body, asked.expects_continue).await?,
                (None, Wanted::Small) => self.stream.write_all(&answers.small).await?,
                (None, Wanted::Health) => self.stream.write_all(&answers.empty).await?,
                (None, Wanted::Unknown) => self.stream.write_all(&answers.unknown).await?,
                (None, Wanted::Big) => self.big().await?,
                (None, Wanted::Poll(wait)) => self.poll(wait).await?,
                (None, Wanted::Waiting) => {
                    let waiting = answers.waiting.load(Ordering::Relaxed).to_string();
                    self.stream.write_all(&whole("200 OK", "text/plain", waiting.as_bytes())).await?;
                }
            }
        }
    }

    async fn read(&mut self) -> io::Result<usize> {
        self.received.reserve(2048);
        self.stream.read_buf(&mut self.received).await
    }

    async fn upload(&mut self, body: usize, expects_continue: bool) -> io::Result<()> {
        if expects_continue {
            self.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        let here = body.min(self.received.len());
        self.received.advance(here);
        let mut missing = body - here;
        let mut piece = vec![0; PIECE];
        while missing > 0 {
            let most = missing.min(PIECE);
            match self.stream.read(&mut piece[..most]).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => missing -= read,
            }
        }
        self.stream.write_all(&self.answers.empty).await
    }

    async fn big(&mut self) -> io::Result<()> {
        self.stream.write_all(&self.answers.big_head).await?;
        for _ in 0..BIG / PIECE {
            self.stream.write_all(&self.answers.big_piece).await?;
        }
        Ok(())
    }

    async fn poll(&mut self, wait: Duration) -> io::Result<()> {
        self.answers.waiting.fetch_add(1, Ordering::Relaxed);
        let answers = Arc::clone(&self.answers);
        let waited: io::Result<()> = tokio::select! {
            () = tokio::time::sleep(wait) => Ok(()),
            // No proxy sends a second request behind one that is open: it went away.
            _ = self.read() => Err(io::ErrorKind::ConnectionAborted.into()),
        };
        answers.waiting.fetch_sub(1, Ordering::Relaxed);
        waited?;
        self.stream.write_all(&answers.empty).await
    }
}

/// Bytes of the small answer.
const SMALL: usize = 200;
/// Bytes of the big one: 100 MiB.
const BIG: usize = 100 << 20;
/// What is read and written of big bodies at a time.
const PIECE: usize = 256 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_small_answer_has_its_size() {
        assert_eq!(small_body().len(), SMALL);
        assert!(serde_json::from_str::<serde_json::Value>(&small_body()).is_ok());
        assert_eq!(BIG % PIECE, 0);
    }

    #[test]
    fn requests_are_told_apart() {
        let asked = |head: &str| Asked::parse(head.as_bytes()).ok().flatten();
        let poll = asked("GET /_matrix/client/v3/sync?timeout=1500 HTTP/1.1\r\n\r\n");
        assert_eq!(poll.map(|asked| asked.wanted), Some(Wanted::Poll(Duration::from_millis(1500))));
        let upload = asked("POST /_matrix/media/v3/upload HTTP/1.1\r\nContent-Length: 7\r\n\r\nab");
        assert_eq!(upload.map(|asked| (asked.body, asked.expects_continue)), Some((Some(7), false)));
        assert_eq!(asked("GET /x HTTP/1.1\r\nHost: a\r\n"), None);
    }
}
