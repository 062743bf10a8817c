//! Bounds on what one client may use, and deadlines.

use std::time::Duration;

use crate::matrix::class::Class;

/// Bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections at a time; `None`: min(20000, (descriptors - 200) / 2).
    pub connections: Option<usize>,
    /// Connections at a time of one client address (IPv6: one /64).
    pub connections_per_address: usize,
    /// Until a TLS handshake is done.
    pub handshake: Duration,
    /// From the first byte of a request until its head is complete.
    pub request_head: Duration,
    /// Idle between requests.
    pub keep_alive: Duration,
    /// Of an upgraded connection without a byte in either direction.
    pub tunnel_idle: Duration,
    /// While porchd waits for that peer to send or take a body's next bytes.
    pub body_progress: Duration,
    /// Largest request body in bytes; media uploads are not bounded by it.
    pub body: u64,
    /// How often one client may ask, by class.
    pub rates: Rates,
}

/// How often one client (IPv6: one /64) may ask: a bucket of tokens, of which each request takes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Tokens of a full bucket; at least one.
    pub burst: u32,
    /// How long it takes for one more token; together with `burst` a week at the most.
    pub every: Duration,
}

/// The classes of endpoints that are limited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rates([Option<Rate>; Class::COUNT]);

impl Rates {
    /// How often one client may ask for endpoints of this class; `None`: as often as it likes.
    pub fn of(&self, class: Class) -> Option<Rate> {
        self.0[class as usize]
    }

    /// All of them, in the order of the classes.
    pub fn all(&self) -> [Option<Rate>; Class::COUNT] {
        self.0
    }

    /// Limits a class.
    pub fn limit(&mut self, class: Class, rate: Rate) {
        self.0[class as usize] = Some(rate);
    }
}

/// Deadlines of a drain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drain {
    /// Of a stop.
    pub stop: Duration,
    /// Of what a reload retired.
    pub reload: Duration,
    /// Of an edge that an upgrade replaced.
    pub upgrade: Duration,
}
