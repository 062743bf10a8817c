//! The loop of the warden: signals, edges that ask, tell and end; one at a time.

mod acts;

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use crate::clock;
use crate::config;
use crate::config::model::Config;
use crate::os::children;
use crate::os::notify;
use crate::os::users::User;
use crate::os::waiting::{self, Caught};
use crate::provision::Provision;
use crate::provision::calls::{Duty, Note};
use crate::provision::in_process::InProcess;
use crate::provision::inventory::Inventory;
use crate::telemetry::diagnostics::Diagnostics;
use crate::warden::StartError;
use crate::warden::answers::{Answers, Called};
use crate::warden::holdings::Holdings;
use crate::warden::member::Member;
use crate::warden::plan::act::{Act, Asked};
use crate::warden::plan::{EdgeId, Place, Plan};
use crate::warden::succession::Succession;

/// What the warden hears.
const SIGNALS: [i32; 6] =
    [libc::SIGHUP, libc::SIGINT, libc::SIGTERM, libc::SIGUSR1, libc::SIGUSR2, libc::SIGCHLD];

/// The warden.
pub struct Warden {
    provision: InProcess,
    user: Option<User>,
    confine: bool,
    program: PathBuf,
    signals: Caught,
    /// Signals that came and were not looked at yet.
    pending: VecDeque<i32>,
    diagnostics: Diagnostics,
    plan: Plan,
    members: Vec<Member>,
    holdings: Holdings,
    /// The configuration in force, with which an edge begins in place of one that has died.
    text: String,
    inventory: Inventory,
    next_number: u64,
}

/// What can be read.
#[derive(Debug, Clone, Copy)]
enum Source {
    Calls(EdgeId),
    Orders(EdgeId),
}

impl Warden {
    /// A warden of `config`, whose text is `text`.
    ///
    /// # Errors
    /// When the system has no room, or the log can't be opened.
    pub fn new(
        mut provision: InProcess,
        program: PathBuf,
        user: Option<User>,
        confine: bool,
        config: &Config,
        text: String,
    ) -> Result<Self, StartError> {
        let mut open = |path: &Path| provision.log_file(path);
        let diagnostics = Diagnostics::new(&config.log, &mut open).map_err(StartError::Log)?;
        // Once: what was held back over an upgrade comes at once.
        let signals = Caught::catch(&SIGNALS)?;
        diagnostics.install();
        Ok(Self {
            provision,
            user,
            confine,
            program,
            signals,
            pending: VecDeque::new(),
            diagnostics,
            plan: Plan::new(config.drain),
            members: Vec::new(),
            holdings: Holdings::default(),
            text,
            inventory: Inventory::of(config),
            next_number: 1,
        })
    }

    /// Starts the first edge, or goes on with what another warden has `left`, until the end.
    ///
    /// # Errors
    /// When no edge can be started at all.
    pub fn watch(mut self, left: Option<Succession>) -> Result<ExitCode, StartError> {
        let acts = match left {
            None => self.plan.begin(clock::now()),
            Some(left) => {
                self.pending = left.signals;
                self.next_number = left.next_number;
                self.holdings = left.holdings;
                self.members = left.members;
                self.plan = Plan::of(left.edges, self.plan.limits());
                tracing::info!(version = env!("CARGO_PKG_VERSION"), "this warden has taken over");
                // Whoever ended in between has sent its signal to the warden before.
                let mut acts = self.reap();
                acts.extend(self.plan.upgrade(clock::now()));
                acts
            }
        };
        let mut exit = self.act(acts);
        while exit.is_none() {
            exit = self.turn()?;
        }
        Ok(exit.unwrap_or(ExitCode::FAILURE))
    }

    /// Waits for something and answers it; an exit code at the end.
    fn turn(&mut self) -> io::Result<Option<ExitCode>> {
        let due = self.plan.due().map(|due| due.saturating_duration_since(clock::now()));
        let limit = if self.pending.is_empty() { due } else { Some(Duration::ZERO) };
        let (sources, ready) = {
            let mut sources = Vec::new();
            let mut descriptors: Vec<BorrowedFd<'_>> = vec![self.signals.descriptor()];
            for member in &self.members {
                if let Some(calls) = &member.calls {
                    sources.push(Source::Calls(member.id));
                    descriptors.push(calls.as_fd());
                }
                // One that has gone is waited for by SIGCHLD.
                if !member.gone {
                    sources.push(Source::Orders(member.id));
                    descriptors.push(member.orders.as_fd());
                }
            }
            (sources, waiting::wait(&descriptors, limit)?)
        };
        let ready = ready.into_iter().skip(1);
        for source in sources.into_iter().zip(ready).filter_map(|(source, ready)| ready.then_some(source)) {
            let acts = match source {
                Source::Calls(id) => self.called(id),
                Source::Orders(id) => self.told(id),
            };
            if let Some(exit) = self.act(acts) {
                return Ok(Some(exit));
            }
        }
        self.pending.extend(self.signals.take());
        // What is not looked at yet goes on to a binary that takes over.
        while let Some(signal) = self.pending.pop_front() {
            let acts = self.signalled(signal);
            if let Some(exit) = self.act(acts) {
                return Ok(Some(exit));
            }
        }
        let acts = self.plan.tick(clock::now());
        Ok(self.act(acts))
    }

    fn signalled(&mut self, signal: i32) -> Vec<Act> {
        let asked = match signal {
            libc::SIGHUP => Asked::Reload,
            libc::SIGUSR1 => Asked::Reopen,
            libc::SIGUSR2 => Asked::Upgrade,
            libc::SIGINT | libc::SIGTERM => Asked::Stop,
            _ => return self.reap(),
        };
        self.plan.asked(asked, clock::now())
    }

    /// Takes leave of those that have ended.
    fn reap(&mut self) -> Vec<Act> {
        let mut acts = Vec::new();
        let ids: Vec<EdgeId> = self.members.iter().map(|member| member.id).collect();
        for id in ids {
            let Some(at) = self.members.iter().position(|member| member.id == id) else { continue };
            let (well, how) = match children::ended(self.members[at].process) {
                Ok(None) => continue,
                Ok(Some(status)) => (status.success(), status.to_string()),
                Err(error) => (false, error.to_string()),
            };
            // What it said last may still be there.
            acts.extend(self.told(id));
            let member = self.members.remove(at);
            let place = self.plan.place(id);
            match place {
                Some(Place::Old) if well => tracing::info!("an edge that was replaced has ended"),
                Some(Place::Next) => {
                    tracing::error!("the new edge is given up, the one before goes on: {how}")
                }
                _ if well => tracing::info!("the edge has ended"),
                _ => tracing::error!("an edge has died: {how}"),
            }
            self.holdings.forget(id);
            self.let_go();
            let why = member.failed.unwrap_or_else(|| format!("its edge has ended before it served: {how}"));
            acts.extend(self.plan.ended(id, well, &why, clock::now()));
        }
        acts
    }

    fn called(&mut self, id: EdgeId) -> Vec<Act> {
        let Some(at) = self.members.iter().position(|member| member.id == id) else { return Vec::new() };
        let leads = self.plan.edges().iter().any(|edge| edge.id == id && edge.leads);
        let configuration = self.provision.configuration_name();
        let member = &mut self.members[at];
        let mut answers = Answers {
            provision: &mut self.provision,
            holdings: &mut self.holdings,
            duty: Duty { leads, confine: self.confine, configuration },
            next_number: &mut self.next_number,
        };
        match answers.answer(member) {
            Ok(Called::Answered | Called::Ended) => Vec::new(),
            Ok(Called::Settled) => {
                self.settled(id);
                Vec::new()
            }
            Err(error) => {
                tracing::error!(%error, "an edge does not speak as edges do, and is ended");
                vec![Act::Kill(id)]
            }
        }
    }

    /// The configuration that `id` has asked for is in force there, or refused.
    fn settled(&mut self, id: EdgeId) {
        if let Some(member) = self.members.iter().find(|member| member.id == id)
            && let Some(named) = &member.in_force
            && self.plan.place(id) != Some(Place::Old)
        {
            self.text.clone_from(&named.text);
            self.inventory.clone_from(&named.inventory);
            if let Ok(loaded) = config::load(&self.text, &self.provision.configuration_name()) {
                self.plan.settled(id, loaded.config.drain);
                self.follow(&loaded.config);
            }
        }
        self.let_go();
    }

    /// Closes what no edge accepts from any more: at a port that an old one alone names, connections would wait for ever.
    fn let_go(&mut self) {
        let accepts = |member: &&Member| self.plan.place(member.id) != Some(Place::Old);
        let members = self.members.iter().filter(accepts);
        let named = members.flat_map(|member| member.asked.iter().chain(&member.in_force));
        let all: Vec<&Inventory> = named.map(|named| &named.inventory).chain([&self.inventory]).collect();
        self.holdings.keep(&all);
    }

    fn follow(&mut self, config: &Config) {
        let mut open = |path: &Path| self.provision.log_file(path);
        if let Err(error) = self.diagnostics.apply(&config.log, &mut open) {
            tracing::error!("the warden's log goes on where it was: {error}");
        }
    }

    /// Takes what `id` tells.
    fn told(&mut self, id: EdgeId) -> Vec<Act> {
        let Some(member) = self.members.iter_mut().find(|member| member.id == id) else { return Vec::new() };
        let notes = match member.notes() {
            Ok(notes) => notes,
            Err(error) => {
                member.gone = true;
                let ended = error.kind() == io::ErrorKind::UnexpectedEof;
                if !ended {
                    tracing::error!(%error, "an edge does not speak as edges do, and is ended");
                }
                return if ended { Vec::new() } else { vec![Act::Kill(id)] };
            }
        };
        notes.into_iter().flat_map(|note| self.noted(id, note)).collect()
    }

    fn noted(&mut self, id: EdgeId, note: Note) -> Vec<Act> {
        let now = clock::now();
        let tell = |told: io::Result<()>| {
            if let Err(error) = told {
                tracing::debug!(%error, "the service manager was not told");
            }
        };
        match note {
            Note::Ready(status) => {
                let acts = self.plan.ready(id, now);
                if self.plan.place(id) == Some(Place::Main) {
                    tell(notify::ready(&status));
                    for addr in self.provision.close_unasked() {
                        tracing::warn!(
                            "no listener has the address {addr}: the socket that was left for it is closed"
                        );
                    }
                }
                acts
            }
            Note::Reloading => {
                if self.plan.place(id) == Some(Place::Main) {
                    tell(notify::reloading());
                }
                self.plan.reloading(id)
            }
            Note::Stopping if self.plan.place(id) == Some(Place::Main) => {
                tell(notify::stopping());
                Vec::new()
            }
            Note::Failed(why) => {
                if let Some(member) = self.members.iter_mut().find(|member| member.id == id) {
                    member.failed = Some(why);
                }
                Vec::new()
            }
            Note::Yielded => {
                self.let_go();
                self.plan.yielded(id, now)
            }
            Note::Upgrade if self.plan.place(id) == Some(Place::Main) => self.plan.asked(Asked::Upgrade, now),
            Note::Stopping | Note::Upgrade => Vec::new(),
        }
    }
}
