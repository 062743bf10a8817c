//! A request as it arrives: its surroundings, which stay the same, and what is learned of it on its way.

use std::cell::Cell;
use std::fmt::Display;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::Method;
use http::request::Parts;

use crate::config::model::route::Route;
use crate::handler::told::Told;
use crate::http::fault::Fault;
use crate::http::forwarded;
use crate::http::reply::Asked;
use crate::http::scan::Flags;
use crate::matrix::class::Endpoint;
use crate::route::site::SiteTable;
use crate::serve::connection::Arrived;
use crate::serve::lines::Line;
use crate::serve::outgoing::InFlight;
use crate::serve::progress::Progress;
use crate::serve::worker::Worker;
use crate::snapshot::Snapshot;
use crate::upstream::answer::Upgraded;

/// A request's surroundings, taken once at its begin.
pub(super) struct Arrival {
    pub(super) in_flight: InFlight,
    pub(super) arrived: Rc<Arrived>,
    pub(super) snapshot: Arc<Snapshot>,
    /// What hyper hides of the head.
    pub(super) hidden: Flags,
    pub(super) switch: Rc<Switch>,
    pub(super) begun: Instant,
    /// Whether it was held against `limits.rate`: once, also if it is looked at anew.
    counted: Cell<bool>,
}

/// Home's side of a tunnel, left for the front that sends the 101.
#[derive(Default)]
pub(super) struct Switch(Cell<Option<Upgraded>>);

impl Switch {
    /// Leaves what an answer brought along.
    pub(super) fn leave(&self, tunnel: Option<Upgraded>) {
        self.0.set(tunnel);
    }

    /// The tunnel, if a request on this connection agreed on one.
    pub(super) fn take(&self) -> Option<Upgraded> {
        self.0.take()
    }
}

/// What is learned of a request on its way.
pub(super) struct Visit<'a> {
    pub(super) asked: Asked,
    pub(super) endpoint: Endpoint,
    pub(super) client: IpAddr,
    pub(super) https: bool,
    pub(super) site: Option<&'a SiteTable>,
    pub(super) route: Option<&'a Route>,
    pub(super) told: Told,
}

impl Arrival {
    /// A request begins on a connection.
    pub(super) fn begin(
        worker: &Rc<Worker>,
        arrived: &Rc<Arrived>,
        progress: &Rc<Progress>,
        switch: &Rc<Switch>,
    ) -> Self {
        let begun = worker.now();
        let hidden = progress.begin(begun);
        let in_flight = InFlight::new(worker.clone(), progress.clone());
        let snapshot = worker.snapshot_of(&arrived.listener);
        let switch = switch.clone();
        Self {
            in_flight,
            arrived: arrived.clone(),
            snapshot,
            hidden,
            switch,
            begun,
            counted: Cell::new(false),
        }
    }

    /// Goes on with the configuration of now.
    pub(super) fn renew(&mut self) {
        self.snapshot = self.worker().snapshot_of(&self.arrived.listener);
    }

    /// Holds the request against `limits.rate`.
    ///
    /// # Errors
    /// Its client asks too often; `visit` is told when it may come back.
    pub(super) fn count(&self, method: &Method, visit: &mut Visit<'_>) -> Result<(), Fault> {
        let limits = &self.snapshot.config.limits;
        if limits.rates.of(visit.endpoint.class).is_none() || *method == Method::OPTIONS {
            return Ok(());
        }
        // A proxy that does not say for whom it asks stands for many clients.
        let trusted = &self.snapshot.config.trusted_proxies;
        if self.counted.replace(true) || forwarded::is_trusted(visit.client, trusted) {
            return Ok(());
        }
        let counted = self.snapshot.accounts.count(visit.endpoint.class, visit.client, self.begun);
        counted.map_err(|wait| {
            visit.told.retry_after = Some(wait);
            Fault::RateLimited
        })
    }

    /// How large the first piece of the answer may be.
    pub(super) fn first_piece(&self) -> usize {
        self.in_flight.progress.first_piece(self.worker().pieces.size())
    }

    /// How long the client may pause in a body.
    pub(super) fn body_progress(&self) -> Duration {
        self.snapshot.config.limits.body_progress
    }

    pub(super) fn refused(&self, ambiguity: &dyn Display) -> Fault {
        tracing::debug!(%ambiguity, client = %self.arrived.client, "refused a request");
        // What follows on this connection may be the rest of what was smuggled.
        self.in_flight.progress.close_after();
        Fault::BadRequest
    }

    pub(super) fn worker(&self) -> &Rc<Worker> {
        &self.in_flight.worker
    }

    pub(super) fn visit(&self, parts: &Parts) -> Visit<'_> {
        let nearest = self.arrived.client_ip();
        let trusted = &self.snapshot.config.trusted_proxies;
        let tls = self.arrived.tls.is_some();
        let target = parts.uri.path_and_query().map_or("", |target| target.as_str());
        let endpoint = Endpoint::of(&parts.method, target);
        self.in_flight.is_of(endpoint.class);
        Visit {
            asked: Asked { head: parts.method == Method::HEAD, matrix: endpoint.matrix, tls },
            endpoint,
            client: forwarded::client(nearest, &parts.headers, trusted),
            https: forwarded::https(nearest, &parts.headers, trusted).unwrap_or(tls),
            site: None,
            route: None,
            told: Told::default(),
        }
    }

    pub(super) fn line(&self, parts: &Parts, visit: &Visit<'_>) -> Option<Box<Line>> {
        let (worker, class) = (self.worker(), visit.endpoint.class);
        let begin = || Line::begin(worker, &self.arrived, self.begun, visit.client, class, parts);
        worker.access().is_on().then(|| Box::new(begin()))
    }
}
