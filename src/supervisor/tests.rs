//! Tests of the whole: a porch in this process, its configuration in memory, plain listeners on loopback.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::config::model::home::WireGuard;
use crate::home::tunnel::{Reading, TunnelError};
use crate::os::folder::Folder;
use crate::os::socket;
use crate::provision::{PemPair, Provision, ProvisionError};
use crate::supervisor::{Options, ReloadError, Running, start};

/// Provision with nothing but a text and the right to bind.
struct Memory {
    text: Arc<Mutex<String>>,
    binds: Arc<AtomicUsize>,
}

impl Provision for Memory {
    fn configuration(&mut self) -> Result<String, ProvisionError> {
        Ok(self.text.lock().unwrap().clone())
    }

    fn listen(&mut self, addr: SocketAddr, copies: usize) -> Result<Vec<TcpListener>, ProvisionError> {
        self.binds.fetch_add(1, Ordering::Relaxed);
        socket::listen(addr, copies).map_err(|source| ProvisionError::Bind { addr, source })
    }

    fn key_pair(&mut self, cert: &Path, _: &Path) -> Result<PemPair, ProvisionError> {
        Err(missing(cert))
    }

    fn log_file(&mut self, path: &Path) -> Result<File, ProvisionError> {
        Err(missing(path))
    }

    fn public_file(&mut self, path: &Path) -> Result<Vec<u8>, ProvisionError> {
        Err(missing(path))
    }

    fn secret_file(&mut self, path: &Path) -> Result<Vec<u8>, ProvisionError> {
        Err(missing(path))
    }

    fn state_folder(&mut self, path: &Path) -> Result<Folder, ProvisionError> {
        Err(missing(path))
    }

    fn tunnel(&mut self, wireguard: &WireGuard) -> Result<Reading, ProvisionError> {
        Err(TunnelError::NoInterface { interface: wireguard.interface.to_string() }.into())
    }

    fn control_socket(&mut self, path: &Path, _: bool) -> Result<Option<UnixListener>, ProvisionError> {
        Err(missing(path))
    }
}

fn missing(path: &Path) -> ProvisionError {
    ProvisionError::File { path: path.to_owned(), source: std::io::ErrorKind::NotFound.into() }
}

/// A running porch and its text.
struct Instance {
    text: Arc<Mutex<String>>,
    binds: Arc<AtomicUsize>,
    running: Running,
}

impl Instance {
    fn new(text: &str) -> Self {
        let (text, binds) = (Arc::new(Mutex::new(text.to_owned())), Arc::default());
        let memory = Memory { text: Arc::clone(&text), binds: Arc::clone(&binds) };
        let running = start(Box::new(memory), Options::embedded()).unwrap();
        Self { text, binds, running }
    }

    fn reload(&self, text: &str) -> Result<Vec<String>, ReloadError> {
        text.clone_into(&mut self.text.lock().unwrap());
        self.running.reload()
    }

    fn address(&self, listener: &str) -> SocketAddr {
        let addresses = self.running.addresses();
        addresses.iter().find(|(name, _)| name == listener).unwrap().1[0]
    }

    fn stop(self) {
        self.running.stop();
        assert_eq!(format!("{:?}", self.running.wait()), format!("{:?}", ExitCode::SUCCESS));
    }
}

/// A configuration with these listeners and their settings, that answers `body` on all of them.
fn text(listeners: &[(&str, &str)], body: &str, more: &str) -> String {
    let names: Vec<&str> = listeners.iter().map(|(name, _)| *name).collect();
    let listeners: String =
        listeners.iter().map(|(name, settings)| format!("  {name}: {{ {settings} }}\n")).collect();
    let names = names.join(", ");
    let site = format!("hosts: [ a.example ], listeners: [ {names} ]");
    let route = format!("path: /, respond: {{ status: 200, body: '{body}' }}");
    format!("threads: 2\nlisteners:\n{listeners}sites: [ {{ {site}, routes: [ {{ {route} }} ] }} ]\n{more}\n")
}

const ANY: &str = "bind: [ '127.0.0.1:0' ]";

/// A free address. Nobody else binds on this host, so a port that was free a moment ago still is.
fn apart() -> SocketAddr {
    static NEXT: AtomicU8 = AtomicU8::new(2);
    let host = [127, 0, 0, NEXT.fetch_add(1, Ordering::Relaxed)];
    TcpListener::bind(SocketAddr::from((host, 0))).unwrap().local_addr().unwrap()
}

fn bind(addr: SocketAddr) -> String {
    format!("bind: [ '{addr}' ]")
}

fn connect(addr: SocketAddr) -> TcpStream {
    let client = TcpStream::connect(addr).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    client
}

/// Sends a request and reads until `end` has come.
fn get(client: &mut TcpStream, end: &str) -> String {
    client.write_all(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(end.as_bytes()) {
        let mut byte = [0];
        client.read_exact(&mut byte).unwrap_or_else(|error| {
            panic!("{error} after {:?}", String::from_utf8_lossy(&answer));
        });
        answer.extend(byte);
    }
    String::from_utf8(answer).unwrap()
}

#[test]
fn both_modes_serve_reload_and_stop() {
    for mode in ["per-thread", "single"] {
        let more = format!("accept: {mode}");
        let instance = Instance::new(&text(&[("http", ANY)], "one.", &more));
        let addr = instance.address("http");
        let mut kept = connect(addr);
        get(&mut kept, "one.");
        let changes = instance.reload(&text(&[("http", ANY)], "two.", &more)).unwrap();
        assert_eq!(changes, ["sites: changed a.example"], "{mode}");
        get(&mut kept, "two.");
        get(&mut connect(addr), "two.");
        assert_eq!(instance.address("http"), addr);
        instance.stop();
        assert!(TcpStream::connect(addr).is_err(), "{mode}");
        let mut rest = String::new();
        assert_eq!(kept.read_to_string(&mut rest).unwrap(), 0, "{mode}: an idle connection is closed");
    }
}

#[test]
fn refused_reloads_change_nothing_and_say_why() {
    let listeners = [("http", ANY)];
    let instance = Instance::new(&text(&listeners, "old.", ""));
    let addr = instance.address("http");
    let mut kept = connect(addr);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = bind(taken.local_addr().unwrap());
    let own = bind(SocketAddr::new([0, 0, 0, 0].into(), addr.port()));
    let new = |more: &str| text(&listeners, "new.", more);
    let cases = [
        ("syntax", "sites: [".to_owned(), "porchd.yaml"),
        ("empty", String::new(), "nothing to serve"),
        ("threads", new("").replace("threads: 2", "threads: 3"), "threads: 2 -> 3"),
        ("accept", new("accept: single"), "accept: per-thread -> single"),
        ("state_dir", new("state_dir: /no/state"), "-> /no/state"),
        ("certificate", new("tls: { certificates: [ { cert: /no.crt, key: /no.key } ] }"), "/no.crt"),
        ("log", new("log: { to: /no/such.log }"), "/no/such.log"),
        ("taken", text(&[("http", ANY), ("more", &taken)], "new.", ""), "in use"),
        ("own", text(&[("other", &own)], "new.", ""), "listener \"http\" of the old configuration holds"),
        (
            "ca_file",
            new("upstreams: { home: { backends: [ '127.0.0.1:1' ], tls: { ca_file: /no.pem } } }"),
            "/no.pem",
        ),
    ];
    for (what, text, why) in cases {
        let refused = instance.reload(&text).unwrap_err().to_string();
        assert!(refused.contains(why), "{what}: {refused}");
        get(&mut kept, "old.");
        get(&mut connect(addr), "old.");
        assert_eq!(instance.running.addresses(), [("http".to_owned(), vec![addr])], "{what}");
    }
    instance.reload(&new("")).unwrap();
    get(&mut kept, "new.");
    instance.stop();
}

#[test]
fn changed_binds_leave_the_listener_and_its_connections_alone() {
    let fixed = apart();
    let instance = Instance::new(&text(&[("http", ANY)], "one.", ""));
    let first = instance.address("http");
    let mut kept = connect(first);
    get(&mut kept, "one.");
    let both = format!("bind: [ '127.0.0.1:0', '{fixed}' ]");
    instance.reload(&text(&[("http", &both)], "two.", "")).unwrap();
    assert_eq!(instance.running.addresses(), [("http".to_owned(), vec![first, fixed])]);
    get(&mut connect(fixed), "two.");
    get(&mut kept, "two.");
    instance.reload(&text(&[("http", &bind(fixed))], "three.", "")).unwrap();
    assert_eq!(instance.running.addresses(), [("http".to_owned(), vec![fixed])]);
    assert!(TcpStream::connect(first).is_err());
    let answer = get(&mut kept, "three.");
    assert!(!answer.to_lowercase().contains("connection: close"), "its listener stays: {answer}");
    instance.stop();
}

#[test]
fn listener_comes_goes_and_comes_again() {
    let instance = Instance::new(&text(&[("http", ANY)], "one.", ""));
    for _ in 0..3 {
        instance.reload(&text(&[("http", ANY), ("more", ANY)], "two.", "")).unwrap();
        let added = instance.address("more");
        get(&mut connect(added), "two.");
        instance.reload(&text(&[("http", ANY)], "one.", "")).unwrap();
        assert!(TcpStream::connect(added).is_err());
    }
    instance.stop();
}

#[test]
fn failed_start_says_why_and_leaves_nothing_open() {
    let first = Instance::new(&text(&[("http", ANY)], "one.", ""));
    let held = first.address("http");
    let free = apart();
    let text = text(&[("free", &bind(free)), ("held", &bind(held))], "two.", "");
    let refused = start(
        Box::new(Memory { text: Arc::new(Mutex::new(text)), binds: Arc::default() }),
        Options::embedded(),
    )
    .unwrap_err();
    assert!(refused.to_string().contains(&held.to_string()), "{refused}");
    assert!(TcpStream::connect(free).is_err());
    get(&mut connect(held), "one.");
    first.stop();
}

#[test]
fn second_stop_ends_at_once() {
    let instance = Instance::new(&text(&[("http", ANY)], "one.", "drain: { stop: 1h }"));
    let mut client = connect(instance.address("http"));
    client.write_all(b"GET / HTTP/1.1\r\nHost: a.exa").unwrap();
    instance.running.stop();
    assert!(matches!(instance.running.reload(), Err(ReloadError::Stopping)));
    instance.stop();
    let mut rest = Vec::new();
    let _ = client.read_to_end(&mut rest);
}

#[test]
fn porch_that_nobody_waits_for_ends() {
    let Instance { running, .. } = Instance::new(&text(&[("http", ANY)], "one.", ""));
    let addr = running.addresses()[0].1[0];
    let mut client = connect(addr);
    get(&mut client, "one.");
    drop(running);
    let mut rest = String::new();
    assert_eq!(client.read_to_string(&mut rest).unwrap(), 0);
}

#[test]
fn reload_that_fails_elsewhere_opens_no_address() {
    let instance = Instance::new(&text(&[("http", ANY)], "old.", ""));
    let bad = "upstreams: { home: { backends: [ '127.0.0.1:1' ], tls: { ca_file: /no.pem } } }";
    instance.reload(&text(&[("http", ANY), ("more", ANY)], "new.", bad)).unwrap_err();
    assert_eq!(instance.binds.load(Ordering::Relaxed), 1);
    instance.stop();
}

#[test]
fn connection_on_its_way_is_served_when_its_listener_goes() {
    let proxied = format!("{ANY}, proxy_protocol: {{ from: [ 127.0.0.0/8 ] }}");
    let instance = Instance::new(&text(&[("http", ANY), ("more", &proxied)], "one.", ""));
    let mut client = connect(instance.address("more"));
    instance.reload(&text(&[("http", ANY)], "two.", "")).unwrap();
    client.write_all(b"PROXY UNKNOWN\r\n").unwrap();
    let answer = get(&mut client, "one.");
    assert!(answer.to_lowercase().contains("connection: close"), "{answer}");
    instance.stop();
}

#[test]
fn listener_that_comes_again_outlives_the_deadline_of_the_old_one() {
    let drain = "drain: { reload: 50ms }";
    let both = [("http", ANY), ("more", ANY)];
    let instance = Instance::new(&text(&both, "one.", drain));
    let mut old = connect(instance.address("more"));
    get(&mut old, "one.");
    instance.reload(&text(&[("http", ANY)], "two.", drain)).unwrap();
    instance.reload(&text(&both, "three.", drain)).unwrap();
    let mut new = connect(instance.address("more"));
    get(&mut new, "three.");
    assert_eq!(old.read(&mut [0]).unwrap(), 0, "closed at its deadline");
    get(&mut new, "three.");
    instance.stop();
}

#[test]
fn listener_that_begins_to_speak_tls_lets_plain_connections_go() {
    let ca = "tls: { internal_ca: true }";
    let instance = Instance::new(&text(&[("http", ANY)], "one.", ca));
    let mut kept = connect(instance.address("http"));
    get(&mut kept, "one.");
    instance.reload(&text(&[("http", &format!("{ANY}, tls: true"))], "two.", ca)).unwrap();
    let answer = get(&mut kept, "two.");
    assert!(answer.to_lowercase().contains("connection: close"), "{answer}");
    instance.stop();
}

#[test]
fn renamed_listener_keeps_its_sockets() {
    for mode in ["per-thread", "single"] {
        let more = format!("accept: {mode}");
        let fixed = apart();
        let instance = Instance::new(&text(&[("web", &bind(fixed))], "one.", &more));
        let mut kept = connect(fixed);
        get(&mut kept, "one.");
        instance.reload(&text(&[("http", &bind(fixed))], "two.", &more)).unwrap();
        assert_eq!(instance.running.addresses(), [("http".to_owned(), vec![fixed])], "{mode}");
        assert_eq!(instance.binds.load(Ordering::Relaxed), 1, "{mode}");
        get(&mut connect(fixed), "two.");
        let last = get(&mut kept, "one.");
        assert!(last.to_lowercase().contains("connection: close"), "{mode}: its listener is gone: {last}");
        instance.stop();
    }
}
