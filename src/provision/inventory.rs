//! All that a configuration names and that takes privileges, in an order that warden and edge come to by themselves.
//!
//! The edge asks for "the third of the keys", never for a path: what the file does not name can't be said.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::config;
use crate::config::model::Config;
use crate::config::model::home::HomeLink;
use crate::config::model::log::LogTo;

/// What is named.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inventory {
    /// Addresses to listen on: those of listeners as written, then that of figures.
    pub addresses: Vec<SocketAddr>,
    /// Certificates, each with its key.
    pub pairs: Vec<(PathBuf, PathBuf)>,
    /// Log files.
    pub logs: Vec<PathBuf>,
    /// Files of public data.
    pub public: Vec<PathBuf>,
    /// Files of secrets that are no certificate's key.
    pub secrets: Vec<PathBuf>,
    /// The state folder.
    pub state: Option<PathBuf>,
    /// The control socket.
    pub socket: Option<PathBuf>,
    /// The link home.
    pub home_link: HomeLink,
}

impl Inventory {
    /// What `config` names.
    pub fn of(config: &Config) -> Self {
        let binds = config.listeners.iter().flat_map(|listener| &listener.binds).map(|bind| bind.addr);
        let authorities = config.acme.iter().flat_map(|acme| &acme.authorities);
        let roots = config.upstreams.iter().filter_map(|upstream| upstream.tls.as_ref()?.ca_file.clone());
        let diagnostics = match &config.log.to {
            LogTo::File(path) => Some(path.clone()),
            LogTo::Stderr | LogTo::Syslog => None,
        };
        let access = config.log.access.as_ref().and_then(|access| access.file.clone());
        Self {
            addresses: binds.chain(config.admin.metrics).collect(),
            pairs: config.tls.certificates.iter().map(|pair| (pair.cert.clone(), pair.key.clone())).collect(),
            logs: diagnostics.into_iter().chain(access).collect(),
            public: roots.chain(authorities.clone().filter_map(|one| one.ca_file.clone())).collect(),
            secrets: authorities
                .filter_map(|one| Some(one.external_account.as_ref()?.key_file.clone()))
                .collect(),
            state: Some(config.state_dir.clone()),
            socket: config.admin.socket.as_ref().map(|socket| socket.path.clone()),
            home_link: config.home_link.clone(),
        }
    }

    /// What the text `text` names, which is called `name`; nothing if it is wrong.
    pub fn of_text(text: &str, name: &str) -> Self {
        config::load(text, name).map_or_else(|_| Self::default(), |loaded| Self::of(&loaded.config))
    }

    /// The place of `path` among the log files.
    pub fn log(&self, path: &Path) -> Option<usize> {
        place(&self.logs, path)
    }

    /// The place of `path` among the files of public data.
    pub fn public(&self, path: &Path) -> Option<usize> {
        place(&self.public, path)
    }

    /// The place of `path` among the secrets.
    pub fn secret(&self, path: &Path) -> Option<usize> {
        place(&self.secrets, path)
    }

    /// The place of a certificate with its key.
    pub fn pair(&self, cert: &Path, key: &Path) -> Option<usize> {
        self.pairs.iter().position(|pair| pair.0 == cert && pair.1 == key)
    }

    /// The place of an address.
    pub fn address(&self, addr: SocketAddr) -> Option<usize> {
        self.addresses.iter().position(|named| *named == addr)
    }
}

fn place(named: &[PathBuf], path: &Path) -> Option<usize> {
    named.iter().position(|named| named == path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::model::home::Update;

    #[test]
    fn everything_that_takes_privileges_is_named() {
        let text = include_str!("../../config/full.yaml");
        let config = config::load(text, "full.yaml").unwrap().config;
        let inventory = Inventory::of(&config);
        assert!(inventory.addresses.contains(&"127.0.0.1:9178".parse().unwrap()));
        assert!(inventory.addresses.contains(&config.listeners[0].binds[0].addr));
        assert_eq!(inventory.logs, [PathBuf::from("/var/log/porchd/access.log")]);
        assert!(!inventory.pairs.is_empty() && !inventory.public.is_empty() && !inventory.secrets.is_empty());
        let (cert, key) = inventory.pairs[0].clone();
        assert_eq!(inventory.pair(&cert, &key), Some(0));
        assert_eq!(inventory.pair(&cert, &cert), None);
        assert_eq!(inventory.log(Path::new("/etc/shadow")), None);
        assert_eq!(inventory.state.as_deref(), Some(&*config.state_dir));
        assert!(inventory.socket.is_some());
    }

    #[test]
    fn no_file_that_is_opened_for_the_edge_may_lie_where_it_writes() {
        let text = include_str!("../../config/full.yaml");
        let inventory = Inventory::of_text(text, "full.yaml");
        let all_is_state: Vec<&str> = text
            .lines()
            .map(|line| if line.starts_with("state_dir:") { "state_dir: /" } else { line })
            .collect();
        let told = config::load(&all_is_state.join("\n"), "full.yaml").unwrap_err().render(false);
        let files = [&inventory.logs, &inventory.public, &inventory.secrets].into_iter().flatten();
        let pairs = inventory.pairs.iter().flat_map(|(cert, key)| [cert, key]);
        let updates = inventory.home_link.address.iter().flat_map(|address| &address.updates);
        let updates = updates.filter_map(|update| match update {
            Update::File(path) => Some(path),
            _ => None,
        });
        let all: Vec<&PathBuf> = files.chain(pairs).chain(updates).collect();
        assert!(all.len() >= 7, "{all:?}");
        for file in all {
            let named = format!("`{}` lies in `state_dir`", file.display());
            assert!(told.contains(&named), "{named} is not in {told}");
        }
    }
}
