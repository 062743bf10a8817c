//! Everything that needs privileges, behind one trait.
//!
//! `in_process.rs` acts in this process. `from_warden.rs` is what an edge has: it asks the warden, which opens what
//! the configuration names (`inventory.rs`) and hands over descriptors and bytes (`calls.rs`). So nothing above may
//! open a key, a log or a privileged port by itself. `walls.rs` (P) says what an edge must reach by itself.

pub mod activated;
pub mod calls;
pub mod from_warden;
pub mod in_process;
pub mod inventory;
pub mod walls;

use std::fs::File;
use std::io::{Error, ErrorKind};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::config::model::home::{Address, WireGuard};
use crate::home::tunnel::{Reading, TunnelError};
use crate::home::update::{Outcome, Refusal, Step, UpdateError};
use crate::os::control_socket::ControlSocketError;
use crate::os::disk_fault;
use crate::os::folder::Folder;

/// A privileged act that failed.
#[derive(Debug, thiserror::Error)]
pub enum ProvisionError {
    /// A file could not be read or opened.
    #[error("{path}: {reason}", path = path.display(), reason = file_reason(source))]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// An address could not be bound.
    #[error("cannot listen on {addr}: {reason}", reason = bind_reason(addr, source))]
    Bind {
        /// The address.
        addr: SocketAddr,
        /// Why; it is shown with the cure.
        source: std::io::Error,
    },
    /// The state folder can't be made or opened.
    #[error("state folder {path}: {reason}", path = path.display(), reason = of_state(path, source))]
    StateFolder {
        /// The folder.
        path: PathBuf,
        /// Why; it is shown with the cure.
        source: std::io::Error,
    },
    /// Anybody could exchange what is in the state folder.
    #[error(
        "state folder {path}: every user of this machine may write there; set `state_dir` to a folder for porchd \
         alone, or chmod 700 this one",
        path = path.display()
    )]
    StateFolderWritable {
        /// The folder.
        path: PathBuf,
    },
    /// Others could have written the configuration, which says what is done as root.
    #[error(
        "{path}: others than its owner may write it, or belongs to another user; chown root it and chmod go-w it, \
         and the folder that it is in",
        path = path.display()
    )]
    OpenToOthers {
        /// The configuration, or its folder.
        path: PathBuf,
    },
    /// The warden can't be asked.
    #[error("the warden does not answer: {source}")]
    Warden {
        /// Why.
        source: std::io::Error,
    },
    /// The tunnel home can't be read.
    #[error(transparent)]
    Tunnel(#[from] TunnelError),
    /// The control socket can't be made.
    #[error("control socket {path}: {source}", path = path.display())]
    ControlSocket {
        /// Its path.
        path: PathBuf,
        /// Why, with the cure.
        source: ControlSocketError,
    },
}

/// Why there is no state folder: it may not even be there.
fn of_state(path: &Path, error: &Error) -> String {
    match error.kind() {
        ErrorKind::PermissionDenied => format!(
            "permission denied; mkdir {path} and chown it to the user that porchd runs as, or set `state_dir` to \
             a folder of that user",
            path = path.display()
        ),
        _ => disk_fault::reason(error),
    }
}

/// Something about a file that works and is still not right.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProvisionWarning {
    /// Every user of the machine can read or write a private key.
    KeyOpenToOthers {
        /// Its file.
        path: PathBuf,
    },
    /// Every user of the machine can read or write another secret.
    SecretOpenToOthers {
        /// Its file.
        path: PathBuf,
    },
    /// Another user, and not root, can exchange what is in the state folder.
    StateFolderOfAnother {
        /// The folder.
        path: PathBuf,
        /// Whose it is.
        uid: u32,
    },
    /// Others may look into the state folder. What is in it is closed to them all the same.
    StateFolderOpenToOthers {
        /// The folder.
        path: PathBuf,
    },
}

impl std::fmt::Display for ProvisionWarning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::KeyOpenToOthers { path } => {
                let path = path.display();
                write!(f, "private key {path} is open to every user of this machine; chmod o= {path}")
            }
            Self::SecretOpenToOthers { path } => {
                let path = path.display();
                write!(f, "the secret in {path} is open to every user of this machine; chmod o= {path}")
            }
            Self::StateFolderOfAnother { path, uid } => {
                let path = path.display();
                write!(
                    f,
                    "state folder {path} belongs to another user (uid {uid}), who can exchange its certificates; \
                     chown it to the user that porchd runs as"
                )
            }
            Self::StateFolderOpenToOthers { path } => {
                let path = path.display();
                write!(
                    f,
                    "state folder {path} is open to others, who can see which names there are; chmod 700 {path}"
                )
            }
        }
    }
}

fn file_reason(error: &Error) -> String {
    let reason = match error.kind() {
        ErrorKind::NotFound => "no such file; check the path and that its folder exists",
        ErrorKind::PermissionDenied => "permission denied; start porchd as root or let its user in",
        ErrorKind::IsADirectory => "this is a folder and not a file",
        ErrorKind::FileTooLarge => "the file is too large for what it should hold; is it the right one?",
        ErrorKind::InvalidData => "the file is not UTF-8 text; is it the right one?",
        _ if error.raw_os_error() == Some(libc::ENXIO) => "nobody reads this pipe; start its reader first",
        _ => return error.to_string(),
    };
    reason.to_owned()
}

fn bind_reason(addr: &SocketAddr, error: &Error) -> String {
    let port = addr.port();
    match error.kind() {
        ErrorKind::AddrInUse if cfg!(target_os = "openbsd") => {
            "the address is in use; stop what holds it: rcctl stop httpd relayd".to_owned()
        }
        ErrorKind::AddrInUse => {
            format!("the address is in use; see what holds it: ss -ltnp 'sport = :{port}'")
        }
        ErrorKind::PermissionDenied if cfg!(target_os = "linux") => {
            format!("permission denied; port {port} needs root or the capability CAP_NET_BIND_SERVICE")
        }
        ErrorKind::PermissionDenied => format!("permission denied; port {port} needs root"),
        ErrorKind::AddrNotAvailable => {
            format!("no interface of this machine has the address {}; is it up?", addr.ip())
        }
        _ if error.raw_os_error() == Some(libc::EAFNOSUPPORT) => {
            "this machine has no IPv6; leave the address out of `bind`".to_owned()
        }
        _ => error.to_string(),
    }
}

/// The bytes of one certificate: its chain and its key as PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct PemPair {
    /// The chain, leaf first.
    pub cert: Vec<u8>,
    /// The private key; never logged.
    pub key: Vec<u8>,
}

/// What needs privileges. Every method is synchronous and called from the control thread alone.
pub trait Provision: Send {
    /// The configuration's text.
    fn configuration(&mut self) -> Result<String, ProvisionError>;

    /// What the configuration is called in reports.
    fn configuration_name(&self) -> String {
        String::from("porchd.yaml")
    }

    /// Listening sockets for `addr`: `copies` of them, on SO_REUSEPORT when that is more than one.
    ///
    /// Where the system does not balance SO_REUSEPORT (all but Linux), the copies share one queue.
    /// An address is first test-bound without SO_REUSEPORT: a second porchd must not join silently.
    /// The sockets are non-blocking, close-on-exec, TCP_NODELAY, and IPv6 ones are IPv6 alone.
    fn listen(&mut self, addr: SocketAddr, copies: usize) -> Result<Vec<TcpListener>, ProvisionError>;

    /// A certificate chain and its key.
    fn key_pair(&mut self, cert: &Path, key: &Path) -> Result<PemPair, ProvisionError>;

    /// A log file, opened for appending and made when it is missing.
    fn log_file(&mut self, path: &Path) -> Result<File, ProvisionError>;

    /// A file of public data that the configuration names (roots of a backend's CA).
    fn public_file(&mut self, path: &Path) -> Result<Vec<u8>, ProvisionError>;

    /// A small file whose content nobody else may know, and which is no certificate's key (an external account's).
    fn secret_file(&mut self, path: &Path) -> Result<Vec<u8>, ProvisionError>;

    /// The folder for what porchd has to remember, made with mode 0700 when it is missing.
    ///
    /// One that is there keeps its mode, because `path` may be a mistake: open to others it is warned of, writable
    /// for all it is refused.
    fn state_folder(&mut self, path: &Path) -> Result<Folder, ProvisionError>;

    /// The control socket, listening, non-blocking, mode 0660. Its folder is made when it is missing.
    ///
    /// A socket on which nobody answers is replaced; one that is alive, or is no socket, is refused. `None`: the
    /// caller says that it has the one at `path` (`held`), and it is still there.
    fn control_socket(&mut self, path: &Path, held: bool) -> Result<Option<UnixListener>, ProvisionError>;

    /// What became of the configuration that was asked for last: it is in force, or was refused. What it alone
    /// named is let go of then, or what the one before named.
    fn settled(&mut self, in_force: bool) {
        let _ = in_force;
    }

    /// How the tunnel home stands. Takes a second at the most, and milliseconds as a rule.
    fn tunnel(&mut self, wireguard: &WireGuard) -> Result<Reading, ProvisionError>;

    /// Does `step` to the update `which` of `address`, in 5 seconds for each program that it takes.
    fn home_address(&mut self, address: &Address, which: usize, step: &Step) -> Result<Outcome, UpdateError> {
        let _ = (address, which, step);
        Err(UpdateError::Refused(Refusal::NoSuchUpdate))
    }

    /// What was noticed since this was asked last, for the log and for `check`.
    fn warnings(&mut self) -> Vec<ProvisionWarning> {
        Vec::new()
    }
}
