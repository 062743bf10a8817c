//! Bodies, trailers and endings, both ways.

use crate::client::Client;
use crate::home::{Act, Home, later, ok};
use crate::porch::{Porch, matrix};

const CHUNKED: &[u8] =
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\nX-Sum: 11\r\n\r\n";

#[test]
fn bodies_stream_both_ways() {
    let home = Home::new(|request| ok(&request.body.len().to_string()));
    let porch = Porch::before(&home);
    let mut client = porch.connect();
    let body = vec![b'x'; 3 << 20];
    assert_eq!(client.request("PUT", "/_matrix/x", "", &body).text(), body.len().to_string());
    assert_eq!(home.only().body, body);
}

#[test]
fn a_chunked_upload_stays_chunked_and_keeps_its_trailers() {
    let home = Home::new(|_| ok("done"));
    let porch = Porch::before(&home);
    let mut client = porch.connect();
    client.write("PUT /_matrix/x HTTP/1.1\r\nHost: example.com\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n");
    client.write("5\r\nhello\r\n").write("6;ext=1\r\n world\r\n").write("0\r\nX-Sum: 11\r\n\r\n");
    assert_eq!(client.answer_to("PUT").text(), "done");
    let seen = home.only();
    assert_eq!(seen.header("transfer-encoding"), Some("chunked"));
    assert_eq!(seen.header("content-length"), None);
    assert_eq!((&*seen.body, seen.trailers.to_ascii_lowercase().trim()), (&b"hello world"[..], "x-sum: 11"));
}

#[test]
fn a_chunked_answer_keeps_its_trailers_for_a_client_that_takes_them() {
    let home = Home::new(|_| Act::Answer(CHUNKED.into()));
    let porch = Porch::before(&home);
    let answer = porch.connect().request("GET", "/_matrix/x", "TE: trailers\r\nConnection: TE\r\n", b"");
    assert_eq!((answer.text(), answer.trailers.to_ascii_lowercase().trim()), ("hello world", "x-sum: 11"));
    assert_eq!(porch.connect().get("/_matrix/x").text(), "hello world");
}

#[test]
fn an_answer_that_ends_with_the_connection_is_whole() {
    let home = Home::new(|_| Act::AnswerAndClose(b"HTTP/1.0 200 OK\r\n\r\nuntil the end".into()));
    let porch = Porch::before(&home);
    let answer = porch.connect().get("/_matrix/x");
    assert_eq!((answer.text(), answer.whole), ("until the end", true));
}

#[test]
fn a_truncated_answer_is_seen_as_truncated() {
    for cut in [
        &b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this"[..],
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nonly this\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\nonly this",
    ] {
        let home = Home::new(|_| Act::AnswerAndClose(cut.into()));
        let porch = Porch::before(&home);
        let mut client = porch.connect();
        let answer = client.get("/_matrix/x");
        assert!(!answer.whole && answer.text() == "only this", "{answer:?}");
    }
}

#[test]
fn garbage_from_home_is_502_in_words_of_matrix() {
    for garbage in [
        &b"SSH-2.0-OpenSSH\r\n\r\n"[..],
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-A: b\r\n c\r\n\r\n",
    ] {
        let home = Home::new(|_| Act::AnswerAndClose(garbage.into()));
        let porch = Porch::before(&home);
        let answer = porch.connect().get("/_matrix/x");
        assert_eq!((answer.status, &answer.json()["errcode"]), (502, &"M_UNKNOWN".into()), "{garbage:?}");
    }
}

#[test]
fn interim_answers_are_passed_over() {
    let home = Home::new(|_| {
        Act::Answer(
            b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
                .into(),
        )
    });
    let porch = Porch::before(&home);
    assert_eq!(porch.connect().get("/_matrix/x").text(), "ok");
}

#[test]
fn expect_100_continue_is_answered_by_the_edge() {
    let home = Home::new(|request| ok(std::str::from_utf8(&request.body).expect("text")));
    let porch = Porch::before(&home);
    let mut client = porch.connect();
    client.write(
        "PUT /_matrix/x HTTP/1.1\r\nHost: example.com\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n",
    );
    assert_eq!(client.exactly(25), b"HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(client.write("hello").answer_to("PUT").text(), "hello");
    assert_eq!(home.only().header("expect"), None);
}

#[test]
fn an_early_answer_ends_an_upload() {
    let home = Home::new(|_| unreachable!("the body never ends"));
    drop(home);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        use std::io::{Read, Write};
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let mut piece = [0; 1000];
            let count = stream.read(&mut piece).unwrap_or(0);
            let answer: &[u8] = if piece[..count].starts_with(b"GET /health") {
                b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK"
            } else {
                b"HTTP/1.1 413 Too Large\r\nContent-Length: 5\r\nConnection: close\r\n\r\nlarge"
            };
            let _ = stream.write_all(answer);
        }
    });
    let porch = Porch::new(&format!("matrix: {{ server_name: example.com, home: {address} }}\n"));
    let mut client = porch.connect();
    client.write(
        "POST /_matrix/media/v3/upload HTTP/1.1\r\nHost: example.com\r\nContent-Length: 100000000\r\n\r\n",
    );
    client.write([b'x'; 4000]);
    let answer = client.answer_to("POST");
    assert_eq!((answer.status, answer.text()), (413, "large"));
}

#[test]
fn a_client_that_leaves_ends_its_request_at_home() {
    let (gone, told) = std::sync::mpsc::channel();
    let gone = std::sync::Mutex::new(gone);
    let home = Home::new(move |_| {
        let gone = gone.lock().unwrap().clone();
        Act::Take(Box::new(move |stream| {
            let mut byte = [0];
            let end = std::io::Read::read(stream, &mut byte);
            let _ = gone.send(matches!(end, Ok(0) | Err(_)));
        }))
    });
    let porch = Porch::before(&home);
    let mut client = porch.connect();
    client.write("GET /_matrix/client/v3/sync?timeout=30000 HTTP/1.1\r\nHost: example.com\r\n\r\n");
    let patience = std::time::Duration::from_secs(20);
    while home.seen().is_empty() {
        std::thread::yield_now();
    }
    drop(client);
    assert_eq!(told.recv_timeout(patience), Ok(true));
}

#[test]
fn a_slow_answer_is_504_and_is_not_sent_again() {
    let home = Home::new(|_| Act::Hang(later().1));
    let (_keep, hang) = later();
    let hang = std::sync::Mutex::new(Some(hang));
    drop(home);
    let home = Home::new(move |_| hang.lock().unwrap().take().map_or_else(|| ok("again"), Act::Hang));
    let porch = Porch::new(&matrix(&home, "upstreams: { home: { response_timeout: 200ms } }\n"));
    let answer = porch.connect().get("/_matrix/x");
    assert_eq!((answer.status, &answer.json()["errcode"]), (504, &"M_UNKNOWN".into()));
    assert_eq!(home.seen().len(), 1);
}

#[test]
fn a_stripped_prefix_is_cut_from_the_target_alone() {
    let home = Home::new(|request| ok(request.target()));
    let text = format!(
        "upstreams: {{ jwt: {{ backends: [ \"{}\" ], probe: {{ tcp: true }} }} }}\nsites:\n  - hosts: [ example.com ]\n    routes: [ {{ path: /livekit/jwt/, forward: jwt, strip: /livekit/jwt }} ]\n",
        home.address()
    );
    let porch = Porch::new(&text);
    let mut client = porch.connect();
    assert_eq!(client.get("/livekit/jwt/sfu/get?a=%2F").text(), "/sfu/get?a=%2F");
    assert_eq!(client.get("/livekit/jwt/").text(), "/");
}

#[test]
fn header_edits_apply_in_both_directions() {
    let home = Home::new(|_| {
        Act::Answer(
            b"HTTP/1.1 200 OK\r\nServer: Synapse\r\nX-Powered-By: x\r\nContent-Length: 0\r\n\r\n".into(),
        )
    });
    let more = "sites:\n  - hosts: [ example.com ]\n    hsts: { max_age: 365d, subdomains: true, preload: true }\n    headers: { response: { set: { Server: flippinburgers }, remove: [ X-Powered-By ] }, request: { set: { X-Edge: porch }, remove: [ Accept ] } }\n";
    let porch = Porch::new(&matrix(&home, more));
    let answer = porch.connect().request("GET", "/_matrix/x", "Accept: a\r\n", b"");
    assert_eq!(answer.header("server"), Some("flippinburgers"));
    assert_eq!(answer.header("x-powered-by"), None);
    assert_eq!(
        answer.header("strict-transport-security"),
        Some("max-age=31536000; includeSubDomains; preload")
    );
    let seen = home.only();
    assert_eq!((seen.header("x-edge"), seen.header("accept")), (Some("porch"), None));
}

/// Many requests on one connection, to see that bodies of every kind leave it in step.
#[test]
fn a_connection_stays_in_step() {
    let home = Home::new(|request| match request.target() {
        "/_matrix/204" => Act::Answer(b"HTTP/1.1 204 No Content\r\n\r\n".into()),
        "/_matrix/304" => Act::Answer(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n".into()),
        "/_matrix/chunked" => Act::Answer(CHUNKED.into()),
        _ => ok("fine"),
    });
    let porch = Porch::before(&home);
    let mut client: Client = porch.connect();
    for round in 0..3 {
        assert_eq!(client.get("/_matrix/204").status, 204, "{round}");
        assert_eq!(client.get("/_matrix/304").status, 304, "{round}");
        assert_eq!(client.get("/_matrix/chunked").text(), "hello world", "{round}");
        assert_eq!(client.request("HEAD", "/_matrix/x", "", b"").status, 200, "{round}");
        assert_eq!(client.request("POST", "/_matrix/x", "", b"body").text(), "fine", "{round}");
        assert_eq!(client.get("/_synapse/admin").status, 404, "{round}");
    }
}

#[test]
fn a_client_that_still_uploads_gets_to_read_its_answer() {
    let home = Home::new(|_| ok("never"));
    let porch = Porch::new(&matrix(&home, "limits: { body: 1KiB }\n"));
    let mut client = porch.connect();
    client.write("PUT /_matrix/x HTTP/1.1\r\nHost: example.com\r\nContent-Length: 4000000\r\n\r\n");
    for _ in 0..400 {
        // Written to its end although nobody wants it: a reset would break this off.
        client.write([b'x'; 10_000]);
    }
    assert_eq!(client.answer_to("PUT").status, 413);
}
