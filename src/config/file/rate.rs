//! How often one client may ask.

use serde::{Deserialize, Serialize};

use crate::config::decode::At;
use crate::config::scalar::quantity::{Count, Timeout};

/// How often one client may ask for endpoints of one class.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "a map such as { class: login, burst: 10, every: 6s }")]
pub struct Rate {
    /// Which requests: those of this class of endpoints.
    pub class: At<RateClass>,
    /// Who counts as one: `client-address`, an IPv6 address by its /64.
    #[serde(default)]
    pub per: RatePer,
    /// So many at once.
    pub burst: Count,
    /// And one more each time that so much has passed.
    pub every: At<Timeout>,
}

/// A class of endpoints. `OPTIONS` is never counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum RateClass {
    /// Long polls.
    Sync,
    /// Writes into rooms.
    Send,
    /// Other homeservers.
    Federation,
    /// Signing keys.
    Keys,
    /// Uploads, downloads and thumbnails.
    Media,
    /// Login, registration, refresh, password reset, single sign-on.
    Login,
    /// Everything else under `/_matrix`.
    Client,
    /// Everything that is not Matrix.
    Other,
}

/// Who counts as one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum RatePer {
    /// A client's address.
    #[default]
    ClientAddress,
}
