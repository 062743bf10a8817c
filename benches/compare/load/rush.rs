//! A run of as many requests as go, some at a time, over all riders in turn.
//!
//! However many riders there are, so many requests are on their way: the load is alike.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use porchd::clock;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::rider::Rider;

/// As many requests as go, over all riders in turn.
pub(crate) async fn run(riders: Vec<Rider>, span: Duration) -> io::Result<(Vec<Rider>, Value)> {
    let together = riders.len().min(TOGETHER);
    let waiting = Arc::new(Mutex::new(VecDeque::from(riders)));
    let begun = clock::now();
    let mut workers = JoinSet::new();
    for _ in 0..together {
        workers.spawn(work(Arc::clone(&waiting), begun + span));
    }
    let (mut requests, mut failed) = (0, 0);
    while let Some(ended) = workers.join_next().await {
        let (done, lost) = ended.map_err(io::Error::other)?;
        requests += done;
        failed += lost;
    }
    let seconds = clock::now().duration_since(begun).as_secs_f64();
    let riders = std::mem::take(&mut *waiting.lock().unwrap_or_else(PoisonError::into_inner));
    Ok((riders.into(), json!({ "requests": requests, "failed": failed, "seconds": seconds })))
}

/// Takes the rider that has waited longest, again and again: requests that were answered, and that were not.
async fn work(waiting: Arc<Mutex<VecDeque<Rider>>>, until: Instant) -> (usize, usize) {
    let (mut done, mut lost) = (0, 0);
    while clock::now() < until {
        let first = waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let Some(mut rider) = first else { break };
        match rider.ask().await {
            Ok(()) => done += 1,
            Err(_) => lost += 1,
        }
        waiting.lock().unwrap_or_else(PoisonError::into_inner).push_back(rider);
    }
    (done, lost)
}

/// Requests on their way at a time, as wrk has them.
const TOGETHER: usize = 32;
