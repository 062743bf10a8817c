//! Routes that are no files and no forwards, and who may use them.

use crate::client::Answer;
use crate::home::{Home, ok};
use crate::porch::{Porch, matrix};
use crate::streams::Streams;

fn site(hosts: &str, more: &str, routes: &[&str]) -> String {
    let routes: String = routes.iter().map(|route| format!("      - {route}\n")).collect();
    format!("sites:\n  - hosts: [ {hosts} ]\n{more}    routes:\n{routes}")
}

fn ask(porch: &Porch, host: &str, target: &str) -> Answer {
    let request = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
    porch.connect_as("https", host).write(request).answer()
}

#[test]
fn a_redirect_may_keep_path_and_query() {
    let routes = [
        "{ path: /, redirect: { to: \"https://example.org\", keep: path, status: 308 } }",
        "{ path: /old/, redirect: { to: \"https://example.com/new/\", status: 301 } }",
        "{ path: /_matrix/, redirect: { to: \"https://matrix.example.org\", keep: path, status: 302 } }",
    ];
    let porch = Porch::new(&site("example.com", "", &routes));
    let (mut one, mut two) = (porch.connect(), Streams::to(&porch));
    for (target, status, location) in [
        ("/a%2Fb?c=%20d", 308, "https://example.org/a%2Fb?c=%20d"),
        ("/old/x?y", 301, "https://example.com/new/"),
        ("/old", 308, "https://example.org/old"),
        ("/older", 308, "https://example.org/older"),
        ("//evil.test/x", 308, "https://example.org//evil.test/x"),
        ("/_matrix/x", 302, "https://matrix.example.org/_matrix/x"),
    ] {
        let answer = one.get(target);
        assert_eq!((answer.status, answer.header("location")), (status, Some(location)), "{target}");
        let answer = two.get(target);
        assert_eq!((answer.status, answer.header("location")), (status, Some(location)), "{target} by h2");
    }
    assert_eq!(one.get("/_matrix/x").header("access-control-allow-origin"), Some("*"));
    assert_eq!(one.get("/x").header("access-control-allow-origin"), None);
}

#[test]
fn a_fixed_answer_is_given_as_written() {
    let routes = [
        "{ path: /robots.txt, respond: { status: 200, body: \"User-agent: *\\nDisallow: /\\n\", type: text/plain } }",
        "{ path: /gone/, respond: { status: 410, body: gone } }",
    ];
    let porch = Porch::new(&site("example.com", "", &routes));
    let mut client = porch.connect();
    let answer = client.get("/robots.txt?x");
    assert_eq!((answer.status, answer.text()), (200, "User-agent: *\nDisallow: /\n"));
    assert!(answer.header("content-type").is_some_and(|value| value.starts_with("text/plain")), "{answer:?}");
    let head = client.request("HEAD", "/robots.txt", "", b"");
    assert_eq!((head.status, head.header("content-length")), (200, Some("26")));
    assert_eq!((client.get("/gone/x").status, client.get("/gon").status), (410, 404));
    assert_eq!(Streams::to(&porch).get("/robots.txt").body, b"User-agent: *\nDisallow: /\n");
}

#[test]
fn a_wildcard_is_for_one_label_and_an_exact_name_wins() {
    let text = format!(
        "{}  - hosts: [ own.example.net ]\n    routes: [ {{ path: /, respond: {{ body: own }} }} ]\n",
        site("\"*.example.net\"", "", &["{ path: /, respond: { body: wild } }"])
    );
    let porch = Porch::new(&text);
    assert_eq!(ask(&porch, "a.example.net", "/").text(), "wild");
    assert_eq!(ask(&porch, "own.example.net", "/").text(), "own");
    let mut client = porch.connect_as("https", "a.example.net");
    for (host, status) in
        [("B.Example.NET.:443", 200), ("a.b.example.net", 421), ("example.net", 421), (".example.net", 400)]
    {
        let answer = client.write(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).answer();
        assert_eq!(answer.status, status, "{host}");
        if status == 400 {
            break;
        }
    }
}

#[test]
fn access_is_by_address_and_deny_wins() {
    let access = "    access: { allow: [ 127.0.0.0/8 ], deny: [ 127.0.0.2 ] }\n";
    let routes = [
        "{ path: /, respond: { body: site } }",
        "{ path: /shut/, respond: { body: shut }, access: { deny: [ 127.0.0.0/8 ], allow: [ 127.0.0.1 ] } }",
        "{ path: /lan/, respond: { body: lan }, access: { allow: [ 10.0.0.0/8 ] } }",
        "{ path: /open/, respond: { body: open }, access: { allow: [] } }",
    ];
    let text = format!("{}trusted_proxies: [ 127.0.0.1 ]\n", site("example.com", access, &routes));
    let porch = Porch::new(&text);
    let (mut one, mut two) = (porch.connect(), Streams::to(&porch));
    let mut asked = |from: &str, target: &str| {
        let first = one.request("GET", target, &format!("X-Forwarded-For: {from}\r\n"), b"").status;
        let second =
            two.request("GET", &format!("https://example.com{target}"), &[("x-forwarded-for", from)]);
        assert_eq!(first, second.status, "{from} {target}");
        first
    };
    for (from, target, status) in [
        ("127.0.0.9", "/", 200),
        ("127.0.0.2", "/", 403),
        ("192.0.2.1", "/", 403),
        ("127.0.0.9", "/shut/", 403),
        ("10.1.2.3", "/lan/x", 200),
        ("127.0.0.9", "/lan/x", 403),
        ("192.0.2.1", "/open/", 200),
        ("127.0.0.2", "/open/", 200),
    ] {
        assert_eq!(asked(from, target), status, "{from} {target}");
    }
}

#[test]
fn a_request_goes_home_with_the_headers_that_were_edited() {
    let home = Home::new(|_| ok("home"));
    let more = "    headers: { request: { set: { X-Edge: site, X-Both: site }, remove: [ X-Internal ] } }\n";
    let route = "{ path: /app/, forward: home, strip: /app, headers: { request: { set: { X-Both: route } }, response: { remove: [ Content-Type ], set: { X-Route: yes-it-is } } } }";
    let porch = Porch::new(&matrix(&home, &site("example.com", more, &[route])));
    let lines = "X-Internal: 1\r\nX-Edge: mine\r\nX-Both: mine\r\n";
    let answer = porch.connect().request("GET", "/app/x?y", lines, b"");
    assert_eq!((answer.header("content-type"), answer.header("x-route")), (None, Some("yes-it-is")));
    let seen = home.only();
    assert_eq!(seen.target(), "/x?y");
    assert_eq!((seen.header("x-edge"), seen.header("x-both")), (Some("site"), Some("route")));
    assert_eq!(seen.header("x-internal"), None);
}
