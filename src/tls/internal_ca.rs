//! A local CA for development: it lives in memory and signs for the hosts that nothing else covers.
//!
//! It is never trusted by anybody who was not given its certificate by hand.

use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType,
};

use crate::config::model::HostPattern;
use crate::provision::PemPair;
use crate::tls::inspect::bare;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How long the CA is valid.
const CA_LIFE: Duration = DAY.saturating_mul(3650);

/// How long a leaf is valid: the most that Apple's systems take from a CA that its owner added.
const LEAF_LIFE: Duration = DAY.saturating_mul(825);

/// Both begin in the past, for clients whose clocks are behind.
const SLACK: Duration = DAY;

/// A CA with its key, in memory.
#[derive(Debug)]
pub struct InternalCa(CertifiedIssuer<'static, KeyPair>);

/// The local CA could not make a certificate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the internal CA cannot sign for {host}")]
pub struct SignError {
    /// The host that it would not take, or all of them.
    pub host: String,
    /// Why.
    #[source]
    pub source: rcgen::Error,
}

impl InternalCa {
    /// A new CA with a P-256 key.
    pub fn new(now: SystemTime) -> Result<Self, SignError> {
        let failed = |source| SignError { host: "itself".to_owned(), source };
        let mut params = valid(now, CA_LIFE);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().map_err(failed)?;
        // Two CAs of one name and different keys confuse the stores that a person adds them to.
        let identifier = params.key_identifier(&key);
        let number = identifier.iter().take(4).map(|byte| format!("{byte:02x}")).collect::<String>();
        let name = format!("porchd internal CA {number}");
        params.distinguished_name.push(DnType::CommonName, name);
        CertifiedIssuer::self_signed(params, key).map(Self).map_err(failed)
    }

    /// The certificate that clients must be told to trust (`curl --cacert`).
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate and key for `hosts`.
    pub fn sign(&self, hosts: &[HostPattern], now: SystemTime) -> Result<PemPair, SignError> {
        let mut params = valid(now, LEAF_LIFE);
        for host in hosts {
            let failed = |source| SignError { host: host.to_string(), source };
            params.subject_alt_names.push(alternative_name(host).map_err(failed)?);
        }
        params.distinguished_name.push(DnType::CommonName, "porchd");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let failed = |source| SignError { host: "the configured hosts".to_owned(), source };
        let key = KeyPair::generate().map_err(failed)?;
        let cert = params.signed_by(&key, &self.0).map_err(failed)?;
        Ok(PemPair { cert: cert.pem().into_bytes(), key: key.serialize_pem().into_bytes() })
    }
}

/// How a certificate names `host`; an error for what is not ASCII.
pub(super) fn alternative_name(host: &HostPattern) -> Result<SanType, rcgen::Error> {
    let text = host.to_string();
    match bare(&text).parse::<IpAddr>() {
        Ok(ip) => Ok(SanType::IpAddress(ip)),
        Err(_) => text.as_str().try_into().map(SanType::DnsName),
    }
}

/// Parameters without any name, valid for `life`.
pub(super) fn valid(now: SystemTime, life: Duration) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    let since_epoch = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + since_epoch.saturating_sub(SLACK);
    params.not_after = epoch + since_epoch + life - SLACK;
    params
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::inspect::{self, ChainShape, KeyType};

    const NOW: Duration = Duration::from_secs(1_800_000_000);

    #[test]
    fn leaf_names_its_hosts_and_its_issuer() {
        let ca = InternalCa::new(UNIX_EPOCH + NOW).unwrap();
        let hosts = [
            HostPattern::Exact("a.test".into()),
            HostPattern::Wildcard("b.test".into()),
            HostPattern::Exact("::1".into()),
        ];
        let facts = inspect::facts(&ca.sign(&hosts, UNIX_EPOCH + NOW).unwrap().cert).unwrap();
        assert_eq!(facts.names, hosts);
        assert!(facts.issuer.starts_with("porchd internal CA "), "{}", facts.issuer);
        assert_eq!((facts.key, facts.chain), (KeyType::Ec(256), ChainShape::LeafAlone));
        assert_eq!(facts.not_before, UNIX_EPOCH + NOW - DAY);
        assert_eq!(facts.not_after, facts.not_before + LEAF_LIFE);
    }

    #[test]
    fn certificate_authorities_differ_in_name() {
        let issuer = || {
            let ca = InternalCa::new(UNIX_EPOCH + NOW).unwrap();
            inspect::facts(ca.pem().as_bytes()).unwrap().issuer
        };
        assert_ne!(issuer(), issuer());
    }

    #[test]
    fn host_outside_of_ascii_is_refused_by_name() {
        let ca = InternalCa::new(UNIX_EPOCH + NOW).unwrap();
        let error = ca.sign(&[HostPattern::Exact("münchen.test".into())], UNIX_EPOCH + NOW).err().unwrap();
        assert_eq!(error.to_string(), "the internal CA cannot sign for münchen.test");
    }
}
