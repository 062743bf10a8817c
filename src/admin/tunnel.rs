//! The tunnel home as others see it: in the status, and in figures.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

use crate::acme::moment::Moment;
use crate::admin::exposition::{Exposition, Kind};

/// How the tunnel home stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TunnelStatus {
    /// The interface.
    pub interface: String,
    /// The public key of the peer at home.
    pub peer: String,
    /// When this was read.
    pub read: Moment,
    /// Whether nothing can go through: its last handshake is older than three minutes, or there is none.
    pub stale: bool,
    /// When the last handshake was; absent: there was none, or it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handshake: Option<Moment>,
    /// Where home was heard of last, or is dialled; absent: it is waited for, or that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<SocketAddr>,
    /// Bytes that came from home.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub received_bytes: Option<u64>,
    /// Bytes that were sent home.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_bytes: Option<u64>,
    /// So often a packet is sent to keep the path open, in seconds; absent: that is left to home.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keepalive_s: Option<u16>,
    /// Why it can't be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What was found out last.
#[derive(Debug, Default)]
pub struct Shown(RefCell<Option<TunnelStatus>>);

impl Shown {
    /// Puts `status` in the place of what was there.
    pub fn show(&self, status: Option<TunnelStatus>) {
        self.0.replace(status);
    }

    /// What was found out last; `None`: no tunnel is watched.
    pub fn status(&self) -> Option<TunnelStatus> {
        self.0.borrow().clone()
    }

    /// Whether nothing can go through.
    pub fn is_stale(&self) -> bool {
        self.0.borrow().as_ref().is_some_and(|status| status.stale)
    }
}

/// Its figures, if a tunnel is watched.
pub(super) fn figures(to: &mut Exposition, shown: &Shown) {
    let Some(status) = shown.status() else { return };
    let labels = [("interface", status.interface.as_str())];
    let help = "Whether the tunnel home could be read.";
    to.family(Kind::Gauge, "porchd_tunnel_readable", "", help)
        .sample(&labels, u8::from(status.error.is_none()));
    let help =
        "1 while nothing can go through the tunnel: its last handshake is older than three minutes, or none.";
    to.family(Kind::Gauge, "porchd_tunnel_stale", "", help).sample(&labels, u8::from(status.stale));
    // What is not known is left out: a 0 would be a fact.
    if status.error.is_none() {
        let help = "When the tunnel had its last handshake, in Unix time; 0: never.";
        let at = status.handshake.map_or(0, unix);
        to.family(Kind::Gauge, "porchd_tunnel_last_handshake_timestamp_seconds", "seconds", help)
            .sample(&labels, at);
    }
    for (name, count, help) in [
        (
            "porchd_tunnel_received_bytes",
            status.received_bytes,
            "Bytes that came from home through the tunnel.",
        ),
        ("porchd_tunnel_sent_bytes", status.sent_bytes, "Bytes that were sent home through the tunnel."),
    ] {
        if let Some(count) = count {
            to.family(Kind::Counter, name, "bytes", help).sample(&labels, count);
        }
    }
}

fn unix(at: Moment) -> u64 {
    at.time().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
