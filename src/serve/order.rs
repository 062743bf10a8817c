//! Where a connection stands, and what is wanted of it.

use std::time::Instant;

/// Where a connection stands between its requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// No request is in flight since then.
    Idle(Instant),
    /// A head has begun and is not complete since then (HTTP/1 only).
    Head(Instant),
    /// At least one request is in flight.
    Busy,
    /// It became a tunnel, which has rules of its own.
    Tunnel,
}

/// What the worker wants of a connection, from least to most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Order {
    /// Go on.
    Serve,
    /// Answer what comes, but say `Connection: close` or GOAWAY; an idle HTTP/1 connection stays open.
    Retire,
    /// As `Finish`, but who has not asked for anything yet, or has begun to, may do so for a moment.
    Drain,
    /// As `Retire`, and close as soon as nothing is in flight.
    Finish,
    /// Close now.
    Close,
}
