//! What the `matrix` section said; its sites, routes and upstreams are among the others.

use std::sync::Arc;

use ipnet::IpNet;

use super::route::WellKnown;

/// What the `matrix` section said of one homeserver.
#[derive(Debug, Clone, PartialEq)]
pub struct Homeserver {
    /// Names users and rooms (`example.com`).
    pub server_name: Arc<str>,
    /// Where clients and peers connect (`matrix.example.com`).
    pub host: Arc<str>,
    /// Name of the upstream that is its Synapse.
    pub upstream: Arc<str>,
    /// False when the website of `server_name` lives elsewhere.
    pub serve_server_name: bool,
    /// The documents under `/.well-known/matrix/`.
    pub well_known: Arc<WellKnown>,
    /// Who may reach `/_synapse/admin`; empty: nobody.
    pub admin_allow: Vec<IpNet>,
}
