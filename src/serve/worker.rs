//! What one serving thread holds: its view of the configuration, its pools, its connections, its log.
//!
//! Everything here belongs to one thread (`Rc`, `Cell`): a request never wakes another one. The
//! listener's thread loop owns a `Worker`, gives it connections and calls `tick` once a second.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use slab::Slab;

use crate::clock;
use crate::handler::files::cache::Cache;
use crate::serve::order::Order;
use crate::serve::pieces::Pieces;
use crate::serve::progress::Progress;
use crate::snapshot::{Live, Reader, Snapshot};
use crate::telemetry::access;
use crate::telemetry::counters::Counting;
use crate::tls::challenges::Challenges;
use crate::upstream::pool::Pools;

/// One serving thread's state.
pub struct Worker {
    reader: RefCell<Reader>,
    seen: RefCell<Arc<Snapshot>>,
    // Listeners that a reload removed, and the generation that their connections are served by.
    retired: RefCell<Vec<(Arc<str>, Arc<Snapshot>)>>,
    pub(super) pools: Pools,
    pub(super) files: Cache,
    pub(super) pieces: Pieces,
    challenges: Challenges,
    access: access::Log,
    pub(super) counting: Counting,
    connections: RefCell<Slab<Rc<Progress>>>,
    // Requests that wait for home, to be woken when they must be answered at a deadline or look around.
    waiting: RefCell<Slab<Waker>>,
    aborting: Cell<bool>,
    // Since when.
    stopping: Cell<Option<Instant>>,
}

impl Worker {
    /// A thread's state at its start.
    pub fn new(
        live: &Live,
        pools: Pools,
        access: access::Log,
        counting: Counting,
        challenges: Challenges,
    ) -> Rc<Self> {
        let mut reader = live.reader();
        let first = reader.load().clone();
        Rc::new(Self {
            reader: RefCell::new(reader),
            seen: RefCell::new(first),
            retired: RefCell::default(),
            pools,
            files: Cache::new(),
            pieces: Pieces::default(),
            challenges,
            access,
            counting,
            connections: RefCell::new(Slab::new()),
            waiting: RefCell::new(Slab::new()),
            aborting: Cell::new(false),
            stopping: Cell::new(None),
        })
    }

    /// The generation in force.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        let current = self.reader.borrow_mut().load().clone();
        if self.seen.borrow().generation != current.generation {
            self.follow(&current);
        }
        current
    }

    /// The generation that serves a connection of `listener`: the one in force, or the last one that had
    /// a listener which a reload removed since.
    pub fn snapshot_of(&self, listener: &str) -> Arc<Snapshot> {
        let current = self.snapshot();
        let retired = self.retired.borrow();
        let last = retired.iter().find(|(name, _)| **name == *listener);
        last.map_or(current, |(_, last)| last.clone())
    }

    /// A reload was put in force: remembers how what it removed is served, and closes what idles in the
    /// pools of upstreams that are gone.
    fn follow(&self, current: &Arc<Snapshot>) {
        let old = self.seen.replace(current.clone());
        let has =
            |snapshot: &Snapshot, name: &str| snapshot.config.listeners.iter().any(|one| *one.name == *name);
        let mut retired = self.retired.borrow_mut();
        retired.retain(|(name, _)| !has(current, name));
        for listener in old.config.listeners.iter().filter(|listener| !has(current, &listener.name)) {
            retired.push((listener.name.clone(), old.clone()));
            // Here and not only when the order comes: a request may be quicker than that.
            self.retire(&listener.name);
        }
        let groups: Vec<_> = current.groups.values().cloned().collect();
        self.pools.retain(&groups);
    }

    /// How many client connections are open on this thread.
    pub fn open(&self) -> usize {
        self.connections.borrow().len()
    }

    /// What is offered to CAs that look.
    pub fn challenges(&self) -> &Challenges {
        &self.challenges
    }

    /// The access log of this thread, to flush or to reopen.
    pub fn access(&self) -> &access::Log {
        &self.access
    }

    /// Drains the connections of a listener that a reload removed: they are told to go with their next
    /// answer, and never cut while idle.
    pub fn retire(&self, listener: &str) {
        for (_, connection) in self.connections.borrow().iter() {
            if &*connection.listener == listener {
                connection.command(Order::Retire);
            }
        }
    }

    /// Closes what a reload removed and what did not go by itself. Connections of a listener of the same
    /// name that came since are not meant.
    pub fn close(&self, listener: &str) {
        self.retired.borrow_mut().retain(|(name, _)| **name != *listener);
        for (_, connection) in self.connections.borrow().iter() {
            if &*connection.listener == listener && connection.order() >= Order::Retire {
                connection.command(Order::Close);
            }
        }
    }

    /// Begins to stop: every connection goes once its requests are answered, new ones too. A first request that
    /// is on its way is waited for, for a moment.
    pub fn stop(&self) {
        self.stopping.set(Some(self.now()));
        self.command_all(Order::Drain);
    }

    /// The deadline of a stop: requests that wait for home are answered 503 now.
    ///
    /// Their answers still go out; whoever called closes what is left a moment later with `cut`.
    pub fn abort(&self) {
        self.aborting.set(true);
        self.wake_waiting();
    }

    /// Has every request that waits for home look around.
    fn wake_waiting(&self) {
        let waiting: Vec<Waker> = self.waiting.borrow().iter().map(|(_, waker)| waker.clone()).collect();
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Closes every connection.
    pub fn cut(&self) {
        self.command_all(Order::Close);
    }

    /// Has the connections whose seats are wanted give way.
    pub fn shed(&self) {
        self.connections.borrow().iter().for_each(|(_, connection)| connection.give_way());
    }

    fn command_all(&self, order: Order) {
        for (_, connection) in self.connections.borrow().iter() {
            connection.command(order);
        }
    }

    /// Once a second: ends what is overdue, sweeps the pools, writes the access lines out.
    pub fn tick(&self, now: Instant) {
        let snapshot = self.snapshot();
        let limits = &snapshot.config.limits;
        for (_, connection) in self.connections.borrow().iter() {
            let stop = self.stopping.get();
            let due = stop.and_then(|stop| connection.last_call(stop, now));
            for order in connection.overdue(limits, now).into_iter().chain(due) {
                connection.command(order);
            }
            connection.tire(now);
        }
        if self.pools.notice_cuts() {
            // What they wait for may be lost on the way.
            self.wake_waiting();
        }
        self.pools.sweep(now);
        self.files.sweep(now);
        self.access.flush(now);
    }

    /// Takes a connection into the list for as long as the guard lives.
    pub(super) fn enlist(self: &Rc<Self>, progress: &Rc<Progress>) -> Enlisted {
        if self.stopping.get().is_some() {
            progress.command(Order::Drain);
        }
        progress.give_way();
        // It was on its way when its listener was retired, so nobody has told it yet.
        self.snapshot();
        if self.retired.borrow().iter().any(|(name, _)| **name == *progress.listener) {
            progress.command(Order::Retire);
        }
        let key = self.connections.borrow_mut().insert(progress.clone());
        Enlisted { worker: self.clone(), key }
    }

    /// A future's hook for the deadline of a stop: see `Deadline::poll_passed`.
    pub(super) fn deadline(self: &Rc<Self>) -> Deadline {
        Deadline { worker: self.clone(), key: None }
    }

    /// The time of an event; one place, should a coarser clock do one day.
    pub(super) fn now(&self) -> Instant {
        clock::now()
    }
}

/// A connection's place in the worker's list.
pub(super) struct Enlisted {
    worker: Rc<Worker>,
    key: usize,
}

impl Drop for Enlisted {
    fn drop(&mut self) {
        self.worker.connections.borrow_mut().remove(self.key);
    }
}

/// Tells a waiting request that the stop's deadline has passed.
pub(super) struct Deadline {
    worker: Rc<Worker>,
    key: Option<usize>,
}

impl Deadline {
    /// Ready once the deadline has passed; until then the task is woken for it.
    pub(super) fn poll_passed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.worker.aborting.get() {
            return Poll::Ready(());
        }
        let mut waiting = self.worker.waiting.borrow_mut();
        match self.key {
            Some(key) => waiting[key].clone_from(cx.waker()),
            None => self.key = Some(waiting.insert(cx.waker().clone())),
        }
        Poll::Pending
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.worker.waiting.borrow_mut().remove(key);
        }
    }
}
