//! Tells one thing where home is: a closed act with a result, for the process with privileges.
//!
//! It is given what the configuration names and an address. It judges the address once more: whoever asks may have been
//! taken over.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::clock;
use crate::config::model::home::{Address, Update, WireGuard};
use crate::home::address;
use crate::home::firewall::{self, Owned};
use crate::home::tools::Tools;

/// Most addresses of one act: both families.
pub const MOST: usize = 2 * address::MOST;

/// What is to be done to one of the updates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// Home is there, too.
    Add(IpAddr),
    /// Home is there no more.
    Remove(IpAddr),
    /// Home is there and nowhere else: for files, and for tables and sets that are porchd's own.
    Replace(Vec<IpAddr>),
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// It is done.
    Done,
    /// It was so before, by somebody else.
    Present,
    /// The other end of the tunnel is heard from, wherever it is: it was left alone.
    Alive,
}

/// Why it is not done. What other programs say is in the text: it has to reach a log through another process.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum UpdateError {
    /// There is no such program.
    #[error(
        "there is no {program} in /sbin, /usr/sbin, /bin and /usr/bin; install it, or take the update out"
    )]
    NoProgram {
        /// Its name.
        program: String,
    },
    /// It can't be started.
    #[error("{program} cannot be run: {why}")]
    NotRun {
        /// Its name.
        program: String,
        /// What the system says.
        why: String,
    },
    /// It did not end.
    #[error("{program} did not end within {seconds} s and was killed")]
    TooSlow {
        /// Its name.
        program: String,
        /// So long it was waited for.
        seconds: u64,
    },
    /// It failed.
    #[error("{program} says: {said}")]
    Failed {
        /// Its name.
        program: String,
        /// What it said.
        said: String,
    },
    /// Addresses of this family can't be in it.
    #[error(
        "it holds {holds}, and {address} is none: addresses of its family are passed over; another set may take them"
    )]
    Unfit {
        /// The type of the set.
        holds: String,
        /// The address.
        address: IpAddr,
    },
    /// A file can't be written.
    #[error("{path}: {why}")]
    File {
        /// The file.
        path: String,
        /// What the system says.
        why: String,
    },
    /// The tunnel says no.
    #[error("{0}")]
    Tunnel(String),
    /// It is not what the configuration allows.
    #[error("this is not allowed: {0}")]
    Refused(Refusal),
    /// An nft set with `auto-merge` holds it in a range that is more than addresses of homes.
    #[error(
        "{address} is part of {range} there, which porchd does not take apart; take {address} out by hand, \
         or make the set without `auto-merge`"
    )]
    Merged {
        /// The address.
        address: IpAddr,
        /// What the set holds.
        range: String,
    },
}

/// What an act may not be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum Refusal {
    /// The configuration names no such update.
    #[error("there is no such update")]
    NoSuchUpdate,
    /// The address can't be a home's.
    #[error("{0} is no address of a home")]
    Address(IpAddr),
    /// Too many, or none.
    #[error("{0} addresses at a time")]
    Many(usize),
    /// Others have something in it.
    #[error("this update does not take such an act")]
    Act,
}

/// The tunnels of this machine.
pub trait Tunnels {
    /// When the last handshake with the peer was, and where it is dialled.
    ///
    /// # Errors
    /// What the tunnel says, with the cure.
    fn peer(&self, peer: &WireGuard) -> Result<Peer, String>;

    /// Dials the peer at `endpoint` from now on.
    ///
    /// # Errors
    /// What the tunnel says, with the cure.
    fn set_endpoint(&self, peer: &WireGuard, endpoint: SocketAddr) -> Result<(), String>;
}

/// How a tunnel's peer stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Whether its last handshake is too old to mean anything, or there was none.
    pub stale: bool,
    /// Where it was heard of last, or is dialled.
    pub endpoint: Option<SocketAddr>,
}

/// Does `step` to the update `which` of `address`.
///
/// # Errors
/// Why it is not done.
pub fn act(
    tools: &Tools,
    tunnels: &dyn Tunnels,
    address: &Address,
    which: usize,
    step: &Step,
) -> Result<Outcome, UpdateError> {
    let update = address.updates.get(which).ok_or(UpdateError::Refused(Refusal::NoSuchUpdate))?;
    allowed(update, step, address.allow_private).map_err(UpdateError::Refused)?;
    match (update, step) {
        (Update::PfTable { table, .. }, step) => firewall::pf(tools, table, step),
        (Update::NftSet { set, .. }, step) => firewall::nft(tools, set, step),
        (Update::File(path), Step::Replace(all)) => write(path, all)
            .map_err(|error| UpdateError::File { path: path.display().to_string(), why: error.to_string() }),
        (Update::WireGuardEndpoint { wireguard, port }, Step::Add(ip)) => {
            dial(tunnels, wireguard, SocketAddr::new(*ip, *port))
        }
        _ => Err(UpdateError::Refused(Refusal::Act)),
    }
}

fn allowed(update: &Update, step: &Step, allow_private: bool) -> Result<(), Refusal> {
    let all = match step {
        // What was believed once must be removable.
        Step::Remove(_) => &[][..],
        Step::Add(ip) => std::slice::from_ref(ip),
        Step::Replace(all) if all.is_empty() || all.len() > MOST => return Err(Refusal::Many(all.len())),
        Step::Replace(_) if Owned::of(update) == Owned::ByOthersToo => return Err(Refusal::Act),
        Step::Replace(all) => all,
    };
    match all.iter().find(|ip| address::unwanted(**ip, allow_private).is_some()) {
        Some(bad) => Err(Refusal::Address(*bad)),
        None => Ok(()),
    }
}

/// A peer that is heard from knows better where it is.
fn dial(tunnels: &dyn Tunnels, peer: &WireGuard, endpoint: SocketAddr) -> Result<Outcome, UpdateError> {
    let found = tunnels.peer(peer).map_err(UpdateError::Tunnel)?;
    if found.endpoint == Some(endpoint) {
        return Ok(Outcome::Present);
    }
    if !found.stale {
        return Ok(Outcome::Alive);
    }
    tunnels.set_endpoint(peer, endpoint).map_err(UpdateError::Tunnel)?;
    Ok(Outcome::Done)
}

/// One address a line, for everybody to read. Whoever reads it sees the whole of before or the whole of now.
fn write(path: &Path, all: &[IpAddr]) -> io::Result<Outcome> {
    let text: String = all.iter().map(|ip| format!("{ip}\n")).collect();
    if std::fs::read(path).is_ok_and(|found| found == text.as_bytes()) {
        return Ok(Outcome::Present);
    }
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_string_lossy().into_owned();
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    // One of its own each time: a name that is known before could be a link by then.
    let aside = folder.join(format!(".{name}.{:016x}", clock::random()));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(&aside)?;
    let put = fill(&mut file, &text).and_then(|()| std::fs::rename(&aside, path));
    if put.is_err() {
        // What is told is why it could not be written.
        let _ = std::fs::remove_file(&aside);
    }
    put?;
    File::open(folder)?.sync_all()?;
    Ok(Outcome::Done)
}

fn fill(file: &mut File, text: &str) -> io::Result<()> {
    // Whatever the umask says.
    file.set_permissions(Permissions::from_mode(0o644))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests;
