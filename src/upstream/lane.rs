//! The connections to one backend that one thread keeps for reuse, and what the thread learnt of it.
//!
//! The connection used last is used first: it is the least likely to be closed by the backend in the
//! very moment, and the rest may age away.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::backend::{Backend, Counted};
use super::dial::{self, DialError};
use super::exchange::Conn;
use super::health::ProbeFailure;

/// A connection that has been idle longer is not used for a request that may go only once.
///
/// A backend that closes idle connections does so after seconds, and its FIN needs the way here: within
/// that time a request sent is lost, and a POST must not be sent twice. A new connection costs it one
/// round trip. In a burst (the usual case of many POSTs) connections are younger and are used.
const TRUSTED: Duration = Duration::from_secs(1);
/// How long such requests avoid kept connections altogether after the backend closed one on a request.
const DISTRUST: Duration = Duration::from_secs(60);
/// How long a thread lets a backend be after it failed to connect: many requests wait at such a time,
/// and one of them is enough to ask.
const LET_BE: Duration = Duration::from_millis(50);
/// Most connections that a thread keeps to one backend.
const MOST_IDLE: usize = 512;

/// The kept connections to one backend.
#[derive(Debug)]
pub struct Lane {
    backend: Arc<Backend>,
    idle: RefCell<Vec<Idle>>,
    idle_timeout: Cell<Duration>,
    most: Cell<Option<u32>>,
    closed: Cell<bool>,
    let_be_until: Cell<Option<Instant>>,
    evidence: Cell<Option<ProbeFailure>>,
    distrust_until: Cell<Option<Instant>>,
    cuts: Cell<u64>,
    waiting: Cell<usize>,
    freed: Notify,
}

/// Why there is no new connection.
#[derive(Debug)]
pub enum NoConnection {
    /// The backend has as many as it may have.
    Busy,
    /// It could not be opened.
    Dial(DialError),
}

/// A connection that waits for a request.
#[derive(Debug)]
struct Idle {
    conn: Conn,
    since: Instant,
}

impl Lane {
    /// An empty lane.
    pub fn new(backend: Arc<Backend>) -> Self {
        let cuts = Cell::new(backend.cuts());
        Self {
            backend,
            cuts,
            idle: RefCell::new(Vec::new()),
            idle_timeout: Cell::new(Duration::ZERO),
            most: Cell::new(None),
            closed: Cell::new(false),
            let_be_until: Cell::new(None),
            evidence: Cell::new(None),
            distrust_until: Cell::new(None),
            waiting: Cell::new(0),
            freed: Notify::new(),
        }
    }

    /// Takes over the settings of a configuration.
    pub fn set(&self, idle_timeout: Duration, most: Option<u32>) {
        self.idle_timeout.set(idle_timeout);
        self.most.set(most);
        self.closed.set(false);
    }

    /// Its backend.
    pub fn backend(&self) -> &Arc<Backend> {
        &self.backend
    }

    /// A kept connection for a request; `once`: one that must not be sent again.
    ///
    /// A connection on which anything was seen (an end, bytes nobody asked for) is closed.
    pub fn take(&self, once: bool, now: Instant) -> Option<Conn> {
        self.notice_cut();
        let mut idle = self.idle.borrow_mut();
        loop {
            let age = now.saturating_duration_since(idle.last()?.since);
            if age >= self.idle_timeout.get() {
                // It is the youngest.
                idle.clear();
                return None;
            }
            if once && (age > TRUSTED || is_before(now, &self.distrust_until)) {
                return None;
            }
            let mut youngest = idle.pop()?;
            if youngest.conn.stream.is_quiet() {
                return Some(youngest.conn);
            }
        }
    }

    /// Lets go of what idles if the way to the backend was cut since the last look: whether the other end
    /// still knows of it nobody can tell.
    pub fn notice_cut(&self) {
        let cuts = self.backend.cuts();
        if self.cuts.replace(cuts) != cuts {
            self.idle.borrow_mut().clear();
        }
    }

    /// Keeps a connection whose exchange ended cleanly.
    pub fn give(&self, conn: Conn, now: Instant) {
        let here = self.waiting.get() > 0;
        // Where requests of other threads wait for a place, a connection that idles here is in the way.
        let elsewhere = !here && self.backend.waiting() > 0;
        let mut idle = self.idle.borrow_mut();
        if !self.closed.get() && !elsewhere && idle.len() < MOST_IDLE {
            idle.push(Idle { conn, since: now });
        }
        if here {
            self.freed.notify_one();
        }
    }

    /// Opens a new connection that stands by `deadline`.
    pub async fn open(&self, deadline: Instant) -> Result<Conn, NoConnection> {
        let place = self.place().ok_or(NoConnection::Busy)?;
        let begun = crate::clock::now();
        match dial::open(&self.backend, deadline).await {
            Ok(stream) => {
                let now = crate::clock::now();
                self.backend.connected(now.saturating_duration_since(begun));
                Ok(Conn::new(stream, place, now))
            }
            Err(error) => {
                self.let_be_until.set(Some(crate::clock::now() + LET_BE));
                self.evidence.set(error.evidence());
                // A lack of descriptors here says nothing of the backend.
                if error.evidence().is_some() {
                    self.backend.saw_failure();
                }
                Err(NoConnection::Dial(error))
            }
        }
    }

    /// A place for a new connection; `None`: the backend has as many as it may have.
    ///
    /// A connection that idles here gives way to one that is needed.
    fn place(&self) -> Option<Counted> {
        let most = self.most.get();
        Counted::connection(&self.backend, most).or_else(|| {
            let oldest = (!self.idle.borrow().is_empty()).then(|| self.idle.borrow_mut().remove(0));
            drop(oldest?);
            Counted::connection(&self.backend, most)
        })
    }

    /// Waits until a connection of this thread is given back. Others' places are noticed by looking
    /// again.
    pub async fn freed(&self) {
        let _everywhere = Counted::waiting(&self.backend);
        let _here = Waiting::new(&self.waiting);
        self.freed.notified().await;
    }

    /// Whether a connection could not be opened just now.
    pub fn is_let_be(&self, now: Instant) -> bool {
        is_before(now, &self.let_be_until)
    }

    /// Why no connection stood the last time that none did.
    pub fn evidence(&self) -> Option<ProbeFailure> {
        self.evidence.get()
    }

    /// The backend closed a kept connection on a request.
    pub fn was_stale(&self, now: Instant) {
        self.distrust_until.set(Some(now + DISTRUST));
    }

    /// Closes what idled too long or was closed by the backend.
    pub fn sweep(&self, now: Instant) {
        let give_way = self.waiting.get() == 0 && self.backend.waiting() > 0;
        let timeout = self.idle_timeout.get();
        self.idle.borrow_mut().retain_mut(|idle| {
            let young = now.saturating_duration_since(idle.since) < timeout;
            young && !give_way && idle.conn.stream.is_quiet()
        });
    }

    /// Closes what idles, now and from now on: the backend is not configured any more.
    pub fn close(&self) {
        self.closed.set(true);
        self.idle.borrow_mut().clear();
    }

    /// How many connections it keeps.
    pub fn kept(&self) -> usize {
        self.idle.borrow().len()
    }
}

fn is_before(now: Instant, until: &Cell<Option<Instant>>) -> bool {
    until.get().is_some_and(|until| now < until)
}

/// Counts a waiting request of this thread.
struct Waiting<'a>(&'a Cell<usize>);

impl<'a> Waiting<'a> {
    fn new(count: &'a Cell<usize>) -> Self {
        count.set(count.get() + 1);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}
