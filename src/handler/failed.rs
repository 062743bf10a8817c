//! A request that home did not answer: what that is called, and what is told of it.

use std::error::Error;
use std::time::{Duration, Instant};

use crate::config::model::log::LogLevel;
use crate::http::body::RequestBodyError;
use crate::http::fault::Fault;
use crate::telemetry::limited::Limited;
use crate::upstream::dial::DialError;
use crate::upstream::error::{Cause, Progress, SendError};
use crate::upstream::group::Group;

/// A backend that answers nonsense answers it again and again: one warning in this time says enough.
const WARN_EVERY: Duration = Duration::from_secs(10);

/// What a failure is called in the one table.
pub(super) fn fault(error: &SendError<RequestBodyError>) -> Fault {
    match &error.cause {
        Cause::Down => Fault::HomeDown,
        Cause::Full(_) => Fault::ParkFull,
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
        Cause::Closed | Cause::Io(_) | Cause::CutOff => Fault::NoAnswer,
        Cause::HeadTimeout => Fault::HeadTimeout,
        Cause::Malformed(_) => Fault::BadAnswer,
        Cause::RequestBody(RequestBodyError::TooLarge { .. }) => Fault::BodyTooLarge,
        Cause::RequestBody(RequestBodyError::Stalled { .. }) => Fault::BodyTimeout,
        Cause::RequestBody(RequestBodyError::Broken(_)) | Cause::RequestLength => Fault::BadRequest,
    }
}

/// Tells the log. The network's failures are the access log's to tell; what is wrong with the backend
/// itself, or with us, is a warning.
pub(super) fn tell(
    group: &Group,
    backend: Option<usize>,
    fault: Fault,
    error: &SendError<RequestBodyError>,
    now: Instant,
) {
    static WARNED: Limited = Limited::new(WARN_EVERY);
    let backend = backend.and_then(|index| group.backends().get(index)).map(|backend| &**backend.label());
    let source = error.cause.source().map(ToString::to_string);
    let (upstream, why) = (&*group.def().name, fault.why());
    if fault.level() <= LogLevel::Warn && WARNED.allows(now) {
        tracing::warn!(upstream, backend, why, %error, source, "a request to home failed");
    } else {
        tracing::debug!(upstream, backend, why, %error, source, "a request to home failed");
    }
}
