//! Upstreams: named groups of backends. Their defaults are in the accessors.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};

use crate::config::decode::{At, scalar_or_map};
use crate::config::file::park::{DetailedPark, Park};
use crate::config::scalar::address::BackendAt;
use crate::config::scalar::name::Host;
use crate::config::scalar::quantity::{Count, Timeout};
use crate::config::scalar::web::{FieldValue, FilePath, ProbePath};

/// A group of backends. Written for the preset's name (`home`), its keys replace the preset's one by one.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields, expecting = "a map with `backends`")]
pub struct Upstream {
    /// Addresses: `address:port`, `name:port` (looked up again and again; a name that does not resolve is
    /// Down, not an error at start) or `unix:/path`; or maps that say more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backends: Option<At<Vec<At<Backend>>>>,
    /// How one is chosen: in turn, or the one with the fewest requests in flight.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub balance: Option<Balance>,
    /// How their health is asked.
    pub probe: Probe,
    /// Until a connection stands; a request that may not park waits so long for one. Default: 5s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect_timeout: Option<Timeout>,
    /// How long an idle connection is kept; below the backend's own (Synapse: 60 s). Default: 25s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_timeout: Option<At<Timeout>>,
    /// Until the head of a response. Default: by the kind of Matrix endpoint, 3 minutes for most. Written,
    /// it replaces all of them but sync's, which lasts at least the poll's own timeout and 60 s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_timeout: Option<Timeout>,
    /// Whether https is spoken to the backends: true, or a map that says more. Default: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<BackendTls>,
    /// Sent as `Host` instead of the client's. Not for Synapse: it needs the client's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<FieldValue>,
    /// How requests wait while it is away: a map, or false for not at all. Default: true. Requests of Matrix
    /// wait; others do where their route has `park: true`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub park: Option<Park>,
}

impl Upstream {
    /// How a backend is chosen.
    pub fn balance(&self) -> Balance {
        self.balance.unwrap_or(Balance::RoundRobin)
    }

    /// Until a connection stands.
    pub fn connect_timeout(&self) -> Timeout {
        self.connect_timeout.unwrap_or(Timeout(Duration::from_secs(5)))
    }

    /// How long an idle connection is kept.
    pub fn idle_timeout(&self) -> Timeout {
        self.idle_timeout.map_or(Timeout(Duration::from_secs(25)), |time| time.value)
    }

    /// How requests wait while it is away; `None`: not at all.
    pub(crate) fn park(&self) -> Option<DetailedPark> {
        self.park.as_ref().map_or_else(|| Some(DetailedPark::default()), Park::detailed)
    }
}

/// One backend.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(untagged)]
pub enum Backend {
    /// Its address alone.
    Address(BackendAt),
    /// The address with more to say.
    Detailed(DetailedBackend),
}

/// A backend with more to say.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "a map with `address`")]
pub struct DetailedBackend {
    /// Where it is.
    pub address: BackendAt,
    /// Its share beside the others'.
    #[serde(default = "one")]
    pub weight: Count,
    /// True: used only while every other one is Down.
    #[serde(default)]
    pub backup: bool,
    /// Most connections to it at a time. Default: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<Count>,
}

fn one() -> Count {
    Count(1)
}

impl Backend {
    /// With every key.
    pub(crate) fn detailed(&self) -> DetailedBackend {
        match self {
            Self::Detailed(backend) => backend.clone(),
            Self::Address(address) => DetailedBackend {
                address: address.clone(),
                weight: one(),
                backup: false,
                max_connections: None,
            },
        }
    }

    /// Where it is.
    pub fn address(&self) -> &BackendAt {
        match self {
            Self::Address(address) => address,
            Self::Detailed(backend) => &backend.address,
        }
    }
}

impl<'de> Deserialize<'de> for Backend {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expecting = "an address like `10.77.0.2:8008`, or a map with `address`";
        scalar_or_map(deserializer, expecting, Self::Address, Self::Detailed)
    }
}

/// How a backend is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Balance {
    /// In turn, by weight.
    RoundRobin,
    /// The one with the fewest requests in flight, by weight.
    LeastConnections,
}

/// How the health of backends is asked.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields, expecting = "a map such as { path: /health, every: 5s }")]
pub struct Probe {
    /// Asked with GET; 2xx to 4xx is Up. Default: /health, which Synapse has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<At<ProbePath>>,
    /// True: a TCP connection is enough. A Synapse that hangs still accepts connections.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp: Option<bool>,
    /// Between two probes while it is Up. Default: 5s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub every: Option<Timeout>,
    /// Between two probes while it is Down. Default: 1s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub every_when_down: Option<Timeout>,
    /// Until a probe has failed. Default: 3s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Timeout>,
    /// Failures in a row until it is Down. Default: 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub down_after: Option<Count>,
    /// Successes in a row until it is Up. Default: 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub up_after: Option<Count>,
}

impl Probe {
    /// Whether a TCP connection is enough.
    pub fn tcp(&self) -> bool {
        self.tcp.unwrap_or(false)
    }

    /// What is asked with GET.
    pub fn path(&self) -> ProbePath {
        self.path.as_ref().map_or_else(|| ProbePath(Arc::from("/health")), |path| path.value.clone())
    }

    /// Between two probes while it is Up.
    pub fn every(&self) -> Timeout {
        self.every.unwrap_or(Timeout(Duration::from_secs(5)))
    }

    /// Between two probes while it is Down.
    pub fn every_when_down(&self) -> Timeout {
        self.every_when_down.unwrap_or(Timeout(Duration::from_secs(1)))
    }

    /// Until a probe has failed: seconds, for it may go through a tunnel over the internet.
    pub fn timeout(&self) -> Timeout {
        self.timeout.unwrap_or(Timeout(Duration::from_secs(3)))
    }

    /// Failures in a row until it is Down.
    pub fn down_after(&self) -> Count {
        self.down_after.unwrap_or(Count(2))
    }

    /// Successes in a row until it is Up.
    pub fn up_after(&self) -> Count {
        self.up_after.unwrap_or(Count(1))
    }
}

/// Whether and how https is spoken to backends.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(untagged)]
pub enum BackendTls {
    /// Yes or no.
    Flag(bool),
    /// Yes, with more to say.
    Detailed(DetailedTls),
}

/// How https is spoken to backends.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields, expecting = "a map with `server_name` and `ca_file`")]
pub struct DetailedTls {
    /// The name that the backend's certificate must be for. Default: the host of its address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_name: Option<Host>,
    /// PEM file of the CA to trust instead of the public ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<FilePath>,
}

impl<'de> Deserialize<'de> for BackendTls {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expecting = "`true` or `false`, or a map with `server_name` and `ca_file`";
        scalar_or_map(deserializer, expecting, Self::Flag, Self::Detailed)
    }
}
