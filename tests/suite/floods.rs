//! Clients that mean harm: floods and stalls, and what they may cost.
//!
//! Frames are written by hand, so that no library's manners stand between the test and the porch.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use crate::home::{Act, Home, ok};
use crate::patience::PATIENCE;
#[cfg(target_os = "linux")]
use crate::patience::until;
use crate::porch::{Porch, matrix};

/// More than any of these floods needs to be noticed.
const FLOOD: usize = 64 * 1024 * 1024;

// Frame types and flags (RFC 9113 6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// GET of `/_matrix/x` for `example.com`, in HPACK without its tables' help (RFC 7541 6.2.2).
const GET: &[u8] = b"\x82\x87\x04\x0a/_matrix/x\x01\x0bexample.com";
/// GET of `/_matrix/y`.
const GET_Y: &[u8] = b"\x82\x87\x04\x0a/_matrix/y\x01\x0bexample.com";
/// The same as PUT.
const PUT: &[u8] = b"\x02\x03PUT\x87\x04\x0a/_matrix/x\x01\x0bexample.com";

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a frame is small").to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// An HTTP/2 connection without manners.
struct Raw {
    stream: StreamOwned<ClientConnection, TcpStream>,
    buffer: Vec<u8>,
}

impl Raw {
    /// Connects, with these settings.
    fn new(porch: &Porch, settings: &[u8]) -> Self {
        let mut config = ClientConfig::builder_with_provider(porchd::tls::provider())
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(porch.roots())
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let socket =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
        // Little room, so that what is not read soon stands in the porch's way.
        socket.set_recv_buffer_size(8 * 1024).expect("a buffer");
        socket.connect(&porch.address("https").into()).expect("the porch accepts");
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        let name = ServerName::try_from("example.com").expect("a name");
        let connection = ClientConnection::new(Arc::new(config), name).expect("a TLS client");
        let mut raw = Self { stream: StreamOwned::new(connection, stream), buffer: Vec::new() };
        raw.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        raw.write(&frame(SETTINGS, 0, 0, settings));
        raw
    }

    fn write(&mut self, bytes: &[u8]) {
        assert!(self.try_write(bytes), "the porch closed early");
    }

    /// Writes; false: the porch has closed. One that neither reads nor closes fails the test.
    fn try_write(&mut self, bytes: &[u8]) -> bool {
        match self.stream.write_all(bytes).and_then(|()| self.stream.flush()) {
            Ok(()) => true,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!("the porch took nothing for {PATIENCE:?} and did not close")
            }
            Err(_) => false,
        }
    }

    /// Writes `frames` until the porch closes; how many bytes that took. It must be less than `FLOOD`.
    fn flood(&mut self, mut frames: impl FnMut() -> Vec<u8>) -> usize {
        let mut sent = 0;
        while sent < FLOOD {
            let bytes = frames();
            if !self.try_write(&bytes) {
                return sent;
            }
            sent += bytes.len();
        }
        panic!("the porch took {sent} bytes and goes on")
    }

    /// The next frame: its type, stream and payload. Nothing: the porch has closed.
    fn next(&mut self) -> Option<(u8, u32, Vec<u8>)> {
        while self.buffer.len() < 9 || self.buffer.len() < 9 + self.length() {
            let mut piece = [0; 4096];
            match self.stream.read(&mut piece) {
                Ok(0) => return None,
                Ok(count) => self.buffer.extend_from_slice(&piece[..count]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    panic!("nothing came for {PATIENCE:?}")
                }
                Err(_) => return None,
            }
        }
        let all: Vec<u8> = self.buffer.drain(..9 + self.length()).collect();
        let stream = u32::from_be_bytes([all[5], all[6], all[7], all[8]]);
        Some((all[3], stream, all[9..].to_vec()))
    }

    fn length(&self) -> usize {
        u32::from_be_bytes([0, self.buffer[0], self.buffer[1], self.buffer[2]]) as usize
    }

    /// Waits for a frame of this type; false: the porch closed before.
    fn sees(&mut self, kind: u8) -> bool {
        while let Some((came, _, _)) = self.next() {
            if came == kind {
                return true;
            }
        }
        false
    }

    /// Reads until the porch closes.
    fn ends(&mut self) {
        while self.next().is_some() {}
    }
}

fn porch(home: &Home) -> Porch {
    Porch::new(&matrix(home, "limits: { body_progress: 250ms }\n"))
}

fn quiet() -> Home {
    Home::new(|_| ok("fine"))
}

fn fine(porch: &Porch) {
    assert_eq!(porch.connect().get("/_matrix/x").status, 200, "others are served");
}

/// Resident memory of this process in bytes, homes and other tests included.
#[cfg(target_os = "linux")]
fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").expect("Linux tells");
    pages.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).expect("a number") * 4096
}

#[test]
fn a_head_without_end_is_refused_after_some_continuations() {
    let home = quiet();
    let porch = porch(&home);
    let mut raw = Raw::new(&porch, b"");
    raw.write(&frame(HEADERS, END_STREAM, 1, GET));
    let piece = frame(CONTINUATION, 0, 1, &[b"\x00\x01x\x7f\x80\x7f".as_slice(), &[b'y'; 255]].concat());
    let sent = raw.flood(|| piece.clone());
    assert!(sent < 8 * 1024 * 1024, "it took {sent} bytes");
    fine(&porch);
    assert_eq!(home.seen().len(), 1);
}

#[test]
fn continuations_without_bytes_are_counted_too() {
    let home = quiet();
    let porch = porch(&home);
    let mut raw = Raw::new(&porch, b"");
    raw.write(&frame(HEADERS, END_STREAM, 1, GET));
    let pieces = frame(CONTINUATION, 0, 1, b"").repeat(100);
    raw.flood(|| pieces.clone());
    fine(&porch);
    assert_eq!(home.seen().len(), 1);
}

#[test]
fn settings_and_pings_that_nobody_reads_the_answers_of_end_the_connection() {
    let home = quiet();
    let porch = porch(&home);
    for piece in [frame(SETTINGS, 0, 0, b""), frame(PING, 0, 0, b"12345678")] {
        let pieces = piece.repeat(200);
        Raw::new(&porch, b"").flood(|| pieces.clone());
    }
    fine(&porch);
}

#[test]
fn a_header_bomb_is_refused_and_never_reaches_home() {
    let home = quiet();
    let porch = porch(&home);
    let mut raw = Raw::new(&porch, b"");
    // One entry of 4000 bytes in the dynamic table (RFC 7541 6.2.1), then named 16,000 times by a byte.
    let mut block = GET.to_vec();
    block.extend(b"\x40\x01x\x7f\xa1\x1e");
    block.extend([b'y'; 4000]);
    block.extend([0xbe; 10_000]);
    raw.write(&frame(HEADERS, END_STREAM | END_HEADERS, 1, &block));
    let mut refused = false;
    while let Some((kind, _, _)) = raw.next() {
        assert_ne!(kind, HEADERS, "it was answered");
        refused |= matches!(kind, RST_STREAM | GOAWAY);
        if refused {
            break;
        }
    }
    assert!(refused, "the porch says why it closes");
    assert_eq!(home.seen().len(), 0);
    fine(&porch);
}

#[test]
fn data_frames_without_data_end_the_connection() {
    let home = quiet();
    let porch = porch(&home);
    let mut raw = Raw::new(&porch, b"");
    raw.write(&frame(HEADERS, END_HEADERS, 1, PUT));
    let pieces = frame(DATA, 0, 1, b"").repeat(100);
    let sent = raw.flood(|| pieces.clone());
    assert!(sent < 8 * 1024 * 1024, "it took {sent} bytes");
    fine(&porch);
}

#[test]
fn streams_that_are_reset_at_once_end_the_connection() {
    let home = quiet();
    let porch = porch(&home);
    let mut raw = Raw::new(&porch, b"");
    let (mut stream, mut streams) = (1, 0);
    raw.flood(|| {
        let mut burst = Vec::new();
        for _ in 0..200 {
            burst.extend(frame(HEADERS, END_HEADERS | END_STREAM, stream, GET));
            burst.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
            (stream, streams) = (stream + 2, streams + 1);
        }
        burst
    });
    let seen = home.seen().len();
    assert!(seen < streams / 4, "{seen} of {streams} reached home");
    fine(&porch);
}

#[test]
fn streams_that_the_porch_is_made_to_reset_end_the_connection() {
    let home = quiet();
    let porch = porch(&home);
    let mut raw = Raw::new(&porch, b"");
    let mut stream = 1;
    let sent = raw.flood(|| {
        let mut pair = frame(HEADERS, END_HEADERS, stream, PUT);
        // An increment of 0 is an error of its stream (RFC 9113 6.9).
        pair.extend(frame(WINDOW_UPDATE, 0, stream, &[0; 4]));
        stream += 2;
        pair
    });
    assert!(sent < 2 * 1024 * 1024, "it took {sent} bytes");
    fine(&porch);
}

/// Not on a stack: the memory of this process is measured.
static FILL: [u8; 64 * 1024] = [b'x'; 64 * 1024];

/// A home that gives to each request as much as is taken, and tells when nobody takes it any more.
fn generous() -> (Home, Receiver<()>) {
    let (tell, left) = channel();
    let home = Home::new(move |request| {
        let tell = tell.clone();
        if request.target() != "/_matrix/x" {
            return ok("fine");
        }
        Act::Take(Box::new(move |stream| {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9999999999\r\n\r\n");
            while stream.write_all(&FILL).is_ok() {}
            let _ = tell.send(());
        }))
    });
    (home, left)
}

/// What lies in the system's queues of the TCP connections that have an end at `address`, by connection, in
/// bytes: what one end wrote and the other has not read.
#[cfg(target_os = "linux")]
fn queued(address: std::net::SocketAddr) -> Vec<usize> {
    let std::net::SocketAddr::V4(address) = address else { panic!("the suite is on IPv4") };
    let end = format!("{:08X}:{:04X}", u32::from_ne_bytes(address.ip().octets()), address.port());
    let table = std::fs::read_to_string("/proc/net/tcp").expect("Linux tells");
    let mut queued = std::collections::HashMap::<String, usize>::new();
    for line in table.lines().skip(1) {
        let fields: Vec<&str> = line.split_whitespace().collect();
        // Listening sockets count something else.
        let other = match (fields[1] == end, fields[2] == end) {
            _ if fields[3] == "0A" => continue,
            (true, _) => fields[2],
            (_, true) => fields[1],
            _ => continue,
        };
        let (sent, came) = fields[4].split_once(':').expect("two queues");
        let bytes = |text| usize::from_str_radix(text, 16).expect("hexadecimal");
        *queued.entry(other.to_owned()).or_default() += bytes(sent) + bytes(came);
    }
    queued.into_values().collect()
}

/// A hundred streams of one connection ask for an answer each and read none; what porchd holds of them.
#[cfg(target_os = "linux")]
fn held_of_a_hundred(settings: &[u8], window: u32) -> usize {
    const ANSWER: usize = 192 * 1024;
    let (tell, written) = channel();
    let home = Home::new(move |request| {
        let tell = tell.clone();
        if request.target() != "/_matrix/x" {
            return ok("fine");
        }
        Act::Take(Box::new(move |stream| {
            // So that all of it is written, whether anybody reads or not.
            socket2::SockRef::from(&*stream).set_send_buffer_size(2 * ANSWER).expect("a buffer");
            let head = b"HTTP/1.1 200 OK\r\nContent-Length: 9999999999\r\n\r\n";
            let body = &FILL[..ANSWER / 3];
            [&head[..], body, body, body].iter().for_each(|part| stream.write_all(part).expect("written"));
            tell.send(()).expect("the test waits");
            let _ = stream.read(&mut [0]);
        }))
    });
    let porch = Porch::new(&matrix(&home, "threads: 1\nlimits: { body_progress: 10m }\n"));
    let mut raw = Raw::new(&porch, settings);
    raw.write(&frame(WINDOW_UPDATE, 0, 0, &window.to_be_bytes()));
    for n in 0..100 {
        raw.write(&frame(HEADERS, END_HEADERS | END_STREAM, 2 * n + 1, GET));
    }
    (0..100).for_each(|_| written.recv_timeout(PATIENCE).expect("home answers"));
    let unread = || queued(home.address()).into_iter().filter(|&bytes| bytes > 0).collect::<Vec<_>>();
    until("something of each is read", || unread().iter().all(|&bytes| bytes < ANSWER));
    assert_eq!(porch.connect().get("/_matrix/other").status, 200, "others are served");
    let client = raw.stream.sock.local_addr().expect("an address");
    let on_its_way: usize = queued(client).iter().sum();
    (100 * ANSWER).saturating_sub(unread().iter().sum::<usize>() + on_its_way)
}

#[cfg(target_os = "linux")]
#[test]
fn what_streams_of_a_connection_hold_is_bounded_together() {
    // SETTINGS_INITIAL_WINDOW_SIZE of 1 byte: the windows are shut; and the largest: nothing is read.
    for (settings, window) in [([0, 4, 0, 0, 0, 1], 1), ([0, 4, 0x7f, 0xff, 0xff, 0xff], 0x7000_0000)] {
        let held = held_of_a_hundred(&settings, window);
        assert!(held < 2 * 1024 * 1024, "100 streams hold {held} bytes, with windows of {settings:?}");
    }
}

#[test]
fn a_stream_that_is_read_gets_its_answer_beside_a_hundred_that_are_not() {
    const ANSWER: usize = 2 * 1024 * 1024;
    let home = Home::new(|request| {
        let endless = request.target() == "/_matrix/x";
        Act::Take(Box::new(move |stream| {
            let length = if endless { 9_999_999_999 } else { ANSWER };
            let _ = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
            (0..length.div_ceil(FILL.len())).all(|_| stream.write_all(&FILL).is_ok());
        }))
    });
    let porch = Porch::new(&matrix(&home, "limits: { body_progress: 10m }\n"));
    // SETTINGS_INITIAL_WINDOW_SIZE of 1.
    let mut raw = Raw::new(&porch, &[0, 4, 0, 0, 0, 1]);
    for n in 0..100 {
        raw.write(&frame(HEADERS, END_HEADERS | END_STREAM, 2 * n + 1, GET));
    }
    (0..100).for_each(|_| assert!(raw.sees(DATA), "a first byte comes"));
    raw.write(&frame(HEADERS, END_HEADERS | END_STREAM, 201, GET_Y));
    let room = u32::try_from(ANSWER).expect("a window").to_be_bytes();
    raw.write(&[frame(WINDOW_UPDATE, 0, 0, &room), frame(WINDOW_UPDATE, 0, 201, &room)].concat());
    let mut came = 0;
    while came < ANSWER {
        let (kind, stream, payload) = raw.next().expect("the porch goes on");
        assert!(kind != DATA || stream == 201, "the windows of all others are shut");
        came += if kind == DATA { payload.len() } else { 0 };
    }
    assert_eq!(came, ANSWER);
}

#[cfg(target_os = "linux")]
#[test]
fn shut_windows_hold_little_and_not_for_long() {
    let (home, left) = generous();
    // Windows stay shut for four times that, while a busy machine brings 256 first bytes.
    let porch = Porch::new(&matrix(&home, "limits: { body_progress: 1s }\n"));
    let before = resident();
    // SETTINGS_INITIAL_WINDOW_SIZE of 1: a byte opens each stream's buffers.
    let mut clients: Vec<Raw> = (0..2).map(|_| Raw::new(&porch, &[0, 4, 0, 0, 0, 1])).collect();
    for raw in &mut clients {
        for n in 0..128 {
            raw.write(&frame(HEADERS, END_HEADERS | END_STREAM, 2 * n + 1, GET));
        }
        (0..128).for_each(|_| assert!(raw.sees(DATA), "a first byte comes"));
    }
    let grown = resident().saturating_sub(before);
    // Other tests of this process come and go meanwhile: the bound is a wide one.
    assert!(grown < 128 * 1024 * 1024, "256 streams hold {grown} bytes");
    clients.iter_mut().for_each(Raw::ends);
    (0..256).for_each(|_| left.recv_timeout(PATIENCE).expect("home is let go"));
}

#[test]
fn a_client_that_reads_nothing_is_closed_and_home_is_let_go() {
    let (home, left) = generous();
    let porch = porch(&home);
    let mut client = porch.connect();
    client.write("GET /_matrix/x HTTP/1.1\r\nHost: example.com\r\n\r\n");
    left.recv_timeout(PATIENCE).expect("home is let go");
    assert!(!client.answer().whole, "the client sees that it is not all");
    assert_eq!(porch.connect().get("/_matrix/other").status, 200);
}
