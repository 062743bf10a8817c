//! An edge as the plan sees it, and by when it is gone.

use std::time::{Duration, Instant};

use crate::warden::plan::{EdgeId, Place};

/// How long an edge that is replaced may keep the lead: it waits for a certificate's last write at the most.
pub const YIELD_LIMIT: Duration = Duration::from_secs(60);
/// What an edge gets beyond its own deadline.
pub const GRACE: Duration = Duration::from_secs(15);

/// An edge as the plan sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edge {
    /// Which.
    pub id: EdgeId,
    /// What it is.
    pub place: Place,
    /// When it is ended unless it has done by then what it was told: to serve, to give up the lead, to be gone.
    pub deadline: Option<Instant>,
    /// Since when it serves.
    pub ready: Option<Instant>,
    /// Whether it has what only one may have.
    pub leads: bool,
    /// How long its connections may take to drain once it is replaced.
    pub drain: Duration,
}

impl Edge {
    /// By when it has given up the lead, or else is gone, being replaced now.
    pub fn gone_by(&self, now: Instant) -> Option<Instant> {
        after(now, if self.leads { YIELD_LIMIT } else { self.drain + GRACE })
    }
}

/// `None`: so late that it makes no difference.
pub fn after(now: Instant, limit: Duration) -> Option<Instant> {
    now.checked_add(limit)
}
