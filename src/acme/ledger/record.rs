//! What the ledger's lines look like in its file. What is written into them, and when, is not said here.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::acme::moment::Moment;
use crate::acme::records::RenewalWindow;
use crate::acme::status::LastError;
use crate::config::model::acme::Challenge;

/// What is remembered of a CA.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(in crate::acme) struct AuthorityRecord {
    /// When accounts were asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) accounts: Vec<Moment>,
    /// That it did not answer as it should.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) unavailable: Option<Wait>,
    /// The orders that some limit still counts, oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) orders: Vec<OrderRecord>,
}

/// An order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::acme) struct OrderRecord {
    pub(super) site: String,
    pub(super) names: Vec<Arc<str>>,
    /// When it was sent.
    pub(super) at: Moment,
    /// When its outcome was learnt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) ended: Option<Moment>,
    pub(super) state: OrderState,
    /// The set of names had a certificate of this CA already.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) renewal: bool,
    /// The CA was asked to sign: from then on a certificate may exist.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) finalizing: bool,
    /// Names of which the validation failed, or may have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) unproved: Vec<Arc<str>>,
    /// It is only about to be sent; never so in the file.
    #[serde(skip)]
    pub(super) reserved: bool,
}

impl OrderRecord {
    /// One of which nothing but the sending is known.
    pub(super) fn sent(site: &str, names: &[Arc<str>], renewal: bool, at: Moment) -> Self {
        Self {
            site: site.to_owned(),
            names: names.to_vec(),
            at,
            ended: None,
            state: OrderState::Running,
            renewal,
            finalizing: false,
            unproved: names.to_vec(),
            reserved: false,
        }
    }
}

/// How an order stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(in crate::acme) enum OrderState {
    /// On its way.
    Running,
    /// Its outcome was never learnt: the process ended, or the CA fell silent.
    Lost,
    /// It brought a certificate.
    Issued,
    /// It brought none.
    Failed,
}

/// What is remembered of a site.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(in crate::acme) struct SiteRecord {
    /// The certificate that it got last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) issued: Option<IssuedRecord>,
    /// What failed since.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) last_failure: Option<LastError>,
    /// That this machine was at fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) local: Option<Wait>,
    /// That a CA refused the order, or said that there were too many; by directory.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) refused: BTreeMap<String, Wait>,
    /// Its names.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) names: BTreeMap<String, NameRecord>,
    /// When the CA wants to see the certificate renewed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) renewal: Option<RenewalRecord>,
    /// When the CA's wish last brought a new certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) wish_followed: Option<Moment>,
}

/// A certificate that was issued.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::acme) struct IssuedRecord {
    pub(super) authority: String,
    pub(super) at: Moment,
    pub(super) names: Vec<Arc<str>>,
}

/// What is remembered of a name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(in crate::acme) struct NameRecord {
    /// The challenge that worked last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) worked: Option<Way>,
    /// How it fails; by directory.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) failing: BTreeMap<String, NameFailure>,
}

/// A name that fails at a CA.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::acme) struct NameFailure {
    /// The challenges that failed in this round; the next one is tried at once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) tried: Vec<Way>,
    /// Its failures are full rounds.
    #[serde(flatten)]
    pub(super) wait: Wait,
}

/// When the CA wants to see a certificate renewed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::acme) struct RenewalRecord {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) window: Option<RenewalWindow>,
    /// The point in the window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) chosen: Option<Moment>,
    pub(super) ask_again: Moment,
}

/// That something is left alone for a while.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::acme) struct Wait {
    /// How often it failed in a row.
    pub(super) failures: u32,
    /// When it failed last.
    pub(super) since: Moment,
    pub(in crate::acme) until: Moment,
    /// Until when the CA itself asked to wait: no person's wish ends that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) told: Option<Moment>,
    /// Why.
    pub(in crate::acme) text: String,
}

impl Wait {
    /// What is left of it when a person does not want to wait: what the CA asked for.
    pub(super) fn cut(&mut self) {
        self.until = self.told.unwrap_or(self.since);
    }

    /// Brings it in line with a clock that was set back: what was left to wait then is left now.
    pub(super) fn settle(&mut self, now: Moment) {
        let left = self.until.since(self.since).min(LONGEST);
        self.since = self.since.min(now);
        self.until = self.until.min(self.since.after(left));
        self.told = self.told.map(|told| told.min(self.until));
    }
}

/// No wait is longer: a CA's week and a quarter of it as jitter.
const LONGEST: Duration = Duration::from_secs(9 * 86_400);

/// A challenge, by its registered name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::acme) struct Way(pub(super) Challenge);

impl Serialize for Way {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.as_str())
    }
}

impl<'de> Deserialize<'de> for Way {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let known = [Challenge::Http01, Challenge::TlsAlpn01];
        let found = known.into_iter().find(|challenge| challenge.as_str() == text);
        found.map(Self).ok_or_else(|| serde::de::Error::custom(format!("`{text}` is no challenge")))
    }
}
