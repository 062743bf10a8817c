//! The running whole takes the lead, and gives it up.

use std::time::Duration;

use crate::admin::server::Talks;
use crate::supervisor::control_socket::Change;
use crate::supervisor::daemon::Daemon;
use crate::supervisor::leading::Role;
use crate::supervisor::metrics;
use crate::supervisor::prepare::{Notices, prepare_again};
use crate::supervisor::refusal::Refusal;

impl Daemon {
    /// Takes what only one edge may have, or says why it is not to be had.
    pub fn lead(&mut self) -> Result<Notices, Refusal> {
        let state = &mut self.certificates.state;
        let role = Role { leads: true, ..self.role.clone() };
        let prepared = prepare_again(&mut *self.provision, &self.in_force, state, &role)?;
        self.role = role;
        // Of the same configuration nothing is left to close.
        Ok(self.commit(prepared).0)
    }

    /// Gives up what only one edge may have: when the future ends, another may take it.
    ///
    /// What is left of it are those who talk on the control socket.
    pub async fn give_up_the_lead(&mut self) -> Option<Talks> {
        let talks = self.control_socket.talks();
        self.role.leads = false;
        self.control_socket.change(Change::Close);
        self.metrics.change(metrics::Change::Close);
        self.outages.keep_no_more();
        self.home_address.stop();
        self.certificates.stop_ordering_and_wait().await;
        self.certificates.state.release();
        talks
    }

    /// Drains all listeners, whose sockets are closed, and closes what is left after `deadline`.
    pub fn retire_all(&self, deadline: Duration) {
        let listeners = &self.in_force.config.listeners;
        listeners.iter().for_each(|listener| self.threads.retire(&listener.name, deadline));
    }
}
