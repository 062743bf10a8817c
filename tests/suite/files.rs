//! Files through the whole porch: TLS, both versions of HTTP, a site's headers and error pages.

use std::os::unix::fs::symlink;

use crate::home::{Home, ok};
use crate::patience::PATIENCE;
use crate::porch::{Porch, matrix};
use crate::streams::Streams;

/// A site with files in `$DIR/www` and whatever else `more` says of it.
fn site(more: &str) -> String {
    format!(
        "sites:\n  - hosts: [ example.com ]\n{more}    routes: [ {{ path: /, files: {{ root: $DIR/www }} }} ]\n"
    )
}

/// A porch with one site of files and with these files in it.
fn porch(more: &str, tree: &[(&str, &str)]) -> Porch {
    let porch = Porch::new(&site(more));
    std::fs::create_dir_all(porch.folder().join("www")).expect("a folder");
    for (name, text) in tree {
        porch.write(&format!("www/{name}"), text);
    }
    porch
}

#[test]
fn an_index_is_found_and_a_folder_gets_its_slash() {
    let porch = porch("", &[("index.html", "<p>top"), ("a/index.html", "<p>deep"), ("b/x", "x")]);
    let (mut one, mut two) = (porch.connect(), Streams::to(&porch));
    for (target, body) in
        [("/", "<p>top"), ("/index.html", "<p>top"), ("/a/", "<p>deep"), ("/a/?x=1", "<p>deep")]
    {
        let answer = one.get(target);
        assert_eq!((answer.status, answer.text()), (200, body), "{target}");
        assert_eq!(answer.header("content-type"), Some("text/html; charset=utf-8"));
        let answer = two.get(target);
        assert_eq!((answer.status, &*answer.body), (200, body.as_bytes()), "{target} by h2");
        assert_eq!(answer.header("content-type"), Some("text/html; charset=utf-8"));
    }
    let answer = one.get("/a?x=%2F");
    assert_eq!((answer.status, answer.header("location")), (301, Some("/a/?x=%2F")));
    assert_eq!(two.get("/a?x=%2F").header("location"), Some("/a/?x=%2F"));
    assert_eq!(one.get("/b/").status, 403, "a folder that is not listed");
    assert_eq!(two.get("/none").status, 404);
}

#[test]
fn a_listing_is_sorted_and_shows_no_hidden_name() {
    let porch = Porch::new(
        "sites:\n  - hosts: [ example.com ]\n    routes: [ { path: /, files: { root: $DIR/www, listing: true } } ]\n",
    );
    for (name, text) in [("b", "22"), ("a", "1"), ("<i>", "333"), (".hidden", "x")] {
        porch.write(&format!("www/pub/{name}"), text);
    }
    let answer = porch.connect().get("/pub/");
    let body = answer.text();
    let at = |name: &str| body.find(&format!("href=\"{name}\"")).unwrap_or_else(|| panic!("{name}: {body}"));
    assert!(at("a") < at("b"));
    assert!(body.contains("&lt;i&gt;") && !body.contains("<i>") && !body.contains(".hidden"), "{body}");
    let by_size = Streams::to(&porch).get("/pub/?sort=size&order=desc");
    let body = String::from_utf8(by_size.body).expect("text");
    assert!(body.find("href=\"b\"") < body.find("href=\"a\""), "{body}");
}

#[test]
fn a_range_is_cut_from_the_file() {
    let porch = porch("", &[("x.bin", "0123456789")]);
    let (mut one, mut two) = (porch.connect(), Streams::to(&porch));
    for (range, status, content, body) in [
        ("bytes=2-4", 206, "bytes 2-4/10", "234"),
        ("bytes=-3", 206, "bytes 7-9/10", "789"),
        ("bytes=8-", 206, "bytes 8-9/10", "89"),
        ("bytes=10-", 416, "bytes */10", ""),
    ] {
        let answer = one.request("GET", "/x.bin", &format!("Range: {range}\r\n"), b"");
        assert_eq!((answer.status, answer.header("content-range")), (status, Some(content)), "{range}");
        assert_eq!(answer.text(), body, "{range}");
        let answer = two.request("GET", "https://example.com/x.bin", &[("range", range)]);
        assert_eq!((answer.status, answer.header("content-range")), (status, Some(content)), "{range} by h2");
        assert_eq!(answer.body, body.as_bytes(), "{range} by h2");
    }
    assert_eq!(one.get("/x.bin").text(), "0123456789", "the connection is in step");
}

#[test]
fn what_the_client_has_is_not_sent_again() {
    let porch = porch("", &[("x.txt", "old text")]);
    let (mut one, mut two) = (porch.connect(), Streams::to(&porch));
    let first = one.get("/x.txt");
    let tag = first.header("etag").expect("a tag").to_owned();
    let answer = one.request("GET", "/x.txt", &format!("If-None-Match: {tag}\r\n"), b"");
    assert_eq!((answer.status, answer.header("etag")), (304, Some(&*tag)));
    let answer = two.request("GET", "https://example.com/x.txt", &[("if-none-match", &tag)]);
    assert_eq!((answer.status, answer.body.len()), (304, 0));
    let date = first.header("last-modified").expect("a date").to_owned();
    let answer = one.request("GET", "/x.txt", &format!("If-Modified-Since: {date}\r\n"), b"");
    assert_eq!(answer.status, 304);
    assert_eq!(one.request("GET", "/x.txt", "If-None-Match: \"other\"\r\n", b"").text(), "old text");
}

#[test]
fn a_file_that_changes_is_sent_anew() {
    let porch = porch("", &[("x.txt", "old")]);
    let mut client = porch.connect();
    let old = client.get("/x.txt");
    porch.write("www/x.txt", "new text");
    // It is looked at again within a second.
    let begun = porchd::clock::now();
    let patient = || porchd::clock::now() - begun < PATIENCE;
    let new = std::iter::repeat_with(|| client.get("/x.txt")).find(|new| new.text() != "old" || !patient());
    let new = new.expect("there is no end of answers");
    assert_eq!(new.text(), "new text");
    assert_ne!(new.header("etag"), old.header("etag"));
}

#[test]
fn a_precompressed_sibling_is_sent_to_who_can_read_it() {
    let tree =
        [("app.js", "plain"), ("app.js.br", "BR"), ("app.js.gz", "GZ"), ("app.js.zst", "ZST"), ("b.js", "b")];
    let porch = porch("", &tree);
    let (mut one, mut two) = (porch.connect(), Streams::to(&porch));
    for (accepted, encoding, body) in [
        ("br", Some("br"), "BR"),
        ("gzip", Some("gzip"), "GZ"),
        ("zstd", Some("zstd"), "ZST"),
        ("gzip;q=0.1, br;q=0", Some("gzip"), "GZ"),
        ("identity", None, "plain"),
    ] {
        let answer = one.request("GET", "/app.js", &format!("Accept-Encoding: {accepted}\r\n"), b"");
        assert_eq!((answer.header("content-encoding"), answer.text()), (encoding, body), "{accepted}");
        assert_eq!(answer.header("vary"), Some("accept-encoding"), "{accepted}");
        assert_eq!(answer.header("content-type"), Some("text/javascript; charset=utf-8"), "{accepted}");
        let answer = two.request("GET", "https://example.com/app.js", &[("accept-encoding", accepted)]);
        assert_eq!((answer.header("content-encoding"), &*answer.body), (encoding, body.as_bytes()));
    }
    let answer = one.request("GET", "/b.js", "Accept-Encoding: br\r\n", b"");
    assert_eq!((answer.header("content-encoding"), answer.text()), (None, "b"));
}

#[test]
fn head_says_what_get_would() {
    let porch = porch("    error_pages: $DIR/errors\n", &[("x.txt", "12345"), ("index.html", "<p>")]);
    porch.write("errors/404.html", "<p>my own page for what is not there");
    let (mut one, mut two) = (porch.connect(), Streams::to(&porch));
    for target in ["/x.txt", "/", "/missing"] {
        let get = one.get(target);
        for name in ["content-length", "content-type", "etag", "last-modified"] {
            let head = one.request("HEAD", target, "", b"");
            assert_eq!((head.status, head.header(name)), (get.status, get.header(name)), "{target} {name}");
            let head = two.request("HEAD", &format!("https://example.com{target}"), &[]);
            assert_eq!((head.status, head.header(name)), (get.status, get.header(name)), "{target} {name}");
            assert_eq!(head.body.len(), 0);
        }
    }
    assert_eq!(one.get("/x.txt").text(), "12345", "the connection is in step");
}

#[test]
fn nothing_outside_the_root_is_served() {
    let porch =
        porch("", &[("file", "in"), (".env", "secret"), (".git/config", "secret"), ("sub/.x", "secret")]);
    porch.write("secret", "secret");
    for (to, name) in [("../secret", "out"), ("..", "up"), ("/etc/passwd", "passwd"), ("file", "within")] {
        symlink(to, porch.folder().join("www").join(name)).expect("a link");
    }
    let (mut one, mut two) = (porch.connect(), Streams::to(&porch));
    for target in [
        "/../secret",
        "/%2e%2e/secret",
        "/..%2fsecret",
        "/%252e%252e/secret",
        "/..%5csecret",
        "/sub/../../secret",
        "/out",
        "/up/secret",
        "/passwd",
        "/.env",
        "/%2eenv",
        "/.git/config",
        "/sub/.x",
        "/file%00",
    ] {
        let answer = one.get(target);
        assert!(matches!(answer.status, 301 | 403 | 404), "{target}: {answer:?}");
        assert!(!answer.text().contains("secret\n") && answer.text() != "secret", "{target}: {answer:?}");
        let answer = two.get(target);
        assert!(matches!(answer.status, 301 | 403 | 404) && answer.body != b"secret", "{target}: {answer:?}");
    }
    assert_eq!(one.get("/within").text(), "in", "a link that stays within is followed");
}

#[test]
fn a_folder_of_files_takes_no_other_method() {
    let porch = porch("", &[("x.txt", "x")]);
    let mut client = porch.connect();
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "PROPFIND"] {
        let answer = client.request(method, "/x.txt", "", b"");
        assert_eq!((answer.status, answer.header("allow")), (405, Some("GET, HEAD")), "{method}");
    }
    assert_eq!(client.get("/x.txt").text(), "x");
}

#[test]
fn an_error_page_is_the_sites_own() {
    let home = Home::new(|_| ok("home"));
    let text = format!(
        "{}upstreams: {{ home: {{ connect_timeout: 200ms, park: false }} }}\n",
        matrix(
            &home,
            &site("    error_pages: $DIR/errors\n").replace(
                "routes: [",
                "routes: [ { path: /app/, forward: home }, { path: /shut/, deny: true },"
            )
        )
    );
    let porch = Porch::new(&text);
    std::fs::create_dir_all(porch.folder().join("www")).expect("a folder");
    porch.write("errors/404.html", "<p>mine: not there<img src=/x.png>");
    porch.write("errors/50x.html", "<p>mine: down");
    home.stop();
    let (mut one, mut two) = (porch.connect(), Streams::to(&porch));
    for (target, status, body) in
        [("/missing", 404, "<p>mine: not there<img src=/x.png>"), ("/app/x", 503, "<p>mine: down")]
    {
        let answer = one.request("GET", target, "Accept: text/html\r\n", b"");
        assert!(answer.status == status || status == 503 && answer.status > 500, "{answer:?}");
        assert_eq!(answer.text(), body);
        assert_eq!(answer.header("content-type"), Some("text/html; charset=utf-8"));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert_eq!(answer.header("content-security-policy"), None, "the operator's page may have images");
        assert_eq!(two.get(target).body, body.as_bytes());
    }
    let shut = one.get("/shut/");
    assert_eq!(shut.status, 403);
    assert!(!shut.text().contains("mine"), "there is no page for 403");
    let api = one.get("/_matrix/client/versions");
    assert!(api.status > 500 && api.json()["errcode"] == "M_UNKNOWN", "clients want JSON: {api:?}");
}

#[test]
fn element_has_a_host_and_rules_of_its_own() {
    let home = Home::new(|_| ok("home"));
    let text = matrix(&home, "")
        .replace("matrix:\n", "matrix:\n  element: { host: web.example.com, root: $DIR/element }\n");
    let porch = Porch::new(&text);
    porch.write("element/index.html", "<title>Element");
    porch.write("element/config.json", "{}");
    porch.write("element/bundles/97ad3bd92a1a/bundle.js", "js");
    let mut client = porch.connect_as("https", "web.example.com");
    let mut get = |target: &str| {
        client.write(format!("GET {target} HTTP/1.1\r\nHost: web.example.com\r\n\r\n")).answer()
    };
    for (target, policy) in [
        ("/", "no-cache"),
        ("/config.json", "no-cache"),
        ("/bundles/97ad3bd92a1a/bundle.js", "public, max-age=31536000, immutable"),
    ] {
        let answer = get(target);
        assert_eq!((answer.status, answer.header("cache-control")), (200, Some(policy)), "{target}");
        assert_eq!(answer.header("x-frame-options"), Some("SAMEORIGIN"));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.header("content-security-policy"), Some("frame-ancestors 'self'"));
    }
    assert_eq!(get("/_matrix/client/versions").status, 404, "home is not behind Element's name");
    assert_eq!(home.seen().len(), 0);
    let other = porch.connect().get("/");
    assert_eq!(other.status, 404, "Element is not behind home's name");
}

#[test]
fn a_sites_headers_are_on_files_and_the_routes_win() {
    let text = "sites:\n  - hosts: [ example.com ]\n    listeners: [ https, http ]\n\
                \x20   hsts: { max_age: 1d, subdomains: true }\n\
                \x20   headers: { response: { set: { Server: mine, X-Site: site }, remove: [ Last-Modified ] } }\n\
                \x20   routes:\n\
                \x20     - { path: /, files: { root: $DIR/www } }\n\
                \x20     - { path: /own/, files: { root: $DIR/www }, headers: { response: { set: { X-Site: route, Cache-Control: no-store } } } }\n";
    let porch = Porch::new(text);
    porch.write("www/x", "x");
    porch.write("www/own/x", "x");
    let (mut one, mut two) = (porch.connect(), Streams::to(&porch));
    let expected = [("server", "mine"), ("strict-transport-security", "max-age=86400; includeSubDomains")];
    for (target, site, cache) in
        [("/x", "site", None), ("/own/x", "route", Some("no-store")), ("/none", "site", Some("no-store"))]
    {
        let (first, second) = (one.get(target), two.get(target));
        for (name, value) in expected {
            assert_eq!(
                (first.header(name), second.header(name)),
                (Some(value), Some(value)),
                "{target} {name}"
            );
        }
        for (name, value) in [("x-site", Some(site)), ("cache-control", cache), ("last-modified", None)] {
            assert_eq!((first.header(name), second.header(name)), (value, value), "{target} {name}");
        }
    }
    let plain = porch.connect_plain("http").get("/x");
    assert_eq!((plain.status, plain.header("x-site")), (200, Some("site")));
    assert_eq!(plain.header("strict-transport-security"), None, "RFC 6797 7.2: never in the clear");
}

#[test]
fn a_large_file_arrives_whole_beside_a_slow_reader() {
    let porch = porch("", &[]);
    let mut state = 1u64;
    let large: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 56) as u8
    })
    .take(8 << 20)
    .collect();
    porch.write("www/large.bin", &large);
    let mut slow = porch.connect();
    slow.write("GET /large.bin HTTP/1.1\r\nHost: example.com\r\n\r\n");
    let answer = porch.connect().get("/large.bin");
    assert!(answer.whole && answer.body == large, "by HTTP/1.1: {} bytes", answer.body.len());
    let answer = Streams::to(&porch).get("/large.bin");
    assert!(answer.whole && answer.body == large, "by HTTP/2: {} bytes", answer.body.len());
    let range = "Range: bytes=4194301-8388000\r\n";
    let answer = porch.connect().request("GET", "/large.bin", range, b"");
    assert!(answer.status == 206 && answer.body == large[4_194_301..=8_388_000]);
    assert!(slow.answer().body == large, "the slow one gets it too");
}

#[test]
fn a_body_that_nobody_wants_leaves_the_connection_in_step() {
    let porch = porch("", &[("x.txt", "x")]);
    let mut client = porch.connect();
    for _ in 0..20 {
        // In one piece with its head, so that it is at hand.
        let request =
            "POST /x.txt HTTP/1.1\r\nHost: example.com\r\nContent-Length: 18\r\n\r\nGET / HTTP/1.1\r\n\r\n";
        let answer = client.write(request).answer_to("POST");
        assert_eq!((answer.status, answer.header("connection")), (405, None));
        let request = "GET /x.txt HTTP/1.1\r\nHost: example.com\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
        let answer = client.write(request).answer();
        assert_eq!((answer.text(), answer.header("connection")), ("x", None));
    }
}

#[test]
fn a_body_that_does_not_come_ends_the_connection_with_a_word() {
    let porch = porch("", &[("x.txt", "x")]);
    for lines in [
        "Content-Length: 5\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Content-Length: 5\r\nExpect: 100-continue\r\n",
    ] {
        let mut client = porch.connect();
        let answer = client
            .write(format!("POST /x.txt HTTP/1.1\r\nHost: example.com\r\n{lines}\r\n"))
            .answer_to("POST");
        assert_eq!((answer.status, answer.header("connection")), (405, Some("close")), "{lines}");
        assert!(client.closed(), "{lines}");
    }
}
