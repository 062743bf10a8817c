//! The self-signed certificate that answers for a host until its first one has come.
//!
//! No client trusts it, and none should: it is there so that a handshake ends at once, with a reason.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use rcgen::{DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose};

use crate::config::model::HostPattern;
use crate::provision::PemPair;
use crate::tls::internal_ca::{alternative_name, valid};

/// What browsers show of it.
const NAME: &str = "porchd stand-in: no certificate yet";

/// How long one is valid. It is made anew before that, with the same key.
const LIFE: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The key of all stand-ins, made when the first one is needed; clones are the same object.
#[derive(Debug, Clone, Default)]
pub struct StandIn(Arc<OnceLock<KeyPair>>);

/// The stand-in can't be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the stand-in certificate cannot be made for {host}")]
pub struct StandInError {
    /// The host that it would not take, or all of them.
    pub host: String,
    /// Why.
    #[source]
    pub source: rcgen::Error,
}

impl StandIn {
    /// A self-signed certificate for `hosts`, and its key.
    pub fn sign(&self, hosts: &[HostPattern], now: SystemTime) -> Result<PemPair, StandInError> {
        let mut params = valid(now, LIFE);
        for host in hosts {
            let failed = |source| StandInError { host: host.to_string(), source };
            params.subject_alt_names.push(alternative_name(host).map_err(failed)?);
        }
        params.distinguished_name.push(DnType::CommonName, NAME);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let failed = |source| StandInError { host: "the configured hosts".to_owned(), source };
        let key = self.key().map_err(failed)?;
        let cert = params.self_signed(key).map_err(failed)?;
        Ok(PemPair { cert: cert.pem().into_bytes(), key: key.serialize_pem().into_bytes() })
    }

    fn key(&self) -> Result<&KeyPair, rcgen::Error> {
        if let Some(key) = self.0.get() {
            return Ok(key);
        }
        let key = KeyPair::generate()?;
        Ok(self.0.get_or_init(|| key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::fixtures::{host, now};
    use crate::tls::inspect::{self, ChainShape};

    #[test]
    fn it_says_what_it_is_and_keeps_its_key() {
        let stand_in = StandIn::default();
        let hosts = [host("a.test"), host("*.b.test")];
        let pair = stand_in.sign(&hosts, now()).unwrap();
        let facts = inspect::facts(&pair.cert).unwrap();
        assert_eq!((facts.issuer.as_str(), facts.chain), (NAME, ChainShape::SelfSigned));
        assert_eq!(facts.names, hosts);
        assert!(facts.not_before < now() && facts.not_after > now() + LIFE / 2);
        assert!(stand_in.clone().sign(&[host("c.test")], now()).unwrap().key == pair.key);
    }

    #[test]
    fn host_outside_of_ascii_is_refused_by_name() {
        let error = StandIn::default().sign(&[host("münchen.test")], now()).err().unwrap();
        assert_eq!(error.to_string(), "the stand-in certificate cannot be made for münchen.test");
    }
}
