//! What is sent again, and what never is.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::home::{Act, Home, ok};
use crate::porch::{Porch, matrix};

/// Answers the first request of a connection and closes unanswered at the second.
fn stale() -> Home {
    let first = std::sync::Mutex::new(std::collections::HashSet::new());
    Home::new(move |request| {
        if first.lock().expect("no panic").insert(request.connection) {
            ok("fine")
        } else {
            Act::AnswerAndClose(Vec::new())
        }
    })
}

#[test]
fn a_stale_connection_is_nobodys_error_when_a_request_may_be_repeated() {
    let home = stale();
    let porch = Porch::before(&home);
    let mut client = porch.connect();
    for _ in 0..10 {
        assert_eq!(client.get("/_matrix/x").text(), "fine");
        let put = client.request("PUT", "/_matrix/client/v3/rooms/!a/send/m/1", "", b"{}");
        assert_eq!(put.text(), "fine");
    }
}

#[test]
fn a_post_is_never_sent_twice() {
    let home = stale();
    let porch = Porch::before(&home);
    let mut client = porch.connect();
    for n in 0..10 {
        let body = format!("{n}");
        let answer = client.request("POST", "/_matrix/client/v3/createRoom", "", body.as_bytes());
        assert!(matches!(answer.status, 200 | 502), "{answer:?}");
        let sent = home.seen().iter().filter(|seen| seen.body == body.as_bytes()).count();
        assert_eq!(sent, 1, "POST {n} reached home {sent} times");
    }
}

#[test]
fn an_answer_that_has_begun_is_never_replaced() {
    let count = AtomicUsize::new(0);
    let home = Home::new(move |_| match count.fetch_add(1, Ordering::Relaxed) {
        0 => Act::AnswerAndClose(b"HTTP/1.1 200 OK\r\nContent-".into()),
        _ => ok("again"),
    });
    let porch = Porch::before(&home);
    assert_eq!(porch.connect().get("/_matrix/x").status, 502);
    assert_eq!(home.seen().len(), 1);
}

#[test]
fn a_home_that_comes_back_within_the_budget_costs_nothing() {
    let gone = Home::new(|_| ok("gone"));
    let address = gone.address().to_string();
    let porch = Porch::new(&matrix(&gone, ""));
    gone.stop();
    let mut client = porch.connect();
    client.write("PUT /_matrix/x HTTP/1.1\r\nHost: example.com\r\nContent-Length: 4\r\n\r\nbody");
    while std::net::TcpStream::connect(&address).is_ok() {
        std::thread::yield_now();
    }
    let back = Home::at(&address, |_| ok("back"));
    assert_eq!(client.answer_to("PUT").text(), "back");
    assert_eq!(back.only().body, b"body");
}

#[test]
fn a_backup_takes_over_when_the_others_are_gone() {
    let (first, backup) = (Home::new(|_| ok("first")), Home::new(|_| ok("backup")));
    let text = format!(
        "matrix: {{ server_name: example.com, home: pair }}\nupstreams:\n  pair:\n    backends:\n      - {{ address: {} }}\n      - {{ address: {}, backup: true }}\n    probe: {{ every: 100ms, every_when_down: 100ms, down_after: 1 }}\n",
        first.address(),
        backup.address()
    );
    let porch = Porch::new(&text);
    let mut client = porch.connect();
    assert_eq!(client.get("/_matrix/x").text(), "first");
    first.stop();
    // The pooled connection of the first one still stands; its end is what a crash looks like.
    let answer = (0..1000)
        .map(|_| client.request("GET", "/_matrix/x", "", b""))
        .find(|answer| answer.text() == "backup");
    assert!(answer.is_some());
}
