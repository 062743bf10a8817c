//! One backend as all threads share it: its health, its addresses, its counts, the evidence of it.
//!
//! The prober writes health and addresses, serving threads read them; nothing here waits or connects.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::sync::Notify;

use crate::config::model::BackendAddress;

use super::health::Health;

/// One backend, as it runs. It outlives reloads that keep its address.
#[derive(Debug)]
pub struct Backend {
    id: u64,
    address: BackendAddress,
    label: Arc<str>,
    tls: Option<Tls>,
    health: AtomicU8,
    resolved: ArcSwap<Vec<SocketAddr>>,
    open: AtomicU32,
    waiting: AtomicU32,
    in_flight: AtomicU32,
    evidence: Evidence,
}

/// How TLS to one backend is begun.
#[derive(Debug, Clone)]
pub struct Tls {
    /// The group's configuration.
    pub config: Arc<ClientConfig>,
    /// The name that its certificate must cover.
    pub name: ServerName<'static>,
}

/// What serving threads saw of a backend, for the prober.
#[derive(Debug)]
struct Evidence {
    born: Instant,
    /// Milliseconds after `born` of the last answer that was noted, plus 1; 0: none.
    answered: AtomicU64,
    failed: AtomicBool,
    news: Notify,
    way: Notify,
    /// Milliseconds that the last connection took to stand; 0: none was opened yet.
    connected_in: AtomicU32,
    cuts: Cuts,
}

/// Outages of the way to a backend: nothing of it came here, and what was on its way may be lost.
#[derive(Debug, Default)]
struct Cuts {
    /// How many are over.
    count: AtomicU64,
    /// Milliseconds after `born` of the last one's begin and end.
    began: AtomicU64,
    ended: AtomicU64,
}

impl Backend {
    /// A backend of which nothing is known.
    pub fn new(address: &BackendAddress, tls: Option<Tls>) -> Self {
        let resolved = match address {
            BackendAddress::Socket(addr) => vec![*addr],
            BackendAddress::Name(..) | BackendAddress::Unix(_) => Vec::new(),
        };
        Self {
            id: next_id(),
            address: address.clone(),
            label: address.to_string().into(),
            tls,
            health: AtomicU8::new(0),
            resolved: ArcSwap::from_pointee(resolved),
            open: AtomicU32::new(0),
            waiting: AtomicU32::new(0),
            in_flight: AtomicU32::new(0),
            evidence: Evidence {
                born: crate::clock::now(),
                answered: AtomicU64::new(0),
                failed: AtomicBool::new(false),
                news: Notify::new(),
                way: Notify::new(),
                connected_in: AtomicU32::new(0),
                cuts: Cuts::default(),
            },
        }
    }

    /// Tells it from every other backend of this process.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Where it is, as configured.
    pub fn address(&self) -> &BackendAddress {
        &self.address
    }

    /// Requests in flight, over all threads, where the choice of a backend counts them.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Its address as text, for logs.
    pub fn label(&self) -> &Arc<str> {
        &self.label
    }

    /// How TLS to it is begun, if it is.
    pub fn tls(&self) -> Option<&Tls> {
        self.tls.as_ref()
    }

    /// Its health, as the prober published it.
    pub fn health(&self) -> Health {
        match self.health.load(Ordering::Relaxed) {
            0 => Health::Unknown,
            1 => Health::Up,
            _ => Health::Down,
        }
    }

    /// Publishes its health; the prober's alone.
    pub fn publish(&self, health: Health) {
        let code = match health {
            Health::Unknown => 0,
            Health::Up => 1,
            Health::Down => 2,
        };
        self.health.store(code, Ordering::Relaxed);
    }

    /// The addresses that it has now; none: its name is not resolved.
    pub fn resolved(&self) -> arc_swap::Guard<Arc<Vec<SocketAddr>>> {
        self.resolved.load()
    }

    /// Publishes the addresses of its name; the prober's alone.
    pub fn publish_addresses(&self, addresses: Vec<SocketAddr>) {
        if **self.resolved.load() != addresses {
            self.resolved.store(Arc::new(addresses));
        }
    }

    /// A request was answered at `now`: evidence that it is Up.
    ///
    /// While it is Up this writes one word a second and wakes nobody.
    pub fn saw_answer(&self, now: Instant) {
        let millis = self.millis(now) + 1;
        let before = self.evidence.answered.load(Ordering::Relaxed);
        let up = self.health() == Health::Up;
        if before / 1000 < millis / 1000 || !up {
            self.evidence.answered.store(millis, Ordering::Relaxed);
        }
        if !up {
            self.evidence.news.notify_one();
        }
    }

    /// A connection to it could not be opened, or broke: a reason to probe at once.
    pub fn saw_failure(&self) {
        if self.health() != Health::Down && !self.evidence.failed.swap(true, Ordering::Relaxed) {
            self.evidence.news.notify_one();
        }
    }

    /// A connection to it stands while it is Down: a reason to probe at once.
    pub fn saw_way(&self) {
        self.evidence.way.notify_one();
    }

    /// Waits until a connection to it stood while it was Down.
    pub async fn way(&self) {
        self.evidence.way.notified().await;
    }

    /// A connection to it stood after `time`.
    pub fn connected(&self, time: Duration) {
        let millis = u32::try_from(time.as_millis()).unwrap_or(u32::MAX).max(1);
        if self.evidence.connected_in.load(Ordering::Relaxed) != millis {
            self.evidence.connected_in.store(millis, Ordering::Relaxed);
        }
    }

    /// How long a connection to it may take until others that wait should know: several times as long as the
    /// last one took, a second at least, `most` at most.
    pub fn patience(&self, most: Duration) -> Duration {
        match self.evidence.connected_in.load(Ordering::Relaxed) {
            0 => most,
            millis => (Duration::from_millis(millis.into()) * 4).max(Duration::from_secs(1)).min(most),
        }
    }

    /// The way to it was cut between the two times, and is open again; the prober's alone.
    pub fn was_cut(&self, began: Instant, ended: Instant) {
        let cuts = &self.evidence.cuts;
        cuts.began.store(self.millis(began), Ordering::Relaxed);
        cuts.ended.store(self.millis(ended), Ordering::Relaxed);
        cuts.count.fetch_add(1, Ordering::Release);
    }

    /// How often the way to it was cut and opened again.
    pub fn cuts(&self) -> u64 {
        self.evidence.cuts.count.load(Ordering::Acquire)
    }

    /// Whether the way to it was cut after a connection was `opened`, and opened again after the last byte
    /// went out on it at `sent`: what went out, or its answer, may be lost without a trace.
    pub fn cut_off(&self, opened: Instant, sent: Instant) -> bool {
        let cuts = &self.evidence.cuts;
        self.cuts() > 0
            && self.millis(opened) < cuts.began.load(Ordering::Relaxed)
            && self.millis(sent) < cuts.ended.load(Ordering::Relaxed)
    }

    fn millis(&self, at: Instant) -> u64 {
        let passed = at.saturating_duration_since(self.evidence.born).as_millis();
        u64::try_from(passed).unwrap_or(u64::MAX)
    }

    /// Waits until there is evidence.
    pub async fn news(&self) {
        self.evidence.news.notified().await;
    }

    /// Takes a failure off: whether one was seen since the last call.
    pub fn take_failure(&self) -> bool {
        self.evidence.failed.swap(false, Ordering::Relaxed)
    }

    /// Whether a request was answered within the last `span` before `now`, or a second before that.
    pub fn answered_within(&self, span: Duration, now: Instant) -> bool {
        const ONE: Duration = Duration::from_secs(1);
        self.answered_since(now.checked_sub(span + ONE).unwrap_or(self.evidence.born))
    }

    /// Whether a request was answered at `then` or later; while it is Up, the last answer of a second may be missed.
    pub fn answered_since(&self, then: Instant) -> bool {
        self.evidence.answered.load(Ordering::Relaxed) > self.millis(then)
    }

    /// Connections to it that stand or are being opened, over all threads.
    pub fn open(&self) -> u32 {
        self.open.load(Ordering::Relaxed)
    }

    /// Requests on any thread that wait for a place among its connections.
    pub fn waiting(&self) -> u32 {
        self.waiting.load(Ordering::Relaxed)
    }
}

/// A count of a backend that goes down again when this is dropped.
#[derive(Debug)]
pub struct Counted {
    backend: Arc<Backend>,
    count: fn(&Backend) -> &AtomicU32,
}

impl Counted {
    /// A place among its connections; `None`: it has `most` already.
    pub fn connection(backend: &Arc<Backend>, most: Option<u32>) -> Option<Self> {
        let most = most.unwrap_or(u32::MAX);
        let room = |open: u32| (open < most).then(|| open + 1);
        backend.open.fetch_update(Ordering::AcqRel, Ordering::Relaxed, room).ok()?;
        Some(Self { backend: Arc::clone(backend), count: |backend| &backend.open })
    }

    /// A request in flight.
    pub fn request(backend: &Arc<Backend>) -> Self {
        backend.in_flight.fetch_add(1, Ordering::Relaxed);
        Self { backend: Arc::clone(backend), count: |backend| &backend.in_flight }
    }

    /// A request that waits for a place.
    pub fn waiting(backend: &Arc<Backend>) -> Self {
        backend.waiting.fetch_add(1, Ordering::Relaxed);
        Self { backend: Arc::clone(backend), count: |backend| &backend.waiting }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        (self.count)(&self.backend).fetch_sub(1, Ordering::AcqRel);
    }
}

/// A number that no other group or backend of this process has.
///
/// Ids tell generations of groups and backends apart on every thread; an address of memory may be used
/// again.
pub fn next_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_counted_up_to_the_most() {
        let backend = &Arc::new(Backend::new(&BackendAddress::Unix("/s".into()), None));
        let one = Counted::connection(backend, Some(1)).unwrap();
        assert!(Counted::connection(backend, Some(1)).is_none());
        drop(one);
        assert!(Counted::connection(backend, Some(1)).is_some());
        assert_eq!(backend.open(), 0);
    }

    #[test]
    fn answers_are_remembered_by_the_second() {
        let backend = Backend::new(&BackendAddress::Unix("/s".into()), None);
        let now = crate::clock::now();
        assert!(!backend.answered_within(Duration::from_secs(9), now));
        backend.saw_answer(now);
        assert!(backend.answered_within(Duration::from_secs(3), now + Duration::from_secs(3)));
        assert!(!backend.answered_within(Duration::from_secs(3), now + Duration::from_secs(5)));
    }
}
