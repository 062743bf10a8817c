//! Signs what makes an account (RFC 8555 sections 6.2 and 7.3.4).
//!
//! Everything behind it is signed by the protocol's library. That one would make an account's key itself
//! where the CA wants an external account, and hand it out after the CA has answered: with the answer the
//! key would be lost, and with it the external account, which some CAs let be used once.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use rcgen::{KeyPair, PublicKeyData, SigningKey};
use rustls::SupportedCipherSuite;
use rustls::crypto::hash::HashAlgorithm;
use rustls::crypto::tls13::OkmBlock;
use serde_json::{Value, json};

use crate::tls::provider;

/// The block of SHA-256: longer HMAC keys are hashed first (RFC 2104 section 2).
const BLOCK: usize = 64;

/// The key of an account: ECDSA on P-256.
#[derive(Debug)]
pub struct AccountKey(KeyPair);

/// A key that no account can have, or that does not sign.
#[derive(Debug, thiserror::Error)]
pub enum JwsError {
    /// It is no PKCS #8, or of an unknown kind.
    #[error("is not readable: {0}")]
    Unreadable(#[source] rcgen::Error),
    /// It is of another kind.
    #[error("is not an ECDSA key on P-256")]
    Kind,
    /// It can't be made, or signs nothing.
    #[error("does not work: {0}")]
    Crypto(#[source] rcgen::Error),
    /// The provider lacks HMAC with SHA-256, or its signatures are unreadable.
    #[error("does not work with this build's cryptography")]
    Provider,
}

impl AccountKey {
    /// A new one.
    pub fn generate() -> Result<Self, JwsError> {
        KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map(Self).map_err(JwsError::Crypto)
    }

    /// The one of PEM text that was kept.
    pub fn read(pem: &str) -> Result<Self, JwsError> {
        let key = KeyPair::from_pem(pem).map_err(JwsError::Unreadable)?;
        // The point, uncompressed.
        let fits = key.algorithm() == &rcgen::PKCS_ECDSA_P256_SHA256 && key.der_bytes().len() == 65;
        if fits { Ok(Self(key)) } else { Err(JwsError::Kind) }
    }

    /// As it is kept.
    pub fn pem(&self) -> String {
        self.0.serialize_pem()
    }

    /// Its PKCS #8 in base64url.
    pub fn encoded(&self) -> String {
        BASE64.encode(self.0.serialized_der())
    }

    /// `payload` signed for `url`, with the public key in it: the body of newAccount.
    pub fn sign(&self, url: &str, nonce: &str, payload: &Value) -> Result<Value, JwsError> {
        let header = json!({ "alg": "ES256", "jwk": self.public(), "nonce": nonce, "url": url });
        let (protected, payload) = (BASE64.encode(header.to_string()), BASE64.encode(payload.to_string()));
        let signature = self.0.sign(format!("{protected}.{payload}").as_bytes()).map_err(JwsError::Crypto)?;
        let signature = fixed(&signature).ok_or(JwsError::Provider)?;
        Ok(json!({ "protected": protected, "payload": payload, "signature": BASE64.encode(signature) }))
    }

    /// This key signed with that of an external account, for newAccount at `url`.
    pub fn bind(&self, url: &str, key_id: &str, secret: &[u8]) -> Result<Value, JwsError> {
        let header = json!({ "alg": "HS256", "kid": key_id, "url": url });
        let (protected, payload) =
            (BASE64.encode(header.to_string()), BASE64.encode(self.public().to_string()));
        let tag =
            hmac_sha256(secret, format!("{protected}.{payload}").as_bytes()).ok_or(JwsError::Provider)?;
        Ok(json!({ "protected": protected, "payload": payload, "signature": BASE64.encode(tag) }))
    }

    /// RFC 7517; `read` and `generate` see that there are two coordinates of 32 bytes.
    fn public(&self) -> Value {
        let (x, y) = self.0.der_bytes().get(1..).unwrap_or_default().split_at_checked(32).unwrap_or_default();
        json!({ "kty": "EC", "crv": "P-256", "x": BASE64.encode(x), "y": BASE64.encode(y) })
    }
}

/// The bytes of an external account's key file: base64url as RFC 8555 section 7.3.4 has it, or plain base64.
pub fn secret(file: &[u8]) -> Option<Vec<u8>> {
    let text: String = str::from_utf8(file).ok()?.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    let text = text.trim_end_matches('=').replace('+', "-").replace('/', "_");
    BASE64.decode(text).ok().filter(|secret| !secret.is_empty())
}

/// Both numbers of a DER signature (RFC 3279 section 2.2.3) as JWS has them: 32 bytes each (RFC 7518 section 3.4).
fn fixed(der: &[u8]) -> Option<[u8; 64]> {
    let (body, rest) = value(der, 0x30)?;
    let (r, body) = value(body, 0x02)?;
    let (s, end) = value(body, 0x02)?;
    let mut both = [0; 64];
    for (number, place) in [(r, 32), (s, 64)] {
        let digits = &number[number.iter().take_while(|byte| **byte == 0).count()..];
        let start = (place - digits.len().min(place)).max(place - 32);
        both[start..place].copy_from_slice(digits.get(..place - start).filter(|_| digits.len() <= 32)?);
    }
    (rest.is_empty() && end.is_empty()).then_some(both)
}

/// The value of the element at the front, which is shorter than 128 bytes, and what is behind it.
fn value(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&[found, length], rest) = der.split_first_chunk::<2>()?;
    if found == tag && length < 0x80 { rest.split_at_checked(usize::from(length)) } else { None }
}

fn hmac_sha256(key: &[u8], message: &[u8]) -> Option<Vec<u8>> {
    let suite = provider().cipher_suites.iter().find_map(|suite| match suite {
        SupportedCipherSuite::Tls13(suite)
            if suite.common.hash_provider.algorithm() == HashAlgorithm::SHA256 =>
        {
            Some(*suite)
        }
        _ => None,
    })?;
    let hashed = (key.len() > BLOCK).then(|| suite.common.hash_provider.hash(key));
    let key = OkmBlock::new(hashed.as_ref().map_or(key, AsRef::as_ref));
    Some(suite.hkdf_provider.hmac_sign(&key, message).as_ref().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn tags_are_those_of_rfc_4231() {
        for (key, message, tag) in [
            (
                &b"Jefe"[..],
                &b"what do ya want for nothing?"[..],
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            (
                &[0xaa; 131],
                b"Test Using Larger Than Block-Size Key - Hash Key First",
                "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
            ),
        ] {
            assert_eq!(hex(&hmac_sha256(key, message).unwrap()), tag);
        }
    }

    #[test]
    fn signatures_become_two_numbers_of_one_size() {
        let der = |r: &[u8], s: &[u8]| {
            let number = |n: &[u8]| [&[2, u8::try_from(n.len()).unwrap()], n].concat();
            let body = [number(r), number(s)].concat();
            [&[0x30, u8::try_from(body.len()).unwrap()], &body[..]].concat()
        };
        let both = fixed(&der(&[&[0][..], &[0xff; 32]].concat(), &[7])).unwrap();
        assert_eq!(both[..32], [0xff; 32]);
        assert_eq!((&both[32..63], both[63]), (&[0; 31][..], 7));
        for broken in [
            &b""[..],
            &[0x30, 0x80],
            &[0x31, 0],
            &der(&[1; 33], &[1]),
            &[&der(&[1], &[1])[..], &[0]].concat(),
        ] {
            assert_eq!(fixed(broken), None, "{broken:?}");
        }
        for _ in 0..300 {
            let key = AccountKey::generate().unwrap();
            assert!(fixed(&key.0.sign(b"x").unwrap()).is_some());
        }
    }

    #[test]
    fn the_library_reads_the_key_that_is_kept() {
        let key = AccountKey::generate().unwrap();
        let again = AccountKey::read(&key.pem()).unwrap();
        assert_eq!(again.public(), key.public());
        let der = BASE64.decode(key.encoded()).unwrap();
        assert!(instant_acme::Key::from_pkcs8_der(der.into()).is_ok());
        let other = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap().serialize_pem();
        assert!(matches!(AccountKey::read(&other), Err(JwsError::Kind)));
        assert!(AccountKey::read("-----BEGIN").is_err());
    }

    #[test]
    fn secrets_are_read_as_cas_print_them() {
        assert_eq!(secret(b" -_-_\n").unwrap(), secret(b"+/+/").unwrap());
        assert_eq!(secret(b"YQ==").unwrap(), b"a");
        assert_eq!((secret(b"\n"), secret(b"a b!"), secret(b"\xff")), (None, None, None));
    }
}
