//! An account at a CA (RFC 8555 section 7.3): made once, found again, told of a new contact.
//!
//! Its key is kept before the CA hears of it, so that no answer that is lost loses an account.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, LOCATION};
use http::{HeaderMap, Request};
use instant_acme::{Account, AccountCredentials, Error, RevocationReason, RevocationRequest};
use serde_json::{Value, json};

use crate::acme::answer::Seen;
use crate::acme::client::Client;
use crate::acme::directory::{self, Directory};
use crate::acme::failure::{Failure, Kind};
use crate::acme::jws::{self, AccountKey, JwsError};
use crate::acme::records::AccountFile;
use crate::acme::status::Reason;
use crate::acme::{patience, problem};
use crate::config::model::acme::Authority;
use crate::tls::pem;

/// How often a nonce may be refused (RFC 8555 section 6.5): servers behind one name may not know each other's.
const NONCES: usize = 4;

/// One CA, its account ready.
pub struct Session {
    name: Arc<str>,
    url: Arc<str>,
    client: Client,
    directory: Directory,
    account: Account,
}

/// What a session is opened with.
pub struct Opening<'a> {
    /// The CA.
    pub authority: &'a Authority,
    /// PEM roots to trust instead of the public ones.
    pub ca_pem: Option<&'a [u8]>,
    /// What is in the external account's key file.
    pub external_key: Option<&'a [u8]>,
    /// Whom the CA may write to, as `admin@example.com`.
    pub contact: &'a str,
    /// The account that was kept, if there is one.
    pub account: Option<AccountFile>,
}

/// Opens a session at a CA: reads its directory, then makes the account or finds it again.
///
/// `keep` gets the account whenever it changed. One without a URL is about to be registered: when that can't
/// be kept (or may not be, by the CA's limits), `keep` fails, nothing is registered, and its failure is the result.
pub async fn open(
    opening: Opening<'_>,
    keep: &mut dyn FnMut(&AccountFile) -> Result<(), Failure>,
) -> Result<Session, Failure> {
    let authority = opening.authority;
    let client = Client::new(&authority.name, opening.ca_pem)?;
    let directory = read_directory(&client, authority).await?;
    directory.check(authority)?;
    let desk = Desk { opening: &opening, client: &client, directory: &directory };
    let (key, mut file) = match &opening.account {
        Some(kept) => (AccountKey::read(&kept.key_pem).map_err(|error| desk.bad_key(&error))?, kept.clone()),
        None => {
            let key = AccountKey::generate().map_err(|error| desk.bad_key(&error))?;
            let file = AccountFile { url: None, contact: None, key_pem: key.pem() };
            (key, file)
        }
    };
    let found = match &opening.account {
        Some(_) => desk.find(&key).await?,
        None => None,
    };
    let url = match found {
        Some(url) => url,
        None => {
            file.url = None;
            keep(&file)?;
            let url = desk.register(&key).await?;
            file.contact = Some(opening.contact.to_owned());
            url
        }
    };
    if file.url.as_ref() != Some(&url) {
        file.url = Some(url.clone());
        keep(&file)?;
    }
    let account = desk.account(&key, &url).await?;
    let (name, directory_url) = (authority.name.clone(), authority.directory.clone());
    let session =
        Session { name, url: directory_url, client: client.clone(), directory: directory.clone(), account };
    session.tell_contact(opening.contact, &mut file, keep).await?;
    Ok(session)
}

async fn read_directory(client: &Client, authority: &Authority) -> Result<Directory, Failure> {
    let failure = |error: &Error| problem::failure(&authority.name, error, &client.seen(), &[]);
    let request = directory::get(&authority.directory).map_err(|error| failure(&error))?;
    let answer = client.send(request).await.map_err(|error| failure(&Error::Other(Box::new(error))))?;
    let body = directory::accepted(&answer).map_err(|error| failure(&error))?;
    Directory::of_answer(body, authority, &client.seen())
}

/// Where accounts are made.
struct Desk<'a> {
    opening: &'a Opening<'a>,
    client: &'a Client,
    directory: &'a Directory,
}

impl Desk<'_> {
    /// The URL of the account that has `key`, if the CA knows one.
    async fn find(&self, key: &AccountKey) -> Result<Option<String>, Failure> {
        let payload = json!({ "onlyReturnExisting": true, "termsOfServiceAgreed": true });
        match self.post(key, &payload).await {
            Ok(url) => Ok(Some(url)),
            // The key was never registered, or the CA lost its memory.
            Err(PostError::Answer(Error::Api(problem)))
                if problem::short(&problem) == "accountDoesNotExist" =>
            {
                Ok(None)
            }
            Err(error) => Err(self.failure(&error)),
        }
    }

    async fn register(&self, key: &AccountKey) -> Result<String, Failure> {
        let mut payload = json!({
            "contact": [format!("mailto:{}", self.opening.contact)],
            "termsOfServiceAgreed": true,
        });
        if let Some(external) = &self.opening.authority.external_account {
            let path = external.key_file.display();
            let local = |what: &str| {
                problem::plain(Kind::Local, &format!("the external account's key {path} {what}"))
            };
            let file = self.opening.external_key.ok_or_else(|| local("is missing"))?;
            let secret =
                jws::secret(file).ok_or_else(|| local("is not base64url; copy it again from the CA"))?;
            let binding = key.bind(&self.directory.new_account, &external.key_id, &secret);
            payload["externalAccountBinding"] = binding.map_err(|error| self.bad_key(&error))?;
        }
        self.post(key, &payload).await.map_err(|error| self.failure(&error))
    }

    /// Posts to newAccount; the account's URL.
    async fn post(&self, key: &AccountKey, payload: &Value) -> Result<String, PostError> {
        let url = &self.directory.new_account;
        let mut nonce = None;
        let mut refused = 0;
        loop {
            let fresh = match nonce.take() {
                Some(nonce) => nonce,
                None => self.nonce().await?,
            };
            let body = key.sign(url, &fresh, payload)?.to_string();
            let request = Request::post(url.as_str()).header(CONTENT_TYPE, "application/jose+json");
            let request = request.body(Bytes::from(body)).map_err(Error::from)?;
            let answer = self.client.send(request).await.map_err(|error| Error::Other(Box::new(error)))?;
            match directory::accepted(&answer) {
                Ok(_) => {
                    let url = text(answer.headers(), LOCATION.as_str());
                    return url.ok_or(PostError::Answer(Error::Str("the answer names no account")));
                }
                Err(Error::Api(problem)) if problem::short(&problem) == "badNonce" && refused < NONCES => {
                    refused += 1;
                    nonce = text(answer.headers(), NONCE);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn nonce(&self) -> Result<String, Error> {
        let request = Request::head(&self.directory.new_nonce).body(Bytes::new())?;
        let answer = self.client.send(request).await.map_err(|error| Error::Other(Box::new(error)))?;
        directory::accepted(&answer)?;
        text(answer.headers(), NONCE).ok_or(Error::Str("newNonce gives no nonce"))
    }

    /// The account as the library has it. It is given the URLs, and reads no directory a second time.
    async fn account(&self, key: &AccountKey, url: &str) -> Result<Account, Failure> {
        let credentials = json!({ "id": url, "key_pkcs8": key.encoded(), "urls": self.directory });
        let account = match serde_json::from_value::<AccountCredentials>(credentials) {
            Ok(credentials) => {
                let builder = Account::builder_with_http(Box::new(self.client.clone()));
                builder.from_credentials(credentials).await
            }
            Err(error) => Err(Error::Json(error)),
        };
        account.map_err(|error| problem::failure(&self.opening.authority.name, &error, &Seen::default(), &[]))
    }

    fn failure(&self, error: &PostError) -> Failure {
        match error {
            PostError::Answer(error) => {
                problem::failure(&self.opening.authority.name, error, &self.client.seen(), &[])
            }
            PostError::Key(error) => self.bad_key(error),
        }
    }

    fn bad_key(&self, error: &JwsError) -> Failure {
        let text = format!(
            "the account key of {} {error}; put the right one back, or remove it to get a new account",
            self.opening.authority.name
        );
        problem::plain(Kind::Local, &text)
    }
}

const NONCE: &str = "replay-nonce";

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

/// An account that was not answered for.
#[derive(Debug, thiserror::Error)]
enum PostError {
    #[error(transparent)]
    Answer(#[from] Error),
    #[error(transparent)]
    Key(#[from] JwsError),
}

impl Session {
    /// What the CA is called.
    pub fn authority(&self) -> &str {
        &self.name
    }

    /// The URL of its directory.
    pub fn directory_url(&self) -> &str {
        &self.url
    }

    /// The account's name at the CA.
    pub fn account_url(&self) -> &str {
        self.account.id()
    }

    /// Whether the CA tells when to renew (RFC 9773).
    pub fn has_renewal_info(&self) -> bool {
        self.directory.renewal_info.is_some()
    }

    /// Revokes the certificate in `cert_pem`, the first if it is a chain. One that is revoked already is fine.
    pub async fn revoke(&self, cert_pem: &[u8], reason: Reason) -> Result<(), Failure> {
        let local = |error: pem::PemError| problem::plain(Kind::Local, &format!("the certificate {error}"));
        let chain = pem::chain(cert_pem).map_err(local)?;
        let certificate = chain.first().ok_or_else(|| local(pem::PemError::NoCertificate))?;
        if self.directory.revoke_cert.is_none() {
            let text = format!("{} offers no way to revoke a certificate", self.name);
            return Err(problem::plain(Kind::Refused, &text));
        }
        let request = RevocationRequest { certificate, reason: Some(code(reason)) };
        patience::again(self, &[], async || match self.account.revoke(&request).await {
            Err(Error::Api(problem)) if problem::short(&problem) == "alreadyRevoked" => Ok(()),
            done => done,
        })
        .await
    }

    /// The account as the library has it.
    pub(super) fn account(&self) -> &Account {
        &self.account
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    pub(super) fn renewal_info_url(&self) -> Option<&str> {
        self.directory.renewal_info.as_deref()
    }

    /// What the last answer said beside its body.
    pub(super) fn seen(&self) -> Seen {
        self.client.seen()
    }

    /// What `error` means, which came for `names`.
    pub(super) fn failure(&self, error: &Error, names: &[Arc<str>]) -> Failure {
        problem::failure(&self.name, error, &self.client.seen(), names)
    }

    async fn tell_contact(
        &self,
        contact: &str,
        file: &mut AccountFile,
        keep: &mut dyn FnMut(&AccountFile) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        if file.contact.as_deref() == Some(contact) {
            return Ok(());
        }
        match self.account.update_contacts(&[&format!("mailto:{contact}")]).await {
            Ok(()) => {
                file.contact = Some(contact.to_owned());
                keep(file)
            }
            // It is told again with the next session; no certificate waits for it.
            Err(error) => {
                let failure = self.failure(&error, &[]);
                if failure.kind == Kind::Refused {
                    tracing::warn!("the CA keeps the contact that it has: {failure}; correct `acme.contact`");
                }
                Ok(())
            }
        }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("authority", &self.name).finish_non_exhaustive()
    }
}

fn code(reason: Reason) -> RevocationReason {
    match reason {
        Reason::Unspecified => RevocationReason::Unspecified,
        Reason::KeyCompromise => RevocationReason::KeyCompromise,
        Reason::Superseded => RevocationReason::Superseded,
        Reason::CessationOfOperation => RevocationReason::CessationOfOperation,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acme::fake::{Fake, Fault, closed_port};
    use crate::config::model::acme::ExternalAccount;

    struct Desktop {
        fake: Fake,
        kept: Vec<AccountFile>,
    }

    impl Desktop {
        async fn new() -> Self {
            Self { fake: Fake::start().await, kept: Vec::new() }
        }

        async fn open(&mut self, account: Option<AccountFile>, contact: &str) -> Result<Session, Failure> {
            let opening = Opening {
                authority: &self.fake.authority,
                ca_pem: Some(self.fake.root.as_bytes()),
                external_key: Some(b"c2VjcmV0"),
                contact,
                account,
            };
            let kept = &mut self.kept;
            open(opening, &mut |file| {
                kept.push(file.clone());
                Ok(())
            })
            .await
        }

        async fn refused(&mut self) -> Failure {
            self.open(None, "a@b.test").await.expect_err("a failure")
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_key_is_kept_before_the_ca_hears_of_it() {
        let mut desk = Desktop::new().await;
        desk.fake.fault("account", Fault::Lost);
        let failure = desk.refused().await;
        assert_eq!(failure.text, "fake: the connection ended before the answer");
        let file = desk.kept.pop().unwrap();
        assert_eq!((&file.url, &file.contact), (&None, &None));
        let session = desk.open(Some(file.clone()), "a@b.test").await.unwrap();
        let found = desk.kept.last().unwrap();
        assert_eq!((found.url.as_deref(), &found.key_pem), (Some(session.account_url()), &file.key_pem));
        assert_eq!(desk.fake.state().accounts.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn an_account_is_found_again_and_told_of_a_new_contact() {
        let mut desk = Desktop::new().await;
        desk.open(None, "a@b.test").await.unwrap();
        assert_eq!(desk.fake.told("account")["contact"], json!(["mailto:a@b.test"]));
        let first = desk.kept.pop().unwrap();
        desk.kept.clear();
        desk.open(Some(first.clone()), "a@b.test").await.unwrap();
        assert!(desk.kept.is_empty() && desk.fake.asked("me") == 0);
        desk.fake.fault("me", Fault::Page(503, ""));
        desk.open(Some(first.clone()), "c@b.test").await.unwrap();
        assert!(desk.kept.is_empty(), "it is told another time");
        desk.open(Some(first.clone()), "c@b.test").await.unwrap();
        assert_eq!(desk.fake.told("me")["contact"], json!(["mailto:c@b.test"]));
        assert!(desk.kept[0] == AccountFile { contact: Some("c@b.test".into()), ..first.clone() });
        desk.fake.fault("me", Fault::Problem(400, "invalidContact", ""));
        desk.kept.clear();
        desk.open(Some(first), "no").await.unwrap();
        assert!(desk.kept.is_empty(), "the CA keeps the old one, and orders go on");
    }

    #[tokio::test(start_paused = true)]
    async fn a_ca_that_forgot_the_account_gets_it_again() {
        let mut desk = Desktop::new().await;
        desk.open(None, "a@b.test").await.unwrap();
        let file = desk.kept.pop().unwrap();
        desk.fake.state().accounts.clear();
        desk.open(Some(file.clone()), "a@b.test").await.unwrap();
        let [.., before, after] = desk.kept.as_slice() else { panic!("both are kept") };
        assert!(before.url.is_none() && *after == file);
    }

    #[tokio::test(start_paused = true)]
    async fn external_accounts_are_bound_where_they_are_wanted() {
        let mut desk = Desktop::new().await;
        desk.fake.state().meta = json!({ "externalAccountRequired": true });
        let failure = desk.refused().await;
        assert_eq!(failure.kind, Kind::Refused);
        assert!(
            failure.text.starts_with("fake needs an external account: set `external_account`"),
            "{failure}"
        );
        desk.fake.authority.external_account =
            Some(ExternalAccount { key_id: "kid-1".into(), key_file: "/etc/key".into() });
        desk.open(None, "a@b.test").await.unwrap();
        let binding = desk.fake.told("account")["externalAccountBinding"].clone();
        assert!(binding["protected"].is_string() && binding["signature"].is_string());
    }

    #[tokio::test(start_paused = true)]
    async fn a_disk_that_keeps_nothing_registers_nothing() {
        let desk = Desktop::new().await;
        let opening = Opening {
            authority: &desk.fake.authority,
            ca_pem: Some(desk.fake.root.as_bytes()),
            external_key: None,
            contact: "a@b.test",
            account: None,
        };
        let full = problem::plain(Kind::Local, "the disk is full");
        let failure = open(opening, &mut |_| Err(full.clone())).await.err().unwrap();
        assert_eq!((failure, desk.fake.asked("account")), (full, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn what_keeps_a_ca_from_answering_is_told_in_one_line() {
        let mut desk = Desktop::new().await;
        for (place, fault, expected) in [
            ("directory", Fault::Page(503, "120"), "fake answers 503 with an HTML page"),
            ("directory", Fault::Page(200, ""), "is an HTML page; is the URL right?"),
            ("directory", Fault::Garbage, "is no ACME directory; is the URL right?"),
            ("directory", Fault::Hang, "fake: no answer within 30 s"),
            ("nonce", Fault::NoNonce, "fake: newNonce gives no nonce"),
            ("account", Fault::Problem(429, "rateLimited", "3"), "fake: as you wish (rateLimited)"),
        ] {
            desk.fake.fault(place, fault);
            let failure = desk.refused().await;
            assert!(failure.text.ends_with(expected), "{failure}");
            let rest = failure.retry_after.is_some();
            assert_eq!(rest, expected.contains("503") || expected.contains("rateLimited"), "{failure}");
        }
        for _ in 0..=NONCES {
            desk.fake.fault("account", Fault::Problem(400, "badNonce", ""));
        }
        assert_eq!(desk.refused().await.kind, Kind::Unavailable);
    }

    #[tokio::test(start_paused = true)]
    async fn a_ca_that_is_not_there_is_told_by_its_address() {
        let mut desk = Desktop::new().await;
        let (_reserved, closed) = closed_port();
        desk.fake.authority.directory = format!("https://{closed}/dir").into();
        assert_eq!(desk.refused().await.text, format!("cannot reach fake: connect to {closed}: refused"));
        desk.fake.authority.directory = "https://no-such-host.invalid/dir".into();
        let told = desk.refused().await.text;
        assert!(told.starts_with("cannot reach fake: no-such-host.invalid does not resolve: "), "{told}");
        desk.fake.authority.directory = "http://ca.test/dir".into();
        assert_eq!(
            desk.refused().await.text,
            "cannot reach fake: http://ca.test/dir is not an https address"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_ca_that_is_not_trusted_is_told_with_the_cure() {
        let mut desk = Desktop::new().await;
        desk.fake.root = Fake::start().await.root;
        let told = desk.refused().await.text;
        assert!(told.contains("TLS with 127.0.0.1: ") && told.ends_with("what `ca_file` holds"), "{told}");
        desk.fake.root = "hello".into();
        let failure = desk.refused().await;
        assert_eq!(failure.kind, Kind::Local);
        assert!(failure.text.starts_with("`ca_file` of fake: holds no certificate"), "{failure}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_account_key_that_is_broken_is_told_with_the_cure() {
        let mut desk = Desktop::new().await;
        let file = AccountFile { url: None, contact: None, key_pem: "x".into() };
        let failure = desk.open(Some(file), "a@b.test").await.err().unwrap();
        assert_eq!(failure.kind, Kind::Local);
        assert!(
            failure.text.ends_with("put the right one back, or remove it to get a new account"),
            "{failure}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn certificates_are_revoked_once() {
        let mut desk = Desktop::new().await;
        let session = desk.open(None, "a@b.test").await.unwrap();
        let root = desk.fake.root.clone();
        session.revoke(root.as_bytes(), Reason::Superseded).await.unwrap();
        assert_eq!(desk.fake.told("revoke")["reason"], 4);
        desk.fake.fault("revoke", Fault::Problem(400, "alreadyRevoked", ""));
        session.revoke(root.as_bytes(), Reason::KeyCompromise).await.unwrap();
        desk.fake.fault("revoke", Fault::Problem(403, "unauthorized", ""));
        let failure = session.revoke(root.as_bytes(), Reason::Unspecified).await.unwrap_err();
        assert_eq!(failure.text, "fake: as you wish (unauthorized)");
        assert_eq!(session.revoke(b"x", Reason::Unspecified).await.unwrap_err().kind, Kind::Local);
    }
}
