//! Watches over the lot of an upstream, on the control thread: lets out who may go on, and knocks at the door
//! while somebody waits for a connection.
//!
//! A probe asks once a second, and a lost SYN of it is sent again after one, three and seven seconds. A knock
//! is a fresh connection every quarter of a second, so that a way which is open again is noticed at once.

use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::sleep_until;

use super::dial;
use super::group::Group;
use super::health::Health;

/// Between two knocks.
const EVERY: Duration = Duration::from_millis(250);
/// How long a knock waits.
const PATIENCE: Duration = Duration::from_secs(1);
/// Most knocks at a time. One of them has the patience of `connect_timeout`: a way may be slow.
const MOST: usize = 4;

/// Watches over the lot of `group` until it is dropped.
pub async fn keep(group: Arc<Group>) {
    let mut knocks = Knocks { group: Arc::clone(&group), open: JoinSet::new(), patient: false, turn: 0 };
    let mut last = None;
    loop {
        let now = crate::clock::now();
        let release = group.lot().release(now);
        let mut knock = None;
        if group.lot().wants_knocks() {
            if last.is_none_or(|last| now >= last + EVERY) {
                knocks.knock(now);
                last = Some(now);
            }
            knock = last.map(|last| last + EVERY);
        } else {
            knocks.stop();
        }
        tokio::select! {
            () = group.lot().news() => {}
            () = at(release) => {}
            () = at(knock) => {}
            Some(done) = knocks.open.join_next() => {
                if let Ok((index, patient, stood)) = done {
                    knocks.patient &= !patient;
                    if stood {
                        knocks.stop();
                        answered(&group, index);
                    }
                }
            }
        }
    }
}

/// A connection to a backend stood. One that is Down must answer a probe too.
fn answered(group: &Group, index: usize) {
    let backend = &group.backends()[index];
    if backend.health() == Health::Down {
        backend.saw_way();
    } else {
        group.lot().returns(crate::clock::now());
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time.into()).await,
        None => pending().await,
    }
}

/// Connections that are being opened to see whether one stands.
struct Knocks {
    group: Arc<Group>,
    /// Which backend, whether it was the patient one, and whether it stood.
    open: JoinSet<(usize, bool, bool)>,
    patient: bool,
    turn: usize,
}

impl Knocks {
    fn knock(&mut self, now: Instant) {
        let backends = self.group.backends();
        if self.open.len() >= MOST || backends.is_empty() {
            return;
        }
        let index = self.turn % backends.len();
        self.turn += 1;
        let backend = Arc::clone(&backends[index]);
        let patient = !std::mem::replace(&mut self.patient, true);
        let most = self.group.def().connect_timeout;
        let patience = if patient { most } else { PATIENCE.min(most) };
        self.open.spawn(async move { (index, patient, dial::open(&backend, now + patience).await.is_ok()) });
    }

    fn stop(&mut self) {
        if !self.open.is_empty() {
            self.open.abort_all();
            self.open.detach_all();
        }
        self.patient = false;
    }
}
