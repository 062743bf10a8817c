//! Why a configuration is not taken, as one block that a person can read.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::acme::failure::Failure;
use crate::acme::vault::error::VaultError;
use crate::config::problem::Report;
use crate::provision::ProvisionError;
use crate::provision::walls::Beyond;
use crate::supervisor::binds::InTheWay;
use crate::tls::load::CertificateError;
use crate::upstream::group::BuildError;

/// A configuration that can't be put in force. Nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The file can't be read.
    #[error("the configuration cannot be read: {0}")]
    Unreadable(#[source] ProvisionError),
    /// The file is wrong.
    #[error("{}", .0.render(false).trim_end())]
    Wrong(#[from] Report),
    /// It changes what can't change while porchd runs.
    #[error("{}", lines("these keys are fixed while porchd runs; restart it", .0))]
    Fixed(Vec<Fixed>),
    /// It needs what the walls around the edge keep out.
    #[error("{}", lines("this edge is confined to what was configured at its start", .0))]
    Beyond(Vec<Beyond>),
    /// Certificates can't be loaded.
    #[error("{}", lines("certificates cannot be loaded", .0))]
    Certificates(Vec<CertificateError>),
    /// TLS itself can't be set up.
    #[error("tls cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
    /// Addresses can't be opened.
    #[error("{}", lines("addresses cannot be opened", .0))]
    Addresses(Vec<AddressError>),
    /// Upstreams can't be built.
    #[error("{}", lines("upstreams cannot be used", .0))]
    Upstreams(Vec<BuildError>),
    /// The roots of a CA can't be read.
    #[error("acme: ca_file: {0}")]
    AuthorityRoots(#[source] ProvisionError),
    /// The roots of a CA are none.
    #[error("acme: {0}")]
    AuthorityClient(#[source] Failure),
    /// The key of an external account can't be read.
    #[error("acme: external_account.key_file: {0}")]
    ExternalKey(#[source] ProvisionError),
    /// The state folder can't be opened.
    #[error("{0}")]
    State(#[source] ProvisionError),
    /// Another porchd uses the state folder.
    #[error("{0}")]
    StateHeld(#[source] VaultError),
    /// The control socket can't be opened.
    #[error("admin.socket: {0}")]
    Socket(#[source] ProvisionError),
    /// The address of figures can't be opened.
    #[error("admin.metrics: {0}")]
    Metrics(#[source] ProvisionError),
    /// A log file can't be opened.
    #[error("a log file cannot be opened: {0}")]
    Log(#[source] ProvisionError),
}

impl From<Vec<CertificateError>> for Refusal {
    fn from(errors: Vec<CertificateError>) -> Self {
        Self::Certificates(errors)
    }
}

impl From<Vec<BuildError>> for Refusal {
    fn from(errors: Vec<BuildError>) -> Self {
        Self::Upstreams(errors)
    }
}

/// A key that a reload can't change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {old} -> {new}")]
pub struct Fixed {
    /// The key.
    pub key: &'static str,
    /// Its value in force.
    pub old: String,
    /// Its value in the file.
    pub new: String,
}

/// An address that can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum AddressError {
    /// The system refuses it.
    #[error("listener {listener:?}: {fault}")]
    Bind {
        /// The listener.
        listener: Arc<str>,
        /// Why.
        fault: ProvisionError,
    },
    /// It was opened and can't be asked for its port.
    #[error("listener {listener:?}: {addr} has no address of its own: {source}")]
    Unnamed {
        /// The listener.
        listener: Arc<str>,
        /// The address as configured.
        addr: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// porchd itself is in the way.
    #[error(transparent)]
    InTheWay(#[from] InTheWay),
}

/// A heading and one indented line for each fault, with its causes.
fn lines(heading: &str, faults: &[impl std::error::Error]) -> String {
    let mut text = format!("{heading}:");
    for fault in faults {
        text.push_str(&format!("\n  {fault}"));
        let mut cause = fault.source();
        while let Some(error) = cause {
            text.push_str(&format!(": {error}"));
            cause = error.source();
        }
    }
    text
}
