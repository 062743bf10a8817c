//! Keys of certificates and the requests that they sign (RFC 2986).

use std::sync::Arc;

use rcgen::{CertificateParams, DistinguishedName, KeyPair, SanType};

use crate::acme::failure::{FailedName, Failure, Kind};
use crate::acme::{names, problem};
use crate::config::model::acme::KeyType;

/// A new key.
pub fn generate(kind: KeyType) -> Result<KeyPair, Failure> {
    let made = match kind {
        KeyType::P256 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256),
        KeyType::P384 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384),
        KeyType::Rsa2048 => return rsa(),
    };
    made.map_err(|error| problem::plain(Kind::Local, &format!("a key cannot be made: {error}")))
}

#[cfg(feature = "aws-lc")]
fn rsa() -> Result<KeyPair, Failure> {
    let made = KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048);
    made.map_err(|error| problem::plain(Kind::Local, &format!("an RSA key cannot be made: {error}")))
}

#[cfg(not(feature = "aws-lc"))]
fn rsa() -> Result<KeyPair, Failure> {
    let text = "this porchd is built with ring, which makes no RSA keys; set `acme.key_type` to p256 or p384";
    Err(problem::plain(Kind::Refused, text))
}

/// The key of PEM text that was kept.
pub fn read(pem: &str) -> Result<KeyPair, rcgen::Error> {
    KeyPair::from_pem(pem)
}

/// The DER of a request for `names`, without a subject: CAs choose one.
pub fn request(names: &[Arc<str>], key: &KeyPair) -> Result<Vec<u8>, Failure> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    let refused = |name: &Arc<str>, text: String| FailedName { name: name.clone(), challenge: None, text };
    let mut failed = Vec::new();
    for name in names {
        match (names::address(name), (&**name).try_into()) {
            (Some(ip), _) => params.subject_alt_names.push(SanType::IpAddress(ip)),
            (None, Ok(host)) => params.subject_alt_names.push(SanType::DnsName(host)),
            (None, Err(error)) => {
                failed.push(refused(name, format!("is no name for a certificate: {error}")))
            }
        }
    }
    if !failed.is_empty() {
        return Err(problem::of_names(failed));
    }
    let request = params.serialize_request(key);
    let request = request.map_err(|error| {
        problem::plain(Kind::Local, &format!("the certificate request cannot be signed: {error}"))
    })?;
    Ok(request.der().to_vec())
}

#[cfg(test)]
mod tests {
    use x509_parser::certification_request::X509CertificationRequest;
    use x509_parser::prelude::FromDer;

    use super::*;

    #[test]
    fn every_kind_of_key_signs_a_request_and_is_read_back() {
        for kind in [KeyType::P256, KeyType::P384, KeyType::Rsa2048] {
            if cfg!(not(feature = "aws-lc")) && kind == KeyType::Rsa2048 {
                assert_eq!(generate(kind).unwrap_err().kind, Kind::Refused);
                continue;
            }
            let key = generate(kind).unwrap();
            let key = read(&key.serialize_pem()).unwrap();
            let der = request(&["a.test".into(), "[::1]".into()], &key).unwrap();
            let (_, parsed) = X509CertificationRequest::from_der(&der).unwrap();
            assert_eq!(parsed.certification_request_info.subject.iter().count(), 0);
        }
    }

    #[test]
    fn names_outside_of_ascii_are_the_ones_that_fail() {
        let key = generate(KeyType::P256).unwrap();
        let failure = request(&["a.test".into(), "m\u{fc}nchen.test".into()], &key).unwrap_err();
        assert!(matches!(&failure.kind, Kind::Names(names) if names.len() == 1), "{failure:?}");
    }
}
