//! Where the requests of one upstream wait while it is away, as all threads share it.
//!
//! Who may wait and who goes on is decided by `parking`; here are the lock, the wake-ups and the counts. What
//! watches over it on the control thread is `keeper`. Where nothing is amiss a request reads one flag.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, oneshot};

use crate::config::model::park::{IN_LONG_OUTAGES, Park};

use super::health::ProbeFailure;
use super::outage::{Counts, Outage, Outages};
use super::pace::Turn;
use super::parking::{Full, Guest, Parking, Place, Standing};

/// How a request may wait.
#[derive(Debug, Clone, Copy)]
pub struct Stay {
    /// Who sent it.
    pub client: IpAddr,
    /// Whether it is a peer's.
    pub stranger: bool,
    /// Whether it is a poll, which goes first if it was cut off.
    pub poll: bool,
    /// How long it may wait.
    pub budget: Duration,
}

/// Why a request that waited goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    /// It is its turn.
    Turn,
    /// The configuration is another one.
    Recalled,
}

/// The lot of one upstream. It outlives reloads that keep the upstream's name.
#[derive(Debug)]
pub struct Lot {
    inner: Mutex<Inner>,
    /// The upstream is not simply present.
    astir: AtomicBool,
    news: Notify,
}

#[derive(Debug)]
struct Inner {
    parking: Parking<oneshot::Sender<Wake>>,
    outages: Outages,
    /// Since when the upstream is away without a break.
    away_since: Option<Instant>,
    returned: Option<Instant>,
}

impl Inner {
    fn waiting(&self) -> u32 {
        u32::try_from(self.parking.len()).unwrap_or(u32::MAX)
    }
}

impl Lot {
    /// An empty one.
    pub fn new(bounds: &Park) -> Self {
        let parking = Parking::new(bounds.clone());
        let inner = Inner { parking, outages: Outages::default(), away_since: None, returned: None };
        Self { inner: Mutex::new(inner), astir: AtomicBool::new(false), news: Notify::new() }
    }

    /// Takes the bounds of another configuration.
    pub fn rebound(&self, bounds: &Park) {
        self.lock().parking.rebound(bounds.clone());
    }

    /// Whether the upstream is there and nobody has to wait.
    pub fn is_calm(&self) -> bool {
        !self.astir.load(Ordering::Relaxed)
    }

    /// Whether the upstream is away; not while those who waited for it go on.
    pub fn is_away(&self) -> bool {
        !self.is_calm() && self.lock().parking.standing() == Standing::Away
    }

    /// There is evidence that the upstream is away: an attempt of `tried` failed. It was missed first at
    /// `began`. False: what was tried before the upstream came back says nothing of now.
    pub fn away(&self, cause: ProbeFailure, began: Instant, tried: Instant, now: Instant) -> bool {
        let mut inner = self.lock();
        if inner.returned.is_some_and(|returned| tried < returned) {
            return false;
        }
        let standing = inner.parking.standing();
        if standing != Standing::Away {
            inner.away_since = Some(now);
        }
        let began = inner.returned.map_or(began, |returned| began.max(returned));
        inner.outages.seen(cause, began, now, standing == Standing::Present);
        inner.parking.away();
        self.astir.store(true, Ordering::Relaxed);
        self.news.notify_one();
        true
    }

    /// The upstream is back.
    pub fn returns(&self, now: Instant) {
        if self.is_calm() {
            return;
        }
        let mut inner = self.lock();
        if inner.parking.standing() == Standing::Away {
            inner.parking.returns(now);
            inner.returned = Some(now);
            inner.outages.over(now);
            self.news.notify_one();
        }
    }

    /// The upstream answers far more slowly than usual, or as usual again.
    pub fn paced(&self, turn: Turn, now: Instant) {
        let mut inner = self.lock();
        match turn {
            Turn::Slow => inner.outages.slow(now),
            Turn::Usual => inner.outages.usual(now),
        }
    }

    /// Lets go on who may, and says when to look again.
    pub fn release(&self, now: Instant) -> Option<Instant> {
        let mut inner = self.lock();
        for (_, token) in inner.parking.release(now) {
            // Whoever has just left frees its place by itself.
            let _ = token.send(Wake::Turn);
        }
        self.astir.store(inner.parking.standing() != Standing::Present, Ordering::Relaxed);
        inner.parking.next_release(now)
    }

    /// Wakes all who wait: the configuration is another one. They keep their places.
    pub fn recall(&self) {
        for (_, token) in self.lock().parking.recall() {
            let _ = token.send(Wake::Recalled);
        }
    }

    /// Waits until there is something for `release` to look at, or to knock for.
    pub async fn news(&self) {
        self.news.notified().await;
    }

    /// Whether somebody waits for a connection to the upstream to stand.
    pub fn wants_knocks(&self) -> bool {
        let inner = self.lock();
        let no_way = inner.outages.away().is_some_and(|(_, cause)| cause.is_of_the_way());
        inner.parking.standing() == Standing::Away && !inner.parking.is_empty() && no_way
    }

    /// Gives a request a place from `now` on.
    ///
    /// # Errors
    /// A bound is reached.
    pub fn arrive(self: &Arc<Self>, guest: Guest, now: Instant) -> Result<Ticket, Full> {
        let mut inner = self.lock();
        let (token, wake) = oneshot::channel();
        let place = match inner.parking.arrive(guest, token) {
            Ok(place) => place,
            Err(full) => {
                inner.outages.count(|counts| counts.refused += 1);
                return Err(full);
            }
        };
        inner.outages.count(|counts| counts.parked += 1);
        // A release that is under way takes it at once if its pace allows; knocks begin with the first.
        self.news.notify_one();
        Ok(Ticket { lot: Arc::clone(self), place, guest, wake, arrived: now, ended: false })
    }

    /// How long a request may wait that comes now: in a long outage nobody waits long.
    pub fn budget(&self, own: Duration, now: Instant) -> Duration {
        let inner = self.lock();
        let away = inner.away_since.filter(|_| inner.parking.standing() == Standing::Away);
        let age = away.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        if age > inner.parking.bounds().outage { own.min(IN_LONG_OUTAGES) } else { own }
    }

    /// When a client that was refused should come again: a new one would be held again soon, so in a
    /// short outage soon, in a long one not much later than it takes to notice that it is over.
    pub fn retry_after(&self, now: Instant) -> Duration {
        const LEAST: Duration = Duration::from_secs(5);
        const MOST: Duration = Duration::from_secs(60);
        let away = self.lock().outages.away();
        let age = away.map_or(Duration::ZERO, |(began, _)| now.saturating_duration_since(began));
        (age / 10).clamp(LEAST, MOST)
    }

    /// Why the upstream is away, if it is.
    pub fn cause(&self) -> Option<ProbeFailure> {
        self.lock().outages.away().map(|(_, cause)| cause)
    }

    /// What became of its requests since porchd began.
    pub fn counts(&self) -> Counts {
        let inner = self.lock();
        inner.outages.total(inner.waiting())
    }

    /// The outage of now, or the last one.
    pub fn outage(&self) -> Option<Outage> {
        let inner = self.lock();
        inner.outages.last(inner.waiting())
    }

    /// What is counted stays usable, whoever panicked.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request's place. Dropped, it is free: the client has left.
#[derive(Debug)]
pub struct Ticket {
    lot: Arc<Lot>,
    place: Place,
    guest: Guest,
    wake: oneshot::Receiver<Wake>,
    arrived: Instant,
    ended: bool,
}

impl Ticket {
    /// Ready when the request goes on.
    pub fn poll_wake(&mut self, cx: &mut Context<'_>) -> Poll<Wake> {
        // The other end is dropped with its place alone, which this end does.
        Pin::new(&mut self.wake).poll(cx).map(|wake| wake.unwrap_or(Wake::Turn))
    }

    /// Takes its place again, after a turn that led nowhere or a recall.
    pub fn back(&mut self) {
        let (token, wake) = oneshot::channel();
        self.wake = wake;
        self.lot.lock().parking.back(self.place, self.guest, token);
        self.lot.news.notify_one();
    }

    /// Whether it is a place in `lot`.
    pub fn is_of(&self, lot: &Arc<Lot>) -> bool {
        Arc::ptr_eq(&self.lot, lot)
    }

    /// The request is on its way home.
    pub fn delivered(self, now: Instant) {
        self.end(now, |counts| counts.delivered += 1);
    }

    /// The edge answers it.
    pub fn expired(self, now: Instant) {
        self.end(now, |counts| counts.expired += 1);
    }

    fn end(mut self, now: Instant, count: impl Fn(&mut Counts)) {
        self.ended = true;
        let mut inner = self.lot.lock();
        inner.parking.leave(self.place);
        inner.outages.count(count);
        inner.outages.waited(now.saturating_duration_since(self.arrived));
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.ended {
            let mut inner = self.lot.lock();
            inner.parking.leave(self.place);
            inner.outages.count(|counts| counts.left += 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_tried_before_the_return_says_nothing_of_now() {
        let lot = Lot::new(&Park::default());
        let start = crate::clock::now();
        let at = |millis| start + Duration::from_millis(millis);
        assert!(lot.away(ProbeFailure::Refused, at(0), at(0), at(10)));
        lot.returns(at(500));
        assert!(!lot.away(ProbeFailure::ConnectTimeout, at(100), at(400), at(1400)));
        assert!(!lot.is_away());
        // What is seen later is the same outage while its return is not over, and begins no earlier than that.
        assert!(lot.away(ProbeFailure::Refused, at(100), at(600), at(700)));
        assert_eq!(lot.outage().map(|outage| (outage.number, outage.began)), Some((1, at(0))));
        lot.returns(at(900));
        lot.release(at(9000));
        assert!(lot.is_calm());
        assert!(lot.away(ProbeFailure::Refused, at(100), at(9500), at(9600)));
        assert_eq!(lot.outage().map(|outage| (outage.number, outage.began)), Some((2, at(900))));
    }

    #[test]
    fn only_an_absence_without_a_break_is_long() {
        let lot = Lot::new(&Park::default());
        let start = crate::clock::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let own = Duration::from_secs(90);
        let away = |seconds| lot.away(ProbeFailure::Refused, at(seconds), at(seconds), at(seconds));
        away(0);
        assert_eq!(lot.budget(own, at(300)), own);
        assert_eq!(lot.budget(own, at(301)), IN_LONG_OUTAGES);
        lot.returns(at(302));
        away(303);
        assert_eq!(lot.budget(own, at(304)), own);
    }
}
