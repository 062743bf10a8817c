//! The state folder: what porchd remembers of certificates, accounts and attempts, as files that people can read.
//!
//! `readme.txt` is put into the folder and says what lies where. The vault decides nothing: what a lost or broken file
//! means is for its callers, who are told which it is. Every call reads or writes the disk, and waits for it.

mod certificate_file;
pub mod error;
mod file_names;

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::acme::records::{AccountFile, PendingOrder, Stored};
use crate::acme::vault::error::{Fault, VaultError};
use crate::os::folder::{Folder, Lock};
use crate::tls::pem;

const README: &str = "README";
const README_TEXT: &str = include_str!("readme.txt");
const LOCK: &str = "lock";
const LEDGER: &str = "ledger.json";
const BROKEN_LEDGER: &str = "ledger.json.broken";
const CERTIFICATES: &str = "certificates";
const ACCOUNTS: &str = "accounts";
const ORDERS: &str = "orders";
const ACCOUNT: &str = "account.json";
const ACCOUNT_KEY: &str = "key.pem";

/// No file of the vault is larger: a wrong or broken one must not eat the memory.
const LARGEST: u64 = 16 * 1024 * 1024;

/// The state folder. It may be asked from any thread; one process at a time writes to it (`lock`).
#[derive(Debug)]
pub struct Vault {
    root: Folder,
}

/// What is kept of an account beside its key.
#[derive(Serialize, Deserialize)]
struct AccountRecord {
    directory: String,
    url: Option<String>,
    contact: Option<String>,
}

impl Vault {
    /// The vault in `folder`. It touches nothing yet.
    pub fn open(folder: Folder) -> Self {
        Self { root: folder }
    }

    /// Where it is, for messages.
    pub fn path(&self) -> &Path {
        self.root.path()
    }

    /// Keeps other processes out until what is returned is dropped.
    ///
    /// # Errors
    /// `VaultError::Held` if another one is in, else those of the disk: on a full one a lock may be had later.
    pub fn lock(&self) -> Result<Lock, VaultError> {
        let lock = self.root.lock(LOCK).map_err(|error| at(&self.root, LOCK, error))?;
        lock.ok_or_else(|| VaultError::Held {
            path: self.root.path().to_owned(),
            pid: self.root.holder(LOCK),
        })
    }

    /// Removes what a crash has left and puts the README in its place. Only with the lock.
    ///
    /// # Errors
    /// The first of what the disk refuses, after everything was tried. The vault is usable all the same.
    pub fn tidy(&self) -> Result<(), VaultError> {
        let swept = self.sweep();
        let current =
            self.root.read(README, LARGEST).is_ok_and(|text| text.as_deref() == Some(README_TEXT.as_bytes()));
        if !current {
            write(&self.root, README, README_TEXT.as_bytes())?;
        }
        swept
    }

    fn sweep(&self) -> Result<(), VaultError> {
        let mut swept = vec![sweep(&self.root)];
        for name in [CERTIFICATES, ORDERS, ACCOUNTS] {
            let Some(folder) = existing(&self.root, name)? else { continue };
            swept.push(sweep(&folder));
            if name == ACCOUNTS {
                for account in names(&folder)? {
                    swept.extend(existing(&folder, &account).ok().flatten().map(|account| sweep(&account)));
                }
            }
        }
        swept.into_iter().collect()
    }

    /// The ledger's text; `None`: there is none yet.
    ///
    /// # Errors
    /// Those of the disk, and `VaultError::Broken` for what is no text (then `set_ledger_aside`).
    pub fn ledger_text(&self) -> Result<Option<String>, VaultError> {
        read(&self.root, LEDGER)
    }

    /// Keeps `text` as the ledger's.
    ///
    /// # Errors
    /// Those of the disk; the old one is kept then.
    pub fn keep_ledger(&self, text: &str) -> Result<(), VaultError> {
        write(&self.root, LEDGER, text.as_bytes())
    }

    /// Calls the ledger `ledger.json.broken` from now on, for a person to look at.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn set_ledger_aside(&self) -> Result<(), VaultError> {
        self.root.rename(LEDGER, BROKEN_LEDGER).map_err(|error| at(&self.root, LEDGER, error))
    }

    /// All certificates that can be served, in the order of their files' names; and why the others can't.
    pub fn certificates(&self) -> (Vec<Stored>, Vec<VaultError>) {
        let listed = existing(&self.root, CERTIFICATES).and_then(|folder| match folder {
            Some(folder) => Ok(Some((names(&folder)?, folder))),
            None => Ok(None),
        });
        let (names, folder) = match listed {
            Ok(Some(listed)) => listed,
            Ok(None) => return (Vec::new(), Vec::new()),
            Err(error) => return (Vec::new(), vec![error]),
        };
        let (mut certificates, mut errors) = (Vec::new(), Vec::new());
        for name in names.iter().filter(|name| name.ends_with(".pem")) {
            match certificate(&folder, name) {
                Ok(certificate) => certificates.extend(certificate),
                Err(error) => errors.push(error),
            }
        }
        (certificates, errors)
    }

    /// Keeps `stored` in place of the site's last one: key and chain change at once. `comment` is for people.
    ///
    /// # Errors
    /// Those of the disk, and `VaultError::Broken` for what could not be read again; the old one is kept then.
    pub fn keep_certificate(&self, stored: &Stored, comment: &str) -> Result<(), VaultError> {
        let folder = made(&self.root, CERTIFICATES)?;
        let name = certificate_name(&stored.site);
        let text = certificate_file::text(stored, comment);
        parsed_certificate(&folder, &name, &text)?;
        write(&folder, &name, text.as_bytes())
    }

    /// Removes the site's certificate and its key.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn forget_certificate(&self, site: &str) -> Result<(), VaultError> {
        forget(&self.root, CERTIFICATES, &certificate_name(site))
    }

    /// The account at the CA with that directory. A lost or broken `account.json` leaves the key alone, for which
    /// the CA tells the account's URL again (RFC 8555 section 7.3.1).
    ///
    /// # Errors
    /// Those of the disk, and `VaultError::Broken` for a key that is none: it is never replaced by itself.
    pub fn account(&self, directory: &str) -> Result<Option<AccountFile>, VaultError> {
        let name = file_names::of_authority(directory);
        let Some(folder) = existing(&self.root, ACCOUNTS)? else { return Ok(None) };
        let Some(folder) = existing(&folder, &name)? else { return Ok(None) };
        let Some(key_pem) = read(&folder, ACCOUNT_KEY)? else { return Ok(None) };
        if let Err(error) = pem::key(key_pem.as_bytes()) {
            return Err(broken(&folder, ACCOUNT_KEY, Fault::AccountKey(error)));
        }
        let record = match read(&folder, ACCOUNT) {
            Ok(text) => text.and_then(|text| serde_json::from_str::<AccountRecord>(&text).ok()),
            Err(VaultError::Broken { .. }) => None,
            Err(error) => return Err(error),
        };
        let record = record.filter(|record| record.directory == directory);
        let (url, contact) = record.map_or((None, None), |record| (record.url, record.contact));
        Ok(Some(AccountFile { url, contact, key_pem }))
    }

    /// Keeps the account at the CA with that directory.
    ///
    /// # Errors
    /// Those of the disk. Then a key that was kept is still there, or the new one is.
    pub fn keep_account(&self, directory: &str, account: &AccountFile) -> Result<(), VaultError> {
        let folder = made(&made(&self.root, ACCOUNTS)?, &file_names::of_authority(directory))?;
        let kept = match read(&folder, ACCOUNT_KEY) {
            // What was no key anyway may be replaced; what can't be read now may be one.
            Err(VaultError::Broken { .. }) => None,
            kept => kept?,
        };
        if kept.as_ref() != Some(&account.key_pem) {
            // The old key's URL must never stand beside the new key, whenever the power fails.
            folder.remove(ACCOUNT).map_err(|error| at(&folder, ACCOUNT, error))?;
            write(&folder, ACCOUNT_KEY, account.key_pem.as_bytes())?;
        }
        let record = AccountRecord {
            directory: directory.to_owned(),
            url: account.url.clone(),
            contact: account.contact.clone(),
        };
        write_json(&folder, ACCOUNT, &record)
    }

    /// The site's order that was finalized and of which the certificate is not here yet.
    ///
    /// # Errors
    /// Those of the disk, and `VaultError::Broken` for what is no such order (then `forget_pending`).
    pub fn pending(&self, site: &str) -> Result<Option<PendingOrder>, VaultError> {
        let name = order_name(site);
        let Some(folder) = existing(&self.root, ORDERS)? else { return Ok(None) };
        let Some(text) = read(&folder, &name)? else { return Ok(None) };
        let order: PendingOrder =
            serde_json::from_str(&text).map_err(|error| broken(&folder, &name, Fault::Json(error)))?;
        match order.site == site {
            true => Ok(Some(order)),
            false => Err(broken(&folder, &name, Fault::Misplaced(order.site))),
        }
    }

    /// Keeps an order that is about to be finalized, in place of the site's last one.
    ///
    /// # Errors
    /// Those of the disk; the old one is kept then.
    pub fn keep_pending(&self, order: &PendingOrder) -> Result<(), VaultError> {
        write_json(&made(&self.root, ORDERS)?, &order_name(&order.site), order)
    }

    /// Removes the site's order, if there is one.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn forget_pending(&self, site: &str) -> Result<(), VaultError> {
        forget(&self.root, ORDERS, &order_name(site))
    }
}

fn certificate_name(site: &str) -> String {
    format!("{}.pem", file_names::of_site(site))
}

fn order_name(site: &str) -> String {
    format!("{}.json", file_names::of_site(site))
}

/// `None`: it was removed since it was listed.
fn certificate(folder: &Folder, name: &str) -> Result<Option<Stored>, VaultError> {
    read(folder, name)?.map(|text| parsed_certificate(folder, name, &text)).transpose()
}

fn parsed_certificate(folder: &Folder, name: &str, text: &str) -> Result<Stored, VaultError> {
    let stored = certificate_file::parse(text).map_err(|fault| broken(folder, name, fault))?;
    // A copy under another name must not compete with the site's own file.
    match certificate_name(&stored.site) == name {
        true => Ok(stored),
        false => Err(broken(folder, name, Fault::Misplaced(stored.site))),
    }
}

fn read(folder: &Folder, name: &str) -> Result<Option<String>, VaultError> {
    let bytes = folder.read(name, LARGEST).map_err(|error| at(folder, name, error))?;
    let text = bytes.map(String::from_utf8).transpose();
    text.map_err(|_| broken(folder, name, Fault::NotText))
}

fn write(folder: &Folder, name: &str, bytes: &[u8]) -> Result<(), VaultError> {
    folder.write(name, bytes).map_err(|error| at(folder, name, error))
}

fn write_json(folder: &Folder, name: &str, value: &impl Serialize) -> Result<(), VaultError> {
    let mut text = serde_json::to_string_pretty(value).map_err(|error| broken(folder, name, error.into()))?;
    text.push('\n');
    write(folder, name, text.as_bytes())
}

fn forget(root: &Folder, within: &str, name: &str) -> Result<(), VaultError> {
    let Some(folder) = existing(root, within)? else { return Ok(()) };
    folder.remove(name).map_err(|error| at(&folder, name, error))
}

fn existing(folder: &Folder, name: &str) -> Result<Option<Folder>, VaultError> {
    folder.existing_subfolder(name).map_err(|error| at(folder, name, error))
}

fn made(folder: &Folder, name: &str) -> Result<Folder, VaultError> {
    folder.subfolder(name).map_err(|error| at(folder, name, error))
}

fn names(folder: &Folder) -> Result<Vec<String>, VaultError> {
    folder.names().map_err(|error| VaultError::of(folder.path().to_owned(), error))
}

fn sweep(folder: &Folder) -> Result<(), VaultError> {
    folder.remove_temporary_files().map_err(|error| VaultError::of(folder.path().to_owned(), error))
}

fn at(folder: &Folder, name: &str, error: std::io::Error) -> VaultError {
    VaultError::of(folder.path().join(name), error)
}

fn broken(folder: &Folder, name: &str, fault: Fault) -> VaultError {
    VaultError::Broken { path: folder.path().join(name), fault }
}

#[cfg(test)]
mod tests;
