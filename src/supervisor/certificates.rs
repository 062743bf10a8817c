//! Certificates as the control thread holds them: what is shown, what the ACME thread is asked, how all stand.

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, SystemTime};

use tokio::sync::mpsc::WeakUnboundedSender;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::acme::moment::Moment;
use crate::acme::service::{self, Command, Handle};
use crate::acme::status::{CertificateStatus, Source, State as Standing};
use crate::acme::target::Target;
use crate::acme::wanted::Wanted;
use crate::config::model::HostPattern;
use crate::supervisor::control::Request;
use crate::supervisor::state::State;
use crate::tls::challenges::Challenges;
use crate::tls::live::Live;
use crate::tls::store::{Origin, Served, Store};

/// What is shown, and who orders.
pub struct Certificates {
    /// What all threads show.
    pub live: Arc<Live>,
    /// What is offered to CAs that look.
    pub challenges: Challenges,
    /// The state folder.
    pub state: State,
    service: Option<Service>,
    target: Option<Target>,
    // Where the ACME thread sends what it has. Weak: `Running` must be able to end it all.
    publish_to: WeakUnboundedSender<Request>,
    complaints: Vec<String>,
}

impl Certificates {
    /// Shows `store`; nothing is ordered yet.
    pub fn new(store: Arc<Store>, state: State, publish_to: WeakUnboundedSender<Request>) -> Self {
        Self {
            live: Arc::new(Live::new(store)),
            challenges: Challenges::default(),
            state,
            service: None,
            target: None,
            publish_to,
            complaints: Vec::new(),
        }
    }

    /// Has `target` ordered from now on.
    pub fn follow(&mut self, target: Option<Target>) {
        if self.target == target {
            return;
        }
        self.target = target.clone();
        if target.is_some() && self.service.is_none() {
            self.service = self.start();
        }
        if let Some(service) = &self.service {
            service.handle.send(Command::Follow(target.map(Box::new)));
        }
    }

    /// The names to order have changed underneath, by a certificate's file.
    pub fn follow_names(&mut self, wanted: Vec<Wanted>) {
        if let Some(target) = &self.target {
            self.follow(Some(Target { wanted, ..target.clone() }));
        }
    }

    /// Orders nothing any more; for good.
    pub fn stop_ordering(&mut self) {
        self.service = None;
    }

    /// The same, and waits until nothing is written any more.
    pub async fn stop_ordering_and_wait(&mut self) {
        let Some(Service { handle, ended }) = self.service.take() else { return };
        drop(handle);
        self.target = None;
        if timeout(LAST_WRITE, ended).await.is_err() {
            tracing::error!("the thread that orders certificates does not end: is the disk well?");
        }
    }

    fn start(&mut self) -> Option<Service> {
        let (vault, stored) = self.state.take()?;
        let publish_to = self.publish_to.clone();
        let publish = Box::new(move |managed| {
            let (shown, done) = channel();
            // At a stop nobody is left to hear of it; the disk has it.
            publish_to.upgrade().map(|control| control.send(Request::Ordered(managed, shown)));
            let _ = done.recv_timeout(SHOWN);
        });
        let started = service::start(vault, stored, self.challenges.clone(), publish);
        started
            .inspect_err(|error| {
                tracing::error!("no certificate is ordered: its thread did not start: {error}")
            })
            .ok()
            .map(|(handle, ended)| Service { handle, ended })
    }

    /// What a look at the certificates found to complain of, without what it had found the last time.
    pub fn new_complaints(&mut self, found: Vec<String>) -> Vec<String> {
        let new = found.iter().filter(|one| !self.complaints.contains(one)).cloned().collect();
        self.complaints = found;
        new
    }

    /// How all certificates stand. The future does not hold up the control thread.
    pub fn report(&self, now: SystemTime) -> impl Future<Output = Vec<CertificateStatus>> + use<> {
        let own = own(&self.live.load(), Moment::of(now));
        let ordered = self.service.as_ref().map(|service| {
            let (reply, answer) = oneshot::channel();
            service.handle.send(Command::Report(reply));
            answer
        });
        async move {
            let mut all = match ordered {
                Some(answer) => answer.await.unwrap_or_default(),
                None => Vec::new(),
            };
            all.extend(own);
            all
        }
    }

    /// The ACME thread, if certificates are ordered.
    pub fn service(&self) -> Option<&Handle> {
        self.service.as_ref().filter(|_| self.target.is_some()).map(|service| &service.handle)
    }
}

/// The thread that orders.
struct Service {
    handle: Handle,
    /// Told by dropping.
    ended: oneshot::Receiver<()>,
}

/// Certificates that nobody orders.
fn own(store: &Store, now: Moment) -> Vec<CertificateStatus> {
    store.all().iter().filter_map(|served| of_served(served, now)).collect()
}

fn of_served(served: &Served, now: Moment) -> Option<CertificateStatus> {
    let (name, source) = match &served.origin {
        Origin::File(path) => (path.display().to_string(), Source::File),
        Origin::InternalCa => (String::from("internal CA"), Source::InternalCa),
        Origin::Acme(_) | Origin::StandIn => return None,
    };
    let (from, to) = (Moment::of(served.facts.not_before), Moment::of(served.facts.not_after));
    Some(CertificateStatus {
        name,
        state: if to <= now { Standing::Expired } else { Standing::Valid },
        source,
        names: served.facts.names.iter().map(HostPattern::to_string).collect(),
        left_out: Vec::new(),
        issuer: Some(served.facts.issuer.clone()),
        from: Some(from),
        to: Some(to),
        next: None,
        last_error: None,
    })
}

/// The files of certificates that `store` has and `old` has not.
pub fn new_files(old: &Store, store: &Store) -> Vec<String> {
    let known = |served: &Arc<Served>| old.all().iter().any(|other| Arc::ptr_eq(other, served));
    let new = store.all().iter().filter(|served| !known(served));
    new.filter_map(|served| match &served.origin {
        Origin::File(path) => Some(path.display().to_string()),
        _ => None,
    })
    .collect()
}

/// What is told of new files.
pub fn taken_up(files: &[String]) -> String {
    format!("certificates taken up from {}", files.join(", "))
}

/// A reload may keep the control thread from showing what was ordered, and nobody must wait for it for ever.
const SHOWN: Duration = Duration::from_secs(15);
/// A thread that writes when it is told to end has written by then.
const LAST_WRITE: Duration = Duration::from_secs(10);
