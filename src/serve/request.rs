//! The life of a request: `life` reads top to bottom as the house's picture tells it.
//!
//! It knows no connection types: a front gives it a request and takes an answer.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version, header};

use crate::config::model::Edits;
use crate::config::model::route::{Action, Files};
use crate::handler::body::Body;
use crate::handler::challenge;
use crate::handler::files;
use crate::handler::forward::{self, Awaited, Forwarding, Source, Stop};
use crate::handler::told::Told;
use crate::handler::well_known;
use crate::http::ambiguity::Ambiguity;
use crate::http::authority::{self, Authority};
use crate::http::body::{Leftover, RequestBody};
use crate::http::fault::Fault;
use crate::http::headers::{self, ToClient};
use crate::http::reply::{self};
use crate::http::survey::Survey;
use crate::route::Host;
use crate::route::site::{Matched, SiteTable};
use crate::serve::arrival::{Arrival, Visit};
use crate::serve::connection::Arrived;
use crate::serve::outgoing::Outgoing;
use crate::upstream::codec::fields;

/// What a request comes to.
enum Outcome<'a> {
    /// An answer that is at hand.
    Answer(Response<Body>),
    /// A file to be looked for.
    Files(&'a Files, files::Asked<'a>),
    /// A journey home.
    Forward(Forwarding<'a>),
}

/// Answers a request, whatever happens.
pub(super) fn answer(
    mut arrival: Arrival,
    request: Request<RequestBody>,
) -> impl Future<Output = Result<Response<Outgoing>, Infallible>> {
    let (parts, body) = request.into_parts();
    // A block and no `async fn`: that one would hold what it is given twice, and a long poll waits in it.
    async move {
        let leftover = body.leftover();
        if parts.version < Version::HTTP_2 {
            arrival.in_flight.progress.has_body(&leftover);
        }
        let mut source = Source::Client(body);
        let mut line = None;
        let (mut visit, answered) = loop {
            let mut visit = arrival.visit(&parts);
            line.get_or_insert_with(|| arrival.line(&parts, &visit));
            let over = match begin(&arrival, &parts, source, &mut visit) {
                Begun::Answer(answered) => Ok(answered),
                Begun::Files(reading) => Ok(reading.await),
                Begun::Awaited(awaited) => match home_answer(&arrival, awaited, &mut visit.told).await {
                    Ok(response) => Ok(Ok(response)),
                    Err(Stop::Fault(fault)) => Ok(Err(fault)),
                    Err(Stop::Recalled(held)) => Err(held),
                },
            };
            match over {
                Ok(answered) => break (visit, answered),
                // It waited while a reload changed what would become of it.
                Err(held) => {
                    drop(visit);
                    source = Source::Held(held);
                    arrival.renew();
                }
            }
        };
        let mut response =
            answered.unwrap_or_else(|fault| refuse(&arrival, &parts.headers, &mut visit, fault));
        let unread = !visit.told.by_home && parts.version < Version::HTTP_2 && leftover.is_some();
        if unread && !Box::pin(passed_over(&parts, leftover)).await {
            arrival.in_flight.progress.close_after();
        }
        dress(&arrival, &parts, &visit, &mut response);
        arrival.in_flight.answered(arrival.begun, response.status().as_u16(), &visit.told);
        let mut line = line.flatten();
        if let Some(line) = &mut line {
            line.answered(response.status(), visit.told);
        }
        fields::recycle(parts.headers);
        Ok(response.map(|body| Outgoing::new(body, arrival.in_flight, line)))
    }
}

/// What a request waits for.
enum Begun<'a> {
    /// Nothing.
    Answer(Result<Response<Body>, Fault>),
    /// A file; boxed, since most requests are not for one.
    Files(Pin<Box<dyn Future<Output = Result<Response<Body>, Fault>> + 'a>>),
    /// Home.
    Awaited(Awaited<'a>),
}

/// Takes a request to where it has to wait. A body that nobody wants is dropped: what has not come of it is
/// left over from then on.
fn begin<'a>(arrival: &'a Arrival, parts: &'a Parts, source: Source, visit: &mut Visit<'a>) -> Begun<'a> {
    match life(arrival, parts, visit) {
        Ok(Outcome::Forward(forwarding)) => {
            match forward::begin(forwarding, source, arrival.first_piece(), &mut visit.told) {
                Ok(forward::Begun::Awaited(awaited)) => Begun::Awaited(awaited),
                Ok(forward::Begun::Answer(response)) => Begun::Answer(Ok(response)),
                Err(fault) => Begun::Answer(Err(fault)),
            }
        }
        Ok(Outcome::Files(folder, asked)) => Begun::Files(Box::pin(files_answer(arrival, folder, asked))),
        Ok(Outcome::Answer(response)) => Begun::Answer(Ok(response)),
        Err(fault) => Begun::Answer(Err(fault)),
    }
}

/// The life of a request, from its authority to its action.
fn life<'a>(arrival: &'a Arrival, parts: &'a Parts, visit: &mut Visit<'a>) -> Result<Outcome<'a>, Fault> {
    let (authority, survey) = unambiguous(arrival, parts)?;
    let target = authority::target(&parts.method, &parts.uri)
        .map_err(|ambiguity: Ambiguity| arrival.refused(&ambiguity))?;
    // Before the host is looked up: a name may be ordered for which there is no site here, and no redirect
    // may stand between a CA and its document.
    if let Some(document) = challenge::answer(arrival.worker().challenges(), parts) {
        return Ok(Outcome::Answer(document));
    }
    let site = match arrival.snapshot.routes.host(&arrival.arrived.listener, &authority.host) {
        Some(Host::Site(site)) => site,
        Some(Host::ToHttps { port }) => {
            let to = reply::to_https(visit.asked, &parts.method, &authority.host, port, target);
            return Ok(to.into());
        }
        None => return Err(Fault::UnknownHost),
    };
    visit.site = Some(site);
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
    visit.route = Some(route);
    if !route.access.as_ref().unwrap_or(&site.site.access).permits(visit.client) {
        return Err(Fault::AddressDenied);
    }
    arrival.count(&parts.method, visit)?;
    Ok(match &route.action {
        Action::Deny => return Err(Fault::Denied),
        Action::Redirect(to) => reply::redirect(visit.asked, to, target).into(),
        Action::Respond(fixed) => reply::respond(visit.asked, fixed).into(),
        Action::WellKnown(documents) => Outcome::Answer(well_known::answer(visit.asked, documents, parts)?),
        Action::Files(folder) => {
            let asked = files::Asked::of(parts, survey);
            match files::at_hand(folder, asked, arrival.begun, &arrival.worker().files) {
                Some(response) => response.into(),
                None => Outcome::Files(folder, asked),
            }
        }
        Action::Forward(to) => Outcome::Forward(Forwarding {
            snapshot: &arrival.snapshot,
            pools: &arrival.worker().pools,
            site: &site.site,
            route,
            forward: to,
            parts,
            survey,
            endpoint: visit.endpoint,
            target,
            authority,
            client: visit.client,
            https: visit.https,
        }),
    })
}

impl From<Response<Bytes>> for Outcome<'_> {
    fn from(response: Response<Bytes>) -> Self {
        Self::Answer(response.map(Body::from))
    }
}

/// Whether the connection can go on after a body that is left over, since the edge's own answer does not wait
/// for it. If not, the client is told, so that its next request does not meet a closed connection.
async fn passed_over(parts: &Parts, leftover: Leftover) -> bool {
    // To read would be to ask for it (RFC 9110 10.1.1).
    !parts.headers.contains_key(header::EXPECT) && leftover.skim().await
}

/// The authority and the headers of a request that means one thing only, to whoever reads it.
fn unambiguous<'a>(arrival: &'a Arrival, parts: &'a Parts) -> Result<(Authority<'a>, Survey), Fault> {
    let refused = |ambiguity: Ambiguity| arrival.refused(&ambiguity);
    if !arrival.hidden.is_empty() {
        return Err(arrival.refused(&arrival.hidden));
    }
    let survey = Survey::of(parts.version, &parts.headers).map_err(refused)?;
    let named = authority::of_request(parts.version, &parts.uri, &parts.headers).map_err(refused)?;
    let sni = || arrival.arrived.tls.as_ref().and_then(|tls| tls.sni.as_deref());
    // HTTP/1.0 without Host: the name of the handshake stands in.
    let authority = named.or_else(|| sni().and_then(|name| Authority::parse(name).ok()));
    Ok((authority.ok_or_else(|| refused(Ambiguity::NoHost))?, survey))
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

async fn files_answer(
    arrival: &Arrival,
    folder: &Files,
    asked: files::Asked<'_>,
) -> Result<Response<Body>, Fault> {
    match files::serve(folder, asked, arrival.begun, &arrival.worker().files).await {
        files::Outcome::Answer(response) => Ok(response.map(|body| Body::File(Box::new(body)))),
        files::Outcome::NotFound => Err(Fault::NoFile),
        files::Outcome::Forbidden => Err(Fault::Denied),
        files::Outcome::MethodNotAllowed => Err(Fault::MethodRefused),
        files::Outcome::Failed(error) => {
            tracing::error!(root = %folder.root.display(), path = asked.path, %error, "a file could not be read");
            Err(Fault::Internal)
        }
    }
}

/// Home's answer, unless the deadline of a stop comes first.
async fn home_answer(
    arrival: &Arrival,
    mut awaited: Awaited<'_>,
    told: &mut Told,
) -> Result<Response<Body>, Stop> {
    let mut deadline = arrival.worker().deadline();
    let (response, tunnel) = poll_fn(|cx| {
        if let Poll::Ready(done) = awaited.poll(cx, told) {
            return Poll::Ready(done);
        }
        deadline.poll_passed(cx).map(|()| Err(Stop::Fault(Fault::Draining)))
    })
    .await?;
    arrival.switch.leave(tunnel);
    Ok(response)
}

/// The edge's own answer to a fault.
fn refuse(arrival: &Arrival, asking: &HeaderMap, visit: &mut Visit<'_>, fault: Fault) -> Response<Body> {
    visit.told.by_home = false;
    visit.told.why = Some(fault.why());
    let action = visit.route.map(|route| &route.action);
    let unavailable = match action {
        Some(Action::Forward(forward)) => forward.unavailable_status,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    let mut response = reply::fault(visit.asked, asking, fault, unavailable, visit.told.retry_after);
    if let (Fault::MethodRefused, Some(Action::Files(_))) = (fault, action) {
        response.headers_mut().insert(header::ALLOW, files::ALLOW);
    }
    if !visit.asked.matrix
        && let Some(pages) = visit.site.and_then(|site| site.site.error_pages.as_deref())
        && let Some(page) =
            files::error_page(pages, response.status(), arrival.begun, &arrival.worker().files)
    {
        response = reply::own_page(visit.asked, response, page);
    }
    response.map(Body::from)
}

/// What every answer of a site gets: its header edits, HSTS, and the connection's own rules.
fn dress(arrival: &Arrival, parts: &Parts, visit: &Visit<'_>, response: &mut Response<Body>) {
    static NO_EDITS: Edits = Edits { set: Vec::new(), remove: Vec::new() };
    if let Some(site) = visit.site {
        let route = visit.route.map_or(&NO_EDITS, |route| &route.headers.response);
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
