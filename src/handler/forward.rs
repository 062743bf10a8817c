//! Forwarding to home: what is sent, how long is waited, and what a failure is called.
//!
//! The request target goes byte for byte (X-Matrix signs it), the body streams, and whether anything is
//! sent twice is `matrix::class`'s table alone.

use std::borrow::Cow;
use std::error::Error;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode, header};
use http_body::Body as _;

use crate::clock;
use crate::config::model::log::LogLevel;
use crate::config::model::route::Route;
use crate::config::model::{self, Site};
use crate::handler::body::Body;
use crate::handler::told::Told;
use crate::http::authority::Authority;
use crate::http::body::{RequestBody, RequestBodyError};
use crate::http::fault::Fault;
use crate::http::headers::{self, FramingLines, ToHome};
use crate::http::reply;
use crate::matrix::class::{self, Class};
use crate::snapshot::Snapshot;
use crate::telemetry::limited::Limited;
use crate::upstream::answer::{AnswerBody, Upgraded};
use crate::upstream::dial::DialError;
use crate::upstream::error::{Cause, Progress, SendError};
use crate::upstream::group::Group;
use crate::upstream::pool::{Call, Pools};
use crate::upstream::upload::Framing;

/// Room for the head of a usual request: what clients of Matrix send, and what we add.
const HEAD_CAPACITY: usize = 1024;
/// A backend that answers nonsense answers it again and again: one warning in this time says enough.
const WARN_EVERY: Duration = Duration::from_secs(10);

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
    /// Its target, byte for byte.
    pub target: &'a str,
    /// The host that it is for.
    pub authority: &'a Authority<'a>,
    /// Who sent it.
    pub client: IpAddr,
    /// Whether it came by https.
    pub https: bool,
}

/// Forwards a request. A 101 comes with the backend's side of the tunnel.
///
/// # Errors
/// What the edge has to answer instead.
pub async fn answer(
    forwarding: &Forwarding<'_>,
    mut body: RequestBody,
    told: &mut Told,
) -> Result<(Response<Body>, Option<Upgraded>), Fault> {
    let (method, path) = (&forwarding.parts.method, forwarding.parts.uri.path());
    let class = Class::of(method, path);
    let group = forwarding.group()?;
    if *method == Method::OPTIONS && class::is_matrix(path) && group.is_down() {
        return Ok((reply::preflight().map(Body::from), None));
    }
    if !class::is_upload(method, path) {
        body.limit(forwarding.snapshot.config.limits.body).map_err(|_| Fault::BodyTooLarge)?;
    }
    let framing = forwarding.framing(&body);
    let upgrade = headers::upgrade(forwarding.parts.version, &forwarding.parts.headers);
    let call = Call {
        method,
        head: forwarding.head(group, framing, upgrade, told),
        framing,
        body,
        replay: class::replayable(class, method, forwarding.target),
        head_timeout: head_timeout(group.def(), class, forwarding.target),
        wants_upgrade: upgrade.is_some(),
    };
    let begun = clock::now();
    let (sent, attempts) = forwarding.pools.send(group, call).await;
    told.attempts = attempts.count;
    told.upstream = Some(clock::now().saturating_duration_since(begun));
    match sent {
        Ok(response) => {
            told.by_home = true;
            Ok(taken(response))
        }
        Err(error) => {
            let fault = fault(&error);
            tell(group, attempts.backend.as_deref(), fault, &error, begun);
            Err(fault)
        }
    }
}

impl Forwarding<'_> {
    /// The upstream of the route. A resolved configuration names only upstreams that exist.
    fn group(&self) -> Result<&Arc<Group>, Fault> {
        self.snapshot.groups.get(&self.forward.upstream).ok_or(Fault::Internal)
    }

    /// How the body is framed at home: as it came, except that HTTP/2 needs no length.
    fn framing(&self, body: &RequestBody) -> Framing {
        match body.size_hint().exact() {
            Some(0) if !self.parts.headers.contains_key(header::CONTENT_LENGTH) && !self.wants_length() => {
                Framing::None
            }
            Some(length) => Framing::Length(length),
            None => Framing::Chunked,
        }
    }

    /// Methods whose requests say the length of a body that is not there (RFC 9110 8.6).
    fn wants_length(&self) -> bool {
        matches!(self.parts.method, Method::POST | Method::PUT | Method::PATCH)
    }

    fn head(
        &self,
        group: &Group,
        framing: Framing,
        upgrade: Option<&HeaderValue>,
        told: &mut Told,
    ) -> Vec<u8> {
        let id = told.request_id.insert(request_id(self.parts));
        let to_home = ToHome {
            host: group.def().host.as_ref().map_or(self.authority.text.as_bytes(), |host| host.as_bytes()),
            client: self.client,
            proto: if self.https { "https" } else { "http" },
            original_host: self.authority.text,
            request_id: id.to_str().unwrap_or_default(),
            edits: [&self.site.headers.request, &self.route.headers.request],
            framing: match framing {
                Framing::None => FramingLines::None,
                Framing::Length(length) => FramingLines::Length(length),
                Framing::Chunked => FramingLines::Chunked,
            },
            upgrade,
        };
        let mut head = Vec::with_capacity(HEAD_CAPACITY);
        let target = stripped(self.target, self.forward.strip.as_deref());
        headers::write_request_head(
            &mut head,
            &self.parts.method,
            target.as_bytes(),
            &self.parts.headers,
            &to_home,
        );
        head
    }
}

/// The client's own id when it is sane, else a new one of 16 hexadecimal digits.
fn request_id(parts: &Parts) -> HeaderValue {
    if headers::request_id(&parts.headers).is_some()
        && let Some(own) = parts.headers.get("x-request-id")
    {
        return own.clone();
    }
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let random = clock::random();
    let id: [u8; 16] = std::array::from_fn(|at| DIGITS[(random >> (60 - 4 * at)) as usize & 15]);
    // Hexadecimal digits are always a value.
    HeaderValue::from_bytes(&id).unwrap_or(HeaderValue::from_static("0"))
}

/// The target without the prefix that the route strips; always a path.
fn stripped<'a>(target: &'a str, prefix: Option<&str>) -> Cow<'a, str> {
    let Some(rest) = prefix.and_then(|prefix| target.strip_prefix(prefix)) else { return target.into() };
    if rest.starts_with('/') { rest.into() } else { format!("/{rest}").into() }
}

/// Until the answer's head: what the operator wrote, or the class's own. A poll is never cut before its
/// own time is over.
fn head_timeout(upstream: &model::Upstream, class: Class, target: &str) -> Duration {
    let own = class::head_timeout(class, target);
    match upstream.response_timeout {
        None => own,
        Some(written) if class == Class::Sync => written.max(own),
        Some(written) => written,
    }
}

fn taken(response: Response<AnswerBody<RequestBody>>) -> (Response<Body>, Option<Upgraded>) {
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return (response.map(Body::Home), None);
    }
    let (parts, body) = response.into_parts();
    (Response::from_parts(parts, Body::EMPTY), body.into_upgraded())
}

/// What a failure is called in the one table.
fn fault(error: &SendError<RequestBodyError>) -> Fault {
    match &error.cause {
        Cause::Down => Fault::HomeDown,
        Cause::Busy => Fault::Overload,
        Cause::Dial(dial) => match dial {
            DialError::Refused(_) => Fault::ConnectRefused,
            DialError::NoRoute(_) => Fault::Unreachable,
            DialError::Timeout => Fault::ConnectTimeout,
            DialError::Unresolved => Fault::Unresolved,
            DialError::Tls(_) => Fault::BackendTls,
            DialError::System(_) => Fault::Internal,
        },
        Cause::Closed | Cause::Io(_) if error.progress == Progress::AnswerBegan => Fault::AnswerCut,
        Cause::Closed | Cause::Io(_) => Fault::NoAnswer,
        Cause::HeadTimeout => Fault::HeadTimeout,
        Cause::Malformed(_) => Fault::BadAnswer,
        Cause::RequestBody(RequestBodyError::TooLarge { .. }) => Fault::BodyTooLarge,
        Cause::RequestBody(RequestBodyError::Stalled { .. }) => Fault::BodyTimeout,
        Cause::RequestBody(RequestBodyError::Broken(_)) | Cause::RequestLength => Fault::BadRequest,
    }
}

/// Tells the log. The network's failures are the access log's to tell; what is wrong with the backend
/// itself, or with us, is a warning.
fn tell(
    group: &Group,
    backend: Option<&str>,
    fault: Fault,
    error: &SendError<RequestBodyError>,
    now: Instant,
) {
    static WARNED: Limited = Limited::new(WARN_EVERY);
    let source = error.cause.source().map(ToString::to_string);
    let (upstream, why) = (&*group.def().name, fault.why());
    if fault.level() <= LogLevel::Warn && WARNED.allows(now) {
        tracing::warn!(upstream, backend, why, %error, source, "a request to home failed");
    } else {
        tracing::debug!(upstream, backend, why, %error, source, "a request to home failed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stripped_target_stays_a_path_and_keeps_its_bytes() {
        let table = [
            ("/livekit/jwt/sfu/get?a=%2F", Some("/livekit/jwt"), "/sfu/get?a=%2F"),
            ("/livekit/jwt", Some("/livekit/jwt"), "/"),
            ("/livekit/jwt?x=1", Some("/livekit/jwt"), "/?x=1"),
            ("/_matrix/x", None, "/_matrix/x"),
        ];
        for (target, prefix, expected) in table {
            assert_eq!(stripped(target, prefix), expected, "{target}");
        }
    }

    #[test]
    fn a_request_without_an_id_gets_one_of_its_own() {
        let parts = http::Request::new(()).into_parts().0;
        let (first, second) = (request_id(&parts), request_id(&parts));
        assert_eq!(first.len(), 16);
        assert_ne!(first, second);
    }
}
