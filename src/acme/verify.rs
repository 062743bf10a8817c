//! Whether what a CA sent is what was ordered. Pure.
//!
//! It trusts no chain: whether clients know the CA is between them and it.

use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rustls::pki_types::CertificateDer;

use crate::acme::moment::Moment;
use crate::tls::inspect::{self, InspectError};
use crate::tls::pem::{self, PemError};
use crate::tls::provider;

/// A chain that is not what was ordered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// It is no chain.
    #[error("the certificate that it sent {0}")]
    Chain(#[from] InspectError),
    /// It is too long: every handshake would carry it.
    #[error("the certificate that it sent has {0} others behind it; {MOST} are the most")]
    Long(usize),
    /// The key can't be read.
    #[error("the certificate's key {0}")]
    Key(PemError),
    /// The key's kind is not supported.
    #[error("the certificate's key is of an unsupported kind")]
    KeyKind,
    /// It is for another key.
    #[error("the certificate that it sent is for another key")]
    OtherKey,
    /// It lacks a name.
    #[error("the certificate that it sent does not cover {0}")]
    Uncovered(Arc<str>),
    /// Its time is over.
    #[error("the certificate that it sent ended at {0}; is this machine's clock right?")]
    Expired(Moment),
}

/// The chain in `sent` as PEM without anything between, when it fits `key_pem` and covers `names` at `now`.
pub fn verify(sent: &str, key_pem: &str, names: &[Arc<str>], now: Moment) -> Result<String, VerifyError> {
    let chain = pem::chain(sent.as_bytes()).map_err(InspectError::from)?;
    let others = chain.len().saturating_sub(1);
    if others > MOST {
        return Err(VerifyError::Long(others));
    }
    let facts = inspect::facts_of(&chain)?;
    let key = pem::key(key_pem.as_bytes()).map_err(VerifyError::Key)?;
    let key = provider().key_provider.load_private_key(key).map_err(|_| VerifyError::KeyKind)?;
    let public = key.public_key().ok_or(VerifyError::KeyKind)?;
    if chain.first().and_then(inspect::public_key) != Some(public.as_ref()) {
        return Err(VerifyError::OtherKey);
    }
    if let Some(name) = names.iter().find(|name| !facts.covers(name)) {
        return Err(VerifyError::Uncovered(name.clone()));
    }
    let end = Moment::of(facts.not_after);
    if end <= now { Err(VerifyError::Expired(end)) } else { Ok(chain.iter().map(encoded).collect()) }
}

/// More issuers than any public CA has above a certificate.
const MOST: usize = 9;

/// One certificate with lines of 64 characters (RFC 7468 section 2).
fn encoded(certificate: &CertificateDer<'_>) -> String {
    let text = BASE64_STANDARD.encode(certificate);
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, left) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = left;
    }
    pem + "-----END CERTIFICATE-----\n"
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    fn pair(names: &[&str]) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_after = rcgen::date_time_ymd(2030, 1, 1);
        (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
    }

    fn verified(sent: &str, key: &str, names: &[&str], now: &str) -> Result<String, VerifyError> {
        let names: Vec<_> = names.iter().map(|name| Arc::from(*name)).collect();
        verify(sent, key, &names, Moment::parse(now).unwrap())
    }

    const NOW: &str = "2029-12-31T23:59:59Z";

    #[test]
    fn a_chain_is_kept_without_what_stands_between() {
        let (cert, key) = pair(&["a.test", "::1"]);
        let sent = format!("Subject: CN=x\n{cert}\n{key}\nend");
        let kept = verified(&sent, &key, &["a.test", "[::1]"], NOW).unwrap();
        assert_eq!(kept, cert.replace("\r\n", "\n"));
    }

    #[test]
    fn what_was_not_ordered_is_refused() {
        let (cert, key) = pair(&["a.test"]);
        let (_, other) = pair(&["a.test"]);
        let told = |sent: &str, key: &str, names: &[&str], now: &str| {
            verified(sent, key, names, now).unwrap_err().to_string()
        };
        assert_eq!(told(&cert, &other, &["a.test"], NOW), VerifyError::OtherKey.to_string());
        assert!(told(&cert, &key, &["a.test", "b.test"], NOW).ends_with("does not cover b.test"));
        assert!(told(&cert, &key, &["a.test"], "2030-01-01T00:00:00Z").contains("2030-01-01T00:00:00Z"));
        assert!(told(&cert.repeat(11), &key, &["a.test"], NOW).contains("has 10 others"));
        assert!(told("hello", &key, &["a.test"], NOW).starts_with("the certificate that it sent holds no"));
    }
}
