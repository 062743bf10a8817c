//! `limits.rate`: who asks too often is told when to come back, and nobody else notices.

use crate::client::Client;
use crate::home::{Home, ok};
use crate::porch::{Porch, matrix};
use crate::streams::Streams;

/// So that no bucket gains a token while a test runs.
const LOGINS: &str = "limits: { rate: [ { class: login, burst: 2, every: 1h } ] }\n";
const LOGIN: &str = "/_matrix/client/v3/login";

fn login(client: &mut Client) -> u16 {
    client.request("POST", LOGIN, "", b"").status
}

#[test]
fn who_asks_too_often_is_told_when_to_come_back() {
    let home = Home::new(|_| ok("{}"));
    let more = "log: { access: { file: $DIR/access.log, format: combined } }\n\
                admin: { socket: false, metrics: \"127.0.0.1:0\" }\n";
    let mut porch = Porch::new(&matrix(&home, &format!("{LOGINS}{more}")));
    let mut client = porch.connect();
    assert_eq!([login(&mut client), login(&mut client)], [200, 200]);
    let refused = client.request("POST", LOGIN, "Origin: https://app.example\r\n", b"");
    assert_eq!(
        (refused.status, &refused.json()["errcode"]),
        (429, &"M_LIMIT_EXCEEDED".into()),
        "{refused:?}"
    );
    let millis = refused.json()["retry_after_ms"].as_u64().expect("a hint in the body");
    let seconds: u64 = refused.header("retry-after").expect("a hint").parse().expect("seconds");
    assert!((3_500_000..=3_600_000).contains(&millis) && seconds == millis.div_ceil(1000), "{refused:?}");
    assert_eq!(refused.header("access-control-allow-origin"), Some("*"));
    // By a stream, and another endpoint of the class: it is the same client.
    let by_stream = Streams::to(&porch).get("/_matrix/client/v3/register/available?username=a");
    assert_eq!((by_stream.status, by_stream.header("access-control-allow-origin")), (429, Some("*")));
    for _ in 0..5 {
        assert_eq!(client.request("OPTIONS", LOGIN, "", b"").status, 200, "preflights are not counted");
        assert_eq!(client.get("/_matrix/client/v3/sync").status, 200, "other classes are not limited");
    }
    assert_eq!(home.seen().len(), 2 + 10, "what is refused never reaches home");
    let figures = Client::plain(porch.running().metrics().expect("an address")).get("/metrics");
    assert!(figures.text().contains("why=\"rate-limited\"} 2"), "{}", figures.text());
    porch.halt();
    let lines = std::fs::read_to_string(porch.folder().join("access.log")).expect("a log");
    let refused: Vec<_> = lines.lines().filter(|line| line.contains("rate-limited")).collect();
    assert!(refused.len() == 2 && refused.iter().all(|line| line.contains(" 429 ")), "{lines}");
}

#[test]
fn a_reload_that_leaves_the_rate_alone_forgives_nobody() {
    let home = Home::new(|_| ok("{}"));
    let porch = Porch::new(&matrix(&home, LOGINS));
    let mut client = porch.connect();
    assert_eq!([login(&mut client), login(&mut client), login(&mut client)], [200, 200, 429]);
    porch
        .reload(&matrix(&home, &LOGINS.replace("rate:", "body: 1MiB, rate:")))
        .expect("a good configuration");
    assert_eq!(login(&mut client), 429);
    porch.reload(&matrix(&home, &LOGINS.replace("burst: 2", "burst: 3"))).expect("a good configuration");
    assert_eq!([(); 4].map(|()| login(&mut client)), [200, 200, 200, 429]);
    porch.reload(&matrix(&home, "")).expect("a good configuration");
    assert_eq!([(); 4].map(|()| login(&mut client)), [200; 4]);
}

#[test]
fn behind_a_listed_proxy_its_clients_are_counted() {
    let home = Home::new(|_| ok("{}"));
    let porch = Porch::new(&matrix(&home, &format!("{LOGINS}trusted_proxies: [ 127.0.0.1 ]\n")));
    let mut proxy = porch.connect();
    let mut of = |client: &str| {
        let line = format!("X-Forwarded-For: {client}\r\n");
        proxy.request("POST", LOGIN, if client.is_empty() { "" } else { &line }, b"").status
    };
    assert_eq!([of("192.0.2.1"), of("192.0.2.1"), of("192.0.2.1")], [200, 200, 429]);
    assert_eq!([of("192.0.2.2"), of("::ffff:192.0.2.1"), of("192.0.2.9, 192.0.2.1")], [200, 429, 429]);
    assert_eq!([of("2001:db8::1"), of("2001:db8::2"), of("2001:db8::3")], [200, 200, 429], "one /64");
    assert_eq!([(); 4].map(|()| of("")), [200; 4], "whose request that is nobody says");
}
