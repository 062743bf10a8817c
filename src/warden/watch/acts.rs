//! What the plan says is done: edges are started, told and ended, and the binary on disk takes over.

use std::path::Path;
use std::process::ExitCode;

use crate::clock;
use crate::os::children;
use crate::os::waiting::{self, Caught};
use crate::provision::{Provision, ProvisionError};
use crate::warden::member::{Member, Start};
use crate::warden::plan::{Act, EdgeId};
use crate::warden::succession::{self, Estate};
use crate::warden::watch::{SIGNALS, Warden};

impl Warden {
    /// Does it, and what it leads to; an exit code at the end.
    pub(super) fn act(&mut self, acts: Vec<Act>) -> Option<ExitCode> {
        for act in acts {
            let more = match act {
                Act::Exit { well: true } => return Some(ExitCode::SUCCESS),
                Act::Exit { well: false } => return Some(ExitCode::FAILURE),
                Act::Start { id, anew, .. } => self.start(id, anew),
                Act::Replace => self.replace(),
                Act::Reopen => {
                    let mut open = |path: &Path| self.provision.log_file(path);
                    let opened: Result<(), ProvisionError> = self.diagnostics.reopen(&mut open);
                    if let Err(error) = opened {
                        tracing::error!("the warden's log cannot be opened again: {error}");
                    }
                    Vec::new()
                }
                Act::Kill(id) => {
                    let member = self.members.iter().find(|member| member.id == id);
                    member.iter().for_each(|member| children::kill(member.process));
                    Vec::new()
                }
                Act::Tell(id, order) => {
                    let member = self.members.iter().find(|member| member.id == id);
                    if let Some(error) = member.and_then(|member| member.tell(&order).err()) {
                        tracing::error!(%error, "an edge does not hear {order:?}");
                    }
                    Vec::new()
                }
            };
            if let Some(exit) = self.act(more) {
                return Some(exit);
            }
        }
        None
    }

    fn start(&mut self, id: EdgeId, anew: bool) -> Vec<Act> {
        let first = (!anew).then(|| self.text.clone());
        match Member::start(id, Start { program: &self.program, user: self.user }, first) {
            Ok(member) => {
                self.members.push(member);
                Vec::new()
            }
            Err(error) => {
                let why = format!("{} cannot be started: {error}", self.program.display());
                tracing::error!("{why}");
                self.plan.ended(id, false, &why, clock::now())
            }
        }
    }

    /// Has the binary on disk take this warden's place; returns when it does not.
    fn replace(&mut self) -> Vec<Act> {
        let why = match succession::try_binary(&self.program) {
            Err(why) => why,
            Ok(understood) => {
                tracing::info!(version = understood.porchd, "an upgrade begins");
                // A signal that comes in between would end what is just beginning.
                let _ = waiting::ignore(&[libc::SIGHUP, libc::SIGUSR1, libc::SIGUSR2]);
                let error = succession::replace(Estate {
                    program: &self.program,
                    text: &self.text,
                    user: self.user,
                    next_number: self.next_number,
                    holdings: &self.holdings,
                    edges: self.plan.edges(),
                    members: &self.members,
                });
                match Caught::catch(&SIGNALS) {
                    Ok(signals) => self.signals = signals,
                    Err(error) => tracing::error!(%error, "signals are not heard any more: restart porchd"),
                }
                error.to_string()
            }
        };
        tracing::error!("no upgrade: {why}; all goes on as before");
        self.plan.upgrade_failed(&why)
    }
}
