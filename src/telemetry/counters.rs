//! Counts of requests: each thread has its own, and any thread reads the sum.
//!
//! Only its own thread writes to a thread's counts, so a load and a store are enough and no cache line is
//! fought for. A reader may see one request's count and not yet its time; nothing is ordered by them.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::matrix::class::Class;
use crate::telemetry::access::Answered;
use crate::telemetry::figures::{self, BOUNDS, Ending, Reading};

/// The counts of all threads. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Counters(Arc<Mutex<Threads>>);

/// What one thread counts with: it stays there. When it is dropped, its counts stay.
#[derive(Debug)]
pub struct Counting {
    own: Arc<Own>,
    // One writer: neither sent nor shared.
    stays: PhantomData<*const ()>,
}

/// How often the edge answered by itself, by its reason.
pub type Faults = BTreeMap<&'static str, u64>;

#[derive(Debug, Default)]
struct Threads {
    alive: Vec<Arc<Own>>,
    ended: Option<Reading>,
    ended_faults: Faults,
}

/// The counts of one thread, on cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Own {
    requests: [[[AtomicU64; 6]; 2]; 8],
    latency: [Buckets; 8],
    faults: FaultCounts,
}

#[derive(Debug, Default)]
struct Buckets {
    counts: [AtomicU64; BOUNDS + 1],
    micros: AtomicU64,
}

#[derive(Debug)]
struct FaultCounts([FaultCount; MOST_FAULTS]);

#[derive(Debug, Default)]
struct FaultCount {
    why: OnceLock<&'static str>,
    count: AtomicU64,
}

impl Counters {
    /// Counts of the thread that calls.
    pub fn counting(&self) -> Counting {
        let own = Arc::new(Own::default());
        self.threads().alive.push(Arc::clone(&own));
        Counting { own, stays: PhantomData }
    }

    /// The sum of all threads, also of those that have ended.
    pub fn read(&self, now: Instant) -> Reading {
        let mut threads = self.threads();
        threads.bury();
        let mut reading = threads.ended.clone().unwrap_or_else(|| Reading::empty(now));
        reading.at = now;
        threads.alive.iter().for_each(|own| own.add_to(&mut reading));
        reading
    }

    /// How often the edge answered by itself, over all threads.
    pub fn faults(&self) -> Faults {
        let mut threads = self.threads();
        threads.bury();
        let mut faults = threads.ended_faults.clone();
        threads.alive.iter().for_each(|own| own.add_faults_to(&mut faults));
        faults
    }

    fn threads(&self) -> MutexGuard<'_, Threads> {
        // Sums that a panic left half made are made anew.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Threads {
    /// Keeps the counts of threads that have ended, and not their memory.
    fn bury(&mut self) {
        let Self { alive, ended, ended_faults } = self;
        alive.retain_mut(|own| {
            // Nobody else has it any more; what its thread wrote is seen.
            let Some(own) = Arc::get_mut(own) else { return true };
            own.add_to(ended.get_or_insert_with(|| Reading::empty(crate::clock::now())));
            own.add_faults_to(ended_faults);
            false
        });
    }
}

impl Counting {
    /// A request was answered by `by`, or its client left.
    pub fn ended(&self, class: Class, by: Answered, ending: Ending) {
        add(&self.own.requests[class as usize][by as usize][ending as usize], 1);
    }

    /// So long an answer took, from the request's head to its own.
    pub fn took(&self, class: Class, took: Duration) {
        let micros = took.as_secs() * 1_000_000 + u64::from(took.subsec_micros());
        let buckets = &self.own.latency[class as usize];
        add(&buckets.counts[figures::bucket(class, micros)], 1);
        add(&buckets.micros, micros);
    }

    /// A request was answered by the edge for the reason `why`, a token of a small set.
    pub fn fault(&self, why: &'static str) {
        // The set is bounded, and a slot that is free ends the search.
        let known = self.own.faults.0.iter().find(|one| *one.why.get_or_init(|| why) == why);
        if let Some(one) = known {
            add(&one.count, 1);
        }
    }
}

/// The one writer needs no read-modify-write.
fn add(count: &AtomicU64, more: u64) {
    count.store(count.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
}

impl Default for FaultCounts {
    fn default() -> Self {
        Self(std::array::from_fn(|_| FaultCount::default()))
    }
}

impl Own {
    fn add_to(&self, reading: &mut Reading) {
        let counts = self.requests.iter().flatten().flatten();
        let sums = reading.requests.iter_mut().flatten().flatten();
        sums.zip(counts).for_each(|(sum, count)| *sum += count.load(Ordering::Relaxed));
        for (sum, own) in reading.latency.iter_mut().zip(&self.latency) {
            sum.micros += own.micros.load(Ordering::Relaxed);
            let buckets = sum.counts.iter_mut().zip(&own.counts);
            buckets.for_each(|(sum, count)| *sum += count.load(Ordering::Relaxed));
        }
    }

    fn add_faults_to(&self, faults: &mut Faults) {
        for one in &self.faults.0 {
            let Some(why) = one.why.get() else { return };
            *faults.entry(why).or_default() += one.count.load(Ordering::Relaxed);
        }
    }
}

/// More reasons than the table of faults has.
const MOST_FAULTS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn count(counters: &Counters, class: Class, by: Answered, ending: Ending) -> u64 {
        counters.read(crate::clock::now()).requests(class, by, ending)
    }

    #[test]
    fn an_answer_is_counted_with_its_time() {
        let counters = Counters::default();
        let counting = counters.counting();
        for (by, status, took) in [(Answered::Home, 200, 1_500), (Answered::Edge, 503, 90_000_000)] {
            counting.ended(Class::Send, by, Ending::of(status));
            counting.took(Class::Send, Duration::from_micros(took));
        }
        counting.ended(Class::Send, Answered::Edge, Ending::Left);
        let reading = counters.read(crate::clock::now());
        let requests = |by, ending| reading.requests(Class::Send, by, ending);
        assert_eq!(requests(Answered::Home, Ending::Success), 1);
        assert_eq!(requests(Answered::Edge, Ending::Failed), 1);
        assert_eq!(requests(Answered::Edge, Ending::Left), 1);
        let latency = reading.latency(Class::Send);
        assert_eq!((latency.counts[1], latency.counts[BOUNDS]), (1, 1));
        assert_eq!((latency.total(), latency.micros), (2, 90_001_500), "who left took no time");
    }

    #[test]
    fn every_status_has_its_ending() {
        let counters = Counters::default();
        let counting = counters.counting();
        for status in [101, 200, 206, 304, 404, 429, 503, 599] {
            counting.ended(Class::Other, Answered::Home, Ending::of(status));
        }
        let told = figures::ENDINGS.map(|ending| count(&counters, Class::Other, Answered::Home, ending));
        assert_eq!(told, [1, 2, 1, 2, 2, 0]);
    }

    #[test]
    fn a_thread_that_ends_leaves_its_counts() {
        let counters = Counters::default();
        let here = counters.counting();
        here.ended(Class::Sync, Answered::Edge, Ending::Left);
        here.fault("home-down");
        for _ in 0..3 {
            let there = counters.clone();
            let thread = std::thread::spawn(move || {
                let counting = there.counting();
                counting.ended(Class::Sync, Answered::Edge, Ending::Left);
                counting.fault("home-down");
                counting.fault("no-route");
            });
            thread.join().unwrap();
            count(&counters, Class::Sync, Answered::Edge, Ending::Left);
        }
        assert_eq!(count(&counters, Class::Sync, Answered::Edge, Ending::Left), 4);
        assert_eq!(counters.faults(), BTreeMap::from([("home-down", 4), ("no-route", 3)]));
        assert_eq!(counters.threads().alive.len(), 1, "their memory is given back");
    }

    #[test]
    fn more_reasons_than_there_is_room_for_harm_nobody() {
        let counters = Counters::default();
        let counting = counters.counting();
        for number in 0..2 * MOST_FAULTS {
            counting.fault(format!("fault-{number}").leak());
        }
        assert_eq!(counters.faults().len(), MOST_FAULTS);
    }
}
