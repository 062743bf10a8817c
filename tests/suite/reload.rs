//! Reloads that drop nothing, and stops that answer everything.

use crate::home::{Act, Home, later, ok};
use crate::porch::{Porch, matrix};

fn answering(body: &str) -> String {
    format!(
        "sites:\n  - hosts: [ example.com ]\n    routes: [ {{ path: /, respond: {{ body: {body} }} }} ]\n"
    )
}

#[test]
fn a_reload_shows_at_once_on_connections_that_stand() {
    let home = Home::new(|_| ok("home"));
    let porch = Porch::new(&matrix(&home, &answering("old")));
    let mut client = porch.connect();
    assert_eq!(client.get("/").text(), "old");
    for n in 0..20 {
        let body = format!("new{n}");
        porch.reload(&matrix(&home, &answering(&body))).expect("a good configuration");
        let answer = client.get("/");
        assert_eq!((answer.text(), answer.header("connection")), (&*body, None));
        assert_eq!(porch.connect().get("/").text(), body);
    }
}

#[test]
fn a_request_in_flight_outlives_a_reload() {
    let (answer, hang) = later();
    let hang = std::sync::Mutex::new(Some(hang));
    let home = Home::new(move |_| hang.lock().unwrap().take().map_or_else(|| ok("second"), Act::Hang));
    let porch = Porch::new(&matrix(&home, &answering("old")));
    let mut client = porch.connect();
    client.write("GET /_matrix/client/v3/sync HTTP/1.1\r\nHost: example.com\r\n\r\n");
    while home.seen().is_empty() {
        std::thread::yield_now();
    }
    porch.reload(&matrix(&home, &answering("new"))).expect("a good configuration");
    answer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\npoll".into()).expect("home waits");
    assert_eq!(client.answer().text(), "poll");
    assert_eq!(client.get("/").text(), "new");
}

#[test]
fn a_bad_configuration_changes_nothing_and_says_why() {
    let home = Home::new(|_| ok("home"));
    let porch = Porch::new(&matrix(&home, &answering("old")));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port();
    let good = matrix(&home, &answering("new"));
    let cases = [
        ("syntax", "matrix: [ not: closed".to_owned(), "porchd.yaml"),
        ("an empty file", String::new(), "nothing to serve"),
        ("an unknown key", good.replace("home:", "hmoe:"), "did you mean"),
        (
            "a missing certificate",
            format!(
                "{good}tls: {{ internal_ca: true, certificates: [ {{ cert: /nonexistent.crt, key: /nonexistent.key }} ] }}\n"
            ),
            "/nonexistent.crt",
        ),
        (
            "a port that is taken",
            format!(
                "{good}listeners:\n  https: {{ bind: [ \"127.0.0.1:0\" ], tls: true }}\n  federation: {{ bind: [ \"127.0.0.1:0\" ], tls: true }}\n  http: {{ bind: [ \"127.0.0.1:{port}\" ] }}\n"
            ),
            "in use",
        ),
        ("threads", format!("{good}threads: 3\n"), "threads"),
    ];
    let mut client = porch.connect();
    for (what, text, says) in cases {
        let told = porch.reload(&text).expect_err(what);
        assert!(told.contains(says), "{what}: {told}");
        assert_eq!(client.get("/").text(), "old", "{what}");
        assert_eq!(porch.connect().get("/").text(), "old", "{what}");
    }
    porch.reload(&good).expect("a good configuration");
    assert_eq!(client.get("/").text(), "new");
}

#[test]
fn a_listener_that_comes_opens_and_one_that_goes_drains() {
    let home = Home::new(|_| ok("home"));
    let listeners = |more: &str| {
        format!(
            "{}listeners:\n  https: {{ bind: [ \"127.0.0.1:0\" ], tls: true }}\n{more}",
            matrix(&home, "").replace("matrix:\n", "matrix:\n  federation: false\n")
        )
    };
    let extra = "  extra: { bind: [ \"127.0.0.1:0\" ], tls: true }\n";
    let porch = Porch::new(&listeners(""));
    let mut stays = porch.connect();
    assert_eq!(stays.get("/_matrix/x").text(), "home");
    porch.reload(&listeners(extra)).expect("a listener is added");
    let mut goes = porch.connect_as("extra", "example.com");
    assert_eq!(goes.get("/_matrix/x").text(), "home");
    let address = porch.address("extra");
    porch.reload(&listeners("")).expect("a listener is removed");
    let last = goes.get("/_matrix/x");
    assert_eq!((last.text(), last.header("connection")), ("home", Some("close")));
    assert!(goes.closed());
    assert_eq!(stays.get("/_matrix/x").header("connection"), None);
    while std::net::TcpStream::connect(address).is_ok() {
        std::thread::yield_now();
    }
}

#[test]
fn a_stop_lets_requests_end_and_answers_polls_at_its_deadline() {
    let (_never, hang) = later();
    let hang = std::sync::Mutex::new(Some(hang));
    let home = Home::new(move |_| hang.lock().unwrap().take().map_or_else(|| ok("fine"), Act::Hang));
    let porch = Porch::new(&matrix(&home, "drain: { stop: 1s }\n"));
    let (mut idle, mut poll) = (porch.connect(), porch.connect());
    poll.write("GET /_matrix/client/v3/sync HTTP/1.1\r\nHost: example.com\r\n\r\n");
    while home.seen().is_empty() {
        std::thread::yield_now();
    }
    assert_eq!(idle.get("/_matrix/x").text(), "fine");
    let stopping = std::thread::spawn(move || porch.stop());
    assert!(idle.closed());
    let answer = poll.answer();
    assert_eq!((answer.status, &answer.json()["errcode"]), (503, &"M_UNKNOWN".into()));
    assert!(answer.header("retry-after").is_some());
    stopping.join().expect("the porch stops");
}
