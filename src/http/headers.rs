//! Which headers pass the edge, in both directions.
//!
//! Towards home a head is written as bytes in one pass, without changing or copying the map; towards the
//! client the map is changed in place. Framing itself is the caller's: it is told here, never read.

use std::io::Write;
use std::net::IpAddr;

use http::header::{CONNECTION, COOKIE, HeaderMap, HeaderValue, STRICT_TRANSPORT_SECURITY, UPGRADE};
use http::{HeaderName, Method, Version};

use super::edits::Both;
use super::hop::{HOP_BY_HOP, Nominated, connection_tokens, hop_by_hop, tokens};
use crate::config::model::Edits;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// How a request's body is framed on the way home (RFC 9112 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FramingLines {
    /// No body.
    None,
    /// `Content-Length`.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
}

/// What the edge says of a request that it forwards.
#[derive(Debug, Clone, Copy)]
pub struct ToHome<'a> {
    /// `Host`: what the client wrote, with its port, or the upstream's own.
    pub host: &'a [u8],
    /// The client's address. It overwrites X-Forwarded-For: Synapse believes the first value.
    pub client: IpAddr,
    /// X-Forwarded-Proto: `https` or `http`.
    pub proto: &'a str,
    /// X-Forwarded-Host: what the client wrote.
    pub original_host: &'a str,
    /// X-Request-ID: the client's own when `request_id` finds it sane, else a new one.
    pub request_id: &'a str,
    /// The site's edits and the route's, which win.
    pub edits: [&'a Edits; 2],
    /// The body's framing.
    pub framing: FramingLines,
    /// The protocol to change to (`upgrade` finds it), when this request asks for a tunnel.
    pub upgrade: Option<&'a HeaderValue>,
    /// Whether it has `Connection` lines, which may name headers that go no further.
    pub nominates: bool,
}

/// What the edge does to the head of an answer.
#[derive(Debug, Clone, Copy)]
pub struct ToClient<'a> {
    /// The site's edits and the route's, which win.
    pub edits: [&'a Edits; 2],
    /// Strict-Transport-Security, on answers by TLS alone (RFC 6797 7.2).
    pub hsts: Option<&'a HeaderValue>,
    /// Whether this is a 101 that begins a tunnel.
    pub tunnel: bool,
}

/// The client's own request id, when it is one line of 1 to 128 harmless characters.
pub fn request_id(headers: &HeaderMap) -> Option<&HeaderValue> {
    let mut values = headers.get_all(REQUEST_ID).iter();
    let (id, more) = (values.next()?, values.next());
    let harmless = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:/+=@~".contains(byte);
    let sane = more.is_none() && (1..=128).contains(&id.len()) && id.as_bytes().iter().all(harmless);
    sane.then_some(id)
}

/// The protocol that an HTTP/1.1 request wants to change to, if that is one to pass on.
///
/// An upgrade to HTTP/2 in the clear or to TLS would hide what follows from the edge (RFC 9110 7.8).
pub fn upgrade(version: Version, headers: &HeaderMap) -> Option<&HeaderValue> {
    let mut lines = headers.get_all(UPGRADE).iter();
    let (value, more) = (lines.next()?, lines.next());
    let asked = connection_tokens(headers).any(|token| token.eq_ignore_ascii_case(b"upgrade"));
    let refused = |token: &[u8]| {
        let name = token.split(|byte| *byte == b'/').next().unwrap_or_default();
        [&b"h2c"[..], b"h2", b"h3", b"http", b"tls"].iter().any(|bad| name.eq_ignore_ascii_case(bad))
    };
    let mut protocols = tokens(value.as_bytes()).peekable();
    let passes = protocols.peek().is_some() && !protocols.any(refused);
    (version == Version::HTTP_11 && more.is_none() && asked && passes).then_some(value)
}

/// Appends the head of an HTTP/1.1 request to `out`, up to and with the empty line.
///
/// `target` goes out byte for byte. It allocates only when `out` is too small.
pub fn write_request_head(
    out: &mut Vec<u8>,
    method: &Method,
    target: &[u8],
    headers: &HeaderMap,
    to_home: &ToHome<'_>,
) {
    let edits = Both::new(to_home.edits);
    put(out, &[method.as_str().as_bytes(), b" ", target, b" HTTP/1.1\r\n"]);
    write_own(out, to_home, &edits);
    let nominated = to_home.nominates.then(|| Nominated::of(headers)).filter(Nominated::any);
    let mut cookies = false;
    for (name, value) in headers {
        let text = name.as_str();
        if is_replaced(text) || hop_by_hop(text).is_some() || edits.touches(text) {
            continue;
        }
        if nominated.as_ref().is_some_and(|named| named.has(text)) || edits.is_twin(text) {
            continue;
        }
        if name == COOKIE {
            if !std::mem::replace(&mut cookies, true) {
                write_cookies(out, headers);
            }
            continue;
        }
        line(out, text, value.as_bytes());
    }
    for (name, value) in edits.set().filter(|(name, _)| !own(name.as_str())) {
        line(out, name.as_str(), value.as_bytes());
    }
    write_framing(out, to_home);
    out.extend_from_slice(b"\r\n");
}

/// Readies the head of an answer for the client.
///
/// Hop-by-hop headers go (RFC 9110 7.6.1), so it also fits HTTP/2 (RFC 9113 8.2.2); the site's and the
/// route's edits come last and win.
pub fn finish_response(headers: &mut HeaderMap, to_client: &ToClient<'_>) {
    strip_hop_by_hop(headers, to_client.tunnel);
    if to_client.tunnel {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    }
    if let Some(hsts) = to_client.hsts {
        headers.insert(STRICT_TRANSPORT_SECURITY, hsts.clone());
    }
    Both::new(to_client.edits).apply(headers);
}

/// Removes what belongs to the connection that `headers` came by; `Upgrade` stays for a tunnel.
fn strip_hop_by_hop(headers: &mut HeaderMap, tunnel: bool) {
    // One look over the names costs less than a search for each: few answers hold any.
    let mut found = 0_u16;
    for name in headers.keys() {
        if let Some(at) = hop_by_hop(name.as_str()) {
            found |= 1 << at;
        }
    }
    if found == 0 {
        return;
    }
    let nominated = Nominated::of(headers);
    if nominated.any() {
        let named = headers.keys().filter(|name| nominated.has(name.as_str()));
        for name in named.cloned().collect::<Vec<_>>() {
            headers.remove(name);
        }
    }
    for (at, name) in HOP_BY_HOP.iter().enumerate() {
        if found & (1 << at) != 0 && !(tunnel && name == UPGRADE) {
            headers.remove(name);
        }
    }
}

/// The lines that porchd says itself; an operator's edit of the same name takes their place.
fn write_own(out: &mut Vec<u8>, to_home: &ToHome<'_>, edits: &Both<'_>) {
    let set =
        |name: &str| edits.set().find(|(set, _)| set.as_str() == name).map(|(_, value)| value.as_bytes());
    // HTTP/1.1 can't do without Host, so it is never removed.
    let host = if edits.touches("host") { set("host") } else { None };
    put(out, &[b"host: ", host.unwrap_or(to_home.host), b"\r\nx-forwarded-for: "]);
    write_address(out, to_home.client);
    out.extend_from_slice(b"\r\n");
    let own = [
        ("x-forwarded-proto", to_home.proto),
        ("x-forwarded-host", to_home.original_host),
        ("x-request-id", to_home.request_id),
    ];
    for (name, value) in own {
        let value = if edits.touches(name) { set(name) } else { Some(value.as_bytes()) };
        if let Some(value) = value {
            line(out, name, value);
        }
    }
}

/// Whether `write_own` writes it.
fn own(name: &str) -> bool {
    matches!(name, "host" | "x-forwarded-for" | "x-forwarded-proto" | "x-forwarded-host" | "x-request-id")
}

fn write_framing(out: &mut Vec<u8>, to_home: &ToHome<'_>) {
    match to_home.framing {
        FramingLines::None => {}
        FramingLines::Length(length) => {
            out.extend_from_slice(b"content-length: ");
            write_number(out, length);
            out.extend_from_slice(b"\r\n");
        }
        FramingLines::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
    }
    if let Some(protocol) = to_home.upgrade {
        put(out, &[b"connection: upgrade\r\nupgrade: ", protocol.as_bytes(), b"\r\n"]);
    }
}

/// One Cookie line of all: HTTP/2 may split them, HTTP/1.1 may not (RFC 9113 8.2.3).
fn write_cookies(out: &mut Vec<u8>, headers: &HeaderMap) {
    for (at, value) in headers.get_all(COOKIE).iter().enumerate() {
        put(out, &[if at == 0 { b"cookie: " } else { b"; " }, value.as_bytes()]);
    }
    out.extend_from_slice(b"\r\n");
}

/// What the edge says itself or a stranger has no business to say.
///
/// `expect` is answered by the edge; `forwarded`, `x-real-ip` and all `x-forwarded-*` would be believed by
/// some backends, and `proxy` becomes HTTP_PROXY in CGI programs (CVE-2016-5385).
#[inline]
fn is_replaced(name: &str) -> bool {
    match name.len() {
        4 => name == "host",
        5 => name == "proxy",
        6 => name == "expect",
        9 => name == "forwarded" || name == "x-real-ip",
        11 => name == "x-forwarded",
        14 if name == "content-length" => true,
        12.. => name == "x-request-id" || name.starts_with("x-forwarded-"),
        _ => false,
    }
}

fn write_address(out: &mut Vec<u8>, address: IpAddr) {
    let IpAddr::V4(v4) = address.to_canonical() else {
        // Writing to a Vec can't fail.
        let _ = write!(out, "{address}");
        return;
    };
    for (at, octet) in v4.octets().into_iter().enumerate() {
        if at > 0 {
            out.push(b'.');
        }
        let digits = [b'0' + octet / 100, b'0' + octet / 10 % 10, b'0' + octet % 10];
        let leading = if octet >= 100 { 0 } else { 2 - usize::from(octet >= 10) };
        out.extend_from_slice(&digits[leading..]);
    }
}

/// Decimal digits, without the machinery of formatting.
fn write_number(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// Appends a header line, growing `out` at most once.
#[inline]
fn line(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.reserve(name.len() + value.len() + 4);
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Appends `parts`, growing `out` at most once.
#[inline]
fn put(out: &mut Vec<u8>, parts: &[&[u8]]) {
    out.reserve(parts.iter().map(|part| part.len()).sum());
    for part in parts {
        out.extend_from_slice(part);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn map(lines: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            let name: HeaderName = name.parse().expect("a name");
            headers.append(name, HeaderValue::from_bytes(value.as_bytes()).expect("a value"));
        }
        headers
    }

    fn edits(set: &[(&'static str, &'static str)], remove: &[&'static str]) -> Edits {
        let named = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        Edits {
            set: set.iter().map(named).collect(),
            remove: remove.iter().map(|name| HeaderName::from_static(name)).collect(),
        }
    }

    const NO_EDITS: &Edits = &Edits { set: Vec::new(), remove: Vec::new() };
    const OWN: &str = "host: a.example:8448\r\nx-forwarded-for: 192.0.2.7\r\nx-forwarded-proto: https\r\n\
        x-forwarded-host: a.example:8448\r\nx-request-id: id1\r\n";

    fn to_home<'a>(edits: [&'a Edits; 2]) -> ToHome<'a> {
        ToHome {
            host: b"a.example:8448",
            client: "192.0.2.7".parse().expect("an address"),
            proto: "https",
            original_host: "a.example:8448",
            request_id: "id1",
            edits,
            framing: FramingLines::None,
            upgrade: None,
            nominates: true,
        }
    }

    fn head(headers: &HeaderMap, to_home: &ToHome<'_>) -> String {
        let mut out = Vec::new();
        write_request_head(&mut out, &Method::GET, b"/a%2Fb?c", headers, to_home);
        String::from_utf8(out).expect("ASCII")
    }

    /// The lines of a head that came from the client.
    fn passed(lines: &[(&str, &str)]) -> String {
        let head = head(&map(lines), &to_home([NO_EDITS; 2]));
        let rest = head.strip_prefix("GET /a%2Fb?c HTTP/1.1\r\n").expect("the request line");
        rest.strip_prefix(OWN)
            .expect("our own lines")
            .strip_suffix("\r\n")
            .expect("the empty line")
            .to_owned()
    }

    #[test]
    fn ordinary_headers_pass_unchanged() {
        let lines =
            [("accept", "*/*"), ("authorization", "X-Matrix origin=a,key=\"b\""), ("trailer", "x-sum")];
        let expected = "accept: */*\r\nauthorization: X-Matrix origin=a,key=\"b\"\r\ntrailer: x-sum\r\n";
        assert_eq!(passed(&lines), expected);
        assert_eq!(
            passed(&[("x-one", "a"), ("x-one", "b"), ("x-empty", "")]),
            "x-one: a\r\nx-one: b\r\nx-empty: \r\n"
        );
    }

    #[test]
    fn bytes_that_are_no_ascii_pass() {
        let mut headers = HeaderMap::new();
        headers.insert("x-bytes", HeaderValue::from_bytes(b"a\xff\tb").expect("obs-text"));
        let mut out = Vec::new();
        write_request_head(&mut out, &Method::GET, b"/", &headers, &to_home([NO_EDITS; 2]));
        assert!(memchr::memmem::find(&out, b"\r\nx-bytes: a\xff\tb\r\n").is_some());
    }

    #[test]
    fn what_strangers_say_of_the_way_is_dropped() {
        let lines = [
            ("host", "evil"),
            ("x-forwarded-for", "1.2.3.4"),
            ("x-forwarded-proto", "http"),
            ("x-forwarded-host", "evil"),
            ("x-forwarded-port", "1"),
            ("x-forwarded", "for=1.2.3.4"),
            ("forwarded", "for=1.2.3.4"),
            ("x-real-ip", "1.2.3.4"),
            ("x-request-id", "theirs"),
            ("proxy", "http://evil"),
            ("expect", "100-continue"),
            ("content-length", "5"),
        ];
        assert_eq!(passed(&lines), "");
    }

    #[test]
    fn hop_by_hop_headers_stay_behind() {
        let lines = [
            ("connection", "keep-alive, X-Secret"),
            ("connection", "x-other"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "close"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("http2-settings", "AAMAAABk"),
            ("proxy-authorization", "Basic x"),
            ("x-secret", "1"),
            ("x-other", "2"),
            ("x-kept", "3"),
        ];
        assert_eq!(passed(&lines), "x-kept: 3\r\n");
    }

    #[test]
    fn naming_a_header_in_connection_can_not_take_away_ours() {
        let lines = [
            (
                "connection",
                "host, x-forwarded-for, x-forwarded-proto, content-length, x-request-id, authorization",
            ),
            ("connection", "transfer-encoding"),
            ("authorization", "Bearer t"),
            ("content-length", "5"),
        ];
        let to_home = ToHome { framing: FramingLines::Length(5), ..to_home([NO_EDITS; 2]) };
        let head = head(&map(&lines), &to_home);
        let expected =
            format!("GET /a%2Fb?c HTTP/1.1\r\n{OWN}authorization: Bearer t\r\ncontent-length: 5\r\n\r\n");
        assert_eq!(head, expected);
    }

    #[test]
    fn cookies_that_http2_split_are_joined() {
        let lines = [("cookie", "a=1"), ("accept", "*/*"), ("cookie", "b=2"), ("cookie", "c=3")];
        let passed = passed(&lines);
        assert!(passed.contains("cookie: a=1; b=2; c=3\r\n") && passed.contains("accept: */*\r\n"));
        assert_eq!(passed.matches("cookie").count(), 1);
    }

    #[test]
    fn framing_and_upgrade_lines_come_last() {
        let websocket = HeaderValue::from_static("websocket");
        let tunnel = ToHome { upgrade: Some(&websocket), ..to_home([NO_EDITS; 2]) };
        let asked = map(&[("connection", "Upgrade"), ("upgrade", "websocket"), ("sec-websocket-key", "k")]);
        assert!(
            head(&asked, &tunnel)
                .ends_with("sec-websocket-key: k\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
        );
        let chunked = ToHome { framing: FramingLines::Chunked, ..to_home([NO_EDITS; 2]) };
        assert!(head(&HeaderMap::new(), &chunked).ends_with("\r\ntransfer-encoding: chunked\r\n\r\n"));
        let length = ToHome { framing: FramingLines::Length(u64::MAX), ..to_home([NO_EDITS; 2]) };
        assert!(
            head(&HeaderMap::new(), &length).ends_with("\r\ncontent-length: 18446744073709551615\r\n\r\n")
        );
    }

    #[test]
    fn client_addresses_are_written_plainly() {
        for (address, written) in [
            ("0.0.0.0", "0.0.0.0"),
            ("::ffff:203.0.113.250", "203.0.113.250"),
            ("2001:db8::1", "2001:db8::1"),
        ] {
            let to_home = ToHome { client: address.parse().expect("an address"), ..to_home([NO_EDITS; 2]) };
            assert!(
                head(&HeaderMap::new(), &to_home).contains(&format!("\r\nx-forwarded-for: {written}\r\n"))
            );
        }
    }

    #[test]
    fn edits_replace_and_the_routes_win() {
        let site = edits(&[("x-site", "s"), ("x-both", "s"), ("x-gone", "s")], &["x-a"]);
        let route = edits(&[("x-both", "r")], &["x-gone", "x-b"]);
        let lines =
            [("x-a", "1"), ("x-b", "1"), ("x-site", "1"), ("x-both", "1"), ("x-gone", "1"), ("x-c", "1")];
        let head = head(&map(&lines), &to_home([&site, &route]));
        assert!(head.ends_with("id1\r\nx-c: 1\r\nx-site: s\r\nx-both: r\r\n\r\n"), "{head}");
    }

    #[test]
    fn edits_can_change_our_lines_but_never_the_framing() {
        let site = edits(
            &[
                ("host", "b"),
                ("x-forwarded-proto", "http"),
                ("content-length", "9"),
                ("connection", "x"),
                ("x-forwarded-for", "1.2.3.4"),
            ],
            &["x-forwarded-host", "transfer-encoding"],
        );
        let to_home = ToHome { framing: FramingLines::Chunked, ..to_home([&site, NO_EDITS]) };
        let expected = "GET /a%2Fb?c HTTP/1.1\r\nhost: b\r\nx-forwarded-for: 192.0.2.7\r\nx-forwarded-proto: http\r\n\
            x-request-id: id1\r\ntransfer-encoding: chunked\r\n\r\n";
        assert_eq!(head(&HeaderMap::new(), &to_home), expected);
    }

    #[test]
    fn twins_of_what_an_edit_sets_are_dropped() {
        let site = edits(&[("x-remote-user", "me")], &[]);
        let lines = [("x_remote_user", "evil"), ("x-remote.user", "evil"), ("x_other", "kept")];
        let head = head(&map(&lines), &to_home([&site, NO_EDITS]));
        assert!(head.ends_with("id1\r\nx_other: kept\r\nx-remote-user: me\r\n\r\n"), "{head}");
    }

    #[test]
    fn request_ids_are_kept_when_sane() {
        let long = "a".repeat(129);
        assert_eq!(
            request_id(&map(&[("x-request-id", "01J:ab-c_d.e")])),
            Some(&HeaderValue::from_static("01J:ab-c_d.e"))
        );
        assert!(request_id(&map(&[("x-request-id", &long[1..])])).is_some());
        for bad in ["", "a b", "a\"b", "a<b", "a\u{e9}", &long] {
            assert_eq!(request_id(&map(&[("x-request-id", bad)])), None, "{bad}");
        }
        assert_eq!(request_id(&map(&[("x-request-id", "a"), ("x-request-id", "b")])), None);
        assert_eq!(request_id(&HeaderMap::new()), None);
    }

    #[test]
    fn upgrades_pass_but_for_those_that_hide_what_follows() {
        let asked = |version, connection: &str, protocol: &str| {
            let headers = map(&[("connection", connection), ("upgrade", protocol)]);
            upgrade(version, &headers).is_some()
        };
        assert!(asked(Version::HTTP_11, "keep-alive, Upgrade", "websocket"));
        assert!(asked(Version::HTTP_11, "upgrade", "other/1"));
        for protocol in ["h2c", "H2C", "websocket, h2c", "TLS/1.0", "HTTP/2.0", "h2", "", ","] {
            assert!(!asked(Version::HTTP_11, "upgrade", protocol), "{protocol}");
        }
        assert!(!asked(Version::HTTP_11, "keep-alive", "websocket"));
        assert!(!asked(Version::HTTP_10, "upgrade", "websocket"));
        let twice = map(&[("connection", "upgrade"), ("upgrade", "websocket"), ("upgrade", "h2c")]);
        assert!(upgrade(Version::HTTP_11, &twice).is_none());
    }

    fn finished(lines: &[(&str, &str)], to_client: &ToClient<'_>) -> Vec<String> {
        let mut headers = map(lines);
        finish_response(&mut headers, to_client);
        let mut lines: Vec<_> = headers
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().expect("ASCII")))
            .collect();
        lines.sort();
        lines
    }

    #[test]
    fn answers_lose_hop_by_hop_headers() {
        let plain = ToClient { edits: [NO_EDITS; 2], hsts: None, tunnel: false };
        let lines = [
            ("connection", "close, x-internal, content-length"),
            ("keep-alive", "timeout=5"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("x-internal", "1"),
            ("content-length", "5"),
            ("set-cookie", "a"),
            ("set-cookie", "b"),
        ];
        assert_eq!(finished(&lines, &plain), ["content-length: 5", "set-cookie: a", "set-cookie: b"]);
    }

    #[test]
    fn a_tunnel_keeps_its_upgrade() {
        let tunnel = ToClient { edits: [NO_EDITS; 2], hsts: None, tunnel: true };
        let lines = [("connection", "Upgrade"), ("upgrade", "websocket"), ("sec-websocket-accept", "x")];
        let expected = ["connection: upgrade", "sec-websocket-accept: x", "upgrade: websocket"];
        assert_eq!(finished(&lines, &tunnel), expected);
    }

    #[test]
    fn answers_get_hsts_and_edits() {
        let site = edits(&[("server", "porch"), ("x-both", "s"), ("content-length", "9")], &["x-powered-by"]);
        let route = edits(&[("x-both", "r")], &[]);
        let hsts = HeaderValue::from_static("max-age=1");
        let to_client = ToClient { edits: [&site, &route], hsts: Some(&hsts), tunnel: false };
        let lines = [("server", "Synapse"), ("x-powered-by", "a"), ("x-powered-by", "b")];
        let expected = ["server: porch", "strict-transport-security: max-age=1", "x-both: r"];
        assert_eq!(finished(&lines, &to_client), expected);
    }

    proptest! {
        #[test]
        fn no_nominated_or_hop_by_hop_header_passes(
            names in proptest::collection::vec("x-[a-z]{1,3}|te|upgrade|keep-alive|accept", 0..8),
            nominated in proptest::collection::vec("x-[a-z]{1,3}|Host|X-Forwarded-For|TE|close", 0..5),
            split in 0..5usize,
        ) {
            let mut headers = HeaderMap::new();
            for name in &names {
                headers.append(name.parse::<HeaderName>().expect("a name"), HeaderValue::from_static("v"));
            }
            let (first, second) = nominated.split_at(split.min(nominated.len()));
            for part in [first, second] {
                headers.append(CONNECTION, HeaderValue::from_str(&part.join(" , ")).expect("a value"));
            }
            let head = head(&headers, &to_home([NO_EDITS; 2]));
            let lines: Vec<&str> = head.lines().skip(1).collect();
            let count = |name: &str| lines.iter().filter(|line| line.starts_with(&format!("{name}: "))).count();
            for name in &names {
                let dropped = hop_by_hop(name).is_some() || nominated.contains(name);
                prop_assert_eq!(count(name), if dropped { 0 } else { names.iter().filter(|other| *other == name).count() });
            }
            for ours in ["host", "x-forwarded-for", "x-forwarded-proto", "x-request-id"] {
                prop_assert_eq!(count(ours), 1);
            }
        }

        #[test]
        fn a_head_is_what_a_parser_reads_back(
            names in proptest::collection::vec("[a-z][a-z0-9-]{0,20}", 0..12),
            value in "[ -~]{0,30}",
        ) {
            let mut headers = HeaderMap::new();
            for name in &names {
                headers.append(name.parse::<HeaderName>().expect("a name"), HeaderValue::from_str(&value).expect("a value"));
            }
            let head = head(&headers, &to_home([NO_EDITS; 2]));
            let mut slots = [httparse::EMPTY_HEADER; 32];
            let mut request = httparse::Request::new(&mut slots);
            let parsed = request.parse(head.as_bytes()).expect("a valid head");
            prop_assert_eq!(parsed, httparse::Status::Complete(head.len()));
            prop_assert_eq!(request.path, Some("/a%2Fb?c"));
        }
    }
}
