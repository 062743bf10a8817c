//! The outages of one upstream: when, why, and what became of those who waited.

use std::time::{Duration, Instant};

use super::health::ProbeFailure;

/// What became of the requests that waited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Waiting now.
    pub now: u32,
    /// All that ever waited.
    pub parked: u64,
    /// Sent home in the end.
    pub delivered: u64,
    /// Answered by the edge: their budget was over, or home failed them when they went on.
    pub expired: u64,
    /// Not let in because a bound was reached.
    pub refused: u64,
    /// Given up by the client that asked.
    pub left: u64,
}

/// A time in which the upstream could not be reached, or did not answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outage {
    /// Counts the outages of this upstream from 1, since porchd began.
    pub number: u64,
    /// When the first evidence of it was seen.
    pub began: Instant,
    /// When it was over, told once nobody waits any more; `None`: it lasts.
    pub ended: Option<Instant>,
    /// What it was put down to, from when on; the first one is of its begin. At least one, at most
    /// [`MOST_CAUSES`], the last of which is the latest.
    pub causes: Vec<(Instant, ProbeFailure)>,
    /// What became of the requests that waited in it; `now` is that of this moment.
    pub counts: Counts,
    /// The longest that a request waited in it.
    pub longest: Duration,
}

/// Most changes of cause that an outage remembers.
pub const MOST_CAUSES: usize = 16;

impl Outage {
    /// What it is put down to.
    pub fn cause(&self) -> Option<ProbeFailure> {
        self.causes.last().map(|(_, cause)| *cause)
    }
}

/// What is known of an upstream's outages.
#[derive(Debug, Default)]
pub struct Outages {
    /// The one of now, or the last one.
    last: Option<Outage>,
    /// Of all of them.
    total: Counts,
}

impl Outages {
    /// There is evidence of one, `began` being when it was first missed.
    ///
    /// An outage whose return was no return goes on.
    pub fn seen(&mut self, cause: ProbeFailure, began: Instant, now: Instant, settled: bool) {
        let number = self.last.as_ref().map_or(0, |last| last.number);
        match &mut self.last {
            Some(last) if last.ended.is_none() || !settled => {
                last.ended = None;
                if last.cause().map(ProbeFailure::token) != Some(cause.token()) {
                    last.causes.truncate(MOST_CAUSES - 1);
                    last.causes.push((now, cause));
                }
            }
            _ => {
                self.last = Some(Outage {
                    number: number + 1,
                    began,
                    ended: None,
                    causes: vec![(began, cause)],
                    counts: Counts::default(),
                    longest: Duration::ZERO,
                });
            }
        }
    }

    /// It answers far more slowly than usual, which is no absence.
    pub fn slow(&mut self, now: Instant) {
        if self.last.as_ref().is_none_or(|last| last.ended.is_some()) {
            self.seen(ProbeFailure::Slow, now, now, true);
        }
    }

    /// It is as fast as usual again.
    pub fn usual(&mut self, now: Instant) {
        if self.last.as_ref().is_some_and(|last| last.cause() == Some(ProbeFailure::Slow)) {
            self.over(now);
        }
    }

    /// The upstream is back.
    pub fn over(&mut self, now: Instant) {
        if let Some(last) = self.last.as_mut().filter(|last| last.ended.is_none()) {
            last.ended = Some(now);
        }
    }

    /// Counts something, in the outage and in all.
    pub fn count(&mut self, what: impl Fn(&mut Counts)) {
        what(&mut self.total);
        if let Some(last) = &mut self.last {
            what(&mut last.counts);
        }
    }

    /// Somebody has waited so long.
    pub fn waited(&mut self, time: Duration) {
        if let Some(last) = &mut self.last {
            last.longest = last.longest.max(time);
        }
    }

    /// What became of all, with so many waiting now.
    pub fn total(&self, now: u32) -> Counts {
        Counts { now, ..self.total }
    }

    /// The one of now or the last one, with so many waiting now.
    pub fn last(&self, now: u32) -> Option<Outage> {
        let last = self.last.as_ref()?;
        let ended = last.ended.filter(|_| now == 0);
        Some(Outage { ended, counts: Counts { now, ..last.counts }, ..last.clone() })
    }

    /// Since when the upstream is away, and why.
    pub fn away(&self) -> Option<(Instant, ProbeFailure)> {
        let last = self.last.as_ref().filter(|last| last.ended.is_none())?;
        Some((last.began, last.cause().filter(|cause| *cause != ProbeFailure::Slow)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_has_a_begin_an_end_and_the_causes_between() {
        let mut outages = Outages::default();
        let start = crate::clock::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        outages.seen(ProbeFailure::Refused, at(0), at(1), true);
        outages.seen(ProbeFailure::Refused, at(2), at(2), true);
        outages.seen(ProbeFailure::Status(502), at(3), at(3), true);
        outages.seen(ProbeFailure::Status(503), at(4), at(4), true);
        outages.count(|counts| counts.parked += 2);
        assert_eq!(outages.away(), Some((at(0), ProbeFailure::Status(502))));
        outages.over(at(9));
        assert_eq!(outages.away(), None);
        // Told as over when nobody waits.
        assert_eq!(outages.last(1).unwrap().ended, None);
        let last = outages.last(0).unwrap();
        assert_eq!((last.number, last.began, last.ended), (1, at(0), Some(at(9))));
        assert_eq!(last.causes, [(at(0), ProbeFailure::Refused), (at(3), ProbeFailure::Status(502))]);
        outages.seen(ProbeFailure::Refused, at(20), at(20), true);
        assert_eq!((outages.last(0).unwrap().number, outages.last(0).unwrap().counts.parked), (2, 0));
        assert_eq!(outages.total(0).parked, 2);
    }

    #[test]
    fn a_return_that_was_none_is_the_same_outage() {
        let mut outages = Outages::default();
        let start = crate::clock::now();
        outages.seen(ProbeFailure::Refused, start, start, true);
        outages.over(start + Duration::from_secs(1));
        outages.seen(ProbeFailure::Closed, start, start + Duration::from_secs(2), false);
        let last = outages.last(0).unwrap();
        assert_eq!((last.number, last.ended, last.causes.len()), (1, None, 2));
    }

    #[test]
    fn slowness_is_told_and_is_no_absence() {
        let mut outages = Outages::default();
        let start = crate::clock::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        outages.slow(at(0));
        outages.slow(at(1));
        assert_eq!(outages.away(), None);
        // It ends, or becomes an absence that ends by itself.
        outages.usual(at(9));
        assert_eq!(outages.last(0).unwrap().ended, Some(at(9)));
        outages.slow(at(20));
        outages.seen(ProbeFailure::Refused, at(21), at(22), true);
        outages.usual(at(23));
        assert_eq!(outages.away(), Some((at(20), ProbeFailure::Refused)));
        let last = outages.last(0).unwrap();
        assert_eq!((last.number, last.causes.len(), last.ended), (2, 2, None));
    }

    #[test]
    fn causes_that_alternate_fill_no_memory() {
        let mut outages = Outages::default();
        let now = crate::clock::now();
        for turn in 0..100 {
            let cause = if turn % 2 == 0 { ProbeFailure::Refused } else { ProbeFailure::NoRoute };
            outages.seen(cause, now, now, true);
        }
        let last = outages.last(0).unwrap();
        assert_eq!((last.causes.len(), last.cause()), (MOST_CAUSES, Some(ProbeFailure::NoRoute)));
    }
}
