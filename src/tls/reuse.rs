//! Makes certificates ready to be served, or takes them from the store before where they are the same.
//!
//! What is the same is the same object: connections, sessions and comparisons of stores rely on it.

use std::sync::Arc;
use std::time::SystemTime;

use crate::provision::PemPair;
use crate::tls::store::{Origin, Served, ServedError, Settings, Store};

/// What one load knows of the store before.
pub(super) struct Reuse<'a> {
    /// How certificates are served now.
    pub(super) settings: Settings,
    /// The store before.
    pub(super) old: Option<&'a Store>,
    /// The time of the load.
    pub(super) now: SystemTime,
}

impl Reuse<'_> {
    /// `pair`, ready to be served.
    pub(super) fn served(&self, origin: &Origin, pair: &PemPair) -> Result<Arc<Served>, ServedError> {
        match self.find(|old| old.is_same(origin, pair, &self.settings)) {
            Some(same) => Ok(same),
            None => Served::new(origin.clone(), pair, &self.settings).map(Arc::new),
        }
    }

    /// What was served from `origin` before, if it may be served on.
    pub(super) fn before(&self, origin: &Origin) -> Option<Arc<Served>> {
        self.find(|old| old.origin == *origin && old.has_settings(&self.settings))
    }

    /// The first certificate of the store before that `is_it` takes.
    pub(super) fn find(&self, is_it: impl Fn(&Served) -> bool) -> Option<Arc<Served>> {
        self.old.and_then(|old| old.all().iter().find(|served| is_it(served))).map(Arc::clone)
    }
}
