//! One probe: asks a backend whether it is there.
//!
//! What follows from the answer is `health`'s and `prober`'s.

use std::future::poll_fn;
use std::io;
use std::time::Instant;

use tokio::io::AsyncWriteExt;
use tokio::time::timeout_at;

use crate::config::model::{BackendAddress, ProbeKind, Upstream};

use super::backend::Backend;
use super::codec::framing::Asked;
use super::dial::{self, DialError};
use super::download::{Download, ReadError};
use super::health::ProbeFailure;
use super::stream::Stream;

/// Probes `backend` by `deadline`. The status is that of an HTTP probe; 5xx is a failure.
///
/// A probe always has a connection of its own, closed afterwards: it shall find out whether a new one
/// can be had. It does not count among the backend's connections.
pub async fn ask(backend: &Backend, def: &Upstream, deadline: Instant) -> Result<Option<u16>, ProbeFailure> {
    let mut stream = connect(backend, deadline).await.map_err(of_dial)?;
    let ProbeKind::Http(path) = &def.probe.kind else { return Ok(None) };
    let head = head(path, backend, def);
    let status = timeout_at(deadline.into(), exchange(&mut stream, &head)).await;
    match status.unwrap_or(Err(ProbeFailure::AnswerTimeout))? {
        status @ 500.. => Err(ProbeFailure::Status(status)),
        status => Ok(Some(status)),
    }
}

/// A connection. Where somebody else finds that the way is open again, it is begun anew: a SYN that was lost
/// is sent again after seconds only.
async fn connect(backend: &Backend, deadline: Instant) -> Result<Stream, DialError> {
    loop {
        tokio::select! {
            opened = dial::open(backend, deadline) => return opened,
            () = backend.way() => {}
        }
    }
}

fn head(path: &str, backend: &Backend, def: &Upstream) -> Vec<u8> {
    let mut head = format!("GET {path} HTTP/1.1\r\nHost: ").into_bytes();
    match (&def.host, backend.address()) {
        (Some(host), _) => head.extend_from_slice(host.as_bytes()),
        (None, BackendAddress::Unix(_)) => head.extend_from_slice(b"localhost"),
        (None, _) => head.extend_from_slice(backend.label().as_bytes()),
    }
    head.extend_from_slice(b"\r\nUser-Agent: porchd\r\nAccept: */*\r\nConnection: close\r\n\r\n");
    head
}

async fn exchange(stream: &mut Stream, head: &[u8]) -> Result<u16, ProbeFailure> {
    stream.write_all(head).await.map_err(|error| of_io(&error))?;
    stream.flush().await.map_err(|error| of_io(&error))?;
    let mut answer = Download::default();
    let asked = Asked { head: false, upgrade: false };
    match poll_fn(|cx| answer.poll_head(cx, stream, asked)).await {
        Ok(head) => Ok(head.status.as_u16()),
        Err(ReadError::Closed) => Err(ProbeFailure::Closed),
        Err(ReadError::Io(error)) => Err(of_io(&error)),
        Err(ReadError::Head(_) | ReadError::Chunk(_)) => Err(ProbeFailure::Garbage),
    }
}

fn of_io(error: &io::Error) -> ProbeFailure {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof => {
            ProbeFailure::Closed
        }
        kind => ProbeFailure::System(kind),
    }
}

fn of_dial(error: DialError) -> ProbeFailure {
    match (error.evidence(), error) {
        (Some(failure), _) => failure,
        (None, DialError::System(error)) => ProbeFailure::System(error.kind()),
        (None, _) => ProbeFailure::System(io::ErrorKind::Other),
    }
}
