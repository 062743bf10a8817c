//! What is in force, as the control thread remembers it: the base on which the next generation is prepared.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use crate::config::model::Config;
use crate::listener::sockets::SocketId;
use crate::supervisor::binds::Bound;
use crate::supervisor::metrics;
use crate::supervisor::shape::{Machine, Shape};
use crate::tls::load::Carried;
use crate::upstream::group::Group;

/// One generation.
#[derive(Debug, Clone)]
pub struct Generation {
    /// Counts the generations of this process from 1.
    pub number: u64,
    /// The resolved configuration.
    pub config: Arc<Config>,
    /// What the machine offered at the start.
    pub machine: Machine,
    /// The threads, and how connections reach them.
    pub shape: Shape,
    /// The addresses that are open.
    pub bounds: Vec<Bound>,
    /// The socket to be opened next: ids are never used again.
    pub next_socket: SocketId,
    /// The upstreams, in the configuration's order.
    pub groups: Vec<Arc<Group>>,
    /// The control socket that is open.
    pub socket: Option<PathBuf>,
    /// The address of figures that is open.
    pub metrics: Option<metrics::Bound>,
    /// Of TLS, what outlives a reload.
    pub carried: Carried,
}

impl Generation {
    /// How many requests wait for its upstreams.
    pub fn parked(&self) -> u32 {
        self.groups.iter().map(|group| group.lot().counts().now).sum()
    }

    /// The addresses of each listener, in the configuration's order.
    pub fn addresses(&self) -> Vec<(String, Vec<SocketAddr>)> {
        let of = |name: &Arc<str>| {
            self.bounds.iter().filter(|bound| bound.listener == *name).map(|bound| bound.actual).collect()
        };
        self.config.listeners.iter().map(|listener| (listener.name.to_string(), of(&listener.name))).collect()
    }

    /// The internal CA's certificate, as PEM, if it signed anything.
    pub fn ca_pem(&self) -> Option<String> {
        self.carried.ca.as_ref().map(|ca| ca.pem())
    }
}
