//! One HTTP/1.1 connection as a client sees it: a request out, an answer in.
//!
//! It reads what the proxies of these measurements send: answers with a content length.

use std::io;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// A connection and what was read from it.
pub(crate) struct Wire<S> {
    stream: S,
    received: BytesMut,
}

/// What the head of an answer says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Answer {
    /// Its status.
    pub(crate) status: u16,
    /// Bytes of its body.
    pub(crate) length: usize,
    /// Whether the proxy closes the connection behind it.
    pub(crate) closes: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    /// Over an open connection.
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, received: BytesMut::with_capacity(2048) }
    }

    /// Sends a request and reads its answer, with the body in front of what was received.
    pub(crate) async fn ask(&mut self, request: &[u8]) -> io::Result<Answer> {
        self.received.clear();
        self.stream.write_all(request).await?;
        self.answer().await
    }

    /// Reads an answer.
    async fn answer(&mut self) -> io::Result<Answer> {
        let (answer, head) = loop {
            if let Some(parsed) = parse(&self.received)? {
                break parsed;
            }
            self.more().await?;
        };
        while self.received.len() < head + answer.length {
            self.more().await?;
        }
        self.received.advance(head);
        Ok(answer)
    }

    /// The body of the last answer.
    pub(crate) fn body(&self, answer: Answer) -> &[u8] {
        &self.received[..answer.length]
    }

    /// Whether any byte of an answer came: a request without one may go again.
    pub(crate) fn heard(&self) -> bool {
        !self.received.is_empty()
    }

    /// Waits until the proxy closes an idle connection.
    pub(crate) async fn closed(&mut self) {
        // What comes unasked, a second ticket aside, is an answer of the proxy's own before it closes.
        while matches!(self.stream.read_buf(&mut self.received).await, Ok(1..)) {}
    }

    /// The stream below; what was received ahead is lost.
    pub(crate) fn into_stream(self) -> S {
        self.stream
    }

    async fn more(&mut self) -> io::Result<()> {
        match self.stream.read_buf(&mut self.received).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

/// A request for `path`, with the headers that a browser sends.
pub(crate) fn request(path: &str) -> Vec<u8> {
    let lines: String = HEADERS.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n").into_bytes()
}

/// An answer and the length of its head; `None` when more has to come.
fn parse(received: &[u8]) -> io::Result<Option<(Answer, usize)>> {
    let mut headers = [httparse::EMPTY_HEADER; 48];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(head) = response.parse(received).map_err(io::Error::other)? else {
        return Ok(None);
    };
    let valued = |name: &str| {
        let found = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
        found.and_then(|header| std::str::from_utf8(header.value).ok())
    };
    let length = valued("content-length").and_then(|length| length.parse().ok());
    let length = length.ok_or_else(|| io::Error::other("an answer without a content length"))?;
    let closes = valued("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
    Ok(Some((Answer { status: response.code.unwrap_or(0), length, closes }, head)))
}

/// The same as `loads.py` gives to wrk and h2load.
pub(crate) const HEADERS: [(&str, &str); 5] = [
    ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:142.0) Gecko/20100101 Firefox/142.0"),
    ("accept", "application/json"),
    ("accept-language", "en,de;q=0.7"),
    ("accept-encoding", "gzip, deflate, br, zstd"),
    ("authorization", "Bearer syt_cG9yY2g_ZxYwVuTsRqPoNmLkJiHg_1a2B3c"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_to_the_end_of_their_heads() {
        let whole = b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}";
        let answer = Answer { status: 404, length: 2, closes: true };
        assert_eq!(parse(whole).ok().flatten(), Some((answer, whole.len() - 2)));
        assert_eq!(parse(&whole[..30]).ok(), Some(None));
        assert!(parse(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }
}
