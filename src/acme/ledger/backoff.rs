//! How long is waited after a failure. Jitter only ever makes it longer.

use std::time::Duration;

use crate::acme::ledger::record::Wait;
use crate::acme::moment::Moment;

/// A wait that grows with every failure in a row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Backoff {
    /// After the first failure.
    pub(super) first: Duration,
    /// It doubles up to this.
    pub(super) most: Duration,
    /// The longest that a CA's `Retry-After` is obeyed.
    pub(super) obeyed: Duration,
}

/// The CA does not answer as it should.
pub(super) const UNAVAILABLE: Backoff = backoff(2, HOUR, DAY);
/// The CA was asked too often and does not say when again.
pub(super) const RATE_LIMITED: Backoff = backoff(HOUR, DAY, 7 * DAY);
/// The CA says when again, and then says it again: its word alone is not enough any more.
pub(super) const RATE_LIMITED_AGAIN: Backoff = backoff(5, HOUR, 7 * DAY);
/// The CA refuses and a person must change something.
pub(super) const REFUSED: Backoff = backoff(HOUR, DAY, 7 * DAY);
/// This machine is at fault.
pub(super) const LOCAL: Backoff = backoff(5, 45, 60);
/// A name could not be validated by any challenge.
pub(super) const NAME: Backoff = backoff(5 * 60, DAY, 7 * DAY);
/// The CA would not even try a name.
pub(super) const NAME_REFUSED: Backoff = backoff(HOUR, DAY, 7 * DAY);
/// The process ended in the middle of an order.
pub(super) const LOST: Backoff = backoff(5, HOUR, HOUR);
/// The process ended again when a certificate may have been signed.
pub(super) const LOST_SIGNED: Backoff = backoff(HOUR, DAY, DAY);

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

const fn backoff(first: u64, most: u64, obeyed: u64) -> Backoff {
    Backoff {
        first: Duration::from_secs(first),
        most: Duration::from_secs(most),
        obeyed: Duration::from_secs(obeyed),
    }
}

impl Backoff {
    /// The wait after `failures` in a row, the CA's `Retry-After` obeyed when it is longer.
    pub(super) fn wait(
        self,
        failures: u32,
        now: Moment,
        retry_after: Option<Moment>,
        random: u64,
        text: &str,
    ) -> Wait {
        let own = later(now, self.after(failures), random);
        let told = retry_after.map(|at| obey(now, at, self.obeyed, random));
        let until = told.map_or(own, |told| told.max(own));
        Wait { failures, since: now, until, told, text: text.to_owned() }
    }

    /// The time without jitter.
    pub(super) fn after(self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(20);
        self.first.saturating_mul(1 << doublings).min(self.most)
    }
}

/// What the CA told, obeyed to the second: 3 s become 3 to 4.
pub(super) fn obey(now: Moment, retry_after: Moment, most: Duration, random: u64) -> Moment {
    let wait = retry_after.since(now).min(most);
    // Both are cut to the second, so one second more is needed not to come too early.
    let jitter = random % (wait.as_secs() / 20).clamp(1, 600);
    now.after(wait).after(Duration::from_secs(1 + jitter))
}

/// `now` and `wait`, and up to a quarter of it.
fn later(now: Moment, wait: Duration, random: u64) -> Moment {
    now.after(wait).after(Duration::from_secs(1 + random % (wait.as_secs() / 4 + 2)))
}

/// Another random number from `random`, for `what`.
pub(super) fn mix(random: u64, what: &str) -> u64 {
    // FNV-1a, then the finish of splitmix64.
    let hash = what.bytes().fold(0xcbf2_9ce4_8422_2325_u64 ^ random, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mixed = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_their_most_and_jitter_upwards() {
        let now = Moment::parse("2026-03-01T12:00:00Z").unwrap();
        for random in [0, 1, 2, 7, u64::MAX] {
            for (failures, least) in
                [(0, 2), (1, 2), (2, 4), (3, 8), (11, 2048), (12, 3600), (u32::MAX, 3600)]
            {
                let wait = UNAVAILABLE.wait(failures, now, None, random, "").until.since(now).as_secs();
                assert!(wait > least && wait <= least + least / 4 + 2, "{failures}: {wait}");
            }
        }
    }

    #[test]
    fn what_the_authority_tells_is_obeyed_within_reason() {
        let now = Moment::parse("2026-03-01T12:00:00Z").unwrap();
        let told = |seconds| Some(now.after(Duration::from_secs(seconds)));
        for random in 0..9 {
            let wait = |told| UNAVAILABLE.wait(1, now, told, random, "").until.since(now).as_secs();
            assert!((61..=65).contains(&wait(told(60))));
            assert!((3..=4).contains(&wait(told(1))), "its own wait is longer");
            assert!((3..=4).contains(&wait(Some(now.before(Duration::from_secs(9))))), "a time that is over");
            assert!((DAY..=DAY + 601).contains(&wait(told(400 * DAY))));
            let exact = obey(now, told(3).unwrap(), Duration::from_secs(DAY), random).since(now).as_secs();
            assert_eq!(exact, 4);
        }
    }
}
