//! Access lines as they end up in a file: who answered, why, and no secret.

use std::fs::read_to_string;
use std::path::Path;

use serde_json::Value;

use crate::home::{Act, Home, later, ok};
use crate::patience::until;
use crate::porch::{Porch, matrix};
use crate::streams::Streams;

/// A porch that writes JSON lines to `$DIR/access.log`.
fn porch(home: &Home, more: &str) -> Porch {
    Porch::new(&matrix(
        home,
        &format!("log: {{ access: {{ file: $DIR/access.log, format: json }} }}\n{more}"),
    ))
}

/// Stops the porch, and every line that it has written.
fn lines(porch: &mut Porch) -> Vec<Value> {
    porch.halt();
    let text = read_to_string(porch.folder().join("access.log")).expect("a log");
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}")))
        .collect()
}

/// The line of a target.
fn line<'a>(lines: &'a [Value], target: &str) -> &'a Value {
    let mut found = lines.iter().filter(|line| line["target"] == target);
    let line = found.next().unwrap_or_else(|| panic!("no line of {target}: {lines:#?}"));
    assert_eq!(found.next(), None, "two lines of {target}");
    line
}

fn wait_for(file: &Path, text: &str) {
    until("a line is written", || read_to_string(file).is_ok_and(|all| all.contains(text)));
}

#[test]
fn a_line_says_who_answered() {
    let home = Home::new(|_| ok("hello"));
    let routes =
        "sites:\n  - hosts: [ example.com ]\n    routes: [ { path: /fixed/, respond: { body: four } } ]\n";
    let mut porch = porch(&home, routes);
    let mut one = porch.connect();
    let own = "User-Agent: agent \"x\"\r\nReferer: https://a.test/\r\nX-Request-ID: abc-1\r\n";
    one.request("GET", "/_matrix/client/v3/sync?since=1", own, b"");
    one.get("/fixed/1");
    let mut two = Streams::to(&porch);
    two.get("/_matrix/2");
    two.get("/fixed/2");
    drop((one, two));
    let lines = lines(&mut porch);
    let by_home = line(&lines, "/_matrix/client/v3/sync?since=1");
    for (key, value) in [
        ("client", "127.0.0.1".into()),
        ("method", "GET".into()),
        ("host", "example.com".into()),
        ("version", "HTTP/1.1".into()),
        ("status", 200.into()),
        ("bytes", 5.into()),
        ("user_agent", "agent \"x\"".into()),
        ("referer", "https://a.test/".into()),
        ("answered", "home".into()),
        ("why", Value::Null),
        ("attempts", 1.into()),
        ("class", "sync".into()),
        ("id", "abc-1".into()),
        ("listener", "https".into()),
    ] {
        assert_eq!(by_home[key], value, "{key} in {by_home}");
    }
    let (upstream, duration) = (by_home["upstream"].as_f64(), by_home["duration"].as_f64());
    assert!(upstream.is_some() && upstream <= duration, "{by_home}");
    let second = line(&lines, "/_matrix/2");
    assert_eq!((&second["version"], &second["host"]), (&"HTTP/2.0".into(), &"example.com".into()));
    assert_eq!(
        (&second["answered"], &second["why"], &second["bytes"]),
        (&"home".into(), &Value::Null, &5.into())
    );
    for target in ["/fixed/1", "/fixed/2"] {
        let by_edge = line(&lines, target);
        assert_eq!((&by_edge["answered"], &by_edge["attempts"]), (&"edge".into(), &0.into()), "{by_edge}");
        assert_eq!(
            (&by_edge["why"], &by_edge["bytes"], &by_edge["upstream"]),
            (&Value::Null, &4.into(), &Value::Null)
        );
    }
}

#[test]
fn a_line_says_why_the_edge_refused() {
    let home = Home::new(|_| ok("hello"));
    let text = "upstreams: { home: { connect_timeout: 200ms, park: false } }\nlimits: { body: 1KiB }\n";
    let mut porch = porch(&home, text);
    home.stop();
    let mut client = porch.connect();
    client.get("/_synapse/admin/v1/users");
    client.get("/nothing");
    client.get("/_matrix/down");
    client.request("PUT", "/_matrix/large", "Content-Length: 5000\r\n", b"");
    porch.connect().write("GET /unknown HTTP/1.1\r\nHost: evil.test\r\n\r\n").answer();
    porch.connect().write("GET /twice HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n").answer();
    drop(client);
    let lines = lines(&mut porch);
    for (target, status, why) in [
        ("/_synapse/admin/v1/users", 404, "denied"),
        ("/nothing", 404, "no-route"),
        ("/unknown", 421, "unknown-host"),
        ("/twice", 400, "bad-request"),
    ] {
        let line = line(&lines, target);
        assert_eq!((&line["status"], &line["why"]), (&status.into(), &why.into()), "{line}");
        assert_eq!((&line["answered"], &line["attempts"]), (&"edge".into(), &0.into()), "{line}");
    }
    let down = line(&lines, "/_matrix/down");
    let why = down["why"].as_str().expect("a reason");
    assert!(["home-down", "connect-refused", "connect-timeout"].contains(&why), "{down}");
    assert!(down["upstream"].as_f64().is_some_and(|seconds| seconds >= 0.1), "{down}");
}

#[test]
fn a_line_counts_the_attempts() {
    let first = std::sync::OnceLock::new();
    let home = Home::new(move |request| match *first.get_or_init(|| request.connection) {
        // The connection that served the first request is closed under the second one.
        first if request.connection == first && request.target() == "/_matrix/stale" => {
            Act::AnswerAndClose(Vec::new())
        }
        _ => ok("fine"),
    });
    let mut porch = porch(&home, "");
    let mut client = porch.connect();
    assert_eq!(client.get("/_matrix/first").text(), "fine");
    assert_eq!(client.get("/_matrix/stale").text(), "fine");
    drop(client);
    let lines = lines(&mut porch);
    let line = line(&lines, "/_matrix/stale");
    assert_eq!(
        (&line["attempts"], &line["answered"], &line["why"]),
        (&2.into(), &"home".into(), &Value::Null)
    );
}

#[test]
fn secrets_are_in_no_line() {
    let home = Home::new(|_| ok("hello"));
    for format in ["json", "combined"] {
        let text = format!("log: {{ access: {{ file: $DIR/access.log, format: {format} }} }}\n");
        let mut porch = Porch::new(&matrix(&home, &text));
        let (mut one, mut two) = (porch.connect(), Streams::to(&porch));
        let referer = "https://a.test/?loginToken=SECRET&b=2";
        one.request("GET", "/_matrix/a?access_token=SECRET&x=1", &format!("Referer: {referer}\r\n"), b"");
        let uri = "https://example.com/_matrix/b?x=1&access%5Ftoken=SECRET";
        two.request("GET", uri, &[("referer", referer), ("authorization", "Bearer SECRET")]);
        one.get("/nowhere?code=SECRET&state=SECRET");
        drop((one, two));
        porch.halt();
        let log = read_to_string(porch.folder().join("access.log")).expect("a log");
        assert!(!log.contains("SECRET"), "{log}");
        for kept in ["/_matrix/a?access_token=[redacted]&x=1", "/_matrix/b?x=1&", "loginToken=[redacted]&b=2"]
        {
            assert!(log.contains(kept), "{kept} in {log}");
        }
    }
}

#[test]
fn combined_lines_begin_as_every_reader_expects() {
    let home = Home::new(|_| ok("hello"));
    let mut porch = Porch::new(&matrix(&home, "log: { access: { file: $DIR/access.log } }\n"));
    porch.connect().request("GET", "/_matrix/x?y", "User-Agent: a\"b\\c\r\n", b"");
    porch.connect().request("HEAD", "/.well-known/matrix/client", "", b"");
    porch.halt();
    let log = read_to_string(porch.folder().join("access.log")).expect("a log");
    let get = log.lines().find(|line| line.contains("GET")).expect("a line");
    let (begin, rest) = get.split_once('[').expect("a time");
    let (time, rest) = rest.split_once("] ").expect("its end");
    assert_eq!((begin, time.len()), ("127.0.0.1 - - ", "10/Oct/2000:13:55:36 -0700".len()));
    assert!(
        rest.starts_with("\"GET /_matrix/x?y HTTP/1.1\" 200 5 \"-\" \"a\\x22b\\x5cc\" host=example.com"),
        "{rest}"
    );
    assert!(rest.contains(" answered=home why=- ") && rest.contains(" attempts=1 upstream=0."), "{rest}");
    assert!(rest.contains("s parked=- cause=- time="), "{rest}");
    let head = log.lines().find(|line| line.contains("HEAD")).expect("a line");
    assert!(
        head.contains("HTTP/1.1\" 200 - \"-\" \"-\"") && head.contains(" answered=edge why=- "),
        "{head}"
    );
}

#[test]
fn a_client_that_leaves_is_told_as_such() {
    let (_never, hang) = later();
    let hang = std::sync::Mutex::new(vec![hang]);
    let (_other, hang_too) = later();
    hang.lock().expect("no panic").push(hang_too);
    let home = Home::new(move |_| Act::Hang(hang.lock().expect("no panic").pop().expect("two requests")));
    let mut porch = porch(&home, "");
    let mut client = porch.connect();
    client.write("GET /_matrix/one HTTP/1.1\r\nHost: example.com\r\n\r\n");
    until("home is asked", || !home.seen().is_empty());
    drop(client);
    let mut streams = Streams::to(&porch);
    streams.leave("/_matrix/two", || home.seen().len() == 2);
    drop(streams);
    let lines = lines(&mut porch);
    for target in ["/_matrix/one", "/_matrix/two"] {
        let line = line(&lines, target);
        assert_eq!(
            (&line["status"], &line["why"], &line["bytes"]),
            (&0.into(), &"client-left".into(), &0.into())
        );
    }
}

#[test]
fn an_answer_that_broke_off_is_told_as_such() {
    let home =
        Home::new(|_| Act::AnswerAndClose(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this".into()));
    let mut porch = porch(&home, "");
    let answer = porch.connect().get("/_matrix/one");
    assert!(!answer.whole && answer.body == b"only this", "{answer:?}");
    let answer = Streams::to(&porch).get("/_matrix/two");
    assert!(!answer.whole, "{answer:?}");
    let lines = lines(&mut porch);
    for target in ["/_matrix/one", "/_matrix/two"] {
        let line = line(&lines, target);
        assert_eq!((&line["status"], &line["bytes"]), (&200.into(), &9.into()), "{line}");
        assert_eq!((&line["answered"], &line["why"]), (&"home".into(), &"home-cut-short".into()), "{line}");
    }
}

#[test]
fn streamed_answers_are_told_whole() {
    let home = Home::new(|request| {
        match request.target().split('?').next() {
        Some("/_matrix/chunked") => Act::Answer(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4\r\ndefg\r\n0\r\nX-T: 1\r\n\r\n".into(),
        ),
        Some("/_matrix/close") => Act::AnswerAndClose(b"HTTP/1.1 200 OK\r\n\r\nabcdefg".into()),
        _ => Act::Answer(b"HTTP/1.1 204 No Content\r\n\r\n".into()),
    }
    });
    let files =
        "sites:\n  - hosts: [ example.com ]\n    routes: [ { path: /, files: { root: $DIR/www } } ]\n";
    let mut porch = porch(&home, files);
    porch.write("www/large", vec![b'x'; 3 << 20]);
    let (mut one, mut two) = (porch.connect(), Streams::to(&porch));
    let targets =
        [("/_matrix/chunked", 7), ("/_matrix/close", 7), ("/_matrix/empty", 0), ("/large", 3 << 20)];
    for (target, _) in targets {
        assert!(one.get(&format!("{target}?1")).whole);
        assert!(two.get(&format!("{target}?2")).whole);
    }
    drop((one, two));
    let lines = lines(&mut porch);
    for (target, bytes) in targets {
        for version in [1, 2] {
            let found = lines.iter().find(|line| line["target"] == format!("{target}?{version}"));
            let line = found.unwrap_or_else(|| panic!("no line of {target}?{version}"));
            assert_eq!((&line["bytes"], &line["why"]), (&bytes.into(), &Value::Null), "{line}");
        }
    }
}

#[test]
fn a_rotated_log_is_written_anew() {
    let home = Home::new(|_| ok("hello"));
    let mut porch = porch(&home, "");
    let (file, rotated) = (porch.folder().join("access.log"), porch.folder().join("access.log.0"));
    porch.connect().get("/_matrix/before");
    wait_for(&file, "/_matrix/before");
    std::fs::rename(&file, &rotated).expect("renamed");
    porch.running().reopen_logs();
    // Requests to the control thread are answered in turn: after this one the logs are open again.
    porch.running().addresses();
    assert!(file.exists());
    porch.connect().get("/_matrix/after");
    porch.halt();
    let (old, new) = (read_to_string(&rotated).expect("old"), read_to_string(&file).expect("new"));
    assert!(old.contains("/_matrix/before") && !old.contains("/_matrix/after"), "{old}");
    assert!(new.contains("/_matrix/after") && !new.contains("/_matrix/before"), "{new}");
}

#[test]
fn a_reload_moves_the_log_and_changes_its_form() {
    let home = Home::new(|_| ok("hello"));
    let log = |more: &str| matrix(&home, &format!("log: {{ {more} }}\n"));
    let mut porch = Porch::new(&log(""));
    let mut client = porch.connect();
    client.get("/_matrix/unlogged");
    porch.reload(&log("access: { file: $DIR/a.log, format: combined }")).expect("a log");
    client.get("/_matrix/one");
    let (a, b) = (porch.folder().join("a.log"), porch.folder().join("b.log"));
    wait_for(&a, "/_matrix/one");
    porch.reload(&log("access: { file: $DIR/b.log, format: json }")).expect("another log");
    client.get("/_matrix/two");
    let told = porch.reload(&log("access: { file: $DIR/none/c.log }")).expect_err("there is no such folder");
    assert!(told.contains("c.log"), "{told}");
    client.get("/_matrix/three");
    drop(client);
    porch.halt();
    let (a, b) = (read_to_string(a).expect("a"), read_to_string(b).expect("b"));
    assert_eq!((a.lines().count(), b.lines().count()), (1, 2), "{a}\n{b}");
    assert!(b.lines().all(|line| line.starts_with('{')) && b.contains("/_matrix/three"), "{b}");
}

#[test]
fn a_tunnel_has_a_line_of_its_agreement() {
    let head = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let home = Home::new(move |_| {
        Act::Take(Box::new(move |stream| {
            let _ = std::io::Write::write_all(stream, head.as_bytes());
            let _ = std::io::Read::read(stream, &mut [0]);
        }))
    });
    let mut porch = porch(&home, "");
    let lines_of_it = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
    let mut client = porch.connect();
    client.write(format!("GET /_matrix/ws HTTP/1.1\r\nHost: example.com\r\n{lines_of_it}\r\n"));
    assert_eq!(client.answer().status, 101);
    drop(client);
    let lines = lines(&mut porch);
    let line = line(&lines, "/_matrix/ws");
    assert_eq!(
        (&line["status"], &line["answered"], &line["why"]),
        (&101.into(), &"home".into(), &Value::Null)
    );
}

#[test]
fn what_is_no_http_has_a_line_too() {
    let home = Home::new(|_| ok("home"));
    let mut porch = porch(&home, "");
    let big = "x".repeat(80 * 1024);
    for (request, status) in [
        ("GARBAGE\r\n\r\n".to_owned(), 400),
        (format!("GET /_matrix/x HTTP/1.1\r\nHost: example.com\r\nX-Big: {big}\r\n\r\n"), 431),
    ] {
        assert_eq!(porch.connect().try_write(request).answer().status, status);
    }
    let lines = lines(&mut porch);
    // Each thread writes its own lines.
    let mut told: Vec<_> = lines.iter().map(|line| (line["status"].as_u64(), line["why"].as_str())).collect();
    told.sort();
    assert_eq!(told, [(Some(400), Some("bad-request")), (Some(431), Some("head-too-large"))], "{lines:#?}");
}
