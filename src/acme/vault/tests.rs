//! The vault on a real disk: what goes in comes out, and what is broken is told.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use rcgen::{CertificateParams, KeyPair};

use crate::acme::failure::Kind;
use crate::acme::moment::Moment;
use crate::acme::records::{AccountFile, PendingOrder, Stored};
use crate::acme::vault::Vault;
use crate::acme::vault::error::{Fault, VaultError};
use crate::os::folder::Folder;
use crate::provision::PemPair;

const CA: &str = "https://ca.test/directory";

/// A vault that goes away with its test.
struct Scratch {
    path: PathBuf,
    vault: Vault,
}

impl Scratch {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("porchd-vault-{:x}", crate::clock::random()));
        let vault = Vault::open(Folder::make(&path).unwrap());
        Self { path, vault }
    }

    fn put(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.path.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path.join(name)).unwrap()
    }

    fn has(&self, name: &str) -> bool {
        self.path.join(name).exists()
    }

    /// The sites whose certificates are there, and what is told of the others.
    fn certificates(&self) -> (Vec<String>, Vec<String>) {
        let (certificates, errors) = self.vault.certificates();
        let sites = certificates.into_iter().map(|stored| stored.site).collect();
        (sites, errors.iter().map(ToString::to_string).collect())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

fn stored(site: &str) -> Stored {
    let key = KeyPair::generate().unwrap();
    let cert = CertificateParams::new(["a.test".to_owned()]).unwrap().self_signed(&key).unwrap();
    let pair = PemPair { cert: cert.pem().into_bytes(), key: key.serialize_pem().into_bytes() };
    Stored { site: site.to_owned(), pair }
}

fn key_pem() -> String {
    KeyPair::generate().unwrap().serialize_pem()
}

fn order(site: &str) -> PendingOrder {
    PendingOrder {
        site: site.to_owned(),
        authority: CA.to_owned(),
        url: "https://ca.test/order/1".to_owned(),
        names: vec!["a.test".into(), "www.a.test".into()],
        key_pem: key_pem(),
        at: Moment::of(UNIX_EPOCH + Duration::from_secs(1_800_000_000)),
    }
}

#[test]
fn empty_vault_has_nothing_and_is_not_written_to() {
    let scratch = Scratch::new();
    assert_eq!(scratch.vault.ledger_text().unwrap(), None);
    assert!(scratch.vault.account(CA).unwrap().is_none());
    assert!(scratch.vault.pending("a.test").unwrap().is_none());
    assert_eq!(scratch.certificates(), (vec![], vec![]));
    scratch.vault.forget_certificate("a.test").unwrap();
    scratch.vault.forget_pending("a.test").unwrap();
    assert_eq!(fs::read_dir(&scratch.path).unwrap().count(), 0);
}

#[test]
fn ledger_is_kept_and_set_aside() {
    let scratch = Scratch::new();
    for text in ["{}", "{ \"a\": 1 }"] {
        scratch.vault.keep_ledger(text).unwrap();
        assert_eq!(scratch.vault.ledger_text().unwrap().as_deref(), Some(text));
    }
    scratch.vault.set_ledger_aside().unwrap();
    assert_eq!(scratch.vault.ledger_text().unwrap(), None);
    assert_eq!(scratch.text("ledger.json.broken"), "{ \"a\": 1 }");
    scratch.put("ledger.json", b"\xff");
    let error = scratch.vault.ledger_text().unwrap_err();
    assert!(error.is_broken() && error.to_string().contains("ledger.json: this is not text"), "{error}");
}

#[test]
fn certificate_is_one_file_and_read_back() {
    let scratch = Scratch::new();
    let (first, second) = (stored("a.test"), stored("*.a.test"));
    scratch.vault.keep_certificate(&first, "valid from today").unwrap();
    scratch.vault.keep_certificate(&second, "").unwrap();
    assert!(scratch.text("certificates/a.test.pem").starts_with("# site: a.test\n# valid from today\n"));
    assert!(scratch.has("certificates/%2A.a.test.pem"));
    let (certificates, errors) = scratch.vault.certificates();
    assert!(errors.is_empty() && certificates == [second, first]);
    let renewed = stored("a.test");
    scratch.vault.keep_certificate(&renewed, "").unwrap();
    assert!(scratch.vault.certificates().0[1] == renewed);
    scratch.vault.forget_certificate("*.a.test").unwrap();
    assert_eq!(scratch.certificates().0, ["a.test"]);
}

#[test]
fn certificate_that_could_not_be_read_again_is_not_kept() {
    let scratch = Scratch::new();
    let good = stored("a.test");
    scratch.vault.keep_certificate(&good, "").unwrap();
    let mismatched =
        Stored { pair: PemPair { key: stored("").pair.key, ..good.pair.clone() }, ..good.clone() };
    assert!(scratch.vault.keep_certificate(&mismatched, "").unwrap_err().is_broken());
    assert!(scratch.vault.keep_certificate(&stored("a\nb"), "").unwrap_err().is_broken());
    assert!(scratch.vault.certificates().0 == [good]);
}

#[test]
fn broken_certificates_are_told_and_the_others_are_there() {
    let scratch = Scratch::new();
    for site in ["a.test", "b.test", "c.test", "d.test"] {
        scratch.vault.keep_certificate(&stored(site), "").unwrap();
    }
    let whole = scratch.text("certificates/b.test.pem");
    scratch.put("certificates/b.test.pem", &whole[..whole.len() / 2]);
    scratch.put("certificates/c.test.pem", [0xff; 9]);
    scratch.put("certificates/copy.pem", scratch.text("certificates/d.test.pem"));
    scratch.put("certificates/folder.pem/x", "");
    scratch.put("certificates/notes.txt", "not ours to read");
    let (sites, errors) = scratch.certificates();
    assert_eq!(sites, ["a.test", "d.test"]);
    let told = [
        "b.test.pem: the file is cut short",
        "c.test.pem: this is not text",
        "copy.pem: it says that it is for d.test",
        "folder.pem: this is no file",
    ];
    assert_eq!(errors.len(), told.len(), "{errors:?}");
    for (error, told) in errors.iter().zip(told) {
        assert!(error.contains(told), "{error}");
    }
}

#[test]
fn account_key_is_kept_before_and_after_it_is_registered() {
    let scratch = Scratch::new();
    let mut account = AccountFile { url: None, contact: None, key_pem: key_pem() };
    scratch.vault.keep_account(CA, &account).unwrap();
    assert!(scratch.vault.account(CA).unwrap().unwrap() == account);
    account.url = Some("https://ca.test/account/1".to_owned());
    account.contact = Some("admin@a.test".to_owned());
    scratch.vault.keep_account(CA, &account).unwrap();
    assert!(scratch.vault.account(CA).unwrap().unwrap() == account);
    assert!(scratch.vault.account("https://ca.test/other").unwrap().is_none());
    assert_eq!(scratch.text("accounts/ca.test+directory/key.pem"), account.key_pem);
    assert!(!scratch.text("accounts/ca.test+directory/account.json").contains("PRIVATE"));
}

#[test]
fn lost_account_record_leaves_the_key() {
    let scratch = Scratch::new();
    let account = AccountFile { url: Some("u".to_owned()), contact: None, key_pem: key_pem() };
    for damage in ["", "{", "null", "{ \"directory\": \"https://other.test\", \"url\": \"u\" }", "\u{0}"] {
        scratch.vault.keep_account(CA, &account).unwrap();
        scratch.put("accounts/ca.test+directory/account.json", damage);
        let read = scratch.vault.account(CA).unwrap().unwrap();
        assert!((read.url, read.key_pem) == (None, account.key_pem.clone()), "{damage}");
    }
    scratch.put("accounts/ca.test+directory/account.json", [0xff]);
    assert!(scratch.vault.account(CA).unwrap().unwrap().url.is_none());
}

#[test]
fn broken_account_key_is_told_and_never_replaced_by_itself() {
    let scratch = Scratch::new();
    scratch.put("accounts/ca.test+directory/key.pem", "");
    let error = scratch.vault.account(CA).err().unwrap();
    assert!(matches!(&error, VaultError::Broken { fault: Fault::AccountKey(_), .. }), "{error}");
    assert!(error.to_string().contains("put a copy of the key back"), "{error}");
}

#[test]
fn new_account_key_never_stands_beside_the_old_url() {
    let scratch = Scratch::new();
    let old =
        AccountFile { url: Some("https://ca.test/account/1".to_owned()), contact: None, key_pem: key_pem() };
    scratch.vault.keep_account(CA, &old).unwrap();
    // What would be `account.json` can't be replaced: as if the power failed right before it was.
    let new =
        AccountFile { url: Some("https://ca.test/account/2".to_owned()), contact: None, key_pem: key_pem() };
    let record = scratch.path.join("accounts/ca.test+directory/account.json");
    fs::remove_file(&record).unwrap();
    fs::create_dir_all(record.join("x")).unwrap();
    assert!(scratch.vault.keep_account(CA, &new).is_err());
    fs::remove_dir_all(&record).unwrap();
    let read = scratch.vault.account(CA).unwrap().unwrap();
    assert!(read.url.is_none() && read.key_pem == old.key_pem);
}

#[test]
fn pending_order_is_read_back_and_forgotten() {
    let scratch = Scratch::new();
    let (one, two) = (order("a.test"), order("b.test"));
    scratch.vault.keep_pending(&one).unwrap();
    scratch.vault.keep_pending(&two).unwrap();
    assert!(scratch.vault.pending("a.test").unwrap().unwrap() == one);
    scratch.vault.forget_pending("a.test").unwrap();
    scratch.vault.forget_pending("a.test").unwrap();
    assert!(scratch.vault.pending("a.test").unwrap().is_none());
    fs::rename(scratch.path.join("orders/b.test.json"), scratch.path.join("orders/a.test.json")).unwrap();
    let misplaced = scratch.vault.pending("a.test").err().unwrap();
    assert!(misplaced.is_broken() && misplaced.to_string().contains("it is for b.test"), "{misplaced}");
    scratch.put("orders/a.test.json", "{");
    assert!(scratch.vault.pending("a.test").err().unwrap().is_broken());
}

#[test]
fn second_instance_is_told_who_has_it() {
    let scratch = Scratch::new();
    let lock = scratch.vault.lock().unwrap();
    let second = Vault::open(Folder::open(&scratch.path).unwrap());
    let error = second.lock().unwrap_err();
    assert!(error.is_held());
    assert_eq!(
        error.to_string(),
        format!(
            "state folder {}: another porchd (process {}) uses it; stop that one, or set `state_dir` to a folder of \
             its own for this one",
            scratch.path.display(),
            std::process::id()
        )
    );
    drop(lock);
    second.lock().unwrap();
}

#[test]
fn tidying_sweeps_and_explains() {
    let scratch = Scratch::new();
    scratch.put("README", "of an older version");
    let left = [".new-1", "certificates/.new-2", "orders/.new-3", "accounts/ca/.new-4", "accounts/.new-5"];
    left.iter().for_each(|name| scratch.put(name, "half"));
    scratch.put("certificates/notes", "kept");
    scratch.vault.tidy().unwrap();
    assert!(!left.iter().any(|name| scratch.has(name)));
    assert!(scratch.has("certificates/notes"));
    assert_eq!(scratch.text("README"), include_str!("readme.txt"));
    let before = fs::metadata(scratch.path.join("README")).unwrap().modified().unwrap();
    scratch.vault.tidy().unwrap();
    assert_eq!(fs::metadata(scratch.path.join("README")).unwrap().modified().unwrap(), before);
}

#[test]
fn every_file_that_is_kept_is_explained() {
    let scratch = Scratch::new();
    let vault = &scratch.vault;
    let _lock = vault.lock().unwrap();
    vault.tidy().unwrap();
    vault.keep_ledger("{}").unwrap();
    vault.set_ledger_aside().unwrap();
    vault.keep_ledger("{}").unwrap();
    vault.keep_certificate(&stored("SITE"), "").unwrap();
    vault.keep_pending(&order("SITE")).unwrap();
    vault.keep_account("https://CA", &AccountFile { url: None, contact: None, key_pem: key_pem() }).unwrap();
    let mut folders = vec![scratch.path.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode, if path.is_dir() { 0o700 } else { 0o600 }, "{}", path.display());
            let name =
                path.strip_prefix(&scratch.path).unwrap().to_str().unwrap().replace("%53%49%54%45", "SITE");
            let told = include_str!("readme.txt").contains(&name);
            assert!(told || name == "README" || path.is_dir(), "{name}");
            if path.is_dir() {
                folders.push(path);
            }
        }
    }
}

#[test]
fn disk_errors_name_file_reason_and_cure() {
    let scratch = Scratch::new();
    scratch.put("certificates", "a file");
    let error = scratch.vault.keep_certificate(&stored("a.test"), "").unwrap_err();
    let path = scratch.path.join("certificates");
    let told =
        format!("{}: this is no folder, and links are not followed here; move it away", path.display());
    assert_eq!(error.to_string(), told);
    assert!(!error.is_broken() && !error.is_held());
    let failure = error.failure();
    assert_eq!((failure.kind, failure.retry_after, failure.text), (Kind::Local, None, told.clone()));
    assert_eq!(scratch.certificates(), (vec![], vec![told]));
}

#[test]
fn folder_that_is_gone_is_told() {
    let scratch = Scratch::new();
    fs::remove_dir(&scratch.path).unwrap();
    let told = scratch.vault.keep_ledger("{}").unwrap_err().to_string();
    assert!(told.contains("ledger.json: the folder is gone; "), "{told}");
}
