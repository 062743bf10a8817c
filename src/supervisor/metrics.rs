//! Figures as the control thread holds them: the last minute of them, and the address where Prometheus reads.

use std::cell::RefCell;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::time::Duration;

use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{MissedTickBehavior, interval};

use crate::admin::metrics::Sources;
use crate::admin::scrape::{self, Server};
use crate::clock;
use crate::config::model::admin::Admin;
use crate::provision::Provision;
use crate::supervisor::refusal::Refusal;
use crate::telemetry::counters::Counters;
use crate::telemetry::figures::{Minute, Rates};

/// The address that is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound {
    /// As configured; its port may be 0.
    pub configured: SocketAddr,
    /// The one that it got.
    pub actual: SocketAddr,
}

/// What becomes of the address.
#[derive(Debug)]
pub enum Change {
    /// Nothing.
    Keep,
    /// It is closed, if there is one.
    Close,
    /// This one takes its place.
    Open(Bound, TcpListener),
}

impl Change {
    /// Opens what `admin` names, unless it is the one `in_force`.
    pub fn prepare(
        provision: &mut dyn Provision,
        in_force: Option<&Bound>,
        admin: &Admin,
    ) -> Result<Self, Refusal> {
        let Some(wanted) = admin.metrics else { return Ok(Self::Close) };
        if in_force.is_some_and(|bound| bound.configured == wanted) {
            return Ok(Self::Keep);
        }
        let mut sockets = provision.listen(wanted, 1).map_err(Refusal::Metrics)?;
        // One was asked for.
        let Some(socket) = sockets.pop() else { return Ok(Self::Close) };
        let actual = socket.local_addr().unwrap_or(wanted);
        Ok(Self::Open(Bound { configured: wanted, actual }, socket))
    }

    /// The address that is open once this is done.
    pub fn leads_to(&self, in_force: Option<Bound>) -> Option<Bound> {
        match self {
            Self::Keep => in_force,
            Self::Close => None,
            Self::Open(bound, _) => Some(*bound),
        }
    }
}

/// What is counted, who reads it, and a reading a second.
pub struct Metrics {
    /// Where figures come from.
    pub sources: Rc<Sources>,
    server: Option<Server>,
    minute: Rc<RefCell<Minute>>,
    pulse: JoinHandle<()>,
}

impl Metrics {
    /// Reads once a second from now on; to be called on the control thread.
    pub fn new(sources: Sources) -> Self {
        let minute = Rc::new(RefCell::new(Minute::default()));
        let pulse = spawn_local(read_on(sources.counters.clone(), minute.clone()));
        Self { sources: Rc::new(sources), server: None, minute, pulse }
    }

    /// Opens, closes or moves the address.
    pub fn change(&mut self, change: Change) {
        match change {
            Change::Keep => {}
            Change::Close => self.server = None,
            Change::Open(bound, socket) => match scrape::serve(socket, self.sources.clone()) {
                Ok(server) => self.server = Some(server),
                Err(error) => {
                    self.server = None;
                    tracing::error!(%error, address = %bound.actual, "admin.metrics is not served");
                }
            },
        }
    }

    /// What happened to requests in the last minute; `None` in the first second.
    pub fn rates(&self) -> Option<Rates> {
        self.minute.borrow().rates()
    }
}

impl Drop for Metrics {
    fn drop(&mut self) {
        self.pulse.abort();
    }
}

async fn read_on(counters: Counters, minute: Rc<RefCell<Minute>>) {
    let mut second = interval(Duration::from_secs(1));
    second.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        second.tick().await;
        let reading = counters.read(clock::now());
        minute.borrow_mut().push(reading);
    }
}
