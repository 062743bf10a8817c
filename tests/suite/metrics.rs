//! Figures for Prometheus: what is counted, where it is read, and how reloads move that.

use std::collections::HashSet;
use std::net::{SocketAddr, TcpListener};

use crate::client::{Answer, Client};
use crate::home::{Act, Home, later, ok, own_loopback};
use crate::patience::until;
use crate::porch::{Porch, matrix};
use crate::streams::Streams;

const METRICS: &str = "admin: { socket: false, metrics: \"127.0.0.1:0\" }\n";

/// A porch whose figures can be read.
fn porch(home: &Home, more: &str) -> Porch {
    Porch::new(&matrix(home, &format!("{METRICS}{more}")))
}

fn address(porch: &Porch) -> SocketAddr {
    porch.running().metrics().expect("figures are read somewhere")
}

fn ask(porch: &Porch, method: &str, target: &str, lines: &str) -> Answer {
    Client::plain(address(porch)).request(method, target, lines, b"")
}

/// All figures of now, each of which is there once.
fn figures(porch: &Porch) -> String {
    let answer = ask(porch, "GET", "/metrics", "");
    assert_eq!(answer.status, 200, "{answer:?}");
    let mut seen = HashSet::new();
    for line in answer.text().lines().filter(|line| !line.starts_with('#')) {
        assert!(seen.insert(line.rsplit_once(' ').expect("a value").0), "twice: {line}");
    }
    answer.text().to_owned()
}

/// The value of a figure, named with its labels.
fn figure(text: &str, name: &str) -> f64 {
    let mut values = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let value = values.next().unwrap_or_else(|| panic!("no {name} in {text}"));
    assert_eq!(values.next(), None, "{name} came twice");
    value.parse().unwrap_or_else(|_| panic!("{name} is no number: {value}"))
}

fn requests(text: &str, class: &str, status: &str, answered: &str) -> f64 {
    let labels = format!("{{class=\"{class}\",status=\"{status}\",answered=\"{answered}\"}}");
    figure(text, &format!("porchd_requests_total{labels}"))
}

#[test]
fn requests_are_counted_by_what_they_are_and_who_answered() {
    let home = Home::new(|request| match request.target() {
        "/_matrix/client/v3/login" => {
            Act::Answer(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n".into())
        }
        _ => ok("{}"),
    });
    let routes =
        "sites:\n  - hosts: [ example.com ]\n    routes: [ { path: /fixed/, respond: { body: four } } ]\n";
    let porch = porch(&home, routes);
    let mut one = porch.connect();
    for _ in 0..3 {
        one.get("/_matrix/client/v3/sync");
    }
    one.get("/fixed/");
    one.get("/_synapse/admin/v1/rooms");
    one.request("PUT", "/_matrix/client/v3/rooms/!a/send/m.room.message/1", "", b"{}");
    let mut two = Streams::to(&porch);
    two.get("/_matrix/client/v3/login");
    two.get("/_matrix/federation/v1/version");
    let text = figures(&porch);
    for (class, status, answered, count) in [
        ("sync", "2xx", "home", 3.0),
        ("other", "2xx", "edge", 1.0),
        ("other", "4xx", "edge", 1.0),
        ("send", "2xx", "home", 1.0),
        ("login", "4xx", "home", 1.0),
        ("federation", "2xx", "home", 1.0),
        ("media", "2xx", "home", 0.0),
        ("sync", "left", "edge", 0.0),
    ] {
        assert_eq!(requests(&text, class, status, answered), count, "{class} {status} {answered} in {text}");
    }
    assert_eq!(figure(&text, "porchd_edge_answers_total{why=\"denied\"}"), 1.0);
    assert_eq!(figure(&text, "porchd_long_poll_duration_seconds_count"), 3.0);
    assert_eq!(figure(&text, "porchd_long_poll_duration_seconds_bucket{le=\"120.0\"}"), 3.0);
    assert_eq!(figure(&text, "porchd_request_duration_seconds_count{class=\"send\"}"), 1.0);
    assert_eq!(figure(&text, "porchd_request_duration_seconds_count{class=\"other\"}"), 2.0);
    assert_eq!(figure(&text, "porchd_tls_handshakes_total{result=\"full\"}"), 2.0);
    assert_eq!(figure(&text, "porchd_connections_open"), 2.0);
    assert_eq!(figure(&text, "porchd_connections_accepted_total"), 2.0);
}

#[test]
fn a_client_that_leaves_counts_as_such_and_takes_no_time() {
    let (_never, hang) = later();
    let hang = std::sync::Mutex::new(Some(hang));
    let home = Home::new(move |_| Act::Hang(hang.lock().expect("no panic").take().expect("one request")));
    let porch = porch(&home, "");
    let mut client = porch.connect();
    client.write("GET /_matrix/client/v3/sync HTTP/1.1\r\nHost: example.com\r\n\r\n");
    until("home is asked", || !home.seen().is_empty());
    drop(client);
    until("it is counted", || requests(&figures(&porch), "sync", "left", "edge") == 1.0);
    assert_eq!(figure(&figures(&porch), "porchd_long_poll_duration_seconds_count"), 0.0);
}

#[test]
fn heads_that_are_no_requests_are_counted() {
    let home = Home::new(|_| ok("{}"));
    let porch = porch(&home, "");
    assert_eq!(porch.connect().write("GET / HTTP/1.1\r\nno colon\r\n\r\n").answer().status, 400);
    // hyper writes that answer by itself, and says so afterwards.
    until("it is counted", || requests(&figures(&porch), "other", "4xx", "edge") == 1.0);
    let text = figures(&porch);
    assert_eq!(figure(&text, "porchd_edge_answers_total{why=\"bad-request\"}"), 1.0);
    assert_eq!(figure(&text, "porchd_request_duration_seconds_count{class=\"other\"}"), 0.0);
}

#[test]
fn home_and_certificates_are_told() {
    let home = Home::new(|_| ok("{}"));
    let porch = porch(&home, "");
    porch.connect().get("/_matrix/client/versions");
    let backend = format!("upstream=\"home\",backend=\"{}\"", home.address());
    until("home is known to be up", || {
        figure(&figures(&porch), &format!("porchd_backend_health{{{backend},state=\"up\"}}")) == 1.0
    });
    let text = figures(&porch);
    assert_eq!(figure(&text, &format!("porchd_backend_health{{{backend},state=\"down\"}}")), 0.0);
    assert!(figure(&text, &format!("porchd_backend_connections{{{backend}}}")) >= 1.0, "{text}");
    assert_eq!(figure(&text, "porchd_upstream_up{upstream=\"home\"}"), 1.0);
    assert_eq!(figure(&text, "porchd_parked_requests{upstream=\"home\"}"), 0.0);
    assert_eq!(figure(&text, "porchd_outages_total{upstream=\"home\"}"), 0.0);
    let began = figure(&text, "porchd_start_time_seconds");
    let ends = figure(&text, "porchd_certificate_not_after_timestamp_seconds{certificate=\"internal CA\"}");
    assert!(ends > began, "{ends} after {began}");
}

#[test]
fn requests_that_wait_for_home_are_counted() {
    let short = || Act::AnswerAndClose(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}".into());
    let home = Home::new(move |_| short());
    let porch = porch(&home, "");
    assert_eq!(porch.connect().get("/_matrix/client/versions").status, 200);
    home.stop();
    until("home is gone", || std::net::TcpStream::connect(home.address()).is_err());
    let mut client = porch.connect();
    client.write("GET /_matrix/client/versions HTTP/1.1\r\nHost: example.com\r\n\r\n");
    until("it waits", || figure(&figures(&porch), "porchd_parked_requests{upstream=\"home\"}") == 1.0);
    let text = figures(&porch);
    assert_eq!(figure(&text, "porchd_parked_total{upstream=\"home\"}"), 1.0);
    assert_eq!(figure(&text, "porchd_outages_total{upstream=\"home\"}"), 1.0);
    assert_eq!(figure(&text, "porchd_outage{upstream=\"home\",cause=\"refused\"}"), 1.0);
    let back = Home::at(&home.address().to_string(), move |_| short());
    assert_eq!(client.answer().status, 200);
    let text = figures(&porch);
    assert_eq!(figure(&text, "porchd_parked_ended_total{upstream=\"home\",result=\"delivered\"}"), 1.0);
    assert_eq!(figure(&text, "porchd_parked_requests{upstream=\"home\"}"), 0.0);
    until("the outage is over", || !figures(&porch).contains("porchd_outage{"));
    drop(back);
}

#[test]
fn figures_are_written_as_their_reader_likes() {
    let home = Home::new(|_| ok("{}"));
    let porch = porch(&home, "");
    let plain = ask(&porch, "GET", "/metrics", "");
    assert_eq!(plain.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    assert!(plain.text().contains("# TYPE porchd_requests_total counter\n"));
    let accept = "Accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5\r\n";
    let open = ask(&porch, "GET", "/metrics", accept);
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!(open.header("content-type"), Some(kind));
    assert!(open.text().contains("# TYPE porchd_requests counter\n"));
    assert!(open.text().ends_with("\n# EOF\n"));
    assert_eq!(ask(&porch, "HEAD", "/metrics", "").status, 200);
}

#[test]
fn nothing_else_is_there() {
    let home = Home::new(|_| ok("{}"));
    let porch = porch(&home, "");
    for target in ["/", "/metrics/", "/_matrix/client/versions"] {
        assert_eq!(ask(&porch, "GET", target, "").status, 404, "{target}");
    }
    let answer = ask(&porch, "POST", "/metrics", "");
    assert_eq!((answer.status, answer.header("allow")), (405, Some("GET, HEAD")));
    assert!(home.seen().iter().all(|seen| seen.target() != "/metrics"));
}

#[test]
fn readers_that_say_nothing_keep_nobody_out() {
    let home = Home::new(|_| ok("{}"));
    let porch = porch(&home, "");
    let silent: Vec<Client> = (0..7).map(|_| Client::plain(address(&porch))).collect();
    figures(&porch);
    drop(silent);
}

#[test]
fn a_reload_opens_moves_and_closes_the_address() {
    let home = Home::new(|_| ok("{}"));
    let porch = Porch::new(&matrix(&home, ""));
    assert_eq!(porch.running().metrics(), None);
    porch.reload(&matrix(&home, METRICS)).expect("a free port");
    let first = address(&porch);
    porch.reload(&matrix(&home, &format!("{METRICS}threads: 2\n"))).expect("nothing new");
    assert_eq!(address(&porch), first, "it stays");
    let free = TcpListener::bind(own_loopback()).and_then(|socket| socket.local_addr()).expect("a port");
    let moved = format!("admin: {{ socket: false, metrics: \"{free}\" }}\n");
    porch.reload(&matrix(&home, &moved)).expect("a free port");
    assert_eq!(address(&porch), free);
    until("the first one is closed", || std::net::TcpStream::connect(first).is_err());
    let text = figures(&porch);
    assert_eq!(figure(&text, "porchd_reloads_total{result=\"done\"}"), 3.0);
    assert_eq!(figure(&text, "porchd_generation"), 4.0);
    porch.reload(&matrix(&home, "")).expect("one address less");
    assert_eq!(porch.running().metrics(), None);
    until("the second one is closed", || std::net::TcpStream::connect(free).is_err());
}

#[test]
fn an_address_that_is_taken_is_refused() {
    let home = Home::new(|_| ok("{}"));
    let porch = porch(&home, "");
    let before = address(&porch);
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken_by_another =
        format!("admin: {{ socket: false, metrics: \"{}\" }}\n", taken.local_addr().expect("an address"));
    let refused = porch.reload(&matrix(&home, &taken_by_another)).expect_err("a taken port");
    assert!(refused.starts_with("admin.metrics: cannot listen on 127.0.0.1:"), "{refused}");
    assert_eq!(address(&porch), before, "a refused reload changes nothing");
    let text = figures(&porch);
    assert_eq!(figure(&text, "porchd_reloads_total{result=\"refused\"}"), 1.0);
    assert_eq!(figure(&text, "porchd_last_reload_successful"), 0.0);
    let error = Porch::start(&matrix(&home, &taken_by_another)).err().expect("a taken port");
    assert!(error.to_string().starts_with("admin.metrics: cannot listen on 127.0.0.1:"), "{error}");
}
