//! What the warden does next: which edges run, which of them leads, when a new one is started. Pure.
//!
//! At any time there is at most one main edge, one next edge that an upgrade is starting, and any number of old ones
//! that drain. What only one edge may have (the lead) is given to the main edge when nobody else has it.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::provision::calls::Order;

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

/// An edge as the plan sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edge {
    /// Which.
    pub id: EdgeId,
    /// What it is.
    pub place: Place,
    /// When it was started.
    pub begun: Instant,
    /// Since when it serves.
    pub ready: Option<Instant>,
    /// Whether it has what only one may have.
    pub leads: bool,
}

/// What is asked of the warden by signals and by its main edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// Take the new configuration.
    Reload,
    /// Drain and end; again: now.
    Stop,
    /// Open the logs again.
    Reopen,
    /// Replace warden and edge by the binary on disk.
    Upgrade,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// Start an edge.
    Start {
        /// Which it will be.
        id: EdgeId,
        /// Whether it leads from the start on.
        leads: bool,
        /// Whether it begins with the file of now, or with the configuration that was in force.
        anew: bool,
    },
    /// Tell an edge.
    Tell(EdgeId, Order),
    /// End an edge at once.
    Kill(EdgeId),
    /// Open the warden's own log again.
    Reopen,
    /// Have the binary on disk take the warden's place.
    Replace,
    /// End.
    Exit {
        /// Whether all is well.
        well: bool,
    },
}

/// The plan.
#[derive(Debug, Clone)]
pub struct Plan {
    edges: Vec<Edge>,
    next_id: u64,
    /// Whether any edge has ever served: before, a failure is one of the start.
    served: bool,
    stop: Option<Stop>,
    restart: Restart,
    /// How long a stop may take.
    stop_limit: Duration,
}

#[derive(Debug, Clone)]
struct Stop {
    deadline: Instant,
    /// Whether every edge that has ended has ended well.
    well: bool,
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
/// What an edge gets beyond its own deadline.
const GRACE: Duration = Duration::from_secs(15);

impl Plan {
    /// Nothing runs yet; a stop may take `stop_limit`.
    pub fn new(stop_limit: Duration) -> Self {
        Self {
            edges: Vec::new(),
            next_id: 1,
            served: false,
            stop: None,
            restart: Restart::default(),
            stop_limit,
        }
    }

    /// Goes on with edges that another warden has started.
    pub fn of(edges: Vec<Edge>, stop_limit: Duration) -> Self {
        let next_id = edges.iter().map(|edge| edge.id.0 + 1).max().unwrap_or(1);
        Self { edges, next_id, served: true, ..Self::new(stop_limit) }
    }

    /// The edges.
    pub fn edges(&self) -> &[Edge] {
        &self.edges
    }

    /// What `id` is.
    pub fn place(&self, id: EdgeId) -> Option<Place> {
        self.edges.iter().find(|edge| edge.id == id).map(|edge| edge.place)
    }

    /// How long a stop may take.
    pub fn stop_limit(&self) -> Duration {
        self.stop_limit
    }

    /// How long a stop may take from now on.
    pub fn set_stop_limit(&mut self, limit: Duration) {
        self.stop_limit = limit;
    }

    /// Starts the first edge.
    pub fn begin(&mut self, now: Instant) -> Vec<Act> {
        vec![self.start(Place::Main, true, now)]
    }

    /// Starts the edge of an upgrade.
    pub fn upgrade(&mut self, now: Instant) -> Vec<Act> {
        vec![self.start(Place::Next, true, now)]
    }

    /// Why an upgrade can't begin now.
    fn no_upgrade(&self) -> Option<&'static str> {
        if self.stop.is_some() {
            Some("porchd is stopping")
        } else if self.at(Place::Next).is_some() {
            Some("another upgrade is not over yet")
        } else if self.at(Place::Main).is_none_or(|main| main.ready.is_none()) {
            Some("no edge serves that could be replaced; one is being started")
        } else {
            None
        }
    }

    /// What `asked` leads to.
    pub fn asked(&mut self, asked: Asked, now: Instant) -> Vec<Act> {
        match asked {
            Asked::Reload => match self.at(Place::Main) {
                Some(main) => vec![Act::Tell(main.id, Order::Reload)],
                // The next edge begins with the file of now, and at once.
                None => {
                    self.restart = Restart { due: Some(now), anew: true, ..self.restart };
                    self.tick(now)
                }
            },
            Asked::Reopen => {
                let tell = self.edges.iter().map(|edge| Act::Tell(edge.id, Order::Reopen));
                std::iter::once(Act::Reopen).chain(tell).collect()
            }
            Asked::Upgrade => match self.no_upgrade() {
                None => vec![Act::Replace],
                Some(why) => self.upgrade_failed(why),
            },
            Asked::Stop => {
                self.restart.due = None;
                let deadline = now + self.stop_limit + GRACE;
                self.stop.get_or_insert(Stop { deadline, well: true });
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
        let mut acts = Vec::new();
        if self.place(id) == Some(Place::Next) {
            for main in self.edges.iter_mut().filter(|edge| edge.place == Place::Main) {
                main.place = Place::Old;
                acts.push(Act::Tell(main.id, Order::Upgraded { failed: None }));
                acts.push(Act::Tell(main.id, Order::Yield));
            }
        }
        for edge in self.edges.iter_mut().filter(|edge| edge.id == id && edge.place != Place::Old) {
            edge.place = Place::Main;
            // Told once more after each reload.
            edge.ready.get_or_insert(now);
        }
        acts.extend(self.give_the_lead());
        acts
    }

    /// Edge `id` has given up the lead.
    pub fn yielded(&mut self, id: EdgeId) -> Vec<Act> {
        self.edges.iter_mut().filter(|edge| edge.id == id).for_each(|edge| edge.leads = false);
        self.give_the_lead()
    }

    /// Edge `id` has ended, `well` or not; `why` is for people.
    pub fn ended(&mut self, id: EdgeId, well: bool, why: &str, now: Instant) -> Vec<Act> {
        let Some(at) = self.edges.iter().position(|edge| edge.id == id) else { return Vec::new() };
        let edge = self.edges.remove(at);
        if let Some(stop) = &mut self.stop {
            stop.well &= well;
            return self.exit().into_iter().collect();
        }
        match edge.place {
            Place::Old => self.give_the_lead(),
            Place::Next => {
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
        if let Some(stop) = &self.stop {
            let over = now >= stop.deadline;
            return self.edges.iter().filter(|_| over).map(|edge| Act::Kill(edge.id)).collect();
        }
        let late = |edge: &&Edge| edge.ready.is_none() && now >= edge.begun + START_LIMIT;
        let mut acts: Vec<Act> = self.edges.iter().filter(late).map(|edge| Act::Kill(edge.id)).collect();
        if self.restart.due.is_some_and(|due| now >= due) && self.at(Place::Main).is_none() {
            let anew = std::mem::take(&mut self.restart.anew);
            self.restart.due = None;
            acts.push(self.start(Place::Main, anew, now));
        }
        acts
    }

    /// When something is due next.
    pub fn due(&self) -> Option<Instant> {
        let stop = self.stop.as_ref().map(|stop| stop.deadline);
        let starting = self.edges.iter().filter(|edge| edge.ready.is_none());
        starting.map(|edge| edge.begun + START_LIMIT).chain(stop).chain(self.restart.due).min()
    }

    fn start(&mut self, place: Place, anew: bool, now: Instant) -> Act {
        let id = EdgeId(self.next_id);
        self.next_id += 1;
        let leads = !self.edges.iter().any(|edge| edge.leads);
        self.edges.push(Edge { id, place, begun: now, ready: None, leads });
        Act::Start { id, leads, anew }
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
        let stop = self.stop.as_ref().filter(|_| self.edges.is_empty())?;
        Some(Act::Exit { well: stop.well })
    }
}

#[cfg(test)]
mod tests;
