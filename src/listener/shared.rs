//! What all threads that accept share: permits, counters, and how often trouble is told.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::listener::permits::Permits;
use crate::telemetry::limited::Limited;

/// Shared by all listeners and threads.
#[derive(Debug)]
pub struct Shared {
    /// How many connections there may be.
    pub permits: Permits,
    /// What became of those that came.
    pub counters: Counters,
    /// Lines on clients with too many connections.
    pub too_many: Limited,
    /// Lines on accept(2) failing.
    pub failing: Limited,
    /// Lines on the total bound being reached.
    pub full: Limited,
}

/// Counts since the start.
#[derive(Debug, Default)]
pub struct Counters {
    /// Connections that accept(2) gave.
    pub accepted: Counter,
    /// Connections dropped since their client had too many.
    pub too_many: Counter,
    /// Connections that did not come through PROXY header and handshake.
    pub failed: Counter,
    /// Of these, the ones for which `limits.handshake` was too short.
    pub timed_out: Counter,
    /// Times that accepting paused, since `limits.connections` were open.
    pub paused: Counter,
    /// TLS handshakes from the beginning.
    pub shaken: Counter,
    /// TLS handshakes that took up an earlier session.
    pub resumed: Counter,
    /// TLS handshakes that failed.
    pub unshaken: Counter,
}

/// A number that all threads add to.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Shared {
    /// No connection is open yet.
    pub fn new(permits: Permits) -> Self {
        let [too_many, failing, full] = [(); 3].map(|()| Limited::new(TOLD_EVERY));
        Self { permits, counters: Counters::default(), too_many, failing, full }
    }
}

impl Counter {
    /// One more.
    pub fn add(&self) {
        // A statistic: nothing is ordered by it.
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// How many so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Often enough to see that it lasts, seldom enough that an attack does not fill the disk.
const TOLD_EVERY: Duration = Duration::from_secs(10);
