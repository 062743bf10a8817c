//! The running whole, as the control thread holds it, and the one place where a generation is put in force.

mod lead;
mod renewed;

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedSender, WeakUnboundedSender};
use tokio::time::timeout;

use crate::admin::metrics::Sources;
use crate::admin::server::Ask;
use crate::clock;
use crate::config::model::Listener;
use crate::incidents::evidence::Now;
use crate::listener::adapter::WorkerAdapter;
use crate::listener::permits::Permits;
use crate::listener::shared::Shared;
use crate::listener::sockets::SocketId;
use crate::os::limits;
use crate::provision::{Provision, ProvisionError};
use crate::serve::worker::Worker;
use crate::snapshot;
use crate::supervisor::binds::Bound;
use crate::supervisor::capacity::{bounds, too_many};
use crate::supervisor::certificates::{Certificates, new_files, taken_up};
use crate::supervisor::control::Request;
use crate::supervisor::control_socket::ControlSocket;
use crate::supervisor::generation::Generation;
use crate::supervisor::home_address::{Asked, HomeAddress};
use crate::supervisor::home_link::Tunnel;
use crate::supervisor::larders;
use crate::supervisor::leading::Role;
use crate::supervisor::logs::{LogFiles, Logs};
use crate::supervisor::metrics::Metrics;
use crate::supervisor::outages::Outages;
use crate::supervisor::prepare::{Notices, Opened, Prepared, prepare};
use crate::supervisor::refusal::Refusal;
use crate::supervisor::state::State;
use crate::supervisor::threads::Threads;
use crate::telemetry::access;
use crate::upstream::group::Group;
use crate::upstream::pool::Pools;
use crate::upstream::prober::{self, Probers};

/// Everything that runs.
pub struct Daemon {
    provision: Box<dyn Provision>,
    in_force: Generation,
    live: snapshot::Live,
    certificates: Certificates,
    control_socket: ControlSocket,
    shared: Arc<Shared>,
    threads: Threads,
    probers: Probers,
    outages: Outages,
    tunnel: Tunnel,
    home_address: HomeAddress,
    // Where probers send what they find. Weak: `Running` must be able to end it all.
    reports: WeakUnboundedSender<Request>,
    logs: Logs,
    metrics: Metrics,
    descriptors: u64,
    /// What this porchd is among those that share its addresses.
    pub role: Role,
}

/// Where those who run beside the control thread reach it.
pub struct Links {
    /// Its requests. Weak: their end is how `Running` ends porchd.
    pub requests: WeakUnboundedSender<Request>,
    /// What is asked on the control socket.
    pub asks: UnboundedSender<Ask>,
}

/// A start that failed.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration can't be put in force.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Threads, their runtimes, the log or the signal handlers can't be made.
    #[error("the system has no room for porchd's threads, signals or logs: {0}")]
    System(#[from] io::Error),
}

impl Daemon {
    /// Starts everything; to be called on the control thread. When it returns, connections are served.
    pub fn start(
        mut provision: Box<dyn Provision>,
        role: Role,
        links: Links,
    ) -> Result<(Self, Notices), StartError> {
        // A limit that can't be raised is still one to count with.
        let descriptors = limits::raise_descriptors().unwrap_or(LEAST_DESCRIPTORS);
        let mut state = State::at_start();
        let prepared = prepare(&mut *provision, None, &mut state, &role)?;
        state.started();
        let Prepared { generation, snapshot, store, opened, mut files, .. } = prepared;
        let Prepared { socket, metrics, target, mut notices, .. } = prepared;
        let logs = if role.embedded {
            Logs::embedded()
        } else {
            Logs::of_process(&generation.config.log, &mut files)?
        };
        let live = snapshot::Live::new(snapshot);
        let reports = links.requests.clone();
        let certificates = Certificates::new(store, state, links.requests);
        let shared = Arc::new(Shared::new(Permits::new(bounds(&generation.config, descriptors))));
        let (seen, shown, access) = (live.clone(), certificates.live.clone(), logs.access.clone());
        let offered = certificates.challenges.clone();
        let sources = Sources::new(&live, &certificates.live, &shared, clock::wall());
        let counters = sources.counters.clone();
        let threads = Threads::start(generation.shape, &shared, move || {
            let access = access::Log::new(access);
            let worker = Worker::new(&seen, Pools::new(), access, counters.counting(), offered);
            Rc::new(WorkerAdapter { worker, certificates: shown })
        })?;
        let home_address = HomeAddress::new(reports.clone(), sources.home.clone());
        let mut daemon = Self {
            provision,
            in_force: generation,
            live,
            certificates,
            control_socket: ControlSocket::new(links.asks),
            role,
            shared,
            threads,
            probers: Probers::default(),
            outages: Outages::default(),
            tunnel: Tunnel::new(sources.tunnel.clone()),
            home_address,
            reports,
            logs,
            metrics: Metrics::new(sources),
            descriptors,
        };
        daemon.certificates.new_complaints(notices.warnings.clone());
        daemon.apply(opened, files, &mut notices);
        daemon.control_socket.change(socket);
        daemon.metrics.change(metrics);
        daemon.certificates.follow(target);
        // Told to whoever started it: the next look would tell them again.
        daemon.certificates.new_complaints(notices.warnings.clone());
        daemon.provision.settled(true);
        Ok((daemon, notices))
    }

    /// Puts the configuration of now in force, or changes nothing and says why.
    pub async fn reload(&mut self) -> Result<Notices, Refusal> {
        let state = &mut self.certificates.state;
        let prepared = match prepare(&mut *self.provision, Some(&self.in_force), state, &self.role) {
            Ok(prepared) => prepared,
            Err(refusal) => {
                self.provision.settled(false);
                return Err(refusal);
            }
        };
        let (notices, old, closing) = self.commit(prepared);
        self.provision.settled(true);
        self.retire(&old, closing).await;
        Ok(notices)
    }

    /// Puts `prepared` in force; with the generation before and its addresses that are to be closed.
    fn commit(&mut self, prepared: Prepared) -> (Notices, Generation, Vec<Bound>) {
        let Prepared { generation, snapshot, store, opened, handed_over, closing, files, .. } = prepared;
        let Prepared { socket, metrics, target, mut notices, .. } = prepared;
        let renewed = new_files(&self.certificates.live.load(), &store);
        // A new key of `tls.certificates` is told as such.
        if !renewed.is_empty() && !notices.changes.iter().any(|line| line.starts_with("certificates: ")) {
            notices.changes.push(taken_up(&renewed));
        }
        // What is told now is not told again by the next look.
        self.certificates.new_complaints(notices.warnings.clone());
        // A host must not be served before its certificate is there.
        self.certificates.live.store(store);
        // The commit: nothing before has changed what clients see, nothing after can fail.
        self.live.store(snapshot);
        let old = std::mem::replace(&mut self.in_force, generation);
        self.apply(opened, files, &mut notices);
        self.control_socket.change(socket);
        self.metrics.change(metrics);
        self.certificates.follow(target);
        self.certificates.new_complaints(notices.warnings.clone());
        handed_over.iter().for_each(|bound| self.threads.hand_over(bound.id, &bound.listener));
        // Whoever waits for a home that is away is looked at anew.
        old.groups.iter().for_each(|group| group.lot().recall());
        (notices, old, closing)
    }

    /// Makes everything follow the generation in force.
    fn apply(&mut self, opened: Opened, mut files: LogFiles, notices: &mut Notices) {
        let config = &self.in_force.config;
        notices.warnings.extend(too_many(config, self.descriptors));
        if let Err(error) = self.logs.follow(&config.log, &mut files) {
            tracing::error!(%error, "the log goes on where it was");
        }
        self.shared.permits.rebound(bounds(config, self.descriptors));
        larders::stock(&self.live.load());
        if let Some(folder) = self.certificates.state.take_for_incidents() {
            // Without a second descriptor of it, what was told is kept in memory alone.
            if let Ok(folder) = folder.try_clone() {
                self.home_address.keep_in(folder);
            }
            self.outages.keep_in(folder);
        }
        if self.role.leads {
            self.home_address.follow(config.home_link.address.as_ref());
        }
        let reports = self.reports.clone();
        self.probers.follow(&self.in_force.groups, &move |report: prober::Report| {
            // At an end nobody is left to hear of it.
            reports.upgrade().map(|control| control.send(Request::Reported(report)));
        });
        for (bound, sockets) in opened {
            self.threads.open(bound.id, &bound.listener, sockets);
        }
    }

    /// Closes addresses that are gone, and drains listeners that are gone or speak otherwise now.
    async fn retire(&self, old: &Generation, closing: Vec<Bound>) {
        if timeout(CLOSING, self.threads.close(&ids(&closing))).await.is_err() {
            // Nobody would hear a signal while this waits.
            tracing::error!("a thread hangs: it has not closed its sockets; restart porchd");
        }
        let kept = &self.in_force.config.listeners;
        for listener in &old.config.listeners {
            let same = |kept: &Listener| kept.name == listener.name && kept.tls == listener.tls;
            if !kept.iter().any(same) {
                self.threads.retire(&listener.name, self.in_force.config.drain.reload);
            }
        }
    }

    /// Opens the log files again, after a rotation has moved them away.
    pub fn reopen_logs(&mut self) -> Vec<ProvisionError> {
        self.logs.reopen(&mut *self.provision)
    }

    /// Closes all addresses. The future ends when everything that they had queued is on its thread.
    pub fn close_all(&self) -> impl Future<Output = ()> + use<> {
        self.threads.close(&ids(&self.in_force.bounds))
    }

    /// The threads.
    pub fn threads(&mut self) -> &mut Threads {
        &mut self.threads
    }

    /// The generation in force.
    pub fn in_force(&self) -> &Generation {
        &self.in_force
    }

    /// What is counted.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The certificates.
    pub fn certificates(&self) -> &Certificates {
        &self.certificates
    }

    /// Orders nothing any more. What was on its way is taken up by the next process.
    pub fn stop_ordering(&mut self) {
        self.certificates.stop_ordering();
    }

    /// Looks how the upstreams stand, and remembers it.
    pub fn look_at_upstreams(&mut self) {
        let (now, Generation { config, groups, .. }) =
            (Now { at: clock::now(), wall: clock::wall() }, &self.in_force);
        let lasts = |group: &Arc<Group>| group.lot().outage().is_some_and(|outage| outage.ended.is_none());
        let (watched, away) = (config.home_link.wireguard.as_ref(), groups.iter().any(lasts));
        self.tunnel.look(&mut *self.provision, watched, away, now);
        self.outages.look(groups, self.tunnel.spells(), now);
    }

    /// Takes what a prober has found.
    pub fn reported(&mut self, report: prober::Report) {
        self.outages.reported(report);
        self.look_at_upstreams();
    }

    /// Does what the address of home asks for.
    pub fn home_asked(&mut self, asked: Asked) {
        match asked {
            Asked::Act { address, which, step, reply } => {
                // Whoever asked may have been replaced by a reload.
                let _ = reply.send(self.provision.home_address(&address, which, &step));
            }
            Asked::Moved { name, text } => self.outages.moved(&name, text),
        }
    }

    /// What is known of outages.
    pub fn outages(&self) -> &Outages {
        &self.outages
    }

    /// What requests see.
    pub fn snapshot(&self) -> Arc<snapshot::Snapshot> {
        self.live.load()
    }

    /// How many connections there may be.
    pub fn most(&self) -> usize {
        bounds(&self.in_force.config, self.descriptors).total
    }

    /// How many connections are open.
    pub fn open(&self) -> usize {
        self.shared.permits.open()
    }

    /// Who listens where, and how many connections there may be: one line for people.
    pub fn status_line(&self) -> String {
        let listener = |(name, addresses): (String, Vec<SocketAddr>)| {
            let addresses: Vec<String> = addresses.iter().map(SocketAddr::to_string).collect();
            format!("{name} on {}", addresses.join(", "))
        };
        let listeners: Vec<String> = self.in_force.addresses().into_iter().map(listener).collect();
        let most = self.most();
        let threads = self.in_force.shape.threads;
        format!("{}; {threads} threads; at most {most} connections", listeners.join("; "))
    }
}

fn ids(bounds: &[Bound]) -> Vec<SocketId> {
    bounds.iter().map(|bound| bound.id).collect()
}

/// More than enough for a thread that runs.
const CLOSING: Duration = Duration::from_secs(10);
/// What POSIX systems give at the least in practice.
const LEAST_DESCRIPTORS: u64 = 1024;
