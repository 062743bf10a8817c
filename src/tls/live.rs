//! The swap that publishes certificates to every thread.
//!
//! A connection holds its own `Served`, so a swap never touches one that stands.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::tls::store::Store;

/// The certificates in use, shared by all threads.
#[derive(Debug)]
pub struct Live(ArcSwap<Store>);

impl Live {
    /// Starts with `store`.
    pub fn new(store: Arc<Store>) -> Self {
        Self(ArcSwap::new(store))
    }

    /// The certificates of now; taken once for each handshake.
    pub fn load(&self) -> Arc<Store> {
        self.0.load_full()
    }

    /// Puts `store` into use: handshakes that begin from here on see it.
    pub fn store(&self, store: Arc<Store>) {
        self.0.store(store);
    }

    /// Puts `store` into use unless it is the same as what is there; whether it did.
    pub fn change(&self, store: Arc<Store>) -> bool {
        let changes = !self.0.load().same(&store);
        if changes {
            self.0.store(store);
        }
        changes
    }
}
