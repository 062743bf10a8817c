//! How a running porchd stands, as it goes over the control socket and as `porchd status --json` prints it.
//!
//! Programs read it: fields are added and never change their meaning. Times are RFC 3339 in UTC, spans milliseconds.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::acme::moment::Moment;
use crate::acme::status::CertificateStatus;
use crate::admin::tunnel::TunnelStatus;
use crate::incidents::record::Incident;

/// All of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The version of the porchd that runs.
    pub version: String,
    /// When this was so.
    pub at: Moment,
    /// When it was started.
    pub started: Moment,
    /// Counts the configurations that were in force since then, from 1.
    pub generation: u64,
    /// What came of the last reload; absent: there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reload: Option<Reloaded>,
    /// Connections of clients.
    pub connections: Connections,
    /// The upstreams, in the configuration's order.
    pub upstreams: Vec<UpstreamStatus>,
    /// The tunnel home; absent: none is watched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tunnel: Option<TunnelStatus>,
    /// Where home is on the internet; absent: nobody follows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub home_address: Option<HomeAddress>,
    /// What was asked in the last minute; classes of which nothing was asked are left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub traffic: Vec<Traffic>,
    /// The certificates, as `porchd certs` shows them.
    pub certificates: Vec<CertificateStatus>,
    /// The last incidents, newest last.
    pub incidents: Vec<Incident>,
}

/// What came of a reload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// When it was asked for.
    pub at: Moment,
    /// Whether it is in force.
    pub ok: bool,
    /// What changed, a line each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<String>,
    /// Why it was refused; the text may have several lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Connections of clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connections {
    /// So many are open.
    pub open: u64,
    /// So many there may be.
    pub most: u64,
}

/// How an upstream stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpstreamStatus {
    /// Its name.
    pub name: String,
    /// Whether it is there.
    pub state: Presence,
    /// Since when; absent: that was not seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Moment>,
    /// Why it is not there, as far as that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Why>,
    /// Requests that wait for it.
    pub parked: Parked,
    /// Its backends.
    pub backends: Vec<BackendStatus>,
}

/// Where home is on the internet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HomeAddress {
    /// The name that is followed.
    pub name: String,
    /// Who is asked.
    pub nameserver: String,
    /// Where home is, as far as that is known, IPv4 first.
    pub addresses: Vec<IpAddr>,
    /// Since when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Moment>,
    /// When it was asked last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<Moment>,
    /// When it was answered last, without a fault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answered: Option<Moment>,
    /// What is wrong with the answers now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
    /// What can't be told where home is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failing: Vec<String>,
    /// So many times it has moved since the start.
    pub changes: u64,
}

/// Whether an upstream is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Presence {
    /// It was not asked yet.
    Unknown,
    /// It answers.
    Up,
    /// It answers, far later than it usually does.
    Slow,
    /// It does not.
    Away,
}

/// A cause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Why {
    /// A word of a small set, such as `refused`.
    pub token: String,
    /// The same for people.
    pub text: String,
}

/// Requests that wait, and what became of those that did since porchd was started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Parked {
    /// Waiting now.
    pub now: u64,
    /// So many may wait at a time.
    pub most: u64,
    /// All that ever waited.
    pub parked: u64,
    /// Sent to the upstream in the end.
    pub delivered: u64,
    /// Answered by the edge: their time was over.
    pub expired: u64,
    /// Not let in: there was no room.
    pub refused: u64,
    /// Given up by the client that asked.
    pub left: u64,
}

/// How a backend stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendStatus {
    /// Its address, as configured.
    pub address: String,
    /// `up`, `down` or `unknown`.
    pub health: String,
    /// Since when; absent: that was not seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Moment>,
    /// Why it is down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Why>,
}

/// What was asked of one class of endpoints lately.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// The class: `sync`, `send`, `federation`, `keys`, `media`, `login`, `client` or `other`.
    pub class: String,
    /// So many requests were answered.
    pub requests: u64,
    /// In so many seconds until now.
    pub seconds: u64,
    /// Half of the answers began within so many milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p50_ms: Option<u64>,
    /// 99 of 100 answers began within so many milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p99_ms: Option<u64>,
}
