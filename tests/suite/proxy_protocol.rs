//! The PROXY protocol in: who must say it, who must not, and whose address counts then.

use std::net::Shutdown;

use crate::client::Client;
use crate::home::{Home, ok};
use crate::porch::{Porch, matrix};

const V1: &[u8] = b"PROXY TCP4 203.0.113.9 192.0.2.1 56324 443\r\n";

/// A porch whose listeners expect the header `from` these.
fn porch(home: &Home, from: &str, more: &str) -> Porch {
    let proxied = format!("bind: [ \"127.0.0.1:0\" ], proxy_protocol: {{ from: [ {from} ] }}");
    let free = "{ bind: [ \"127.0.0.1:0\" ] }";
    let listeners = format!(
        "listeners:\n  https: {{ {proxied}, tls: true }}\n  plain: {{ {proxied} }}\n  http: {free}\n"
    );
    let text = format!("{}{listeners}{more}", matrix(home, ""));
    Porch::new(&text.replace("matrix:\n", "matrix:\n  federation: false\n"))
}

/// A version 2 header with this command and family, and these addresses.
fn v2(command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    header.extend([0x20 | command, family]);
    header.extend((addresses.len() as u16).to_be_bytes());
    header.extend(addresses);
    header
}

fn v6(last: u8) -> [u8; 16] {
    [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]
}

#[test]
fn home_learns_the_client_that_the_proxy_names() {
    let home = Home::new(|_| ok("home"));
    let porch = porch(&home, "127.0.0.1", "");
    let four = [203, 0, 113, 10, 192, 0, 2, 1, 0xdc, 4, 1, 0xbb];
    let six = [&v6(7)[..], &v6(1), &[0xdc, 4, 1, 0xbb]].concat();
    // Type-length-values after the addresses are passed over.
    let more = [&four[..], &[0x04, 0, 3, 1, 2, 3]].concat();
    for (header, client) in [
        (V1.to_vec(), "203.0.113.9"),
        (b"PROXY TCP6 2001:db8::5 2001:db8::1 4000 443\r\n".to_vec(), "2001:db8::5"),
        (b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.1"),
        (v2(1, 0x11, &four), "203.0.113.10"),
        (v2(1, 0x11, &more), "203.0.113.10"),
        (v2(1, 0x21, &six), "2001:db8::7"),
        (v2(0, 0x00, &[]), "127.0.0.1"),
    ] {
        let mut client_of = Client::proxied(porch.address("https"), &header, "example.com", porch.roots());
        let answer = client_of.request("GET", "/_matrix/x", "X-Forwarded-For: 6.6.6.6\r\n", b"");
        assert_eq!(answer.status, 200, "{header:?}");
        let seen = home.seen().pop().expect("it came");
        assert_eq!(seen.header("x-forwarded-for"), Some(client), "{header:?}");
        assert_eq!(seen.header("x-forwarded-proto"), Some("https"));
        // The header is for the connection, not for a request.
        assert_eq!(client_of.get("/_matrix/y").status, 200);
        assert_eq!(home.seen().pop().expect("it came").header("x-forwarded-for"), Some(client));
    }
}

#[test]
fn a_listed_peer_must_say_it() {
    let home = Home::new(|_| ok("home"));
    let porch = porch(&home, "127.0.0.0/8", "");
    let request = "GET / HTTP/1.1\r\nHost: example.com\r\n\r\n";
    let long = format!("PROXY TCP4 {}\r\n", "1".repeat(200));
    let bad: [&[u8]; 8] = [
        b"",
        b"PROXY TCP4 203.0.113.9\r\n",
        b"PROXY TCP4 203.0.113.999 192.0.2.1 56324 443\r\n",
        b"PROXY TCP4 203.0.113.9 192.0.2.1 56324 443\n",
        b"proxy tcp4 203.0.113.9 192.0.2.1 56324 443\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\0",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x02ab",
        long.as_bytes(),
    ];
    for header in bad {
        let mut client = porch.connect_plain("plain");
        client.try_write([header, request.as_bytes()].concat());
        let answer = client.rest();
        assert!(answer.is_empty(), "{header:?}: {:?}", String::from_utf8_lossy(&answer));
    }
    let mut good = porch.connect_plain("plain");
    good.write([V1, request.as_bytes()].concat());
    assert_eq!(good.answer().status, 301, "the listener itself is fine");
}

#[test]
fn an_unlisted_peer_cannot_say_it() {
    let home = Home::new(|_| ok("home"));
    let porch = porch(&home, "192.0.2.0/24", "");
    let mut plain = porch.connect_plain("plain");
    plain.try_write([V1, b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n"].concat());
    assert_eq!(plain.answer().status, 400);
    let mut client = porch.connect();
    assert_eq!(client.get("/_matrix/x").status, 200);
    assert_eq!(home.only().header("x-forwarded-for"), Some("127.0.0.1"));
}

#[test]
fn access_and_limits_are_of_the_named_client() {
    let home = Home::new(|_| ok("home"));
    let more = "limits: { connections_per_address: 1 }\n\
                sites:\n  - hosts: [ example.com ]\n    access: { deny: [ 203.0.113.66 ] }\n    routes: [ { path: /, respond: { body: in } } ]\n";
    let porch = porch(&home, "127.0.0.1", more);
    let connect = |client: &str| {
        let header = format!("PROXY TCP4 {client} 192.0.2.1 56324 443\r\n");
        Client::proxied(porch.address("https"), header.as_bytes(), "example.com", porch.roots())
    };
    let request = "GET / HTTP/1.1\r\nHost: example.com\r\n\r\n";
    let mut first = connect("203.0.113.1");
    assert_eq!(first.get("/").status, 200);
    assert_eq!(connect("203.0.113.2").get("/").status, 200, "another client of the same proxy");
    assert_eq!(connect("203.0.113.66").get("/").status, 403);
    let mut second = connect("203.0.113.1");
    second.try_write(request);
    assert!(second.closed(), "a second connection of the same client");
    assert_eq!(first.get("/").status, 200);
}

#[test]
fn a_header_in_pieces_is_put_together() {
    let home = Home::new(|_| ok("home"));
    let porch = porch(&home, "127.0.0.1", "");
    let mut client = porch.connect_plain("plain");
    for byte in V1 {
        client.write([*byte]);
    }
    client.write("GET /x HTTP/1.1\r\nHost: example.com\r\n\r\n");
    assert_eq!(client.answer().status, 301);
    let cut = crate::client::connect(porch.address("plain"));
    std::io::Write::write_all(&mut &cut, &V1[..20]).expect("written");
    cut.shutdown(Shutdown::Write).expect("shut");
    let mut rest = Vec::new();
    // A reset is as good an end as any.
    let _ = std::io::Read::read_to_end(&mut &cut, &mut rest);
    assert!(rest.is_empty(), "{rest:?}");
}
