//! The real binary as a child: its command line, its signals, what it tells the service manager.

use std::fs::{create_dir_all, read_to_string, remove_dir_all, write};
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};

use crate::client::Client;
use crate::home::{Act, Home, later, ok};
use crate::patience::{PATIENCE, until};

pub(crate) fn porchd(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_porchd"));
    command.args(arguments).stdin(Stdio::null());
    command.env_remove("NOTIFY_SOCKET");
    command
}

fn output(arguments: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = porchd(arguments).output().expect("the binary starts");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (status.code().expect("it exits by itself"), text(stdout), text(stderr))
}

fn signal(child: &Child, name: &str) {
    let done = Command::new("kill").args([&format!("-{name}"), &child.id().to_string()]).status();
    assert!(done.expect("there is a kill").success(), "{name}");
}

/// A folder of the test's own.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn path(&self) -> &std::path::Path {
        &self.0
    }

    pub(crate) fn new() -> Self {
        let path = std::env::temp_dir().join(format!("porchd-process-{:016x}", porchd::clock::random()));
        create_dir_all(&path).expect("a folder");
        Self(path)
    }

    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        write(&path, text.replace("$DIR", &self.0.display().to_string())).expect("written");
        path.display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = remove_dir_all(&self.0);
    }
}

/// A child and the lines that it says.
pub(crate) struct Said {
    child: Child,
    lines: Receiver<String>,
    heard: String,
}

impl Said {
    /// The process' id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn start(mut command: Command) -> Self {
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary starts");
        let (tell, lines) = channel();
        let (out, err) = (child.stdout.take().expect("piped"), child.stderr.take().expect("piped"));
        let other = tell.clone();
        std::thread::spawn(move || {
            BufReader::new(out).lines().map_while(Result::ok).try_for_each(|line| other.send(line))
        });
        std::thread::spawn(move || {
            BufReader::new(err).lines().map_while(Result::ok).try_for_each(|line| tell.send(line))
        });
        Self { child, lines, heard: String::new() }
    }

    /// Waits for a line with this in it; the line.
    fn wait_for(&mut self, text: &str) -> String {
        loop {
            let line = self.lines.recv_timeout(PATIENCE);
            let line = line.unwrap_or_else(|_| panic!("it never said {text:?}:\n{}", self.heard));
            self.heard.push_str(&line);
            self.heard.push('\n');
            if line.contains(text) {
                return line;
            }
        }
    }

    /// Waits for its end; the exit status and all that it said.
    pub(crate) fn end(&mut self) -> (Option<i32>, &str) {
        while let Ok(line) = self.lines.recv_timeout(PATIENCE) {
            self.heard.push_str(&line);
            self.heard.push('\n');
        }
        // Its pipes are closed, or patience is over.
        let begun = porchd::clock::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return (status.code(), &self.heard);
            }
            assert!(begun.elapsed() < PATIENCE, "it does not end:\n{}", self.heard);
            std::thread::yield_now();
        }
    }
}

impl Drop for Said {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `porchd run` under a service manager that is the test.
struct Daemon {
    said: Said,
    manager: UnixDatagram,
    folder: Folder,
    address: SocketAddr,
}

impl Daemon {
    fn run(text: &str) -> Self {
        let folder = Folder::new();
        let file = folder.file("porchd.yaml", text);
        let socket = folder.0.join("notify");
        let manager = UnixDatagram::bind(&socket).expect("a socket");
        manager.set_read_timeout(Some(PATIENCE)).expect("a socket");
        let mut command = porchd(&["run", "--one-process", "-f", &file]);
        command.env("NOTIFY_SOCKET", &socket);
        let said = Said::start(command);
        let mut daemon = Self { said, manager, folder, address: SocketAddr::from(([0, 0, 0, 0], 0)) };
        let ready = daemon.told();
        assert!(ready.starts_with("READY=1\n"), "{ready}");
        let address = ready.split("http on ").nth(1).and_then(|rest| rest.split(';').next());
        daemon.address = address.and_then(|text| text.trim().parse().ok()).expect("an address in the status");
        daemon
    }

    /// What the service manager is told next.
    fn told(&mut self) -> String {
        let mut message = [0; 4096];
        let Ok(length) = self.manager.recv(&mut message) else {
            panic!("the service manager was told nothing:\n{:?}", self.said.end());
        };
        String::from_utf8_lossy(&message[..length]).into_owned()
    }

    fn configure(&self, text: &str) {
        self.folder.file("porchd.yaml", text);
    }

    fn signal(&self, name: &str) {
        signal(&self.said.child, name);
    }

    fn connect(&self) -> Client {
        Client::plain(self.address)
    }
}

const LISTENER: &str = "listeners:\n  http: { bind: [ \"127.0.0.1:0\" ] }\n";

/// A site in the clear that answers with `body`, and what `more` says.
fn site(body: &str, more: &str) -> String {
    format!(
        "{LISTENER}{more}sites:\n  - hosts: [ example.com ]\n    listeners: [ http ]\n    routes:\n\
         \x20     - {{ path: /, respond: {{ body: {body} }} }}\n"
    )
}

/// A site in the clear before a home.
fn before(home: &Home, more: &str) -> String {
    site("edge", &format!("upstreams: {{ home: {{ backends: [ \"{}\" ] }} }}\n{more}", home.address()))
        + "      - { path: /app/, forward: home }\n"
}

#[test]
fn version_is_said() {
    let (code, out, err) = output(&["version"]);
    assert_eq!((code, &*out, &*err), (0, &*format!("porchd {}\n", env!("CARGO_PKG_VERSION")), ""));
    let (code, _, err) = output(&["serve"]);
    assert!(code == 2 && err.contains("serve"), "{err}");
}

#[test]
fn check_says_what_is_wrong_by_its_status() {
    let folder = Folder::new();
    // Of a user that every system has: root would be told where the usual one is missing.
    let good = folder.file("good.yaml", &site("x", "user: root\n"));
    let (code, out, err) = output(&["check", "--offline", "-f", &good]);
    assert_eq!((code, &*err), (0, ""));
    assert!(out.contains("good.yaml: ok") && out.contains("example.com"), "{out}");
    let broken = folder.file("broken.yaml", &site("x", "drian: { stop: 5s }\nlimits: { body: 5 apples }\n"));
    let (code, out, err) = output(&["check", "--offline", "-f", &broken]);
    assert_eq!((code, &*out), (1, ""));
    for part in ["did you mean `drain`?", "5 apples", "broken.yaml:3:1", "2 errors"] {
        assert!(err.contains(part), "{part} in {err}");
    }
    let missing = folder.0.join("missing.yaml").display().to_string();
    for command in ["check", "run"] {
        let (code, out, err) = output(&[command, "-f", &missing]);
        assert_eq!((code, &*out), (1, ""), "{command}");
        assert!(
            err.contains(&missing) && err.contains("server_name:"),
            "{command} shows the least one: {err}"
        );
    }
}

#[test]
fn check_warns_of_a_user_that_is_not_there() {
    let folder = Folder::new();
    let file = folder.file("porchd.yaml", &site("x", "user: nobody-of-this-name\n"));
    let (code, out, err) = output(&["check", "--offline", "-f", &file]);
    assert!(code == 0 && out.contains("porchd.yaml: ok, with 1 warning"), "{out}");
    for part in
        ["warning: there is no user \"nobody-of-this-name\"", "porchd.yaml:3:7", "useradd", "--one-process"]
    {
        assert!(err.contains(part), "{part} in {err}");
    }
}

#[test]
fn an_expanded_configuration_loads_again_and_is_the_same() {
    let folder = Folder::new();
    let text = "matrix: { server_name: example.com, home: \"127.0.0.1:1\" }\ntls: { internal_ca: true }\n";
    let file = folder.file("porchd.yaml", text);
    let (code, expanded, err) = output(&["check", "--offline", "--expand", "-f", &file]);
    assert_eq!(code, 0, "{err}");
    assert!(expanded.contains("/_synapse") && expanded.contains("connect_timeout"), "{expanded}");
    let again = folder.file("again.yaml", &expanded);
    let (code, twice, err) = output(&["check", "--offline", "--expand", "-f", &again]);
    // The first line names the file.
    let body = |text: &str| text.split_once('\n').map(|(_, body)| body.to_owned());
    assert_eq!((code, body(&twice)), (0, body(&expanded)), "{err}");
}

#[test]
fn the_schema_is_json() {
    let (code, out, _) = output(&["schema"]);
    let schema: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(code, 0);
    for key in ["matrix", "listeners", "sites", "limits"] {
        assert!(schema["properties"][key].is_object(), "{key}");
    }
}

#[test]
fn the_service_manager_hears_of_every_state() {
    let mut daemon = Daemon::run(&site("one", ""));
    assert_eq!(daemon.connect().get("/").text(), "one");
    let monotonic = |text: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix("MONOTONIC_USEC="));
        value.and_then(|value| value.parse::<u64>().ok()).unwrap_or_else(|| panic!("no time: {text}"))
    };
    let mut last = 0;
    for body in ["two", "three"] {
        daemon.configure(&site(body, ""));
        daemon.signal("HUP");
        let reloading = daemon.told();
        assert!(reloading.contains("RELOADING=1") && monotonic(&reloading) > last, "{reloading}");
        last = monotonic(&reloading);
        assert!(daemon.told().starts_with("READY=1\n"));
        assert_eq!(daemon.connect().get("/").text(), body);
    }
    daemon.signal("TERM");
    assert!(daemon.told().contains("STOPPING=1"));
    let (code, said) = daemon.said.end();
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn a_broken_file_is_refused_in_one_block_and_serving_goes_on() {
    let mut daemon = Daemon::run(&site("old", ""));
    let mut standing = daemon.connect();
    assert_eq!(standing.get("/").text(), "old");
    for (text, says) in [
        ("sites: [ oh: ", "porchd.yaml:"),
        ("", "nothing to serve"),
        (&*site("new", "limist: {}\n"), "did you mean `limits`?"),
    ] {
        daemon.configure(text);
        daemon.signal("HUP");
        assert!(daemon.told().contains("RELOADING=1"));
        assert!(daemon.told().starts_with("READY=1\n"), "it is still there");
        daemon.said.wait_for("generation 1 goes on unchanged");
        daemon.said.wait_for(says);
        assert_eq!(standing.get("/").text(), "old");
        assert_eq!(daemon.connect().get("/").text(), "old");
    }
    daemon.configure(&site("new", ""));
    daemon.signal("HUP");
    daemon.said.wait_for("generation 2 is in force");
    assert_eq!(standing.get("/").text(), "new");
}

/// A home that hangs once, and what it is to answer.
fn hanging() -> (Home, std::sync::mpsc::Sender<Vec<u8>>) {
    let (answer, hang) = later();
    let hang = std::sync::Mutex::new(Some(hang));
    (Home::new(move |_| hang.lock().expect("no panic").take().map_or_else(|| ok("fine"), Act::Hang)), answer)
}

#[test]
fn a_stop_waits_for_what_is_in_flight() {
    let (home, answer) = hanging();
    let mut daemon = Daemon::run(&before(&home, "drain: { stop: 15s }\n"));
    let (mut idle, mut busy) = (daemon.connect(), daemon.connect());
    assert_eq!(idle.get("/").text(), "edge");
    busy.write("GET /app/x HTTP/1.1\r\nHost: example.com\r\n\r\n");
    until("home is asked", || !home.seen().is_empty());
    daemon.signal("TERM");
    assert!(daemon.told().contains("STOPPING=1"));
    assert!(idle.closed(), "an idle connection goes");
    answer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate".into()).expect("home waits");
    assert_eq!(busy.answer().text(), "late");
    assert!(busy.closed(), "it goes after its answer");
    let (code, said) = daemon.said.end();
    assert_eq!(code, Some(0), "{said}");
    assert!(std::net::TcpStream::connect(daemon.address).is_err(), "nobody listens any more");
}

#[test]
fn a_second_signal_ends_the_wait() {
    for (first, second) in [("TERM", "TERM"), ("INT", "TERM")] {
        let (home, _answer) = hanging();
        let mut daemon = Daemon::run(&before(&home, "drain: { stop: 1h }\n"));
        let mut busy = daemon.connect();
        busy.write("GET /app/x HTTP/1.1\r\nHost: example.com\r\n\r\n");
        until("home is asked", || !home.seen().is_empty());
        daemon.signal(first);
        assert!(daemon.told().contains("STOPPING=1"));
        daemon.said.wait_for("stopping");
        daemon.signal(second);
        assert_eq!(busy.answer().status, 503, "who waits is told");
        let (code, said) = daemon.said.end();
        assert_eq!(code, Some(0), "{said}");
    }
}

#[test]
fn a_port_that_is_taken_is_told_with_the_cure() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let daemon = Daemon::run(&site("first", ""));
    let folder = Folder::new();
    // Neither a stranger's port nor another porchd's is joined silently.
    for address in [taken.local_addr().expect("an address"), daemon.address] {
        let file =
            folder.file("porchd.yaml", &site("second", "").replace("127.0.0.1:0", &address.to_string()));
        let (code, out, err) = output(&["run", "-f", &file]);
        assert_eq!((code, &*out), (1, ""), "{err}");
        for part in [&*address.to_string(), "in use", "see what holds it"] {
            assert!(err.contains(part), "{part} in {err}");
        }
    }
    assert_eq!(daemon.connect().get("/").text(), "first");
}

#[test]
fn a_rotated_log_is_opened_again() {
    let log = "log: { to: $DIR/porchd.log, access: { file: $DIR/access.log } }\n";
    let mut daemon = Daemon::run(&site("x", log));
    let (diagnostics, access) = (daemon.folder.0.join("porchd.log"), daemon.folder.0.join("access.log"));
    assert!(read_to_string(&diagnostics).expect("a log").contains("ready"));
    for file in [&diagnostics, &access] {
        std::fs::rename(file, file.with_extension("old")).expect("renamed");
    }
    daemon.signal("USR1");
    until("the logs are opened again", || diagnostics.exists() && access.exists());
    assert_eq!(daemon.connect().get("/after").text(), "x");
    daemon.signal("TERM");
    assert!(daemon.told().contains("STOPPING=1"));
    assert_eq!(daemon.said.end().0, Some(0));
    let text = |file| read_to_string(file).expect("a log");
    assert!(text(&diagnostics).contains("stopped") && text(&access).contains("GET /after"));
    assert!(!text(&diagnostics.with_extension("old")).contains("stopped"));
}

#[test]
fn one_process_is_not_ended_by_what_asks_for_an_upgrade() {
    let mut daemon = Daemon::run(&site("x", ""));
    daemon.signal("USR2");
    daemon.said.wait_for("a porchd in one process cannot be upgraded; restart it");
    assert_eq!(daemon.connect().get("/").text(), "x");
    daemon.signal("TERM");
    assert_eq!(daemon.said.end().0, Some(0));
}

#[test]
fn the_demo_serves_what_it_prints_and_leaves_nothing() {
    // Below what systems give to those who ask for any port; several in a row have to be free.
    let first = 10_000 + std::process::id() % 20_000;
    let mut demo = Said::start(porchd(&["demo", "--port", &first.to_string()]));
    let folder = demo.wait_for("removes ");
    let folder = PathBuf::from(folder.split("removes ").nth(1).expect("a folder").trim());
    demo.wait_for("Every request as it passes");
    let mut roots = rustls::RootCertStore::empty();
    let ca = std::fs::read(folder.join("ca.pem")).expect("a CA");
    for certificate in rustls::pki_types::pem::PemObject::pem_slice_iter(&ca) {
        roots.add(certificate.expect("a certificate")).expect("a root");
    }
    let roots = std::sync::Arc::new(roots);
    let urls: Vec<String> = demo
        .heard
        .lines()
        .filter(|line| line.contains("curl ") && !line.contains("PUT"))
        .filter_map(|line| line.split_whitespace().find(|word| word.contains("://localhost")))
        .map(|url| url.trim_matches('"').to_owned())
        .collect();
    assert!(urls.len() >= 6, "{}", demo.heard);
    for url in &urls {
        let (scheme, rest) = url.split_once("://").expect("a URL");
        let (host, path) = rest.split_once('/').expect("a path");
        let port: u16 = host.split_once(':').expect("a port").1.parse().expect("a number");
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let mut client = match scheme {
            "https" => Client::tls(address, "localhost", roots.clone()),
            _ => Client::plain(address),
        };
        // The poll is asked for without its wait.
        let path = path.replace("timeout=5000", "timeout=0");
        let answer = client.write(format!("GET /{path} HTTP/1.1\r\nHost: {host}\r\n\r\n")).answer();
        let expected = match () {
            () if scheme == "http" => 301,
            () if path.contains("admin") => 404,
            () => 200,
        };
        assert_eq!(answer.status, expected, "{url}: {answer:?}");
    }
    demo.wait_for("GET / HTTP/1.1");
    signal(&demo.child, "INT");
    let (code, said) = demo.end();
    assert_eq!(code, Some(0), "{said}");
    assert!(!folder.exists(), "the folder is gone");
}

#[test]
fn what_is_wrong_with_certificates_is_told_once() {
    let folder = Folder::new();
    let names = vec!["example.com".to_owned()];
    let mut params = rcgen::CertificateParams::new(names).expect("a name");
    params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    let key = rcgen::KeyPair::generate().expect("a key");
    let (cert, key_file) =
        (folder.file("old.pem", &params.self_signed(&key).expect("signed").pem()), folder.0.join("old.key"));
    write(&key_file, key.serialize_pem()).expect("written");
    let pair = format!("{{ cert: {cert}, key: {} }}", key_file.display());
    let text = site("x", &format!("tls: {{ certificates: [ {pair} ] }}\nadmin: {{ socket: $DIR/s }}\n"))
        .replace("http: {", "https: { bind: [ \"127.0.0.1:0\" ], tls: true }\n  http: {")
        .replace("[ http ]", "[ http, https ]");
    let daemon = folder.file("porchd.yaml", &text);
    let mut said = Said::start(porchd(&["run", "-f", &daemon]));
    said.wait_for("ready: ");
    // It looks at them right after the start, and answers this behind that.
    let socket = folder.0.join("s").display().to_string();
    for _ in 0..2 {
        let (code, _, err) = output(&["reload", "-s", &socket]);
        assert!(code == 0 && err.contains("old.pem"), "{err}");
    }
    signal(&said.child, "TERM");
    let (code, heard) = said.end();
    assert_eq!((code, heard.matches("old.pem expired").count()), (Some(0), 3), "{heard}");
}
