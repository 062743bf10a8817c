//! How a running porchd is asked.

use std::net::SocketAddr;
use std::path::PathBuf;

/// Where a running porchd can be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// The control socket; `None`: there is none.
    pub socket: Option<ControlSocket>,
    /// Where Prometheus reads figures, if anywhere.
    pub metrics: Option<SocketAddr>,
}

/// The control socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlSocket {
    /// Its path.
    pub path: PathBuf,
    /// True for the path that nobody wrote: a failure is a warning.
    pub best_effort: bool,
}
