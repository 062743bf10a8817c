//! How a running porchd is asked.

use std::path::PathBuf;

/// Where a running porchd can be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// The control socket; `None`: there is none.
    pub socket: Option<ControlSocket>,
}

/// The control socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlSocket {
    /// Its path.
    pub path: PathBuf,
    /// True for the path that nobody wrote: a failure is a warning.
    pub best_effort: bool,
}
