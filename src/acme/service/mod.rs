//! The ACME thread: looks at the plan, starts what is due, remembers what came of it, publishes certificates.
//!
//! It has a thread of its own because it waits for disks and makes keys. Time is the wall clock's, looked at again
//! at least once a minute: a timer does not count while a machine is suspended, and a clock may be set.

mod asked;
mod steps;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::future::poll_fn;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use tokio::time::sleep;

use crate::acme::book::Book;
use crate::acme::holdings::Holdings;
use crate::acme::limits::Limits;
use crate::acme::looks::Looks;
use crate::acme::moment::Moment;
use crate::acme::records::Stored;
use crate::acme::schedule::{self, AuthorityView, Plan, SiteView, View};
use crate::acme::status::{CertificateStatus, Reason};
use crate::acme::target::Target;
use crate::acme::tasks::{self, Look, Tasks};
use crate::acme::vault::Vault;
use crate::acme::wanted::Wanted;
use crate::clock;
use crate::config::model::acme::Authority;
use crate::tls::challenges::Challenges;
use crate::tls::managed::Managed;

/// What the thread is asked.
pub enum Command {
    /// To have these certificates from now on; `None`: to order nothing.
    Follow(Option<Box<Target>>),
    /// To order again now.
    Renew(Renewal),
    /// To revoke the certificate of a site, and to order another.
    Revoke(Revocation),
    /// How things stand.
    Report(oneshot::Sender<Vec<CertificateStatus>>),
}

/// What somebody is told: lines for people, or why not.
pub type Told = Result<String, String>;

/// Somebody asks for new certificates.
pub struct Renewal {
    /// Whose: a site, or one of its names; `None`: all.
    pub name: Option<String>,
    /// Whether the answer waits for the outcome.
    pub wait: bool,
    /// For the answer.
    pub reply: oneshot::Sender<Told>,
}

/// Somebody asks to revoke a certificate.
pub struct Revocation {
    /// Whose: a site, or one of its names.
    pub name: String,
    /// What the CA is told.
    pub reason: Reason,
    /// For the answer.
    pub reply: oneshot::Sender<Told>,
}

/// What publishes certificates: called on the ACME thread with all that are held. When it returns, they are shown.
pub type Publish = Box<dyn Fn(Vec<Managed>) + Send>;

/// The thread, seen from others. Dropped, it ends at once; what is on disk is whole at any time.
#[derive(Debug, Clone)]
pub struct Handle(UnboundedSender<Command>);

impl Handle {
    /// Asks the thread.
    pub fn send(&self, command: Command) {
        // It ends only with its last handle.
        let _ = self.0.send(command);
    }
}

/// Starts the thread with the certificates that `vault` has. The receiver ends when the thread has ended, and the
/// folder is nobody's.
pub fn start(
    vault: Vault,
    stored: Vec<Stored>,
    challenges: Challenges,
    publish: Publish,
) -> io::Result<(Handle, oneshot::Receiver<()>)> {
    let (handle, commands) = unbounded_channel();
    let (alive, ended) = oneshot::channel();
    std::thread::Builder::new().name("porchd-acme".to_owned()).spawn(move || {
        // Dropped with the thread, after all that it holds.
        let _alive: oneshot::Sender<()> = alive;
        let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
        match runtime {
            Ok(runtime) => {
                let service = Service::new(vault, stored, challenges, publish, tasks::by_resolver());
                runtime.block_on(service.run(commands));
                // A name that is being resolved can't be interrupted and must not hold up the end.
                runtime.shutdown_background();
            }
            Err(error) => tracing::error!("certificates are not renewed: {error}"),
        }
    })?;
    Ok((Handle(handle), ended))
}

struct Service {
    vault: Rc<Vault>,
    book: Rc<RefCell<Book>>,
    holdings: Holdings,
    tasks: Tasks,
    publish: Publish,
    published: Option<Vec<Managed>>,
    target: Option<Rc<Target>>,
    looks: Looks,
    busy: HashMap<String, Busy>,
    // Sites whose next order does not wait for its time.
    asked: HashSet<String>,
    askers: Vec<Asker>,
    revoking: HashMap<String, oneshot::Sender<Told>>,
    // What this machine did wrong last, by site.
    complaints: HashMap<String, String>,
    began: Instant,
    clock_told: bool,
    jitter: u64,
}

/// What runs for a site.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Busy {
    Looking,
    Ordering,
    Asking,
    Revoking,
}

/// Somebody who waits for renewals.
struct Asker {
    left: Vec<String>,
    lines: Vec<String>,
    failed: bool,
    reply: oneshot::Sender<Told>,
}

impl Asker {
    fn done(&mut self, site: &str, told: &Told) {
        if let Some(index) = self.left.iter().position(|left| left == site) {
            self.left.swap_remove(index);
            self.failed |= told.is_err();
            let (Ok(line) | Err(line)) = told;
            self.lines.push(line.clone());
        }
    }

    fn answer(self) {
        let text = self.lines.join("\n");
        // Whoever asked may be gone.
        let _ = self.reply.send(if self.failed { Err(text) } else { Ok(text) });
    }
}

impl Service {
    fn new(vault: Vault, stored: Vec<Stored>, challenges: Challenges, publish: Publish, look: Look) -> Self {
        let vault = Rc::new(vault);
        let book = Rc::new(RefCell::new(Book::open(&vault, now())));
        Self {
            tasks: Tasks::new(vault.clone(), book.clone(), challenges, look),
            book,
            holdings: Holdings::of(stored),
            vault,
            publish,
            published: None,
            target: None,
            looks: Looks::default(),
            busy: HashMap::new(),
            asked: HashSet::new(),
            askers: Vec::new(),
            revoking: HashMap::new(),
            complaints: HashMap::new(),
            began: clock::now(),
            clock_told: false,
            jitter: clock::random(),
        }
    }

    /// Runs until nobody can ask any more. A panic is a bug, and no reason to let all certificates run out.
    async fn run(mut self, mut commands: UnboundedReceiver<Command>) {
        loop {
            let mut following = pin!(self.follow_plan(&mut commands));
            let polled = poll_fn(|context| {
                let polled = catch_unwind(AssertUnwindSafe(|| following.as_mut().poll(context)));
                polled.map_or(Poll::Ready(false), |poll| poll.map(|()| true))
            });
            if polled.await {
                return;
            }
            tracing::error!("the ACME thread met a bug of porchd and goes on in a minute; please report it");
            sleep(AFTER_PANIC).await;
        }
    }

    async fn follow_plan(&mut self, commands: &mut UnboundedReceiver<Command>) {
        loop {
            let wait = self.turn();
            tokio::select! {
                command = commands.recv() => match command {
                    Some(command) => self.command(command),
                    None => return,
                },
                done = self.tasks.next() => self.done(done),
                () = sleep(wait) => {}
            }
        }
    }

    /// Looks at the plan and starts what is due. Returns how long nothing has to be done.
    fn turn(&mut self) -> Duration {
        let Some(target) = self.target.clone() else { return LONGEST };
        let now = now();
        self.offer(&target);
        if self.clock_is_behind(now) {
            for site in std::mem::take(&mut self.asked) {
                self.answer(
                    &site,
                    Err(format!("{site}: nothing is ordered before this machine's clock is set")),
                );
            }
            return LONGEST;
        }
        self.book.borrow_mut().settle(&self.vault, now);
        let all_saved = self.holdings.save(&self.vault, now);
        let plan = self.plan(&target, now);
        for due in plan.due.iter().cloned() {
            self.begin(&target, due);
        }
        self.answer_asked(&plan);
        // A moment is cut to the second, the sleep is not.
        let wait = plan.wake.time().duration_since(clock::wall()).unwrap_or_default();
        let wait = wait.clamp(SHORTEST, LONGEST);
        if all_saved && self.book.borrow().writable() { wait } else { wait.min(AFTER_DISK) }
    }

    /// A machine that begins with its clock in the past would take all that it remembers for new and, once the clock is
    /// set, for old: nothing is ordered or forgotten for an hour, in which a clock is usually set.
    fn clock_is_behind(&mut self, now: Moment) -> bool {
        let ahead = self.book.borrow().ledger().ahead_of(now);
        let young = clock::now().saturating_duration_since(self.began) < CLOCK_SET;
        let behind = ahead.filter(|_| young);
        if let Some(last) = behind
            && !self.clock_told
        {
            tracing::error!(
                "it is {now} by this machine's clock, but the ledger of ACME attempts goes on to {last}: no certificate is ordered before the clock is right (ntpd), or for an hour"
            );
        }
        self.clock_told = behind.is_some();
        self.clock_told
    }

    /// Publishes what is held, if that is something else than before.
    fn offer(&mut self, target: &Target) {
        let managed = self.holdings.managed(&target.wanted);
        if self.published.as_ref() != Some(&managed) {
            (self.publish)(managed.clone());
            self.published = Some(managed);
        }
    }

    fn plan(&self, target: &Target, now: Moment) -> Plan {
        let authorities: Vec<_> =
            target.acme.authorities.iter().map(|authority| authority_view(authority)).collect();
        let site = |wanted: &'_ Wanted| {
            let site = &*wanted.site;
            (
                wanted.clone(),
                self.looks.without_address(site, clock::now()),
                self.holdings.of_site(site).and_then(|held| held.view()),
            )
        };
        let parts: Vec<_> = target.wanted.iter().map(site).collect();
        let views: Vec<_> = parts
            .iter()
            .map(|(wanted, without_address, held)| SiteView {
                site: &wanted.site,
                names: &wanted.names,
                held: held.clone(),
                without_address,
                busy: self.busy.contains_key(&*wanted.site),
                asked: self.asked.contains(&*wanted.site),
            })
            .collect();
        let book = self.book.borrow();
        schedule::plan(&View {
            now,
            authorities: &authorities,
            challenges: &target.acme.challenges,
            failing_name: target.acme.failing_name,
            sites: &views,
            ledger: book.ledger(),
            writable: book.writable(),
            running_for: clock::now().saturating_duration_since(self.began),
            jitter: self.jitter,
        })
    }
}

fn authority_view(authority: &Authority) -> AuthorityView<'_> {
    AuthorityView { directory: &authority.directory, limits: Limits::of(&authority.directory) }
}

fn now() -> Moment {
    Moment::of(clock::wall())
}

/// Longer than this the wall clock is never left alone.
const LONGEST: Duration = Duration::from_secs(60);
/// How long a clock may take to be set after the start.
const CLOCK_SET: Duration = Duration::from_secs(60 * 60);
/// A plan that wants to be looked at again at once would keep a core busy.
const SHORTEST: Duration = Duration::from_millis(20);
/// What panics each time must not fill the log.
const AFTER_PANIC: Duration = Duration::from_secs(60);
/// Until a disk that took nothing is tried again.
pub const AFTER_DISK: Duration = Duration::from_secs(5);
