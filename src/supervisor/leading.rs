//! What only one edge may have, while a second one serves the same addresses: the state folder, orders of
//! certificates, the control socket, the address of figures, incidents.

use std::sync::Arc;

use tokio::sync::oneshot;

use crate::admin::protocol::Answer;
use crate::config::model::Config;
use crate::os::confine::{self, Held};
use crate::provision::calls::Note;
use crate::provision::walls::{self, Want};
use crate::supervisor::control::Control;
use crate::supervisor::refusal::Refusal;

/// What a porchd is.
#[derive(Debug, Clone)]
pub struct Role {
    /// It is part of another program.
    pub embedded: bool,
    /// It has what only one may have.
    pub leads: bool,
    /// The walls around it, if there are any.
    pub held: Option<Arc<Held>>,
}

impl Role {
    /// Refuses a configuration that needs what is beyond the walls.
    pub fn allows(&self, config: &Config) -> Result<(), Refusal> {
        let Some(held) = &self.held else { return Ok(()) };
        // What was not there when the walls went up was told then, and keeps nobody from serving.
        let absent = |want: &Want| held.absent.iter().any(|absent| want.is_for(&absent.path));
        let mut wanted = walls::wanted(config);
        wanted.retain(|want| !absent(want));
        let beyond = walls::beyond(&held.walls, &wanted, &confine::leads_to);
        if beyond.is_empty() { Ok(()) } else { Err(Refusal::Beyond(beyond)) }
    }

    /// Tells the log what holds this porchd, and what it can't reach.
    pub fn tell_walls(&self) {
        if let Some(held) = &self.held {
            tracing::info!("{held}");
            held.absent.iter().for_each(|absent| tracing::warn!("{absent}"));
        }
    }
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

    /// Tells what can't be reached any more since it was put there anew: a wall is around what was there before.
    pub fn tell_replaced(&mut self) {
        let Some(held) = &self.daemon.role.held else { return };
        let replaced = confine::out_of_reach(&held.walls);
        for path in replaced.iter().filter(|path| !self.replaced.contains(path)) {
            let path = path.display();
            tracing::warn!("{path} was put there anew, and this edge can't reach it; porchd upgrade");
        }
        self.replaced = replaced;
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
