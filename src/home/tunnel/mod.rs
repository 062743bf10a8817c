//! How the tunnel home stands, as WireGuard tells it, and where its other end is dialled.
//!
//! Three ways lead to an interface: a program's socket (wireguard-go), Linux's netlink, OpenBSD's ioctl. Whoever asks
//! waits, but never for long. Nothing is decided here: see `standing.rs`.
//!
//! ```text
//! uapi.rs        the socket of a program, and its lines (P)
//! netlink.rs     Linux; message.rs (P): the messages
//! kernel.rs      which of the kernel's ways there is; wg_io.rs (P): OpenBSD's layout
//! peer.rs (P)    what is found
//! ```

mod kernel;
pub mod message;
#[cfg(target_os = "linux")]
mod netlink;
pub mod peer;
pub mod uapi;
pub mod wg_io;

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};

use crate::clock;
use crate::config::model::home::PublicKey;
use crate::home::tunnel::peer::{Fault, Peer};
use crate::os::confine;

/// WireGuard answers within milliseconds. Nobody is served by whoever waits for it.
const PATIENCE: Duration = Duration::from_secs(1);
/// Most bytes of an answer: thousands of peers with a dozen networks each.
const ROOM: usize = 4 * 1024 * 1024;
/// Most peers that an error names.
const NAMED: usize = 8;
/// IFNAMSIZ, without the last zero.
const NAME: usize = 15;

/// How one end of a tunnel knows the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    /// When the last handshake was, by the clock on the wall; `None`: there was none since the interface is up.
    pub handshake: Option<SystemTime>,
    /// Where the other end was heard of last, or is dialled; `None`: it is waited for.
    pub endpoint: Option<SocketAddr>,
    /// Bytes that came from there.
    pub received: u64,
    /// Bytes that were sent there.
    pub sent: u64,
    /// A packet is sent so often, in seconds, to keep the path open; `None`: it is not.
    pub keepalive: Option<u16>,
}

/// A tunnel that can't be read or changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum TunnelError {
    /// There is no such interface.
    #[error("there is no interface {interface}; {}, or correct its name in home_link", start(interface))]
    NoInterface {
        /// Its name.
        interface: String,
    },
    /// It is there, and of another kind.
    #[error(
        "{interface} is no WireGuard interface; `wg show interfaces` lists those, correct it in home_link"
    )]
    NotWireGuard {
        /// Its name.
        interface: String,
    },
    /// It does not know this key.
    #[error("{interface} has no peer {peer}{}; correct the key in home_link", known(peers, *more))]
    NoPeer {
        /// The interface.
        interface: String,
        /// The key that was looked for.
        peer: PublicKey,
        /// Keys that it knows.
        peers: Vec<PublicKey>,
        /// So many more.
        more: usize,
    },
    /// The system does not let this process ask, or change it.
    #[error("permission denied for {interface}; {}", permission())]
    Denied {
        /// The interface.
        interface: String,
    },
    /// Neither the kernel nor a program has WireGuard for it.
    #[error(
        "there is no WireGuard for {interface}: the kernel has none, and no program listens on {}; \
         modprobe wireguard, or start wireguard-go {interface}", uapi::path(interface).display()
    )]
    NoWireGuard {
        /// The interface.
        interface: String,
    },
    /// WireGuard is there and says nothing.
    #[error("WireGuard did not answer for {interface} within {} s; does `wg show {interface}` hang, too?", PATIENCE.as_secs())]
    Unanswered {
        /// The interface.
        interface: String,
    },
    /// What it says makes no sense.
    #[error("what WireGuard says of {interface} is no answer; does `wg show {interface}` understand it?")]
    Garbled {
        /// The interface.
        interface: String,
    },
    /// The system refused for another reason.
    #[error("WireGuard refused for {interface}: {}", io::Error::from_raw_os_error(*number))]
    System {
        /// The interface.
        interface: String,
        /// The system's number of the error.
        number: i32,
    },
}

impl TunnelError {
    /// Whether it is proof that nothing can go through the tunnel. Of other errors nothing follows.
    pub fn is_absence(&self) -> bool {
        matches!(self, Self::NoInterface { .. } | Self::NoPeer { .. } | Self::NoWireGuard { .. })
    }
}

fn start(interface: &str) -> String {
    if cfg!(target_os = "openbsd") {
        format!("sh /etc/netstart {interface}")
    } else {
        format!("wg-quick up {interface}")
    }
}

fn permission() -> &'static str {
    if cfg!(target_os = "linux") {
        "this needs root, or for the kernel's own WireGuard the capability CAP_NET_ADMIN, which the drop-in for \
         home_link in packaging/systemd gives"
    } else {
        "this needs root, and a warden that knew of home_link at its start: porchd upgrade"
    }
}

fn known(peers: &[PublicKey], more: usize) -> String {
    if peers.is_empty() {
        return String::from(", nor any other");
    }
    let peers: Vec<String> = peers.iter().map(PublicKey::to_string).collect();
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    format!(" (its peers are {}{more})", peers.join(", "))
}

/// How `interface` knows `peer`. Takes a second at the most, and milliseconds as a rule.
///
/// # Errors
/// What `TunnelError` says, each with its cure.
pub fn read(interface: &str, peer: &PublicKey) -> Result<Reading, TunnelError> {
    let peers = peers(interface, clock::now() + PATIENCE)?;
    let Peer { handshake, endpoint, received, sent, keepalive, .. } = find(interface, peer, peers)?;
    Ok(Reading { handshake, endpoint, received, sent, keepalive })
}

/// Has `interface` dial `peer` at `endpoint` from now on. Nothing else changes, and a peer that is not there is not made.
///
/// # Errors
/// What `TunnelError` says, each with its cure.
pub fn set_endpoint(interface: &str, peer: &PublicKey, endpoint: SocketAddr) -> Result<(), TunnelError> {
    let until = clock::now() + PATIENCE;
    // The ways to say it are silent on a peer that is not there.
    find(interface, peer, peers(interface, until)?)?;
    let wrong = |fault| told(interface, fault);
    let done = uapi::set_endpoint(&uapi::path(interface), &peer.0, endpoint, until).map_err(wrong)?;
    match done {
        Some(()) => Ok(()),
        None => kernel::set_endpoint(interface, &peer.0, endpoint, until)
            .map_err(wrong)?
            .ok_or_else(|| none(interface)),
    }
}

/// All that `interface` knows.
fn peers(interface: &str, until: Instant) -> Result<Vec<Peer>, TunnelError> {
    // It becomes part of a path.
    if interface.is_empty() || interface.len() > NAME || interface.contains(['/', '.', '\0']) {
        return Err(TunnelError::NoInterface { interface: interface.to_owned() });
    }
    if !confine::may_ask_tunnels() {
        return Err(TunnelError::Denied { interface: interface.to_owned() });
    }
    let wrong = |fault| told(interface, fault);
    // A program's socket first, as wg(8) does: the kernel knows its interface as one of another kind.
    if let Some(peers) = uapi::peers(&uapi::path(interface), until).map_err(wrong)? {
        return Ok(peers);
    }
    kernel::peers(interface, until).map_err(wrong)?.ok_or_else(|| none(interface))
}

fn find(interface: &str, wanted: &PublicKey, peers: Vec<Peer>) -> Result<Peer, TunnelError> {
    if let Some(found) = peers.iter().find(|peer| peer.key == wanted.0) {
        return Ok(found.clone());
    }
    let named = peers.iter().take(NAMED).map(|peer| PublicKey(peer.key)).collect();
    let more = peers.len().saturating_sub(NAMED);
    Err(TunnelError::NoPeer { interface: interface.to_owned(), peer: *wanted, peers: named, more })
}

fn none(interface: &str) -> TunnelError {
    TunnelError::NoWireGuard { interface: interface.to_owned() }
}

fn told(interface: &str, fault: Fault) -> TunnelError {
    let interface = interface.to_owned();
    match fault {
        Fault::Garbled => TunnelError::Garbled { interface },
        Fault::Refused(number) => refused(interface, number),
        Fault::Io(error) => match error.kind() {
            ErrorKind::TimedOut | ErrorKind::WouldBlock => TunnelError::Unanswered { interface },
            _ => TunnelError::Garbled { interface },
        },
    }
}

fn refused(interface: String, number: i32) -> TunnelError {
    match number {
        libc::ENODEV | libc::ENXIO => TunnelError::NoInterface { interface },
        libc::EOPNOTSUPP | libc::ENOTTY => TunnelError::NotWireGuard { interface },
        // A unit's filter of address families says the second.
        libc::EPERM | libc::EACCES | libc::EAFNOSUPPORT => TunnelError::Denied { interface },
        // A socket's way to say that time is over, or that too many wait already.
        libc::EAGAIN | libc::ETIMEDOUT => TunnelError::Unanswered { interface },
        number => TunnelError::System { interface, number },
    }
}

/// What is left until then, for one call of the system.
fn left(until: Instant) -> io::Result<Duration> {
    let left = until.saturating_duration_since(clock::now());
    if left.is_zero() { Err(ErrorKind::TimedOut.into()) } else { Ok(left) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WANTED: PublicKey = PublicKey([1; 32]);

    fn peers_of(count: u8) -> Vec<Peer> {
        (0..count).map(|first| Peer::new([first + 2; 32])).collect()
    }

    #[test]
    fn a_peer_that_is_not_there_is_told_with_those_that_are() {
        let told = |count| find("wg1", &WANTED, peers_of(count)).unwrap_err().to_string();
        let key = |byte| PublicKey([byte; 32]);
        assert_eq!(told(0), format!("wg1 has no peer {WANTED}, nor any other; correct the key in home_link"));
        assert_eq!(
            told(2),
            format!(
                "wg1 has no peer {WANTED} (its peers are {}, {}); correct the key in home_link",
                key(2),
                key(3)
            )
        );
        assert!(told(20).contains(&format!("{} and 12 more); ", key(9))), "{}", told(20));
        let mut peers = peers_of(3);
        peers.push(Peer { sent: 7, ..Peer::new(WANTED.0) });
        assert_eq!(find("wg1", &WANTED, peers).unwrap().sent, 7);
    }

    #[test]
    fn numbers_of_errors_become_cures() {
        for (number, told) in [
            (libc::ENODEV, "there is no interface wg1; "),
            (libc::ENXIO, "there is no interface wg1; "),
            (libc::EOPNOTSUPP, "wg1 is no WireGuard interface; "),
            (libc::ENOTTY, "wg1 is no WireGuard interface; "),
            (libc::EPERM, "permission denied for wg1; "),
            (libc::EAGAIN, "WireGuard did not answer for wg1 within 1 s; "),
            (libc::ENOMEM, "WireGuard refused for wg1: "),
        ] {
            let error = super::told("wg1", Fault::Refused(number));
            assert!(error.to_string().starts_with(told), "{error}");
        }
        #[cfg(target_os = "linux")]
        assert!(super::told("wg1", Fault::Refused(libc::EPERM)).to_string().contains("CAP_NET_ADMIN"));
    }

    #[test]
    fn an_interface_that_is_not_there_is_an_absence() {
        for name in ["", "../../etc/passwd", "a/b", "sixteen-letters-", "porchd-no-if"] {
            let error = read(name, &WANTED).unwrap_err();
            // A system without WireGuard says so, and so does one that only root may ask.
            let denied = matches!(error, TunnelError::Denied { .. });
            assert!(error.is_absence() || denied && name == "porchd-no-if", "{name}: {error}");
            let set = set_endpoint(name, &WANTED, "192.0.2.1:1".parse().unwrap()).unwrap_err();
            assert_eq!(set, error);
        }
    }

    #[test]
    fn readings_and_errors_go_over_a_wire() {
        let reading = Reading {
            handshake: peer::moment(1_795_874_531, 250_000_000),
            endpoint: Some("[2001:db8::1]:51820".parse().unwrap()),
            received: u64::MAX,
            sent: 0,
            keepalive: Some(25),
        };
        let json = serde_json::to_string(&reading).unwrap();
        assert_eq!(serde_json::from_str::<Reading>(&json).unwrap(), reading);
        let error = find("wg1", &WANTED, peers_of(2)).unwrap_err();
        let json = serde_json::to_string(&error).unwrap();
        assert_eq!(serde_json::from_str::<TunnelError>(&json).unwrap(), error);
    }
}
