//! Moments at a fixed rate, to a fraction of a millisecond; tokio's own timers are of whole ones.

use std::time::{Duration, Instant};

use porchd::clock;
use tokio::sync::mpsc::UnboundedSender;

/// Moments to come: the first at `begin`, then one every `1 / rate`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Schedule {
    pub(crate) begin: Instant,
    /// A second.
    pub(crate) rate: f64,
    /// In all.
    pub(crate) count: usize,
}

impl Schedule {
    /// When the moment of this number is.
    fn due(&self, number: usize) -> Instant {
        self.begin + Duration::from_secs_f64(number as f64 / self.rate)
    }
}

/// Tells each of `takers` in turn when its moment has come, from a thread of its own.
pub(crate) fn start(schedule: Schedule, takers: Vec<UnboundedSender<Instant>>) {
    std::thread::spawn(move || {
        for (number, taker) in (0..schedule.count).zip(takers.iter().cycle()) {
            let due = schedule.due(number);
            std::thread::sleep(due.saturating_duration_since(clock::now()));
            // A taker that is gone has told why.
            let _ = taker.send(due);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_evenly_spread() {
        let begin = clock::now();
        let schedule = Schedule { begin, rate: 4.0, count: 3 };
        let after = |number| schedule.due(number) - begin;
        assert_eq!([0, 1, 6].map(after), [0, 250, 1500].map(Duration::from_millis));
    }
}
