//! WebSockets and other upgrades.

use std::io::{Read, Write};

use crate::home::{Act, Home, later, ok};
use crate::porch::{Porch, matrix};

const ASK: &str = "GET /_matrix/ws HTTP/1.1\r\nHost: example.com\r\nConnection: keep-alive, Upgrade\r\n\
                   Upgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n";

/// Agrees, says hello at once, then sends back what it reads.
fn echoing() -> Home {
    Home::new(|request| {
        if request.header("upgrade").is_none() {
            return ok("no upgrade");
        }
        Act::Take(Box::new(|stream| {
            let agree =
                b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nhello";
            stream.write_all(agree).expect("the porch reads");
            let mut piece = [0; 100];
            while let Ok(count @ 1..) = stream.read(&mut piece) {
                stream.write_all(&piece[..count]).expect("the porch reads");
            }
        }))
    })
}

#[test]
fn a_websocket_works_unconfigured() {
    let home = echoing();
    let porch = Porch::before(&home);
    let mut client = porch.connect();
    let answer = client.write(ASK).answer();
    assert_eq!((answer.status, answer.header("upgrade")), (101, Some("websocket")));
    assert_eq!(client.exactly(5), b"hello");
    assert_eq!(client.write("ping").exactly(4), b"ping");
    assert_eq!(client.write("pong").exactly(4), b"pong");
    assert_eq!(home.only().header("sec-websocket-key"), Some("x"));
}

#[test]
fn home_may_refuse_and_the_connection_goes_on() {
    let home = Home::new(|_| Act::Answer(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno".into()));
    let porch = Porch::before(&home);
    let mut client = porch.connect();
    assert_eq!(client.write(ASK).answer().text(), "no");
    assert_eq!(client.get("/_matrix/x").text(), "no");
}

#[test]
fn h2c_is_not_passed_on() {
    let home = echoing();
    let porch = Porch::before(&home);
    let ask = ASK.replace("websocket\r\n", "h2c\r\nHTTP2-Settings: AAMAAABkAAQ\r\n");
    let answer = porch.connect().write(ask).answer();
    assert_eq!((answer.status, answer.text()), (200, "no upgrade"));
    let seen = home.only();
    assert_eq!((seen.header("upgrade"), seen.header("http2-settings")), (None, None));
}

#[test]
fn a_101_that_nobody_asked_for_is_502() {
    let home = Home::new(|_| {
        Act::AnswerAndClose(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n".into(),
        )
    });
    let porch = Porch::before(&home);
    assert_eq!(porch.connect().get("/_matrix/x").status, 502);
}

#[test]
fn an_idle_tunnel_is_closed() {
    let home = echoing();
    let porch = Porch::new(&matrix(&home, "limits: { tunnel_idle: 300ms }\n"));
    let mut client = porch.connect();
    client.write(ASK).answer();
    assert_eq!(client.rest(), b"hello");
}

#[test]
fn a_tunnel_that_is_agreed_on_while_the_porch_drains_says_upgrade() {
    let (answer, hang) = later();
    let hang = std::sync::Mutex::new(Some(hang));
    let home = Home::new(move |_| hang.lock().unwrap().take().map_or_else(|| ok("again"), Act::Hang));
    let porch = Porch::before(&home);
    let mut client = porch.connect();
    client.write(ASK);
    while home.seen().is_empty() {
        std::thread::yield_now();
    }
    porch.running().stop();
    let agree = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    answer.send(agree.into()).expect("home waits");
    let answer = client.answer();
    assert_eq!((answer.status, answer.header("connection")), (101, Some("upgrade")));
}
