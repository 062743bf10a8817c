//! The ledger and its copy on disk. What can't be written stays in memory, is told once, and is tried again.

use crate::acme::ledger::Ledger;
use crate::acme::moment::Moment;
use crate::acme::vault::Vault;
use crate::acme::vault::error::VaultError;

/// The ledger of this process.
pub struct Book {
    ledger: Ledger,
    saved: Ledger,
    // What the disk has is not known yet.
    unread: bool,
    trouble: Option<Trouble>,
}

/// The disk takes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// Since when.
    pub since: Moment,
    /// Why, with the cure.
    pub text: String,
}

impl Book {
    /// The ledger that `vault` holds. One that is broken is set aside and told: its waits are lost, so a ledger
    /// begins that has none. One that can't be read now is trouble, and nothing is written over it.
    pub fn open(vault: &Vault, now: Moment) -> Self {
        let mut book =
            Self { saved: Ledger::default(), ledger: Ledger::default(), unread: true, trouble: None };
        // Whether it can be written decides what may be ordered, so that is known before anything is.
        book.write(vault, now);
        book
    }

    /// Reads what is on disk, if that is still to be done.
    fn read(&mut self, vault: &Vault) -> Result<(), VaultError> {
        if !self.unread {
            return Ok(());
        }
        let broken = match vault.ledger_text() {
            Ok(None) => None,
            Ok(Some(text)) => match Ledger::parse(&text) {
                Ok(ledger) => {
                    self.ledger = ledger;
                    None
                }
                Err(error) => Some(error),
            },
            Err(error) if error.is_broken() => Some(error.to_string()),
            Err(error) => return Err(error),
        };
        if let Some(error) = broken {
            tracing::error!("the ledger of ACME attempts is broken and set aside: {error}");
            if let Err(error) = vault.set_ledger_aside() {
                tracing::error!("{error}");
            }
        }
        self.unread = false;
        Ok(())
    }

    /// What is remembered.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Whether the last attempt to write it succeeded.
    pub fn writable(&self) -> bool {
        self.trouble.is_none()
    }

    /// What keeps it from being written.
    pub fn trouble(&self) -> Option<&Trouble> {
        self.trouble.as_ref()
    }

    /// Remembers something, on disk too if that is possible.
    pub fn note(&mut self, vault: &Vault, now: Moment, change: impl FnOnce(&mut Ledger)) {
        change(&mut self.ledger);
        self.keep(vault, now);
    }

    /// Remembers something if the disk takes it, or does not need to. Otherwise nothing has changed.
    pub fn note_surely(
        &mut self,
        vault: &Vault,
        now: Moment,
        needed: bool,
        change: impl FnOnce(&mut Ledger),
    ) -> bool {
        let before = self.ledger.clone();
        self.note(vault, now, change);
        let done = self.writable() || !needed;
        if !done {
            self.ledger = before;
        }
        done
    }

    /// Takes time into account, and writes what is not written.
    pub fn settle(&mut self, vault: &Vault, now: Moment) {
        self.ledger.settle(now);
        self.keep(vault, now);
    }

    fn keep(&mut self, vault: &Vault, now: Moment) {
        if self.ledger != self.saved || self.trouble.is_some() {
            self.write(vault, now);
        }
    }

    fn write(&mut self, vault: &Vault, now: Moment) {
        match self.read(vault).and_then(|()| vault.keep_ledger(&self.ledger.to_json())) {
            Ok(()) => {
                self.saved = self.ledger.clone();
                if self.trouble.take().is_some() {
                    tracing::info!("the state folder takes what is written again");
                }
            }
            Err(error) => {
                let text = error.to_string();
                if self.trouble.is_none() {
                    tracing::error!(
                        "{text}; certificates are served from memory, and none is ordered while its attempts can't be remembered"
                    );
                }
                let since = self.trouble.take().map_or(now, |trouble| trouble.since);
                self.trouble = Some(Trouble { since, text });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;
    use std::time::Duration;

    use super::*;
    use crate::os::folder::Folder;

    const CA: &str = "https://ca.test/directory";

    /// A vault that goes away with its test.
    struct Scratch {
        path: PathBuf,
        vault: Vault,
    }

    impl Scratch {
        fn new() -> Self {
            let path = std::env::temp_dir().join(format!("porchd-book-{:x}", crate::clock::random()));
            let vault = Vault::open(Folder::make(&path).unwrap());
            Self { path, vault }
        }

        /// From here on the disk takes no ledger.
        fn obstruct(&self) {
            fs::remove_file(self.path.join("ledger.json")).unwrap();
            fs::create_dir_all(self.path.join("ledger.json/in the way")).unwrap();
        }

        fn free(&self) {
            fs::remove_dir_all(self.path.join("ledger.json")).unwrap();
        }

        fn kept(&self) -> Ledger {
            Ledger::parse(&self.vault.ledger_text().unwrap().unwrap()).unwrap()
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.path);
        }
    }

    fn now() -> Moment {
        Moment::parse("2026-03-01T12:00:00Z").unwrap()
    }

    fn later(seconds: u64) -> Moment {
        now().after(Duration::from_secs(seconds))
    }

    #[test]
    fn what_is_noted_is_on_disk_and_read_back() {
        let scratch = Scratch::new();
        let mut book = Book::open(&scratch.vault, now());
        assert!(book.writable() && *book.ledger() == Ledger::default());
        book.note(&scratch.vault, now(), |ledger| ledger.account_attempted(CA, now()));
        assert_ne!(*book.ledger(), Ledger::default());
        assert_eq!(
            (&scratch.kept(), Book::open(&scratch.vault, now()).ledger()),
            (book.ledger(), book.ledger())
        );
    }

    #[test]
    fn what_has_not_changed_is_not_written_again() {
        let scratch = Scratch::new();
        let mut book = Book::open(&scratch.vault, now());
        fs::remove_file(scratch.path.join("ledger.json")).unwrap();
        book.settle(&scratch.vault, later(1));
        assert_eq!(scratch.vault.ledger_text().unwrap(), None);
    }

    #[test]
    fn what_the_disk_must_have_and_does_not_take_was_not_noted() {
        let scratch = Scratch::new();
        let mut book = Book::open(&scratch.vault, now());
        scratch.obstruct();
        let attempt = |ledger: &mut Ledger| ledger.account_attempted(CA, now());
        assert!(!book.note_surely(&scratch.vault, now(), true, attempt));
        assert_eq!((book.ledger(), book.writable()), (&Ledger::default(), false));
        assert!(book.note_surely(&scratch.vault, later(5), false, attempt));
        assert_ne!(*book.ledger(), Ledger::default());
        let trouble = book.trouble().unwrap();
        assert_eq!(trouble.since, now(), "it began with the first failure");
        assert!(trouble.text.contains("ledger.json"), "{}", trouble.text);
    }

    #[test]
    fn what_the_disk_did_not_take_is_written_once_it_does() {
        let scratch = Scratch::new();
        let mut book = Book::open(&scratch.vault, now());
        scratch.obstruct();
        book.note(&scratch.vault, now(), |ledger| ledger.account_attempted(CA, now()));
        book.settle(&scratch.vault, later(5));
        assert!(!book.writable());
        scratch.free();
        book.settle(&scratch.vault, later(10));
        assert_eq!((book.trouble(), &scratch.kept()), (None, book.ledger()));
    }

    #[test]
    fn a_ledger_that_cannot_be_read_is_set_aside() {
        for text in [&b"{"[..], b"\xff", b"{ \"version\": 99 }"] {
            let scratch = Scratch::new();
            fs::write(scratch.path.join("ledger.json"), text).unwrap();
            let book = Book::open(&scratch.vault, now());
            assert!(book.writable() && *book.ledger() == Ledger::default());
            assert_eq!(fs::read(scratch.path.join("ledger.json.broken")).unwrap(), text);
            assert_eq!(scratch.kept(), Ledger::default());
        }
    }
}
