//! Warden and edge as the processes that they are: reload, crash, upgrade, stop. As root, the edge is another user.

use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::home::own_loopback;
use crate::patience::{PATIENCE, until};
use crate::process::{Folder, Said, porchd};

/// A porchd of two processes.
struct Pair {
    said: Said,
    folder: Folder,
    address: SocketAddr,
}

const TEXT: &str = "listeners: { http: { bind: [ \"127.0.0.1:0\" ] } }\n\
state_dir: $DIR/state\nadmin: { socket: $DIR/s }\n\
log: { to: $DIR/porchd.log, access: { file: $DIR/access.log } }\n\
sites:\n  - hosts: [ a.example ]\n    listeners: [ http ]\n    routes:\n      \
- { path: /, respond: { status: 200, body: \"one\" } }\n";

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|this| this.uid() == 0)
}

impl Pair {
    fn start() -> Self {
        Self::run(TEXT, Path::new(env!("CARGO_BIN_EXE_porchd")))
    }

    fn run(text: &str, program: &Path) -> Self {
        Self::run_by(text, |file| {
            let mut command = Command::new(program);
            command.args(["run", "-f", file]).stdin(Stdio::null()).env_remove("NOTIFY_SOCKET");
            command
        })
    }

    fn run_by(text: &str, command: impl FnOnce(&str) -> Command) -> Self {
        let folder = Folder::new();
        let user = if is_root() { "user: nobody\n" } else { "" };
        let file = folder.file("porchd.yaml", &format!("{user}{text}"));
        let mut pair = Self { said: Said::start(command(&file)), folder, address: ([0, 0, 0, 0], 0).into() };
        let ready = pair.logged("ready: http on ");
        let address = ready.split("http on ").nth(1).and_then(|rest| rest.split(';').next());
        pair.address = address.and_then(|text| text.trim().parse().ok()).expect("an address");
        pair
    }

    /// Waits for a line of the log with `text` in it.
    fn logged(&self, text: &str) -> String {
        let path = self.folder.path().join("porchd.log");
        let find = || {
            let log = fs::read_to_string(&path).unwrap_or_default();
            log.lines().rfind(|line| line.contains(text)).map(str::to_owned)
        };
        until(text, || find().is_some());
        find().expect("it was found")
    }

    fn times_logged(&self, text: &str) -> usize {
        fs::read_to_string(self.folder.path().join("porchd.log")).unwrap_or_default().matches(text).count()
    }

    fn ask(&self, command: &str) -> Output {
        let file = self.folder.path().join("porchd.yaml");
        porchd(&[command, "-f", &file.display().to_string()]).output().expect("it runs")
    }

    fn signal(&self, name: &str) {
        signal(&self.said.id().to_string(), name);
    }

    /// The edges of this porchd: children of the warden.
    fn edges(&self) -> Vec<String> {
        let warden = self.said.id();
        let children = fs::read_to_string(format!("/proc/{warden}/task/{warden}/children"));
        children.unwrap_or_default().split_whitespace().map(str::to_owned).collect()
    }

    fn get(&self) -> String {
        let mut stream = TcpStream::connect(self.address).expect("the port is open");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n").expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer.rsplit("\r\n").next().unwrap_or_default().to_owned()
    }

    fn change(&self, from: &str, to: &str) {
        let path = self.folder.path().join("porchd.yaml");
        let text = fs::read_to_string(&path).expect("a file");
        assert!(text.contains(from), "{text}");
        fs::write(&path, text.replace(from, to)).expect("written");
    }
}

fn signal(process: &str, name: &str) {
    let done = Command::new("kill").args([&format!("-{name}"), process]).status();
    assert!(done.expect("there is a kill").success(), "{name}");
}

fn told(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}{}", text(&output.stdout), text(&output.stderr))
}

#[test]
fn edge_is_another_user_without_privileges_and_the_logs_stay_roots() {
    let pair = Pair::start();
    assert_eq!(pair.get(), "one");
    let edges = pair.edges();
    assert_eq!(edges.len(), 1);
    let status = fs::read_to_string(format!("/proc/{}/status", edges[0])).expect("a process");
    let line = |key: &str| status.lines().find(|line| line.starts_with(key)).unwrap_or_default().to_owned();
    assert!(line("NoNewPrivs:").ends_with('1') && line("Seccomp:").ends_with('2'), "{status}");
    assert!(line("CapEff:").ends_with("0000000000000000"), "{status}");
    let title = fs::read_to_string(format!("/proc/{}/cmdline", edges[0])).expect("a process");
    assert!(title.starts_with("porchd: edge"), "{title}");
    if is_root() {
        assert!(!line("Uid:").contains("\t0\t"), "{status}");
        let log = fs::metadata(pair.folder.path().join("access.log")).expect("a log");
        let state = fs::metadata(pair.folder.path().join("state")).expect("a folder");
        assert_eq!(log.uid(), 0);
        assert_ne!(state.uid(), 0);
    }
}

#[test]
fn reload_reaches_the_edge_and_a_refusal_changes_nothing() {
    let pair = Pair::start();
    pair.change("body: \"one\"", "body: \"two\"");
    let done = pair.ask("reload");
    assert!(done.status.success(), "{}", told(&done));
    assert_eq!(pair.get(), "two");
    pair.change("status: 200", "status: 2000");
    let refused = pair.ask("reload");
    assert!(!refused.status.success() && told(&refused).contains("2000"), "{}", told(&refused));
    pair.signal("HUP");
    pair.logged("reload refused");
    assert_eq!(pair.get(), "two");
}

#[test]
fn port_that_is_named_no_more_is_closed() {
    let pair = Pair::start();
    let free = || TcpListener::bind(own_loopback()).expect("loopback").local_addr().expect("an address");
    let open = |addr: SocketAddr| TcpStream::connect(addr).is_ok();
    let (one, other) = (free(), free());
    let bind = |addr: SocketAddr| format!("\"127.0.0.1:0\", \"{addr}\"");
    // A reload that is refused leaves nothing open.
    pair.change("\"127.0.0.1:0\"", &bind(one));
    pair.change("state_dir: ", "state_dir: /else");
    assert!(!pair.ask("reload").status.success());
    assert!(!open(one));
    pair.change("state_dir: /else", "state_dir: ");
    assert!(pair.ask("reload").status.success());
    assert!(open(one));
    // Nor does an upgrade leave what the old edge alone has named.
    pair.change(&bind(one), &bind(other));
    let done = pair.ask("upgrade");
    assert!(done.status.success(), "{}", told(&done));
    assert!(open(other));
    until("the old port is closed", || !open(one));
}

#[test]
fn what_is_beyond_the_walls_is_refused_by_name_and_an_upgrade_applies_it() {
    let pair = Pair::start();
    let root = pair.folder.path().join("root");
    fs::create_dir(&root).expect("a folder");
    fs::set_permissions(pair.folder.path(), Permissions::from_mode(0o755)).expect("a mode");
    fs::write(root.join("index.html"), "three").expect("a file");
    let files = format!("files: {{ root: {} }}", root.display());
    pair.change("respond: { status: 200, body: \"one\" }", &files);
    let refused = told(&pair.ask("reload"));
    for part in ["a.example", &root.display().to_string(), "porchd upgrade applies it"] {
        assert!(refused.contains(part), "{part} in {refused}");
    }
    assert_eq!(pair.get(), "one");
    let done = pair.ask("upgrade");
    assert!(done.status.success(), "{}", told(&done));
    assert_eq!(pair.get(), "three");
}

#[test]
fn edge_that_dies_is_followed_by_one_with_the_configuration_in_force() {
    let pair = Pair::start();
    pair.change("status: 200", "status: 2000");
    let edges = pair.edges();
    signal(&edges[0], "KILL");
    // The port is open all the time.
    assert_eq!(pair.get(), "one");
    pair.logged("an edge has died");
    until("another edge serves", || pair.edges().len() == 1 && pair.edges() != edges);
}

#[test]
fn upgrade_keeps_the_process_the_port_and_whoever_is_in_the_midst() {
    let mut pair = Pair::start();
    let (warden, before) = (pair.said.id(), pair.edges());
    let mut midst = TcpStream::connect(pair.address).expect("the port is open");
    midst.write_all(b"GET / HTTP/1.1\r\nHost: a.exam").expect("sent");
    for _ in 0..2 {
        let done = pair.ask("upgrade");
        assert!(done.status.success(), "{}", told(&done));
        assert_eq!(pair.get(), "one");
    }
    pair.signal("USR2");
    until("three took over", || pair.times_logged("this warden has taken over") == 3);
    until("the third leads", || pair.times_logged("this edge leads") == 3);
    midst.write_all(b"ple\r\nConnection: close\r\n\r\n").expect("sent");
    let mut answer = String::new();
    midst.read_to_string(&mut answer).expect("an answer");
    assert!(answer.ends_with("one"), "{answer}");
    until("the old ones are gone", || pair.edges().len() == 1);
    assert_eq!(pair.said.id(), warden);
    assert_ne!(pair.edges(), before);
    // The logs go on, and can be opened again.
    fs::rename(pair.folder.path().join("access.log"), pair.folder.path().join("access.log.0"))
        .expect("moved");
    pair.signal("USR1");
    pair.logged("logs opened again");
    assert_eq!(pair.get(), "one");
    until("the line is in the new log", || {
        fs::read_to_string(pair.folder.path().join("access.log")).is_ok_and(|text| text.contains("GET /"))
    });
    pair.signal("TERM");
    assert_eq!(pair.said.end().0, Some(0));
}

#[test]
fn stop_in_the_midst_of_an_upgrade_is_heard() {
    for between in [0, 1, 2] {
        let mut pair = Pair::start();
        pair.signal("USR2");
        match between {
            0 => {}
            1 => drop(pair.logged("an upgrade begins")),
            _ => drop(pair.logged("this warden has taken over")),
        }
        pair.signal("TERM");
        assert_eq!(pair.said.end().0, Some(0), "{between}");
        assert!(TcpStream::connect(pair.address).is_err(), "{between}");
    }
}

#[test]
fn whoever_stays_after_an_upgrade_is_let_go_at_its_deadline() {
    let pair = Pair::start();
    pair.change("state_dir: ", "drain: { upgrade: 100ms }\nstate_dir: ");
    assert!(pair.ask("reload").status.success());
    let mut stays = TcpStream::connect(pair.address).expect("the port is open");
    stays.set_read_timeout(Some(PATIENCE)).expect("a socket");
    stays.write_all(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n").expect("sent");
    let mut first = [0; 64];
    assert!(stays.read(&mut first).expect("an answer") > 0);
    let done = pair.ask("upgrade");
    assert!(done.status.success(), "{}", told(&done));
    assert!(stays.read_to_end(&mut Vec::new()).is_ok(), "it is closed");
    until("the old edge is gone", || pair.edges().len() == 1);
}

#[test]
fn walls_are_left_out_when_that_is_asked_for() {
    let pair = Pair::run_by(TEXT, |file| {
        let mut command = porchd(&["run", "--confine", "off", "-f", file]);
        command.stdin(Stdio::null());
        command
    });
    let status = fs::read_to_string(format!("/proc/{}/status", pair.edges()[0])).expect("a process");
    assert!(status.contains("Seccomp:\t0"), "{status}");
    assert_eq!(pair.get(), "one");
}

#[test]
fn socket_that_a_service_manager_has_opened_is_taken_also_over_an_upgrade() {
    for more in ["", "--one-process"] {
        let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
        let addr = socket.local_addr().expect("an address");
        // Nobody but the one who inherits it has it, or the port could not be listened on a second time.
        let text = TEXT.replace("127.0.0.1:0", &addr.to_string());
        let pair = Pair::run_by(&text, |file| {
            let mut command = Command::new("sh");
            let script = "exec 3<&0 0</dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec \"$@\"";
            command.args(["-c", script, "sh", env!("CARGO_BIN_EXE_porchd"), "run", "-f", file]);
            command.args(Some(more).filter(|more| !more.is_empty()));
            command.stdin(std::os::fd::OwnedFd::from(socket)).env_remove("NOTIFY_SOCKET");
            command
        });
        assert_eq!((pair.address, pair.get().as_str()), (addr, "one"), "{more}");
        let upgraded = pair.ask("upgrade");
        assert_eq!(upgraded.status.success(), more.is_empty(), "{}", told(&upgraded));
        assert_eq!(pair.get(), "one");
    }
}

#[test]
fn binary_that_is_none_is_given_up() {
    let folder = Folder::new();
    let program = folder.path().join("porchd");
    let install = |from: &Path| {
        let new = folder.path().join("new");
        fs::copy(from, &new).expect("a copy");
        fs::set_permissions(&new, Permissions::from_mode(0o755)).expect("a mode");
        fs::rename(&new, &program).expect("moved");
    };
    install(Path::new(env!("CARGO_BIN_EXE_porchd")));
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).expect("a mode");
    let pair = Pair::run(TEXT, &program);
    let edges = pair.edges();
    let script = folder.path().join("script");
    fs::write(&script, "#!/bin/sh\nexit 0\n").expect("a file");
    let garbage = folder.path().join("garbage");
    fs::write(&garbage, "garbage").expect("a file");
    for wrong in [&script, &garbage] {
        install(wrong);
        let refused = pair.ask("upgrade");
        assert!(!refused.status.success(), "{}", told(&refused));
        assert!(told(&refused).contains("the edge before goes on"), "{}", told(&refused));
        assert_eq!((pair.get(), pair.edges()), ("one".to_owned(), edges.clone()));
    }
    install(Path::new(env!("CARGO_BIN_EXE_porchd")));
    // One that runs, and does not like what it finds.
    pair.change("status: 200", "status: 2000");
    let refused = pair.ask("upgrade");
    assert!(!refused.status.success() && told(&refused).contains("2000"), "{}", told(&refused));
    assert_eq!((pair.get(), pair.edges()), ("one".to_owned(), edges));
}

#[test]
fn edge_ends_when_its_warden_is_gone() {
    let mut pair = Pair::start();
    let edge = PathBuf::from(format!("/proc/{}", pair.edges()[0]));
    pair.signal("KILL");
    pair.said.end();
    until("the edge is gone", || {
        !edge.exists() || fs::read_to_string(edge.join("stat")).is_ok_and(|stat| stat.contains(") Z "))
    });
}

#[test]
fn configuration_that_others_can_write_is_refused() {
    let pair = Pair::start();
    let file = pair.folder.path().join("porchd.yaml");
    fs::set_permissions(&file, Permissions::from_mode(0o666)).expect("a mode");
    let refused = pair.ask("reload");
    assert!(!refused.status.success() && told(&refused).contains("chmod go-w"), "{}", told(&refused));
    let started = porchd(&["run", "-f", &file.display().to_string()]).output().expect("it runs");
    assert_eq!(started.status.code(), Some(1));
    assert!(told(&started).contains("chmod go-w"), "{}", told(&started));
}

#[test]
fn user_that_is_not_there_is_told_with_the_cure() {
    if !is_root() {
        return;
    }
    let folder = Folder::new();
    let file = folder.file("porchd.yaml", &format!("user: nobody-of-this-name\n{TEXT}"));
    let output = porchd(&["run", "-f", &file]).output().expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    for part in ["\"nobody-of-this-name\"", "useradd", "set `user`"] {
        assert!(told(&output).contains(part), "{part} in {}", told(&output));
    }
}
