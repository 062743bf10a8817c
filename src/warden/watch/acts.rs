//! What the plan says is done: edges are started, told and ended, and the binary on disk takes over.

use std::path::Path;
use std::process::ExitCode;

use crate::clock;
use crate::os::children;
use crate::os::waiting;
use crate::provision::{Provision, ProvisionError};
use crate::warden::member::{Member, Start};
use crate::warden::plan::EdgeId;
use crate::warden::plan::act::Act;
use crate::warden::succession::{self, Estate};
use crate::warden::trial;
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
        let next = self.provision.configuration().ok();
        let why = match trial::try_binary(&self.program, &self.text, next) {
            Err(why) => why,
            Ok(understood) => {
                tracing::info!(version = understood.porchd, "an upgrade begins");
                self.hand_over()
            }
        };
        tracing::error!("no upgrade: {why}; all goes on as before");
        self.plan.upgrade_failed(&why)
    }

    /// Leaves this process to the binary on disk; why nothing came of it, if that returns.
    fn hand_over(&mut self) -> String {
        // What comes in between waits for the one who takes over.
        if let Err(error) = waiting::hold_back(&SIGNALS, true) {
            return error.to_string();
        }
        self.pending.extend(self.signals.take());
        let ends = |signal: &i32| [libc::SIGINT, libc::SIGTERM].contains(signal);
        let why = if self.pending.iter().any(ends) {
            String::from("porchd is told to stop")
        } else {
            succession::replace(Estate {
                program: &self.program,
                signals: &self.pending,
                text: &self.text,
                user: self.user,
                next_number: self.next_number,
                holdings: &self.holdings,
                edges: self.plan.edges(),
                members: &self.members,
            })
            .to_string()
        };
        if let Err(error) = waiting::hold_back(&SIGNALS, false) {
            tracing::error!(%error, "signals are not heard any more: restart porchd");
        }
        why
    }
}
