//! What a certificate says: names, dates, issuer, key, and the shape of its chain. Pure.
//!
//! It verifies no signature: clients do, and an edge that serves what its owner configured need not.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;
use x509_parser::time::ASN1Time;
use x509_parser::x509::SubjectPublicKeyInfo;

use crate::config::model::HostPattern;
use crate::tls::pem::{self, PemError};

/// id-Ed25519 of RFC 8410 section 3.
const ED25519: &str = "1.3.101.112";

/// What a chain's leaf says, and how the chain hangs together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The names that it is good for: its subject alternative names, lower case. The common name does not
    /// count (RFC 9525 section 2).
    pub names: Vec<HostPattern>,
    /// Not valid before.
    pub not_before: SystemTime,
    /// Not valid after.
    pub not_after: SystemTime,
    /// Who signed it.
    pub issuer: String,
    /// The kind of its key.
    pub key: KeyType,
    /// How the chain hangs together.
    pub chain: ChainShape,
}

/// The kind of a public key, with its size in bits where kinds differ by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyType {
    /// RSA.
    Rsa(usize),
    /// On a NIST curve.
    Ec(usize),
    /// Ed25519.
    Ed25519,
    /// Any other.
    Other,
}

/// How a chain hangs together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChainShape {
    /// One certificate that signed itself: there is nothing to add.
    SelfSigned,
    /// A leaf without the certificates between it and a root.
    LeafAlone,
    /// Each certificate is followed by its issuer's.
    Ordered,
    /// Some certificate is not followed by its issuer's.
    Disordered,
}

/// A chain that can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InspectError {
    /// The file is no PEM chain.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// A certificate of it is broken.
    #[error("has a certificate (number {position}) that cannot be parsed; copy the file again")]
    Certificate {
        /// Its place in the file, from 1.
        position: usize,
    },
}

impl Facts {
    /// Whether the certificate is good for `host` (lower case, no port, no trailing dot).
    pub fn covers(&self, host: &str) -> bool {
        self.names.iter().any(|name| name.matches(bare(host)))
    }

    /// Whether the certificate is good for every host that `pattern` means.
    pub fn covers_pattern(&self, pattern: &HostPattern) -> bool {
        match pattern {
            HostPattern::Exact(host) => self.covers(host),
            HostPattern::Wildcard(_) => self.names.contains(pattern),
        }
    }
}

/// `host` as certificates name it: an IPv6 address without its brackets.
pub fn bare(host: &str) -> &str {
    host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host)
}

/// What the chain in `pem` says.
pub fn facts(pem: &[u8]) -> Result<Facts, InspectError> {
    facts_of(&pem::chain(pem)?)
}

/// What a parsed chain says; it is not empty.
pub fn facts_of(chain: &[CertificateDer<'_>]) -> Result<Facts, InspectError> {
    let parsed = chain
        .iter()
        .enumerate()
        .map(|(index, der)| parse(der).ok_or(InspectError::Certificate { position: index + 1 }))
        .collect::<Result<Vec<_>, _>>()?;
    let leaf = parsed.first().ok_or(PemError::NoCertificate)?;
    Ok(Facts {
        names: names(leaf),
        not_before: time(leaf.validity().not_before),
        not_after: time(leaf.validity().not_after),
        issuer: issuer(leaf),
        key: key_type(leaf.public_key()),
        chain: shape(&parsed),
    })
}

/// The certificate's key as SubjectPublicKeyInfo, to compare with a key's.
pub fn public_key<'a>(der: &'a CertificateDer<'_>) -> Option<&'a [u8]> {
    parse(der).map(|certificate| certificate.tbs_certificate.subject_pki.raw)
}

fn parse<'a>(der: &'a CertificateDer<'_>) -> Option<X509Certificate<'a>> {
    X509Certificate::from_der(der).ok().map(|(_, certificate)| certificate)
}

fn names(leaf: &X509Certificate<'_>) -> Vec<HostPattern> {
    let Ok(Some(extension)) = leaf.subject_alternative_name() else { return Vec::new() };
    extension.value.general_names.iter().filter_map(name).collect()
}

fn name(general: &GeneralName<'_>) -> Option<HostPattern> {
    match general {
        GeneralName::DNSName(text) => {
            let text = text.trim_end_matches('.').to_ascii_lowercase();
            Some(match text.strip_prefix("*.") {
                Some(parent) => HostPattern::Wildcard(Arc::from(parent)),
                None => HostPattern::Exact(Arc::from(text)),
            })
        }
        GeneralName::IPAddress(bytes) => {
            let ip = <[u8; 4]>::try_from(*bytes)
                .map(IpAddr::from)
                .or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from))
                .ok()?;
            Some(HostPattern::Exact(ip.to_string().into()))
        }
        _ => None,
    }
}

fn time(at: ASN1Time) -> SystemTime {
    let seconds = at.timestamp();
    let distance = Duration::from_secs(seconds.unsigned_abs());
    if seconds < 0 { UNIX_EPOCH - distance } else { UNIX_EPOCH + distance }
}

/// The issuer's common name, else the whole name.
fn issuer(leaf: &X509Certificate<'_>) -> String {
    let common = leaf.issuer().iter_common_name().next().and_then(|name| name.as_str().ok());
    common.map_or_else(|| leaf.issuer().to_string(), str::to_owned)
}

fn key_type(key: &SubjectPublicKeyInfo<'_>) -> KeyType {
    match key.parsed() {
        Ok(PublicKey::RSA(rsa)) => KeyType::Rsa(rsa.key_size()),
        Ok(PublicKey::EC(point)) => KeyType::Ec(point.key_size()),
        _ if key.algorithm.algorithm.to_id_string() == ED25519 => KeyType::Ed25519,
        _ => KeyType::Other,
    }
}

fn shape(chain: &[X509Certificate<'_>]) -> ChainShape {
    match chain {
        [only] if only.issuer() == only.subject() => ChainShape::SelfSigned,
        [_] => ChainShape::LeafAlone,
        more if more.windows(2).all(|pair| pair[0].issuer() == pair[1].subject()) => ChainShape::Ordered,
        _ => ChainShape::Disordered,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::fixtures::{self, Ca};

    fn exact(name: &str) -> HostPattern {
        HostPattern::Exact(name.into())
    }

    #[test]
    fn names_are_lower_case_with_wildcards_and_addresses() {
        let pair = fixtures::self_signed(&["Example.COM", "*.Example.com", "127.0.0.1", "::1"]);
        let expected = [
            exact("example.com"),
            HostPattern::Wildcard("example.com".into()),
            exact("127.0.0.1"),
            exact("::1"),
        ];
        assert_eq!(facts(&pair.cert).unwrap().names, expected);
    }

    #[test]
    fn covers_one_label_below_a_wildcard_and_literals_in_brackets() {
        let facts = facts(&fixtures::self_signed(&["*.example.com", "::1"]).cert).unwrap();
        for (host, expected) in [
            ("a.example.com", true),
            ("a.b.example.com", false),
            ("example.com", false),
            (".example.com", false),
            ("::1", true),
            ("[::1]", true),
        ] {
            assert_eq!(facts.covers(host), expected, "{host}");
        }
        assert!(facts.covers_pattern(&HostPattern::Wildcard("example.com".into())));
        assert!(!facts.covers_pattern(&HostPattern::Wildcard("a.example.com".into())));
    }

    #[test]
    fn dates_issuer_and_key_are_the_leafs() {
        let pair = Ca::new().leaf_within(&["a.test"], fixtures::day(2020, 1, 1), fixtures::day(2027, 1, 1));
        let facts = facts(&pair.cert).unwrap();
        assert_eq!(facts.not_after, UNIX_EPOCH + Duration::from_secs(1_798_761_600));
        assert_eq!(facts.issuer, "test CA");
        assert_eq!(facts.key, KeyType::Ec(256));
    }

    #[test]
    fn chain_shapes_are_told_apart() {
        let ca = Ca::new();
        let (leaf, stranger) = (ca.leaf(&["a.test"]), fixtures::self_signed(&["b.test"]));
        let disordered = [leaf.cert.clone(), stranger.cert.clone()].concat();
        for (pem, expected) in [
            (&stranger.cert, ChainShape::SelfSigned),
            (&leaf.cert, ChainShape::LeafAlone),
            (&ca.chain(&["a.test"]).cert, ChainShape::Ordered),
            (&disordered, ChainShape::Disordered),
        ] {
            assert_eq!(facts(pem).unwrap().chain, expected);
        }
    }

    #[test]
    fn broken_certificate_is_named_by_its_position() {
        let good = fixtures::self_signed(&["a.test"]).cert;
        let broken = b"-----BEGIN CERTIFICATE-----\nMAMCAQE=\n-----END CERTIFICATE-----\n";
        let both = [good.as_slice(), broken].concat();
        assert_eq!(facts(&both), Err(InspectError::Certificate { position: 2 }));
    }
}
