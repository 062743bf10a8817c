//! Forwarding to home: what is sent, how long is waited, and what a failure is called.
//!
//! The request target goes byte for byte (X-Matrix signs it), the body streams, and whether anything is
//! sent twice is `matrix::class`'s table alone.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode, header};
use http_body::Body as _;

use crate::clock;
use crate::config::model::route::Route;
use crate::config::model::{self, Site};
use crate::handler::body::Body;
use crate::handler::failed;
use crate::handler::told::{RequestId, Told};
use crate::http::authority::Authority;
use crate::http::body::RequestBody;
use crate::http::fault::{Blame, Fault};
use crate::http::headers::{self, FramingLines, ToHome};
use crate::http::reply;
use crate::http::survey::Survey;
use crate::matrix::class::{self, Class, Endpoint};
use crate::matrix::kept::Kept;
use crate::snapshot::Snapshot;
use crate::upstream::answer::{AnswerBody, Upgraded};
use crate::upstream::group::Group;
use crate::upstream::health::ProbeFailure;
use crate::upstream::journey::{Attempts, Held, Unsent};
use crate::upstream::larder::Document;
use crate::upstream::lot::Stay;
use crate::upstream::pool::{Call, Load, Pools, Sent};
use crate::upstream::upload::Framing;

/// Room for the head of a usual request: what clients of Matrix send, and what we add.
const HEAD_CAPACITY: usize = 1024;
/// Why the edge answered, in access lines: it had kept what home had answered before.
const KEPT: &str = "kept";

/// A request on its way home.
pub struct Forwarding<'a> {
    /// The generation that it began with.
    pub snapshot: &'a Snapshot,
    /// This thread's connections to backends.
    pub pools: &'a Pools,
    /// Its site.
    pub site: &'a Site,
    /// Its route.
    pub route: &'a Route,
    /// The route's action.
    pub forward: &'a model::route::Forward,
    /// Its head.
    pub parts: &'a Parts,
    /// Which headers are there.
    pub survey: Survey,
    /// What it is for.
    pub endpoint: Endpoint,
    /// Its target, byte for byte.
    pub target: &'a str,
    /// The host that it is for.
    pub authority: Authority<'a>,
    /// Who sent it.
    pub client: IpAddr,
    /// Whether it came by https.
    pub https: bool,
}

/// What forwarding begins with.
pub enum Begun<'a> {
    /// An answer that needs no home.
    Answer(Response<Body>),
    /// Home is asked.
    Awaited(Awaited<'a>),
}

/// A request on its way, until the head of its answer.
pub struct Awaited<'a> {
    group: &'a Arc<Group>,
    begun: Instant,
    /// What is answered if home does not.
    kept: Option<Box<Stored>>,
    // Boxed apart: all that waits for home holds it, and little else.
    sending: Pin<Box<dyn Future<Output = (Sent<RequestBody>, Attempts)>>>,
}

/// A document of home's that the edge has.
struct Stored {
    head: bool,
    document: Document,
}

impl Stored {
    fn answer(&self, told: &mut Told) -> Response<Body> {
        told.why = Some(KEPT);
        let age = clock::now().saturating_duration_since(self.document.at);
        reply::kept(self.head, self.document.body.clone(), age).map(Body::from)
    }
}

/// What is sent home after the head.
pub enum Source {
    /// The body as the client sends it.
    Client(RequestBody),
    /// What is left of a request that was recalled.
    Held(Box<Held<RequestBody>>),
}

/// Why there is no answer of home.
pub enum Stop {
    /// What the edge has to answer instead.
    Fault(Fault),
    /// The configuration is another one: it begins anew, with what is left of it.
    Recalled(Box<Held<RequestBody>>),
}

/// An answer of home; a 101 comes with the backend's side of the tunnel.
pub type Taken = (Response<Body>, Option<Upgraded>);

/// Begins to forward a request; nothing is sent before the first `Awaited::poll`. With the head of its answer
/// come `piece` bytes at most.
///
/// # Errors
/// What the edge has to answer instead.
pub fn begin<'a>(
    forwarding: Forwarding<'a>,
    source: Source,
    piece: usize,
    told: &mut Told,
) -> Result<Begun<'a>, Fault> {
    let (method, endpoint) = (&forwarding.parts.method, forwarding.endpoint);
    let group = forwarding.group()?;
    if *method == Method::OPTIONS && endpoint.matrix && group.is_away() {
        return Ok(Begun::Answer(reply::preflight().map(Body::from)));
    }
    let kept = forwarding.kept(group);
    if let Some(kept) = kept.as_ref().filter(|_| group.is_away()) {
        return Ok(Begun::Answer(kept.answer(told)));
    }
    let (framing, load) = match source {
        Source::Client(mut body) => {
            if !endpoint.upload {
                body.limit(forwarding.snapshot.config.limits.body).map_err(|_| Fault::BodyTooLarge)?;
            }
            let framing = forwarding.framing(&body);
            (framing, Load::Fresh(framing, body))
        }
        Source::Held(held) => (held.framing(), Load::Held(held)),
    };
    let upgrade = forwarding.upgrade();
    let call = Call {
        method,
        head: forwarding.head(group, framing, upgrade, told),
        load,
        replay: endpoint.replayable,
        head_timeout: group.def().head_timeout(endpoint),
        piece,
        wants_upgrade: upgrade.is_some(),
        stay: Some(forwarding.stay(group.def())),
        again: (endpoint.class == Class::Sync).then_some(class::shorten_poll),
    };
    let sending = Box::pin(forwarding.pools.send(group, call));
    Ok(Begun::Awaited(Awaited { group, begun: clock::now(), kept, sending }))
}

impl Awaited<'_> {
    /// Ready with home's answer, or with why there is none.
    pub fn poll(&mut self, cx: &mut Context<'_>, told: &mut Told) -> Poll<Result<Taken, Stop>> {
        let (sent, attempts) = ready!(self.sending.as_mut().poll(cx));
        let now = clock::now();
        told.attempts = attempts.count;
        told.parked = attempts.parked;
        told.cause = attempts.cause.map(ProbeFailure::token);
        let since = now.saturating_duration_since(self.begun);
        told.upstream = Some(since.saturating_sub(attempts.parked));
        Poll::Ready(match sent {
            Ok(response) => {
                told.by_home = true;
                Ok(taken(response))
            }
            Err(Unsent::Recalled(held)) => Err(Stop::Recalled(held)),
            Err(Unsent::Failed(error)) => {
                let fault = failed::fault(&error);
                if fault.blame() == Blame::Home && self.group.is_away() {
                    told.retry_after = Some(self.group.lot().retry_after(now));
                }
                failed::tell(self.group, attempts.backend, fault, &error, self.begun);
                match self.kept.take().filter(|_| fault.blame() == Blame::Home) {
                    Some(kept) => Ok((kept.answer(told), None)),
                    None => Err(Stop::Fault(fault)),
                }
            }
        })
    }
}

impl<'a> Forwarding<'a> {
    /// The upstream of the route. A resolved configuration names only upstreams that exist.
    fn group(&self) -> Result<&'a Arc<Group>, Fault> {
        self.snapshot.groups.get(&self.forward.upstream).ok_or(Fault::Internal)
    }

    /// The document that may be answered in home's place to this request, which says nothing of who asks.
    fn kept(&self, group: &Group) -> Option<Box<Stored>> {
        let kept = Kept::of(self.target)?;
        let asks = matches!(self.parts.method, Method::GET | Method::HEAD);
        let anybody = !self.parts.headers.contains_key(header::AUTHORIZATION);
        let document = || group.larder().document(&self.authority.host, kept, clock::wall());
        let document = (asks && anybody && self.forward.strip.is_none()).then(document).flatten()?;
        Some(Box::new(Stored { head: self.parts.method == Method::HEAD, document }))
    }

    /// How it may wait while home is away.
    fn stay(&self, upstream: &model::Upstream) -> Stay {
        let class = self.endpoint.class;
        Stay {
            client: self.client,
            stranger: matches!(class, Class::Federation | Class::Keys),
            poll: class == Class::Sync,
            budget: upstream.budget(self.forward, class),
        }
    }

    /// How the body is framed at home: as it came, except that HTTP/2 needs no length.
    fn framing(&self, body: &RequestBody) -> Framing {
        match body.size_hint().exact() {
            Some(0) if !self.survey.content_length && !self.wants_length() => Framing::None,
            Some(length) => Framing::Length(length),
            None => Framing::Chunked,
        }
    }

    /// Methods whose requests say the length of a body that is not there (RFC 9110 8.6).
    fn wants_length(&self) -> bool {
        matches!(self.parts.method, Method::POST | Method::PUT | Method::PATCH)
    }

    /// The protocol that it wants to change to, if that is one to pass on.
    fn upgrade(&self) -> Option<&'a HeaderValue> {
        self.survey.upgrade.then(|| headers::upgrade(self.parts.version, &self.parts.headers)).flatten()
    }

    fn head(
        &self,
        group: &Group,
        framing: Framing,
        upgrade: Option<&HeaderValue>,
        told: &mut Told,
    ) -> Vec<u8> {
        let id = told.request_id.insert(self.request_id());
        let to_home = ToHome {
            host: group.def().host.as_ref().map_or(self.authority.text.as_bytes(), |host| host.as_bytes()),
            client: self.client,
            proto: if self.https { "https" } else { "http" },
            original_host: self.authority.text,
            request_id: id.as_str(),
            edits: [&self.site.headers.request, &self.route.headers.request],
            framing: match framing {
                Framing::None => FramingLines::None,
                Framing::Length(length) => FramingLines::Length(length),
                Framing::Chunked => FramingLines::Chunked,
            },
            upgrade,
            nominates: self.survey.connection,
        };
        let mut head = Vec::with_capacity(HEAD_CAPACITY);
        let target = self.forward.stripped(self.target);
        headers::write_request_head(
            &mut head,
            &self.parts.method,
            target.as_bytes(),
            &self.parts.headers,
            &to_home,
        );
        head
    }

    /// The client's own id when it is sane, else a new one.
    fn request_id(&self) -> RequestId {
        let own = self.survey.request_id.then(|| headers::request_id(&self.parts.headers)).flatten();
        own.map_or_else(|| RequestId::made_of(clock::random()), |own| RequestId::Theirs(own.clone()))
    }
}

fn taken(response: Response<AnswerBody<RequestBody>>) -> Taken {
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return (response.map(Body::Home), None);
    }
    let (parts, body) = response.into_parts();
    (Response::from_parts(parts, Body::EMPTY), body.into_upgraded())
}
