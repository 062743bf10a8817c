//! Which requests wait while an upstream is away, and which goes on when.
//!
//! A queue with bounds, and the pace at which it is let out: the first at once, then as many again every
//! quarter of a second, so that a homeserver that wakes up is not met by all at a time. It knows no clock and
//! wakes nobody: it is told the time, and returns who goes on. Requests come with a token of type `T`, by which
//! its caller wakes them.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::config::model::client::Client;
use crate::config::model::park::Park;

/// How often the number of requests that may have gone on is doubled after a return.
const STEP: Duration = Duration::from_millis(250);
/// After so many steps a return is over if nobody waits: what comes then goes straight home.
const STEPS: u32 = 12;

/// A request that would wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guest {
    /// Who sent it.
    pub client: IpAddr,
    /// Whether it is a peer's: all of them together have half of the places.
    pub stranger: bool,
    /// Whether it goes before the others: a poll that was cut off while it waited for news.
    pub first: bool,
    /// Bytes that are held for it.
    pub bytes: u64,
}

/// A request's place; the smaller one goes on first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// False before true.
    last: bool,
    number: u64,
}

/// Why a request may not wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// Every place is taken.
    Places,
    /// Every place of its client is.
    Client,
    /// Every place of peers is.
    Strangers,
    /// The memory is.
    Memory,
}

/// Whether the upstream takes requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It does.
    Present,
    /// It does not.
    Away,
    /// It does again since then; so many have gone on.
    Returning {
        /// When it came back.
        since: Instant,
        /// Who has gone on since.
        released: u64,
    },
}

/// The requests that wait for one upstream.
#[derive(Debug)]
pub struct Parking<T> {
    bounds: Park,
    standing: Standing,
    waiting: BTreeMap<Place, (Guest, T)>,
    clients: HashMap<Client, u32>,
    strangers: u32,
    bytes: u64,
    next: u64,
}

impl<T> Parking<T> {
    /// An empty one.
    pub fn new(bounds: Park) -> Self {
        Self {
            bounds,
            standing: Standing::Present,
            waiting: BTreeMap::new(),
            clients: HashMap::new(),
            strangers: 0,
            bytes: 0,
            next: 0,
        }
    }

    /// What bounds it.
    pub fn bounds(&self) -> &Park {
        &self.bounds
    }

    /// Bounds what comes from now on.
    pub fn rebound(&mut self, bounds: Park) {
        self.bounds = bounds;
    }

    /// Whether the upstream takes requests.
    pub fn standing(&self) -> Standing {
        self.standing
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Gives a new request a place behind those that came before it.
    ///
    /// # Errors
    /// A bound is reached.
    pub fn arrive(&mut self, guest: Guest, token: T) -> Result<Place, Full> {
        let most = self.bounds.most;
        if self.waiting.len() >= most as usize {
            return Err(Full::Places);
        }
        if guest.stranger && self.strangers >= most / 2 {
            return Err(Full::Strangers);
        }
        let of_client = self.clients.get(&Client::of(guest.client)).copied().unwrap_or(0);
        // A poll that was cut off was let in long ago.
        if of_client >= self.bounds.most_per_client && !guest.first {
            return Err(Full::Client);
        }
        if self.bytes.saturating_add(guest.bytes) > self.bounds.memory {
            return Err(Full::Memory);
        }
        let place = Place { last: !guest.first, number: self.next };
        self.next += 1;
        self.seat(place, guest, token);
        Ok(place)
    }

    /// Gives a request that had gone on its place back. It was let in once, so no bound keeps it out.
    pub fn back(&mut self, place: Place, guest: Guest, token: T) {
        self.leave(place);
        self.seat(place, guest, token);
    }

    /// Frees a place, if it is taken.
    pub fn leave(&mut self, place: Place) -> bool {
        let Some((guest, _)) = self.waiting.remove(&place) else { return false };
        self.unseat(guest);
        true
    }

    /// The upstream takes no requests.
    pub fn away(&mut self) {
        self.standing = Standing::Away;
    }

    /// The upstream takes requests again.
    pub fn returns(&mut self, now: Instant) {
        if self.standing == Standing::Away {
            self.standing = Standing::Returning { since: now, released: 0 };
        }
    }

    /// Who goes on now, in order. To be asked again at [`Self::next_release`].
    pub fn release(&mut self, now: Instant) -> Vec<(Place, T)> {
        let mut out = Vec::new();
        let (since, mut released) = match self.standing {
            Standing::Returning { since, released } => (since, released),
            Standing::Away => return out,
            // Who took a place in the moment in which the last return was over waits for nobody.
            Standing::Present => return self.recall(),
        };
        let steps = steps(since, now);
        while released < allowed(steps)
            && let Some((place, (guest, token))) = self.waiting.pop_first()
        {
            self.unseat(guest);
            released += 1;
            out.push((place, token));
        }
        self.standing = if self.waiting.is_empty() && steps >= STEPS {
            Standing::Present
        } else {
            Standing::Returning { since, released }
        };
        out
    }

    /// When somebody can go on next, or the return is over; `None`: nobody waits, or not before the upstream returns.
    pub fn next_release(&self, now: Instant) -> Option<Instant> {
        let Standing::Returning { since, .. } = self.standing else { return None };
        let next = if self.waiting.is_empty() { STEPS } else { steps(since, now) + 1 };
        Some(since + STEP * next)
    }

    /// Lets everybody out, in order, whatever the standing: each must be looked at anew.
    pub fn recall(&mut self) -> Vec<(Place, T)> {
        self.clients.clear();
        (self.strangers, self.bytes) = (0, 0);
        std::mem::take(&mut self.waiting).into_iter().map(|(place, (_, token))| (place, token)).collect()
    }

    fn seat(&mut self, place: Place, guest: Guest, token: T) {
        *self.clients.entry(Client::of(guest.client)).or_default() += 1;
        self.strangers += u32::from(guest.stranger);
        self.bytes += guest.bytes;
        self.waiting.insert(place, (guest, token));
    }

    fn unseat(&mut self, guest: Guest) {
        let client = Client::of(guest.client);
        if let Some(count) = self.clients.get_mut(&client) {
            *count -= 1;
            if *count == 0 {
                self.clients.remove(&client);
            }
        }
        self.strangers -= u32::from(guest.stranger);
        self.bytes -= guest.bytes;
    }
}

/// Whole steps since a return.
fn steps(since: Instant, now: Instant) -> u32 {
    let steps = now.saturating_duration_since(since).as_millis() / STEP.as_millis();
    u32::try_from(steps).unwrap_or(u32::MAX)
}

/// How many may have gone on after so many steps.
fn allowed(steps: u32) -> u64 {
    1_u64.checked_shl(steps).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
