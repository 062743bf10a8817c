//! Looks a backend's name up, again and again.
//!
//! It asks the system (getaddrinfo, on the runtime's blocking threads), so that /etc/hosts and the order
//! of addresses are what every other program sees.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use crate::config::model::BackendAddress;

/// Between two look-ups while all is well.
const EVERY: Duration = Duration::from_secs(30);

/// Looks one name up.
#[derive(Debug)]
pub struct Resolver {
    host: Arc<str>,
    port: u16,
    /// Of the last answer.
    at: Option<Instant>,
    /// A look-up that takes longer than its caller could wait. There is never a second one: a system
    /// that hangs would be left with a heap of threads.
    pending: Option<JoinHandle<io::Result<Vec<SocketAddr>>>>,
}

impl Resolver {
    /// A resolver for an address that is a name.
    pub fn of(address: &BackendAddress) -> Option<Self> {
        match address {
            BackendAddress::Name(host, port) => {
                Some(Self { host: Arc::clone(host), port: *port, at: None, pending: None })
            }
            BackendAddress::Socket(_) | BackendAddress::Unix(_) => None,
        }
    }

    /// Looks the name up if that is due or `now_please`, and waits at most `patience` for the answer.
    ///
    /// `None`: nothing is known that was not before. A name that stops to resolve keeps its last
    /// addresses: a name service that is away must not take the home with it.
    pub async fn refresh(&mut self, now_please: bool, patience: Duration) -> Option<Vec<SocketAddr>> {
        let now = crate::clock::now();
        let due = self.at.is_none_or(|at| now.saturating_duration_since(at) >= EVERY);
        if !due && !now_please && self.pending.is_none() {
            return None;
        }
        let (host, port) = (Arc::clone(&self.host), self.port);
        let pending = self.pending.get_or_insert_with(|| {
            tokio::spawn(async move { Ok(tokio::net::lookup_host((&*host, port)).await?.collect()) })
        });
        let answer = tokio::time::timeout(patience, pending).await.ok()?;
        self.pending = None;
        self.at = Some(crate::clock::now());
        answer.ok()?.ok().filter(|addresses| !addresses.is_empty())
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        if let Some(pending) = &self.pending {
            pending.abort();
        }
    }
}
