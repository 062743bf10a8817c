//! The event loop of the control thread: what signals and `Running` ask, one at a time.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc::Sender;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, WeakUnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use tokio::time::{Interval, MissedTickBehavior, interval_at};

use crate::acme::moment::Moment;
use crate::admin::protocol::Answer;
use crate::admin::server::Ask;
use crate::admin::status::Reloaded;
use crate::clock;
use crate::provision::Provision;
use crate::supervisor::Options;
use crate::supervisor::daemon::{Daemon, Links, StartError};
use crate::supervisor::home_address;
use crate::supervisor::prepare::Notices;
use crate::supervisor::refusal::Refusal;
use crate::supervisor::steering::{Asked, Standing, Steering};
use crate::tls::challenges::Challenges;
use crate::tls::managed::Managed;
use crate::upstream::prober;

/// What the control thread is asked.
#[derive(Debug)]
pub enum Request {
    /// To put the configuration of now in force, and to tell what changed.
    Reload(Option<Sender<Result<Vec<String>, Refusal>>>),
    /// To open the logs again.
    Reopen,
    /// To take what only one edge may have.
    Lead,
    /// To give that up, and end when everybody has gone.
    Yield,
    /// To tell whoever asked for an upgrade that it is over, or why nothing came of it.
    Upgraded(Option<String>),
    /// To drain and end; asked again: to end now.
    Stop,
    /// To end now.
    Abort,
    /// Who listens where.
    Addresses(Sender<Vec<(String, Vec<SocketAddr>)>>),
    /// How many requests wait for home.
    Parked(Sender<u32>),
    /// Where figures are read.
    Metrics(Sender<Option<SocketAddr>>),
    /// The internal CA, as PEM.
    Ca(Sender<Option<String>>),
    /// To show these certificates, all that the ACME thread has, and to say when it is done.
    Ordered(Vec<Managed>, Sender<()>),
    /// To look whether certificates' files have changed, and to tell what is wrong with them that was not told yet.
    Look(Option<Sender<Vec<String>>>),
    /// To answer a question of the control socket.
    Asked(Ask),
    /// What is offered to CAs that look.
    Challenges(Sender<Challenges>),
    /// To look how the upstreams stand.
    LookAtUpstreams,
    /// To take what a prober has found.
    Reported(prober::Report),
    /// To do what the address of home asks for.
    Home(home_address::Asked),
}

/// Where requests come from.
pub struct Inbox {
    requests: UnboundedReceiver<Request>,
    asks: UnboundedReceiver<Ask>,
    looks: Interval,
    seconds: Interval,
    /// Who asks from above.
    pub steering: Steering,
}

/// The control thread's state.
pub struct Control {
    /// What it controls.
    pub daemon: Daemon,
    /// What it listens to.
    pub inbox: Inbox,
    /// When it was started.
    pub started: Moment,
    /// What came of the last reload.
    pub reloaded: Option<Reloaded>,
    /// Whether this edge was told to take what only one may have.
    pub shall_lead: bool,
    /// What was put anew in the place of something within the walls, and told.
    pub replaced: Vec<PathBuf>,
    /// Who waits for an upgrade to be over.
    pub upgrading: Vec<oneshot::Sender<Answer>>,
}

impl Control {
    /// Starts everything.
    pub fn start(
        provision: Box<dyn Provision>,
        options: Options,
        to: WeakUnboundedSender<Request>,
        requests: UnboundedReceiver<Request>,
    ) -> Result<Self, StartError> {
        // Heard first: what is asked during the start waits for its end.
        let (role, steering) = options.settle()?;
        let (asked, asks) = unbounded_channel();
        let (daemon, notices) = Daemon::start(provision, role, Links { requests: to, asks: asked })?;
        let inbox = Inbox { requests, asks, looks: every(LOOK_EVERY), seconds: every(SECOND), steering };
        let (started, upgrading) = (Moment::of(clock::wall()), Vec::new());
        let (reloaded, shall_lead, replaced) = (None, false, Vec::new());
        let control = Self { daemon, inbox, started, reloaded, shall_lead, replaced, upgrading };
        control.daemon.role.tell_walls();
        notices.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
        tracing::info!("ready: {}", control.daemon.status_line());
        control.tell_ready();
        Ok(control)
    }

    /// Runs until the end.
    pub async fn run(mut self) -> ExitCode {
        loop {
            let request = tokio::select! {
                request = self.inbox.next() => request,
                () = self.daemon.threads().lost() => {
                    tracing::error!("a thread was lost to a panic: porchd ends, so that it can be restarted");
                    return ExitCode::FAILURE;
                }
            };
            match request {
                Request::Stop => return self.stop().await,
                Request::Abort => return self.abort().await,
                Request::Yield => return self.retire().await,
                request => self.answer(request).await,
            }
        }
    }

    /// Does what does not end the process.
    async fn answer(&mut self, request: Request) {
        // Whoever asked may be gone; then nobody misses the answer.
        match request {
            Request::Reload(reply) => {
                let result = self.reload().await.map(|notices| notices.changes);
                reply.map(|reply| reply.send(result));
            }
            Request::Ordered(managed, shown) => {
                self.daemon.refresh_certificates(Some(managed));
                let _ = shown.send(());
            }
            Request::Look(reply) => {
                let complaints = self.daemon.refresh_certificates(None);
                self.lead_at_last();
                self.tell_replaced();
                reply.map(|reply| reply.send(complaints));
            }
            Request::Asked(ask) => self.tell_asked(ask).await,
            Request::LookAtUpstreams => self.daemon.look_at_upstreams(),
            Request::Reported(report) => self.daemon.reported(report),
            Request::Home(asked) => self.daemon.home_asked(asked),
            Request::Reopen => self.reopen_logs(),
            Request::Addresses(reply) => drop(reply.send(self.daemon.in_force().addresses())),
            Request::Parked(reply) => drop(reply.send(self.daemon.in_force().parked())),
            Request::Metrics(reply) => {
                let _ = reply.send(self.daemon.in_force().metrics.map(|bound| bound.actual));
            }
            Request::Ca(reply) => drop(reply.send(self.daemon.in_force().ca_pem())),
            Request::Challenges(reply) => drop(reply.send(self.daemon.certificates().challenges.clone())),
            Request::Lead => self.lead(),
            // That it went well is told once this edge accepts no more: what is asked next meets the new one.
            Request::Upgraded(None) => {}
            Request::Upgraded(failed) => self.tell_upgraded(failed),
            Request::Stop | Request::Abort | Request::Yield => {}
        }
    }

    /// Puts the configuration of now in force and tells the log.
    pub async fn reload(&mut self) -> Result<Notices, Refusal> {
        self.tell(Standing::Reloading);
        let result = self.daemon.reload().await;
        let generation = self.daemon.in_force().number;
        self.reloaded = Some(Reloaded::of(&result, Moment::of(clock::wall())));
        let reloads = &self.daemon.metrics().sources.reloads;
        match &result {
            Ok(_) => reloads.done(clock::wall()),
            Err(_) => reloads.refused(),
        }
        match &result {
            Ok(Notices { warnings, changes }) => {
                warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
                tracing::info!("reloaded, generation {generation} is in force\n{}", changes.join("\n"));
            }
            Err(refusal) => {
                tracing::error!("reload refused, generation {generation} goes on unchanged\n{refusal}");
            }
        }
        self.tell_ready();
        result
    }

    /// Opens the logs again.
    pub fn reopen_logs(&mut self) {
        let errors = self.daemon.reopen_logs();
        for error in &errors {
            tracing::error!("a log cannot be opened again, the old file is written on: {error}");
        }
        if errors.is_empty() {
            tracing::info!("logs opened again");
        }
    }

    /// Tells those above how porchd stands.
    pub fn tell(&self, standing: Standing<'_>) {
        self.inbox.steering.tell(standing);
    }

    fn tell_ready(&self) {
        self.tell(Standing::Ready(&self.daemon.status_line()));
    }
}

impl Inbox {
    /// The next request. Nothing is lost when this is dropped before it is ready.
    pub async fn next(&mut self) -> Request {
        tokio::select! {
            Some(ask) = self.asks.recv() => Request::Asked(ask),
            _ = self.looks.tick() => Request::Look(None),
            _ = self.seconds.tick() => Request::LookAtUpstreams,
            // `Running` was dropped without being waited for: nobody is interested any more.
            request = self.requests.recv() => request.unwrap_or(Request::Abort),
            asked = self.steering.next() => match asked {
                Asked::Reload => Request::Reload(None),
                Asked::Reopen => Request::Reopen,
                Asked::Stop => Request::Stop,
                Asked::Lead => Request::Lead,
                Asked::Yield => Request::Yield,
                Asked::Upgraded { failed } => Request::Upgraded(failed),
            },
        }
    }
}

impl Reloaded {
    fn of(result: &Result<Notices, Refusal>, at: Moment) -> Self {
        match result {
            Ok(notices) => Self { at, ok: true, changes: notices.changes.clone(), error: None },
            Err(refusal) => Self { at, ok: false, changes: Vec::new(), error: Some(refusal.to_string()) },
        }
    }
}

fn every(period: Duration) -> Interval {
    // What is found at the start needs no second look.
    let mut interval = interval_at((clock::now() + period).into(), period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

/// Between two looks at the upstreams.
const SECOND: Duration = Duration::from_secs(1);
/// Between two looks at certificates' files: what a renewal beside porchd puts there is shown within a minute.
const LOOK_EVERY: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_found_at_the_start_is_looked_at_a_period_later() {
        let begun = clock::now();
        let mut looks = every(LOOK_EVERY);
        for nth in 1..=2 {
            looks.tick().await;
            assert_eq!(clock::now() - begun, LOOK_EVERY * nth);
        }
    }
}
