//! What is reported of a request that failed: how far it got, and why.
//!
//! Which status a client gets for it, and what is logged, is decided above.

use std::error::Error;
use std::fmt;
use std::io;

use super::codec::chunked::ChunkError;
use super::codec::head::HeadError;
use super::dial::DialError;
use super::parking::Full;

/// How far a request got, exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Progress {
    /// No byte of it was written to any connection.
    NotSent,
    /// Bytes of it were written, no byte of an answer came: the backend may have acted on it.
    SentNoAnswer,
    /// Bytes of an answer came.
    AnswerBegan,
}

/// A request that got no answer. It reads as its cause does.
#[derive(Debug)]
pub struct SendError<E> {
    /// How far it got.
    pub progress: Progress,
    /// Why it failed.
    pub cause: Cause<E>,
}

impl<E> fmt::Display for SendError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cause.fmt(f)
    }
}

impl<E: fmt::Debug + 'static> Error for SendError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause.source()
    }
}

/// Why a request got no answer.
#[derive(Debug, thiserror::Error)]
pub enum Cause<E> {
    /// Every backend was Down, or known to refuse connections, for the whole connect budget.
    #[error("every backend is down")]
    Down,
    /// Every backend had as many connections as it may have for the whole connect budget.
    #[error("every backend has as many connections as it may have")]
    Busy,
    /// It might have waited for the upstream to come back, but there was no place left.
    #[error("too many requests wait for the upstream already: {}", full(*.0))]
    Full(Full),
    /// No connection stood within the connect budget; the last failure.
    #[error(transparent)]
    Dial(DialError),
    /// The backend closed the connection without an answer or in the midst of its head.
    #[error("the backend closed the connection without an answer")]
    Closed,
    /// The connection failed before the answer's head was complete.
    #[error("the connection to the backend failed")]
    Io(#[source] io::Error),
    /// The way was cut after it was sent, and is open again: what was sent, or its answer, is lost.
    #[error("the way to the backend was cut while the answer was awaited")]
    CutOff,
    /// The answer's head did not come in time.
    #[error("the backend did not answer in time")]
    HeadTimeout,
    /// What the backend sent is not an HTTP/1.x answer that is safe to pass on.
    #[error(transparent)]
    Malformed(HeadError),
    /// The request's body failed: the client's fault, or a limit's.
    #[error("the request's body failed")]
    RequestBody(E),
    /// The request's body was shorter or longer than its framing says.
    #[error("the request's body has another length than its head says")]
    RequestLength,
}

fn full(full: Full) -> &'static str {
    match full {
        Full::Places => "upstreams.*.park.most",
        Full::Client => "upstreams.*.park.most_per_client",
        Full::Strangers => "half of upstreams.*.park.most, which is federation's share",
        Full::Memory => "upstreams.*.park.memory",
    }
}

/// Why an answer's body ended early. The client must see it truncated.
#[derive(Debug, thiserror::Error)]
pub enum BodyError<E> {
    /// The backend closed the connection in the midst of it.
    #[error("the backend closed the connection in the midst of its answer")]
    Truncated,
    /// The connection failed.
    #[error("the connection to the backend failed in the midst of its answer")]
    Io(#[source] io::Error),
    /// Its chunks are malformed.
    #[error(transparent)]
    Malformed(ChunkError),
    /// The rest of the request's body failed: the client's fault, or a limit's.
    #[error("the request's body failed")]
    RequestBody(E),
    /// The rest of the request's body had another length than its head said.
    #[error("the request's body has another length than its head says")]
    RequestLength,
}
