//! What the warden does next: which edges run, which of them leads, when a new one is started. Pure.
//!
//! At any time there is at most one main edge, one next edge that an upgrade is starting, and any number of old ones
//! that drain. What only one edge may have (the lead) is given to the main edge when nobody else has it.

pub mod act;
pub mod edge;

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::config::model::limits::Drain;
use crate::provision::calls::Order;
use crate::warden::plan::act::{Act, Asked};
use crate::warden::plan::edge::{Edge, GRACE, after};

/// An edge, by a number that is never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct EdgeId(pub u64);

/// What an edge is among the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Place {
    /// The one that serves.
    Main,
    /// The one that an upgrade is starting.
    Next,
    /// One that was replaced and drains.
    Old,
}

/// The plan.
#[derive(Debug, Clone)]
pub struct Plan {
    edges: Vec<Edge>,
    next_id: u64,
    /// Whether any edge has ever served: before, a failure is one of the start.
    served: bool,
    /// When porchd stops: whether every edge that has ended has ended well.
    stop: Option<bool>,
    restart: Restart,
    limits: Drain,
    upgrade: Upgrade,
}

/// What came while an upgrade was starting its edge.
#[derive(Debug, Clone, Default)]
struct Upgrade {
    /// The configuration changed after the new edge was started: it may have read the file before.
    stale: bool,
    /// Another upgrade was asked for: the binary may be another one by now.
    again: bool,
}

/// When the next main edge is started, after one has died.
#[derive(Debug, Clone, Default)]
struct Restart {
    failures: u32,
    due: Option<Instant>,
    anew: bool,
}

/// How long an edge may take until it serves: reading a thousand certificates from a slow disk takes less.
pub const START_LIMIT: Duration = Duration::from_secs(60);
/// An edge that has served so long is no longer one that fails at its start.
const STEADY: Duration = Duration::from_secs(60);
/// Between two starts of an edge that dies again and again, at the most.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

impl Plan {
    /// Nothing runs yet; edges drain as `limits` says.
    pub fn new(limits: Drain) -> Self {
        let (restart, upgrade) = (Restart::default(), Upgrade::default());
        Self { edges: Vec::new(), next_id: 1, served: false, stop: None, restart, limits, upgrade }
    }

    /// Goes on with edges that another warden has started.
    pub fn of(edges: Vec<Edge>, limits: Drain) -> Self {
        let next_id = edges.iter().map(|edge| edge.id.0 + 1).max().unwrap_or(1);
        Self { edges, next_id, served: true, ..Self::new(limits) }
    }

    /// The edges.
    pub fn edges(&self) -> &[Edge] {
        &self.edges
    }

    /// What `id` is.
    pub fn place(&self, id: EdgeId) -> Option<Place> {
        self.edges.iter().find(|edge| edge.id == id).map(|edge| edge.place)
    }

    /// How edges drain.
    pub fn limits(&self) -> Drain {
        self.limits
    }

    /// Edge `id` drains as its configuration says; a stop, as the one of the edge that serves.
    pub fn settled(&mut self, id: EdgeId, limits: Drain) {
        for edge in self.edges.iter_mut().filter(|edge| edge.id == id) {
            edge.drain = limits.upgrade;
            if edge.place != Place::Old {
                self.limits = limits;
            }
        }
    }

    /// Starts the first edge.
    pub fn begin(&mut self, now: Instant) -> Vec<Act> {
        vec![self.start(Place::Main, true, now)]
    }

    /// Starts the edge of an upgrade.
    pub fn upgrade(&mut self, now: Instant) -> Vec<Act> {
        self.upgrade = Upgrade::default();
        vec![self.start(Place::Next, true, now)]
    }

    /// What `asked` leads to.
    pub fn asked(&mut self, asked: Asked, now: Instant) -> Vec<Act> {
        match asked {
            Asked::Reload => match self.at(Place::Main).map(|main| main.id) {
                Some(main) => {
                    self.upgrade.stale |= self.at(Place::Next).is_some();
                    vec![Act::Tell(main, Order::Reload)]
                }
                // One is started at once, with the file of now.
                None => {
                    self.restart = Restart { due: Some(now), anew: true, ..self.restart };
                    self.tick(now)
                }
            },
            Asked::Reopen => {
                let tell = self.edges.iter().map(|edge| Act::Tell(edge.id, Order::Reopen));
                std::iter::once(Act::Reopen).chain(tell).collect()
            }
            Asked::Upgrade if self.stop.is_some() => self.upgrade_failed("porchd is stopping"),
            Asked::Upgrade if self.serves() => vec![Act::Replace],
            // Once an edge serves. Whoever asked during an upgrade hears what becomes of that one.
            Asked::Upgrade => {
                self.upgrade.again = true;
                Vec::new()
            }
            Asked::Stop => {
                self.restart.due = None;
                self.stop.get_or_insert(true);
                let deadline = after(now, self.limits.stop + GRACE);
                for edge in &mut self.edges {
                    let drains = edge.place == Place::Old && !edge.leads;
                    edge.deadline = edge.deadline.filter(|_| drains).into_iter().chain(deadline).min();
                }
                let tell = self.edges.iter().map(|edge| Act::Tell(edge.id, Order::Stop));
                tell.chain(self.exit()).collect()
            }
        }
    }

    /// An upgrade came to nothing.
    pub fn upgrade_failed(&self, why: &str) -> Vec<Act> {
        let upgraded = Order::Upgraded { failed: Some(why.to_owned()) };
        self.at(Place::Main).map(|main| Act::Tell(main.id, upgraded)).into_iter().collect()
    }

    /// Edge `id` serves.
    pub fn ready(&mut self, id: EdgeId, now: Instant) -> Vec<Act> {
        self.served = true;
        let stopping = self.stop.is_some();
        let mut acts = Vec::new();
        if self.place(id) == Some(Place::Next) {
            for main in self.edges.iter_mut().filter(|edge| edge.place == Place::Main) {
                main.place = Place::Old;
                if !stopping {
                    main.deadline = main.gone_by(now);
                }
                acts.push(Act::Tell(main.id, Order::Upgraded { failed: None }));
                acts.push(Act::Tell(main.id, Order::Yield));
            }
        }
        for edge in self.edges.iter_mut().filter(|edge| edge.id == id && edge.place != Place::Old) {
            edge.place = Place::Main;
            self.restart.due = None;
            // Told once more after each reload.
            if edge.ready.is_none() {
                edge.ready = Some(now);
                edge.deadline = edge.deadline.filter(|_| stopping);
            }
        }
        acts.extend(self.give_the_lead());
        acts.extend(self.catch_up(id));
        acts
    }

    /// What edge `id`, which has just taken over, was too early for.
    fn catch_up(&mut self, id: EdgeId) -> Vec<Act> {
        if self.place(id) != Some(Place::Main) || self.at(Place::Next).is_some() {
            return Vec::new();
        }
        let Upgrade { stale, again } = std::mem::take(&mut self.upgrade);
        let reload = stale.then_some(Act::Tell(id, Order::Reload));
        reload.into_iter().chain((again && self.stop.is_none()).then_some(Act::Replace)).collect()
    }

    /// Edge `id` is about to read the configuration again. If another one takes its place, that one has to, as well.
    pub fn reloading(&mut self, id: EdgeId) -> Vec<Act> {
        let yields = self.edges.iter().any(|edge| edge.id == id && edge.place == Place::Old && edge.leads);
        self.upgrade.stale |= self.place(id) == Some(Place::Main) && self.at(Place::Next).is_some();
        let main = self.at(Place::Main).filter(|_| yields);
        main.map(|main| Act::Tell(main.id, Order::Reload)).into_iter().collect()
    }

    /// Edge `id` has given up the lead.
    pub fn yielded(&mut self, id: EdgeId, now: Instant) -> Vec<Act> {
        let stopping = self.stop.is_some();
        for edge in self.edges.iter_mut().filter(|edge| edge.id == id) {
            // Once, however often it is told.
            if std::mem::take(&mut edge.leads) && edge.place == Place::Old && !stopping {
                edge.deadline = edge.gone_by(now);
            }
        }
        self.give_the_lead()
    }

    /// Edge `id` has ended, `well` or not; `why` is for people.
    pub fn ended(&mut self, id: EdgeId, well: bool, why: &str, now: Instant) -> Vec<Act> {
        let Some(at) = self.edges.iter().position(|edge| edge.id == id) else { return Vec::new() };
        let edge = self.edges.remove(at);
        if let Some(all_well) = &mut self.stop {
            *all_well &= well;
            return self.exit().into_iter().collect();
        }
        match edge.place {
            Place::Old => self.give_the_lead(),
            Place::Next => {
                self.upgrade = Upgrade::default();
                let mut acts = self.upgrade_failed(why);
                // The main one died meanwhile, and its place was left to this one.
                if self.at(Place::Main).is_none() {
                    acts.extend(self.after_a_death(&edge, now));
                }
                acts
            }
            Place::Main if !self.served => vec![Act::Exit { well: false }],
            // It may be what is left of an upgrade.
            Place::Main if self.at(Place::Next).is_some() => self.give_the_lead(),
            Place::Main => self.after_a_death(&edge, now),
        }
    }

    /// A main edge has died: the first time another one is started at once.
    fn after_a_death(&mut self, edge: &Edge, now: Instant) -> Vec<Act> {
        let steady = |since: Instant| now.saturating_duration_since(since) >= STEADY;
        if edge.ready.is_some_and(steady) {
            self.restart.failures = 0;
        }
        let pause = match self.restart.failures {
            0 => Duration::ZERO,
            more => Duration::from_secs(1 << (more - 1).min(5)).min(LONGEST_PAUSE),
        };
        self.restart.failures = self.restart.failures.saturating_add(1);
        self.restart.due = Some(now + pause);
        self.tick(now)
    }

    /// Does what is due.
    pub fn tick(&mut self, now: Instant) -> Vec<Act> {
        let mut acts = Vec::new();
        for edge in &mut self.edges {
            // Once: how long the system takes to end it is not the warden's to wait for.
            if edge.deadline.take_if(|deadline| now >= *deadline).is_some() {
                acts.push(Act::Kill(edge.id));
            }
        }
        if self.restart.due.is_some_and(|due| now >= due) && self.at(Place::Main).is_none() {
            let anew = std::mem::take(&mut self.restart.anew);
            self.restart.due = None;
            acts.push(self.start(Place::Main, anew, now));
        }
        acts
    }

    /// When something is due next.
    pub fn due(&self) -> Option<Instant> {
        self.edges.iter().filter_map(|edge| edge.deadline).chain(self.restart.due).min()
    }

    fn start(&mut self, place: Place, anew: bool, now: Instant) -> Act {
        let id = EdgeId(self.next_id);
        self.next_id += 1;
        let leads = !self.edges.iter().any(|edge| edge.leads);
        self.edges.push(Edge {
            id,
            place,
            deadline: after(now, START_LIMIT),
            ready: None,
            leads,
            drain: self.limits.upgrade,
        });
        Act::Start { id, leads, anew }
    }

    /// Whether an edge serves, and none is being started in its place.
    fn serves(&self) -> bool {
        self.at(Place::Next).is_none() && self.at(Place::Main).is_some_and(|main| main.ready.is_some())
    }

    fn at(&self, place: Place) -> Option<&Edge> {
        self.edges.iter().find(|edge| edge.place == place)
    }

    fn give_the_lead(&mut self) -> Vec<Act> {
        if self.edges.iter().any(|edge| edge.leads) {
            return Vec::new();
        }
        let mains = self.edges.iter_mut().filter(|edge| edge.place == Place::Main && edge.ready.is_some());
        let lead = |main: &mut Edge| {
            main.leads = true;
            Act::Tell(main.id, Order::Lead)
        };
        mains.map(lead).collect()
    }

    fn exit(&self) -> Option<Act> {
        let well = self.stop.filter(|_| self.edges.is_empty())?;
        Some(Act::Exit { well })
    }
}

#[cfg(test)]
mod tests;
