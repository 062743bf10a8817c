//! What `porchd certs` shows of one certificate, and why one is revoked. It goes over the control socket as JSON.

use serde::{Deserialize, Serialize};

use crate::acme::moment::Moment;

/// One certificate, or the lack of one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateStatus {
    /// The site that it is for (its first host); of a file: the file.
    pub name: String,
    /// How it stands.
    pub state: State,
    /// Where it comes from.
    pub source: Source,
    /// The names that it is good for; while there is none yet: those that are ordered.
    pub names: Vec<String>,
    /// Names of the site that it does not cover, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<LeftOut>,
    /// Who signed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// Not valid before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Moment>,
    /// Not valid after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Moment>,
    /// When the next order goes out, and why then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Next>,
    /// What failed last, if the last attempt did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<LastError>,
}

/// How a certificate stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Valid, nothing to do.
    Valid,
    /// Valid, and served from memory: the disk does not take it.
    Unsaved,
    /// An order is on its way.
    Ordering,
    /// There is none yet: a self-signed stand-in answers.
    Missing,
    /// Its time is over, and it is still what is served.
    Expired,
}

/// Where a certificate comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// Ordered by porchd.
    Acme,
    /// A file of `tls.certificates`.
    File,
    /// The internal CA.
    InternalCa,
}

/// A name that is not on its site's certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// The name.
    pub name: String,
    /// Why.
    pub why: String,
    /// When it is tried again, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub again: Option<Moment>,
}

/// The next order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Next {
    /// When.
    pub at: Moment,
    /// Why then: "the CA's window (ARI)", "a third of its life is left", "tried again after a failure".
    pub why: String,
}

/// What failed last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastError {
    /// When.
    pub at: Moment,
    /// What, with the CA's own words.
    pub text: String,
    /// The CA that was asked.
    pub authority: String,
}

/// Why a certificate is revoked (RFC 5280 section 5.3.1; those that CAs accept from a subscriber).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// Nobody says.
    Unspecified,
    /// The key is in wrong hands.
    KeyCompromise,
    /// Another certificate has taken its place.
    Superseded,
    /// Its names are not used any more.
    CessationOfOperation,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 4] =
        [Self::Unspecified, Self::KeyCompromise, Self::Superseded, Self::CessationOfOperation];

    /// The word for it, on the wire and on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Self::Unspecified => "unspecified",
            Self::KeyCompromise => "key-compromise",
            Self::Superseded => "superseded",
            Self::CessationOfOperation => "cessation-of-operation",
        }
    }
}
