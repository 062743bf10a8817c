//! The tunnels of this machine, as an update sees them.

use std::net::SocketAddr;

use crate::clock;
use crate::config::model::home::WireGuard;
use crate::home::standing::standing;
use crate::home::tunnel;
use crate::home::update::{Peer, Tunnels};

/// Asks whoever runs the interface.
#[derive(Debug, Clone, Copy, Default)]
pub struct OfSystem;

impl Tunnels for OfSystem {
    fn peer(&self, peer: &WireGuard) -> Result<Peer, String> {
        let found = tunnel::read(&peer.interface, &peer.peer).map_err(|error| error.to_string())?;
        Ok(Peer { stale: standing(found.handshake, clock::wall()).is_stale(), endpoint: found.endpoint })
    }

    fn set_endpoint(&self, peer: &WireGuard, endpoint: SocketAddr) -> Result<(), String> {
        tunnel::set_endpoint(&peer.interface, &peer.peer, endpoint).map_err(|error| error.to_string())
    }
}
