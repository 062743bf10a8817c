//! Everything that needs privileges, behind one trait.
//!
//! Today one implementation acts in this process. The two-process one (a warden that opens what the
//! configuration names, an edge that is handed descriptors and bytes) will replace it behind this trait,
//! so nothing above may open a key, a log or a privileged port by itself.

pub mod in_process;

use std::fs::File;
use std::io::{Error, ErrorKind};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

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
}

/// Something about a file that works and is still not right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProvisionWarning {
    /// Every user of the machine can read or write a private key.
    KeyOpenToOthers {
        /// Its file.
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

    /// What was noticed since this was asked last, for the log and for `check`.
    fn warnings(&mut self) -> Vec<ProvisionWarning> {
        Vec::new()
    }
}
