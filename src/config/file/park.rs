//! How requests wait while an upstream is away. The defaults are those of the model.

use serde::{Deserialize, Deserializer, Serialize};

use crate::config::decode::{At, scalar_or_map};
use crate::config::model;
use crate::config::scalar::quantity::{Places, Size, Time};
use crate::config::tree::Place;

/// Whether and how requests wait.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(untagged)]
pub enum Park {
    /// True: as by default; false: nothing waits.
    Flag(bool),
    /// They wait, with more to say.
    Detailed(DetailedPark),
}

impl<'de> Deserialize<'de> for Park {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expecting = "`true` or `false`, or a map such as { most: 1024, federation: 50s }";
        scalar_or_map(deserializer, expecting, Self::Flag, Self::Detailed)
    }
}

/// How requests wait. A kind of request whose time is zero does not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields, expecting = "a map such as { most: 1024, federation: 50s }")]
pub struct DetailedPark {
    /// Most requests at a time; federation may have half of them. To have none wait, write `park: false`.
    pub most: At<Places>,
    /// Most requests at a time of one client address; an IPv6 address counts by its /64. Default: 64, or
    /// `most` if that is less.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub most_per_client: Option<At<Places>>,
    /// Most bytes at a time of heads, and of what was read of bodies.
    pub memory: At<Size>,
    /// In an outage that has lasted longer, a request waits 3 s at most.
    pub outage: Time,
    /// How long a long poll waits.
    pub sync: Time,
    /// How long a write into a room waits.
    pub send: Time,
    /// How long everything else under `/_matrix` waits.
    pub client: Time,
    /// How long an upload, a download or a thumbnail waits.
    pub media: Time,
    /// How long logins, registrations and refreshes wait.
    pub login: Time,
    /// How long requests of other homeservers wait; those give up after 60 s.
    pub federation: At<Time>,
    /// How long a request for signing keys waits; Synapse gives up after 10 s.
    pub keys: At<Time>,
    /// How long what is not Matrix waits, if its route has `park: true`.
    pub other: Time,
}

impl Default for DetailedPark {
    fn default() -> Self {
        let model::park::Park { most, most_per_client: _, memory, outage, budgets } = Default::default();
        Self {
            most: unwritten(Places(most)),
            most_per_client: None,
            memory: unwritten(Size(memory)),
            outage: Time(outage),
            sync: Time(budgets.sync),
            send: Time(budgets.send),
            client: Time(budgets.client),
            media: Time(budgets.media),
            login: Time(budgets.login),
            federation: unwritten(Time(budgets.federation)),
            keys: unwritten(Time(budgets.keys)),
            other: Time(budgets.other),
        }
    }
}

fn unwritten<T>(value: T) -> At<T> {
    At::made(value, Place::ROOT)
}

impl DetailedPark {
    /// Most requests at a time of one client address.
    pub(crate) fn most_per_client(&self) -> Places {
        let usual = model::park::Park::default().most_per_client;
        self.most_per_client.map_or(Places(usual.min(self.most.0)), |most| most.value)
    }
}

impl Park {
    /// With every key; `None`: nothing waits.
    pub(crate) fn detailed(&self) -> Option<DetailedPark> {
        match self {
            Self::Flag(false) => None,
            Self::Flag(true) => Some(DetailedPark::default()),
            Self::Detailed(park) => Some(park.clone()),
        }
    }
}
