//! How many connections are open, over all threads: in total and of each client address.
//!
//! At the total bound accepting waits (the kernel's backlog holds newcomers) until a connection that idles has
//! given way; above the bound of one address a connection is dropped at once. One lock, taken when a connection
//! begins and ends, never on the way of a request.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use slab::Slab;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use crate::clock;
use crate::config::model::client::Client;
use crate::listener::shedding::{self, Idle};
use crate::serve::seat::Seat;

/// How often those who wait for room ask for it.
const PRESS_EVERY: Duration = Duration::from_millis(250);
/// One of so many connections at a time is asked to give way: the walk over all of them must be worth it.
const AT_A_TIME: usize = 256;

/// The bounds in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Connections in total.
    pub total: usize,
    /// Connections of one client address (IPv6: of one /64).
    pub per_address: usize,
}

/// The count of open connections; clones share it.
#[derive(Debug, Clone)]
pub struct Permits {
    inner: Arc<Inner>,
}

/// The right to hold one connection, freed on drop. It names no client yet.
#[derive(Debug)]
pub struct Slot {
    inner: Arc<Inner>,
    key: usize,
    seat: Arc<Seat>,
}

/// The right to hold one connection of a known client, freed on drop.
#[derive(Debug)]
pub struct Permit {
    slot: Slot,
    /// None for a proxy that stands for many clients.
    client: Option<Client>,
}

/// This client holds as many connections as it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{client} has {open} connections open, as many as limits.connections_per_address allows")]
pub struct TooMany {
    /// Who.
    pub client: Client,
    /// How many it holds.
    pub open: usize,
}

#[derive(Debug)]
struct Inner {
    counts: Mutex<Counts>,
    /// Told whenever there is room after there was none.
    room: Notify,
    /// Told whenever seats are wanted back.
    pressed: watch::Sender<()>,
}

#[derive(Debug)]
struct Counts {
    bounds: Bounds,
    clients: HashMap<Client, usize>,
    taken: Slab<Taken>,
    /// Seats that are wanted and not free yet, when they were asked for, and how many so far.
    leaving: usize,
    pressed: Option<Instant>,
    shed: u64,
}

#[derive(Debug)]
struct Taken {
    seat: Arc<Seat>,
    client: Option<Client>,
}

impl Permits {
    /// No connection is open.
    pub fn new(bounds: Bounds) -> Self {
        let counts = Counts {
            bounds,
            clients: HashMap::new(),
            taken: Slab::new(),
            leaving: 0,
            pressed: None,
            shed: 0,
        };
        let (room, pressed) = (Notify::new(), watch::Sender::new(()));
        Self { inner: Arc::new(Inner { counts: Mutex::new(counts), room, pressed }) }
    }

    /// Changes the bounds. Connections above a lower one stay; it applies to newcomers.
    pub fn rebound(&self, bounds: Bounds) {
        self.inner.lock().bounds = bounds;
        self.inner.room.notify_waiters();
    }

    /// How many connections are open.
    pub fn open(&self) -> usize {
        self.inner.lock().taken.len()
    }

    /// How many connections were asked to give way so far.
    pub fn shed(&self) -> u64 {
        self.inner.lock().shed
    }

    /// Changes whenever seats of connections are wanted back.
    pub fn pressed(&self) -> watch::Receiver<()> {
        self.inner.pressed.subscribe()
    }

    /// A slot, if one is free.
    pub fn try_slot(&self) -> Option<Slot> {
        let mut counts = self.inner.lock();
        if counts.taken.len() >= counts.bounds.total {
            return None;
        }
        let seat = Arc::new(Seat::new(clock::now()));
        let key = counts.taken.insert(Taken { seat: seat.clone(), client: None });
        Some(Slot { inner: Arc::clone(&self.inner), key, seat })
    }

    /// A slot, as soon as one is free. Connections that idle are asked to give way.
    pub async fn slot(&self) -> Slot {
        loop {
            // Listening before looking: a slot freed between the two is not missed.
            let room = self.inner.room.notified();
            if let Some(slot) = self.try_slot() {
                return slot;
            }
            if self.inner.lock().press(clock::now()) {
                self.inner.pressed.send_replace(());
            }
            // Somebody may begin to idle, and nobody tells of that.
            let _ = timeout(PRESS_EVERY, room).await;
        }
    }
}

impl Slot {
    /// What is seen of the connection from here.
    pub fn seat(&self) -> Arc<Seat> {
        self.seat.clone()
    }

    /// Counts the connection to its client, or says that this client has too many; then the slot is
    /// freed.
    pub fn claim(self, client: IpAddr) -> Result<Permit, TooMany> {
        let client = Client::of(client);
        let mut counts = self.inner.lock();
        let bound = counts.bounds.per_address;
        let held = counts.clients.entry(client).or_insert(0);
        if *held >= bound {
            let open = *held;
            counts.forget_if_idle(client);
            drop(counts);
            return Err(TooMany { client, open });
        }
        *held += 1;
        counts.taken[self.key].client = Some(client);
        drop(counts);
        Ok(Permit { slot: self, client: Some(client) })
    }

    /// Counts the connection to nobody: it is of a proxy that stands for many clients.
    pub fn of_many(self) -> Permit {
        Permit { slot: self, client: None }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut counts = self.inner.lock();
        counts.taken.remove(self.key);
        counts.leaving -= usize::from(self.seat.is_wanted());
        let room = counts.taken.len() < counts.bounds.total;
        drop(counts);
        if room {
            self.inner.room.notify_one();
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let Some(client) = self.client else { return };
        let mut counts = self.slot.inner.lock();
        if let Some(held) = counts.clients.get_mut(&client) {
            *held -= 1;
        }
        counts.forget_if_idle(client);
    }
}

impl Inner {
    /// The counts are whole numbers that no panic can leave half changed: poison means nothing here.
    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counts {
    /// Asks connections to give way, if there is no room and nobody is giving way already.
    fn press(&mut self, now: Instant) -> bool {
        let lately = self.pressed.is_some_and(|at| now.saturating_duration_since(at) < PRESS_EVERY);
        if self.taken.len() < self.bounds.total || (self.leaving > 0 && lately) {
            return false;
        }
        let idle =
            self.taken.iter().filter(|(_, taken)| !taken.seat.is_wanted()).filter_map(|(key, taken)| {
                Some(Idle { key, client: taken.client, since: taken.seat.idle_since()? })
            });
        let held = |client: &Client| self.clients.get(client).copied().unwrap_or(0);
        let most = (self.bounds.total / AT_A_TIME).max(1);
        let chosen = shedding::choose(idle, held, most, now);
        for key in &chosen {
            self.taken[*key].seat.ask_back();
        }
        self.leaving += chosen.len();
        self.shed += chosen.len() as u64;
        self.pressed = Some(now);
        !chosen.is_empty()
    }

    /// Memory follows who is connected, not who ever was.
    fn forget_if_idle(&mut self, client: Client) {
        if self.clients.get(&client) == Some(&0) {
            self.clients.remove(&client);
        }
    }
}

/// How many connections so many file descriptors are enough for, and `most` at the most: a connection
/// needs one, its way home another, and 200 are for the rest.
pub fn sustainable(descriptors: u64, most: usize) -> usize {
    let pairs = descriptors.saturating_sub(RESERVED_DESCRIPTORS) / 2;
    usize::try_from(pairs).unwrap_or(usize::MAX).clamp(1, most)
}

/// For listeners, logs, probes, certificates and libraries.
const RESERVED_DESCRIPTORS: u64 = 200;

#[cfg(test)]
mod tests {
    use super::*;

    const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 9));

    fn permits(total: usize, per_address: usize) -> Permits {
        Permits::new(Bounds { total, per_address })
    }

    #[test]
    fn place_is_freed_on_drop() {
        let permits = permits(1, 8);
        let slot = permits.try_slot().unwrap();
        assert!(permits.try_slot().is_none());
        let permit = slot.claim(HOME).unwrap();
        assert!(permits.try_slot().is_none());
        drop(permit);
        assert_eq!(permits.open(), 0);
        assert!(permits.try_slot().is_some());
    }

    #[test]
    fn one_client_has_its_own_bound() {
        let permits = permits(10, 2);
        let claim = |addr: &str| permits.try_slot().unwrap().claim(addr.parse().unwrap());
        let first = claim("203.0.113.9").unwrap();
        let _second = claim("::ffff:203.0.113.9").unwrap();
        let refused = claim("203.0.113.9").unwrap_err();
        assert_eq!(refused.open, 2);
        assert_eq!(permits.open(), 2, "a refused connection holds no slot");
        let _other = claim("203.0.113.10").unwrap();
        drop(first);
        assert!(claim("203.0.113.9").is_ok());
    }

    #[test]
    fn ipv6_clients_are_counted_by_64() {
        let permits = permits(10, 1);
        let claim = |addr: &str| permits.try_slot().unwrap().claim(addr.parse().unwrap());
        let _held = claim("2001:db8:1:2::1").unwrap();
        let refused = claim("2001:db8:1:2:ffff::9").unwrap_err();
        assert_eq!(refused.client.to_string(), "2001:db8:1:2::/64");
        assert!(claim("2001:db8:1:3::1").is_ok());
    }

    #[test]
    fn proxy_of_many_has_no_bound_of_its_own() {
        let permits = permits(3, 1);
        let held: Vec<_> = (0..3).map(|_| permits.try_slot().unwrap().of_many()).collect();
        assert!(permits.try_slot().is_none());
        drop(held);
        assert_eq!(permits.open(), 0);
    }

    #[test]
    fn clients_without_connections_cost_no_memory() {
        let permits = permits(10, 1);
        let held = permits.try_slot().unwrap().claim(HOME).unwrap();
        drop(permits.try_slot().unwrap().claim(HOME));
        drop(held);
        let none = self::permits(10, 0);
        drop(none.try_slot().unwrap().claim(HOME));
        assert!(permits.inner.lock().clients.is_empty());
        assert!(none.inner.lock().clients.is_empty());
    }

    #[tokio::test]
    async fn waits_for_a_free_place() {
        let permits = permits(1, 8);
        let held = permits.slot().await;
        let (waiting, freeing) = tokio::join!(
            biased;
            permits.slot(),
            async { drop(held) }
        );
        let () = freeing;
        assert_eq!(permits.open(), 1);
        drop(waiting);
    }

    #[tokio::test]
    async fn higher_bound_wakes_who_waits() {
        let permits = permits(1, 8);
        let _held = permits.slot().await;
        let bounds = Bounds { total: 2, per_address: 8 };
        let (_waiting, ()) = tokio::join!(biased; permits.slot(), async { permits.rebound(bounds) });
        assert_eq!(permits.open(), 2);
        permits.rebound(Bounds { total: 1, per_address: 8 });
        assert!(permits.try_slot().is_none());
    }

    #[test]
    fn descriptors_are_left_for_the_rest() {
        for (descriptors, total) in [(1024, 412), (65_536, 20_000), (u64::MAX, 20_000), (202, 1), (10, 1)] {
            assert_eq!(sustainable(descriptors, 20_000), total, "{descriptors}");
        }
    }
}
