//! What is observed of an upstream, as the journal takes it: an outage, or a time of being slow.

use std::borrow::Cow;
use std::time::{Duration, Instant, SystemTime};

use crate::incidents::tunnel::Spells;
use crate::upstream::outage::{Counts, Outage};

/// A trouble of an upstream, as it is known at one look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// Counts the troubles of this upstream from 1.
    pub number: u64,
    /// When it began.
    pub began: Instant,
    /// When it was over; `None`: it lasts.
    pub ended: Option<Instant>,
    /// What it is put down to, from when on.
    pub causes: Vec<(Instant, Sign)>,
    /// What became of the requests that waited.
    pub counts: Counts,
    /// The longest that one waited.
    pub longest: Duration,
}

/// What a trouble is put down to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sign {
    /// A word of a small set, such as `refused` or `slow`.
    pub token: Cow<'static, str>,
    /// The same for people.
    pub text: Cow<'static, str>,
}

/// When it is, by both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// By the one that only goes on.
    pub at: Instant,
    /// By the one on the wall.
    pub wall: SystemTime,
}

impl Now {
    /// What the clock on the wall showed at `at`; what is to come is now.
    pub fn wall_at(self, at: Instant) -> SystemTime {
        let ago = self.at.saturating_duration_since(at);
        self.wall.checked_sub(ago).unwrap_or(SystemTime::UNIX_EPOCH)
    }
}

impl Evidence {
    /// Whether it is known what became of all that waited. Who was woken waits no more, and is not delivered yet.
    pub fn is_settled(&self) -> bool {
        let Counts { parked, delivered, expired, left, .. } = self.counts;
        parked <= delivered + expired + left
    }

    /// Of an outage, while the tunnel home stood so.
    pub fn of(outage: &Outage, tunnel: &Spells) -> Self {
        Self {
            number: outage.number,
            began: outage.began,
            ended: outage.ended,
            causes: tunnel.explain(&outage.causes, outage.ended),
            counts: outage.counts,
            longest: outage.longest,
        }
    }
}
