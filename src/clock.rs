//! The only reader of time and randomness. Everything else is given them as arguments.
//!
//! Inside a runtime `now` follows tokio's clock, so tests with paused time steer it.

#![expect(clippy::disallowed_methods, reason = "this is the one place that may read the clock")]

use std::cell::Cell;
use std::time::{Instant, SystemTime};

/// The monotonic time, as every timer of porchd counts it; inside `hold`, that of its first reading there.
pub fn now() -> Instant {
    match READING.get() {
        Reading::Held(now) => now,
        Reading::Wanted => {
            let now = read();
            READING.set(Reading::Held(now));
            now
        }
        Reading::Afresh => read(),
    }
}

/// Runs `work`, in which no time passes: its first look at the clock holds to its end.
///
/// For one poll of a task, which has nobody to wait for: a request would look twenty times.
pub fn hold<T>(work: impl FnOnce() -> T) -> T {
    /// Lets time pass again, also when the work panics.
    struct Held(Reading);
    impl Drop for Held {
        fn drop(&mut self) {
            READING.set(self.0);
        }
    }
    let before = READING.get();
    if matches!(before, Reading::Afresh) {
        READING.set(Reading::Wanted);
    }
    let _held = Held(before);
    work()
}

/// How this thread looks at the clock now.
#[derive(Clone, Copy)]
enum Reading {
    Afresh,
    Wanted,
    Held(Instant),
}

thread_local!(static READING: Cell<Reading> = const { Cell::new(Reading::Afresh) });

fn read() -> Instant {
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn no_time_passes_while_it_is_held() {
        let begun = now();
        let pass = async || tokio::time::advance(Duration::from_secs(1)).await;
        pass().await;
        let mut passing = Box::pin(pass());
        let mut noop = std::task::Context::from_waker(std::task::Waker::noop());
        let (first, second, third) = hold(|| {
            let first = now();
            let second = hold(now);
            let _ = passing.as_mut().poll(&mut noop);
            (first, second, now())
        });
        assert_eq!(first, begun + Duration::from_secs(1));
        assert_eq!((second, third), (first, first));
        passing.await;
        assert_eq!(now(), begun + Duration::from_secs(2), "time passes again");
    }

    #[test]
    fn a_panic_lets_time_pass_again() {
        let held = std::panic::catch_unwind(|| hold(|| panic!("{:?}", now())));
        assert!(held.is_err());
        assert!(matches!(READING.get(), Reading::Afresh));
    }
}
