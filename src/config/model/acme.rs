//! How certificates are ordered (RFC 8555).

use std::path::PathBuf;
use std::sync::Arc;

/// Let's Encrypt's directory.
pub const LETSENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";

/// The directory of Let's Encrypt's CA for trials; no browser trusts it.
pub const LETSENCRYPT_STAGING: &str = "https://acme-staging-v02.api.letsencrypt.org/directory";

/// ZeroSSL's directory.
pub const ZEROSSL: &str = "https://acme.zerossl.com/v2/DV90";

/// What is needed to order certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acme {
    /// Whom the CA may write to, as `admin@example.com`. Its presence states that the CA's terms are agreed to.
    pub contact: Arc<str>,
    /// Where certificates are ordered, in the order of trial; at least one.
    pub authorities: Vec<Authority>,
    /// How control over a name is proved, in the order of trial; at least one, each once.
    pub challenges: Vec<Challenge>,
    /// The keys of certificates; each renewal makes a new one.
    pub key_type: KeyType,
    /// What becomes of a site's other names when one fails.
    pub failing_name: FailingName,
}

/// One CA.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority {
    /// What it is called in logs: `letsencrypt`, or the host and port of its URL.
    pub name: Arc<str>,
    /// The URL of its directory (https).
    pub directory: Arc<str>,
    /// PEM roots to trust for that URL instead of the public ones.
    pub ca_file: Option<PathBuf>,
    /// The profile to ask for (draft-ietf-acme-profiles).
    pub profile: Option<Arc<str>>,
    /// Ties the ACME account to one that exists at the CA already (RFC 8555 section 7.3.4).
    pub external_account: Option<ExternalAccount>,
}

/// An account at the CA that exists already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExternalAccount {
    /// The CA's name for its key.
    pub key_id: Arc<str>,
    /// A file with the key, base64url as CAs hand it out.
    pub key_file: PathBuf,
}

/// A way to prove control over a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Challenge {
    /// A document on port 80 (RFC 8555 section 8.3).
    Http01,
    /// A certificate in a TLS handshake on port 443 (RFC 8737).
    TlsAlpn01,
}

impl Challenge {
    /// The registered name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http01 => "http-01",
            Self::TlsAlpn01 => "tls-alpn-01",
        }
    }
}

impl std::fmt::Display for Challenge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The kind of a certificate's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyType {
    /// ECDSA on P-256.
    P256,
    /// ECDSA on P-384.
    P384,
    /// RSA of 2048 bits.
    Rsa2048,
}

/// What becomes of a site's other names when one fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailingName {
    /// They get a certificate without it, until it works.
    LeaveOut,
    /// They wait for it.
    Wait,
}
