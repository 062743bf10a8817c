//! Benches of the upstream client: heads, chunks, and a whole exchange over loopback.
//!
//! `cargo bench --bench upstream_codec`.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use divan::{Bencher, black_box};
use http::Method;
use http_body_util::{BodyExt, Empty};
use porchd::config::model::BackendAddress;
use porchd::upstream::codec::chunked::{Decoded, Decoder};
use porchd::upstream::codec::framing::Asked;
use porchd::upstream::codec::head;
use porchd::upstream::group::{self, Group};
use porchd::upstream::pool::{Call, Load, Pools};
use porchd::upstream::upload::Framing;

fn main() {
    divan::main();
}

/// An answer as Synapse gives it.
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\n\
    Server: Synapse/1.140.0\r\n\
    Date: Mon, 23 Nov 2026 03:00:00 GMT\r\n\
    Content-Type: application/json\r\n\
    Cache-Control: no-cache, no-store, must-revalidate\r\n\
    Access-Control-Allow-Origin: *\r\n\
    Access-Control-Allow-Methods: GET, HEAD, POST, PUT, DELETE, OPTIONS\r\n\
    Access-Control-Allow-Headers: X-Requested-With, Content-Type, Authorization, Date\r\n\
    Access-Control-Expose-Headers: Synapse-Trace-Id, Server\r\n\
    Content-Length: 2\r\n\r\n{}";

#[divan::bench]
fn head_of_ten_fields(bencher: Bencher<'_, '_>) {
    let buf = Bytes::from_static(ANSWER);
    let asked = Asked { head: false, upgrade: false };
    bencher.bench_local(|| head::parse(black_box(&buf), asked).is_ok());
}

#[divan::bench(args = [64, 4096, 65536])]
fn chunk_of(bencher: Bencher<'_, '_>, size: usize) {
    let mut text = format!("{size:x}\r\n").into_bytes();
    text.resize(text.len() + size, b'x');
    text.extend_from_slice(b"\r\n0\r\n\r\n");
    let text = Bytes::from(text);
    bencher.bench_local(|| {
        let (mut buf, mut decoder) = (text.clone(), Decoder::default());
        while let Ok(Decoded::Data(data)) = decoder.decode(&mut buf) {
            black_box(data);
        }
    });
}

/// One request over a kept connection; the backend is a thread that does as little as can be.
#[divan::bench]
fn exchange(bencher: Bencher<'_, '_>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let address = BackendAddress::Socket(listener.local_addr().expect("it is bound"));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut buf = [0; 4096];
            while matches!(stream.read(&mut buf), Ok(1..)) && stream.write_all(ANSWER).is_ok() {}
        }
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let (pools, group) = (Pools::new(), group_of(address));
    bencher.bench_local(|| {
        runtime.block_on(async {
            let call = Call {
                method: &Method::GET,
                head: b"GET /_matrix/client/versions HTTP/1.1\r\nHost: example.com\r\n\r\n".to_vec(),
                load: Load::Fresh(Framing::None, Empty::<Bytes>::new()),
                replay: true,
                head_timeout: Duration::from_secs(180),
                piece: porchd::upstream::scratch::READ,
                wants_upgrade: false,
                stay: None,
                again: None,
            };
            let answer = pools.send(&group, call).await.0.expect("the backend answers");
            answer.into_body().collect().await.expect("the answer is whole").to_bytes()
        })
    });
}

fn group_of(address: BackendAddress) -> Arc<Group> {
    let text = format!(
        "upstreams: {{ home: {{ backends: [ '{address}' ] }} }}\n\
         listeners: {{ https: {{ bind: [ '127.0.0.1:0' ], tls: true }} }}\n\
         sites: [ {{ hosts: [ a.example ], routes: [ {{ path: /, forward: home }} ] }} ]"
    );
    let config = porchd::config::load(&text, "bench").expect("it is a configuration").config;
    group::build(&config.upstreams, &[], &mut |_| unreachable!("there is no ca_file"))
        .expect("it builds")
        .remove(0)
}
