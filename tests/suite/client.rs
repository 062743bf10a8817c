//! A client that writes raw bytes and reads whole answers, over TLS or in the clear.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::patience::PATIENCE;

/// One connection of a client.
pub(crate) struct Client {
    stream: Box<dyn Stream>,
    buffer: Vec<u8>,
}

trait Stream: Read + Write + Send {
    /// Whether bytes came that nobody has read.
    fn has_bytes(&self) -> bool;
}

impl Stream for TcpStream {
    fn has_bytes(&self) -> bool {
        self.set_nonblocking(true).expect("a socket");
        let seen = self.peek(&mut [0]);
        self.set_nonblocking(false).expect("a socket");
        seen.is_ok()
    }
}

impl Stream for StreamOwned<ClientConnection, TcpStream> {
    fn has_bytes(&self) -> bool {
        self.sock.has_bytes()
    }
}

/// An answer as it came.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    /// The status.
    pub(crate) status: u16,
    /// Status line and headers, without the blank line.
    pub(crate) head: String,
    /// The body, decoded if it was chunked.
    pub(crate) body: Vec<u8>,
    /// Trailers, as sent.
    pub(crate) trailers: String,
    /// Whether the body came to the end that its framing announced.
    pub(crate) whole: bool,
}

impl Answer {
    /// The only value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        let mut values = lines.filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim());
        let value = values.next();
        assert_eq!(values.next(), None, "{name} came twice: {}", self.head);
        value
    }

    /// The body as text.
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the body is text")
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }
}

impl Client {
    /// A TLS connection that negotiates HTTP/1.1.
    pub(crate) fn tls(address: SocketAddr, name: &str, roots: Arc<RootCertStore>) -> Self {
        Self::proxied(address, b"", name, roots)
    }

    /// A TLS connection behind a proxy that says `header` first.
    pub(crate) fn proxied(address: SocketAddr, header: &[u8], name: &str, roots: Arc<RootCertStore>) -> Self {
        let mut stream = connect(address);
        stream.write_all(header).expect("the porch takes bytes");
        let name = ServerName::try_from(name.to_owned()).expect("a server name");
        let connection = ClientConnection::new(Arc::new(config(roots)), name).expect("a TLS client");
        Self { stream: Box::new(StreamOwned::new(connection, stream)), buffer: Vec::new() }
    }

    /// A connection in the clear.
    pub(crate) fn plain(address: SocketAddr) -> Self {
        Self { stream: Box::new(connect(address)), buffer: Vec::new() }
    }

    /// Writes raw bytes.
    pub(crate) fn write(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.stream.write_all(bytes.as_ref()).expect("the porch takes bytes");
        self.stream.flush().expect("the porch takes bytes");
        self
    }

    /// Writes raw bytes to a porch that may have closed already.
    pub(crate) fn try_write(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        let _ = self.stream.write_all(bytes.as_ref()).and_then(|()| self.stream.flush());
        self
    }

    /// GET of a target for `example.com`.
    pub(crate) fn get(&mut self, target: &str) -> Answer {
        self.request("GET", target, "", b"")
    }

    /// A request for `example.com` with more header lines (each ending in CRLF) and a body.
    pub(crate) fn request(&mut self, method: &str, target: &str, lines: &str, body: &[u8]) -> Answer {
        let length = match (body.is_empty(), method) {
            (true, "GET" | "HEAD" | "OPTIONS" | "DELETE") => String::new(),
            _ => format!("Content-Length: {}\r\n", body.len()),
        };
        self.write(format!("{method} {target} HTTP/1.1\r\nHost: example.com\r\n{lines}{length}\r\n"));
        if !body.is_empty() {
            self.try_write(body);
        }
        self.answer_to(method)
    }

    /// Reads the answer to a GET.
    pub(crate) fn answer(&mut self) -> Answer {
        self.answer_to("GET")
    }

    /// Reads the answer to a request of this method.
    pub(crate) fn answer_to(&mut self, method: &str) -> Answer {
        self.try_answer_to(method).expect("the porch closed without an answer")
    }

    /// Reads an answer, or nothing when the connection ends before its head is complete.
    pub(crate) fn try_answer_to(&mut self, method: &str) -> Option<Answer> {
        let end = self.read_until(b"\r\n\r\n")?;
        let head = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
        self.buffer.drain(..end + 4);
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
        let mut answer = Answer { status, head, body: Vec::new(), trailers: String::new(), whole: true };
        if method != "HEAD" && status >= 200 && !matches!(status, 204 | 304) {
            answer.whole = self.read_body(&mut answer).is_some();
        }
        Some(answer)
    }

    /// Whether the porch has closed, once it does or says something.
    pub(crate) fn closed(&mut self) -> bool {
        self.buffer.is_empty() && self.more().is_none()
    }

    /// Whether anything of an answer is there already.
    pub(crate) fn has_answer(&mut self) -> bool {
        !self.buffer.is_empty() || self.stream.has_bytes()
    }

    /// Everything until the porch closes.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        while self.more().is_some() {}
        std::mem::take(&mut self.buffer)
    }

    /// Exactly so many raw bytes.
    pub(crate) fn exactly(&mut self, count: usize) -> Vec<u8> {
        while self.buffer.len() < count {
            self.more().expect("the porch closed early");
        }
        self.buffer.drain(..count).collect()
    }

    fn read_body(&mut self, answer: &mut Answer) -> Option<()> {
        if answer.header("transfer-encoding") == Some("chunked") {
            return self.read_chunks(answer);
        }
        let length = answer.header("content-length").map(|value| value.parse().expect("a length"));
        while length.is_none_or(|length| self.buffer.len() < length) {
            if self.more().is_none() {
                answer.body = std::mem::take(&mut self.buffer);
                return length.is_none().then_some(());
            }
        }
        answer.body = self.buffer.drain(..length.unwrap_or(0)).collect();
        Some(())
    }

    fn read_chunks(&mut self, answer: &mut Answer) -> Option<()> {
        loop {
            let line = self.read_until(b"\r\n")?;
            let size = std::str::from_utf8(&self.buffer[..line]).ok()?.to_owned();
            let size = usize::from_str_radix(&size, 16).expect("a chunk size is hexadecimal");
            self.buffer.drain(..line + 2);
            if size == 0 {
                break;
            }
            while self.buffer.len() < size + 2 {
                self.more()?;
            }
            answer.body.extend(self.buffer.drain(..size));
            self.buffer.drain(..2);
        }
        loop {
            let line = self.read_until(b"\r\n")?;
            let text: Vec<u8> = self.buffer.drain(..line + 2).collect();
            if line == 0 {
                return Some(());
            }
            answer.trailers.push_str(&String::from_utf8_lossy(&text));
        }
    }

    fn read_until(&mut self, end: &[u8]) -> Option<usize> {
        loop {
            if let Some(at) = self.buffer.windows(end.len()).position(|window| window == end) {
                return Some(at);
            }
            self.more()?;
        }
    }

    fn more(&mut self) -> Option<()> {
        let mut piece = [0; 16 * 1024];
        match self.stream.read(&mut piece) {
            Ok(0) => None,
            Ok(count) => {
                self.buffer.extend_from_slice(&piece[..count]);
                Some(())
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                panic!("nothing came for {PATIENCE:?}")
            }
            Err(_) => None,
        }
    }
}

/// The settings of a TLS client that speaks HTTP/1.1.
pub(crate) fn config(roots: Arc<RootCertStore>) -> ClientConfig {
    let mut config = ClientConfig::builder_with_provider(porchd::tls::provider())
        .with_safe_default_protocol_versions()
        .expect("the provider knows TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config
}

/// A TCP connection that does not wait for ever.
pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the porch accepts");
    stream.set_nodelay(true).expect("a socket");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    stream
}
