//! Walls around a process: which files it may open, which ports it may connect to, which system calls it may make.
//!
//! Linux has landlock for files and TCP ports, seccomp for system calls, and empty sets of capabilities; OpenBSD has
//! unveil and pledge. Walls only ever get closer: what is not named when they go up is out of reach for as long as the
//! process lives. It does not decide what is named, and drops no user: both come before it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "openbsd")]
mod openbsd;
#[cfg(not(any(target_os = "linux", target_os = "openbsd")))]
mod other;

#[cfg(target_os = "linux")]
use linux as system;
#[cfg(target_os = "openbsd")]
use openbsd as system;
#[cfg(not(any(target_os = "linux", target_os = "openbsd")))]
use other as system;

use crate::os::cores;

/// What a process within walls may reach. What the system needs to resolve names is added to it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Walls {
    /// Folders and files that may be read, with all that is beneath them.
    pub read: Vec<PathBuf>,
    /// Folders beneath which files may be read, made, written and removed.
    pub write: Vec<PathBuf>,
    /// Unix sockets that may be connected to. Linux: none means no unix socket at all, some mean every one that the
    /// user may open.
    pub sockets: Vec<PathBuf>,
    /// TCP ports that may be connected to, at whatever address; `None`: all of them.
    pub connect: Option<Vec<u16>>,
}

impl Walls {
    /// Walls that keep nothing out.
    pub fn none() -> Self {
        let everything = || vec![PathBuf::from("/")];
        Self { read: everything(), write: everything(), sockets: everything(), connect: None }
    }
}

/// What is in force.
#[derive(Debug)]
pub struct Held {
    /// The walls as they stand: without what is not there, with links resolved (of sockets as they are written), and
    /// without those that this system does not have.
    pub walls: Walls,
    /// What was to be reachable and can't be found. It stays out of reach, also when it is made later.
    pub absent: Vec<Absent>,
    /// What holds, in the words of the log.
    pub in_force: Vec<String>,
    /// What this system can't do.
    pub lacking: Vec<String>,
}

/// A path of the walls that can't be found: a warning of the log.
#[derive(Debug)]
pub struct Absent {
    /// The path.
    pub path: PathBuf,
    /// Why.
    pub source: io::Error,
}

impl fmt::Display for Absent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cure = match self.source.kind() {
            io::ErrorKind::PermissionDenied => "let the user that porchd runs as search its folders",
            _ => "make it",
        };
        let Self { path, source } = self;
        let path = path.display();
        write!(f, "{path}: {source}; it stays beyond the walls: {cure}, then porchd upgrade")
    }
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.in_force.as_slice() {
            [] => f.write_str("not confined")?,
            holds => write!(f, "confined: {}", holds.join(", "))?,
        }
        if !self.lacking.is_empty() {
            write!(f, "; this system lacks {}", self.lacking.join(", "))?;
        }
        Ok(())
    }
}

/// Walls that could not be put up.
#[derive(Debug, thiserror::Error)]
pub enum ConfineError {
    /// Other threads would stay outside.
    #[error("cannot confine: {0} threads run already, and the walls would hold one of them")]
    Threads(usize),
    /// A path of the walls was found and can't be opened.
    #[error(
        "cannot confine: {path}: {source}; let the user that porchd runs as search its folders",
        path = path.display()
    )]
    Path {
        /// The path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The system has this wall and refuses it.
    #[error("cannot confine: {wall}: {source}; --confine=off runs without walls")]
    Refused {
        /// The wall.
        wall: &'static str,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl ConfineError {
    fn refused(wall: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Refused { wall, source: source.into() }
    }
}

/// Puts the walls around this process, which must have one thread and have dropped its user.
///
/// What the system does not have is told in `Held` and no error.
///
/// # Errors
/// What `ConfineError` says. Walls that already stand stay: the caller should end.
pub fn edge(walls: &Walls) -> Result<Held, ConfineError> {
    // Its sources are out of reach from then on.
    cores::count();
    let (walls, absent) = resolved(walls);
    let mut held = Held { walls, absent, in_force: Vec::new(), lacking: Vec::new() };
    system::edge(&mut held)?;
    Ok(held)
}

/// Keeps the memory of the warden off the disk, and where the system can, its calls to what it is for. `tunnels`: it
/// has to ask WireGuard, which OpenBSD allows to no process that has pledged anything.
///
/// # Errors
/// What `ConfineError` says.
pub fn warden(tunnels: bool) -> Result<(), ConfineError> {
    system::warden(tunnels)
}

/// Whether this process may ask WireGuard; OpenBSD would end one that may not.
pub fn may_ask_tunnels() -> bool {
    system::may_ask_tunnels()
}

/// Where `path` leads once its links are followed; `path` itself where it leads nowhere.
pub fn leads_to(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

/// What of the walls can't be reached any more, since another file or folder was put in its place; from within.
///
/// On Linux a wall is around the file or folder that was there and not around its name: /etc/resolv.conf, written anew
/// and renamed, is another file. Only walls that are put up anew reach it.
pub fn out_of_reach(walls: &Walls) -> Vec<PathBuf> {
    let system = system::name_files();
    let all = walls.read.iter().chain(&walls.write).chain(&system);
    all.filter(|path| is_denied(path)).cloned().collect()
}

fn is_denied(path: &Path) -> bool {
    use std::os::unix::fs::OpenOptionsExt;
    // Neither a FIFO nor a terminal is waited for.
    let mut options = std::fs::OpenOptions::new();
    options.read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
    matches!(options.open(path), Err(error) if error.kind() == io::ErrorKind::PermissionDenied)
}

/// The walls with every link resolved, without what can't be found, and what that is.
fn resolved(walls: &Walls) -> (Walls, Vec<Absent>) {
    let mut absent = Vec::new();
    let mut found = |path: &PathBuf| match path.canonicalize() {
        Ok(real) => Some(real),
        Err(source) => {
            absent.push(Absent { path: path.clone(), source });
            None
        }
    };
    let read = walls.read.iter().filter_map(&mut found).collect();
    let write = walls.write.iter().filter_map(&mut found).collect();
    // A socket comes and goes with the program that listens on it.
    (Walls { read, write, ..walls.clone() }, absent)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::anew::Scratch;

    #[test]
    fn what_is_not_there_is_told_and_links_are_followed() {
        let scratch = Scratch::new();
        let (real, link, none) = (scratch.0.join("real"), scratch.0.join("link"), scratch.0.join("none"));
        std::fs::create_dir(&real).unwrap();
        std::os::unix::fs::symlink("real", &link).unwrap();
        let walls = Walls {
            read: vec![link.clone(), none.clone()],
            write: vec![real.clone()],
            sockets: vec![none.clone()],
            connect: Some(vec![1]),
        };
        let (held, absent) = resolved(&walls);
        let real = real.canonicalize().unwrap();
        let expected = Walls { read: vec![real.clone()], write: vec![real.clone()], ..walls };
        assert_eq!(held, expected);
        let told: Vec<_> = absent.iter().map(ToString::to_string).collect();
        assert_eq!(told.len(), 1);
        assert!(told[0].starts_with(&none.display().to_string()), "{told:?}");
        assert!(told[0].ends_with("it stays beyond the walls: make it, then porchd upgrade"), "{told:?}");
        assert_eq!((leads_to(&link), leads_to(&none)), (real, none));
    }

    #[test]
    fn a_file_in_place_of_a_folder_is_absent_and_no_error() {
        let scratch = Scratch::new();
        std::fs::write(scratch.0.join("file"), "").unwrap();
        let path = scratch.0.join("file/beneath");
        let (held, absent) = resolved(&Walls { read: vec![path.clone()], ..Walls::default() });
        assert_eq!((held, &absent[0].path), (Walls::default(), &path));
    }

    #[test]
    fn what_holds_and_what_lacks_is_one_line() {
        let mut held = Held {
            walls: Walls::default(),
            absent: Vec::new(),
            in_force: vec!["one".to_owned(), "two".to_owned()],
            lacking: Vec::new(),
        };
        assert_eq!(held.to_string(), "confined: one, two");
        held.lacking.push("three".to_owned());
        assert_eq!(held.to_string(), "confined: one, two; this system lacks three");
        held.in_force.clear();
        assert_eq!(held.to_string(), "not confined; this system lacks three");
    }
}
