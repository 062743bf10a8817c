//! What is remembered of one incident. Its JSON is written to disk and printed by `--json`: fields are only added.

use serde::{Deserialize, Serialize};

use crate::acme::moment::Moment;

/// A time in which an upstream could not be reached, did not answer, or was far slower than it usually is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incident {
    /// Counts the incidents of this state folder from 1.
    pub id: u64,
    /// The upstream's name.
    pub upstream: String,
    /// When the first evidence of it was seen.
    pub began: Moment,
    /// When it was over; absent: it lasts, or nobody knows (`end` says which).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Moment>,
    /// How it ended.
    pub end: End,
    /// How long it lasted, in milliseconds; where the end is not known: until it was last looked at.
    pub lasted_ms: u64,
    /// What it was put down to, from when on; the first one is of its begin.
    pub causes: Vec<Cause>,
    /// What became of the requests that came while it lasted.
    pub requests: Requests,
}

/// How an incident ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// Not yet.
    Lasts,
    /// The upstream was back.
    Back,
    /// porchd ended first: when the upstream was back is not known.
    Restart,
    /// The configuration names the upstream no more.
    Removed,
}

/// Something that an incident was put down to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// From when on.
    pub at: Moment,
    /// A word of a small set: `refused`, `no-route`, `connect-timeout`, `probe-timeout`, `slow`,
    /// `tunnel-stale` and others.
    pub token: String,
    /// The same for people.
    pub text: String,
}

/// What became of the requests that came while an incident lasted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Requests {
    /// Had to wait.
    pub parked: u64,
    /// Of these: were sent to the upstream in the end.
    pub delivered: u64,
    /// Were answered by the edge: their time to wait was over, or there was no room to wait in.
    pub failed: u64,
    /// Were given up by the client that asked.
    pub left: u64,
    /// The longest wait, in milliseconds.
    pub longest_wait_ms: u64,
}

impl Incident {
    /// Whether it is not over.
    pub fn lasts(&self) -> bool {
        self.end == End::Lasts
    }

    /// Whether it was not over before `since`, as far as that is known.
    pub fn is_within(&self, since: Moment) -> bool {
        self.lasts() || self.ended.unwrap_or(self.began) >= since
    }

    /// Whether nobody had to wait for it and it was over within a second.
    pub fn is_blip(&self) -> bool {
        let Requests { parked, failed, .. } = self.requests;
        !self.lasts() && self.lasted_ms < 1000 && parked == 0 && failed == 0
    }

    /// Whether nothing was away: home has another address since then. `upstream` is the name that has it.
    pub fn is_move(&self) -> bool {
        !self.causes.is_empty() && self.causes.iter().all(|cause| cause.token == MOVED)
    }

    /// Whether the upstream was there all the time, and only slow.
    pub fn is_slowness(&self) -> bool {
        !self.causes.is_empty() && self.causes.iter().all(|cause| cause.token == SLOW)
    }
}

/// The token of a cause: nothing was away, home has another address.
pub const MOVED: &str = "moved";
/// The token of a cause: it answers, far later than it usually does.
pub const SLOW: &str = "slow";
