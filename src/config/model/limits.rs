//! Bounds on what one client may use, and deadlines.

use std::time::Duration;

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
