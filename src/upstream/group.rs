//! The part of an upstream that all threads share, and what a reload carries over of it.
//!
//! What is known of each backend is in `backend`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use crate::config::model;
use crate::config::model::BackendAddress;
use crate::provision::ProvisionError;

use super::backend::{self, Backend, Tls};
use super::health::Health;
use super::larder::Larder;
use super::lot::Lot;
use super::select::Candidate;
use super::tls::{self, RootsError};

/// One configured upstream, as it runs.
#[derive(Debug)]
pub struct Group {
    id: u64,
    def: model::Upstream,
    backends: Vec<Arc<Backend>>,
    trust: Option<Trust>,
    lot: Arc<Lot>,
    larder: Arc<Larder>,
}

/// What https to a group's backends rests on.
#[derive(Debug, Clone)]
struct Trust {
    config: Arc<ClientConfig>,
    /// The bytes of `ca_file`, to notice that they changed.
    roots: Option<Arc<[u8]>>,
}

/// An upstream that can't be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// Its `ca_file` can't be read.
    #[error("upstream \"{group}\": ca_file can't be read")]
    Read {
        /// The upstream's name.
        group: Arc<str>,
        /// Why.
        source: ProvisionError,
    },
    /// Its `ca_file` can't be used.
    #[error("upstream \"{group}\": ca_file {path} can't be used", path = path.display())]
    Roots {
        /// The upstream's name.
        group: Arc<str>,
        /// The file.
        path: PathBuf,
        /// Why.
        source: RootsError,
    },
    /// TLS itself can't be used.
    #[error("upstream \"{group}\": tls can't be used")]
    Tls {
        /// The upstream's name.
        group: Arc<str>,
        /// Why.
        source: RootsError,
    },
    /// There is no name for its certificate to cover.
    #[error(
        "upstream \"{group}\": backend {backend} has no valid name for its certificate; set tls.server_name"
    )]
    Name {
        /// The upstream's name.
        group: Arc<str>,
        /// The backend's address.
        backend: BackendAddress,
    },
}

/// Builds the groups of a configuration; what is as it was in `old` is carried over.
///
/// An equal group is the same `Arc`. In a group that changed, a backend with the same address and the
/// same TLS is the same `Arc<Backend>`: its health, counts and kept connections go on. `roots` reads a
/// file of public data. All errors are returned, and then nothing is built.
pub fn build(
    defs: &[model::Upstream],
    old: &[Arc<Group>],
    roots: &mut dyn FnMut(&Path) -> Result<Vec<u8>, ProvisionError>,
) -> Result<Vec<Arc<Group>>, Vec<BuildError>> {
    let mut groups = Vec::with_capacity(defs.len());
    let mut errors = Vec::new();
    for def in defs {
        let before = old.iter().find(|group| group.def.name == def.name);
        match build_one(def, before, roots) {
            Ok(group) => groups.push(group),
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() { Ok(groups) } else { Err(errors) }
}

fn build_one(
    def: &model::Upstream,
    before: Option<&Arc<Group>>,
    roots: &mut dyn FnMut(&Path) -> Result<Vec<u8>, ProvisionError>,
) -> Result<Arc<Group>, BuildError> {
    let trust = match &def.tls {
        Some(tls) => Some(trust(def, tls, before, roots)?),
        None => None,
    };
    let trusted_before = before.and_then(|before| before.trust.as_ref());
    let same_trust = match (&trust, trusted_before) {
        (Some(trust), Some(before)) => Arc::ptr_eq(&trust.config, &before.config),
        (None, None) => true,
        _ => false,
    };
    if let Some(before) = before.filter(|before| same_trust && before.def == *def) {
        return Ok(Arc::clone(before));
    }
    let mut backends: Vec<Arc<Backend>> = Vec::with_capacity(def.backends.len());
    for backend in &def.backends {
        let tls = match &trust {
            Some(trust) => {
                Some(Tls { config: Arc::clone(&trust.config), name: server_name(def, &backend.address)? })
            }
            None => None,
        };
        let name = tls.as_ref().map(|tls| &tls.name);
        let kept = before.iter().flat_map(|before| &before.backends).find(|kept| {
            same_trust && *kept.address() == backend.address && kept.tls().map(|tls| &tls.name) == name
        });
        // Two backends of one address are two: each has counts of its own.
        let kept = kept.filter(|kept| !backends.iter().any(|taken| Arc::ptr_eq(taken, kept)));
        backends.push(kept.map_or_else(|| Arc::new(Backend::new(&backend.address, tls)), Arc::clone));
    }
    let lot = before.map_or_else(|| Arc::new(Lot::new(&def.park)), |before| Arc::clone(&before.lot));
    lot.rebound(&def.park);
    let larder = before.map_or_else(Arc::default, |before| Arc::clone(&before.larder));
    Ok(Arc::new(Group { id: backend::next_id(), def: def.clone(), backends, trust, lot, larder }))
}

fn trust(
    def: &model::Upstream,
    tls: &model::BackendTls,
    before: Option<&Arc<Group>>,
    roots: &mut dyn FnMut(&Path) -> Result<Vec<u8>, ProvisionError>,
) -> Result<Trust, BuildError> {
    let group = || Arc::clone(&def.name);
    let pem = match &tls.ca_file {
        Some(path) => Some(roots(path).map_err(|source| BuildError::Read { group: group(), source })?),
        None => None,
    };
    if let Some(before) = before.and_then(|before| before.trust.as_ref())
        && before.roots.as_deref() == pem.as_deref()
    {
        return Ok(before.clone());
    }
    let config = tls::client_config(pem.as_deref()).map_err(|source| match &tls.ca_file {
        Some(path) => BuildError::Roots { group: group(), path: path.clone(), source },
        None => BuildError::Tls { group: group(), source },
    })?;
    Ok(Trust { config, roots: pem.map(Arc::from) })
}

fn server_name(def: &model::Upstream, address: &BackendAddress) -> Result<ServerName<'static>, BuildError> {
    let written = def.tls.as_ref().and_then(|tls| tls.server_name.as_deref());
    let name = match (written, address) {
        (Some(name), _) => ServerName::try_from(name.to_owned()).ok(),
        (None, BackendAddress::Socket(addr)) => Some(ServerName::IpAddress(addr.ip().into())),
        (None, BackendAddress::Name(host, _)) => ServerName::try_from(host.to_string()).ok(),
        (None, BackendAddress::Unix(_)) => None,
    };
    name.ok_or_else(|| BuildError::Name { group: Arc::clone(&def.name), backend: address.clone() })
}

impl Group {
    /// Its configuration.
    pub fn def(&self) -> &model::Upstream {
        &self.def
    }

    /// Its backends, in the order of `def().backends`.
    pub fn backends(&self) -> &[Arc<Backend>] {
        &self.backends
    }

    /// Where its requests wait while it is away.
    pub fn lot(&self) -> &Arc<Lot> {
        &self.lot
    }

    /// What of its documents is kept for the time when it is away.
    pub fn larder(&self) -> &Larder {
        &self.larder
    }

    /// Tells it from every other group of this process.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Whether requests can't go home now: it is away, or all its backends are Down.
    pub fn is_away(&self) -> bool {
        self.is_down() || self.lot.is_away()
    }

    /// Whether all its backends are Down.
    pub fn is_down(&self) -> bool {
        self.backends.iter().all(|backend| backend.health() == Health::Down)
    }

    /// What the choice of backend `index` depends on.
    pub fn candidate(&self, index: usize) -> Candidate {
        let (def, backend) = (&self.def.backends[index], &self.backends[index]);
        Candidate {
            weight: def.weight,
            backup: def.backup,
            health: backend.health(),
            in_flight: backend.in_flight(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fake;
    use super::*;
    use crate::config::model::BackendTls;

    fn socket(port: u16) -> BackendAddress {
        BackendAddress::Socket(([127, 0, 0, 1], port).into())
    }

    fn rebuild(def: &model::Upstream, old: &[Arc<Group>]) -> Arc<Group> {
        build(std::slice::from_ref(def), old, &mut |_| unreachable!()).unwrap().remove(0)
    }

    #[test]
    fn equal_group_is_the_same() {
        let def = fake::upstream(&[socket(1), socket(2)]);
        let old = vec![rebuild(&def, &[])];
        assert!(Arc::ptr_eq(&rebuild(&def, &old), &old[0]));
    }

    #[test]
    fn backends_that_stay_keep_their_health_in_a_group_that_changed() {
        let mut def = fake::upstream(&[socket(1), socket(2)]);
        let old = vec![rebuild(&def, &[])];
        old[0].backends()[1].publish(Health::Down);
        def.backends.remove(0);
        def.backends[0].weight = 7;
        let new = rebuild(&def, &old);
        assert_ne!(new.id(), old[0].id());
        assert!(Arc::ptr_eq(&new.backends()[0], &old[0].backends()[1]));
        assert_eq!((new.candidate(0).weight, new.candidate(0).health), (7, Health::Down));
        def.name = "other".into();
        assert_eq!(rebuild(&def, &old).candidate(0).health, Health::Unknown);
    }

    #[test]
    fn two_backends_of_one_address_stay_two() {
        let mut def = fake::upstream(&[socket(1)]);
        let old = vec![rebuild(&def, &[])];
        def.backends.push(def.backends[0].clone());
        let new = rebuild(&def, &old);
        assert!(Arc::ptr_eq(&new.backends()[0], &old[0].backends()[0]));
        assert!(!Arc::ptr_eq(&new.backends()[0], &new.backends()[1]));
    }

    #[test]
    fn all_errors_are_told_at_once() {
        let tls = |server_name: Option<&str>, ca_file: Option<&str>| BackendTls {
            server_name: server_name.map(Arc::from),
            ca_file: ca_file.map(PathBuf::from),
        };
        let mut unix = fake::upstream(&[BackendAddress::Unix("/run/s".into())]);
        (unix.name, unix.tls) = ("a".into(), Some(tls(None, None)));
        let mut roots = fake::upstream(&[socket(1)]);
        (roots.name, roots.tls) = ("b".into(), Some(tls(Some("x"), Some("/etc/no.pem"))));
        let errors = build(&[unix, roots], &[], &mut |_| Ok(b"nothing".to_vec())).unwrap_err();
        let lines: Vec<_> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(
            lines,
            [
                "upstream \"a\": backend unix:/run/s has no valid name for its certificate; set tls.server_name",
                "upstream \"b\": ca_file /etc/no.pem can't be used",
            ]
        );
    }
}
