//! What is kept of a request for its access line, until its answer is over.

use std::net::IpAddr;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use http::request::Parts;
use http::{HeaderValue, Method, StatusCode, Uri, Version, header};

use crate::clock;
use crate::handler::body::BodyError;
use crate::handler::told::Told;
use crate::http::fault::{Fault, Setting};
use crate::matrix::class::Class;
use crate::matrix::secrets;
use crate::serve::connection::Arrived;
use crate::serve::worker::Worker;
use crate::telemetry::access::{Answered, Record};
use crate::telemetry::figures::Ending;

/// One access line to be; its drop writes it, also when the client left before there was an answer.
///
/// Everything in it is shared with the request, not copied.
pub(super) struct Line {
    worker: Rc<Worker>,
    arrived: Rc<Arrived>,
    at: SystemTime,
    begun: Instant,
    client: IpAddr,
    class: Class,
    method: Method,
    uri: Uri,
    version: Version,
    host: Option<HeaderValue>,
    referer: Option<HeaderValue>,
    user_agent: Option<HeaderValue>,
    status: u16,
    told: Told,
    cut_short: Option<&'static str>,
    sent: u64,
    whole: bool,
}

impl Line {
    /// Begins a line for the request of `parts`, of class `class` and from `client`.
    pub(super) fn begin(
        worker: &Rc<Worker>,
        arrived: &Rc<Arrived>,
        begun: Instant,
        client: IpAddr,
        class: Class,
        parts: &Parts,
    ) -> Self {
        let kept = |name| parts.headers.get(name).cloned();
        Self {
            worker: worker.clone(),
            arrived: arrived.clone(),
            at: clock::wall(),
            begun,
            client,
            class,
            method: parts.method.clone(),
            uri: parts.uri.clone(),
            version: parts.version,
            host: kept(header::HOST),
            referer: kept(header::REFERER),
            user_agent: kept(header::USER_AGENT),
            status: 0,
            told: Told::default(),
            cut_short: None,
            sent: 0,
            whole: false,
        }
    }

    /// There is an answer.
    pub(super) fn answered(&mut self, status: StatusCode, told: Told) {
        self.status = status.as_u16();
        self.told = told;
    }

    /// So many bytes of the answer's body went to the connection.
    pub(super) fn sent(&mut self, bytes: u64) {
        self.sent += bytes;
    }

    /// The answer's body was taken to its end.
    pub(super) fn whole(&mut self) {
        self.whole = true;
    }

    /// The answer's body broke off.
    pub(super) fn cut_short(&mut self, why: &'static str) {
        self.cut_short = Some(why);
    }
}

/// The token of an answer whose body broke off.
pub(super) fn cut_short(error: &BodyError) -> &'static str {
    match error {
        BodyError::Home(_) => "home-cut-short",
        BodyError::File(_) => "file-cut-short",
    }
}

/// Writes the line of a head that could not be read, and so never became a request. It is counted, without a time.
pub(super) fn unreadable(worker: &Worker, arrived: &Arrived, fault: Fault) {
    let setting =
        Setting { matrix: false, tls: arrived.tls.is_some(), unavailable: StatusCode::SERVICE_UNAVAILABLE };
    let status = fault.verdict(setting).status.as_u16();
    worker.counting.ended(Class::Other, Answered::Edge, Ending::of(status));
    worker.counting.fault(fault.why());
    worker.access().write(&Record {
        at: clock::wall(),
        client: arrived.client_ip(),
        method: "-",
        target: "-",
        version: Version::HTTP_11,
        host: "",
        status,
        bytes: 0,
        referer: None,
        user_agent: None,
        duration: Duration::ZERO,
        answered: Answered::Edge,
        why: Some(fault.why()),
        attempts: 0,
        upstream: None,
        parked: Duration::ZERO,
        cause: None,
        id: "",
        listener: &arrived.listener,
        class: Class::Other.name(),
    });
}

impl Drop for Line {
    fn drop(&mut self) {
        let target = self.uri.path_and_query().map_or("*", |target| target.as_str());
        let referer = self.referer.as_ref().and_then(|value| value.to_str().ok()).map(secrets::redact);
        let host = self.uri.authority().map(|authority| authority.as_str());
        let host = host.or_else(|| self.host.as_ref().and_then(|value| value.to_str().ok()));
        let left = (!self.whole).then_some("client-left");
        self.worker.access().write(&Record {
            at: self.at,
            client: self.client,
            method: self.method.as_str(),
            target: &secrets::redact(target),
            version: self.version,
            host: host.unwrap_or_default(),
            status: self.status,
            bytes: self.sent,
            referer: referer.as_deref().map(str::as_bytes),
            user_agent: self.user_agent.as_ref().map(HeaderValue::as_bytes),
            duration: clock::now().saturating_duration_since(self.begun),
            answered: if self.told.by_home { Answered::Home } else { Answered::Edge },
            why: self.told.why.or(self.cut_short).or(left),
            attempts: self.told.attempts,
            upstream: self.told.upstream,
            parked: self.told.parked,
            cause: self.told.cause,
            id: self.told.request_id(),
            listener: &self.arrived.listener,
            class: self.class.name(),
        });
    }
}
