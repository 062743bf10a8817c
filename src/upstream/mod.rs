//! The way to the backends: our own HTTP/1.1 client, its pools, probes, the choice of a backend and the
//! rules of what is sent again.
//!
//! Inside the floor, top reads down ("P" is pure):
//!
//! ```text
//! prober.rs    on the control thread: asks backends (probe.rs), resolves names (resolve.rs), publishes both
//! keeper.rs    on the control thread: lets go on who waits in a lot, knocks at backends meanwhile
//! larder.rs    on the control thread: documents that are kept for the time when the upstream is away
//! pool.rs      on each serving thread: `Pools::send`, the connections kept for reuse
//! team.rs      a group as one thread sees it: a request's attempts and waits
//! journey.rs   what a request takes along from attempt to attempt, and through its waits
//! answer.rs    `AnswerBody`: the rest of an exchange, as a body
//! lane.rs      the connections kept to one backend
//! exchange.rs  one request and its answer on one connection, both driven by one task
//! upload.rs    the half that writes; download.rs: the half that reads
//! dial.rs      opens connections: TCP, unix sockets, TLS
//! group.rs     the shared part: one `Group` per configured upstream; backend.rs: its backends
//! lot.rs       the shared part of waiting: who is woken, what is counted
//! retry.rs (P) select.rs (P) health.rs (P) parking.rs (P) outage.rs (P) pace.rs (P)
//! codec/ (P)
//! ```
//!
//! It does not know what a request is for: classes, header rules and replies are their callers'.

pub mod answer;
pub mod backend;
pub mod codec;
pub mod dial;
pub mod download;
pub mod error;
pub mod exchange;
#[cfg(test)]
pub(crate) mod fake;
pub mod group;
pub mod health;
pub mod journey;
pub mod keeper;
pub mod lane;
pub mod larder;
pub mod lot;
pub mod outage;
pub mod pace;
pub mod parking;
pub mod pool;
pub mod probe;
pub mod prober;
pub mod replay;
pub mod resolve;
pub mod retry;
pub mod scratch;
pub mod select;
pub mod stream;
mod team;
pub mod timer;
pub mod tls;
pub mod upload;
