//! The control socket through starts and reloads: kept, closed or opened, and nothing else decided.

use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use tokio::sync::mpsc::UnboundedSender;

use crate::admin::server::{self, Ask, Server, Talks};
use crate::config::model::admin::Admin;
use crate::provision::Provision;
use crate::supervisor::refusal::Refusal;

/// What becomes of the control socket.
#[derive(Debug)]
pub enum Change {
    /// Nothing.
    Keep,
    /// It is closed, if there is one.
    Close,
    /// This one takes its place.
    Open(PathBuf, UnixListener),
}

impl Change {
    /// Opens what `admin` names, unless that is the one `in_force` and still there. `embedded`: only a path that somebody wrote.
    pub fn prepare(
        provision: &mut dyn Provision,
        in_force: Option<&Path>,
        admin: &Admin,
        embedded: bool,
        warnings: &mut Vec<String>,
    ) -> Result<Self, Refusal> {
        let wanted = admin.socket.as_ref().filter(|socket| !(embedded && socket.best_effort));
        let Some(wanted) = wanted else { return Ok(Self::Close) };
        match provision.control_socket(&wanted.path, in_force == Some(&wanted.path)) {
            Ok(Some(listener)) => Ok(Self::Open(wanted.path.clone(), listener)),
            Ok(None) => Ok(Self::Keep),
            Err(error) if wanted.best_effort => {
                warnings.push(format!("{error}; `porchd reload` and `porchd certs` cannot ask this porchd"));
                Ok(Self::Close)
            }
            Err(error) => Err(Refusal::Socket(error)),
        }
    }

    /// The socket that is open once this is done.
    pub fn leads_to(&self, in_force: Option<&Path>) -> Option<PathBuf> {
        match self {
            Self::Keep => in_force.map(Path::to_owned),
            Self::Close => None,
            Self::Open(path, _) => Some(path.clone()),
        }
    }
}

/// The control socket that is open, if one is.
pub struct ControlSocket {
    asks: UnboundedSender<Ask>,
    server: Option<Server>,
}

impl ControlSocket {
    /// None is open yet. What is asked there goes to `asks`.
    pub fn new(asks: UnboundedSender<Ask>) -> Self {
        Self { asks, server: None }
    }

    /// Those who talk on it.
    pub fn talks(&self) -> Option<Talks> {
        self.server.as_ref().map(Server::talks)
    }

    /// Opens, closes or moves it.
    pub fn change(&mut self, change: Change) {
        match change {
            Change::Keep => {}
            Change::Close => self.server = None,
            Change::Open(_, listener) => self.server = Some(server::serve(listener, self.asks.clone())),
        }
    }
}
