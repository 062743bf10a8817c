//! What one client may use, and when porchd's patience ends.

use std::io::{Read, Write};
use std::sync::mpsc::channel;

use crate::client::{Client, connect};
use crate::home::{Act, Home, later, ok};
use crate::patience::{PATIENCE, until};
use crate::porch::{Porch, matrix};
use crate::streams::Streams;

fn limited(home: &Home, limits: &str) -> Porch {
    Porch::new(&matrix(home, &format!("limits: {{ {limits} }}\n")))
}

const GET: &str = "GET /_matrix/x HTTP/1.1\r\nHost: example.com\r\n\r\n";

#[test]
fn an_address_has_so_many_connections() {
    let home = Home::new(|_| ok("home"));
    let porch = limited(&home, "connections_per_address: 3");
    let mut held: Vec<_> = (0..3).map(|_| porch.connect_plain("http")).collect();
    for client in &mut held {
        assert_eq!(client.get("/").status, 301);
    }
    for _ in 0..3 {
        let mut more = porch.connect_plain("http");
        more.try_write(GET);
        assert!(more.closed(), "one connection too many");
    }
    assert_eq!(held[0].get("/").status, 301, "the others go on");
    held.pop();
    let again = || porch.connect_plain("http").try_write(GET).try_answer_to("GET");
    until("the place of one that closed is free", || again().is_some_and(|answer| answer.status == 301));
}

#[test]
fn at_the_total_bound_newcomers_wait_while_nobody_idles() {
    let (end, held) = (0..3).map(|_| later()).unzip::<_, _, Vec<_>, Vec<_>>();
    let held = std::sync::Mutex::new(held);
    let home = Home::new(move |request| match request.target() {
        "/_matrix/held" => Act::Hang(held.lock().expect("no panic").pop().expect("three of them")),
        _ => ok("home"),
    });
    let figures = "admin: { socket: false, metrics: \"127.0.0.1:0\" }\n";
    let porch = Porch::new(&matrix(&home, &format!("{figures}limits: {{ connections: 3 }}\n")));
    let mut busy: Vec<_> = (0..3).map(|_| porch.connect()).collect();
    for client in &mut busy {
        client.write("GET /_matrix/held HTTP/1.1\r\nHost: example.com\r\n\r\n");
    }
    until("all are held", || home.seen().len() == 3);
    let mut waits = porch.connect_plain("http");
    waits.write(GET);
    let metrics = porch.running().metrics().expect("an address");
    let paused = "porchd_limits_hit_total{limit=\"connections\"} 1\n";
    until("accepting pauses", || Client::plain(metrics).get("/metrics").text().contains(paused));
    assert!(!waits.has_answer(), "a fourth connection is served");
    for end in &end {
        end.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nheld".into()).expect("home waits");
    }
    for client in &mut busy {
        assert_eq!(client.answer().status, 200, "nobody who was busy is cut");
    }
    assert_eq!(waits.answer().status, 301, "it is served once there is room");
    drop((busy, waits));
    for _ in 0..10 {
        assert_eq!(porch.connect().get("/_matrix/x").status, 200, "accepting goes on");
    }
}

#[test]
fn at_the_total_bound_who_holds_most_gives_way_and_what_idled_longest_first() {
    let home = Home::new(|_| ok("home"));
    let listeners = "listeners: { https: { bind: [ \"127.0.0.1:0\" ], tls: true, proxy_protocol: { from: [ 127.0.0.1 ] } } }\n";
    let porch = Porch::new(&matrix(&home, "").replace(
        "matrix:\n",
        &format!("{listeners}limits: {{ connections: 3 }}\nmatrix:\n  federation: false\n"),
    ));
    let client = |address: &str| {
        let header = format!("PROXY TCP4 {address} 192.0.2.1 56324 443\r\n");
        Client::proxied(porch.address("https"), header.as_bytes(), "example.com", porch.roots())
    };
    let mut held = ["192.0.2.7", "192.0.2.8", "192.0.2.8"].map(client);
    for client in &mut held {
        assert_eq!(client.get("/_matrix/x").status, 200);
    }
    assert_eq!(client("192.0.2.9").get("/_matrix/x").status, 200, "a newcomer is served");
    let [first, mut gone, last] = held;
    assert!(gone.closed(), "of the two of one client, the one that idled longest");
    for mut kept in [first, last] {
        assert_eq!(kept.get("/_matrix/x").status, 200, "the others go on");
    }
}

#[test]
fn idle_streams_and_slow_handshakes_give_way_too() {
    let home = Home::new(|_| ok("home"));
    let limits = "limits: { connections: 1, handshake: 5m, keep_alive: 5m, request_head: 5m }\n";
    let figures = "admin: { socket: false, metrics: \"127.0.0.1:0\" }\n";
    let porch = Porch::new(&matrix(&home, &format!("{figures}{limits}")));
    let metrics = porch.running().metrics().expect("an address");
    let accepted = |count: u32| {
        let line = format!("porchd_connections_accepted_total {count}\n");
        until("it is let in", || Client::plain(metrics).get("/metrics").text().contains(&line));
    };
    let mut streams = Streams::to(&porch);
    assert_eq!(streams.get("/_matrix/x").status, 200);
    assert_eq!(porch.connect().get("/_matrix/x").status, 200, "instead of a connection of streams");
    streams.closed();
    let mut silent = connect(porch.address("https"));
    silent.write_all(b"\x16\x03\x01\x02\x00\x01").expect("written");
    // Let in before the one that comes after it: two that wait do so at two threads, and either may be the first.
    accepted(3);
    assert_eq!(porch.connect().get("/_matrix/x").status, 200, "instead of a handshake");
    match silent.read(&mut [0; 64]) {
        Ok(count) => assert_eq!(count, 0, "it is closed"),
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
    }
    let mut slow = porch.connect_plain("http");
    assert_eq!(slow.get("/").status, 301, "it is let in");
    slow.write("GET / HT");
    assert_eq!(porch.connect_plain("http").get("/").status, 301, "instead of a head that does not end");
    assert!(slow.closed());
}

#[test]
fn a_limit_that_a_reload_raises_lets_in_who_waits() {
    let (_end, held) = later();
    let held = std::sync::Mutex::new(Some(held));
    let home = Home::new(move |_| Act::Hang(held.lock().expect("no panic").take().expect("one request")));
    let text = |connections| matrix(&home, &format!("limits: {{ connections: {connections} }}\n"));
    let porch = Porch::new(&text(1));
    let mut busy = porch.connect();
    busy.write("GET /_matrix/held HTTP/1.1\r\nHost: example.com\r\n\r\n");
    until("it is held", || home.seen().len() == 1);
    let mut waits = porch.connect_plain("http");
    waits.write(GET);
    porch.reload(&text(2)).expect("a good configuration");
    assert_eq!(waits.answer().status, 301);
}

#[test]
fn a_client_that_says_nothing_is_let_go() {
    let home = Home::new(|_| ok("home"));
    let porch = limited(&home, "handshake: 300ms");
    let mut silent = connect(porch.address("https"));
    let mut slow = connect(porch.address("https"));
    slow.write_all(b"\x16\x03\x01\x02\x00\x01").expect("written");
    let mut standing = porch.connect();
    assert_eq!(standing.get("/_matrix/x").status, 200);
    for stream in [&mut silent, &mut slow] {
        // An end, a reset or an alert: no more than that, and in time.
        let mut rest = Vec::new();
        match stream.read_to_end(&mut rest) {
            Ok(_) => assert!(rest.len() < 10, "{rest:?}"),
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
        }
    }
    assert_eq!(standing.get("/_matrix/x").status, 200, "the deadline is the handshake's alone");
}

#[test]
fn plain_http_on_the_tls_port_is_told_so() {
    let home = Home::new(|_| ok("home"));
    let porch = Porch::before(&home);
    let answer = porch.connect_plain("https").write(GET).answer();
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("https"), "{answer:?}");
    assert_eq!(home.seen().len(), 0);
}

#[test]
fn an_upload_that_stops_is_given_up() {
    let home = Home::new(|_| ok("home"));
    let porch = limited(&home, "body_progress: 300ms");
    let mut client = porch.connect();
    client.write("PUT /_matrix/x HTTP/1.1\r\nHost: example.com\r\nContent-Length: 10\r\n\r\nabc");
    let answer = client.answer_to("PUT");
    assert_eq!((answer.status, &answer.json()["errcode"]), (408, &"M_UNKNOWN".into()), "{answer:?}");
    assert!(client.closed());
    let mut chunked = porch.connect();
    chunked.write(
        "PUT /_matrix/x HTTP/1.1\r\nHost: example.com\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
    );
    assert_eq!(chunked.answer_to("PUT").status, 408);
    assert!(chunked.closed());
    assert_eq!(home.seen().len(), 0, "half a request is none");
}

#[test]
fn a_slow_home_is_not_the_clients_fault() {
    let (answer, hang) = later();
    let hang = std::sync::Mutex::new(Some(hang));
    let home =
        Home::new(move |_| hang.lock().expect("no panic").take().map_or_else(|| ok("next"), Act::Hang));
    let porch = limited(&home, "body_progress: 200ms, request_head: 200ms, keep_alive: 30s");
    let mut client = porch.connect();
    client.write("PUT /_matrix/x HTTP/1.1\r\nHost: example.com\r\nContent-Length: 3\r\n\r\nabc");
    // A client that is overdue ends meanwhile: so much later home answers.
    let mut overdue = porch.connect();
    overdue.write("PUT /_matrix/y HTTP/1.1\r\nHost: example.com\r\nContent-Length: 3\r\n\r\na");
    assert_eq!(overdue.answer_to("PUT").status, 408);
    answer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate".into()).expect("home waits");
    assert_eq!(client.answer_to("PUT").text(), "late");
}

/// A home whose answers have no end, and word of when their connection breaks.
fn endless() -> (Home, std::sync::mpsc::Receiver<usize>) {
    let (tell, told) = channel();
    let home = Home::new(move |_| {
        let tell = tell.clone();
        Act::Take(Box::new(move |stream| {
            let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
            let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
            let mut sent = 0;
            let mut result = stream.write_all(head.as_bytes());
            while result.is_ok() {
                result = stream.write_all(chunk.as_bytes());
                sent += 0x10000;
            }
            let _ = tell.send(sent);
        }))
    });
    (home, told)
}

#[test]
fn a_client_that_does_not_read_is_let_go() {
    let (home, told) = endless();
    let porch = limited(&home, "body_progress: 300ms");
    let mut client = porch.connect();
    client.write(GET);
    let sent = told.recv_timeout(PATIENCE).expect("home is let go");
    assert!(sent < 32 << 20, "{sent} bytes were taken from home for a client that reads none");
    assert!(!client.answer().whole, "the client sees that it was cut");
}

#[test]
fn a_stream_that_is_not_read_is_let_go() {
    let (home, told) = endless();
    let porch = limited(&home, "body_progress: 300ms");
    let mut streams = Streams::to(&porch);
    streams.ignore("/_matrix/x", || told.try_recv().is_ok());
}

#[test]
fn an_idle_connection_of_streams_is_closed_after_keep_alive() {
    let home = Home::new(|_| ok("home"));
    let porch = limited(&home, "keep_alive: 300ms");
    let mut streams = Streams::to(&porch);
    assert_eq!(streams.get("/_matrix/x").status, 200);
    streams.closed();
}

#[test]
fn a_silent_tunnel_is_closed() {
    let upgrade =
        "GET /_matrix/ws HTTP/1.1\r\nHost: example.com\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let home = Home::new(|_| {
        Act::Take(Box::new(|stream| {
            let head =
                "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
            stream.write_all(head.as_bytes()).expect("written");
            let mut byte = [0];
            while let Ok(1) = stream.read(&mut byte) {
                let _ = stream.write_all(&byte);
            }
        }))
    });
    let porch = limited(&home, "tunnel_idle: 300ms");
    let mut client = porch.connect();
    assert_eq!(client.write(upgrade).answer().status, 101);
    assert_eq!(client.write("x").exactly(1), b"x");
    assert!(client.closed());
}

#[test]
fn who_sends_too_much_still_hears_why() {
    let home = Home::new(|_| ok("home"));
    let porch = limited(&home, "body: 1KiB");
    let body = vec![b'x'; 4 << 20];
    for plain in [false, true] {
        for target in ["/_matrix/x", "/_synapse/admin/x", "/none"] {
            let mut client = if plain { porch.connect_plain("http") } else { porch.connect() };
            let length = body.len();
            client.write(format!(
                "PUT {target} HTTP/1.1\r\nHost: example.com\r\nContent-Length: {length}\r\n\r\n"
            ));
            client.try_write(&body);
            let answer =
                client.try_answer_to("PUT").unwrap_or_else(|| panic!("{target}: cut without a word"));
            let expected = match target {
                _ if plain => 308,
                "/_matrix/x" => 413,
                _ => 404,
            };
            assert_eq!(answer.status, expected, "{target}");
        }
    }
}

#[test]
fn an_upload_by_a_stream_has_the_same_limits() {
    let home = Home::new(|_| ok("home"));
    let porch = limited(&home, "body: 1KiB, body_progress: 300ms");
    let mut streams = Streams::to(&porch);
    let answer = streams.put_without_end("/_matrix/x", vec![b'x'; 4 << 20]);
    assert_eq!((answer.status, answer.whole), (413, true), "too much");
    let answer = streams.put_without_end("/_matrix/x", b"abc".to_vec());
    assert_eq!((answer.status, answer.whole), (408, true), "too slow");
    let answer = streams.put_without_end("/none", vec![b'x'; 4 << 20]);
    assert_eq!((answer.status, answer.whole), (404, true), "unwanted");
    assert_eq!(streams.get("/_matrix/x").status, 200, "the other streams go on");
    assert_eq!(home.seen().len(), 1, "half a request is none");
}

#[test]
fn a_slow_head_in_the_clear_is_given_up() {
    let home = Home::new(|_| ok("home"));
    let porch = limited(&home, "request_head: 300ms");
    let mut silent = porch.connect_plain("http");
    assert_eq!(silent.get("/").status, 301);
    let mut slow = porch.connect_plain("http");
    slow.write("GET / HT");
    assert!(slow.closed());
    assert_eq!(silent.get("/").status, 301, "an idle connection is no slow head");
}
