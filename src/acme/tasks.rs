//! What the ACME thread waits for: looks at names, attempts, questions for renewal windows. A few at a time.
//!
//! They share one account session for each CA, which is opened when it is first needed: a CA that is down must
//! not stop a start.

use std::cell::RefCell;
use std::collections::HashMap;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::task::{Id, JoinSet};

use crate::acme::account::{self, Opening, Session};
use crate::acme::attempt::{self, Issued, Job, Keep};
use crate::acme::book::Book;
use crate::acme::failure::{Failure, Kind};
use crate::acme::moment::Moment;
use crate::acme::preflight::{self, Seen};
use crate::acme::records::{AccountFile, PendingOrder, RenewalWindow};
use crate::acme::renewal_info;
use crate::acme::status::Reason;
use crate::acme::target::{Secrets, Target};
use crate::acme::vault::Vault;
use crate::acme::vault::error::VaultError;
use crate::clock;
use crate::config::model::acme::{Authority, Challenge};
use crate::tls::challenges::Challenges;

/// More at a time would only make a CA slower to answer each.
const MOST: usize = 4;

/// Longer than this no CA is asked about an order that was not fetched: it may answer nonsense for ever.
const ORDERS_LIVE: Duration = Duration::from_secs(24 * 60 * 60);

/// What is running.
pub struct Tasks {
    running: JoinSet<Done>,
    sites: HashMap<Id, String>,
    look: Look,
    shared: Rc<Shared>,
}

/// How names are looked at, given what is to be ordered: `by_resolver`, but in a test.
pub type Look = Box<dyn Fn(Rc<Target>, Vec<Arc<str>>, Challenges) -> Pin<Box<dyn Future<Output = Seen>>>>;

/// Names are looked at from this machine.
pub fn by_resolver() -> Look {
    Box::new(|target, names, challenges| {
        Box::pin(async move {
            preflight::look(&names, &target.acme.challenges, target.listening, &challenges).await
        })
    })
}

struct Shared {
    vault: Rc<Vault>,
    book: Rc<RefCell<Book>>,
    challenges: Challenges,
    sessions: RefCell<HashMap<Arc<str>, Slot>>,
}

/// The session of one CA. Two attempts that begin together must not both make an account.
type Slot = Rc<Mutex<Option<Opened>>>;

/// A session, and with what it was opened.
struct Opened {
    session: Rc<Session>,
    with: Settings,
}

/// What a session depends on. A reload may change it.
#[derive(PartialEq)]
struct Settings {
    authority: Authority,
    secrets: Secrets,
    contact: Arc<str>,
}

/// One order to be attempted.
#[derive(Debug, Clone)]
pub struct Order {
    /// The site.
    pub site: String,
    /// The directory URL of the CA.
    pub authority: String,
    /// The names, and how each is proved.
    pub names: Vec<(Arc<str>, Challenge)>,
    /// That CA issued a certificate for the same names last.
    pub renewal: bool,
    /// It is sent only if the disk remembers it. The plan lets others through that can't wait for the disk.
    pub remembered: bool,
    /// The chain that this one follows, for the CA's own book-keeping.
    pub replaces: Option<Vec<u8>>,
}

impl Order {
    /// The names alone.
    pub fn plain_names(&self) -> Vec<Arc<str>> {
        self.names.iter().map(|(name, _)| name.clone()).collect()
    }
}

/// What one task came to.
pub enum Done {
    /// A site's names were looked at.
    Looked(String, Seen),
    /// An order was attempted. True: the CA was told to look for what proves its names.
    Attempted(Order, bool, Box<Result<Issued, Failure>>),
    /// The renewal window of a site's certificate was asked for; `None`: the CA has none to give.
    Window(String, Result<Option<(RenewalWindow, Moment)>, Failure>),
    /// A site's certificate was to be revoked.
    Revoked(String, Result<(), Failure>),
    /// What ran for a site panicked, which is told already.
    Lost(String),
}

impl Tasks {
    /// None yet.
    pub fn new(vault: Rc<Vault>, book: Rc<RefCell<Book>>, challenges: Challenges, look: Look) -> Self {
        let shared = Shared { vault, book, challenges, sessions: RefCell::default() };
        Self { running: JoinSet::new(), sites: HashMap::new(), look, shared: Rc::new(shared) }
    }

    /// Whether another one may begin.
    pub fn has_room(&self) -> bool {
        self.running.len() < MOST
    }

    /// The next that is done; waits for ever while none runs.
    pub async fn next(&mut self) -> Done {
        match self.running.join_next_with_id().await {
            Some(Ok((id, done))) => {
                self.sites.remove(&id);
                done
            }
            Some(Err(error)) => Done::Lost(self.sites.remove(&error.id()).unwrap_or_default()),
            None => std::future::pending().await,
        }
    }

    fn begin(&mut self, site: String, task: impl Future<Output = Done> + 'static) {
        let id = self.running.spawn_local(task).id();
        self.sites.insert(id, site);
    }

    /// Looks at the names of a site before they are ordered.
    pub fn look(&mut self, target: &Rc<Target>, site: String, names: Vec<Arc<str>>) {
        let looking = (self.look)(target.clone(), names, self.shared.challenges.clone());
        self.begin(site.clone(), async move { Done::Looked(site, looking.await) });
    }

    /// Attempts an order.
    pub fn order(&mut self, target: &Rc<Target>, order: Order) {
        let (target, shared) = (target.clone(), self.shared.clone());
        self.begin(order.site.clone(), async move {
            let mut proving = false;
            let result = shared.attempt(&target, &order, &mut proving).await;
            shared.after(&order.authority, result.as_ref().err());
            Done::Attempted(order, proving, Box::new(result))
        });
    }

    /// Asks when a certificate should be renewed.
    pub fn ask_window(&mut self, target: &Rc<Target>, site: String, authority: String, chain: Vec<u8>) {
        let (target, shared) = (target.clone(), self.shared.clone());
        self.begin(site.clone(), async move {
            let answer = shared.window(&target, &authority, &chain).await;
            shared.after(&authority, answer.as_ref().err());
            Done::Window(site, answer)
        });
    }

    /// Revokes a certificate.
    pub fn revoke(
        &mut self,
        target: &Rc<Target>,
        site: String,
        authority: String,
        chain: Vec<u8>,
        reason: Reason,
    ) {
        let (target, shared) = (target.clone(), self.shared.clone());
        self.begin(site.clone(), async move {
            let result = match shared.session(&target, &authority).await {
                Ok(session) => session.revoke(&chain, reason).await,
                Err(failure) => Err(failure),
            };
            shared.after(&authority, result.as_ref().err());
            Done::Revoked(site, result)
        });
    }
}

impl Shared {
    async fn attempt(&self, target: &Target, order: &Order, proving: &mut bool) -> Result<Issued, Failure> {
        let session = self.session(target, &order.authority).await?;
        if let Some(issued) = self.resumed(&session, order).await? {
            return Ok(issued);
        }
        let authority = target.acme.authorities.iter().find(|one| *one.directory == *order.authority);
        let job = Job {
            site: &order.site,
            names: &order.names,
            profile: authority.and_then(|authority| authority.profile.as_deref()),
            key_type: target.acme.key_type,
            replaces: order.replaces.as_deref(),
        };
        attempt::run(&session, &job, &self.challenges, &mut Keeper { shared: self, order, proving }).await
    }

    /// What an earlier process had ordered and not fetched, if it is for the same names.
    async fn resumed(&self, session: &Session, order: &Order) -> Result<Option<Issued>, Failure> {
        let pending = match self.vault.pending(&order.site) {
            Ok(Some(pending)) => pending,
            Ok(None) => return Ok(None),
            Err(error) if error.is_broken() => {
                tracing::warn!("{error}");
                return self.vault.forget_pending(&order.site).map(|()| None).map_err(local);
            }
            Err(error) => return Err(local(error)),
        };
        let age = Moment::of(clock::wall()).since(pending.at);
        let same = age < ORDERS_LIVE
            && pending.authority == order.authority
            && pending.names.len() == order.names.len()
            && pending.names.iter().all(|name| order.names.iter().any(|(other, _)| name == other));
        let issued = if same { attempt::resume(session, pending).await? } else { None };
        if issued.is_none() {
            self.vault.forget_pending(&order.site).map_err(local)?;
        }
        Ok(issued)
    }

    async fn window(
        &self,
        target: &Target,
        authority: &str,
        chain: &[u8],
    ) -> Result<Option<(RenewalWindow, Moment)>, Failure> {
        let session = self.session(target, authority).await?;
        if !session.has_renewal_info() {
            return Ok(None);
        }
        renewal_info::ask(&session, chain).await.map(Some)
    }

    /// The session with a CA, opened if it is not, or was with other settings.
    async fn session(&self, target: &Target, directory: &str) -> Result<Rc<Session>, Failure> {
        let slot = self.sessions.borrow_mut().entry(directory.into()).or_default().clone();
        let mut slot = slot.lock().await;
        let mut authorities = target.acme.authorities.iter().zip(&target.secrets);
        let Some((authority, secrets)) = authorities.find(|(one, _)| *one.directory == *directory) else {
            return Err(Failure {
                kind: Kind::Refused,
                retry_after: None,
                text: format!("{directory} is no longer in `acme`"),
            });
        };
        let contact = target.acme.contact.clone();
        let with = Settings { authority: authority.clone(), secrets: secrets.clone(), contact };
        if let Some(opened) = slot.as_ref().filter(|opened| opened.with == with) {
            return Ok(opened.session.clone());
        }
        let opening = Opening {
            authority,
            ca_pem: secrets.ca_pem.as_deref(),
            external_key: secrets.external_key.as_deref(),
            contact: &target.acme.contact,
            account: self.vault.account(directory).map_err(local)?,
        };
        let mut keep = |file: &AccountFile| {
            if file.url.is_none() {
                let now = Moment::of(clock::wall());
                self.book
                    .borrow_mut()
                    .note(&self.vault, now, |ledger| ledger.account_attempted(directory, now));
            }
            self.vault.keep_account(directory, file).map_err(local)
        };
        let session = Rc::new(account::open(opening, &mut keep).await?);
        *slot = Some(Opened { session: session.clone(), with });
        Ok(session)
    }

    /// After a failure at the CA its directory is read anew.
    fn after(&self, directory: &str, failure: Option<&Failure>) {
        if failure.is_none_or(|failure| matches!(failure.kind, Kind::Names(_) | Kind::Local)) {
            return;
        }
        // The slot stays: with another beside it, two could make an account. Who holds it reads the directory anyway.
        if let Some(slot) = self.sessions.borrow().get(directory)
            && let Ok(mut slot) = slot.try_lock()
        {
            *slot = None;
        }
    }
}

/// Keeps what an attempt must not lose.
struct Keeper<'a> {
    shared: &'a Shared,
    order: &'a Order,
    proving: &'a mut bool,
}

impl Keep for Keeper<'_> {
    fn ordering(&mut self) -> Result<(), Failure> {
        let Shared { vault, book, .. } = self.shared;
        let Order { site, authority, renewal, remembered, .. } = self.order;
        let (mut book, now) = (book.borrow_mut(), Moment::of(clock::wall()));
        let noted = book.note_surely(vault, now, *remembered, |ledger| {
            ledger.order_attempted(authority, site, &self.order.plain_names(), *renewal, now);
        });
        let why = book.trouble().filter(|_| !noted).map(|trouble| trouble.text.clone());
        why.map_or(Ok(()), |text| Err(Failure { kind: Kind::Local, retry_after: None, text }))
    }

    fn proving(&mut self) {
        *self.proving = true;
    }

    fn pending(&mut self, order: &PendingOrder) -> Result<(), Failure> {
        let Shared { vault, book, .. } = self.shared;
        book.borrow_mut().note(vault, order.at, |ledger| ledger.finalizing(&order.authority, &order.site));
        // The ledger could be written a moment ago, or the order would not be: it is worth its certificate.
        if let Err(error) = vault.keep_pending(order) {
            tracing::warn!("{error}; should porchd end before the certificate is here, it is ordered again");
        }
        Ok(())
    }
}

fn local(error: VaultError) -> Failure {
    error.failure()
}

#[cfg(test)]
mod tests {
    use tokio::task::yield_now;

    use super::*;
    use crate::acme::fake::{Fake, Fault};
    use crate::acme::preflight::Listening;
    use crate::config::model::acme::{Acme, FailingName, KeyType};
    use crate::os::folder::Folder;

    /// A vault that goes away with its test, and what uses it.
    struct Scratch {
        path: std::path::PathBuf,
        shared: Shared,
    }

    impl Scratch {
        fn new() -> Self {
            let path = std::env::temp_dir().join(format!("porchd-tasks-{:x}", clock::random()));
            let vault = Rc::new(Vault::open(Folder::make(&path).unwrap()));
            let book = Rc::new(RefCell::new(Book::open(&vault, Moment::of(clock::wall()))));
            let (challenges, sessions) = (Challenges::default(), RefCell::default());
            Self { path, shared: Shared { vault, book, challenges, sessions } }
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }

    fn target(fake: &Fake, contact: &str) -> Target {
        let acme = Acme {
            contact: contact.into(),
            authorities: vec![fake.authority.clone()],
            challenges: vec![Challenge::Http01],
            key_type: KeyType::P256,
            failing_name: FailingName::LeaveOut,
        };
        let secrets = vec![Secrets { ca_pem: Some(fake.root.clone().into_bytes()), external_key: None }];
        Target { acme, secrets, wanted: Vec::new(), listening: Listening { ipv6: false } }
    }

    fn order(fake: &Fake) -> Order {
        Order {
            site: String::from("a.test"),
            authority: fake.authority.directory.to_string(),
            names: vec![("a.test".into(), Challenge::Http01)],
            renewal: false,
            remembered: true,
            replaces: None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn attempts_beside_one_that_fails_make_one_account() {
        let (scratch, fake) = (Scratch::new(), Fake::start().await);
        let (shared, target, first) = (&scratch.shared, target(&fake, "a@b.test"), RefCell::new(false));
        fake.fault("directory", Fault::Page(503, ""));
        let directory = &*fake.authority.directory;
        let fails = async {
            let failure = shared.session(&target, directory).await.err();
            assert!(failure.is_some());
            shared.after(directory, failure.as_ref());
            *first.borrow_mut() = true;
        };
        let waits = shared.session(&target, directory);
        let comes_later = async {
            while !*first.borrow() {
                yield_now().await;
            }
            shared.session(&target, directory).await
        };
        let ((), one, other) = tokio::join!(fails, waits, comes_later);
        assert!(Rc::ptr_eq(&one.unwrap(), &other.unwrap()));
        assert_eq!(fake.state().accounts.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn session_is_opened_anew_for_other_settings_and_after_a_failure() {
        let (scratch, fake) = (Scratch::new(), Fake::start().await);
        let (shared, directory) = (&scratch.shared, &*fake.authority.directory);
        let (old, new) = (target(&fake, "a@b.test"), target(&fake, "c@b.test"));
        let first = shared.session(&old, directory).await.unwrap();
        assert!(Rc::ptr_eq(&first, &shared.session(&old, directory).await.unwrap()));
        let second = shared.session(&new, directory).await.unwrap();
        assert_eq!(fake.told("me")["contact"][0], "mailto:c@b.test");
        assert!(!Rc::ptr_eq(&first, &second));
        let failure = |kind| Failure { kind, retry_after: None, text: String::new() };
        shared.after(directory, Some(&failure(Kind::Names(Vec::new()))));
        shared.after(directory, Some(&failure(Kind::Local)));
        assert!(Rc::ptr_eq(&second, &shared.session(&new, directory).await.unwrap()));
        shared.after(directory, Some(&failure(Kind::Unavailable)));
        assert!(!Rc::ptr_eq(&second, &shared.session(&new, directory).await.unwrap()));
    }

    #[tokio::test(start_paused = true)]
    async fn order_is_counted_when_it_is_sent_and_not_before() {
        let (scratch, fake) = (Scratch::new(), Fake::start().await);
        let (shared, target, order) = (&scratch.shared, target(&fake, "a@b.test"), order(&fake));
        let orders = || shared.vault.ledger_text().unwrap().unwrap_or_default().matches("\"names\"").count();
        fake.fault("directory", Fault::Page(503, ""));
        assert!(shared.attempt(&target, &order, &mut false).await.is_err());
        assert_eq!((orders(), fake.asked("new")), (0, 0));
        fake.fault("new", Fault::Problem(429, "rateLimited", ""));
        assert!(shared.attempt(&target, &order, &mut false).await.is_err());
        assert_eq!((orders(), fake.asked("new")), (1, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn order_that_can_not_be_counted_is_not_sent() {
        let (scratch, fake) = (Scratch::new(), Fake::start().await);
        let (shared, target, order) = (&scratch.shared, target(&fake, "a@b.test"), order(&fake));
        shared.session(&target, &order.authority).await.unwrap();
        // Nothing can be put in the place of a folder that is not empty.
        let ledger = scratch.path.join("ledger.json");
        std::fs::remove_file(&ledger).unwrap();
        std::fs::create_dir_all(ledger.join("in the way")).unwrap();
        for _ in 0..2 {
            let failure = shared.attempt(&target, &order, &mut false).await.err().unwrap();
            assert_eq!((failure.kind, fake.asked("new")), (Kind::Local, 0));
            assert!(failure.text.contains("ledger.json"), "{}", failure.text);
        }
        let order = Order { remembered: false, ..order };
        fake.fault("new", Fault::Problem(429, "rateLimited", ""));
        assert!(shared.attempt(&target, &order, &mut false).await.is_err());
        assert_eq!(fake.asked("new"), 1);
    }
}
