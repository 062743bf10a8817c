//! What lets a client resume a session on any thread and after any reload: one object for all configs.
//!
//! rustls rotates the keys by itself: every 6 hours, and a ticket is taken for 12 at most.

use std::sync::Arc;

use rustls::server::{ProducesTickets, ServerSessionMemoryCache, StoresServerSessions};

use crate::tls::chosen;

/// Sessions of TLS 1.2 clients without ticket support that are remembered, over all threads.
///
/// They are rare; at about 300 bytes a session this is bounded by 2.5 MB.
const SESSIONS: usize = 8192;

/// The shared ticket keys and session cache; clones are the same object.
#[derive(Debug, Clone)]
pub struct Tickets {
    pub(super) ticketer: Arc<dyn ProducesTickets>,
    pub(super) sessions: Arc<dyn StoresServerSessions>,
}

impl Tickets {
    /// Fresh keys; an error when the system's source of randomness fails.
    pub fn new() -> Result<Self, rustls::Error> {
        // rustls' default ticketer produces no tickets at all, so this one is set everywhere.
        Ok(Self { ticketer: chosen::Ticketer::new()?, sessions: ServerSessionMemoryCache::new(SESSIONS) })
    }

    /// Whether `other` is the same object.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.ticketer, &other.ticketer)
    }
}
