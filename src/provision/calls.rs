//! What edge and warden say to each other: calls of the edge and their replies, orders of the warden and the edge's
//! notes. Closed sets, checked where they arrive; each edge says first which version it speaks.
//!
//! A call and its reply are parcels of one socket: a JSON head, bytes, descriptors. Orders and notes are JSON lines
//! of another.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::home::tunnel::{Reading, TunnelError};
use crate::home::update::{Outcome, Step, UpdateError};
use crate::os::control_socket::ControlSocketError;
use crate::os::parcel::Most;
use crate::provision::{ProvisionError, ProvisionWarning};

/// The version that is spoken. One is added when an older side would misunderstand.
pub const VERSION: u32 = 1;

/// What a call may be at the most: places of things, never the things.
pub const MOST_OF_CALL: Most = Most { head: 4096, bytes: 0, descriptors: 0 };
/// What a reply may be at the most.
pub const MOST_OF_REPLY: Most = Most { head: 256 * 1024, bytes: 64 << 20, descriptors: 4096 };
/// Bytes of an order or a note at the most, its end included.
pub const LONGEST_LINE: usize = 64 * 1024;

/// What an edge asks for. Things are named by their places in the inventory of configuration number `of`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Call {
    /// Comes first, once.
    Hello {
        /// What the edge speaks.
        version: u32,
    },
    /// The configuration's text; what it names can be asked for from then on.
    Configuration,
    /// Sockets of an address.
    Listen {
        /// The configuration.
        of: u64,
        /// Which address.
        address: usize,
        /// How many sockets.
        copies: usize,
    },
    /// A certificate and its key.
    Pair {
        /// The configuration.
        of: u64,
        /// Which.
        pair: usize,
    },
    /// A log file.
    Log {
        /// The configuration.
        of: u64,
        /// Which.
        log: usize,
    },
    /// A file of public data.
    Public {
        /// The configuration.
        of: u64,
        /// Which.
        file: usize,
    },
    /// A secret.
    Secret {
        /// The configuration.
        of: u64,
        /// Which.
        file: usize,
    },
    /// The state folder.
    State {
        /// The configuration.
        of: u64,
    },
    /// The control socket.
    Socket {
        /// The configuration.
        of: u64,
        /// Whether the edge has it already.
        held: bool,
    },
    /// How the tunnel home stands.
    Tunnel {
        /// The configuration.
        of: u64,
    },
    /// To tell one of the updates of `home_link.address` where home is.
    Home {
        /// The configuration.
        of: u64,
        /// Which update.
        which: usize,
        /// What to tell.
        step: Step,
    },
    /// Whether the configuration that was asked for last is in force now, or was refused.
    Settled {
        /// In force.
        in_force: bool,
    },
}

/// What a call is answered, with what was noticed meanwhile.
#[derive(Debug, Serialize, Deserialize)]
pub struct Reply {
    /// The answer.
    pub answer: Result<Answer, Fault>,
    /// What is not right and works.
    pub warnings: Vec<ProvisionWarning>,
}

/// An answer. Descriptors and bytes go beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// To `Hello`; with the socket of orders and notes.
    Duty(Duty),
    /// The text is in the bytes.
    Configuration {
        /// Its number.
        number: u64,
    },
    /// The sockets are beside it.
    Listening,
    /// The bytes are those of the chain, then those of the key.
    Pair {
        /// Bytes of the chain.
        cert: usize,
    },
    /// The file is beside it, or its content in the bytes.
    File,
    /// The folder is beside it; or nothing, where folders are not passed: it is there to be opened.
    Folder,
    /// The control socket is beside it; or nothing, the one that the edge has is still the one.
    Socket,
    /// How the tunnel stands.
    Tunnel(Reading),
    /// What came of telling where home is.
    Home(Result<Outcome, UpdateError>),
    /// Done.
    Done,
}

/// What an edge is there for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Duty {
    /// Whether it has what only one edge may have, from the start on.
    pub leads: bool,
    /// Whether it confines itself.
    pub confine: bool,
    /// What the configuration is called.
    pub configuration: String,
}

/// What the warden tells an edge to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    /// Take the configuration of now.
    Reload,
    /// Open the logs again.
    Reopen,
    /// Drain and end; again: end now.
    Stop,
    /// Take what only one edge may have.
    Lead,
    /// Give that up, accept no more, and end when everybody has gone.
    Yield,
    /// The upgrade that was asked for is over.
    Upgraded {
        /// Why nothing came of it.
        failed: Option<String>,
    },
}

/// What an edge tells the warden.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Note {
    /// It serves; one line for people.
    Ready(String),
    /// A reload has begun; `Ready` follows.
    Reloading,
    /// A stop has begun.
    Stopping,
    /// It can't serve, and ends.
    Failed(String),
    /// What only one edge may have is free.
    Yielded,
    /// Somebody asks for an upgrade.
    Upgrade,
}

/// An order or a note as it is written: a line.
///
/// # Errors
/// `InvalidInput`: it is longer than any may be.
pub fn line(said: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(said)?;
    line.push(b'\n');
    if line.len() > LONGEST_LINE { Err(ErrorKind::InvalidInput.into()) } else { Ok(line) }
}

/// A failed act, as it is told to the other process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fault {
    /// [`ProvisionError::File`].
    File(PathBuf, System),
    /// [`ProvisionError::Bind`].
    Bind(SocketAddr, System),
    /// [`ProvisionError::StateFolder`].
    StateFolder(PathBuf, System),
    /// [`ProvisionError::StateFolderWritable`].
    StateFolderWritable(PathBuf),
    /// [`ProvisionError::OpenToOthers`].
    OpenToOthers(PathBuf),
    /// [`ProvisionError::ControlSocket`].
    ControlSocket(PathBuf, SocketFault),
    /// [`ProvisionError::Warden`].
    Warden(System),
    /// [`ProvisionError::Tunnel`].
    Tunnel(TunnelError),
}

/// A [`ControlSocketError`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SocketFault {
    /// Somebody answers on it.
    InUse,
    /// There is something else.
    NotASocket,
    /// Everybody could exchange it.
    FolderOpenToOthers,
    /// Somebody could exchange it.
    FolderOfAnother(u32),
    /// Its path is too long.
    PathTooLong,
    /// The system refused.
    System(System),
}

/// An error of the system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum System {
    /// By its number.
    Code(i32),
    /// A file is too large.
    TooLarge,
    /// A file is no text.
    NotText,
    /// Another, in words.
    Other(String),
}

impl From<&io::Error> for System {
    fn from(error: &io::Error) -> Self {
        match (error.raw_os_error(), error.kind()) {
            (Some(code), _) => Self::Code(code),
            (None, ErrorKind::FileTooLarge) => Self::TooLarge,
            (None, ErrorKind::InvalidData) => Self::NotText,
            (None, _) => Self::Other(error.to_string()),
        }
    }
}

impl From<System> for io::Error {
    fn from(system: System) -> Self {
        match system {
            System::Code(code) => Self::from_raw_os_error(code),
            System::TooLarge => ErrorKind::FileTooLarge.into(),
            System::NotText => ErrorKind::InvalidData.into(),
            System::Other(text) => Self::other(text),
        }
    }
}

impl From<&ControlSocketError> for SocketFault {
    fn from(error: &ControlSocketError) -> Self {
        match error {
            ControlSocketError::InUse => Self::InUse,
            ControlSocketError::NotASocket => Self::NotASocket,
            ControlSocketError::FolderOpenToOthers => Self::FolderOpenToOthers,
            ControlSocketError::FolderOfAnother(uid) => Self::FolderOfAnother(*uid),
            ControlSocketError::PathTooLong => Self::PathTooLong,
            ControlSocketError::System(error) => Self::System(error.into()),
        }
    }
}

impl From<SocketFault> for ControlSocketError {
    fn from(fault: SocketFault) -> Self {
        match fault {
            SocketFault::InUse => Self::InUse,
            SocketFault::NotASocket => Self::NotASocket,
            SocketFault::FolderOpenToOthers => Self::FolderOpenToOthers,
            SocketFault::FolderOfAnother(uid) => Self::FolderOfAnother(uid),
            SocketFault::PathTooLong => Self::PathTooLong,
            SocketFault::System(system) => Self::System(system.into()),
        }
    }
}

impl From<&ProvisionError> for Fault {
    fn from(error: &ProvisionError) -> Self {
        match error {
            ProvisionError::File { path, source } => Self::File(path.clone(), source.into()),
            ProvisionError::Bind { addr, source } => Self::Bind(*addr, source.into()),
            ProvisionError::StateFolder { path, source } => Self::StateFolder(path.clone(), source.into()),
            ProvisionError::StateFolderWritable { path } => Self::StateFolderWritable(path.clone()),
            ProvisionError::OpenToOthers { path } => Self::OpenToOthers(path.clone()),
            ProvisionError::ControlSocket { path, source } => {
                Self::ControlSocket(path.clone(), source.into())
            }
            ProvisionError::Warden { source } => Self::Warden(source.into()),
            ProvisionError::Tunnel(error) => Self::Tunnel(error.clone()),
        }
    }
}

impl From<Fault> for ProvisionError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::File(path, system) => Self::File { path, source: system.into() },
            Fault::Bind(addr, system) => Self::Bind { addr, source: system.into() },
            Fault::StateFolder(path, system) => Self::StateFolder { path, source: system.into() },
            Fault::StateFolderWritable(path) => Self::StateFolderWritable { path },
            Fault::OpenToOthers(path) => Self::OpenToOthers { path },
            Fault::ControlSocket(path, fault) => Self::ControlSocket { path, source: fault.into() },
            Fault::Warden(system) => Self::Warden { source: system.into() },
            Fault::Tunnel(error) => Self::Tunnel(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_read_the_same_on_the_other_side() {
        let path = || PathBuf::from("/etc/x");
        let system = |kind: ErrorKind| io::Error::from(kind);
        let all = [
            ProvisionError::File { path: path(), source: io::Error::from_raw_os_error(libc::ENOENT) },
            ProvisionError::File { path: path(), source: system(ErrorKind::FileTooLarge) },
            ProvisionError::File { path: path(), source: system(ErrorKind::InvalidData) },
            ProvisionError::Bind {
                addr: "127.0.0.1:80".parse().unwrap(),
                source: io::Error::from_raw_os_error(libc::EADDRINUSE),
            },
            ProvisionError::StateFolder { path: path(), source: io::Error::from_raw_os_error(libc::EACCES) },
            ProvisionError::StateFolderWritable { path: path() },
            ProvisionError::OpenToOthers { path: path() },
            ProvisionError::ControlSocket { path: path(), source: ControlSocketError::InUse },
            ProvisionError::ControlSocket { path: path(), source: ControlSocketError::FolderOfAnother(7) },
            ProvisionError::ControlSocket {
                path: path(),
                source: io::Error::from_raw_os_error(libc::EROFS).into(),
            },
            ProvisionError::Warden { source: io::Error::other("it sleeps") },
            TunnelError::NoInterface { interface: "wg1".to_owned() }.into(),
        ];
        for error in all {
            let text = serde_json::to_string(&Fault::from(&error)).unwrap();
            let back = ProvisionError::from(serde_json::from_str::<Fault>(&text).unwrap());
            assert_eq!(back.to_string(), error.to_string());
        }
    }

    #[test]
    fn nothing_but_the_closed_set_is_understood() {
        for text in [
            r#"{"Open":{"path":"/etc/shadow"}}"#,
            r#"{"Log":{"of":1,"log":0,"path":"/etc/shadow"}}"#,
            r#"{"Log":{"of":1,"log":-1}}"#,
            r#"{"Listen":{"of":1,"address":"0.0.0.0:22","copies":1}}"#,
            "",
        ] {
            assert!(serde_json::from_str::<Call>(text).is_err(), "{text}");
        }
    }
}
