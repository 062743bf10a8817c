//! How requests wait while an upstream is away.

use std::time::Duration;

use super::Upstream;
use super::route::Forward;
use crate::matrix::class::Class;

/// Bounds on the requests that are held while an upstream is away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Park {
    /// Most requests at a time; federation may have half of them. Zero: nothing waits.
    pub most: u32,
    /// Most requests of one client address at a time (IPv6: of one /64).
    pub most_per_client: u32,
    /// Most bytes of heads and of what was read of bodies.
    pub memory: u64,
    /// An outage that has lasted longer lets requests wait [`IN_LONG_OUTAGES`] at most.
    pub outage: Duration,
    /// How long a request waits at most, by what it is for.
    pub budgets: Budgets,
}

/// How long a request waits at most in an outage longer than `outage`.
pub const IN_LONG_OUTAGES: Duration = Duration::from_secs(3);

/// How long a request waits at most, by what it is for; zero: it does not wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budgets {
    /// Long polls.
    pub sync: Duration,
    /// Writes into rooms.
    pub send: Duration,
    /// Requests of peers.
    pub federation: Duration,
    /// Peers' signing keys.
    pub keys: Duration,
    /// Uploads, downloads and thumbnails.
    pub media: Duration,
    /// What hands out credentials.
    pub login: Duration,
    /// Everything else under `/_matrix`.
    pub client: Duration,
    /// What is not Matrix, where its route parks.
    pub other: Duration,
}

impl Budgets {
    /// The budget of a class.
    pub fn of(&self, class: Class) -> Duration {
        match class {
            Class::Sync => self.sync,
            Class::Send => self.send,
            Class::Federation => self.federation,
            Class::Keys => self.keys,
            Class::Media => self.media,
            Class::Login => self.login,
            Class::Client => self.client,
            Class::Other => self.other,
        }
    }
}

/// Budgets of matrix.md's table of classes: peers wait 60 s an attempt, Synapse gives keys 10 s.
impl Default for Park {
    fn default() -> Self {
        let usual = Duration::from_secs(90);
        Self {
            most: 1024,
            most_per_client: 64,
            memory: 64 * 1024 * 1024,
            outage: Duration::from_secs(5 * 60),
            budgets: Budgets {
                sync: usual,
                send: usual,
                federation: Duration::from_secs(50),
                keys: Duration::from_secs(8),
                media: usual,
                login: usual,
                client: usual,
                other: usual,
            },
        }
    }
}

impl Upstream {
    /// How long a request of `class` that `forward` takes may wait while it is away; zero: it does not wait.
    pub fn budget(&self, forward: &Forward, class: Class) -> Duration {
        let parks = self.park.most > 0 && forward.park.unwrap_or(class != Class::Other);
        if parks { self.park.budgets.of(class) } else { Duration::ZERO }
    }
}
