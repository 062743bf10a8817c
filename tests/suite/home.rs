//! A scripted home: a backend on loopback that records what it is sent and answers what a test says.
//!
//! One blocking thread a connection, raw bytes both ways: nothing between the test and the wire.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread;

/// A request as it reached home.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// Request line and headers, as sent, without the blank line.
    pub(crate) head: String,
    /// The body, decoded if it was chunked.
    pub(crate) body: Vec<u8>,
    /// Trailers, as sent.
    pub(crate) trailers: String,
    /// Which connection it came on, counted from 0.
    pub(crate) connection: usize,
}

impl Seen {
    /// The request target, byte for byte.
    pub(crate) fn target(&self) -> &str {
        self.head.split(' ').nth(1).expect("a request line has three parts")
    }

    /// Every value of a header.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let lines = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        lines.filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).collect()
    }

    /// The only value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() <= 1, "{name} came {} times: {}", all.len(), self.head);
        all.first().copied()
    }
}

/// What home does with a request.
pub(crate) enum Act {
    /// Writes these bytes and reads the next request.
    Answer(Vec<u8>),
    /// Writes these bytes and closes.
    AnswerAndClose(Vec<u8>),
    /// Closes without a byte.
    Hang(Receiver<Vec<u8>>),
    /// Answers 404 and was not asked.
    Unseen,
    /// Takes the connection over.
    Take(Box<dyn FnOnce(&mut TcpStream) + Send>),
}

/// An answer of 200 with this body.
pub(crate) fn ok(body: &str) -> Act {
    Act::Answer(
        format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .into_bytes(),
    )
}

type Script = dyn Fn(&Seen) -> Act + Send + Sync;

/// A scripted home.
pub(crate) struct Home {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    stopped: Arc<Mutex<bool>>,
}

impl Home {
    /// A home that answers every request as `script` says; `/health` is always answered.
    pub(crate) fn new(script: impl Fn(&Seen) -> Act + Send + Sync + 'static) -> Self {
        Self::at(&own_loopback(), script)
    }

    /// A home at a given address.
    pub(crate) fn at(address: &str, script: impl Fn(&Seen) -> Act + Send + Sync + 'static) -> Self {
        // What porchd asks for itself, to have it while home is away, is nobody's request.
        let own = |seen: &Seen| seen.header("user-agent") == Some("porchd");
        Self::asked_by_all(address, move |seen| if own(seen) { Act::Unseen } else { script(seen) })
    }

    /// A home at a given address that answers porchd's own questions too.
    pub(crate) fn asked_by_all(address: &str, script: impl Fn(&Seen) -> Act + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(address).expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let home = Self { address, seen: Arc::default(), stopped: Arc::default() };
        let (seen, stopped, script) = (home.seen.clone(), home.stopped.clone(), Arc::new(script));
        thread::spawn(move || {
            for (connection, stream) in listener.incoming().enumerate() {
                if *stopped.lock().expect("no panic") {
                    return;
                }
                let (seen, script): (_, Arc<Script>) = (seen.clone(), script.clone());
                thread::spawn(move || serve(stream.ok(), connection, &seen, &*script));
            }
        });
        home
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What came so far, probes left out.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("no panic").clone()
    }

    /// The only request that came.
    pub(crate) fn only(&self) -> Seen {
        let seen = self.seen();
        assert_eq!(seen.len(), 1, "home saw {} requests: {seen:#?}", seen.len());
        seen[0].clone()
    }

    /// Closes the listening socket; connections that stand go on.
    pub(crate) fn stop(&self) {
        *self.stopped.lock().expect("no panic") = true;
        // Wakes the accept loop, which then drops the listener.
        drop(TcpStream::connect(self.address));
    }
}

/// A place to listen that nobody else of this run is given, after this home has gone either: where a port of
/// 127.0.0.1 is free again, the next test's home gets it and answers what should wait. Linux has all of 127/8.
pub(crate) fn own_loopback() -> String {
    static HOMES: AtomicU16 = AtomicU16::new(0);
    let [high, low] = HOMES.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    if cfg!(target_os = "linux") { format!("127.64.{high}.{low}:0") } else { "127.0.0.1:0".into() }
}

impl Drop for Home {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A script's answer that the test hands over later.
pub(crate) fn later() -> (std::sync::mpsc::Sender<Vec<u8>>, Receiver<Vec<u8>>) {
    channel()
}

fn serve(stream: Option<TcpStream>, connection: usize, seen: &Mutex<Vec<Seen>>, script: &Script) {
    let Some(mut stream) = stream else { return };
    let mut buffer = Vec::new();
    while let Some(request) = read_request(&mut stream, &mut buffer, connection) {
        let act = if request.target() == "/health" { ok("OK") } else { script_of(&request, seen, script) };
        match act {
            Act::Unseen => {
                if stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").is_err() {
                    return;
                }
            }
            Act::Answer(bytes) => {
                if stream.write_all(&bytes).is_err() {
                    return;
                }
            }
            Act::AnswerAndClose(bytes) => {
                let _ = stream.write_all(&bytes);
                let _ = stream.shutdown(Shutdown::Both);
                return;
            }
            Act::Hang(answer) => {
                let Ok(bytes) = answer.recv() else { return };
                if stream.write_all(&bytes).is_err() {
                    return;
                }
            }
            Act::Take(take) => return take(&mut stream),
        }
    }
}

fn script_of(request: &Seen, seen: &Mutex<Vec<Seen>>, script: &Script) -> Act {
    let own = request.header("user-agent") == Some("porchd");
    if !own {
        seen.lock().expect("no panic").push(request.clone());
    }
    script(request)
}

fn read_request(stream: &mut TcpStream, buffer: &mut Vec<u8>, connection: usize) -> Option<Seen> {
    let end = read_until(stream, buffer, b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
    buffer.drain(..end + 4);
    let mut request = Seen { head, body: Vec::new(), trailers: String::new(), connection };
    if let Some(length) = request.header("content-length") {
        let length: usize = length.parse().expect("a length is a number");
        fill(stream, buffer, length)?;
        request.body = buffer.drain(..length).collect();
    } else if request.header("transfer-encoding").is_some() {
        read_chunks(stream, buffer, &mut request)?;
    }
    Some(request)
}

fn read_chunks(stream: &mut TcpStream, buffer: &mut Vec<u8>, request: &mut Seen) -> Option<()> {
    loop {
        let line = read_until(stream, buffer, b"\r\n")?;
        let size = std::str::from_utf8(&buffer[..line]).ok()?.split(';').next()?.to_owned();
        let size = usize::from_str_radix(&size, 16).expect("a chunk size is hexadecimal");
        buffer.drain(..line + 2);
        if size == 0 {
            break;
        }
        fill(stream, buffer, size + 2)?;
        request.body.extend(buffer.drain(..size));
        buffer.drain(..2);
    }
    loop {
        let line = read_until(stream, buffer, b"\r\n")?;
        let text: Vec<u8> = buffer.drain(..line + 2).collect();
        if line == 0 {
            return Some(());
        }
        request.trailers.push_str(&String::from_utf8_lossy(&text));
    }
}

fn read_until(stream: &mut TcpStream, buffer: &mut Vec<u8>, end: &[u8]) -> Option<usize> {
    loop {
        if let Some(at) = buffer.windows(end.len()).position(|window| window == end) {
            return Some(at);
        }
        more(stream, buffer)?;
    }
}

fn fill(stream: &mut TcpStream, buffer: &mut Vec<u8>, wanted: usize) -> Option<()> {
    while buffer.len() < wanted {
        more(stream, buffer)?;
    }
    Some(())
}

fn more(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<()> {
    let mut piece = [0; 16 * 1024];
    match stream.read(&mut piece) {
        Ok(0) | Err(_) => None,
        Ok(count) => {
            buffer.extend_from_slice(&piece[..count]);
            Some(())
        }
    }
}
