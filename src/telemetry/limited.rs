//! A gate for warnings that would repeat themselves: at most one in each interval.
//!
//! It decides and counts nothing else; the caller says what is told.

use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Lets one through, then none until the interval has passed.
#[derive(Debug)]
pub struct Limited {
    every: Duration,
    last: Mutex<Option<Instant>>,
}

impl Limited {
    /// A gate that opens at once and then again `every` so often.
    pub const fn new(every: Duration) -> Self {
        Self { every, last: Mutex::new(None) }
    }

    /// Whether it may be told now; a `true` closes the gate for the interval.
    pub fn allows(&self, now: Instant) -> bool {
        // A poisoned lock guards nothing that could be half-written.
        let mut last = self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let open = last.is_none_or(|last| now.saturating_duration_since(last) >= self.every);
        if open {
            *last = Some(now);
        }
        open
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_warning_passes_in_each_interval() {
        let gate = Limited::new(Duration::from_secs(60));
        let start = crate::clock::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let passed: Vec<bool> = [0, 1, 59, 60, 61, 119, 121].map(|s| gate.allows(at(s))).to_vec();
        assert_eq!(passed, [true, false, false, true, false, false, true]);
    }

    #[test]
    fn time_that_runs_backwards_keeps_the_gate_closed() {
        let gate = Limited::new(Duration::from_secs(1));
        let start = crate::clock::now() + Duration::from_secs(100);
        assert!(gate.allows(start));
        assert!(!gate.allows(start - Duration::from_secs(50)));
    }
}
