//! Requests that wait while home is away, from the client's side.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::client::{Answer, Client};
use crate::home::{Home, later, ok, own_loopback};
use crate::porch::{Porch, matrix};
use crate::streams::Streams;

/// A home that has gone, and the text of a configuration before it.
fn gone(more: &str) -> (Home, String) {
    let home = Home::new(|_| ok("gone"));
    let text = matrix(&home, more);
    home.stop();
    (home, text)
}

/// Waits until so many requests wait.
fn until_parked(porch: &Porch, count: u32) {
    let start = porchd::clock::now();
    while porch.running().parked() != count {
        assert!(start.elapsed() < Duration::from_secs(20), "{} wait", porch.running().parked());
        std::thread::yield_now();
    }
}

fn ask<'a>(client: &'a mut Client, method: &str, target: &str, body: &str) -> &'a mut Client {
    let length = body.len();
    client.write(format!(
        "{method} {target} HTTP/1.1\r\nHost: example.com\r\nContent-Length: {length}\r\n\r\n{body}"
    ))
}

fn is_kind(answer: &Answer, status: u16) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.json()["errcode"], "M_UNKNOWN");
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    let retry: u64 = answer.header("retry-after").expect("when to ask again").parse().expect("seconds");
    assert!((1..=60).contains(&retry), "{retry}");
}

#[test]
fn nothing_fails_while_home_is_away_and_nothing_is_sent_twice() {
    let (home, text) = gone("log: { access: { file: $DIR/access.log, format: combined } }\n");
    let mut porch = Porch::new(&text);
    let requests = [
        ("GET", "/_matrix/client/v3/sync?timeout=0", ""),
        ("PUT", "/_matrix/client/v3/rooms/!a/send/m/1", "{\"n\":1}"),
        ("POST", "/_matrix/client/v3/createRoom", "{\"n\":2}"),
        ("PUT", "/_matrix/federation/v1/send/1", "{\"n\":3}"),
        ("POST", "/_matrix/client/v3/login", "{\"n\":4}"),
    ];
    let mut clients: Vec<Client> = Vec::new();
    for (count, (method, target, body)) in requests.iter().enumerate() {
        let mut client = porch.connect();
        ask(&mut client, method, target, body);
        clients.push(client);
        until_parked(&porch, count as u32 + 1);
    }
    let back = Home::at(&home.address().to_string(), |_| ok("back"));
    for client in &mut clients {
        assert_eq!(client.answer().text(), "back");
    }
    drop(clients);
    let seen = back.seen();
    let asked: Vec<_> = seen.iter().map(|seen| (seen.target(), seen.body.as_slice())).collect();
    for (_, target, body) in requests {
        assert_eq!(asked.iter().filter(|asked| **asked == (target, body.as_bytes())).count(), 1, "{target}");
    }
    assert_eq!(porch.running().parked(), 0);
    porch.halt();
    let lines = std::fs::read_to_string(porch.folder().join("access.log")).expect("a log");
    assert_eq!(lines.matches(" cause=refused ").count(), requests.len(), "{lines}");
    assert!(!lines.contains("parked=-"), "{lines}");
}

#[test]
fn streams_of_one_connection_wait_side_by_side() {
    let (home, text) = gone("");
    let porch = Porch::new(&text);
    let targets = ["/_matrix/client/v3/sync?timeout=0", "/_matrix/client/v3/account/whoami"];
    let answers = std::thread::scope(|scope| {
        let asking: Vec<_> =
            targets.iter().map(|target| scope.spawn(|| Streams::to(&porch).get(target))).collect();
        until_parked(&porch, 2);
        let _back = Home::at(&home.address().to_string(), |_| ok("back"));
        asking.into_iter().map(|one| one.join().expect("an answer").body).collect::<Vec<_>>()
    });
    assert_eq!(answers, [b"back", b"back"]);
}

#[test]
fn a_wait_ends_with_its_budget() {
    let (_home, text) = gone("upstreams: { home: { park: { client: 200ms, sync: 0s } } }\n");
    let porch = Porch::new(&text);
    is_kind(&porch.connect().get("/_matrix/client/v3/account/whoami"), 503);
    assert_eq!(porch.running().parked(), 0);
}

#[test]
fn a_bound_is_told_at_once_and_who_leaves_frees_a_place() {
    let (_home, text) = gone("upstreams: { home: { park: { most_per_client: 2 } } }\n");
    let porch = Porch::new(&text);
    let (mut one, mut two) = (porch.connect(), porch.connect());
    ask(&mut one, "GET", "/_matrix/x", "");
    until_parked(&porch, 1);
    // A body that is on its way still, and is not read meanwhile.
    two.write("PUT /_matrix/y HTTP/1.1\r\nHost: example.com\r\nContent-Length: 100000\r\n\r\nhalf");
    until_parked(&porch, 2);
    is_kind(&porch.connect().get("/_matrix/x"), 503);
    drop(one);
    until_parked(&porch, 1);
    drop(two);
    until_parked(&porch, 0);
    // More of a body than is looked at.
    let mut three = porch.connect();
    three.write("PUT /_matrix/z HTTP/1.1\r\nHost: example.com\r\nContent-Length: 1000000\r\n\r\n");
    until_parked(&porch, 1);
    three.write(vec![b'x'; 100_000]);
    drop(three);
    until_parked(&porch, 0);
}

#[test]
fn who_waits_follows_a_reload() {
    let (_home, text) = gone("");
    let porch = Porch::new(&text);
    let (mut goes, mut denied) = (porch.connect(), porch.connect());
    ask(&mut goes, "POST", "/_matrix/client/v3/createRoom", "{}");
    until_parked(&porch, 1);
    ask(&mut denied, "GET", "/_matrix/closed/x", "");
    until_parked(&porch, 2);
    let new = Home::new(|_| ok("new"));
    let shut = "sites: [ { hosts: [ example.com ], headers: { request: { set: { X-New: \"1\" } } }, \
                routes: [ { path: /_matrix/closed/, deny: true } ] } ]\n";
    porch.reload(&matrix(&new, shut)).expect("a reload");
    assert_eq!(goes.answer().text(), "new");
    assert_eq!(denied.answer().status, 404);
    let seen = new.only();
    assert_eq!((seen.header("x-new"), seen.body.as_slice()), (Some("1"), &b"{}"[..]));
}

#[test]
fn a_route_says_whether_its_requests_wait() {
    let (home, text) = gone(
        "upstreams: { home: { connect_timeout: 100ms } }\nsites: [ { hosts: [ example.com ], routes: [ \
         { path: /app/, forward: home, park: true }, { path: /other/, forward: home }, \
         { path: /_matrix/now/, forward: home, park: false } ] } ]\n",
    );
    let porch = Porch::new(&text);
    let mut waits = porch.connect();
    ask(&mut waits, "GET", "/app/x", "");
    until_parked(&porch, 1);
    is_kind(&porch.connect().get("/_matrix/now/x"), 503);
    assert_eq!(porch.connect().get("/other/x").status, 503);
    assert_eq!(porch.running().parked(), 1);
    let _back = Home::at(&home.address().to_string(), |_| ok("back"));
    assert_eq!(waits.answer().text(), "back");
}

#[test]
fn who_waits_at_a_stop_is_answered() {
    let (_home, text) = gone("drain: { stop: 100ms }\n");
    let porch = Porch::new(&text);
    let mut client = porch.connect();
    ask(&mut client, "GET", "/_matrix/x", "");
    until_parked(&porch, 1);
    porch.running().stop();
    is_kind(&client.answer(), 503);
}

#[test]
fn a_client_is_told_to_go_on_when_home_can_take_its_body() {
    let (home, text) = gone("");
    let porch = Porch::new(&text);
    let mut client = porch.connect();
    // So that nothing of the handshake is to come.
    assert_eq!(client.get("/.well-known/matrix/server").status, 200);
    client.write(
        "PUT /_matrix/x HTTP/1.1\r\nHost: example.com\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n",
    );
    until_parked(&porch, 1);
    assert!(!client.has_answer());
    let back = Home::at(&home.address().to_string(), |_| ok("back"));
    let go_on = b"HTTP/1.1 100 Continue\r\n\r\n";
    assert_eq!(client.exactly(go_on.len()), go_on);
    assert_eq!(client.write("hi").answer().text(), "back");
    assert_eq!(back.only().body, b"hi");
}

#[test]
fn the_edge_answers_what_it_can_by_itself() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let home = Home::asked_by_all(&own_loopback(), move |seen| {
        count.fetch_add(1, Ordering::Relaxed);
        match seen.target() {
            "/_matrix/client/versions" => ok("{\"versions\":[\"v1.11\"]}"),
            "/_matrix/key/v2/server" => ok("{\"valid_until_ts\":32503680000000}"),
            _ => ok("other"),
        }
    });
    let porch = Porch::new(&matrix(&home, "upstreams: { home: { park: { login: 0s } } }\n"));
    let start = porchd::clock::now();
    while asked.load(Ordering::Relaxed) < 2 {
        assert!(start.elapsed() < Duration::from_secs(20), "home is not asked for what is to be kept");
        std::thread::yield_now();
    }
    home.stop();
    let mut waits = porch.connect();
    ask(&mut waits, "GET", "/_matrix/client/v3/account/whoami", "");
    until_parked(&porch, 1);
    let mut client = porch.connect();
    for (target, part) in
        [("/_matrix/client/versions", "v1.11"), ("/_matrix/key/v2/server", "valid_until_ts")]
    {
        let answer = client.get(target);
        assert_eq!(answer.status, 200);
        assert!(answer.text().contains(part) && answer.header("age").is_some(), "{answer:?}");
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    }
    let preflight =
        client.request("OPTIONS", "/_matrix/client/v3/login", "Origin: https://app.test\r\n", b"");
    assert_eq!(preflight.status, 204);
    assert_eq!(client.get("/.well-known/matrix/server").status, 200);
    let browser = "Accept: text/html\r\nSec-Fetch-Mode: navigate\r\n";
    let page = client.request("GET", "/_matrix/client/v3/login/sso/redirect", browser, b"");
    assert!(page.status == 503 && page.text().contains("http-equiv=\"refresh\""), "{page:?}");
    // With credentials it is somebody's own, and waits.
    ask(&mut client, "GET", "/_matrix/client/versions?access_token=x", "");
    until_parked(&porch, 2);
}

#[test]
fn a_poll_whose_answer_is_lost_waits_for_home_and_goes_again() {
    let (hang, hung) = later();
    let hung = std::sync::Mutex::new(Some(hung));
    let home = Home::new(move |_| match hung.lock().expect("no panic").take() {
        Some(hung) => crate::home::Act::Hang(hung),
        None => ok("again"),
    });
    let porch = Porch::before(&home);
    let mut client = porch.connect();
    ask(&mut client, "GET", "/_matrix/client/v3/sync?since=a&timeout=30000", "");
    let start = porchd::clock::now();
    while home.seen().is_empty() {
        assert!(start.elapsed() < Duration::from_secs(20), "the poll does not come");
        std::thread::yield_now();
    }
    home.stop();
    // Home ends: the poll is cut, and nobody listens.
    drop(hang);
    until_parked(&porch, 1);
    let back = Home::at(&home.address().to_string(), |_| ok("back"));
    assert_eq!(client.answer().text(), "back");
    assert_eq!(back.seen().iter().filter(|seen| seen.target().contains("since=a")).count(), 1);
}
