//! Asks each backend of a home once, as the prober will, and says what is odd.
//!
//! A home that is away is no reason to refuse a configuration: it may come back before porchd starts.

use std::sync::Arc;

use crate::clock;
use crate::config::model::{ProbeKind, Upstream};
use crate::provision::Provision;
use crate::upstream::backend::Backend;
use crate::upstream::group;
use crate::upstream::health::ProbeFailure;
use crate::upstream::probe;
use crate::upstream::resolve::Resolver;

/// What is odd about a home.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Oddity {
    /// It answers, and does not know what is asked.
    #[error("home at {backend} answers 404 to {path}")]
    NoProbePath {
        /// Its address.
        backend: Arc<str>,
        /// What was asked.
        path: Arc<str>,
    },
    /// It does not answer.
    #[error("home at {backend} does not answer the probe: {failure}")]
    Silent {
        /// Its address.
        backend: Arc<str>,
        /// Why.
        failure: ProbeFailure,
    },
}

impl Oddity {
    /// What to do about it.
    pub(super) fn cure(&self) -> &'static str {
        match self {
            Self::NoProbePath { .. } => {
                "Synapse has /health: check the address, or set `probe.path` for another homeserver"
            }
            Self::Silent { failure: ProbeFailure::Refused, .. } => {
                "does Synapse run, and is this address in its listener's `bind_addresses`?"
            }
            Self::Silent { failure: ProbeFailure::NoRoute | ProbeFailure::ConnectTimeout, .. } => {
                "does the tunnel stand, and does home's firewall let this machine in?"
            }
            Self::Silent { .. } => "it is probed again and again once porchd runs; `--offline` does not ask",
        }
    }
}

/// Asks every backend of `upstream` once. What can't even be tried (a CA file that is missing) is told at
/// start, not here.
pub(super) fn ask(upstream: &Upstream, provision: &mut dyn Provision) -> Vec<Oddity> {
    let mut roots = |path: &std::path::Path| provision.public_file(path);
    let Ok(groups) = group::build(std::slice::from_ref(upstream), &[], &mut roots) else { return Vec::new() };
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return Vec::new();
    };
    runtime.block_on(async {
        let mut oddities = Vec::new();
        for backend in groups.iter().flat_map(|group| group.backends()) {
            oddities.extend(ask_one(backend, upstream).await);
        }
        oddities
    })
}

async fn ask_one(backend: &Backend, upstream: &Upstream) -> Option<Oddity> {
    if let Some(mut resolver) = Resolver::of(backend.address()) {
        let addresses = resolver.refresh(true, upstream.probe.timeout).await;
        backend.publish_addresses(addresses.unwrap_or_default());
    }
    let label = || Arc::clone(backend.label());
    match probe::ask(backend, upstream, clock::now() + upstream.probe.timeout).await {
        Ok(Some(404)) => match &upstream.probe.kind {
            ProbeKind::Http(path) => Some(Oddity::NoProbePath { backend: label(), path: Arc::clone(path) }),
            ProbeKind::Tcp => None,
        },
        Ok(_) => None,
        Err(failure) => Some(Oddity::Silent { backend: label(), failure }),
    }
}
