//! One immutable generation of the configuration, and the swap that publishes it.
//!
//! Facts that must agree are in one snapshot, and a request takes it once. Certificates are a second
//! swap (`tls::live`), since a renewal and a configuration need not agree.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, Cache};

use crate::config::model::Config;
use crate::config::model::client::Client;
use crate::config::model::limits::Limits;
use crate::http::rate::Buckets;
use crate::matrix::class::Class;
use crate::route::Table;
use crate::route::hash::Map;
use crate::upstream::group::Group;

/// One generation: everything that a request needs to know of the configuration.
pub struct Snapshot {
    /// Counts the generations of this process from 1.
    pub generation: u64,
    /// The resolved configuration.
    pub config: Arc<Config>,
    /// Its hosts and routes, compiled.
    pub routes: Table,
    /// Its upstreams, by name, with their health.
    pub groups: Map<Arc<str>, Arc<Group>>,
    /// Who has asked how often lately, of the classes that are limited.
    pub accounts: Accounts,
}

impl Snapshot {
    /// Compiles a generation. `groups` holds every upstream of `config`, in its order.
    pub fn new(generation: u64, config: Arc<Config>, groups: Vec<Arc<Group>>) -> Self {
        let routes = Table::new(&config);
        let groups = config.upstreams.iter().map(|upstream| upstream.name.clone()).zip(groups).collect();
        let accounts = Accounts::new(&config.limits);
        Self { generation, config, routes, groups, accounts }
    }
}

/// Most clients that are remembered for a class: about 5 MiB of them.
const MOST_CLIENTS: usize = 65_536;

/// How often each client has asked lately, for each class that is limited. Clones are the same accounts.
///
/// One lock for a class: a login costs so much at home that nobody will wait for it here.
#[derive(Debug, Clone, Default)]
pub struct Accounts([Option<Arc<Mutex<Buckets>>>; Class::COUNT]);

impl Accounts {
    fn new(limits: &Limits) -> Self {
        let of = |rate| Arc::new(Mutex::new(Buckets::new(rate, MOST_CLIENTS)));
        Self(limits.rates.all().map(|rate| rate.map(of)))
    }

    /// Counts a request.
    ///
    /// # Errors
    /// The client asks too often: in how long it may come back.
    pub fn count(&self, class: Class, client: IpAddr, now: Instant) -> Result<(), Duration> {
        let Some(buckets) = &self.0[class as usize] else { return Ok(()) };
        // Numbers that no panic leaves half changed: poison means nothing here.
        buckets.lock().unwrap_or_else(PoisonError::into_inner).take(Client::of(client), now)
    }

    /// Goes on with the accounts of an earlier generation where their rate is the same.
    fn carry_on(&mut self, earlier: &Self) {
        let rate =
            |buckets: &Arc<Mutex<Buckets>>| buckets.lock().unwrap_or_else(PoisonError::into_inner).rate();
        for (own, before) in self.0.iter_mut().zip(&earlier.0) {
            if let (Some(own), Some(before)) = (own, before)
                && rate(own) == rate(before)
            {
                *own = before.clone();
            }
        }
    }
}

/// The generation in force. `store` is the only commit point of a reload. Clones are the same swap.
#[derive(Clone)]
pub struct Live(Arc<ArcSwap<Snapshot>>);

impl Live {
    /// Begins with a first generation.
    pub fn new(first: Snapshot) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(first)))
    }

    /// The generation in force.
    pub fn load(&self) -> Arc<Snapshot> {
        self.0.load_full()
    }

    /// Puts another generation in force for every request that begins from now on.
    /// What it counts goes on where it was.
    pub fn store(&self, mut next: Snapshot) {
        next.accounts.carry_on(&self.0.load().accounts);
        self.0.store(Arc::new(next));
    }

    /// A thread's own view, cheap to ask again for each request.
    pub fn reader(&self) -> Reader {
        Reader(Cache::new(self.0.clone()))
    }
}

/// A thread's own view of [`Live`].
pub struct Reader(Cache<Arc<ArcSwap<Snapshot>>, Arc<Snapshot>>);

impl Reader {
    /// The generation in force.
    pub fn load(&mut self) -> &Arc<Snapshot> {
        self.0.load()
    }
}
