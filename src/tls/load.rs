//! From the configuration to a store: reads every certificate, signs what is left to the internal CA.
//!
//! All errors are told at once, and nothing is put into use here.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::config::model::{Certificate, Config, HostPattern};
use crate::provision::{Provision, ProvisionError};
use crate::tls::internal_ca::{InternalCa, SignError};
use crate::tls::store::{Entry, Origin, Served, ServedError, Settings, Store};
use crate::tls::tickets::Tickets;
use crate::tls::warnings::{self, Warning};

/// What the internal CA always signs for, beside the sites' hosts.
const LOCAL: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// A leaf of the internal CA that ends sooner than this is signed again by a reload.
const RENEW_BEFORE: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// What outlives a reload.
#[derive(Debug, Clone)]
pub struct Carried {
    /// Ticket keys and sessions.
    pub tickets: Tickets,
    /// The internal CA: of this process, or given from outside.
    pub ca: Option<Arc<InternalCa>>,
    /// The store in use: certificates whose bytes are the same are kept.
    pub old: Option<Arc<Store>>,
}

impl Carried {
    /// For a start.
    pub fn fresh() -> Result<Self, rustls::Error> {
        Ok(Self { tickets: Tickets::new()?, ca: None, old: None })
    }

    /// For the next reload, when `store` was put into use.
    pub fn with(&self, store: Arc<Store>) -> Self {
        let ca = store.ca().or(self.ca.as_ref()).map(Arc::clone);
        Self { tickets: self.tickets.clone(), ca, old: Some(store) }
    }
}

/// A store that may be put into use.
#[derive(Debug)]
pub struct Loaded {
    /// The store.
    pub store: Store,
    /// What an operator should know.
    pub warnings: Vec<Warning>,
}

/// A certificate that can't be loaded: which one, the file at fault, and the cure.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file of it can't be read.
    #[error("certificate{of}: {fault}", of = meant(of))]
    Read {
        /// The certificate as configured.
        of: Box<Certificate>,
        /// Why.
        fault: ProvisionError,
    },
    /// What its files hold can't be served.
    #[error("certificate{of}: {what}", of = meant(of), what = blamed(of, fault))]
    Unusable {
        /// The certificate as configured.
        of: Box<Certificate>,
        /// Why.
        fault: ServedError,
    },
    /// The internal CA's certificate can't be made.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// The internal CA's certificate can't be served.
    #[error("certificate of the internal CA: {0}")]
    Signed(ServedError),
}

/// The hosts that the configuration gives a certificate, where it gives some.
fn meant(of: &Certificate) -> String {
    match of.hosts.as_slice() {
        [] => String::new(),
        [first] => format!(" for {first}"),
        [first, more @ ..] => format!(" for {first} and {} more", more.len()),
    }
}

/// The fault with its file before it.
fn blamed(of: &Certificate, fault: &ServedError) -> String {
    let (cert, key) = (of.cert.display(), of.key.display());
    match fault {
        ServedError::Chain(_) | ServedError::Tls(_) => format!("{cert} {fault}"),
        ServedError::Key(_) | ServedError::UnsupportedKey => format!("{key} {fault}"),
        ServedError::KeyMismatch | ServedError::LeafNotFirst { .. } => format!("{key} with {cert}: {fault}"),
    }
}

/// Loads what `config` names.
pub fn load(
    config: &Config,
    provision: &mut dyn Provision,
    carried: &Carried,
    now: SystemTime,
) -> Result<Loaded, Vec<CertificateError>> {
    let settings = Settings { min_version: config.tls.min_version, tickets: carried.tickets.clone() };
    let (mut entries, mut errors) = (Vec::new(), Vec::new());
    for certificate in &config.tls.certificates {
        match from_files(certificate, provision, carried, &settings) {
            Ok(served) => entries.push(Entry { hosts: certificate.hosts.clone(), served }),
            Err(error) => errors.push(error),
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    let store = match config.tls.internal_ca {
        true => with_internal_ca(config, entries, carried, &settings, now).map_err(|error| vec![error])?,
        false => Store::new(entries, None),
    };
    let warnings = warnings::warnings(&store, config, now);
    Ok(Loaded { store, warnings })
}

fn from_files(
    certificate: &Certificate,
    provision: &mut dyn Provision,
    carried: &Carried,
    settings: &Settings,
) -> Result<Arc<Served>, CertificateError> {
    let of = || Box::new(certificate.clone());
    let pair = provision
        .key_pair(&certificate.cert, &certificate.key)
        .map_err(|fault| CertificateError::Read { of: of(), fault })?;
    let origin = Origin::File(certificate.cert.clone());
    let kept = carried.old.iter().flat_map(|old| old.all()).find(|old| old.is_same(&origin, &pair, settings));
    if let Some(kept) = kept {
        return Ok(Arc::clone(kept));
    }
    let served = Served::new(origin, &pair, settings);
    served.map(Arc::new).map_err(|fault| CertificateError::Unusable { of: of(), fault })
}

/// Adds one certificate for all hosts that `entries` leave out, and for this machine's own names.
fn with_internal_ca(
    config: &Config,
    mut entries: Vec<Entry>,
    carried: &Carried,
    settings: &Settings,
    now: SystemTime,
) -> Result<Store, CertificateError> {
    let ca = match &carried.ca {
        Some(ca) => Arc::clone(ca),
        None => Arc::new(InternalCa::new(now)?),
    };
    let hosts = left_out(config, &Store::new(entries.clone(), None));
    let kept = carried.old.as_ref().and_then(|old| still_good(old, &ca, &hosts, settings, now));
    let served = match kept {
        Some(kept) => kept,
        None => {
            let pair = ca.sign(&hosts, now)?;
            let served = Served::new(Origin::InternalCa, &pair, settings);
            Arc::new(served.map_err(CertificateError::Signed)?)
        }
    };
    entries.push(Entry { hosts, served });
    Ok(Store::new(entries, Some(ca)))
}

fn left_out(config: &Config, files: &Store) -> Vec<HostPattern> {
    let mut hosts: Vec<HostPattern> = config
        .sites
        .iter()
        .filter(|site| config.listeners.iter().any(|l| l.tls && site.listeners.contains(&l.name)))
        .flat_map(|site| site.hosts.iter().cloned())
        .chain(LOCAL.iter().map(|name| HostPattern::Exact((*name).into())))
        .filter(|host| files.chosen(host).is_none())
        .collect();
    hosts.sort();
    hosts.dedup();
    hosts
}

fn still_good(
    old: &Store,
    ca: &Arc<InternalCa>,
    hosts: &[HostPattern],
    settings: &Settings,
    now: SystemTime,
) -> Option<Arc<Served>> {
    let same_ca = old.ca().is_some_and(|old| Arc::ptr_eq(old, ca));
    let good = |served: &&Arc<Served>| {
        served.origin == Origin::InternalCa
            && served.facts.names == hosts
            && served.has_settings(settings)
            && served.facts.not_after.duration_since(now).is_ok_and(|left| left > RENEW_BEFORE)
    };
    if same_ca { old.all().iter().find(good).map(Arc::clone) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::model::TlsVersion;
    use crate::provision::PemPair;
    use crate::tls::fixtures::{self, Ca, Files, now};

    fn errors(certificates: Vec<Certificate>, files: &mut Files) -> Vec<String> {
        let config = fixtures::config(certificates, &[]);
        let errors = load(&config, files, &Carried::fresh().unwrap(), now()).unwrap_err();
        errors.iter().map(ToString::to_string).collect()
    }

    fn store(config: &Config, files: &mut Files, carried: &Carried) -> Arc<Store> {
        Arc::new(load(config, files, carried, now()).unwrap().store)
    }

    #[test]
    fn all_errors_are_told_at_once_with_file_and_cure() {
        let (ca, mut files) = (Ca::new(), Files::default());
        let (one, two) = (ca.leaf(&["a.test"]), ca.leaf(&["a.test"]));
        let reversed = [ca.pem().as_bytes(), &one.cert].concat();
        let encrypted =
            b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n".to_vec();
        let nonsense = b"-----BEGIN PRIVATE KEY-----\nMAMCAQE=\n-----END PRIVATE KEY-----\n".to_vec();
        let broken = b"-----BEGIN CERTIFICATE-----\nMAMCAQE=\n-----END CERTIFICATE-----\n".to_vec();
        let pair = |cert: &[u8], key: &[u8]| PemPair { cert: cert.to_vec(), key: key.to_vec() };
        let mut missing = files.put("missing", one.clone(), &["a.test", "b.test"]);
        missing.key = "/nowhere.key".into();
        let certificates = vec![
            missing,
            files.put("good", one.clone(), &[]),
            files.put("empty", pair(b"", &one.key), &["a.test"]),
            files.put("swapped", pair(&one.key, &one.cert), &[]),
            files.put("broken", pair(&broken, &one.key), &[]),
            files.put("encrypted", pair(&one.cert, &encrypted), &[]),
            files.put("nonsense", pair(&one.cert, &nonsense), &[]),
            files.put("stranger", pair(&one.cert, &two.key), &["*.a.test"]),
            files.put("reversed", pair(&reversed, &one.key), &[]),
        ];
        let expected = [
            "certificate for a.test and 1 more: /nowhere.key: no such file; check the path",
            "certificate for a.test: /empty.crt holds no certificate; it needs -----BEGIN CERTIFICATE-----",
            "certificate: /swapped.crt holds a private key and no certificate; are `cert` and `key` swapped?",
            "certificate: /broken.crt has a certificate (number 1) that cannot be parsed; copy the file again",
            "certificate: /encrypted.key holds an encrypted key and nobody types a passphrase at a start; decrypt",
            "certificate: /nonsense.key holds a key of an unsupported kind; make one with openssl",
            "certificate for *.a.test: /stranger.key with /stranger.crt: the key does not belong to the certificate; bo",
            "certificate: /reversed.key with /reversed.crt: the key belongs to certificate number 2 of the chain; the h",
        ];
        let told = errors(certificates, &mut files);
        for (told, expected) in told.iter().zip(expected) {
            assert!(told.starts_with(expected), "{told}\nexpected: {expected}");
        }
        assert_eq!(told.len(), expected.len());
    }

    #[test]
    fn expired_certificate_is_a_warning() {
        let (ca, mut files) = (Ca::new(), Files::default());
        let pair = ca.leaf_within(&["a.test"], fixtures::day(2020, 1, 1), fixtures::day(2021, 1, 1));
        let certificate = files.put("old", pair, &[]);
        let config = fixtures::config(vec![certificate], &[&["a.test"]]);
        let loaded = load(&config, &mut files, &Carried::fresh().unwrap(), now()).unwrap();
        assert!(matches!(loaded.warnings[0], Warning::Expired { .. }), "{:?}", loaded.warnings);
    }

    #[test]
    fn unchanged_certificate_is_kept_and_a_changed_one_is_not() {
        let (ca, mut files) = (Ca::new(), Files::default());
        let certificates = ["a", "b"].map(|name| files.put(name, ca.leaf(&["a.test"]), &[]));
        let mut config = fixtures::config(certificates.to_vec(), &[]);
        let carried = Carried::fresh().unwrap();
        let first = store(&config, &mut files, &carried);
        files.put("b", ca.leaf(&["b.test"]), &[]);
        let carried = carried.with(Arc::clone(&first));
        let second = store(&config, &mut files, &carried);
        assert!(Arc::ptr_eq(&first.all()[0], &second.all()[0]));
        assert!(!Arc::ptr_eq(&first.all()[1], &second.all()[1]));

        config.tls.min_version = TlsVersion::Tls13;
        let third = store(&config, &mut files, &carried);
        assert!(!Arc::ptr_eq(&first.all()[0], &third.all()[0]));
    }

    #[test]
    fn exchanged_key_under_the_same_certificate_is_an_error() {
        let (ca, mut files) = (Ca::new(), Files::default());
        let pair = ca.leaf(&["a.test"]);
        let config = fixtures::config(vec![files.put("a", pair.clone(), &[])], &[]);
        let carried = Carried::fresh().unwrap();
        let carried = carried.with(store(&config, &mut files, &carried));
        files.put("a", PemPair { key: ca.leaf(&["a.test"]).key, ..pair }, &[]);
        assert_eq!(load(&config, &mut files, &carried, now()).unwrap_err().len(), 1);
    }

    #[test]
    fn internal_ca_outlives_reloads_and_signs_again_for_new_hosts() {
        let mut files = Files::default();
        let mut config = fixtures::config(Vec::new(), &[&["a.test"]]);
        config.tls.internal_ca = true;
        let carried = Carried::fresh().unwrap();
        let first = store(&config, &mut files, &carried);
        let carried = carried.with(Arc::clone(&first));
        let same = store(&config, &mut files, &carried);
        assert!(Arc::ptr_eq(&first.all()[0], &same.all()[0]));

        let config = Config { sites: fixtures::config(Vec::new(), &[&["a.test", "b.test"]]).sites, ..config };
        let more = store(&config, &mut files, &carried);
        assert!(Arc::ptr_eq(first.ca().unwrap(), more.ca().unwrap()));
        assert!(more.all()[0].covers("b.test") && !first.all()[0].covers("b.test"));
    }

    #[test]
    fn internal_certificate_is_signed_again_before_it_ends() {
        let mut config = fixtures::config(Vec::new(), &[]);
        config.tls.internal_ca = true;
        let carried = Carried::fresh().unwrap();
        let first = store(&config, &mut Files::default(), &carried);
        let carried = carried.with(Arc::clone(&first));
        let late = first.all()[0].facts.not_after - RENEW_BEFORE;
        let renewed = load(&config, &mut Files::default(), &carried, late).unwrap();
        assert!(renewed.store.all()[0].facts.not_after > first.all()[0].facts.not_after);
        assert_eq!(renewed.warnings, []);
    }

    #[test]
    fn internal_ca_survives_being_switched_off_and_on() {
        let mut config = fixtures::config(Vec::new(), &[]);
        config.tls.internal_ca = true;
        let carried = Carried::fresh().unwrap();
        let first = store(&config, &mut Files::default(), &carried);
        let carried = carried.with(Arc::clone(&first));
        config.tls.internal_ca = false;
        let carried = carried.with(store(&config, &mut Files::default(), &carried));
        config.tls.internal_ca = true;
        let third = store(&config, &mut Files::default(), &carried);
        assert!(Arc::ptr_eq(first.ca().unwrap(), third.ca().unwrap()));
    }
}
