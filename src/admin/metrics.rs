//! The figures that Prometheus reads, family by family. Labels are of what is configured or a fixed set.
//!
//! It only reads; nobody is asked and nothing is counted here.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::admin::exposition::{Exposition, Format, Kind};
use crate::admin::status::HomeAddress;
use crate::admin::tunnel::{self, Shown};
use crate::incidents::tunnel::STALE_TUNNEL;
use crate::listener::shared::Shared;
use crate::matrix::class::Class;
use crate::snapshot;
use crate::telemetry::access::Answered;
use crate::telemetry::counters::{Counters, Faults};
use crate::telemetry::figures::{self, ANSWERED, CLASSES, ENDINGS, Ending, Reading};
use crate::tls::live::Live;
use crate::tls::store::{Origin, Served};
use crate::upstream::group::Group;
use crate::upstream::health::Health;
use crate::upstream::outage::{Counts, Outage};

/// Where home is, as whoever follows it has found; nothing: nobody does.
pub type Home = Rc<RefCell<Option<HomeAddress>>>;

/// Where figures come from.
#[derive(Clone)]
pub struct Sources {
    /// Requests.
    pub counters: Counters,
    /// Connections.
    pub shared: Arc<Shared>,
    /// Upstreams, and the generation.
    pub live: snapshot::Live,
    /// Certificates.
    pub certificates: Arc<Live>,
    /// Reloads.
    pub reloads: Rc<Reloads>,
    /// The tunnel home.
    pub tunnel: Rc<Shown>,
    /// Where home is.
    pub home: Home,
    /// When porchd began.
    pub began: SystemTime,
}

impl Sources {
    /// Nothing is counted yet of a porchd that began at `began`.
    pub fn new(
        live: &snapshot::Live,
        certificates: &Arc<Live>,
        shared: &Arc<Shared>,
        began: SystemTime,
    ) -> Self {
        Self {
            counters: Counters::default(),
            shared: shared.clone(),
            live: live.clone(),
            certificates: certificates.clone(),
            reloads: Rc::new(Reloads::new(began)),
            tunnel: Rc::default(),
            home: Home::default(),
            began,
        }
    }
}

/// What became of reloads; the start is none.
#[derive(Debug)]
pub struct Reloads {
    done: Cell<u64>,
    refused: Cell<u64>,
    last_done: Cell<SystemTime>,
    last_was_done: Cell<bool>,
}

impl Reloads {
    /// There was none since the start at `began`.
    pub fn new(began: SystemTime) -> Self {
        Self {
            done: Cell::new(0),
            refused: Cell::new(0),
            last_done: Cell::new(began),
            last_was_done: Cell::new(true),
        }
    }

    /// One was put in force.
    pub fn done(&self, now: SystemTime) {
        self.done.set(self.done.get() + 1);
        self.last_done.set(now);
        self.last_was_done.set(true);
    }

    /// One changed nothing.
    pub fn refused(&self) {
        self.refused.set(self.refused.get() + 1);
        self.last_was_done.set(false);
    }
}

/// All figures of now.
pub fn text(sources: &Sources, format: Format, now: Instant) -> String {
    let to = &mut Exposition::new(format);
    process(to, sources);
    let reading = sources.counters.read(now);
    requests(to, &reading);
    let faults = sources.counters.faults();
    edge_answers(to, &faults);
    connections(to, &sources.shared);
    limits(to, &sources.shared, &faults);
    let snapshot = sources.live.load();
    // In the configuration's order: a text that is read again has the same one.
    let named = snapshot.config.upstreams.iter().filter_map(|upstream| snapshot.groups.get(&upstream.name));
    let groups: Vec<&Group> = named.map(Arc::as_ref).collect();
    parked(to, &groups);
    outages(to, &groups, &sources.tunnel);
    backends(to, &groups);
    tunnel::figures(to, &sources.tunnel);
    home(to, sources.home.borrow().as_ref());
    certificates(to, sources.certificates.load().all());
    std::mem::replace(to, Exposition::new(format)).finish()
}

/// Without anybody who follows it there are no such figures.
fn home(to: &mut Exposition, home: Option<&HomeAddress>) {
    let Some(home) = home else { return };
    let help = "Times that the address of home has changed.";
    to.family(Kind::Counter, "porchd_home_address_changes", "", help).sample(&[], home.changes);
    let help = "When the nameserver last answered without a fault, in Unix time; 0: not yet.";
    let answered = home.answered.map_or(0, |at| unix(at.time()));
    to.family(Kind::Gauge, "porchd_home_address_last_success_timestamp_seconds", "seconds", help)
        .sample(&[], answered);
    let help = "Updates that could not be told where home is.";
    to.family(Kind::Gauge, "porchd_home_address_updates_failing", "", help).sample(&[], home.failing.len());
}

fn process(to: &mut Exposition, sources: &Sources) {
    let version = env!("CARGO_PKG_VERSION");
    to.family(Kind::Info, "porchd_build", "", "The porchd that runs.").sample(&[("version", version)], 1);
    to.family(Kind::Gauge, "porchd_start_time_seconds", "seconds", "When porchd began, in Unix time.")
        .sample(&[], unix(sources.began));
    let reloads = &sources.reloads;
    let mut counts = to.family(Kind::Counter, "porchd_reloads", "", "Reloads by what became of them.");
    counts.sample(&[("result", "done")], reloads.done.get());
    counts.sample(&[("result", "refused")], reloads.refused.get());
    let help = "Whether the last reload was put in force; 1 as long as there was none.";
    to.family(Kind::Gauge, "porchd_last_reload_successful", "", help)
        .sample(&[], u8::from(reloads.last_was_done.get()));
    let help = "When the configuration in force was taken up, in Unix time.";
    to.family(Kind::Gauge, "porchd_last_reload_success_timestamp_seconds", "seconds", help)
        .sample(&[], unix(reloads.last_done.get()));
    let help = "Number of the generation in force, counted from 1 since the start.";
    to.family(Kind::Gauge, "porchd_generation", "", help).sample(&[], sources.live.load().generation);
}

fn requests(to: &mut Exposition, reading: &Reading) {
    let help =
        "Requests by what they are for, class of status (left: the client did not wait), and who answered.";
    let mut family = to.family(Kind::Counter, "porchd_requests", "", help);
    for class in CLASSES {
        for (by, answered) in ANSWERED {
            for ending in ENDINGS.into_iter().filter(|ending| (by, *ending) != (Answered::Home, Ending::Left))
            {
                let labels = [("class", class.name()), ("status", ending.name()), ("answered", answered)];
                family.sample(&labels, reading.requests(class, by, ending));
            }
        }
    }
    let help =
        "From a request's head until the head of its answer, waiting for home with it; long polls left out.";
    let mut family = to.family(Kind::Histogram, "porchd_request_duration_seconds", "seconds", help);
    for class in CLASSES.into_iter().filter(|class| *class != Class::Sync) {
        family.histogram(&[("class", class.name())], figures::bounds(class), reading.latency(class));
    }
    let help = "From a long poll's head until the head of its answer, most of which is waiting for news.";
    to.family(Kind::Histogram, "porchd_long_poll_duration_seconds", "seconds", help).histogram(
        &[],
        figures::bounds(Class::Sync),
        reading.latency(Class::Sync),
    );
}

fn edge_answers(to: &mut Exposition, faults: &Faults) {
    let help = "Answers that the edge gave by itself or had to break off, by the reason in the access log.";
    let mut family = to.family(Kind::Counter, "porchd_edge_answers", "", help);
    faults.iter().for_each(|(why, count)| family.sample(&[("why", why)], count));
}

fn connections(to: &mut Exposition, shared: &Shared) {
    let counters = &shared.counters;
    to.family(Kind::Gauge, "porchd_connections_open", "", "Connections of clients that are open.")
        .sample(&[], shared.permits.open());
    to.family(Kind::Counter, "porchd_connections_accepted", "", "Connections that were accepted.")
        .sample(&[], counters.accepted.get());
    let help = "Connections that did not come through PROXY header and handshake.";
    to.family(Kind::Counter, "porchd_connections_failed", "", help).sample(&[], counters.failed.get());
    let mut family = to.family(Kind::Counter, "porchd_tls_handshakes", "", "TLS handshakes with clients.");
    for (result, count) in
        [("full", &counters.shaken), ("resumed", &counters.resumed), ("failed", &counters.unshaken)]
    {
        family.sample(&[("result", result)], count.get());
    }
}

/// Limits whose refusals are answers, by the reason of these, and as their keys or names are.
const ANSWERED_LIMITS: [(&str, &str); 8] = [
    ("park-full", "park"),
    ("rate-limited", "rate"),
    ("body-too-large", "body"),
    ("body-timeout", "body_progress"),
    ("request-timeout", "request_head"),
    ("head-too-large", "head"),
    ("target-too-long", "target"),
    ("overload", "overload"),
];

fn limits(to: &mut Exposition, shared: &Shared, faults: &Faults) {
    let help = "How often a limit was hit; connections: accepting paused, connections_shed: one that idled was closed for another, others: somebody was refused.";
    let mut family = to.family(Kind::Counter, "porchd_limits_hit", "", help);
    let counters = &shared.counters;
    for (limit, count) in [
        ("connections", &counters.paused),
        ("connections_per_address", &counters.too_many),
        ("handshake", &counters.timed_out),
    ] {
        family.sample(&[("limit", limit)], count.get());
    }
    family.sample(&[("limit", "connections_shed")], shared.permits.shed());
    for (why, limit) in ANSWERED_LIMITS {
        family.sample(&[("limit", limit)], faults.get(why).copied().unwrap_or_default());
    }
}

fn parked(to: &mut Exposition, groups: &[&Group]) {
    let counts: Vec<(&str, Counts)> =
        groups.iter().map(|group| (name(group), group.lot().counts())).collect();
    let mut family = to.family(Kind::Gauge, "porchd_parked_requests", "", "Requests that wait for home now.");
    counts.iter().for_each(|(upstream, counts)| family.sample(&[("upstream", upstream)], counts.now));
    let mut family = to.family(Kind::Counter, "porchd_parked", "", "Requests that ever waited for home.");
    counts.iter().for_each(|(upstream, counts)| family.sample(&[("upstream", upstream)], counts.parked));
    let help = "Requests that waited, by their end; refused: there was no place to wait in.";
    let mut family = to.family(Kind::Counter, "porchd_parked_ended", "", help);
    for (upstream, counts) in &counts {
        for (result, count) in [
            ("delivered", counts.delivered),
            ("expired", counts.expired),
            ("left", counts.left),
            ("refused", counts.refused),
        ] {
            family.sample(&[("upstream", upstream), ("result", result)], count);
        }
    }
}

fn outages(to: &mut Exposition, groups: &[&Group], tunnel: &Shown) {
    let outages: Vec<_> = groups.iter().map(|group| (name(group), group.lot().outage())).collect();
    let mut family = to.family(Kind::Counter, "porchd_outages", "", "Outages of an upstream that began.");
    for (upstream, outage) in &outages {
        family.sample(&[("upstream", upstream)], outage.as_ref().map_or(0, |outage| outage.number));
    }
    let help = "1 while an outage lasts, with what it is put down to.";
    let mut family = to.family(Kind::Gauge, "porchd_outage", "", help);
    for (upstream, outage) in &outages {
        let lasting = outage.as_ref().filter(|outage| outage.ended.is_none());
        if let Some(cause) = lasting.and_then(Outage::cause) {
            let stale = tunnel.is_stale() && cause.is_unanswered();
            let cause = if stale { STALE_TUNNEL } else { cause.token() };
            family.sample(&[("upstream", upstream), ("cause", cause)], 1);
        }
    }
    let help = "Whether a backend of the upstream can be used.";
    let mut family = to.family(Kind::Gauge, "porchd_upstream_up", "", help);
    groups.iter().for_each(|group| family.sample(&[("upstream", name(group))], u8::from(!group.is_down())));
}

fn backends(to: &mut Exposition, groups: &[&Group]) {
    let each = || groups.iter().flat_map(|group| group.backends().iter().map(|one| (name(group), one)));
    let mut family =
        to.family(Kind::Gauge, "porchd_backend_health", "", "1 for the state that a backend is in.");
    let mut seen = HashSet::new();
    // Two backends of one address are probed alike.
    for (upstream, backend) in each().filter(|(upstream, backend)| seen.insert((*upstream, backend.label())))
    {
        for state in [Health::Up, Health::Down, Health::Unknown] {
            let labels =
                [("upstream", upstream), ("backend", &**backend.label()), ("state", &state.to_string())];
            family.sample(&labels, u8::from(backend.health() == state));
        }
    }
    let mut sums: BTreeMap<_, (u32, u32)> = BTreeMap::new();
    for (upstream, backend) in each() {
        let (open, waiting) = sums.entry((upstream, backend.label())).or_default();
        (*open, *waiting) = (*open + backend.open(), *waiting + backend.waiting());
    }
    let help = "Connections to a backend that stand or are being opened.";
    let mut family = to.family(Kind::Gauge, "porchd_backend_connections", "", help);
    for ((upstream, backend), (open, _)) in &sums {
        family.sample(&[("upstream", upstream), ("backend", backend)], open);
    }
    let help = "Requests that wait for a place among the connections of a backend.";
    let mut family = to.family(Kind::Gauge, "porchd_backend_requests_waiting", "", help);
    for ((upstream, backend), (_, waiting)) in &sums {
        family.sample(&[("upstream", upstream), ("backend", backend)], waiting);
    }
}

fn certificates(to: &mut Exposition, all: &[Arc<Served>]) {
    // The one that ends first stands for all of a name; a stand-in is nobody's loss.
    let mut ends: BTreeMap<String, SystemTime> = BTreeMap::new();
    for served in all {
        let name = match &served.origin {
            Origin::File(path) => path.display().to_string(),
            Origin::Acme(site) => site.to_string(),
            Origin::InternalCa => String::from("internal CA"),
            Origin::StandIn => continue,
        };
        let end = served.facts.not_after;
        ends.entry(name).and_modify(|known| *known = end.min(*known)).or_insert(end);
    }
    let help = "When a certificate that is shown ends, in Unix time.";
    let mut family =
        to.family(Kind::Gauge, "porchd_certificate_not_after_timestamp_seconds", "seconds", help);
    ends.iter().for_each(|(name, end)| family.sample(&[("certificate", name)], unix(*end)));
}

fn name(group: &Group) -> &str {
    &group.def().name
}

fn unix(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
