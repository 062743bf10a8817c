//! Certificates and the TLS server side: which certificate answers for which name, and how.
//!
//! Nothing here accepts connections, opens files or reads the clock: files come through `provision`,
//! the time is an argument, and `listener` drives the handshakes.

pub mod challenges;
pub mod inspect;
pub mod internal_ca;
pub mod live;
pub mod load;
pub mod made;
pub mod managed;
pub mod pem;
pub mod reuse;
pub mod stand_in;
pub mod store;
pub mod tickets;
pub mod warnings;

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
#[cfg(feature = "aws-lc")]
use rustls::crypto::aws_lc_rs as chosen;
#[cfg(all(feature = "ring", not(feature = "aws-lc")))]
use rustls::crypto::ring as chosen;

use crate::config::model::{Config, Site};

#[cfg(not(any(feature = "aws-lc", feature = "ring")))]
compile_error!("one of the features `aws-lc` and `ring` is needed");

/// The cryptography that porchd uses: aws-lc, or ring where only that feature is on.
///
/// It is always passed on explicitly and never installed as the process' default, which a second
/// provider in the dependency tree would make ambiguous.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(chosen::default_provider())
}

/// The sites of `config` that are on a TLS listener, in its order.
pub fn sites(config: &Config) -> impl Iterator<Item = &Site> {
    let tls = |site: &&Site| config.listeners.iter().any(|l| l.tls && site.listeners.contains(&l.name));
    config.sites.iter().filter(tls)
}

#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod handshakes;
