//! The process that keeps the privileges: it starts the edge and opens for it what the configuration names.
//!
//! It has one thread, reads no byte of the network, and does one thing at a time. Inside, top reads down ("P" is
//! pure):
//!
//! ```text
//! watch.rs       the loop: signals, edges that ask, tell and end
//! trial.rs       whether the binary on disk can take the warden's place; succession.rs: how it does
//! answers.rs     what an edge is answered
//! member.rs      one edge: its process and sockets; holdings.rs: what outlives it
//! plan.rs (P)    which edges run, and which of them leads
//! ```

pub mod answers;
pub mod holdings;
pub mod member;
pub mod plan;
pub mod succession;
pub mod trial;
pub mod watch;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::clock;
use crate::config;
use crate::config::model::Config;
use crate::config::model::home::Update;
use crate::config::problem::Report;
use crate::os::confine::{self, ConfineError};
use crate::os::users::{self, User};
use crate::os::{limits, owner};
use crate::provision::activated::Activated;
use crate::provision::in_process::InProcess;
use crate::provision::{Provision, ProvisionError};
use crate::warden::succession::Succession;
use crate::warden::watch::Warden;

/// The user of the edge when nobody names another.
pub const USER: &str = "_porchd";

/// What the warden is told at its start.
#[derive(Debug)]
pub struct Options {
    /// The configuration.
    pub file: PathBuf,
    /// Whether edges confine themselves.
    pub confine: bool,
    /// Sockets of a service manager.
    pub activated: Activated,
}

/// A start that failed.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration can't be read.
    #[error("the configuration cannot be read: {0}")]
    Unreadable(#[source] ProvisionError),
    /// The configuration is wrong.
    #[error("{}", .0.render(false).trim_end())]
    Wrong(#[from] Report),
    /// Nobody is called so.
    #[error("there is no user {name:?} for the edge to run as; {cure}, or set `user`", cure = useradd(name))]
    NoUser {
        /// The name.
        name: String,
    },
    /// Only root can start an edge as somebody else.
    #[error(
        "porchd must be started by root to run its edge as {name:?}; leave out `user` to run it as yourself"
    )]
    NotRoot {
        /// The name.
        name: String,
    },
    /// A log file can't be opened.
    #[error("a log file cannot be opened: {0}")]
    Log(#[source] ProvisionError),
    /// What a warden before this one has left can't be taken up.
    #[error("what the porchd before this one has left cannot be taken up: {0}")]
    Succession(#[source] io::Error),
    /// The system does not confine the warden.
    #[error(transparent)]
    Confine(#[from] ConfineError),
    /// The system has no room.
    #[error("the system has no room for porchd's processes or signals: {0}")]
    System(#[from] io::Error),
}

/// The line that makes the user called `name`.
pub fn useradd(name: &str) -> String {
    if cfg!(target_os = "openbsd") {
        format!("useradd -d /var/empty -s /sbin/nologin -L porchd {name}")
    } else {
        format!(
            "useradd --system --user-group --no-create-home --home-dir / --shell /usr/sbin/nologin {name}"
        )
    }
}

/// Serves until told to stop.
///
/// # Errors
/// When nothing was started.
pub fn run(options: Options) -> Result<ExitCode, StartError> {
    // A limit that can't be raised is still one to count with; edges inherit it.
    let _ = limits::raise_descriptors();
    match succession::begin(clock::now()).map_err(StartError::Succession)? {
        Some(left) => go_on(options, left),
        None => begin(options),
    }
}

fn begin(options: Options) -> Result<ExitCode, StartError> {
    // Looked at as strictly as it will be for edges.
    let mut strict = InProcess::for_edge(options.file.clone(), User { uid: owner::me(), gid: 0 });
    let text = strict.configuration().map_err(StartError::Unreadable)?;
    let config = config::load(&text, &strict.configuration_name())?.config;
    let user = user(&config)?;
    // Not to be had any more, where the warden is confined.
    let program = std::env::current_exe()?;
    confine::warden(asks_tunnels(&config))?;
    let provision = InProcess::for_edge(options.file, as_whom(user)).with_activated(options.activated);
    Warden::new(provision, program, user, options.confine, &config, text)?.watch(None)
}

/// Takes the place of another warden. Whatever is wrong now, its edges serve: nothing here may end them.
fn go_on(options: Options, left: Succession) -> Result<ExitCode, StartError> {
    let name = options.file.display().to_string();
    // A newer binary may not know what an older one took; it says so to whoever asked for it, by its edge.
    let load = |text: &str| config::load(text, &name).map(|loaded| loaded.config);
    let (config, user, asks_tunnels) = match load(&left.text) {
        Ok(config) => {
            let (user, asks_tunnels) = (user(&config).unwrap_or(left.user), asks_tunnels(&config));
            (config, user, asks_tunnels)
        }
        // What the file of now asks for is not known here: the state folder is of whom it was.
        Err(_) => (load(NOTHING)?, left.user, true),
    };
    let _ = confine::warden(asks_tunnels);
    let provision = || InProcess::for_edge(options.file.clone(), as_whom(user));
    let warden = |config: &Config| {
        Warden::new(provision(), left.program.clone(), user, options.confine, config, left.text.clone())
    };
    let warden =
        warden(&config).or_else(|_| warden(&Config { log: load(NOTHING)?.log, ..config.clone() }))?;
    warden.watch(Some(left))
}

/// The least that can be loaded: of it only the log is used, and how long a stop may take.
const NOTHING: &str =
    "sites: [ { hosts: [ nothing.invalid ], listeners: [ http ], routes: [ { path: /, deny: true } ] } ]";

fn as_whom(user: Option<User>) -> User {
    user.unwrap_or(User { uid: owner::me(), gid: 0 })
}

/// Whether WireGuard has to be asked.
fn asks_tunnels(config: &Config) -> bool {
    let updates = config.home_link.address.iter().flat_map(|address| &address.updates);
    let endpoints = updates.filter(|update| matches!(update, Update::WireGuardEndpoint { .. }));
    config.home_link.wireguard.is_some() || endpoints.count() > 0
}

/// Whom edges run as; `None`: whoever this process runs as.
fn user(config: &Config) -> Result<Option<User>, StartError> {
    let me = owner::me();
    let name = config.user.as_deref();
    if me != 0 && name.is_none() {
        return Ok(None);
    }
    let name = name.unwrap_or(USER);
    let user = users::named(name)?.ok_or_else(|| StartError::NoUser { name: name.to_owned() })?;
    match user.uid == me {
        true => Ok(None),
        false if me == 0 => Ok(Some(user)),
        false => Err(StartError::NotRoot { name: name.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_can_be_loaded() {
        assert!(config::load(NOTHING, "t").is_ok());
    }

    #[test]
    fn user_is_told_with_the_cure() {
        let told = StartError::NoUser { name: USER.to_owned() }.to_string();
        assert!(told.contains("useradd") && told.contains(USER) && told.ends_with("or set `user`"), "{told}");
    }
}
