//! What any of the ways to ask finds of the other ends of an interface, and why one finds nothing.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Bytes of a public key.
pub const KEY: usize = 32;
/// Most peers that an answer may name: more is no porch's.
pub const MOST: usize = 16_384;

/// One other end of an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its public key.
    pub key: [u8; KEY],
    /// When the last handshake with it was; `None`: there was none.
    pub handshake: Option<SystemTime>,
    /// Where it was heard of last, or where it is dialled.
    pub endpoint: Option<SocketAddr>,
    /// Bytes that came from it.
    pub received: u64,
    /// Bytes that were sent to it.
    pub sent: u64,
    /// A packet is sent to it so often, in seconds; `None`: only when there is one.
    pub keepalive: Option<u16>,
}

impl Peer {
    /// One of which nothing is known yet.
    pub fn new(key: [u8; KEY]) -> Self {
        Self { key, handshake: None, endpoint: None, received: 0, sent: 0, keepalive: None }
    }
}

/// Why nothing is found.
#[derive(Debug)]
pub enum Fault {
    /// What came is no answer.
    Garbled,
    /// The system's own number of an error.
    Refused(i32),
    /// The answer did not come in time, or the call failed.
    Io(io::Error),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        error.raw_os_error().map_or(Self::Io(error), Self::Refused)
    }
}

/// A moment of the wall clock, as the system tells it; the epoch itself and what is before it mean "never".
pub fn moment(seconds: i64, nanos: i64) -> Option<SystemTime> {
    let seconds = u64::try_from(seconds).ok()?;
    let nanos = u32::try_from(nanos).ok().filter(|nanos| *nanos < 1_000_000_000)?;
    let since = Duration::new(seconds, nanos);
    if since.is_zero() { None } else { UNIX_EPOCH.checked_add(since) }
}
