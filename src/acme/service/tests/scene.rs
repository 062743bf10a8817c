//! The service, the CA that it asks, the folder that it keeps, and those who listen to it.

use std::cell::RefCell;
use std::collections::HashSet;
use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::mpsc::unbounded_channel;
use tokio::sync::oneshot::{self, Receiver};
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{sleep, timeout};

use crate::acme::fake::Fake;
use crate::acme::preflight::{Listening, Seen};
use crate::acme::service::{Command, Handle, Publish, Renewal, Revocation, Service, Told};
use crate::acme::status::CertificateStatus;
use crate::acme::status::Reason;
use crate::acme::target::{Secrets, Target};
use crate::acme::tasks::Look;
use crate::acme::vault::Vault;
use crate::acme::wanted::Wanted;
use crate::clock;
use crate::config::model::acme::{Acme, Challenge, FailingName, KeyType};
use crate::os::folder::Folder;
use crate::tls::challenges::Challenges;
use crate::tls::managed::Managed;

/// Everything. The folder goes away with its test.
pub(super) struct Scene {
    pub(super) fake: Fake,
    pub(super) path: PathBuf,
    /// Names that have no address; a look at `panic.test` panics.
    pub(super) without_address: Rc<RefCell<HashSet<String>>>,
    /// All that was published, and whether `waits` was unanswered at that time.
    pub(super) published: Arc<Mutex<Vec<Vec<Managed>>>>,
    pub(super) waits: Arc<Mutex<Option<Receiver<Told>>>>,
    log: Arc<Mutex<Vec<u8>>>,
    running: Option<(Handle, JoinHandle<()>)>,
}

/// Plays `scene` on a runtime as the ACME thread has one.
pub(super) fn play(scene: impl AsyncFnOnce(&mut Scene)) {
    let mut builder = Builder::new_current_thread();
    let runtime = builder.enable_all().start_paused(true).build_local(LocalOptions::default()).unwrap();
    runtime.block_on(async {
        clock::steered::follow();
        let mut set = Scene::new().await;
        let writer = Lines(set.log.clone());
        let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).with_ansi(false);
        let _guard = tracing::subscriber::set_default(subscriber.without_time().with_target(false).finish());
        set.start();
        // In the end a test that waits for what never comes must fail.
        timeout(Duration::from_secs(60 * 86_400), scene(&mut set)).await.unwrap();
    });
}

impl Scene {
    async fn new() -> Self {
        Self {
            fake: Fake::start().await,
            path: std::env::temp_dir().join(format!("porchd-service-{:x}", clock::random())),
            without_address: Rc::default(),
            published: Arc::default(),
            waits: Arc::default(),
            log: Arc::default(),
            running: None,
        }
    }

    /// Starts the service, as if the process began.
    pub(super) fn start(&mut self) {
        let vault = Vault::open(Folder::make(&self.path).unwrap());
        let (stored, errors) = vault.certificates();
        assert!(errors.is_empty(), "{errors:?}");
        let challenges = Challenges::default();
        self.fake.state().challenges = Some(challenges.clone());
        let (handle, commands) = unbounded_channel();
        let service = Service::new(vault, stored, challenges, self.publish(), self.look());
        self.running = Some((Handle(handle), spawn_local(service.run(commands))));
    }

    /// Ends it in the middle of whatever it does, as a kill does.
    pub(super) async fn kill(&mut self) {
        let (_, running) = self.running.take().unwrap();
        running.abort();
        assert!(running.await.unwrap_err().is_cancelled());
    }

    fn publish(&self) -> Publish {
        let (published, waits) = (self.published.clone(), self.waits.clone());
        Box::new(move |managed| {
            if let Some(answer) = &mut *waits.lock().unwrap() {
                assert!(answer.try_recv().is_err(), "answered before it is shown");
            }
            published.lock().unwrap().push(managed);
        })
    }

    fn look(&self) -> Look {
        let without = self.without_address.clone();
        Box::new(move |_, names, _| {
            let without = without.clone();
            Box::pin(async move {
                let mut without = without.borrow_mut();
                assert!(!(names.iter().any(|name| **name == *"panic.test") && without.remove("panic.test")));
                let names = names.into_iter().filter(|name| without.contains(&**name));
                Seen { without_address: names.collect(), warnings: Vec::new() }
            })
        })
    }

    pub(super) fn send(&self, command: Command) {
        self.running.as_ref().unwrap().0.send(command);
    }

    /// What is to be had of these sites: each is called by its first name.
    pub(super) fn target(&self, sites: &[&[&str]]) -> Target {
        let wanted = sites.iter().map(|names| Wanted {
            site: names[0].into(),
            names: names.iter().map(|name| Arc::from(*name)).collect(),
        });
        Target {
            acme: Acme {
                contact: "admin@a.test".into(),
                authorities: vec![self.fake.authority.clone()],
                challenges: vec![Challenge::Http01, Challenge::TlsAlpn01],
                key_type: KeyType::P256,
                failing_name: FailingName::LeaveOut,
            },
            secrets: vec![Secrets { ca_pem: Some(self.fake.root.clone().into()), external_key: None }],
            wanted: wanted.collect(),
            listening: Listening { ipv6: false },
        }
    }

    pub(super) fn follow(&self, sites: &[&[&str]]) {
        self.send(Command::Follow(Some(Box::new(self.target(sites)))));
    }

    /// Follows and waits until all of them have certificates.
    pub(super) async fn has(&self, sites: &[&[&str]]) {
        self.follow(sites);
        self.until(|| sites.iter().all(|names| self.shown(names[0]).is_some())).await;
    }

    pub(super) fn asks(&self, name: Option<&str>, wait: bool) -> Receiver<Told> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Renew(Renewal { name: name.map(str::to_owned), wait, reply }));
        answer
    }

    pub(super) async fn renew(&self, name: Option<&str>, wait: bool) -> Told {
        self.asks(name, wait).await.unwrap()
    }

    pub(super) async fn revoke(&self, name: &str) -> Told {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Revoke(Revocation { name: name.to_owned(), reason: Reason::Superseded, reply }));
        answer.await.unwrap()
    }

    pub(super) async fn report(&self) -> Vec<CertificateStatus> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Report(reply));
        answer.await.unwrap()
    }

    /// How the site stands.
    pub(super) async fn status(&self, site: &str) -> CertificateStatus {
        self.report().await.into_iter().find(|status| status.name == site).unwrap()
    }

    /// The chain that is shown for a site.
    pub(super) fn shown(&self, site: &str) -> Option<Vec<u8>> {
        let published = self.published.lock().unwrap();
        let found = published.last()?.iter().find(|managed| *managed.site == *site)?;
        Some(found.pair.cert.clone())
    }

    /// The chain that is shown once it is another than `old`.
    pub(super) async fn shown_after(&self, site: &str, old: &[u8]) -> Vec<u8> {
        self.until(|| self.shown(site).is_some_and(|shown| shown != old)).await;
        self.shown(site).unwrap()
    }

    /// Waits until it is so.
    pub(super) async fn until(&self, so: impl Fn() -> bool) {
        while !so() {
            rest(Duration::from_millis(50)).await;
        }
    }

    /// How often it was told.
    pub(super) fn told(&self, text: &str) -> usize {
        String::from_utf8_lossy(&self.log.lock().unwrap()).matches(text).count()
    }

    pub(super) fn kept(&self, site: &str) -> bool {
        self.path.join(format!("certificates/{site}.pem")).is_file()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Time passes, of which a paused clock has plenty.
pub(super) async fn rest(span: Duration) {
    sleep(span).await;
}

/// Where log lines go.
#[derive(Clone)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
