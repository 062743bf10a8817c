//! A connection's seat: what those who count connections see of it, and how they ask for it back.
//!
//! The connection's own thread tells when it idles, by a store and nothing more, since that is on the way of every
//! request; who counts reads it when there is no room. It closes nothing.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// No time: a request is in flight.
const BUSY: u64 = u64::MAX;

/// The seat of one connection, which idles until its first request.
#[derive(Debug)]
pub struct Seat {
    opened: Instant,
    /// Milliseconds from `opened` on. Nothing else is ordered by it.
    idle: AtomicU64,
    wanted: AtomicBool,
    told: Notify,
}

impl Seat {
    /// A connection was accepted.
    pub fn new(now: Instant) -> Self {
        let (idle, wanted) = (AtomicU64::new(0), AtomicBool::new(false));
        Self { opened: now, idle, wanted, told: Notify::new() }
    }

    /// Since when no request is in flight, if none is. A request counts from the end of its head.
    pub fn idle_since(&self) -> Option<Instant> {
        let millis = self.idle.load(Ordering::Relaxed);
        (millis != BUSY).then(|| self.opened + Duration::from_millis(millis))
    }

    /// A request is in flight, or the connection is a tunnel.
    pub(super) fn is_busy(&self) {
        self.idle.store(BUSY, Ordering::Relaxed);
    }

    /// No request is in flight any more.
    pub(super) fn idles(&self, now: Instant) {
        let millis = now.saturating_duration_since(self.opened).as_millis();
        self.idle.store(u64::try_from(millis).unwrap_or(BUSY).min(BUSY - 1), Ordering::Relaxed);
    }

    /// Asks for it back.
    pub fn ask_back(&self) {
        self.wanted.store(true, Ordering::Relaxed);
        self.told.notify_one();
    }

    /// Whether it was asked for.
    pub fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::Relaxed)
    }

    /// Waits until it is asked for. One can wait.
    pub async fn wanted(&self) {
        while !self.is_wanted() {
            self.told.notified().await;
        }
    }
}
