//! The machine around one trial: folders, those who listen, and the program that is tried in it.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::chown;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixListener};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::inside;

/// A user without anything (`nobody` of most systems).
pub(crate) const NOBODY: u32 = 65534;

/// Whom a trial is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Column {
    /// Root without walls: everything succeeds, so a trial can fail.
    Free,
    /// The user of the tests within walls that know of a unix socket.
    Walled,
    /// Another user within the same.
    WalledUser,
    /// Within walls that know of no unix socket.
    NoSockets,
    /// The edge of a porchd that serves.
    Edge,
}

impl Column {
    fn title(self) -> &'static str {
        match self {
            Self::Free => "no walls",
            Self::Walled => "walls",
            Self::WalledUser => "walls, uid 65534",
            Self::NoSockets => "walls, no sockets",
            Self::Edge => "a real edge",
        }
    }
}

/// What one trial told.
pub(crate) struct Told {
    pub(crate) column: Column,
    /// The line of the log.
    pub(crate) held: String,
    /// What was done, and what came of it: `ok` or an error.
    pub(crate) still: Vec<(String, String)>,
    pub(crate) tried: Vec<(String, String)>,
    pub(crate) log: String,
    pub(crate) ended: String,
}

impl Told {
    /// What is not as it must be.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let of = |what: &str| format!("{}: {what}", self.column.title());
        let mut complaints = Vec::new();
        let free = self.column == Column::Free;
        for (what, came) in &self.still {
            if came != "ok" {
                complaints.push(of(&format!("must work: {what}: {came}")));
            }
        }
        for (what, came) in &self.tried {
            let open = free || self.is_beyond_this_kernel(what);
            // Some first processes are closed to root itself.
            if open != (came == "ok") && !(free && what == "open /proc/1/mem") {
                complaints.push(of(&format!("{what}: {came}")));
            }
        }
        // What a real edge must do is tried by all other suites.
        let works = self.column == Column::Edge || !self.still.is_empty();
        if !works || self.tried.len() < 40 {
            complaints.push(of("too little was tried"));
        }
        if self.ended != "exit status: 0" {
            complaints.push(of(&format!("it ended with {}: {}", self.ended, self.log)));
        }
        if self.column != Column::Edge && !self.log.contains(inside::LOGGED) {
            complaints.push(of("nothing came through the inherited log"));
        }
        complaints
    }

    /// Whether only a newer kernel has the wall against this.
    fn is_beyond_this_kernel(&self, what: &str) -> bool {
        let lacks = |wall: &str| self.held.contains("lacks") && self.held.contains(wall);
        match what {
            "connect to another TCP port" => lacks("walls around TCP ports"),
            "connect to an abstract unix socket" => {
                self.column != Column::NoSockets && lacks("walls around signals and abstract sockets")
            }
            _ => false,
        }
    }
}

/// The machine of one trial.
pub(crate) struct Lab {
    pub(crate) folder: PathBuf,
    /// The port that may be connected to, inherited as standard input.
    inherited: TcpListener,
    /// The port that may not.
    pub(crate) other: TcpListener,
    backend: UnixListener,
    hidden: UnixListener,
    pub(crate) hidden_name: String,
}

impl Lab {
    pub(crate) fn new() -> Self {
        let id = porchd::clock::random();
        let folder = std::env::temp_dir().join(format!("porchd-confined-{id:x}"));
        for part in ["", "root/sub", "state", "outside", "run"] {
            fs::create_dir_all(folder.join(part)).expect("a folder");
        }
        fs::write(folder.join("root/index.html"), "here").expect("a file");
        fs::write(folder.join("root/sub/page"), "there").expect("a file");
        fs::write(folder.join("outside/file"), "secret").expect("a file");
        fs::write(folder.join("replaced"), "before").expect("a file");
        let hidden_name = format!("porchd-confined-{id:x}");
        let hidden = UnixAddr::from_abstract_name(&hidden_name).expect("a name");
        Self {
            inherited: TcpListener::bind("127.0.0.1:0").expect("a port"),
            other: TcpListener::bind("127.0.0.1:0").expect("a port"),
            backend: UnixListener::bind(folder.join("run/backend")).expect("a socket"),
            hidden: UnixListener::bind_addr(&hidden).expect("a socket"),
            folder,
            hidden_name,
        }
    }

    /// Runs this program once more as `column` says.
    pub(crate) fn run(self, column: Column) -> Told {
        let log = self.folder.join("log");
        let trial = inside::Trial {
            folder: self.folder.clone(),
            allowed: self.inherited.local_addr().expect("an address"),
            other: self.other.local_addr().expect("an address"),
            hidden: self.hidden_name.clone(),
            walls: column != Column::Free,
            sockets: column != Column::NoSockets,
        };
        let inherited = OwnedFd::from(self.inherited.try_clone().expect("a copy"));
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        trial.give(&mut command);
        command.stdin(inherited).stdout(Stdio::piped()).stderr(File::create(&log).expect("a log"));
        if column == Column::WalledUser {
            for part in ["state", "outside", "outside/file", "run/backend"] {
                chown(self.folder.join(part), Some(NOBODY), Some(NOBODY)).expect("to give it away");
            }
            command.uid(NOBODY).gid(NOBODY);
        }
        let mut child = command.spawn().expect("to start");
        let mut told = Told {
            column,
            held: String::new(),
            still: Vec::new(),
            tried: Vec::new(),
            log: String::new(),
            ended: String::new(),
        };
        let lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        for line in lines.map_while(Result::ok) {
            let parts: Vec<_> = line.split('\t').map(str::to_owned).collect();
            match parts.as_slice() {
                [kind, held] if kind == "held" => told.held.clone_from(held),
                [kind] if kind == "signal" => {
                    fs::write(self.folder.join("new"), "after").expect("a file");
                    fs::rename(self.folder.join("new"), self.folder.join("replaced")).expect("to replace");
                    signal(child.id());
                }
                [kind, what, came] if kind == "still" => told.still.push((what.clone(), came.clone())),
                [kind, what, came] if kind == "tried" => told.tried.push((what.clone(), came.clone())),
                _ => told.log.push_str(&line),
            }
        }
        told.ended = child.wait().expect("its end").to_string();
        told.log.push_str(&fs::read_to_string(&log).expect("its log"));
        told
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = (self.backend.local_addr(), self.hidden.local_addr());
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn signal(process: u32) {
    let sent = Command::new("kill").arg("-USR1").arg(process.to_string()).status().expect("kill");
    assert!(sent.success());
}

/// The columns side by side.
pub(crate) fn table(columns: &[Told]) -> String {
    let mut text = String::new();
    for told in columns {
        let _ = writeln!(text, "{}: {}", told.column.title(), told.held);
    }
    for (title, rows) in [
        ("what was tried", columns.iter().map(|told| &told.tried).collect::<Vec<_>>()),
        ("what must work", columns.iter().map(|told| &told.still).collect()),
    ] {
        let _ = write!(text, "\n{title:<38}");
        for told in columns {
            let _ = write!(text, " | {:<24}", told.column.title());
        }
        text.push('\n');
        let mut names: Vec<&str> = Vec::new();
        for (what, _) in rows.iter().copied().flatten() {
            if !names.contains(&what.as_str()) {
                names.push(what);
            }
        }
        for what in names {
            let _ = write!(text, "{what:<38}");
            for told in &rows {
                let came = told.iter().find(|(name, _)| name == what).map_or("", |(_, came)| came);
                let _ = write!(text, " | {came:<24}");
            }
            text.push('\n');
        }
    }
    text
}
