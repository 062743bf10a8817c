//! Why the state folder did not take or give something: which file, the reason, the cure.

use std::io::{Error, ErrorKind};
use std::path::PathBuf;

use crate::acme::failure::{Failure, Kind};
use crate::os::disk_fault;
use crate::tls::inspect::InspectError;
use crate::tls::pem::PemError;
use crate::tls::store::ServedError;

/// Something that the state folder did not take or give.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The system refuses a file or a folder. It may be asked again later.
    #[error("{path}: {reason}", path = path.display(), reason = disk_fault::reason(source))]
    File {
        /// The file or folder.
        path: PathBuf,
        /// Why; it is shown with the cure.
        source: Error,
    },
    /// Another process uses the state folder.
    #[error(
        "state folder {path}: another porchd{holder} uses it; stop that one, or set `state_dir` to a folder of \
         its own for this one",
        path = path.display(),
        holder = pid.map_or_else(String::new, |pid| format!(" (process {pid})"))
    )]
    Held {
        /// The state folder.
        path: PathBuf,
        /// The other process, if it has said so.
        pid: Option<u32>,
    },
    /// A file can be read, and what it holds can't be used. Asking again does not help.
    #[error("{path}: {fault}", path = path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and the cure.
        fault: Fault,
    },
}

/// What is wrong with what a file holds.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// It is larger than porchd writes it.
    #[error("the file is too large for what it should hold; move it away")]
    TooLarge,
    /// It is not UTF-8.
    #[error("this is not text; move it away, or put a copy of it back that is whole")]
    NotText,
    /// It is not the JSON that it should be.
    #[error(
        "this is not what porchd writes there ({0}); move it away, or put a copy of it back that is whole"
    )]
    Json(#[from] serde_json::Error),
    /// The comment that says whose it is, is missing.
    #[error("the line `# site: NAME` is missing; certificates of your own belong into `tls.certificates`")]
    NoSite,
    /// It says of itself that it is something else.
    #[error("it says that it is for {0}, which has a file of another name; move it away")]
    Misplaced(String),
    /// There is something between its sections that ends or begins none.
    #[error("the file is cut short; move it away, and porchd orders the certificate anew")]
    CutShort,
    /// Its certificate can't be read.
    #[error("{0}; move the file away, and porchd orders the certificate anew")]
    Chain(#[from] InspectError),
    /// Its key and its certificate can't be used together.
    #[error("{0}; move the file away, and porchd orders the certificate anew")]
    Pair(ServedError),
    /// The key of an account can't be read.
    #[error("{0}; put a copy of the key back, or move its folder away for a new account")]
    AccountKey(PemError),
}

impl VaultError {
    /// Whether another process uses the state folder.
    pub fn is_held(&self) -> bool {
        matches!(self, Self::Held { .. })
    }

    /// Whether the file is there, and asking again won't make it usable.
    pub fn is_broken(&self) -> bool {
        matches!(self, Self::Broken { .. })
    }

    /// It as the failure of an attempt: this machine is at fault.
    pub fn failure(&self) -> Failure {
        Failure { kind: Kind::Local, retry_after: None, text: self.to_string() }
    }

    pub(super) fn of(path: PathBuf, source: Error) -> Self {
        // Of the system it would mean that this process may write no larger files.
        match source.kind() == ErrorKind::FileTooLarge && source.raw_os_error().is_none() {
            true => Self::Broken { path, fault: Fault::TooLarge },
            false => Self::File { path, source },
        }
    }
}
