//! From the configuration to a store: files first, then what was ordered, then what is made here for the rest.
//!
//! All errors are told at once, and nothing is put into use here.

use std::sync::Arc;
use std::time::SystemTime;

use crate::config::model::{Certificate, Config};
use crate::provision::{Provision, ProvisionError};
use crate::tls::internal_ca::InternalCa;
use crate::tls::made::{self, MadeError};
use crate::tls::managed::{self, Managed};
use crate::tls::reuse::Reuse;
use crate::tls::stand_in::StandIn;
use crate::tls::store::{Entry, Origin, Served, ServedError, Settings, Store};
use crate::tls::tickets::Tickets;
use crate::tls::warnings::{self, Warning};

/// What outlives a reload.
#[derive(Debug, Clone)]
pub struct Carried {
    /// Ticket keys and sessions.
    pub tickets: Tickets,
    /// The internal CA: of this process, or given from outside.
    pub ca: Option<Arc<InternalCa>>,
    /// The key of stand-ins.
    pub stand_in: StandIn,
    /// The store in use: certificates whose bytes are the same are kept.
    pub old: Option<Arc<Store>>,
}

impl Carried {
    /// For a start.
    pub fn fresh() -> Result<Self, rustls::Error> {
        Ok(Self { tickets: Tickets::new()?, ca: None, stand_in: StandIn::default(), old: None })
    }

    /// For the next reload, when `store` was put into use.
    pub fn with(&self, store: Arc<Store>) -> Self {
        let ca = store.ca().or(self.ca.as_ref()).map(Arc::clone);
        Self { ca, old: Some(store), ..self.clone() }
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

/// What a load makes of certificates that changed underneath, when nobody is there to refuse it to.
#[derive(Debug)]
pub struct Refreshed {
    /// The store; where a certificate is at fault, the one before goes on in it.
    pub store: Store,
    /// What an operator should know.
    pub warnings: Vec<Warning>,
    /// The certificates at fault.
    pub errors: Vec<CertificateError>,
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
    /// What no file covers can't be given a certificate of this process' own.
    #[error(transparent)]
    Made(#[from] MadeError),
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

/// Loads what `config` names, and `managed`, for a start or a reload: any file at fault refuses it.
pub fn load(
    config: &Config,
    provision: &mut dyn Provision,
    carried: &Carried,
    managed: &[Managed],
    now: SystemTime,
) -> Result<Loaded, Vec<CertificateError>> {
    let Refreshed { store, warnings, errors } = refresh(config, provision, carried, managed, now);
    if errors.is_empty() { Ok(Loaded { store, warnings }) } else { Err(errors) }
}

/// The same for the configuration in force, when its files may have changed or `managed` has.
///
/// A file at fault (half-written, or its key not there yet) leaves its certificate as it was and keeps
/// nobody else's from being renewed. Cheap when nothing changed; then the store is the `same` as before.
pub fn refresh(
    config: &Config,
    provision: &mut dyn Provision,
    carried: &Carried,
    managed: &[Managed],
    now: SystemTime,
) -> Refreshed {
    let settings = Settings { min_version: config.tls.min_version, tickets: carried.tickets.clone() };
    let reuse = Reuse { settings, old: carried.old.as_deref(), now };
    let (mut files, mut errors, mut warnings) = (Vec::new(), Vec::new(), Vec::new());
    for certificate in &config.tls.certificates {
        let origin = Origin::File(certificate.cert.clone());
        let served = from_files(certificate, &origin, provision, &reuse).or_else(|error| {
            errors.push(error);
            reuse.before(&origin).ok_or(())
        });
        files.extend(served.ok().map(|served| Entry { hosts: certificate.hosts.clone(), served }));
    }
    let indexed = Store::new(files.clone(), Vec::new(), None);
    let mut others = managed::entries(managed, config, &indexed, &reuse, &mut warnings);
    let indexed = Store::new(files.clone(), others.clone(), None);
    let (made, ca) = match made_here(config, &indexed, carried, &reuse) {
        Ok(made) => made,
        Err(error) => {
            errors.push(error.into());
            (None, carried.ca.clone())
        }
    };
    others.extend(made);
    let store = Store::new(files, others, ca);
    warnings.extend(warnings::warnings(&store, config, now));
    Refreshed { store, warnings, errors }
}

fn from_files(
    certificate: &Certificate,
    origin: &Origin,
    provision: &mut dyn Provision,
    reuse: &Reuse<'_>,
) -> Result<Arc<Served>, CertificateError> {
    let of = || Box::new(certificate.clone());
    let pair = provision
        .key_pair(&certificate.cert, &certificate.key)
        .map_err(|fault| CertificateError::Read { of: of(), fault })?;
    reuse.served(origin, &pair).map_err(|fault| CertificateError::Unusable { of: of(), fault })
}

/// What is made here for the hosts that `store` leaves out, and the internal CA if it made it.
fn made_here(
    config: &Config,
    store: &Store,
    carried: &Carried,
    reuse: &Reuse<'_>,
) -> Result<(Option<Entry>, Option<Arc<InternalCa>>), MadeError> {
    if config.tls.internal_ca {
        let ca = match &carried.ca {
            Some(ca) => ca.clone(),
            None => Arc::new(InternalCa::new(reuse.now)?),
        };
        return Ok((Some(made::by_ca(&ca, config, store, reuse)?), Some(ca)));
    }
    match &config.acme {
        Some(_) => Ok((made::by_stand_in(&carried.stand_in, config, store, reuse)?, None)),
        None => Ok((None, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::model::TlsVersion;
    use crate::provision::PemPair;
    use crate::tls::fixtures::{self, Ca, Files, now};
    use crate::tls::live::Live;
    use crate::tls::made::RENEW_BEFORE;

    fn errors(certificates: Vec<Certificate>, files: &mut Files) -> Vec<String> {
        let config = fixtures::config(certificates, &[]);
        let errors = load(&config, files, &Carried::fresh().unwrap(), &[], now()).unwrap_err();
        errors.iter().map(ToString::to_string).collect()
    }

    fn store(config: &Config, files: &mut Files, carried: &Carried) -> Arc<Store> {
        Arc::new(load(config, files, carried, &[], now()).unwrap().store)
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
        let loaded = load(&config, &mut files, &Carried::fresh().unwrap(), &[], now()).unwrap();
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
        assert_eq!(load(&config, &mut files, &carried, &[], now()).unwrap_err().len(), 1);
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
        let renewed = load(&config, &mut Files::default(), &carried, &[], late).unwrap();
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

    #[test]
    fn refresh_that_finds_nothing_new_gives_the_same_store() {
        let (ca, mut files) = (Ca::new(), Files::default());
        let certificates = vec![files.put("a", ca.chain(&["a.test"]), &["a.test"])];
        let mut config = fixtures::config(certificates, &[&["a.test"], &["b.test"], &["[::1]"]]);
        let managed = [Managed { site: "b.test".into(), pair: ca.chain(&["b.test"]) }];
        for (internal_ca, acme) in [(true, None), (false, Some(fixtures::acme()))] {
            (config.tls.internal_ca, config.acme) = (internal_ca, acme);
            let carried = Carried::fresh().unwrap();
            let refresh = |files: &mut Files, carried: &Carried| {
                refresh(&config, files, carried, &managed, now()).store
            };
            let first = Arc::new(refresh(&mut files, &carried));
            let carried = carried.with(first.clone());
            assert_eq!(first.all().len(), 3);
            assert!(first.same(&refresh(&mut files, &carried)));
            let live = Live::new(first);
            assert!(!live.change(Arc::new(refresh(&mut files, &carried))));
            files.put("a", ca.chain(&["a.test"]), &["a.test"]);
            assert!(live.change(Arc::new(refresh(&mut files, &carried))));
        }
    }

    #[test]
    fn refresh_leaves_a_certificate_at_fault_as_it_was_and_takes_up_the_others() {
        let (ca, mut files) = (Ca::new(), Files::default());
        let certificates = ["a", "b", "c"].map(|name| files.put(name, ca.chain(&["a.test"]), &[]));
        let config = fixtures::config(certificates.to_vec(), &[&["d.test"]]);
        let carried = Carried::fresh().unwrap();
        let first = store(&config, &mut files, &carried);
        let carried = carried.with(first.clone());

        let (half, other) = (ca.chain(&["a.test"]), ca.chain(&["a.test"]));
        let half = PemPair { cert: half.cert[..half.cert.len() - 40].to_vec(), ..half };
        files.put("a", half, &[]);
        files.put("b", other.clone(), &[]);
        files.put("c", PemPair { key: ca.leaf(&["a.test"]).key, ..other }, &[]);
        let managed = [Managed { site: "d.test".into(), pair: ca.chain(&["d.test"]) }];
        let Refreshed { store: second, errors, .. } = refresh(&config, &mut files, &carried, &managed, now());
        let kept = |index: usize| Arc::ptr_eq(&first.all()[index], &second.all()[index]);
        assert_eq!([kept(0), kept(1), kept(2)], [true, false, true]);
        assert!(second.lookup(Some("d.test")).is_some_and(|served| served.covers("d.test")));
        let told: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert!(told[0].starts_with("certificate: /a.crt has a section without an END line"), "{told:?}");
        assert!(told[1].starts_with("certificate: /c.key with /c.crt: the key does not"), "{told:?}");
        assert_eq!(told.len(), 2);
        assert_eq!(load(&config, &mut files, &carried, &managed, now()).unwrap_err().len(), 2);
    }
}
