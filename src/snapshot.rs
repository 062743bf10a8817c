//! One immutable generation of the configuration, and the swap that publishes it.
//!
//! Facts that must agree are in one snapshot, and a request takes it once. Certificates are a second
//! swap (`tls::live`), since a renewal and a configuration need not agree.

use std::sync::Arc;

use arc_swap::{ArcSwap, Cache};

use crate::config::model::Config;
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
}

impl Snapshot {
    /// Compiles a generation. `groups` holds every upstream of `config`, in its order.
    pub fn new(generation: u64, config: Arc<Config>, groups: Vec<Arc<Group>>) -> Self {
        let routes = Table::new(&config);
        let groups = config.upstreams.iter().map(|upstream| upstream.name.clone()).zip(groups).collect();
        Self { generation, config, routes, groups }
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
    pub fn store(&self, next: Snapshot) {
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
