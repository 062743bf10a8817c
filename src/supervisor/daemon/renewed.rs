//! Certificates that have changed underneath the running whole.

use std::sync::Arc;

use crate::clock;
use crate::supervisor::certificates::{new_files, taken_up};
use crate::supervisor::daemon::Daemon;
use crate::supervisor::generation::Generation;
use crate::supervisor::state;
use crate::tls;
use crate::tls::managed::Managed;

impl Daemon {
    /// Takes up what changed in the certificates' files, and what was ordered. Returns what it told.
    pub fn refresh_certificates(&mut self, ordered: Option<Vec<Managed>>) -> Vec<String> {
        if let Some(ordered) = ordered {
            self.certificates.state.managed = ordered;
        }
        let Generation { config, carried, .. } = &self.in_force;
        let managed = self.certificates.state.managed(config);
        let found = tls::load::refresh(config, &mut *self.provision, carried, managed, clock::wall());
        let tls::load::Refreshed { store, warnings, errors } = found;
        let store = Arc::new(store);
        let files = new_files(&self.certificates.live.load(), &store);
        let changed = self.certificates.live.change(store.clone());
        let errors = errors.iter().map(|error| format!("{error}; the one before stays in use"));
        let noticed = self.provision.warnings();
        let warnings =
            warnings.iter().map(ToString::to_string).chain(noticed.iter().map(ToString::to_string));
        let found = errors.chain(warnings).collect();
        let complaints = self.certificates.new_complaints(found);
        complaints.iter().for_each(|complaint| tracing::warn!("{complaint}"));
        if changed {
            // Who ordered the others tells of them.
            if !files.is_empty() {
                tracing::info!("{}", taken_up(&files));
            }
            self.certificates.follow_names(state::wanted(config, &store));
            self.in_force.carried = carried.with(store);
        }
        complaints
    }
}
