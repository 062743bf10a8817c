//! Start-up, reload, drain and signals.
//!
//! Inside, top reads down ("P" is pure):
//!
//! ```text
//! control.rs     the event loop of the control thread; steering.rs, signals.rs: what it hears from above
//! stop.rs        its end; retiring.rs: its end after an upgrade; leading.rs: what only one edge may have
//! daemon.rs      everything that runs; the one commit of a generation
//! prepare.rs     everything that can fail, before anything changes; refusal.rs: why it did
//! threads.rs     all threads steered as one; logs.rs: where log lines go
//! larders.rs     what upstreams are asked for, to have it while they are away
//! asked.rs       what the control socket is answered; status.rs: how all stands; control_socket.rs: when it opens
//! outages.rs     how the upstreams stand, and what is remembered of it
//! home_link.rs   the tunnel home
//! home_address.rs follows the address of home, and has it told
//! metrics.rs     what is counted, the last minute of it, and where it is read
//! certificates.rs what is shown and ordered; state.rs: the folder that remembers it
//! generation.rs  what is in force; binds.rs (P), shape.rs (P), capacity.rs (P)
//! ```
//!
//! Whoever runs porchd sees only what is in this file.

pub mod asked;
pub mod binds;
pub mod capacity;
pub mod certificates;
pub mod control;
pub mod control_socket;
pub mod daemon;
pub mod generation;
pub mod home_address;
pub mod home_link;
pub mod larders;
pub mod leading;
pub mod logs;
pub mod metrics;
pub mod outages;
pub mod prepare;
pub mod refusal;
pub mod retiring;
pub mod shape;
pub mod signals;
pub mod state;
pub mod status;
pub mod steering;
pub mod stop;
#[cfg(test)]
mod tests;
pub mod threads;

use std::io;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, WeakUnboundedSender, unbounded_channel};

use crate::os::confine::Held;
use crate::provision::Provision;
use crate::supervisor::control::{Control, Request};
use crate::supervisor::daemon::StartError;
use crate::supervisor::leading::Role;
use crate::supervisor::refusal::Refusal;
use crate::supervisor::signals::Signals;
use crate::supervisor::steering::{Steering, Warden};
use crate::tls::challenges::Challenges;

/// How porchd lives in its process.
#[derive(Debug, Default)]
pub struct Options {
    place: Place,
}

#[derive(Debug, Default)]
enum Place {
    /// The process is porchd, and nobody above it is.
    #[default]
    Process,
    /// Inside another program (a test).
    Program,
    /// The process is an edge.
    Edge { orders: UnixStream, leads: bool, held: Option<Held> },
}

impl Options {
    /// Inside another program (a test): signals, the log of diagnostics and the service manager are its own.
    pub fn embedded() -> Self {
        Self { place: Place::Program }
    }

    /// As an edge whose warden speaks on `orders`. `leads`: from the start on it has what only one edge may have.
    /// `held`: the walls around it.
    pub fn edge(orders: UnixStream, leads: bool, held: Option<Held>) -> Self {
        Self { place: Place::Edge { orders, leads, held } }
    }

    fn settle(self) -> io::Result<(Role, Steering)> {
        let (embedded, leads, held, steering) = match self.place {
            Place::Process => (false, true, None, Steering::Process(Signals::catch()?)),
            Place::Program => (true, true, None, Steering::Program),
            Place::Edge { orders, leads, held } => {
                (false, leads, held, Steering::Warden(Warden::hear(orders)?))
            }
        };
        Ok((Role { embedded, leads, held: held.map(Arc::new) }, steering))
    }
}

/// A porchd that runs. Dropped without `wait`, it ends at once by itself.
#[derive(Debug)]
pub struct Running {
    requests: UnboundedSender<Request>,
    control: JoinHandle<ExitCode>,
}

/// A reload that changed nothing.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The configuration can't be put in force.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// porchd is stopping.
    #[error("porchd is stopping")]
    Stopping,
}

/// Starts porchd. When this returns, it serves.
pub fn start(provision: Box<dyn Provision>, options: Options) -> Result<Running, StartError> {
    let (requests, heard) = unbounded_channel();
    let (told, started) = channel();
    // Weak: what runs beside the control thread must not keep it alive.
    let to = requests.downgrade();
    let control = std::thread::Builder::new()
        .name("porchd-control".to_owned())
        .spawn(move || control_thread(provision, options, to, heard, &told))?;
    match started.recv() {
        Ok(Ok(())) => Ok(Running { requests, control }),
        Ok(Err(error)) => Err(error),
        // It panicked, and its message is out already.
        Err(_) => Err(StartError::System(std::io::ErrorKind::Other.into())),
    }
}

fn control_thread(
    provision: Box<dyn Provision>,
    options: Options,
    to: WeakUnboundedSender<Request>,
    requests: UnboundedReceiver<Request>,
    told: &Sender<Result<(), StartError>>,
) -> ExitCode {
    let tell = |result| {
        // `start` waits for it.
        let _ = told.send(result);
    };
    let runtime = match Builder::new_current_thread().enable_all().build_local(LocalOptions::default()) {
        Ok(runtime) => runtime,
        Err(error) => {
            tell(Err(error.into()));
            return ExitCode::FAILURE;
        }
    };
    let status = runtime.block_on(async {
        match Control::start(provision, options, to, requests) {
            Ok(control) => {
                tell(Ok(()));
                control.run().await
            }
            Err(error) => {
                tell(Err(error));
                ExitCode::FAILURE
            }
        }
    });
    // A name that is being resolved can't be interrupted and must not hold up the end.
    runtime.shutdown_background();
    status
}

impl Running {
    /// Puts the configuration of now in force and says what changed, one line each.
    pub fn reload(&self) -> Result<Vec<String>, ReloadError> {
        let result = self.ask(|reply| Request::Reload(Some(reply))).recv();
        Ok(result.map_err(|_| ReloadError::Stopping)??)
    }

    /// The addresses of each listener; where the configuration says port 0, the port that it got.
    pub fn addresses(&self) -> Vec<(String, Vec<SocketAddr>)> {
        self.ask(Request::Addresses).recv().unwrap_or_default()
    }

    /// How many requests wait for a home that is away.
    pub fn parked(&self) -> u32 {
        self.ask(Request::Parked).recv().unwrap_or_default()
    }

    /// The address where Prometheus reads figures, with the port that it got.
    pub fn metrics(&self) -> Option<SocketAddr> {
        self.ask(Request::Metrics).recv().unwrap_or_default()
    }

    /// The internal CA's certificate, as PEM.
    pub fn ca_pem(&self) -> Option<String> {
        self.ask(Request::Ca).recv().unwrap_or_default()
    }

    /// Where proofs of control over names are offered to CAs; `None`: porchd has ended.
    pub fn challenges(&self) -> Option<Challenges> {
        self.ask(Request::Challenges).recv().ok()
    }

    /// Takes up what changed in the certificates' files, as it does by itself from time to time. Returns what is wrong
    /// with them and was not told yet; the log has it too.
    pub fn look(&self) -> Vec<String> {
        self.ask(|reply| Request::Look(Some(reply))).recv().unwrap_or_default()
    }

    /// Opens the logs again.
    pub fn reopen_logs(&self) {
        let _ = self.requests.send(Request::Reopen);
    }

    /// Drains and ends; the second time, ends at once.
    pub fn stop(&self) {
        let _ = self.requests.send(Request::Stop);
    }

    /// Ends at once: what waits is answered, what is open is closed.
    pub fn abort(&self) {
        let _ = self.requests.send(Request::Abort);
    }

    /// Waits for the end.
    pub fn wait(self) -> ExitCode {
        // The channel stays open until then: its end would mean that nobody waits.
        let Self { requests, control } = self;
        let status = control.join().unwrap_or(ExitCode::FAILURE);
        drop(requests);
        status
    }

    /// Asks the control thread. Once it has ended, the answer's channel is closed.
    fn ask<T>(&self, request: impl FnOnce(Sender<T>) -> Request) -> Receiver<T> {
        let (reply, answer) = channel();
        let _ = self.requests.send(request(reply));
        answer
    }
}
