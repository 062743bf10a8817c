//! From a bound socket to a connection that may be served.

pub mod accept;
pub mod adapter;
pub mod admission;
pub mod backoff;
pub mod dispatcher;
#[cfg(test)]
pub(crate) mod echo;
pub mod handshake;
pub mod open_connections;
pub mod permits;
pub mod proxy_header;
pub mod proxy_protocol;
pub mod serving;
pub mod serving_thread;
pub mod shared;
pub mod shedding;
pub mod sockets;
pub mod thread;
