//! The life of a request: `life` reads top to bottom as the house's picture tells it.
//!
//! It knows no connection types: a front gives it a request and takes an answer.

use std::cell::Cell;
use std::fmt::Display;
use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode, Version, header};

use crate::config::model::Edits;
use crate::config::model::route::{Action, Files, Route};
use crate::handler::body::Body;
use crate::handler::challenge;
use crate::handler::files::{self, Outcome};
use crate::handler::forward::{self, Forwarding};
use crate::handler::told::Told;
use crate::handler::well_known;
use crate::http::ambiguity::Ambiguity;
use crate::http::authority::{self, Authority};
use crate::http::body::{Leftover, RequestBody};
use crate::http::fault::Fault;
use crate::http::forwarded;
use crate::http::headers::{self, ToClient};
use crate::http::reply::{self, Asked};
use crate::http::scan::Flags;
use crate::route::Host;
use crate::route::site::{Matched, SiteTable};
use crate::serve::connection::Arrived;
use crate::serve::lines::Line;
use crate::serve::outgoing::{InFlight, Outgoing};
use crate::serve::progress::Progress;
use crate::serve::worker::Worker;
use crate::snapshot::Snapshot;
use crate::upstream::answer::Upgraded;

/// A request's surroundings, taken once at its begin.
pub(super) struct Arrival {
    in_flight: InFlight,
    arrived: Rc<Arrived>,
    snapshot: Arc<Snapshot>,
    /// What hyper hides of the head.
    hidden: Flags,
    switch: Rc<Switch>,
    begun: Instant,
}

/// Home's side of a tunnel, left for the front that sends the 101.
#[derive(Default)]
pub(super) struct Switch(Cell<Option<Upgraded>>);

impl Switch {
    /// The tunnel, if a request on this connection agreed on one.
    pub(super) fn take(&self) -> Option<Upgraded> {
        self.0.take()
    }
}

/// What is learned of a request on its way.
struct Visit {
    asked: Asked,
    client: IpAddr,
    https: bool,
    site: Option<Arc<SiteTable>>,
    route: Option<Arc<Route>>,
    told: Told,
}

impl Arrival {
    /// A request begins on a connection.
    pub(super) fn begin(
        worker: &Rc<Worker>,
        arrived: &Rc<Arrived>,
        progress: &Rc<Progress>,
        switch: &Rc<Switch>,
    ) -> Self {
        let hidden = progress.begin();
        let in_flight = InFlight { worker: worker.clone(), progress: progress.clone() };
        let snapshot = worker.snapshot_of(&arrived.listener);
        let switch = switch.clone();
        Self { in_flight, arrived: arrived.clone(), snapshot, hidden, switch, begun: worker.now() }
    }

    /// How long the client may pause in a body.
    pub(super) fn body_progress(&self) -> Duration {
        self.snapshot.config.limits.body_progress
    }

    fn refused(&self, ambiguity: &dyn Display) -> Fault {
        tracing::debug!(%ambiguity, client = %self.arrived.client, "refused a request");
        // What follows on this connection may be the rest of what was smuggled.
        self.in_flight.progress.close_after();
        Fault::BadRequest
    }

    fn worker(&self) -> &Rc<Worker> {
        &self.in_flight.worker
    }

    fn visit(&self, parts: &Parts) -> Visit {
        let nearest = self.arrived.client_ip();
        let trusted = &self.snapshot.config.trusted_proxies;
        let tls = self.arrived.tls.is_some();
        Visit {
            asked: Asked::of(&parts.method, parts.uri.path(), &parts.headers, tls),
            client: forwarded::client(nearest, &parts.headers, trusted),
            https: forwarded::https(nearest, &parts.headers, trusted).unwrap_or(tls),
            site: None,
            route: None,
            told: Told::default(),
        }
    }
}

/// Answers a request, whatever happens.
pub(super) async fn answer(arrival: Arrival, request: Request<RequestBody>) -> Response<Outgoing> {
    let (parts, body) = request.into_parts();
    let mut visit = arrival.visit(&parts);
    let worker = arrival.worker();
    let mut line = worker
        .access()
        .is_on()
        .then(|| Box::new(Line::begin(worker, &arrival.arrived, arrival.begun, visit.client, &parts)));
    let leftover = body.leftover();
    let mut response = match life(&arrival, &parts, body, &mut visit).await {
        Ok(response) => response,
        Err(fault) => refuse(&arrival, &mut visit, fault),
    };
    if !visit.told.by_home && parts.version < Version::HTTP_2 && !passed_over(&parts, leftover).await {
        arrival.in_flight.progress.close_after();
    }
    dress(&arrival, &parts, &visit, &mut response);
    if let Some(line) = &mut line {
        line.answered(response.status(), visit.told);
    }
    response.map(|body| Outgoing::new(body, arrival.in_flight, line))
}

/// The life of a request, from its authority to its action.
async fn life(
    arrival: &Arrival,
    parts: &Parts,
    body: RequestBody,
    visit: &mut Visit,
) -> Result<Response<Body>, Fault> {
    let authority = unambiguous(arrival, parts)?;
    let target = authority::target(&parts.method, &parts.uri)
        .map_err(|ambiguity: Ambiguity| arrival.refused(&ambiguity))?;
    // Before the host is looked up: a name may be ordered for which there is no site here, and no redirect
    // may stand between a CA and its document.
    if let Some(document) = challenge::answer(arrival.worker().challenges(), parts) {
        return Ok(document);
    }
    let site = match arrival.snapshot.routes.host(&arrival.arrived.listener, &authority.host) {
        Some(Host::Site(site)) => site,
        Some(Host::ToHttps { port }) => {
            let to = reply::to_https(visit.asked, &parts.method, &authority.host, port, target);
            return Ok(to.map(Body::from));
        }
        None => return Err(Fault::UnknownHost),
    };
    visit.site = Some(site.clone());
    if !may_speak_for(&arrival.arrived, site, &authority.host) {
        return Err(Fault::Misdirected);
    }
    if matches!(parts.method, Method::CONNECT | Method::TRACE) {
        return Err(Fault::MethodRefused);
    }
    let route = match site.route(parts.uri.path()) {
        Matched::Route(route) => route,
        Matched::Denied(_) => return Err(Fault::Denied),
        Matched::Nothing => return Err(Fault::NoRoute),
    };
    visit.route = Some(route.clone());
    if !route.access.as_ref().unwrap_or(&site.site.access).permits(visit.client) {
        return Err(Fault::AddressDenied);
    }
    match &route.action {
        Action::Deny => Err(Fault::Denied),
        Action::Redirect(to) => Ok(reply::redirect(visit.asked, to, target).map(Body::from)),
        Action::Respond(fixed) => Ok(reply::respond(visit.asked, fixed).map(Body::from)),
        Action::WellKnown(documents) => well_known::answer(visit.asked, documents, parts),
        Action::Files(folder) => files_answer(arrival, folder, parts).await,
        Action::Forward(to) => {
            let forwarding = Forwarding {
                snapshot: &arrival.snapshot,
                pools: &arrival.worker().pools,
                site: &site.site,
                route,
                forward: to,
                parts,
                target,
                authority: &authority,
                client: visit.client,
                https: visit.https,
            };
            forwarded_answer(arrival, forwarding, body, &mut visit.told).await
        }
    }
}

/// Whether the connection can go on after a body that the edge's own answer does not wait for. If not, the
/// client is told, so that its next request does not meet a closed connection.
async fn passed_over(parts: &Parts, leftover: Leftover) -> bool {
    // To read would be to ask for it (RFC 9110 10.1.1).
    if parts.headers.contains_key(header::EXPECT) { !leftover.is_some() } else { leftover.skim().await }
}

/// The authority of a request that means one thing only, to whoever reads it.
fn unambiguous<'a>(arrival: &'a Arrival, parts: &'a Parts) -> Result<Authority<'a>, Fault> {
    let refused = |ambiguity: Ambiguity| arrival.refused(&ambiguity);
    if !arrival.hidden.is_empty() {
        return Err(arrival.refused(&arrival.hidden));
    }
    headers::check(parts.version, &parts.headers).map_err(refused)?;
    let named = authority::of_request(parts.version, &parts.uri, &parts.headers).map_err(refused)?;
    let sni = || arrival.arrived.tls.as_ref().and_then(|tls| tls.sni.as_deref());
    match named {
        Some(authority) => Ok(authority),
        // HTTP/1.0 without Host: the name of the handshake stands in.
        None => sni().and_then(|name| Authority::parse(name).ok()).ok_or_else(|| refused(Ambiguity::NoHost)),
    }
}

/// Whether a connection may be used for `host`: the handshake named its site, or showed a certificate
/// that covers it, or named nothing. Browsers' coalescing of HTTP/2 connections needs no more.
fn may_speak_for(arrived: &Arrived, site: &SiteTable, host: &str) -> bool {
    let Some(tls) = &arrived.tls else { return true };
    match &tls.sni {
        None => true,
        Some(sni) => **sni == *host || site.name_in_site(sni) || tls.served.covers(host),
    }
}

async fn files_answer(arrival: &Arrival, folder: &Files, parts: &Parts) -> Result<Response<Body>, Fault> {
    let asked = files::Asked {
        method: &parts.method,
        path: parts.uri.path(),
        query: parts.uri.query(),
        headers: &parts.headers,
    };
    match files::serve(folder, asked, arrival.begun, &arrival.worker().files).await {
        Outcome::Answer(response) => Ok(response.map(|body| Body::File(Box::new(body)))),
        Outcome::NotFound => Err(Fault::NoFile),
        Outcome::Forbidden => Err(Fault::Denied),
        Outcome::MethodNotAllowed => Err(Fault::MethodRefused),
        Outcome::Failed(error) => {
            tracing::error!(root = %folder.root.display(), path = parts.uri.path(), %error, "a file could not be read");
            Err(Fault::Internal)
        }
    }
}

/// Forwards, unless the deadline of a stop comes first.
async fn forwarded_answer(
    arrival: &Arrival,
    forwarding: Forwarding<'_>,
    body: RequestBody,
    told: &mut Told,
) -> Result<Response<Body>, Fault> {
    let mut deadline = arrival.worker().deadline();
    let mut forward = pin!(forward::answer(&forwarding, body, told));
    let (response, tunnel) = poll_fn(|cx| {
        if let Poll::Ready(done) = forward.as_mut().poll(cx) {
            return Poll::Ready(done);
        }
        deadline.poll_passed(cx).map(|()| Err(Fault::Draining))
    })
    .await?;
    arrival.switch.0.set(tunnel);
    Ok(response)
}

/// The edge's own answer to a fault.
fn refuse(arrival: &Arrival, visit: &mut Visit, fault: Fault) -> Response<Body> {
    visit.told.by_home = false;
    visit.told.why = Some(fault.why());
    let action = visit.route.as_deref().map(|route| &route.action);
    let unavailable = match action {
        Some(Action::Forward(forward)) => forward.unavailable_status,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    let mut response = reply::fault(visit.asked, fault, unavailable);
    if let (Fault::MethodRefused, Some(Action::Files(_))) = (fault, action) {
        response.headers_mut().insert(header::ALLOW, files::ALLOW);
    }
    if !visit.asked.matrix
        && let Some(pages) = visit.site.as_ref().and_then(|site| site.site.error_pages.as_deref())
        && let Some(page) =
            files::error_page(pages, response.status(), arrival.begun, &arrival.worker().files)
    {
        response = reply::own_page(visit.asked, response, page);
    }
    response.map(Body::from)
}

/// What every answer of a site gets: its header edits, HSTS, and the connection's own rules.
fn dress(arrival: &Arrival, parts: &Parts, visit: &Visit, response: &mut Response<Body>) {
    static NO_EDITS: Edits = Edits { set: Vec::new(), remove: Vec::new() };
    if let Some(site) = &visit.site {
        let route = visit.route.as_ref().map_or(&NO_EDITS, |route| &route.headers.response);
        let to_client = ToClient {
            edits: [&site.site.headers.response, route],
            hsts: site.hsts.as_ref().filter(|_| arrival.arrived.tls.is_some()),
            tunnel: response.status() == StatusCode::SWITCHING_PROTOCOLS,
        };
        headers::finish_response(response.headers_mut(), &to_client);
    }
    // A 101 says `Connection: upgrade`; its tunnel ends when the porch closes.
    let ends =
        response.status() != StatusCode::SWITCHING_PROTOCOLS && arrival.in_flight.progress.must_close();
    if parts.version < Version::HTTP_2 && ends {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
}
