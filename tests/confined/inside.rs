//! The program that is tried: it puts up the walls, does what must still work, then what must not.

use std::fmt::Display;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use porchd::os::confine::{self, Walls};
use porchd::os::syslog;

use crate::attempts::{Targets, attempts};
use crate::still;

/// What is written to the inherited log.
pub(crate) const LOGGED: &str = "a line from within";

const GIVEN: &str = "PORCHD_CONFINED";

/// What the program is told.
pub(crate) struct Trial {
    pub(crate) folder: PathBuf,
    pub(crate) allowed: SocketAddr,
    pub(crate) other: SocketAddr,
    pub(crate) hidden: String,
    pub(crate) walls: bool,
    pub(crate) sockets: bool,
}

impl Trial {
    pub(crate) fn give(&self, command: &mut Command) {
        let Self { folder, allowed, other, hidden, walls, sockets } = self;
        let folder = folder.display();
        command.env(GIVEN, format!("{folder}\n{allowed}\n{other}\n{hidden}\n{walls}\n{sockets}"));
    }

    /// `None`: this is the ordinary run.
    pub(crate) fn given() -> Option<Self> {
        let given = std::env::var(GIVEN).ok()?;
        let mut parts = given.split('\n');
        let mut next = || parts.next().expect("all parts");
        Some(Self {
            folder: next().into(),
            allowed: next().parse().expect("an address"),
            other: next().parse().expect("an address"),
            hidden: next().to_owned(),
            walls: next() == "true",
            sockets: next() == "true",
        })
    }

    fn walls(&self) -> Walls {
        let sockets = if self.sockets { vec![self.folder.join("run/backend")] } else { Vec::new() };
        Walls {
            read: ["root", "replaced", "not there"].map(|name| self.folder.join(name)).to_vec(),
            write: vec![self.folder.join("state")],
            sockets,
            connect: Some(vec![self.allowed.port()]),
        }
    }
}

pub(crate) fn run(trial: &Trial) -> ExitCode {
    syslog::open();
    let before = still::Before::prepare();
    let mut walls = None;
    if trial.walls {
        match confine::edge(&trial.walls()) {
            Ok(held) => {
                assert_eq!(held.absent.len(), 1, "{:?}", held.absent);
                assert_eq!(held.absent[0].path, trial.folder.join("not there"));
                tell(&["held", &held.to_string()]);
                walls = Some(held.walls);
            }
            Err(error) => {
                eprintln!("{error}");
                return ExitCode::FAILURE;
            }
        }
    }
    for (what, came) in still::all(trial, before, walls.as_ref()) {
        tell(&["still", what, &outcome(came)]);
    }
    let targets =
        Targets { outside: trial.folder.join("outside"), port: trial.other, socket: trial.hidden.clone() };
    for (what, came) in attempts(&targets) {
        tell(&["tried", what, &outcome(came)]);
    }
    ExitCode::SUCCESS
}

pub(crate) fn outcome<E: Display>(came: Result<(), E>) -> String {
    match came {
        Ok(()) => "ok".to_owned(),
        Err(error) => {
            error.to_string().split(" (os error").next().unwrap_or_default().replace(['\t', '\n'], " ")
        }
    }
}

pub(crate) fn tell(parts: &[&str]) {
    let mut out = io::stdout().lock();
    writeln!(out, "{}", parts.join("\t")).and_then(|()| out.flush()).expect("the one who listens");
}

pub(crate) fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|this| this.uid() == 0)
}
