//! A run at a fixed rate, and how long answers take.
//!
//! An open loop: a request that has to wait for its connection counts from the moment it was due. It does
//! not count what its own timer is late.

use std::io;
use std::time::{Duration, Instant};

use porchd::clock;
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, error::TryRecvError, unbounded_channel};
use tokio::task::JoinSet;

use crate::pacer::{self, Schedule};
use crate::rider::Rider;

/// So many requests a second, over all riders in turn.
pub(crate) async fn run(riders: Vec<Rider>, rate: f64, span: Duration) -> io::Result<(Vec<Rider>, Value)> {
    let mut rides = JoinSet::new();
    let mut takers = Vec::new();
    for rider in riders {
        let (sender, moments) = unbounded_channel();
        takers.push(sender);
        rides.spawn(ride(rider, moments));
    }
    let begin = clock::now() + LEAD;
    let count = (rate * span.as_secs_f64()) as usize;
    pacer::start(Schedule { begin, rate, count }, takers);
    let mut riders = Vec::new();
    let mut sum = Ridden::default();
    while let Some(ended) = rides.join_next().await {
        let (rider, ridden) = ended.map_err(io::Error::other)?;
        riders.push(rider);
        sum.failed += ridden.failed;
        sum.waits.extend(ridden.waits);
    }
    sum.waits.sort_unstable();
    let told = json!({
        "requests": sum.waits.len(),
        "failed": sum.failed,
        "seconds": clock::now().duration_since(begin).as_secs_f64(),
        "p50": percentile(&sum.waits, 50.0),
        "p99": percentile(&sum.waits, 99.0),
    });
    Ok((riders, told))
}

/// What came of one connection's requests.
#[derive(Debug, Default)]
struct Ridden {
    /// Of each answer, in microseconds.
    waits: Vec<u64>,
    failed: usize,
}

/// One request at each moment.
async fn ride(mut rider: Rider, mut moments: UnboundedReceiver<Instant>) -> (Rider, Ridden) {
    let mut ridden = Ridden::default();
    while let Some(begun) = next(&mut moments).await {
        match rider.ask().await {
            Ok(()) => ridden.waits.push(microseconds(clock::now().duration_since(begun))),
            Err(_) => ridden.failed += 1,
        }
    }
    (rider, ridden)
}

/// From when on the next request counts: from now when nobody waited for it, else from when it was due.
async fn next(moments: &mut UnboundedReceiver<Instant>) -> Option<Instant> {
    match moments.try_recv() {
        Ok(due) => Some(due),
        Err(TryRecvError::Empty) => moments.recv().await.map(|_| clock::now()),
        Err(TryRecvError::Disconnected) => None,
    }
}

fn microseconds(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

/// The least of `sorted` that so many percent of them do not exceed.
fn percentile(sorted: &[u64], percent: f64) -> u64 {
    let place = (sorted.len() as f64 * percent / 100.0).ceil() as usize;
    sorted.get(place.saturating_sub(1)).copied().unwrap_or(0)
}

/// Time to set out, before the first request.
const LEAD: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_those_measured() {
        let hundred: Vec<u64> = (1..=100).collect();
        assert_eq!([1.0, 50.0, 99.0, 100.0].map(|percent| percentile(&hundred, percent)), [1, 50, 99, 100]);
        assert_eq!((percentile(&[7], 50.0), percentile(&[], 50.0)), (7, 0));
    }
}
