//! The certificates that are served, each with its ready TLS settings, found by the name a client asks for.
//!
//! A store never changes; `live` swaps whole ones. It neither reads files (`load`) nor signs (`internal_ca`).

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::{TLS12, TLS13};

use crate::config::model::{HostPattern, TlsVersion};
use crate::provision::PemPair;
use crate::tls::inspect::{self, Facts, InspectError};
use crate::tls::internal_ca::InternalCa;
use crate::tls::pem::{self, PemError};
use crate::tls::provider;
use crate::tls::tickets::Tickets;

/// Settings that every certificate is served with.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The least protocol version.
    pub min_version: TlsVersion,
    /// What sessions are resumed by.
    pub tickets: Tickets,
}

/// Where a certificate comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// This file.
    File(PathBuf),
    /// It was ordered for this site.
    Acme(Arc<str>),
    /// The internal CA.
    InternalCa,
    /// Made here until there is one, self-signed.
    StandIn,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => write!(f, "certificate {}", path.display()),
            Self::Acme(site) => write!(f, "certificate of site \"{site}\""),
            Self::InternalCa => f.write_str("certificate of the internal CA"),
            Self::StandIn => f.write_str("stand-in certificate"),
        }
    }
}

/// One certificate, ready to be served.
#[derive(Debug)]
pub struct Served {
    /// What it says: names, dates, issuer.
    pub facts: Facts,
    /// Where it comes from.
    pub origin: Origin,
    /// The settings for handshakes: ALPN h2 and http/1.x, the certificate, shared tickets.
    pub config: Arc<ServerConfig>,
    settings: Settings,
    cert: Vec<u8>,
    key_hash: u64,
}

/// A certificate and key that can't be served.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ServedError {
    /// The chain's file is at fault.
    #[error(transparent)]
    Chain(#[from] InspectError),
    /// The key's file is at fault.
    #[error(transparent)]
    Key(PemError),
    /// The key is of a kind that is not supported.
    #[error("holds a key of an unsupported kind; make one with openssl ecparam -name prime256v1 -genkey")]
    UnsupportedKey,
    /// The key belongs to another certificate.
    #[error("the key does not belong to the certificate; both must come from the same issue or renewal")]
    KeyMismatch,
    /// The key belongs to a certificate further down in the chain's file.
    #[error(
        "the key belongs to certificate number {position} of the chain; the host's own must be the first"
    )]
    LeafNotFirst {
        /// Its place in the file, from 1.
        position: usize,
    },
    /// The provider can't do what is asked.
    #[error("cannot be served: {0}")]
    Tls(rustls::Error),
}

impl Served {
    /// Makes `pair` ready to be served.
    pub fn new(origin: Origin, pair: &PemPair, settings: &Settings) -> Result<Self, ServedError> {
        let chain = pem::chain(&pair.cert).map_err(InspectError::from)?;
        let facts = inspect::facts_of(&chain)?;
        let certified = certify(chain, &pair.key)?;
        let config = Arc::new(server_config(certified, settings).map_err(ServedError::Tls)?);
        let (cert, key_hash) = (pair.cert.clone(), hash(&pair.key));
        Ok(Self { facts, origin, config, settings: settings.clone(), cert, key_hash })
    }

    /// Whether the certificate is good for `host` (lower case, no port, no trailing dot).
    pub fn covers(&self, host: &str) -> bool {
        self.facts.covers(host)
    }

    /// Whether making `pair` ready with `settings` would give the same again.
    pub fn is_same(&self, origin: &Origin, pair: &PemPair, settings: &Settings) -> bool {
        self.origin == *origin
            && self.cert == pair.cert
            && self.key_hash == hash(&pair.key)
            && self.has_settings(settings)
    }

    /// Whether it is served with `settings`.
    pub fn has_settings(&self, settings: &Settings) -> bool {
        self.settings.min_version == settings.min_version && self.settings.tickets.is(&settings.tickets)
    }
}

fn certify(chain: Vec<CertificateDer<'static>>, key: &[u8]) -> Result<CertifiedKey, ServedError> {
    let key = pem::key(key).map_err(ServedError::Key)?;
    let key = provider().key_provider.load_private_key(key).map_err(|_| ServedError::UnsupportedKey)?;
    if let Some(public) = key.public_key() {
        match chain.iter().position(|der| inspect::public_key(der) == Some(public.as_ref())) {
            Some(0) => {}
            Some(index) => return Err(ServedError::LeafNotFirst { position: index + 1 }),
            None => return Err(ServedError::KeyMismatch),
        }
    }
    Ok(CertifiedKey::new(chain, key))
}

fn server_config(certified: CertifiedKey, settings: &Settings) -> Result<ServerConfig, rustls::Error> {
    let versions: &[&rustls::SupportedProtocolVersion] = match settings.min_version {
        TlsVersion::Tls12 => &[&TLS13, &TLS12],
        TlsVersion::Tls13 => &[&TLS13],
    };
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    // A client that offers nothing of this is refused (RFC 7301 section 3.2), so the old one is listed too:
    // curl --http1.0 offers it alone.
    config.alpn_protocols = [&b"h2"[..], b"http/1.1", b"http/1.0"].map(<[u8]>::to_vec).into();
    // rustls resumes only under the same SNI, so tickets of one certificate's clients open no other's site.
    config.ticketer = Arc::clone(&settings.tickets.ticketer);
    config.session_storage = Arc::clone(&settings.tickets.sessions);
    config.send_tls13_tickets = 2;
    // Early data can be replayed (RFC 8446 section 8), and Synapse acts on most requests.
    config.max_early_data_size = 0;
    Ok(config)
}

/// Tells keys apart without keeping a second copy of them. A collision would only hide that a key was
/// exchanged under the same certificate, which is an error of the file and not of the certificate in use.
fn hash(key: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish()
}

/// A certificate and the hosts that it is configured for; none: those that it names.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The configured hosts.
    pub hosts: Vec<HostPattern>,
    /// The certificate.
    pub served: Arc<Served>,
}

/// All certificates of one load.
#[derive(Debug)]
pub struct Store {
    files: Rank,
    others: Rank,
    all: Vec<Arc<Served>>,
    ca: Option<Arc<InternalCa>>,
}

impl Store {
    /// Indexes `files` and, for hosts that no file is for, `others`: of several for one host the first wins,
    /// and the first of all is the default.
    pub fn new(files: Vec<Entry>, others: Vec<Entry>, ca: Option<Arc<InternalCa>>) -> Self {
        let ranks = (Rank::new(&files), Rank::new(&others));
        let all = files.into_iter().chain(others).map(|entry| entry.served).collect();
        Self { files: ranks.0, others: ranks.1, all, ca }
    }

    /// The certificate for a handshake that asks for `sni`; `None` only when there is no certificate at all.
    pub fn lookup(&self, sni: Option<&str>) -> Option<&Arc<Served>> {
        let found = sni.and_then(|name| {
            let name = name.strip_suffix('.').unwrap_or(name);
            match name.bytes().any(|byte| byte.is_ascii_uppercase()) {
                true => self.find(&name.to_ascii_lowercase()),
                false => self.find(name),
            }
        });
        found.or_else(|| self.all.first())
    }

    /// The certificate for a handshake that asks for no name, as those for addresses do (RFC 6066 section 3),
    /// from a client that reached `address`.
    pub fn lookup_reached(&self, address: IpAddr) -> Option<&Arc<Served>> {
        let host = address.to_canonical().to_string();
        let configured = self.files.configured.find(&host).or_else(|| self.others.configured.find(&host));
        // The internal CA names this machine's own addresses whether anybody wants them or not.
        configured.filter(|served| served.origin != Origin::InternalCa).or_else(|| self.all.first())
    }

    /// The certificate chosen for the hosts that `pattern` means, without the default.
    pub fn chosen(&self, pattern: &HostPattern) -> Option<&Arc<Served>> {
        self.files.chosen(pattern).or_else(|| self.others.chosen(pattern))
    }

    /// Whether a file answers for the hosts that `pattern` means, so that nothing need be ordered for them.
    pub fn has_file_for(&self, pattern: &HostPattern) -> bool {
        self.files.chosen(pattern).is_some()
    }

    /// Every certificate, the default one first.
    pub fn all(&self) -> &[Arc<Served>] {
        &self.all
    }

    /// Whether any lookup finds `served`.
    pub fn serves(&self, served: &Arc<Served>) -> bool {
        let mut found = self.files.all().chain(self.others.all()).chain(self.all.first());
        found.any(|other| Arc::ptr_eq(other, served))
    }

    /// Whether every lookup finds the same objects in `other`: to swap the one for the other changes nothing.
    pub fn same(&self, other: &Self) -> bool {
        self.all.len() == other.all.len()
            && self.all.iter().zip(&other.all).all(|(one, other)| Arc::ptr_eq(one, other))
            && self.files.same(&other.files)
            && self.others.same(&other.others)
    }

    /// The internal CA, if it signed any of them.
    pub fn ca(&self) -> Option<&Arc<InternalCa>> {
        self.ca.as_ref()
    }

    fn find(&self, host: &str) -> Option<&Arc<Served>> {
        self.files.find(host).or_else(|| self.others.find(host))
    }
}

/// Certificates of one rank: those that are configured for a host before those that only name it.
#[derive(Debug, Default)]
struct Rank {
    configured: Index,
    named: Index,
}

impl Rank {
    fn new(entries: &[Entry]) -> Self {
        let mut rank = Self::default();
        for Entry { hosts, served } in entries {
            let hosts = if hosts.is_empty() { &served.facts.names } else { hosts };
            hosts.iter().for_each(|host| rank.configured.add(host, served));
            served.facts.names.iter().for_each(|name| rank.named.add(name, served));
        }
        rank
    }

    fn chosen(&self, pattern: &HostPattern) -> Option<&Arc<Served>> {
        match pattern {
            HostPattern::Exact(host) => self.find(inspect::bare(host)),
            HostPattern::Wildcard(parent) => {
                self.configured.wildcard.get(parent).or_else(|| self.named.wildcard.get(parent))
            }
        }
    }

    fn find(&self, host: &str) -> Option<&Arc<Served>> {
        self.configured.find(host).or_else(|| self.named.find(host))
    }

    fn all(&self) -> impl Iterator<Item = &Arc<Served>> {
        self.configured.all().chain(self.named.all())
    }

    fn same(&self, other: &Self) -> bool {
        self.configured.same(&other.configured) && self.named.same(&other.named)
    }
}

/// Certificates by host.
#[derive(Debug, Default)]
struct Index {
    exact: HashMap<Arc<str>, Arc<Served>>,
    wildcard: HashMap<Arc<str>, Arc<Served>>,
}

impl Index {
    fn add(&mut self, pattern: &HostPattern, served: &Arc<Served>) {
        let (map, name) = match pattern {
            HostPattern::Exact(host) => (&mut self.exact, inspect::bare(host)),
            HostPattern::Wildcard(parent) => (&mut self.wildcard, &**parent),
        };
        map.entry(name.into()).or_insert_with(|| Arc::clone(served));
    }

    fn all(&self) -> impl Iterator<Item = &Arc<Served>> {
        self.exact.values().chain(self.wildcard.values())
    }

    fn find(&self, host: &str) -> Option<&Arc<Served>> {
        self.exact.get(host).or_else(|| {
            // A wildcard stands for exactly one label (RFC 9525 section 6.3).
            let (label, parent) = host.split_once('.')?;
            if label.is_empty() { None } else { self.wildcard.get(parent) }
        })
    }

    fn same(&self, other: &Self) -> bool {
        let same = |one: &HashMap<Arc<str>, Arc<Served>>, other: &HashMap<Arc<str>, Arc<Served>>| {
            let found = |(host, served): (&Arc<str>, _)| {
                other.get(host).is_some_and(|other| Arc::ptr_eq(served, other))
            };
            one.len() == other.len() && one.iter().all(found)
        };
        same(&self.exact, &other.exact) && same(&self.wildcard, &other.wildcard)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::fixtures::{self, host};

    fn entry(name: &str, hosts: &[&str], names: &[&str], settings: &Settings) -> Entry {
        let origin = Origin::File(name.into());
        let served = Arc::new(Served::new(origin, &fixtures::self_signed(names), settings).unwrap());
        Entry { hosts: hosts.iter().map(|text| host(text)).collect(), served }
    }

    fn store(entries: &[(&str, &[&str], &[&str])]) -> Store {
        let settings = Settings { min_version: TlsVersion::Tls12, tickets: Tickets::new().unwrap() };
        Store::new(
            entries.iter().map(|(n, hosts, names)| entry(n, hosts, names, &settings)).collect(),
            Vec::new(),
            None,
        )
    }

    fn origin(served: Option<&Arc<Served>>) -> &str {
        match &served.unwrap().origin {
            Origin::File(path) => path.to_str().unwrap(),
            other => panic!("{other}"),
        }
    }

    #[test]
    fn configured_hosts_win_over_names_and_exact_ones_over_wildcards() {
        let store = store(&[
            ("default", &[], &["default.test"]),
            ("wild", &["*.a.test"], &["*.a.test", "a.test"]),
            ("exact", &["x.a.test"], &["x.a.test", "y.a.test", "z.b.test"]),
            ("late", &["x.a.test", "b.test"], &["x.a.test", "*.b.test"]),
        ]);
        for (sni, expected) in [
            ("x.a.test", "exact"),
            ("X.A.Test", "exact"),
            ("x.a.test.", "exact"),
            ("y.a.test", "wild"),
            ("a.test", "wild"),
            ("b.test", "late"),
            ("z.b.test", "exact"),
            ("y.b.test", "late"),
            ("u.v.b.test", "default"),
            (".b.test", "default"),
            ("", "default"),
            (".", "default"),
        ] {
            assert_eq!(origin(store.lookup(Some(sni))), expected, "{sni}");
        }
        assert_eq!(origin(store.lookup(None)), "default");
    }

    #[test]
    fn chosen_leaves_the_default_out() {
        let store = store(&[("one", &[], &["a.test", "*.w.test"])]);
        for (pattern, found) in
            [("a.test", true), ("x.w.test", true), ("*.w.test", true), ("b.test", false), ("*.a.test", false)]
        {
            assert_eq!(store.chosen(&host(pattern)).is_some(), found, "{pattern}");
        }
    }

    #[test]
    fn empty_store_finds_nothing() {
        assert!(store(&[]).lookup(None).is_none());
        assert!(store(&[]).lookup(Some("a.test")).is_none());
    }

    #[test]
    fn stores_are_the_same_when_every_lookup_is() {
        let settings = Settings { min_version: TlsVersion::Tls12, tickets: Tickets::new().unwrap() };
        let one = entry("one", &["a.test"], &["a.test", "b.test"], &settings);
        let two = entry("two", &[], &["*.a.test"], &settings);
        let store = |files: &[&Entry], others: &[&Entry]| {
            let own = |entries: &[&Entry]| entries.iter().map(|&entry| entry.clone()).collect();
            Store::new(own(files), own(others), None)
        };
        let base = store(&[&one, &two], &[]);
        assert!(base.same(&store(&[&one, &two], &[])));
        let fewer = Entry { hosts: Vec::new(), ..one.clone() };
        let again = entry("one", &["a.test"], &["a.test", "b.test"], &settings);
        for other in [
            store(&[&two, &one], &[]),
            store(&[&one], &[]),
            store(&[&one], &[&two]),
            store(&[&fewer, &two], &[]),
            store(&[&again, &two], &[]),
        ] {
            assert!(!base.same(&other) && !other.same(&base));
        }
    }

    #[test]
    fn files_win_over_others_in_every_form() {
        let settings = Settings { min_version: TlsVersion::Tls12, tickets: Tickets::new().unwrap() };
        let wild = entry("wild", &[], &["*.a.test"], &settings);
        let exact = entry("exact", &["x.a.test"], &["x.a.test", "b.test"], &settings);
        let store = Store::new(vec![wild], vec![exact], None);
        for (sni, expected) in [("x.a.test", "wild"), ("b.test", "exact"), ("c.test", "wild")] {
            assert_eq!(origin(store.lookup(Some(sni))), expected, "{sni}");
        }
    }

    #[test]
    fn client_without_a_name_gets_the_certificate_of_the_address_that_it_reached() {
        let settings = Settings { min_version: TlsVersion::Tls12, tickets: Tickets::new().unwrap() };
        let default = entry("default", &["a.test"], &["a.test", "192.0.2.9"], &settings);
        let four = entry("four", &["192.0.2.1"], &["192.0.2.1"], &settings);
        let six = entry("six", &["[2001:db8::1]"], &["2001:db8::1"], &settings);
        let store = Store::new(vec![default, four], vec![six], None);
        for (address, expected) in [
            ("192.0.2.1", "four"),
            ("::ffff:192.0.2.1", "four"),
            ("2001:db8::1", "six"),
            ("192.0.2.9", "default"),
            ("192.0.2.2", "default"),
        ] {
            assert_eq!(origin(store.lookup_reached(address.parse().unwrap())), expected, "{address}");
        }
    }
}
