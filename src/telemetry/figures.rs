//! What was counted of requests, as plain numbers: readings, and rates and quantiles between two of them.
//!
//! Pure: who counts is `counters`, and what is shown of it is its readers' matter.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::matrix::class::Class;
use crate::telemetry::access::Answered;

/// Every class, in the order in which figures list them.
pub const CLASSES: [Class; 8] = [
    Class::Sync,
    Class::Send,
    Class::Federation,
    Class::Keys,
    Class::Media,
    Class::Login,
    Class::Client,
    Class::Other,
];

/// Who may have answered, and its name in figures.
pub const ANSWERED: [(Answered, &str); 2] = [(Answered::Home, "home"), (Answered::Edge, "edge")];

/// What a request came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The connection became another one (101).
    Informational,
    /// 2xx.
    Success,
    /// 3xx.
    Redirect,
    /// 4xx.
    Refused,
    /// 5xx.
    Failed,
    /// Its client left before there was an answer.
    Left,
}

/// Every ending, in the order in which figures list them.
pub const ENDINGS: [Ending; 6] =
    [Ending::Informational, Ending::Success, Ending::Redirect, Ending::Refused, Ending::Failed, Ending::Left];

impl Ending {
    /// The ending that an answer's status means.
    pub fn of(status: u16) -> Self {
        match status / 100 {
            1 => Self::Informational,
            2 => Self::Success,
            3 => Self::Redirect,
            4 => Self::Refused,
            _ => Self::Failed,
        }
    }

    /// Its name in figures.
    pub fn name(self) -> &'static str {
        match self {
            Self::Informational => "1xx",
            Self::Success => "2xx",
            Self::Redirect => "3xx",
            Self::Refused => "4xx",
            Self::Failed => "5xx",
            Self::Left => "left",
        }
    }
}

/// How many bounds a histogram has; its last bucket has none.
pub const BOUNDS: usize = 15;

/// Upper bounds of the buckets of a class, in microseconds and included.
///
/// Long polls wait for something to happen, for half a minute as a rule: seconds are nothing there.
pub fn bounds(class: Class) -> &'static [u64; BOUNDS] {
    const POLLS: [u64; BOUNDS] = milliseconds([
        100, 250, 500, 1_000, 2_500, 5_000, 10_000, 15_000, 20_000, 25_000, 31_000, 35_000, 60_000, 90_000,
        120_000,
    ]);
    const USUAL: [u64; BOUNDS] =
        milliseconds([1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 30_000, 60_000]);
    match class {
        Class::Sync => &POLLS,
        _ => &USUAL,
    }
}

const fn milliseconds(mut all: [u64; BOUNDS]) -> [u64; BOUNDS] {
    let mut at = 0;
    while at < BOUNDS {
        all[at] *= 1_000;
        at += 1;
    }
    all
}

/// The bucket of a class that `micros` belong to.
pub fn bucket(class: Class, micros: u64) -> usize {
    bounds(class).partition_point(|bound| *bound < micros)
}

/// How long the requests of one class took, from their head to the head of their answer.
///
/// The time that a client takes for an answer's body is not in it; that of a request's body is, and a wait for
/// home to come back. Who left before an answer is not in it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Histogram {
    /// Requests in each bucket, the last of which has no bound; not added up.
    pub counts: [u64; BOUNDS + 1],
    /// Microseconds of all together.
    pub micros: u64,
}

impl Histogram {
    /// How many requests it holds.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// What was counted between `earlier` and this.
    fn since(&self, earlier: &Self) -> Self {
        let counts = std::array::from_fn(|at| self.counts[at].saturating_sub(earlier.counts[at]));
        Self { counts, micros: self.micros.saturating_sub(earlier.micros) }
    }

    /// The time within which a share `q` of the requests was answered, taken as evenly spread within a bucket;
    /// beyond the last bound it is that bound. `None`: there were none.
    pub fn quantile(&self, class: Class, q: f64) -> Option<Duration> {
        let total = self.total();
        if total == 0 {
            return None;
        }
        // At least the first one: a share of nothing is nobody's time.
        let rank = (q.clamp(0.0, 1.0) * total as f64).max(f64::MIN_POSITIVE);
        let (bounds, mut below, mut low) = (bounds(class), 0_u64, 0_u64);
        for (count, bound) in self.counts.iter().zip(bounds) {
            let share = (rank - below as f64) / *count as f64;
            if *count > 0 && share <= 1.0 {
                let micros = low as f64 + share * (bound - low) as f64;
                return Some(Duration::from_micros(micros.round() as u64));
            }
            (below, low) = (below + count, *bound);
        }
        Some(Duration::from_micros(low))
    }
}

/// What was counted since porchd began, of all threads together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// When it was taken.
    pub at: Instant,
    /// Requests by class, who answered and ending, in the orders of [`CLASSES`], [`ANSWERED`] and [`ENDINGS`].
    pub requests: [[[u64; 6]; 2]; 8],
    /// How long they took, by class.
    pub latency: [Histogram; 8],
}

impl Reading {
    /// Nothing was counted yet.
    pub fn empty(at: Instant) -> Self {
        Self { at, requests: Default::default(), latency: Default::default() }
    }

    /// Requests of a class that were answered by `answered` and ended so.
    pub fn requests(&self, class: Class, answered: Answered, ending: Ending) -> u64 {
        self.requests[class as usize][answered as usize][ending as usize]
    }

    /// How long the requests of a class took.
    pub fn latency(&self, class: Class) -> &Histogram {
        &self.latency[class as usize]
    }
}

/// What happened to the requests of one class between two readings.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClassRates {
    /// The class.
    pub class: Class,
    /// Requests that ended, a second; those whose client left are among them.
    pub per_second: f64,
    /// How many they were.
    pub requests: u64,
    /// How many of them were answered with a 5xx, whoever did it.
    pub failed: u64,
    /// Half of those that were answered took at most so long; `None`: there were none.
    pub p50: Option<Duration>,
    /// Of a hundred that were answered, one took longer.
    pub p99: Option<Duration>,
}

/// What happened between two readings.
#[derive(Debug, Clone, PartialEq)]
pub struct Rates {
    /// The time between them.
    pub span: Duration,
    /// By class, in the order of [`CLASSES`].
    pub classes: [ClassRates; 8],
}

impl Rates {
    /// What happened from `earlier` to `later`.
    pub fn between(earlier: &Reading, later: &Reading) -> Self {
        let span = later.at.saturating_duration_since(earlier.at);
        let of = |class: Class| {
            let count = |reading: &Reading, wanted: &dyn Fn(usize) -> bool| -> u64 {
                let kinds = reading.requests[class as usize].iter().flat_map(|by| by.iter().enumerate());
                kinds.filter(|(ending, _)| wanted(*ending)).map(|(_, count)| count).sum()
            };
            let grown =
                |wanted: &dyn Fn(usize) -> bool| count(later, wanted).saturating_sub(count(earlier, wanted));
            let requests = grown(&|_| true);
            let latency = later.latency(class).since(earlier.latency(class));
            ClassRates {
                class,
                per_second: if span.is_zero() { 0.0 } else { requests as f64 / span.as_secs_f64() },
                requests,
                failed: grown(&|ending| ending == Ending::Failed as usize),
                p50: latency.quantile(class, 0.5),
                p99: latency.quantile(class, 0.99),
            }
        };
        Self { span, classes: CLASSES.map(of) }
    }

    /// Those of one class.
    pub fn of(&self, class: Class) -> &ClassRates {
        &self.classes[class as usize]
    }

    /// Requests of all classes that ended, a second.
    pub fn per_second(&self) -> f64 {
        self.classes.iter().map(|class| class.per_second).sum()
    }
}

/// The readings of the last minute, one a second.
#[derive(Debug, Clone, Default)]
pub struct Minute(VecDeque<Reading>);

impl Minute {
    /// Takes the reading of now. Of those that are a minute old or older one is kept, to count from.
    pub fn push(&mut self, reading: Reading) {
        let now = reading.at;
        self.0.push_back(reading);
        let old = |reading: &Reading| now.saturating_duration_since(reading.at) >= MINUTE;
        while self.0.len() > MOST_READINGS || self.0.get(1).is_some_and(old) {
            self.0.pop_front();
        }
    }

    /// What happened in the last minute, or since the start if that was later; `None` before the second reading.
    pub fn rates(&self) -> Option<Rates> {
        match (self.0.front(), self.0.back()) {
            (Some(first), Some(last)) if self.0.len() > 1 => Some(Rates::between(first, last)),
            _ => None,
        }
    }
}

const MINUTE: Duration = Duration::from_secs(60);
/// Both ends of sixty seconds.
const MOST_READINGS: usize = 61;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A histogram of what took so many microseconds.
    fn histogram(class: Class, all: &[u64]) -> Histogram {
        let mut histogram = Histogram::default();
        for micros in all {
            histogram.counts[bucket(class, *micros)] += 1;
            histogram.micros += micros;
        }
        histogram
    }

    fn millis(histogram: &Histogram, class: Class, q: f64) -> Option<u128> {
        histogram.quantile(class, q).map(|time| time.as_millis())
    }

    #[test]
    fn orders_are_those_of_the_indices() {
        assert!(CLASSES.iter().enumerate().all(|(at, class)| *class as usize == at));
        assert!(ANSWERED.iter().enumerate().all(|(at, (answered, _))| *answered as usize == at));
        assert!(ENDINGS.iter().enumerate().all(|(at, ending)| *ending as usize == at));
    }

    #[test]
    fn bounds_rise_and_belong_to_their_bucket() {
        for class in CLASSES {
            let bounds = bounds(class);
            assert!(bounds.is_sorted_by(|one, next| one < next), "{class:?}");
            for (at, bound) in bounds.iter().enumerate() {
                assert_eq!((bucket(class, *bound), bucket(class, bound + 1)), (at, at + 1), "{class:?}");
            }
        }
        assert_eq!((bounds(Class::Sync)[0], bounds(Class::Sync)[14]), (100_000, 120_000_000));
        assert_eq!((bounds(Class::Send)[0], bounds(Class::Send)[14]), (1_000, 60_000_000));
    }

    #[test]
    fn quantiles_are_taken_within_a_bucket() {
        // A hundred between 10 and 20 ms: half of them are taken for at most 15.
        let even = histogram(Class::Client, &[15_000; 100]);
        assert_eq!(millis(&even, Class::Client, 0.5), Some(15));
        assert_eq!(millis(&even, Class::Client, 1.0), Some(20));
        let two = histogram(Class::Client, &[[700; 98].as_slice(), &[150_000; 2]].concat());
        assert_eq!(millis(&two, Class::Client, 0.99), Some(150));
        assert_eq!(millis(&histogram(Class::Client, &[]), Class::Client, 0.5), None);
        assert_eq!(millis(&histogram(Class::Client, &[u64::MAX]), Class::Client, 0.5), Some(60_000));
    }

    #[test]
    fn rates_are_of_what_came_between() {
        let start = crate::clock::now();
        let (mut earlier, mut later) =
            (Reading::empty(start), Reading::empty(start + Duration::from_secs(10)));
        let sync = Class::Sync as usize;
        earlier.requests[sync][0][Ending::Success as usize] = 5;
        later.requests[sync][0][Ending::Success as usize] = 25;
        later.requests[sync][1][Ending::Failed as usize] = 3;
        later.requests[sync][1][Ending::Left as usize] = 7;
        earlier.latency[sync] = histogram(Class::Sync, &[50_000; 5]);
        later.latency[sync] = histogram(Class::Sync, &[[50_000; 5].as_slice(), &[30_500_000; 23]].concat());
        let rates = Rates::between(&earlier, &later);
        let polls = rates.of(Class::Sync);
        assert_eq!((polls.requests, polls.failed, polls.per_second), (30, 3, 3.0));
        assert_eq!(polls.p50, Some(Duration::from_secs(28)));
        assert_eq!(rates.of(Class::Send).p99, None);
        assert_eq!(rates.per_second(), 3.0);
        assert_eq!(Rates::between(&later, &later).per_second(), 0.0, "no time has passed");
    }

    #[test]
    fn a_minute_is_counted_from_a_minute_ago() {
        let start = crate::clock::now();
        let mut minute = Minute::default();
        for second in 0..200 {
            assert_eq!(
                minute.rates().map(|rates| rates.span.as_secs()),
                match second {
                    0 | 1 => None,
                    _ => Some((second - 1).min(60)),
                }
            );
            minute.push(Reading::empty(start + Duration::from_secs(second)));
        }
        assert_eq!(minute.0.len(), MOST_READINGS);
        // The thread was held up for a long time: what is older than the minute goes.
        minute.push(Reading::empty(start + Duration::from_secs(1_000)));
        assert_eq!((minute.0.len(), minute.rates().unwrap().span.as_secs()), (2, 801));
    }

    proptest! {
        #[test]
        fn quantiles_lie_in_the_bucket_of_the_true_one(
            mut all in proptest::collection::vec(0_u64..200_000_000, 1..80), q in 0.0_f64..=1.0, at in 0_usize..8,
        ) {
            let class = CLASSES[at];
            let told = histogram(class, &all).quantile(class, q).unwrap().as_micros() as u64;
            all.sort_unstable();
            let rank = ((q * all.len() as f64).ceil() as usize).max(1) - 1;
            let wanted = bucket(class, all[rank]);
            // A bound belongs to both of its buckets here: times are taken as spread from bound to bound.
            let low = wanted.checked_sub(1).map_or(0, |below| bounds(class)[below.min(BOUNDS - 1)]);
            let high = bounds(class)[wanted.min(BOUNDS - 1)];
            prop_assert!((low..=high).contains(&told), "{told} not in {low}..={high}");
        }

        #[test]
        fn quantiles_rise(all in proptest::collection::vec(0_u64..200_000_000, 1..80), a in 0.0_f64..1.0, b in 0.0_f64..1.0) {
            let histogram = histogram(Class::Send, &all);
            let (a, b) = (a.min(b), a.max(b));
            prop_assert!(histogram.quantile(Class::Send, a) <= histogram.quantile(Class::Send, b));
        }

        #[test]
        fn readings_add_up(
            first in proptest::collection::vec(0_u64..200_000_000, 0..40),
            second in proptest::collection::vec(0_u64..200_000_000, 0..40),
        ) {
            let both = histogram(Class::Media, &[first.clone(), second.clone()].concat());
            let since = both.since(&histogram(Class::Media, &first));
            prop_assert_eq!(since, histogram(Class::Media, &second));
        }
    }
}
