//! Certificates, files and configurations for this folder's tests.

use std::collections::HashMap;
use std::fs::File;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use crate::config;
use crate::config::model::acme::{Acme, Authority, Challenge, FailingName, KeyType};
use crate::config::model::home::WireGuard;
use crate::config::model::{Certificate, Config, HostPattern, Site};
use crate::home::tunnel::Reading;
use crate::os::folder::Folder;
use crate::provision::{PemPair, Provision, ProvisionError};

/// A CA that lives for one test.
pub(super) struct Ca(CertifiedIssuer<'static, KeyPair>);

impl Ca {
    pub(super) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, "test CA");
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(super) fn pem(&self) -> String {
        self.0.pem()
    }

    /// A leaf alone for `names`.
    pub(super) fn leaf(&self, names: &[&str]) -> PemPair {
        self.leaf_within(names, day(2020, 1, 1), day(2100, 1, 1))
    }

    /// A leaf alone, valid from `begin` to `end`.
    pub(super) fn leaf_within(&self, names: &[&str], begin: SystemTime, end: SystemTime) -> PemPair {
        let key = KeyPair::generate().unwrap();
        let mut params = params(names);
        params.not_before = begin.into();
        params.not_after = end.into();
        let cert = params.signed_by(&key, &self.0).unwrap();
        PemPair { cert: cert.pem().into_bytes(), key: key.serialize_pem().into_bytes() }
    }

    /// A leaf followed by this CA.
    pub(super) fn chain(&self, names: &[&str]) -> PemPair {
        let mut pair = self.leaf(names);
        pair.cert.extend_from_slice(self.0.pem().as_bytes());
        pair
    }
}

/// A self-signed certificate for `names`.
pub(super) fn self_signed(names: &[&str]) -> PemPair {
    let key = KeyPair::generate().unwrap();
    let cert = params(names).self_signed(&key).unwrap();
    PemPair { cert: cert.pem().into_bytes(), key: key.serialize_pem().into_bytes() }
}

/// The start of a day.
pub(super) fn day(year: i32, month: u8, day: u8) -> SystemTime {
    rcgen::date_time_ymd(year, month, day).into()
}

/// A time at which the certificates made here are valid.
pub(super) fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn params(names: &[&str]) -> CertificateParams {
    CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap()
}

/// What is needed to order certificates, from a CA of one's own.
pub(super) fn acme() -> Acme {
    let authority = Authority {
        name: "ca.test".into(),
        directory: "https://ca.test/directory".into(),
        ca_file: None,
        profile: None,
        external_account: None,
    };
    Acme {
        contact: "admin@a.test".into(),
        authorities: vec![authority],
        challenges: vec![Challenge::Http01],
        key_type: KeyType::P256,
        failing_name: FailingName::LeaveOut,
    }
}

/// `*.example.com` or `example.com`.
pub(super) fn host(text: &str) -> HostPattern {
    match text.strip_prefix("*.") {
        Some(parent) => HostPattern::Wildcard(parent.into()),
        None => HostPattern::Exact(text.into()),
    }
}

/// Files in memory.
#[derive(Default)]
pub(super) struct Files(HashMap<PathBuf, Vec<u8>>);

impl Files {
    /// Puts `pair` into `/NAME.crt` and `/NAME.key`; the certificate for `hosts` that is in them.
    pub(super) fn put(&mut self, name: &str, pair: PemPair, hosts: &[&str]) -> Certificate {
        let certificate = Certificate {
            hosts: hosts.iter().map(|text| host(text)).collect(),
            cert: format!("/{name}.crt").into(),
            key: format!("/{name}.key").into(),
        };
        self.0.insert(certificate.cert.clone(), pair.cert);
        self.0.insert(certificate.key.clone(), pair.key);
        certificate
    }

    fn get(&self, path: &Path) -> Result<Vec<u8>, ProvisionError> {
        let missing = || ProvisionError::File { path: path.to_owned(), source: ErrorKind::NotFound.into() };
        self.0.get(path).cloned().ok_or_else(missing)
    }
}

impl Provision for Files {
    fn configuration(&mut self) -> Result<String, ProvisionError> {
        unreachable!("certificates are no configuration")
    }

    fn listen(&mut self, _: SocketAddr, _: usize) -> Result<Vec<TcpListener>, ProvisionError> {
        unreachable!("certificates need no sockets")
    }

    fn key_pair(&mut self, cert: &Path, key: &Path) -> Result<PemPair, ProvisionError> {
        Ok(PemPair { cert: self.get(cert)?, key: self.get(key)? })
    }

    fn log_file(&mut self, _: &Path) -> Result<File, ProvisionError> {
        unreachable!("certificates need no log")
    }

    fn public_file(&mut self, path: &Path) -> Result<Vec<u8>, ProvisionError> {
        self.get(path)
    }

    fn secret_file(&mut self, _: &Path) -> Result<Vec<u8>, ProvisionError> {
        unreachable!("certificates need no other secrets")
    }

    fn state_folder(&mut self, _: &Path) -> Result<Folder, ProvisionError> {
        unreachable!("certificates need no state")
    }

    fn tunnel(&mut self, _: &WireGuard) -> Result<Reading, ProvisionError> {
        unreachable!("certificates need no tunnel")
    }

    fn control_socket(&mut self, _: &Path, _: bool) -> Result<Option<UnixListener>, ProvisionError> {
        unreachable!("certificates need no sockets")
    }
}

/// A configuration with one TLS listener, `certificates`, and one site for each list of hosts.
pub(super) fn config(certificates: Vec<Certificate>, sites: &[&[&str]]) -> Config {
    let text = "listeners: { https: { bind: [ '127.0.0.1:0' ], tls: true } }\n\
        sites: [ { hosts: [ a.test ], routes: [ { path: /, respond: { status: 204 } } ] } ]";
    let mut config = config::load(text, "t").unwrap().config;
    config.tls.certificates = certificates;
    let any = config.sites.remove(0);
    let site = |hosts: &&[&str]| Site {
        name: hosts[0].into(),
        hosts: hosts.iter().map(|text| host(text)).collect(),
        ..any.clone()
    };
    config.sites = sites.iter().map(site).collect();
    config
}
