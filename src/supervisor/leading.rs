//! What only one edge may have, while a second one serves the same addresses: the state folder, orders of
//! certificates, the control socket, the address of figures, incidents.

use tokio::sync::oneshot;

use crate::admin::protocol::Answer;
use crate::provision::calls::Note;
use crate::supervisor::control::Control;

/// What a porchd is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Role {
    /// It is part of another program.
    pub embedded: bool,
    /// It has what only one may have.
    pub leads: bool,
}

impl Control {
    /// Takes the lead. When the edge before has not let go, it is tried again with the next look.
    pub fn lead(&mut self) {
        self.shall_lead = true;
        if self.daemon.role.leads {
            return;
        }
        match self.daemon.lead() {
            Ok(notices) => {
                notices.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
                tracing::info!("this edge leads: certificates, incidents and the control socket are its own");
            }
            Err(refusal) => {
                tracing::error!("this edge cannot lead yet, and tries again within a minute: {refusal}");
            }
        }
    }

    /// Takes the lead if that is overdue.
    pub fn lead_at_last(&mut self) {
        if self.shall_lead {
            self.lead();
        }
    }

    /// Has the warden start a new edge.
    pub fn ask_for_an_upgrade(&mut self, reply: oneshot::Sender<Answer>) {
        let Some(warden) = self.inbox.steering.warden() else {
            let text =
                "this porchd runs as one process, which cannot be replaced while it serves: restart it";
            let _ = reply.send(Answer::Refused(text.to_owned()));
            return;
        };
        match warden.note(&Note::Upgrade) {
            Ok(()) => self.upgrading.push(reply),
            Err(error) => {
                let _ = reply.send(Answer::Refused(format!("the warden cannot be asked: {error}")));
            }
        }
    }

    /// Tells those who asked for an upgrade what came of it.
    pub fn tell_upgraded(&mut self, failed: Option<String>) {
        for reply in self.upgrading.drain(..) {
            // Whoever asked may be gone; the log has it.
            let _ = reply.send(match &failed {
                Some(why) => Answer::Refused(format!("the edge before goes on: {why}")),
                None => Answer::Done {
                    lines: vec![String::from("a new edge serves; the one before drains")],
                    warnings: Vec::new(),
                },
            });
        }
    }
}
