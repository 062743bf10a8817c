//! How fast a backend usually answers its probes, and when it is far slower than that.

use std::time::Duration;

/// So many times its usual time is far slower...
const TIMES: u32 = 8;
/// ...if it is at least so much more: nobody notices less.
const LEAST: Duration = Duration::from_millis(500);
/// So many probes make what is usual.
const KNOWN_AFTER: u32 = 5;
/// So many slow probes in a row are slowness, so many others its end.
const IN_A_ROW: u32 = 3;

/// What changed with a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// It is slow now.
    Slow,
    /// It is as fast as usual again.
    Usual,
}

/// The pace of one backend.
#[derive(Debug, Clone, Copy, Default)]
pub struct Pace {
    usual: Duration,
    known: u32,
    slow: bool,
    /// Probes in a row that speak against `slow`.
    against: u32,
}

impl Pace {
    /// Takes the time that a probe took; returns the change that it makes.
    pub fn observe(&mut self, took: Duration) -> Option<Turn> {
        let is_slow = self.known >= KNOWN_AFTER && took > (self.usual * TIMES).max(self.usual + LEAST);
        if !is_slow {
            // What is slow must not become usual, else it would end by lasting.
            self.known = self.known.saturating_add(1);
            self.usual = match self.known {
                1 => took,
                known => (self.usual * (known.min(16) - 1) + took) / known.min(16),
            };
        }
        if is_slow == self.slow {
            self.against = 0;
            return None;
        }
        self.against += 1;
        if self.against < IN_A_ROW {
            return None;
        }
        (self.slow, self.against) = (is_slow, 0);
        Some(if is_slow { Turn::Slow } else { Turn::Usual })
    }

    /// It was away, which is something else: slowness, if it was that before, is over.
    pub fn was_away(&mut self) -> Option<Turn> {
        self.against = 0;
        std::mem::take(&mut self.slow).then_some(Turn::Usual)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn run(pace: &mut Pace, millis: &[u64]) -> Vec<Option<Turn>> {
        millis.iter().map(|millis| pace.observe(Duration::from_millis(*millis))).collect()
    }

    #[test]
    fn far_slower_than_usual_is_slow_and_lasting_does_not_make_it_usual() {
        let mut pace = Pace::default();
        assert!(run(&mut pace, &[30, 40, 30, 20, 40, 35]).iter().all(Option::is_none));
        assert_eq!(run(&mut pace, &[900, 900, 30, 900, 900, 900]).last().unwrap(), &Some(Turn::Slow));
        assert!(run(&mut pace, &[900; 100]).iter().all(Option::is_none));
        assert_eq!(run(&mut pace, &[30, 30, 30]), [None, None, Some(Turn::Usual)]);
    }

    #[test]
    fn a_slow_way_is_usual_and_little_is_nothing() {
        let mut pace = Pace::default();
        assert!(run(&mut pace, &[700; 20]).iter().all(Option::is_none));
        assert!(run(&mut pace, &[1500; 20]).iter().all(Option::is_none));
        let mut pace = Pace::default();
        assert!(run(&mut pace, &[1; 10]).iter().chain(&run(&mut pace, &[400; 10])).all(Option::is_none));
    }

    proptest! {
        #[test]
        fn turns_alternate(millis in proptest::collection::vec(0_u64..4000, 0..200)) {
            let mut pace = Pace::default();
            let turns: Vec<Turn> = run(&mut pace, &millis).into_iter().flatten().collect();
            for (at, turn) in turns.iter().enumerate() {
                prop_assert_eq!(*turn, if at % 2 == 0 { Turn::Slow } else { Turn::Usual });
            }
        }
    }
}
