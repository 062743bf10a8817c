//! What the state folder keeps beside the ledger.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::acme::moment::Moment;
use crate::provision::PemPair;

/// An account at a CA.
#[derive(Clone, PartialEq, Eq)]
pub struct AccountFile {
    /// Its URL, which is its name at the CA; `None`: the key is made and not registered yet.
    pub url: Option<String>,
    /// The contact that the CA was told.
    pub contact: Option<String>,
    /// Its private key, PKCS #8.
    pub key_pem: String,
}

/// An order that was finalized, of which the certificate is not here yet.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingOrder {
    /// The site.
    pub site: String,
    /// The CA, by the URL of its directory.
    pub authority: String,
    /// The order's URL.
    pub url: String,
    /// The names that were ordered.
    pub names: Vec<Arc<str>>,
    /// The certificate's private key, PKCS #8.
    pub key_pem: String,
    /// When it was finalized.
    pub at: Moment,
}

/// A certificate of a site.
#[derive(Clone, PartialEq, Eq)]
pub struct Stored {
    /// The site.
    pub site: String,
    /// The chain and its key.
    pub pair: PemPair,
}

/// When a CA suggests that a certificate be renewed (RFC 9773 section 4.2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenewalWindow {
    /// Not before.
    pub start: Moment,
    /// Not after.
    pub end: Moment,
    /// A page that says why, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explanation: Option<String>,
}
