//! What is to be ordered, as the configuration and its files say.

use crate::acme::preflight::Listening;
use crate::acme::wanted::Wanted;
use crate::config::model::acme::Acme;

/// What certificates are to be had, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The configuration.
    pub acme: Acme,
    /// What the files of each CA hold, in the order of `acme.authorities`.
    pub secrets: Vec<Secrets>,
    /// The names to order, by site.
    pub wanted: Vec<Wanted>,
    /// Where porchd can be asked.
    pub listening: Listening,
}

impl Target {
    /// What the CA with this directory is called.
    pub fn called<'a>(&'a self, directory: &'a str) -> &'a str {
        let authority = self.acme.authorities.iter().find(|authority| *authority.directory == *directory);
        authority.map_or(directory, |authority| &authority.name)
    }
}

/// What the files of one CA hold.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secrets {
    /// Roots to trust, as PEM.
    pub ca_pem: Option<Vec<u8>>,
    /// The key of the external account, as the CA handed it out.
    pub external_key: Option<Vec<u8>>,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secrets { .. }")
    }
}
