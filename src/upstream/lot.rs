//! Where the requests of one upstream wait while it is away, and what is known of its outages.
//!
//! The decisions are `parking`'s; here is what threads share of them.

use std::time::{Duration, Instant};

use super::health::ProbeFailure;

/// What became of the requests that waited, since porchd began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Waiting now.
    pub now: u32,
    /// All that ever waited.
    pub parked: u64,
    /// Sent home in the end.
    pub delivered: u64,
    /// Answered by the edge because their budget was over.
    pub expired: u64,
    /// Not let in because a bound was reached.
    pub refused: u64,
    /// Given up by the client that asked.
    pub left: u64,
}

/// A time in which the upstream could not be reached, or did not answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outage {
    /// Counts the outages of this upstream from 1, since porchd began.
    pub number: u64,
    /// When the first evidence of it was seen.
    pub began: Instant,
    /// When it was over; `None`: it lasts.
    pub ended: Option<Instant>,
    /// What it was put down to, from when on; the first one is of its begin. At least one, at most
    /// [`MOST_CAUSES`], the last of which is the latest.
    pub causes: Vec<(Instant, ProbeFailure)>,
    /// What became of the requests that waited in it; `now` is that of this moment.
    pub counts: Counts,
    /// The longest that a request waited in it.
    pub longest: Duration,
}

/// Most changes of cause that an outage remembers.
pub const MOST_CAUSES: usize = 16;

/// The lot of one upstream. It outlives reloads that keep the upstream's name.
#[derive(Debug, Default)]
pub struct Lot;

impl Lot {
    /// What became of its requests.
    pub fn counts(&self) -> Counts {
        Counts::default()
    }

    /// The outage of now, or the last one.
    pub fn outage(&self) -> Option<Outage> {
        None
    }
}
