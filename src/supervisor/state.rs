//! The state folder as it was found, and what the ACME thread needs of the configuration and its files.

use std::thread::sleep;
use std::time::Duration;

use crate::acme::client::Client;
use crate::acme::preflight::Listening;
use crate::acme::records::Stored;
use crate::acme::target::{Secrets, Target};
use crate::acme::vault::Vault;
use crate::acme::vault::error::VaultError;
use crate::acme::wanted::{self, Wanted};
use crate::config::model::Config;
use crate::config::model::acme::Authority;
use crate::os::folder::{Folder, Lock};
use crate::provision::Provision;
use crate::supervisor::refusal::Refusal;
use crate::tls::managed::Managed;
use crate::tls::store::Store;

/// The state folder, once some configuration has needed it.
#[derive(Default)]
pub struct State {
    // Held as long as the process lives: a second porchd must not order beside this one.
    lock: Option<Lock>,
    opened: Option<Opened>,
    /// What the ACME thread published last.
    pub managed: Vec<Managed>,
    incidents: Incidents,
    /// How often it is still tried to have the lock that another process has.
    tries: u32,
}

/// Three seconds in all: what was killed has written its last by then.
const TRIES: u32 = 30;
const BETWEEN_TRIES: Duration = Duration::from_millis(100);

struct Opened {
    // Until the ACME thread takes them.
    taken: Option<(Vault, Vec<Stored>)>,
}

/// The folder as far as it remembers incidents.
#[derive(Default)]
enum Incidents {
    /// No configuration had an upstream yet.
    #[default]
    NotWanted,
    /// It is there to be taken.
    Here(Folder),
    /// It was taken, or can't be had.
    Settled,
}

impl State {
    /// Opens the folder and reads its certificates, if `config` orders some and this is not done yet.
    pub fn open(
        &mut self,
        provision: &mut dyn Provision,
        config: &Config,
        warnings: &mut Vec<String>,
    ) -> Result<(), Refusal> {
        if config.acme.is_none() || self.opened.is_some() {
            return Ok(());
        }
        let vault = Vault::open(provision.state_folder(&config.state_dir).map_err(Refusal::State)?);
        match self.hold(&vault) {
            Ok(()) => {}
            Err(error) if error.is_held() => return Err(Refusal::StateHeld(error)),
            // A disk that is full or read-only is no reason not to serve.
            Err(error) => warnings.push(error.to_string()),
        }
        if let Err(error) = vault.tidy() {
            warnings.push(error.to_string());
        }
        let (stored, errors) = vault.certificates();
        warnings.extend(errors.iter().map(ToString::to_string));
        // A folder that can't be opened hinders both.
        warnings.dedup();
        self.managed = stored.iter().map(managed).collect();
        self.opened = Some(Opened { taken: Some((vault, stored)) });
        Ok(())
    }

    /// Reads the certificates of the folder, if `config` orders some: it is another edge's.
    pub fn look(
        &mut self,
        provision: &mut dyn Provision,
        config: &Config,
        warnings: &mut Vec<String>,
    ) -> Result<(), Refusal> {
        if config.acme.is_some() {
            let folder = provision.state_folder(&config.state_dir).map_err(Refusal::State)?;
            let (stored, errors) = Vault::open(folder).certificates();
            warnings.extend(errors.iter().map(ToString::to_string));
            self.managed = stored.iter().map(managed).collect();
        }
        Ok(())
    }

    /// Lets another edge have the folder.
    pub fn release(&mut self) {
        let managed = std::mem::take(&mut self.managed);
        *self = Self { managed, ..Self::default() };
    }

    /// Opens the folder for incidents, if `config` has upstreams or a home that moves, and this was not tried yet. Nothing depends on it.
    pub fn open_for_incidents(
        &mut self,
        provision: &mut dyn Provision,
        config: &Config,
        warnings: &mut Vec<String>,
    ) {
        let nothing = config.upstreams.is_empty() && config.home_link.address.is_none();
        if nothing || !matches!(self.incidents, Incidents::NotWanted) {
            return;
        }
        self.incidents = match self.folder_for_incidents(provision, config) {
            Ok(folder) => Incidents::Here(folder),
            Err(why) => {
                warnings.push(format!("incidents are kept in memory alone: {why}"));
                Incidents::Settled
            }
        };
    }

    fn folder_for_incidents(
        &mut self,
        provision: &mut dyn Provision,
        config: &Config,
    ) -> Result<Folder, String> {
        let open = |provision: &mut dyn Provision| {
            provision.state_folder(&config.state_dir).map_err(|error| error.to_string())
        };
        let vault = Vault::open(open(provision)?);
        self.hold(&vault).map_err(|error| error.to_string())?;
        vault.tidy().map_err(|error| error.to_string())?;
        open(provision)
    }

    /// The folder for incidents; once.
    pub fn take_for_incidents(&mut self) -> Option<Folder> {
        match std::mem::replace(&mut self.incidents, Incidents::Settled) {
            Incidents::Here(folder) => Some(folder),
            Incidents::NotWanted => {
                self.incidents = Incidents::NotWanted;
                None
            }
            Incidents::Settled => None,
        }
    }

    /// Takes the lock, unless this process has it.
    fn hold(&mut self, vault: &Vault) -> Result<(), VaultError> {
        while self.lock.is_none() {
            match vault.lock() {
                Err(error) if error.is_held() && self.tries > 0 => {
                    self.tries -= 1;
                    sleep(BETWEEN_TRIES);
                }
                locked => self.lock = Some(locked?),
            }
        }
        Ok(())
    }

    /// The state of a start, while nothing waits for this thread: a porchd that is just ending gets a moment for it.
    pub fn at_start() -> Self {
        Self { tries: TRIES, ..Self::default() }
    }

    /// The start is over: from now on others wait for this thread.
    pub fn started(&mut self) {
        self.tries = 0;
    }

    /// The certificates that were ordered, as far as `config` wants to have any ordered.
    pub fn managed(&self, config: &Config) -> &[Managed] {
        // A restart would not look into the folder either.
        if config.acme.is_some() { &self.managed } else { &[] }
    }

    /// What the ACME thread begins with; once.
    pub fn take(&mut self) -> Option<(Vault, Vec<Stored>)> {
        self.opened.as_mut()?.taken.take()
    }
}

fn managed(stored: &Stored) -> Managed {
    Managed { site: stored.site.as_str().into(), pair: stored.pair.clone() }
}

/// What the ACME thread is to do for `config`, while `store` is shown.
pub fn target(
    provision: &mut dyn Provision,
    config: &Config,
    store: &Store,
) -> Result<Option<Target>, Refusal> {
    let Some(acme) = &config.acme else { return Ok(None) };
    let wanted = wanted(config, store);
    let secrets =
        acme.authorities.iter().map(|authority| secrets(provision, authority)).collect::<Result<_, _>>()?;
    let listening = Listening {
        ipv6: config.listeners.iter().flat_map(|listener| &listener.binds).any(|bind| bind.addr.is_ipv6()),
    };
    Ok(Some(Target { acme: acme.clone(), secrets, wanted, listening }))
}

/// The names to order: those that no file covers.
pub fn wanted(config: &Config, store: &Store) -> Vec<Wanted> {
    wanted::wanted(config, &|host| store.has_file_for(host))
}

fn secrets(provision: &mut dyn Provision, authority: &Authority) -> Result<Secrets, Refusal> {
    let ca_pem = authority.ca_file.as_deref().map(|path| provision.public_file(path));
    let ca_pem = ca_pem.transpose().map_err(Refusal::AuthorityRoots)?;
    // A wrong file would fail each order: told now, the file before stays in force.
    Client::new(&authority.name, ca_pem.as_deref()).map_err(Refusal::AuthorityClient)?;
    let external = authority.external_account.as_ref();
    let external_key = external.map(|account| provision.secret_file(&account.key_file));
    Ok(Secrets { ca_pem, external_key: external_key.transpose().map_err(Refusal::ExternalKey)? })
}
