//! The control socket of a porchd that runs: reloads and certificates asked for by the commands, as real processes.

use std::io::Read;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use porchd::acme::status::{CertificateStatus, Source, State};
use rustls::version::TLS13;

use crate::patience::until;
use crate::porch::Porch;
use crate::tls::{Folder, Shaken, certificate, config};

/// Exit status, standard output and standard error of `porchd ARGUMENTS -s SOCKET`.
pub(crate) fn asks(socket: &Path, arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_porchd"));
    command.args(arguments).arg("-s").arg(socket).stdin(Stdio::null());
    let Output { status, stdout, stderr } = command.output().expect("the binary starts");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (status.code().expect("it exits by itself"), text(stdout), text(stderr))
}

fn certificates(socket: &Path) -> Vec<CertificateStatus> {
    let (code, out, err) = asks(socket, &["certs", "--json"]);
    assert_eq!((code, &*err), (0, ""));
    serde_json::from_str(&out).expect("JSON")
}

fn answering(body: &str, more: &str) -> String {
    format!(
        "sites:\n  - hosts: [ example.com ]\n    routes: [ {{ path: /, respond: {{ body: {body} }} }} ]\n{more}\n"
    )
}

const NOTHING: &str = "nothing changed in the configuration\n";
const SOCKET: &str = "admin: { socket: $DIR/run/s }";

#[test]
fn a_reload_is_in_force_when_the_command_ends() {
    let porch = Porch::new(&answering("old", SOCKET));
    let socket = porch.folder().join("run/s");
    let mode = std::fs::metadata(&socket).expect("a socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    assert_eq!(asks(&socket, &["reload"]), (0, NOTHING.into(), String::new()));
    porch.configure(&answering("new", SOCKET));
    assert_eq!(asks(&socket, &["reload"]), (0, "sites: changed example.com\n".into(), String::new()));
    assert_eq!(porch.connect().get("/").text(), "new");
}

#[test]
fn a_refused_reload_changes_nothing_and_tells_every_error() {
    let porch = Porch::new(&answering("old", SOCKET));
    let socket = porch.folder().join("run/s");
    porch.configure(&answering("new", &format!("{SOCKET}\ndrian: {{}}\nlimits: {{ body: 5 apples }}")));
    let (code, out, err) = asks(&socket, &["reload"]);
    assert_eq!((code, &*out), (1, ""));
    for part in ["did you mean `drain`?", "5 apples", "2 errors"] {
        assert!(err.contains(part), "{part} in {err}");
    }
    porch.configure(&answering("new", &format!("{SOCKET}\nthreads: 3")));
    let (code, _, err) = asks(&socket, &["reload"]);
    assert!(code == 1 && err.contains("threads: 2 -> 3"), "{err}");
    assert_eq!(porch.connect().get("/").text(), "old");
}

#[test]
fn the_socket_moves_with_a_reload_which_is_still_answered() {
    let porch = Porch::new(&answering("x", SOCKET));
    let (first, second) = (porch.folder().join("run/s"), porch.folder().join("other/s"));
    porch.configure(&answering("x", "admin: { socket: $DIR/other/s }"));
    let (code, out, err) = asks(&first, &["reload"]);
    assert_eq!((code, &*err), (0, ""));
    assert!(out.contains("admin"), "{out}");
    assert_eq!(asks(&second, &["reload"]), (0, NOTHING.into(), String::new()));
    let (code, _, err) = asks(&first, &["reload"]);
    assert!(code == 1 && err.contains("is porchd running?"), "{err}");
    // Back to a path where the old socket still lies.
    porch.configure(&answering("x", SOCKET));
    assert_eq!(asks(&second, &["reload"]).0, 0);
    assert_eq!(asks(&first, &["certs"]).0, 0);
    porch.configure(&answering("x", "admin: { socket: false }"));
    assert_eq!(asks(&first, &["reload"]).0, 0, "the last one is answered too");
    let (code, _, err) = asks(&first, &["certs"]);
    assert!(code == 1 && err.contains("is porchd running?"), "{err}");
}

#[test]
fn a_socket_that_nobody_serves_is_replaced_and_one_that_is_served_is_not() {
    let folder = Folder::new();
    std::fs::create_dir(&folder.0).expect("a folder");
    let socket = folder.0.join("s");
    let text = answering("x", &format!("admin: {{ socket: {} }}", socket.display()));
    drop(UnixListener::bind(&socket).expect("a socket"));
    let porch = Porch::new(&text);
    assert_eq!(asks(&socket, &["certs"]).0, 0);
    let refused = Porch::start(&text).err().expect("it is served").to_string();
    assert!(refused.starts_with("admin.socket: ") && refused.contains("another porchd answers"), "{refused}");
    assert_eq!(asks(&socket, &["certs"]).0, 0, "the first one is unharmed");
    // A reload to a path where something else is changes nothing.
    std::fs::write(folder.0.join("file"), "").expect("a file");
    let moved = answering("y", &format!("admin: {{ socket: {} }}", folder.0.join("file").display()));
    porch.configure(&moved);
    let (code, _, err) = asks(&socket, &["reload"]);
    assert!(code == 1 && err.contains("this is no socket"), "{err}");
    assert_eq!(porch.connect().get("/").text(), "x");
}

#[test]
fn certificates_that_nobody_orders_are_listed() {
    let folder = Folder::new();
    certificate(&folder.0, "one", &["one.test", "*.one.test"]);
    let at = folder.0.display();
    let sites = "  - hosts: [ one.test ]\n    routes: [ { path: /, respond: { body: x } } ]\n";
    let tls = format!(
        "tls: {{ internal_ca: true, certificates: [ {{ cert: {at}/one.pem, key: {at}/one.key }} ] }}"
    );
    let porch = Porch::new(&answering("x", &format!("{sites}{tls}\n{SOCKET}")));
    let socket = porch.folder().join("run/s");
    let listed = certificates(&socket);
    let seen: Vec<_> = listed.iter().map(|one| (one.source, one.state, one.names.join(" "))).collect();
    assert_eq!(
        seen,
        [
            (Source::File, State::Valid, "one.test *.one.test".to_owned()),
            (Source::InternalCa, State::Valid, "127.0.0.1 ::1 example.com localhost".to_owned()),
        ]
    );
    assert_eq!(listed[0].name, format!("{at}/one.pem"));
    let (code, out, _) = asks(&socket, &["certs"]);
    assert!(code == 0 && out.contains("one.pem") && out.contains("*.one.test"), "{out}");
    for arguments in [&["certs", "renew", "--all"][..], &["certs", "revoke", "one.test", "--yes"]] {
        let (code, out, err) = asks(&socket, arguments);
        assert!((code, &*out) == (1, "") && err.contains("no `acme` section"), "{err}");
    }
}

/// A CA that hangs up on whoever calls; the URL of its directory.
fn dead_ca() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || listener.incoming().for_each(drop));
    format!("https://{address}/directory")
}

/// Orders for `[::1]` alone: an address needs no resolver, and where nobody listens on IPv6 it is not asked.
fn ordering(state: &str, ca: &str, more: &str) -> String {
    format!(
        "sites:\n  - hosts: [ \"[::1]\" ]\n    routes: [ {{ path: /, respond: {{ body: x }} }} ]\n\
         acme: {{ contact: admin@one.test, directory: \"{ca}\" }}\nstate_dir: {state}\n\
         listeners:\n  http: {{ bind: [ \"127.0.0.1:0\" ] }}\n  https: {{ bind: [ \"127.0.0.1:0\" ], tls: true }}\n\
         {SOCKET}\n{more}\n"
    )
}

#[test]
fn a_stand_in_answers_until_the_first_certificate_is_there() {
    let ca = dead_ca();
    let text = ordering("$DIR/state", &ca, "tls: {}");
    let porch = Porch::new(&text);
    let socket = porch.folder().join("run/s");
    // Each a client of its own: none resumes what another was shown.
    let any = || Arc::new(config(&[&TLS13]));
    let mut client = Shaken::new(&porch, &any(), "::1").expect("a handshake");
    let shown = client.certificate();
    let stand_in = "porchd stand-in: no certificate yet";
    assert!(shown.windows(stand_in.len()).any(|part| part == stand_in.as_bytes()));
    assert_eq!(client.status("[::1]"), 200);
    let mut plain = porch.connect_plain("http");
    plain.write("GET / HTTP/1.1\r\nHost: [::1]\r\n\r\n");
    assert_eq!(plain.answer().status, 301, "the plain listener works");
    until("it tells of a failure", || certificates(&socket)[0].last_error.is_some());
    let status = certificates(&socket).remove(0);
    assert_eq!((&*status.name, status.source), ("[::1]", Source::Acme));
    assert!(matches!(status.state, State::Missing | State::Ordering), "{status:?}");
    let (code, out, err) = asks(&socket, &["certs", "renew", "--all", "--wait"]);
    assert_eq!((code, &*out), (1, ""));
    assert!(err.starts_with("[::1]: no certificate: cannot reach 127.0.0.1:"), "{err}");
    let (code, _, err) = asks(&socket, &["certs", "revoke", "[::1]", "--yes"]);
    assert!(code == 1 && err.contains("there is no certificate for [::1] yet"), "{err}");
    assert_eq!(porch.reload(&text).expect("a good configuration"), [NOTHING.trim()]);
    let again = Shaken::new(&porch, &any(), "::1").expect("a handshake").certificate();
    assert!(again == shown, "a reload keeps the stand-in");
    // A file takes its place, and nothing is ordered any more.
    let own = certificate(porch.folder(), "own", &["::1"]);
    let tls = "tls: { certificates: [ { cert: $DIR/own.pem, key: $DIR/own.key } ] }";
    porch.reload(&ordering("$DIR/state", &ca, tls)).expect("a good configuration");
    assert!(Shaken::new(&porch, &any(), "::1").expect("a handshake").certificate() == own);
    let sources: Vec<_> = certificates(&socket).iter().map(|status| status.source).collect();
    assert_eq!(sources, [Source::File]);
}

#[test]
fn a_state_folder_has_one_porch() {
    let ca = dead_ca();
    let mut porch = Porch::new(&ordering("$DIR/state", &ca, "tls: {}"));
    let state = porch.folder().join("state");
    let mode = std::fs::metadata(&state).expect("a folder").permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    let mut readme = String::new();
    let mut file = std::fs::File::open(state.join("README")).expect("it explains itself");
    file.read_to_string(&mut readme).expect("text");
    assert!(readme.contains("ledger.json"));
    let second = ordering(&state.display().to_string(), &ca, "tls: {}");
    let refused = Porch::start(&second).err().expect("it is held").to_string();
    let pid = std::process::id();
    assert!(refused.contains(&format!("another porchd (process {pid}) uses it")), "{refused}");
    // One that needs it from a reload on is refused that reload.
    let without: String =
        second.lines().filter(|line| !line.starts_with("acme:")).map(|line| line.to_owned() + "\n").collect();
    let other = Porch::new(&without.replace("tls: {}", "tls: { internal_ca: true }"));
    let refused = other.reload(&second).expect_err("it is held");
    assert!(refused.contains("another porchd"), "{refused}");
    porch.halt();
    other.reload(&second).expect("it is free");
}
