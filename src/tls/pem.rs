//! Chains and keys out of PEM text (RFC 7468), with errors that say what the file is instead.
//!
//! It does not look into certificates; `inspect` does.

use memchr::memmem;
use rustls::pki_types::pem::{Error, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// What a PEM file lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PemError {
    /// There is no certificate in it.
    #[error("holds no certificate; it needs -----BEGIN CERTIFICATE----- (for DER: openssl x509 -inform der)")]
    NoCertificate,
    /// There is a key where the chain should be.
    #[error("holds a private key and no certificate; are `cert` and `key` swapped?")]
    KeyInstead,
    /// There is no key in it.
    #[error("holds no private key; it needs -----BEGIN PRIVATE KEY----- (for DER: openssl pkey -inform der)")]
    NoKey,
    /// There is a certificate where the key should be.
    #[error("holds a certificate and no private key; are `cert` and `key` swapped?")]
    CertificateInstead,
    /// The key needs a passphrase.
    #[error("holds an encrypted key and nobody types a passphrase at a start; decrypt it with openssl pkey")]
    Encrypted,
    /// The text breaks off inside of a section.
    #[error("has a section without an END line; is the file cut short?")]
    CutShort,
    /// The text is no PEM.
    #[error("is not valid PEM; copy the file again")]
    Malformed,
}

/// The certificates of `pem` in their order, at least one.
pub fn chain(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let chain = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>().map_err(reason)?;
    if !chain.is_empty() {
        return Ok(chain);
    }
    Err(if has(pem, "PRIVATE KEY-----") { PemError::KeyInstead } else { PemError::NoCertificate })
}

/// The first private key of `pem`: PKCS#8, PKCS#1 or SEC1.
pub fn key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, PemError> {
    match PrivateKeyDer::from_pem_slice(pem) {
        Ok(key) => Ok(key),
        // PKCS#8 has a label of its own for it; the older forms say so in a header (RFC 1421 section 4.6.1.1).
        Err(_) if has(pem, "-----BEGIN ENCRYPTED PRIVATE KEY") || has(pem, "Proc-Type: 4,ENCRYPTED") => {
            Err(PemError::Encrypted)
        }
        Err(Error::NoItemsFound) if has(pem, "-----BEGIN CERTIFICATE") => Err(PemError::CertificateInstead),
        Err(Error::NoItemsFound) => Err(PemError::NoKey),
        Err(error) => Err(reason(error)),
    }
}

fn reason(error: Error) -> PemError {
    match error {
        Error::MissingSectionEnd { .. } => PemError::CutShort,
        _ => PemError::Malformed,
    }
}

fn has(pem: &[u8], text: &str) -> bool {
    memmem::find(pem, text.as_bytes()).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::fixtures;

    #[test]
    fn chain_keeps_the_order_of_the_file() {
        let (a, b) = (fixtures::self_signed(&["a.test"]), fixtures::self_signed(&["b.test"]));
        let both = [a.cert.as_slice(), b"some words between\n", &a.key, &b.cert].concat();
        let chain = chain(&both).unwrap();
        assert_eq!(chain, [super::chain(&a.cert).unwrap(), super::chain(&b.cert).unwrap()].concat());
    }

    #[test]
    fn chain_says_what_the_file_is_instead() {
        let pair = fixtures::self_signed(&["a.test"]);
        let cut = &pair.cert[..pair.cert.len() / 2];
        let garbled = b"-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n";
        for (pem, expected) in [
            (&b""[..], PemError::NoCertificate),
            (b"\x30\x82\x01\x00", PemError::NoCertificate),
            (&pair.key, PemError::KeyInstead),
            (cut, PemError::CutShort),
            (garbled, PemError::Malformed),
            (b"-----BEGIN CERTIFICATE\n", PemError::Malformed),
        ] {
            assert_eq!(chain(pem), Err(expected), "{}", String::from_utf8_lossy(pem));
        }
    }

    #[test]
    fn key_says_what_the_file_is_instead() {
        let pair = fixtures::self_signed(&["a.test"]);
        let legacy = b"-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n";
        let pkcs8 = b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
        for (pem, expected) in [
            (&b""[..], PemError::NoKey),
            (&pair.cert, PemError::CertificateInstead),
            (legacy, PemError::Encrypted),
            (pkcs8, PemError::Encrypted),
            (&pair.key[..pair.key.len() - 30], PemError::CutShort),
        ] {
            assert_eq!(key(pem).unwrap_err(), expected, "{}", String::from_utf8_lossy(pem));
        }
    }

    #[test]
    fn key_is_found_beside_certificates_and_parameters() {
        let pair = fixtures::self_signed(&["a.test"]);
        let parameters = b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n";
        let combined = [pair.cert.as_slice(), parameters, &pair.key].concat();
        assert_eq!(key(&combined).unwrap(), key(&pair.key).unwrap());
    }
}
