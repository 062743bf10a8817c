//! The only reader of time and randomness. Everything else is given them as arguments.
//!
//! Inside a runtime `now` follows tokio's clock, so tests with paused time steer it.

#![expect(clippy::disallowed_methods, reason = "this is the one place that may read the clock")]

use std::time::{Instant, SystemTime};

/// The monotonic time, as every timer of porchd counts it.
pub fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// The wall-clock time, for log lines, certificates and `Date`; never for timers.
pub fn wall() -> SystemTime {
    #[cfg(test)]
    if let Some(wall) = steered::wall() {
        return wall;
    }
    SystemTime::now()
}

/// A random number of 64 bits from a generator of this thread.
///
/// It is unpredictable enough for request ids and jitter and is not for secrets.
pub fn random() -> u64 {
    use std::cell::Cell;
    use std::hash::{BuildHasher, Hasher, RandomState};
    thread_local!(static STATE: Cell<u64> = Cell::new(RandomState::new().build_hasher().finish()));
    STATE.with(|state| {
        // splitmix64 (Steele, Lea, Flood 2014): one add and three mixes a number.
        let seed = state.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        state.set(seed);
        let mixed = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    })
}

#[cfg(test)]
pub mod steered {
    //! A wall clock that runs with the runtime's, which a test may pause: days pass in no time.

    use std::cell::Cell;
    use std::time::{Instant, SystemTime};

    thread_local!(static BEGAN: Cell<Option<(Instant, SystemTime)>> = const { Cell::new(None) });

    /// From here on, on this thread.
    pub fn follow() {
        BEGAN.set(Some((crate::clock::now(), SystemTime::now())));
    }

    pub(super) fn wall() -> Option<SystemTime> {
        BEGAN.get().map(|(began, wall)| wall + crate::clock::now().saturating_duration_since(began))
    }
}
