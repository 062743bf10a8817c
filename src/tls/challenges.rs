//! What proves control over a name while a CA looks: documents for http-01, certificates for tls-alpn-01.
//!
//! One object for all threads. An offer lasts as long as its guard.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use rcgen::{CertificateParams, CustomExtension, KeyPair, SanType};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use rustls::server::NoServerSessionStorage;
use rustls::sign::{CertifiedKey, SingleCertAndKey};

use crate::tls::provider;

/// The protocol that a CA offers alone (RFC 8737 section 6.2).
pub const ALPN: &[u8] = b"acme-tls/1";

/// What is offered now; clones are the same object.
#[derive(Debug, Clone, Default)]
pub struct Challenges(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    offered: ArcSwap<Offered>,
    // Writers take turns; readers never wait.
    writing: Mutex<()>,
}

#[derive(Debug, Clone, Default)]
struct Offered {
    documents: HashMap<Arc<str>, Arc<str>>,
    certificates: HashMap<Arc<str>, Arc<ServerConfig>>,
}

/// Something that is offered until this is dropped.
#[derive(Debug)]
#[must_use = "dropping it ends the offer"]
pub struct Offer {
    challenges: Challenges,
    key: Key,
}

/// Where it is offered, and what: another offer may have taken its place.
#[derive(Debug)]
enum Key {
    Document(Arc<str>, Arc<str>),
    Certificate(Arc<str>, Arc<ServerConfig>),
}

/// A challenge's certificate that can't be made.
#[derive(Debug, thiserror::Error)]
#[error("the certificate for tls-alpn-01 of {name} cannot be made: {reason}")]
pub struct ChallengeError {
    name: String,
    reason: String,
}

impl Challenges {
    /// The document for `token`, if there is one: the body of `/.well-known/acme-challenge/TOKEN`.
    pub fn document(&self, token: &str) -> Option<Arc<str>> {
        self.0.offered.load().documents.get(token).cloned()
    }

    /// The settings for a handshake that offers [`ALPN`] and asks for `sni` (lower case, no trailing dot).
    pub fn handshake(&self, sni: &str) -> Option<Arc<ServerConfig>> {
        self.0.offered.load().certificates.get(sni).cloned()
    }

    /// Offers `key_authorization` under `token` (RFC 8555 section 8.3).
    pub fn offer_document(&self, token: &str, key_authorization: &str) -> Offer {
        let (token, document): (Arc<str>, Arc<str>) = (token.into(), key_authorization.into());
        self.change(|offered| drop(offered.documents.insert(token.clone(), document.clone())));
        Offer { challenges: self.clone(), key: Key::Document(token, document) }
    }

    /// Offers a certificate for `name` (a host or an IP address) that holds the SHA-256 `digest` of the key
    /// authorization (RFC 8737 section 3, RFC 8738 section 6).
    pub fn offer_certificate(&self, name: &str, digest: &[u8]) -> Result<Offer, ChallengeError> {
        let failed =
            |reason: &dyn fmt::Display| ChallengeError { name: name.into(), reason: reason.to_string() };
        let config = Arc::new(challenge_config(name, digest).map_err(|error| failed(&*error))?);
        let sni: Arc<str> = asked_by(name).into();
        self.change(|offered| drop(offered.certificates.insert(sni.clone(), config.clone())));
        Ok(Offer { challenges: self.clone(), key: Key::Certificate(sni, config) })
    }

    fn change(&self, change: impl FnOnce(&mut Offered)) {
        let _turn = self.0.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut offered = Offered::clone(&self.0.offered.load());
        change(&mut offered);
        self.0.offered.store(Arc::new(offered));
    }
}

impl Drop for Offer {
    fn drop(&mut self) {
        self.challenges.change(|offered| match &self.key {
            Key::Document(token, document) => withdraw(&mut offered.documents, token, document),
            Key::Certificate(sni, config) => withdraw(&mut offered.certificates, sni, config),
        });
    }
}

fn withdraw<T: ?Sized>(offered: &mut HashMap<Arc<str>, Arc<T>>, key: &Arc<str>, ended: &Arc<T>) {
    if offered.get(key).is_some_and(|there| Arc::ptr_eq(there, ended)) {
        offered.remove(key);
    }
}

fn address(name: &str) -> Option<IpAddr> {
    let literal = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
    literal.parse().ok()
}

/// The name that a CA asks for in the handshake: an address in its reverse-lookup form (RFC 8738 section 6).
fn asked_by(name: &str) -> String {
    match address(name) {
        None => name.to_ascii_lowercase(),
        Some(IpAddr::V4(ip)) => {
            let [a, b, c, d] = ip.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        Some(IpAddr::V6(ip)) => {
            let nibbles = ip.octets().into_iter().rev().flat_map(|byte| [byte & 15, byte >> 4]);
            nibbles.map(|nibble| format!("{nibble:x}.")).collect::<String>() + "ip6.arpa"
        }
    }
}

fn challenge_config(name: &str, digest: &[u8]) -> Result<ServerConfig, Box<dyn std::error::Error>> {
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![match address(name) {
        Some(ip) => SanType::IpAddress(ip),
        None => SanType::DnsName(name.try_into()?),
    }];
    if digest.len() != 32 {
        return Err("the digest is not one of SHA-256".into());
    }
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let key = KeyPair::generate()?;
    let cert = params.self_signed(&key)?;
    let key = PrivateKeyDer::try_from(key.serialize_der())?;
    let key = provider().key_provider.load_private_key(key)?;
    let certified = CertifiedKey::new(vec![cert.der().clone()], key);
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        // Not `with_single_cert`: that parses the leaf, and webpki refuses its critical extension.
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    config.alpn_protocols = vec![ALPN.to_vec()];
    // Nobody comes back, and nothing of this may be resumed.
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offer_lasts_as_long_as_its_guard() {
        let challenges = Challenges::default();
        let offer = challenges.offer_document("token", "token.thumb");
        let other = challenges.offer_certificate("a.test", &[7; 32]).unwrap();
        assert_eq!(challenges.clone().document("token").as_deref(), Some("token.thumb"));
        assert!(challenges.handshake("a.test").is_some());
        drop(offer);
        assert_eq!(challenges.document("token"), None);
        assert!(challenges.handshake("a.test").is_some());
        drop(other);
        assert!(challenges.handshake("a.test").is_none());
    }

    #[test]
    fn an_end_leaves_the_offer_that_took_its_place() {
        let challenges = Challenges::default();
        let first = (
            challenges.offer_document("t", "t.old"),
            challenges.offer_certificate("a.test", &[1; 32]).unwrap(),
        );
        let second = (
            challenges.offer_document("t", "t.new"),
            challenges.offer_certificate("A.test", &[2; 32]).unwrap(),
        );
        drop(first);
        assert_eq!(challenges.document("t").as_deref(), Some("t.new"));
        assert!(challenges.handshake("a.test").is_some());
        drop(second);
        assert!(challenges.document("t").is_none() && challenges.handshake("a.test").is_none());
    }

    #[test]
    fn addresses_are_asked_for_by_their_reverse_names() {
        for (name, sni) in [
            ("A.test", "a.test"),
            ("192.0.2.10", "10.2.0.192.in-addr.arpa"),
            ("[2001:db8::1]", "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa"),
        ] {
            assert_eq!(asked_by(name), sni);
            let challenges = Challenges::default();
            let _offer = challenges.offer_certificate(name, &[7; 32]).unwrap();
            assert!(challenges.handshake(sni).is_some(), "{sni}");
        }
    }

    #[test]
    fn a_name_or_digest_that_cannot_be_is_an_error() {
        let challenges = Challenges::default();
        assert!(challenges.offer_certificate("a.test", &[7; 31]).is_err());
        let told = challenges.offer_certificate("münchen.test", &[7; 32]).unwrap_err().to_string();
        assert!(
            told.starts_with("the certificate for tls-alpn-01 of münchen.test cannot be made: "),
            "{told}"
        );
    }
}
