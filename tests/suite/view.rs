//! What a person sees who looks: `porchd status`, `incidents` and `explain`, as real processes.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use porchd::admin::explanation::Explanation;
use porchd::admin::status::{Presence, Status};
use porchd::incidents::record::{End, Incident};

use crate::control::asks;
use crate::home::{Home, ok, own_loopback};
use crate::patience::until;
use crate::porch::{Porch, matrix};

const SOCKET: &str = "admin: { socket: $DIR/run/s }";

/// A porch that can be asked, before a home that answers.
fn with_home() -> (Porch, Home, PathBuf) {
    let home = Home::new(|_| ok("{}"));
    let porch = Porch::new(&matrix(&home, SOCKET));
    let socket = porch.folder().join("run/s");
    (porch, home, socket)
}

/// One before a home where nothing listens.
fn without_home() -> (Porch, PathBuf, SocketAddr) {
    let gone = TcpListener::bind(own_loopback()).expect("a port").local_addr().expect("an address");
    let text = format!("matrix:\n  server_name: example.com\n  home: {gone}\n{SOCKET}");
    let porch = Porch::new(&text);
    let socket = porch.folder().join("run/s");
    (porch, socket, gone)
}

/// What the command prints as JSON.
fn json<T: serde::de::DeserializeOwned>(socket: &std::path::Path, arguments: &[&str]) -> T {
    let (code, out, err) = asks(socket, &[arguments, &["--json"]].concat());
    assert_eq!((code, &*err), (0, ""));
    serde_json::from_str(&out).expect("JSON")
}

fn status(socket: &std::path::Path) -> Status {
    json(socket, &["status"])
}

/// What the command says where no porchd runs.
fn alone(porch: &Porch, arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_porchd"));
    command.args(arguments).arg("-f").arg(porch.folder().join("porchd.yaml")).stdin(Stdio::null());
    let Output { status, stdout, stderr } = command.output().expect("the binary starts");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (status.code().expect("it exits by itself"), text(stdout), text(stderr))
}

#[test]
fn a_home_that_is_there_is_shown_to_be() {
    let (porch, _home, socket) = with_home();
    until("home is up", || status(&socket).upstreams[0].state == Presence::Up);
    let seen = status(&socket);
    assert_eq!((seen.generation, seen.reload.is_none(), seen.incidents.len()), (1, true, 0));
    assert!(seen.upstreams[0].since.is_some_and(|since| since >= seen.started));
    assert_eq!(seen.certificates.len(), 1);
    let (code, text, err) = asks(&socket, &["status"]);
    assert_eq!((code, &*err), (0, ""));
    for part in ["home is up since 20", "  nobody waits\n", "internal CA: valid", "generation 1"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(text.is_ascii() && text.lines().all(|line| line.len() <= 80), "{text}");
    let answer: Explanation = json(&socket, &["explain", "https://example.com/_matrix/client/versions"]);
    assert_eq!(answer.answer.by, "home");
    assert!(answer.listener.is_some_and(|heard| heard.name == "https" && !heard.port_matches));
    drop(porch);
}

#[test]
fn reloads_are_remembered_with_what_came_of_them() {
    let (porch, home, socket) = with_home();
    porch.reload(&matrix(&home, &format!("{SOCKET}\ndrain: {{ stop: 9s }}"))).expect("a good one");
    let seen = status(&socket);
    let reload = seen.reload.expect("there was one");
    assert_eq!((seen.generation, reload.ok, reload.changes.len()), (2, true, 1));
    porch.reload(&matrix(&home, &format!("{SOCKET}\ndrian: 7"))).expect_err("a bad one");
    let seen = status(&socket);
    let reload = seen.reload.expect("there was one");
    assert_eq!((seen.generation, reload.ok), (2, false));
    assert!(reload.error.is_some_and(|error| error.contains("did you mean `drain`?")));
    let (_, text, _) = asks(&socket, &["status"]);
    assert!(text.contains("last reload REFUSED") && text.contains("did you mean `drain`?"), "{text}");
}

#[test]
fn a_home_that_is_away_is_told_with_the_reason_and_what_waits() {
    let (_porch, socket, _) = without_home();
    until("home is away", || status(&socket).upstreams[0].state == Presence::Away);
    let seen = status(&socket);
    let home = &seen.upstreams[0];
    assert_eq!(home.cause.as_ref().map(|cause| &*cause.token), Some("refused"));
    assert!(home.since.is_some() && home.backends[0].health == "down");
    let (_, text, _) = asks(&socket, &["status"]);
    assert!(text.starts_with("home is AWAY since 20") && text.contains("connection refused"), "{text}");
    let url = "https://example.com/_matrix/client/v3/sync?access_token=secret";
    let (code, text, err) = asks(&socket, &["explain", url]);
    assert_eq!((code, &*err), (0, ""));
    for part in ["home is away since ", "wait up to 90 s", "may be sent again", "X-Forwarded-For: 192.0.2.1"]
    {
        let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(flat.contains(part), "{part} in {text}");
    }
    assert!(!text.contains("secret"), "{text}");
}

#[test]
fn an_outage_becomes_an_incident_with_its_story() {
    let (porch, socket, address) = without_home();
    until("home is away", || status(&socket).upstreams[0].state == Presence::Away);
    let mut client = porch.connect();
    client.write("GET /_matrix/client/v3/account/whoami HTTP/1.1\r\nHost: example.com\r\n\r\n");
    until("it waits", || status(&socket).upstreams[0].parked.now == 1);
    let (_, text, _) = asks(&socket, &["status"]);
    assert!(text.contains("  1 request waits (1024 may); "), "{text}");
    let incidents = || json::<Vec<Incident>>(&socket, &["incidents", "--since", "7d"]);
    let lasting = incidents();
    assert_eq!((lasting.len(), lasting[0].end, &*lasting[0].causes[0].token), (1, End::Lasts, "refused"));
    let _home = Home::at(&address.to_string(), |_| ok("{}"));
    assert_eq!(client.answer().status, 200);
    // Over it is when home is back; what became of who waited is known a little later.
    until("it is over", || incidents()[0].end == End::Back && incidents()[0].requests.delivered == 1);
    let over = incidents().remove(0);
    let requests = over.requests;
    assert_eq!((over.id, requests.parked, requests.delivered, requests.failed), (lasting[0].id, 1, 1, 0));
    assert!(requests.longest_wait_ms > 0 && over.ended.is_some(), "{over:?}");
    let (_, text, _) = asks(&socket, &["status"]);
    assert!(text.starts_with("home is up since 20") && text.contains("home is back after "), "{text}");
    let (_, text, _) = asks(&socket, &["incidents"]);
    assert!(text.contains("connection refused") && text.lines().all(|line| line.len() <= 80), "{text}");
}

#[test]
fn requests_are_explained_as_they_are_answered() {
    let (porch, _home, socket) = with_home();
    for (method, path) in [
        ("GET", "/_synapse/admin/v1/users"),
        ("GET", "/nothing"),
        ("GET", "/.well-known/matrix/server"),
        ("TRACE", "/_matrix/client/versions"),
    ] {
        let url = format!("https://example.com{path}");
        let told: Explanation = json(&socket, &["explain", &url, "--method", method]);
        let mut client = porch.connect();
        client.write(format!("{method} {path} HTTP/1.1\r\nHost: example.com\r\n\r\n"));
        assert_eq!(Some(client.answer().status), told.answer.status, "{method} {path}: {told:?}");
    }
    let (code, _, err) = asks(&socket, &["explain", "/_matrix/x"]);
    assert!(code == 1 && err.contains("is no URL"), "{err}");
}

#[test]
fn without_a_porchd_the_file_explains() {
    let (mut porch, _home, socket) = with_home();
    let url = "https://example.com/_matrix/client/versions";
    let (code, text, err) = alone(&porch, &["explain", url, "--offline"]);
    assert_eq!((code, &*err), (0, ""));
    assert!(text.contains("whether it is there was not asked"), "{text}");
    porch.halt();
    assert!(asks(&socket, &["status"]).2.contains("is porchd running?"));
    let (code, text, err) = alone(&porch, &["explain", url]);
    assert!(code == 0 && text.contains("forward to home"), "{text}");
    assert!(err.starts_with("no porchd answers: this is what "), "{err}");
}

/// An incident that lasts, as an earlier porchd has written it.
const KEPT: &str = r#"{"version":1,"incidents":[
{"id":41,"upstream":"home","began":"2026-11-28T14:02:11Z","end":"lasts","lasted_ms":43200,"causes":[{"at":"2026-11-28T14:02:11Z","token":"refused","text":"connection refused"}],"requests":{"parked":3,"delivered":1,"failed":1,"left":1,"longest_wait_ms":41234}}
]}
"#;

#[test]
fn incidents_survive_restarts() {
    let home = Home::new(|_| ok("{}"));
    let folder = crate::tls::Folder::new();
    std::fs::create_dir_all(&folder.0).expect("a folder");
    std::fs::write(folder.0.join("incidents.json"), KEPT).expect("a file");
    let text = matrix(&home, &format!("{SOCKET}\nstate_dir: {}", folder.0.display()));
    let mut porch = Porch::new(&text);
    let socket = porch.folder().join("run/s");
    let kept: Vec<Incident> = json(&socket, &["incidents"]);
    assert_eq!((kept.len(), kept[0].id, kept[0].end, kept[0].ended), (1, 41, End::Restart, None));
    let (_, text, _) = asks(&socket, &["incidents"]);
    assert!(text.contains("2026-11-28 14:02:11  >43 s ") && text.contains("connection refused"), "{text}");
    assert!(status(&socket).incidents == kept);
    porch.halt();
    let written = std::fs::read_to_string(folder.0.join("incidents.json")).expect("it is kept");
    assert!(written.contains("\"restart\""), "{written}");
    let (code, out, err) = alone(&porch, &["incidents", "--json"]);
    assert_eq!(
        (code, &*err),
        (0, &*format!("no porchd answers: this is what {} remembers\n", folder.0.display()))
    );
    assert_eq!(serde_json::from_str::<Vec<Incident>>(&out).expect("JSON"), kept);
    let (_, out, _) = alone(&porch, &["incidents", "--since", "1h"]);
    assert_eq!(out, "no incident within 1h\n");
}

#[test]
fn damaged_incidents_keep_nobody_from_starting() {
    let home = Home::new(|_| ok("{}"));
    let folder = crate::tls::Folder::new();
    std::fs::create_dir_all(&folder.0).expect("a folder");
    std::fs::write(folder.0.join("incidents.json"), "{\"version\":1,\"inc").expect("a file");
    let porch = Porch::new(&matrix(&home, &format!("{SOCKET}\nstate_dir: {}", folder.0.display())));
    let socket = porch.folder().join("run/s");
    assert_eq!(asks(&socket, &["incidents"]), (0, "no incident yet\n".into(), String::new()));
    assert!(folder.0.join("incidents.json.broken").exists());
}
