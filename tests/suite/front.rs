//! What the front takes, what it refuses, and what reaches home of it.

use crate::home::{Act, Home, ok};
use crate::porch::{Porch, matrix};

fn echo() -> Home {
    Home::new(|request| ok(request.target()))
}

#[test]
fn the_target_reaches_home_byte_for_byte() {
    let (home, targets) = (
        echo(),
        [
            "/_matrix/client/v3/directory/room/%23caf%C3%A9%2F1%252F2%3Fx:b.test",
            "/_matrix/key/v2/query//a/%2e%2e/b",
            "/_matrix/x/../y/./z?query=%zz&b=a+b%20c",
            "/_matrix/a;b=c,d!$&'()*~",
            "/_matrix/x?",
            "/_matrix/client/v3/rooms/!r:e.com/event/$a%2Fb+c=d/",
            "/_matrix/x?a=?&b=/&c[]=1|2",
            "/_matrix/caf\u{e9}",
        ],
    );
    let porch = Porch::before(&home);
    let mut client = porch.connect();
    for target in targets {
        assert_eq!(client.get(target).text(), target);
    }
    assert_eq!(home.seen().iter().map(|seen| seen.target().to_owned()).collect::<Vec<_>>(), targets);
}

#[test]
fn home_learns_who_asked_and_nothing_that_a_stranger_claims() {
    let home = echo();
    let porch = Porch::before(&home);
    let lines = "X-Forwarded-For: 6.6.6.6\r\nx-forwarded-for: 7.7.7.7\r\nX-Forwarded-Proto: http\r\n\
                 X-Forwarded-Host: evil.test\r\nForwarded: for=6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\n\
                 Connection: keep-alive, X-Secret\r\nConnection: X-Other\r\nX-Secret: 1\r\nX-Other: 2\r\n\
                 Keep-Alive: 5\r\nTE: trailers\r\nProxy-Connection: x\r\nAccept: */*\r\n";
    porch.connect().request("GET", "/_matrix/x", lines, b"");
    let seen = home.only();
    assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(seen.header("x-forwarded-proto"), Some("https"));
    assert_eq!(seen.header("x-forwarded-host"), Some("example.com"));
    assert_eq!(seen.header("host"), Some("example.com"));
    assert_eq!(seen.header("accept"), Some("*/*"));
    assert!(seen.header("x-request-id").is_some_and(|id| id.len() >= 16));
    for gone in ["forwarded", "x-real-ip", "x-secret", "x-other", "keep-alive", "te", "proxy-connection"] {
        assert_eq!(seen.header(gone), None, "{gone}");
    }
}

#[test]
fn a_trusted_proxy_is_believed() {
    let home = echo();
    let porch = Porch::new(&matrix(&home, "trusted_proxies: [ 127.0.0.0/8 ]\n"));
    let lines = "X-Forwarded-For: 6.6.6.6, 192.0.2.7\r\n";
    porch.connect().request("GET", "/_matrix/x", lines, b"");
    assert_eq!(home.only().header("x-forwarded-for"), Some("192.0.2.7"));
}

#[test]
fn a_sane_request_id_is_kept() {
    let home = echo();
    let porch = Porch::before(&home);
    porch.connect().request("GET", "/_matrix/x", "X-Request-ID: abc-123\r\n", b"");
    assert_eq!(home.only().header("x-request-id"), Some("abc-123"));
}

/// Raw requests that could mean different things to different readers.
const AMBIGUOUS: &[(&str, &str)] = &[
    ("several hosts", "GET /_matrix/x HTTP/1.1\r\nHost: example.com\r\nHost: example.com\r\n\r\n"),
    ("no host", "GET /_matrix/x HTTP/1.1\r\n\r\n"),
    ("a malformed host", "GET /_matrix/x HTTP/1.1\r\nHost: example.com/evil\r\n\r\n"),
    ("user information", "GET /_matrix/x HTTP/1.1\r\nHost: a@example.com\r\n\r\n"),
    ("another absolute form", "GET https://evil.test/_matrix/x HTTP/1.1\r\nHost: example.com\r\n\r\n"),
    (
        "length and chunks",
        "POST /_matrix/x HTTP/1.1\r\nHost: example.com\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "chunks and length",
        "POST /_matrix/x HTTP/1.1\r\nHost: example.com\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    ),
    (
        "two lengths",
        "POST /_matrix/x HTTP/1.1\r\nHost: example.com\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    ),
    (
        "two equal lengths",
        "POST /_matrix/x HTTP/1.1\r\nHost: example.com\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na",
    ),
    ("a signed length", "POST /_matrix/x HTTP/1.1\r\nHost: example.com\r\nContent-Length: +1\r\n\r\na"),
    (
        "another coding",
        "POST /_matrix/x HTTP/1.1\r\nHost: example.com\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "a coding that looks like chunked",
        "POST /_matrix/x HTTP/1.1\r\nHost: example.com\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "two codings",
        "POST /_matrix/x HTTP/1.1\r\nHost: example.com\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    ),
    ("a folded line", "GET /_matrix/x HTTP/1.1\r\nHost: example.com\r\nX-A: b\r\n c\r\n\r\n"),
    ("a control character", "GET /_matrix/x HTTP/1.1\r\nHost: example.com\r\nX-A: b\x01c\r\n\r\n"),
    ("a NUL", "GET /_matrix/x HTTP/1.1\r\nHost: example.com\r\nX-A: b\0c\r\n\r\n"),
    ("a space before the colon", "GET /_matrix/x HTTP/1.1\r\nHost: example.com\r\nX-A : b\r\n\r\n"),
    ("a raw #", "GET /_matrix/x#y HTTP/1.1\r\nHost: example.com\r\n\r\n"),
    ("a twin", "GET /_matrix/x HTTP/1.1\r\nHost: example.com\r\nX_Forwarded_For: 6.6.6.6\r\n\r\n"),
    ("a dotted twin", "GET /_matrix/x HTTP/1.1\r\nHost: example.com\r\nX-Forwarded.For: 6.6.6.6\r\n\r\n"),
    ("CONNECT", "CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n"),
];

#[test]
fn what_is_ambiguous_is_refused_and_never_reaches_home() {
    let home = echo();
    let porch = Porch::before(&home);
    for (what, request) in AMBIGUOUS {
        let mut client = porch.connect();
        let answer = client.write(request).answer();
        assert!((400..=405).contains(&answer.status), "{what}: {answer:?}");
        client.try_write("GET /_matrix/smuggled HTTP/1.1\r\nHost: example.com\r\n\r\n");
        assert!(client.closed(), "{what}: the connection went on");
    }
    assert_eq!(home.seen().len(), 0, "{:#?}", home.seen());
}

#[test]
fn bad_chunks_end_the_connection_and_the_request() {
    let home = echo();
    let porch = Porch::before(&home);
    for chunks in ["xyz\r\nabc\r\n", "3\r\nabcd\r\n", "-1\r\n", "fffffffffffffffff\r\nabc"] {
        let mut client = porch.connect();
        client.try_write(format!(
            "PUT /_matrix/x HTTP/1.1\r\nHost: example.com\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}"
        ));
        if let Some(answer) = client.try_answer_to("PUT") {
            assert_eq!(answer.status, 400, "{chunks:?}: {answer:?}");
        }
        assert!(client.closed(), "{chunks:?}: the connection went on");
    }
    assert_eq!(home.seen().len(), 0, "{:#?}", home.seen());
}

#[test]
fn hosts_are_compared_without_case_port_and_dot() {
    let home = echo();
    let porch = Porch::before(&home);
    let mut client = porch.connect();
    for host in ["example.com", "EXAMPLE.com", "example.com.", "example.com:8448", "Example.Com.:443"] {
        let request = format!("GET /_matrix/x HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_eq!(client.write(request).answer().status, 200, "{host}");
        assert_eq!(home.seen().last().expect("it came").header("host"), Some(host));
    }
}

#[test]
fn an_unknown_host_is_421_by_tls_and_404_in_the_clear() {
    let home = echo();
    let porch = Porch::before(&home);
    let request = "GET /_matrix/x HTTP/1.1\r\nHost: evil.test\r\n\r\n";
    assert_eq!(porch.connect().write(request).answer().status, 421);
    assert_eq!(porch.connect_plain("http").write(request).answer().status, 404);
    assert_eq!(home.seen().len(), 0);
}

#[test]
fn a_site_that_the_handshake_did_not_name_is_421() {
    let home = echo();
    let more = "sites:\n  - hosts: [ other.test ]\n    routes: [ { path: /, respond: { body: other } } ]\n\
                tls: { internal_ca: true, certificates: [ { cert: $DIR/a.pem, key: $DIR/a.key } ] }\n";
    let other = rcgen::generate_simple_self_signed(vec!["other.test".into()]).expect("a certificate");
    let folder = std::env::temp_dir().join(format!("porchd-421-{:x}", porchd::clock::random()));
    std::fs::create_dir_all(&folder).expect("a folder");
    std::fs::write(folder.join("a.pem"), other.cert.pem()).expect("written");
    std::fs::write(folder.join("a.key"), other.signing_key.serialize_pem()).expect("written");
    let porch = Porch::new(&matrix(&home, &more.replace("$DIR", &folder.display().to_string())));
    let mut client = porch.connect();
    let request = "GET / HTTP/1.1\r\nHost: other.test\r\n\r\n";
    assert_eq!(client.write(request).answer().status, 421);
    assert_eq!(client.get("/_matrix/x").status, 200, "the connection itself is fine");
    let _ = std::fs::remove_dir_all(&folder);
}

#[test]
fn http_1_0_without_host_is_for_the_name_of_the_handshake() {
    let home = echo();
    let porch = Porch::before(&home);
    let mut client = porch.connect();
    let answer = client.write("GET /_matrix/x HTTP/1.0\r\n\r\n").answer();
    assert_eq!((answer.status, answer.text()), (200, "/_matrix/x"));
    assert!(client.closed());
    assert_eq!(home.only().header("host"), Some("example.com"));
    assert_eq!(porch.connect_plain("http").write("GET / HTTP/1.0\r\n\r\n").answer().status, 400);
}

#[test]
fn the_plain_listener_redirects_configured_hosts_alone() {
    let home = echo();
    let porch = Porch::before(&home);
    let answer = porch.connect_plain("http").get("/a%2Fb?c=d");
    assert_eq!(answer.status, 301);
    let location = answer.header("location").expect("a location");
    assert!(location.starts_with("https://example.com") && location.ends_with("/a%2Fb?c=d"), "{location}");
}

#[test]
fn too_large_a_head_is_431_and_too_large_a_body_413() {
    let home = echo();
    let porch = Porch::new(&matrix(&home, "limits: { body: 1KiB }\n"));
    let big = "x".repeat(80 * 1024);
    let request = format!("GET /_matrix/x HTTP/1.1\r\nHost: example.com\r\nX-Big: {big}\r\n\r\n");
    assert_eq!(porch.connect().try_write(request).answer().status, 431);
    let answer = porch.connect().request("PUT", "/_matrix/x", "", &[b'x'; 2000]);
    assert_eq!((answer.status, &answer.json()["errcode"]), (413, &"M_TOO_LARGE".into()));
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    let mut client = porch.connect();
    client.write("PUT /_matrix/x HTTP/1.1\r\nHost: example.com\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.try_write(format!("7d0\r\n{}\r\n0\r\n\r\n", "x".repeat(2000)));
    assert_eq!(client.answer_to("PUT").status, 413);
    let answer = porch.connect().request("POST", "/_matrix/media/v3/upload", "", &[b'x'; 2000]);
    assert_eq!(answer.status, 200, "uploads are Synapse's to bound");
}

#[test]
fn the_head_timer_starts_with_the_first_byte() {
    let home = echo();
    let porch = Porch::new(&matrix(&home, "limits: { request_head: 1s, keep_alive: 1h }\n"));
    let mut idle = porch.connect();
    assert_eq!(idle.get("/_matrix/x").status, 200);
    let mut slow = porch.connect();
    slow.write("GET /_matrix/x HTTP/1.1\r\nHost: exa");
    assert!(slow.closed(), "a head that does not come is given up");
    assert_eq!(idle.get("/_matrix/x").status, 200, "an idle connection is not");
}

#[test]
fn an_idle_connection_is_closed_after_keep_alive() {
    let home = echo();
    let porch = Porch::new(&matrix(&home, "limits: { keep_alive: 1s }\n"));
    let mut client = porch.connect();
    assert_eq!(client.get("/_matrix/x").status, 200);
    assert!(client.closed());
}

#[test]
fn a_head_answer_keeps_its_length_and_has_no_body() {
    let home = Home::new(|_| Act::Answer(b"HTTP/1.1 200 OK\r\nContent-Length: 12345\r\n\r\n".into()));
    let porch = Porch::before(&home);
    let mut client = porch.connect();
    for target in ["/_matrix/x", "/.well-known/matrix/client", "/_synapse/admin/x"] {
        let get = if target == "/_matrix/x" { Some("12345".into()) } else { None };
        let expected =
            get.unwrap_or_else(|| client.get(target).header("content-length").expect("a length").to_owned());
        let answer = client.request("HEAD", target, "", b"");
        assert_eq!(answer.header("content-length"), Some(&*expected), "{target}");
    }
    assert_eq!(client.get("/.well-known/matrix/client").status, 200, "the connection is in step");
}

#[test]
fn pipelined_requests_are_answered_in_turn() {
    let home = echo();
    let porch = Porch::before(&home);
    let mut client = porch.connect();
    let request = |n| format!("GET /_matrix/{n} HTTP/1.1\r\nHost: example.com\r\n\r\n");
    client.write(request(1) + &request(2));
    assert_eq!(client.answer().text(), "/_matrix/1");
    assert_eq!(client.answer().text(), "/_matrix/2");
    client.write(request(3) + "GET /_matrix/4#x HTTP/1.1\r\nHost: example.com\r\n\r\n");
    assert_eq!(client.answer().text(), "/_matrix/3");
    assert_eq!(client.answer().status, 400);
    assert!(client.closed());
}
