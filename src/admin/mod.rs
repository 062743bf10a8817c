//! How a running porchd is asked: the control socket (one JSON object a line, versioned), and figures for Prometheus.
//!
//! Inside, top reads down ("P" is pure):
//!
//! ```text
//! client.rs        a command asks the porchd that runs, and waits
//! server.rs        accepts; conversation.rs: one client, from its line to the answer's end
//! protocol.rs (P)  what is asked and answered, and how that is written
//! explain.rs (P)   what would become of a request; forecast.rs (P): of one that is to be forwarded
//! status.rs (P), explanation.rs (P)  answers that are read by programs too
//! scrape.rs        answers GET /metrics; metrics.rs: which figures, tunnel.rs: those of the tunnel; exposition.rs (P): how they are written
//! ```
//!
//! It does nothing by itself: questions go to the supervisor. Who may ask is the file system's matter
//! (mode 0660).

pub mod client;
mod conversation;
pub mod explain;
pub mod explanation;
pub mod exposition;
pub mod forecast;
pub mod metrics;
pub mod protocol;
pub mod scrape;
pub mod server;
pub mod status;
pub mod tunnel;
