//! What Matrix asks of the edge, as pure functions: endpoint classes, error bodies, CORS, discovery
//! documents, redaction of secrets.
//!
//! Nothing here knows sites, routes or sockets. The facts and their sources are the Matrix
//! specification's and Synapse's; where they disagree with a habit of other proxies, they win.

pub mod class;
pub mod cors;
pub mod documents;
pub mod error;
pub mod kept;
mod path;
pub mod secrets;
