//! Follows the address of home: asks, believes, has it told, and remembers what was told.
//!
//! Its task waits for others alone. The acts are the privileged side's: it asks the control thread for them, one at a
//! time. What it remembers is written by another thread: a dead disk costs the memory and nothing else.

use std::cell::RefCell;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc::WeakUnboundedSender;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, spawn_blocking, spawn_local};
use tokio::time::sleep;

use crate::acme::moment::Moment;
use crate::admin::metrics::Home;
use crate::admin::status::HomeAddress as Shown;
use crate::clock;
use crate::config::model::home::Address;
use crate::home::address::{Family, Follower, News, Round};
use crate::home::ask;
use crate::home::ledger::{Ledger, Told};
use crate::home::update::{Outcome, Step, UpdateError};
use crate::os::disk_fault;
use crate::os::folder::Folder;
use crate::supervisor::control::Request;

const NAME: &str = "home.json";
const BROKEN: &str = "home.json.broken";
/// Some hundred addresses are less; a wrong file must not eat the memory.
const LARGEST: u64 = 256 * 1024;
/// Between two times that everything is told anew: a firewall may have been loaded, which empties its sets.
const ANEW: Duration = Duration::from_secs(600);

/// What the control thread is asked for.
#[derive(Debug)]
pub enum Asked {
    /// To have this done.
    Act {
        /// The section that it is about.
        address: Arc<Address>,
        /// The update.
        which: usize,
        /// The step.
        step: Step,
        /// Who waits for it.
        reply: oneshot::Sender<Result<Outcome, UpdateError>>,
    },
    /// To remember that home has moved.
    Moved {
        /// The name that is followed.
        name: Arc<str>,
        /// The whole story.
        text: String,
    },
}

/// Follows the address of home, if the configuration says so.
pub struct HomeAddress {
    requests: WeakUnboundedSender<Request>,
    memory: Memory,
    ledger: Rc<RefCell<Ledger>>,
    following: Option<(Arc<Address>, JoinHandle<()>)>,
    shown: Home,
}

/// Where the ledger is kept.
#[derive(Clone, Default)]
struct Memory {
    folder: Option<Arc<Mutex<Kept>>>,
    failing: Rc<RefCell<bool>>,
}

struct Kept {
    folder: Folder,
    /// Counts what was given to be written: what comes late is not written over what is newer.
    given: u64,
    written: u64,
}

impl HomeAddress {
    /// Follows nothing yet. What it finds is shown in `shown`.
    pub fn new(requests: WeakUnboundedSender<Request>, shown: Home) -> Self {
        let ledger = Rc::new(RefCell::new(Ledger::default()));
        Self { requests, memory: Memory::default(), ledger, following: None, shown }
    }

    /// Goes on with what `folder` remembers, and keeps it there.
    pub fn keep_in(&mut self, folder: Folder) {
        *self.ledger.borrow_mut() = take(&folder);
        let kept = Kept { folder, given: 0, written: 0 };
        self.memory.folder = Some(Arc::new(Mutex::new(kept)));
    }

    /// Follows what `address` says from now on; to be called on the control thread.
    pub fn follow(&mut self, address: Option<&Address>) {
        if self.following.as_ref().map(|(followed, _)| &**followed) == address {
            return;
        }
        if let Some((before, task)) = self.following.take() {
            task.abort();
            if address.is_none() {
                tracing::info!("{} is followed no more; what was told where home is stays", before.name);
            }
        }
        *self.shown.borrow_mut() = None;
        let Some(address) = address else { return };
        let address = Arc::new(address.clone());
        for left in self.ledger.borrow_mut().follow(&address.name, &address.updates) {
            tracing::info!("{left} is updated no more; what porchd put there stays");
        }
        let (believed, since) = {
            let ledger = self.ledger.borrow();
            (ledger.believed().0.to_vec(), ledger.believed().1)
        };
        let follower = Follower::new(address.every, address.allow_private, &believed);
        *self.shown.borrow_mut() = Some(Shown {
            name: address.name.to_string(),
            nameserver: address.nameserver.to_string(),
            addresses: follower.believed(),
            since: (!believed.is_empty())
                .then(|| Moment::of(std::time::UNIX_EPOCH + Duration::from_secs(since))),
            ..Shown::default()
        });
        let task = Task {
            address: address.clone(),
            follower,
            requests: self.requests.clone(),
            memory: self.memory.clone(),
            ledger: self.ledger.clone(),
            shown: self.shown.clone(),
        };
        self.following = Some((address, spawn_local(task.run())));
    }

    /// Follows nothing any more, and writes nothing. Nothing is taken out of tables and sets: home is where it is,
    /// whether porchd runs or not.
    pub fn stop(&mut self) {
        if let Some((_, task)) = self.following.take() {
            task.abort();
        }
        self.memory.folder = None;
    }
}

impl Drop for HomeAddress {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What the folder has; a file that can't be read is set aside, and told.
fn take(folder: &Folder) -> Ledger {
    let path = folder.path().join(NAME);
    let read = folder.read(NAME, LARGEST).map_err(|error| disk_fault::reason(&error)).and_then(|bytes| {
        let Some(bytes) = bytes else { return Ok(Ledger::default()) };
        let text = String::from_utf8(bytes).map_err(|_| String::from("this is not text"))?;
        Ledger::read(&text).map_err(|error| error.to_string())
    });
    read.unwrap_or_else(|why| {
        let aside = match folder.rename(NAME, BROKEN) {
            Ok(()) => format!("it is called {BROKEN} now"),
            Err(_) => String::from("it is written over"),
        };
        let path = path.display();
        tracing::warn!("{path}: {why}; {aside}, and what porchd put into tables before stays there");
        Ledger::default()
    })
}

/// The one that follows.
struct Task {
    address: Arc<Address>,
    follower: Follower,
    requests: WeakUnboundedSender<Request>,
    memory: Memory,
    ledger: Rc<RefCell<Ledger>>,
    shown: Home,
}

impl Task {
    async fn run(mut self) {
        let mut anew = clock::now() + ANEW;
        loop {
            let Address { nameserver, name, .. } = &*self.address;
            let answers = ask::both(nameserver, name).await;
            let Round { news, again } = self.follower.observe(answers, clock::now());
            self.show_round();
            self.tell_all(&news);
            if clock::now() >= anew {
                anew = clock::now() + ANEW;
                self.ledger.borrow_mut().refresh();
            }
            self.update().await;
            sleep(again).await;
        }
    }

    fn show_round(&self) {
        let Some(shown) = &mut *self.shown.borrow_mut() else { return };
        let now = Moment::of(clock::wall());
        shown.asked = Some(now);
        let fault = self.follower.fault();
        shown.fault = fault.map(|(family, fault)| format!("{}: {fault}", family.record()));
        if self.follower.answered() {
            shown.answered = Some(now);
        }
    }

    /// What is so of both families is told once.
    fn tell_all(&mut self, news: &[News]) {
        for (at, one) in news.iter().enumerate() {
            let rest = &news[at + 1..];
            let (both, told) = match one {
                News::Fault(_, fault) => {
                    let same = |other: &News| matches!(other, News::Fault(_, like) if like == fault);
                    (rest.iter().any(same), news[..at].iter().any(same))
                }
                News::Works(_) => {
                    let same = |other: &News| matches!(other, News::Works(_));
                    (rest.iter().any(same), news[..at].iter().any(same))
                }
                News::Moved { .. } | News::Gone(_) => (false, false),
            };
            if !told {
                self.tell(one, both);
            }
        }
    }

    fn tell(&mut self, news: &News, both: bool) {
        let name = &self.address.name;
        let record = |family: &Family| if both { "A and AAAA" } else { family.record() };
        match news {
            News::Moved { from, to } => self.moved(from, to),
            News::Fault(family, fault) => {
                let stays = match &self.follower.believed()[..] {
                    [] => String::from("home is not known yet"),
                    known => format!("home is taken to be at {} still", listed(known)),
                };
                tracing::warn!("{name}, {}: {fault}; {stays}", record(family));
            }
            News::Works(family) => tracing::info!("{name}, {}: it is answered again", record(family)),
            News::Gone(family) => {
                tracing::info!("{name}, {}: without an address for a day; home has none", record(family));
            }
        }
    }

    fn moved(&mut self, from: &[IpAddr], to: &[IpAddr]) {
        let name = &self.address.name;
        let now = Moment::of(clock::wall());
        let seconds = now.time().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs();
        self.ledger.borrow_mut().believe(to, seconds);
        let first = from.is_empty();
        if let Some(shown) = &mut *self.shown.borrow_mut() {
            (shown.addresses, shown.since) = (to.to_vec(), Some(now));
            shown.changes += u64::from(!first);
        }
        if first {
            tracing::info!("home is at {} ({name})", listed(to));
            return;
        }
        let text = format!("home moved from {} to {}", listed(from), listed(to));
        tracing::info!("{text} ({name})");
        self.ask(Asked::Moved { name: name.clone(), text });
    }

    /// Has everything told that was not told yet. First what is new, everywhere; then nothing keeps the old.
    async fn update(&self) {
        let updates = &self.address.updates;
        let steps = self.ledger.borrow_mut().additions(updates);
        // Before the first act: what is put there must be known after a crash.
        self.save().await;
        self.act(steps).await;
        let steps = self.ledger.borrow().removals(updates);
        self.act(steps).await;
        self.save().await;
    }

    async fn act(&self, steps: Vec<(usize, Step)>) {
        for (which, step) in steps {
            let (reply, answer) = oneshot::channel();
            self.ask(Asked::Act { address: self.address.clone(), which, step: step.clone(), reply });
            // Whoever is asked no more is at an end, and so is this.
            let (Ok(result), Some(update)) = (answer.await, self.address.updates.get(which)) else { return };
            let told = self.ledger.borrow_mut().took(update, &step, &result);
            match told {
                Some(Told::Done(text)) => tracing::info!("{text}"),
                Some(Told::Failed(text)) => tracing::warn!("{text}; it is tried again"),
                Some(Told::Unfit(text)) => tracing::info!("{text}"),
                Some(Told::Works(name)) => tracing::info!("{name}: it works again"),
                None => {}
            }
        }
        if let Some(shown) = &mut *self.shown.borrow_mut() {
            shown.failing = self.ledger.borrow().failing();
        }
    }

    fn ask(&self, asked: Asked) {
        // At an end nobody is left to hear of it.
        self.requests.upgrade().map(|control| control.send(Request::Home(asked)));
    }

    /// Writes the ledger, if it has changed, and waits until it is there.
    async fn save(&self) {
        if !self.ledger.borrow_mut().is_due() {
            return;
        }
        let text = self.ledger.borrow().text();
        self.memory.write(text).await;
    }
}

impl Memory {
    async fn write(&self, text: String) {
        let Some(kept) = self.folder.clone() else { return };
        let locked = |kept: &Mutex<Kept>| -> u64 {
            let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.given += 1;
            kept.given
        };
        let number = locked(&kept);
        let written = spawn_blocking(move || {
            let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            if kept.written > number {
                return Ok(());
            }
            kept.written = number;
            kept.folder.write(NAME, text.as_bytes())
        });
        let Ok(result) = written.await else { return };
        let failed = self.failing.replace(result.is_err());
        match result {
            Err(error) if !failed => {
                let why = disk_fault::reason(&error);
                tracing::warn!("{NAME}: {why}; after a restart porchd will not know what it put into tables");
            }
            Ok(()) if failed => tracing::info!("{NAME} is kept on disk again"),
            _ => {}
        }
    }
}

fn listed(all: &[IpAddr]) -> String {
    all.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(", ")
}
