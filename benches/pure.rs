//! Benches of the pure parts: what every request pays before and after the wire.
//!
//! `cargo bench --bench pure`. They show shape (does a thousand sites cost more than one?) and order of
//! magnitude; instructions per request are counted elsewhere.

use std::hint::black_box;
use std::net::IpAddr;
use std::time::Duration;

use divan::Bencher;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version};
use porchd::config::model::park::Park;
use porchd::config::model::{Config, Edits};
use porchd::handler::challenge;
use porchd::http::fault::Fault;
use porchd::http::headers::{self, FramingLines, ToClient, ToHome};
use porchd::http::reply::{self, Asked};
use porchd::http::survey::Survey;
use porchd::http::{authority, scan};
use porchd::matrix::class::Endpoint;
use porchd::matrix::secrets;
use porchd::route::Table;
use porchd::route::site::SiteTable;
use porchd::tls::challenges::Challenges;
use porchd::upstream::parking::{Guest, Parking};

const SYNC: &str = "/_matrix/client/v3/sync?filter=0&timeout=30000&since=s72594_4483_1934_1_2_3_4_5_6";
const SEND: &str = "/_matrix/client/v3/rooms/%21abc%3Aexample.com/send/m.room.message/m1234.5";

fn main() {
    divan::main();
}

#[divan::bench(args = [1, 100, 1000])]
fn host_among_sites(bencher: Bencher<'_, '_>, sites: usize) {
    let table = Table::new(&config(sites));
    let host = format!("site{}.example.com", sites / 2);
    bencher.bench(|| table.host("https", black_box(&host)).is_some());
}

#[divan::bench(args = [1, 100, 1000])]
fn path_among_routes(bencher: Bencher<'_, '_>, routes: usize) {
    let table = site_table(routes);
    let path = SYNC.split('?').next().unwrap_or(SYNC);
    bencher.bench(|| black_box(table.route(black_box(path))));
}

#[divan::bench(args = [1, 100, 1000])]
fn encoded_path_among_routes(bencher: Bencher<'_, '_>, routes: usize) {
    let table = site_table(routes);
    bencher.bench(|| black_box(table.route(black_box(SEND))));
}

/// All of them wait, home returns, and they go on in order.
#[divan::bench(args = [1, 32, 1024])]
fn park_and_release(bencher: Bencher<'_, '_>, requests: u32) {
    let now = porchd::clock::now();
    bencher.bench(|| {
        let mut parking = Parking::new(Park::default());
        parking.away();
        for number in 0..requests {
            let client = IpAddr::from(number.to_be_bytes());
            let guest = Guest { client, stranger: false, first: false, bytes: 1024 };
            black_box(parking.arrive(guest, number).is_ok());
        }
        parking.returns(now);
        parking.release(now + Duration::from_secs(3)).len()
    });
}

#[divan::bench(args = [SYNC, SEND, "/_matrix/federation/v1/send/1", "/index.html"])]
fn classify(target: &str) -> Endpoint {
    Endpoint::of(&Method::GET, target)
}

#[divan::bench(args = [SYNC, "/x?a=1&access_token=syt_abcdefghijklmnop&b=2"])]
fn redact(target: &str) -> usize {
    secrets::redact(target).len()
}

/// What every request pays for http-01; the second is answered by the routes after all.
#[divan::bench(args = [SYNC, "/.well-known/acme-challenge/unknown"])]
fn look_for_a_challenge(bencher: Bencher<'_, '_>, target: &str) {
    let challenges = Challenges::default();
    let _offer = challenges.offer_document("token", "token.thumb");
    let (parts, ()) = http::Request::builder().uri(target).body(()).expect("a request").into_parts();
    bencher.bench(|| challenge::answer(black_box(&challenges), black_box(&parts)).is_some());
}

#[divan::bench]
fn authority_of_request(bencher: Bencher<'_, '_>) {
    let (uri, headers): (Uri, _) = (SYNC.parse().expect("a target"), browser());
    bencher.bench(|| authority::of_request(Version::HTTP_11, black_box(&uri), black_box(&headers)).is_ok());
}

#[divan::bench]
fn check_headers(bencher: Bencher<'_, '_>) {
    let headers = browser();
    bencher.bench(|| Survey::of(Version::HTTP_11, black_box(&headers)).is_ok());
}

#[divan::bench]
fn write_request_head(bencher: Bencher<'_, '_>) {
    let (headers, none) = (browser(), Edits::default());
    let to_home = to_home(&none);
    bencher.with_inputs(|| Vec::with_capacity(2048)).bench_refs(|out| {
        headers::write_request_head(out, &Method::GET, SYNC.as_bytes(), black_box(&headers), &to_home);
    });
}

#[divan::bench]
fn finish_response(bencher: Bencher<'_, '_>) {
    let none = Edits::default();
    let hsts = HeaderValue::from_static("max-age=31536000");
    let to_client = ToClient { edits: [&none; 2], hsts: Some(&hsts), tunnel: false };
    bencher.with_inputs(synapse).bench_refs(|headers| headers::finish_response(headers, &to_client));
}

#[divan::bench]
fn scan_head(bencher: Bencher<'_, '_>) {
    let mut head = format!("GET {SYNC} HTTP/1.1\r\n").into_bytes();
    for (name, value) in &browser() {
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    let mut scanner = scan::HeadScanner::new();
    bencher
        .counter(divan::counter::BytesCount::new(head.len()))
        .bench_local(|| scanner.feed(black_box(&head)));
}

#[divan::bench(args = [true, false])]
fn reply_to_home_down(matrix: bool) -> usize {
    let asked = Asked { head: false, matrix, tls: true };
    reply::fault(asked, &HeaderMap::new(), Fault::HomeDown, StatusCode::SERVICE_UNAVAILABLE, None)
        .body()
        .len()
}

/// What a browser sends along with a request to Synapse.
fn browser() -> HeaderMap {
    map(&[
        ("host", "matrix.example.com"),
        ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
        ("accept", "application/json"),
        ("accept-language", "en-US,en;q=0.5"),
        ("accept-encoding", "gzip, deflate, br, zstd"),
        ("referer", "https://web.example.com/"),
        ("authorization", "Bearer syt_YWxpY2U_abcdefghijklmnopqrst_012345"),
        ("origin", "https://web.example.com"),
        ("connection", "keep-alive"),
        ("sec-fetch-dest", "empty"),
        ("sec-fetch-mode", "cors"),
        ("sec-fetch-site", "same-site"),
        ("priority", "u=4"),
    ])
}

/// What Synapse answers with.
fn synapse() -> HeaderMap {
    map(&[
        ("server", "Synapse/1.140.0"),
        ("date", "Mon, 23 Nov 2026 12:00:00 GMT"),
        ("content-type", "application/json"),
        ("content-length", "187"),
        ("cache-control", "no-cache, no-store, must-revalidate"),
        ("access-control-allow-origin", "*"),
        ("access-control-allow-methods", "GET, HEAD, POST, PUT, DELETE, OPTIONS"),
        ("access-control-allow-headers", "X-Requested-With, Content-Type, Authorization, Date"),
        ("connection", "keep-alive"),
    ])
}

fn map(lines: &[(&'static str, &'static str)]) -> HeaderMap {
    let line = |(name, value): &(&'static str, &'static str)| {
        (HeaderName::from_static(name), HeaderValue::from_static(value))
    };
    lines.iter().map(line).collect()
}

fn to_home(none: &Edits) -> ToHome<'_> {
    ToHome {
        host: b"matrix.example.com",
        client: IpAddr::from([203, 0, 113, 7]),
        proto: "https",
        original_host: "matrix.example.com",
        request_id: "0123456789abcdef",
        edits: [none; 2],
        framing: FramingLines::None,
        upgrade: None,
        nominates: true,
    }
}

fn site_table(routes: usize) -> SiteTable {
    let folders: String =
        (1..routes).map(|at| format!("      - {{ path: /folder{at}/below/, forward: home }}\n")).collect();
    let text = format!(
        "upstreams: {{ home: {{ backends: [ '127.0.0.1:1' ] }} }}\n\
         listeners: {{ https: {{ bind: [ '127.0.0.1:0' ], tls: true }} }}\n\
         sites:\n  - hosts: [ a.example ]\n    routes:\n{folders}      \
         - {{ path: /_matrix/, forward: home }}\n      - {{ path: /_synapse/, deny: true }}\n"
    );
    SiteTable::new(load(&text).sites.remove(0))
}

fn config(sites: usize) -> Config {
    let site = |at| {
        format!(
            "  - {{ hosts: [ site{at}.example.com ], routes: [ {{ path: /, respond: {{ status: 204 }} }} ] }}\n"
        )
    };
    let sites: String = (0..sites).map(site).collect();
    load(&format!("listeners: {{ https: {{ bind: [ '127.0.0.1:0' ], tls: true }} }}\nsites:\n{sites}"))
}

fn load(text: &str) -> Config {
    match porchd::config::load(text, "bench") {
        Ok(loaded) => loaded.config,
        Err(report) => panic!("{}", report.render(false)),
    }
}
