//! Watches the backends of a group: asks them, resolves their names, publishes health and addresses.
//!
//! It runs on the control thread. What it finds is handed to a callback; what is logged is the caller's.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::{AbortHandle, JoinSet};

use crate::config::model::{Probe, ProbeKind};

use super::backend::Backend;
use super::group::Group;
use super::health::{Health, Monitor, Outcome, ProbeFailure, Streak, Transition};
use super::keeper;
use super::larder;
use super::pace::Pace;
use super::probe;
use super::resolve::Resolver;

/// Least time between two probes that evidence asked for.
const LEAST_GAP: Duration = Duration::from_millis(250);

/// What a prober tells.
#[derive(Debug, Clone)]
pub struct Report {
    /// The upstream's name.
    pub group: Arc<str>,
    /// The backend's address.
    pub backend: Arc<str>,
    /// What there is to tell.
    pub news: News,
}

/// What there is to tell of a backend.
#[derive(Debug, Clone)]
pub enum News {
    /// Its health changed.
    Changed(Transition),
    /// It answers 404 to the probe; told once.
    NoProbePath(Arc<str>),
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "upstream \"{}\": backend {} ", self.group, self.backend)?;
        match &self.news {
            News::NoProbePath(path) => {
                write!(f, "answers but has no {path}: check the address or set probe.path")
            }
            News::Changed(change) => {
                write!(f, "is {}", change.to)?;
                if let Some(cause) = change.cause {
                    write!(f, ": {cause}")?;
                }
                match change.since {
                    Some(since) if change.from != Health::Unknown => {
                        let span = change.at.saturating_duration_since(since).as_secs();
                        write!(f, " (was {} for {span} s)", change.from)
                    }
                    _ => Ok(()),
                }
            }
        }
    }
}

/// The probers of a configuration's groups. Dropped, it stops them all.
#[derive(Debug, Default)]
pub struct Probers {
    running: HashMap<u64, AbortHandle>,
    tasks: JoinSet<()>,
}

impl Probers {
    /// Watches exactly `groups`: starts what is new, stops what is gone.
    pub fn follow(&mut self, groups: &[Arc<Group>], tell: &(impl Fn(Report) + Clone + Send + 'static)) {
        self.running.retain(|id, task| {
            let stays = groups.iter().any(|group| group.id() == *id);
            if !stays {
                task.abort();
            }
            stays
        });
        for group in groups {
            self.running
                .entry(group.id())
                .or_insert_with(|| self.tasks.spawn(run(Arc::clone(group), tell.clone())));
        }
        while self.tasks.try_join_next().is_some() {}
    }
}

/// Watches the backends of `group`, and the lot where requests wait for them, until it is dropped.
pub async fn run(group: Arc<Group>, tell: impl Fn(Report) + Clone + Send + 'static) {
    let mut tasks = JoinSet::new();
    tasks.spawn(keeper::keep(Arc::clone(&group)));
    tasks.spawn(larder::keep(Arc::clone(&group)));
    for index in 0..group.backends().len() {
        tasks.spawn(Watch::new(Arc::clone(&group), index, tell.clone()).run());
    }
    while tasks.join_next().await.is_some() {}
}

/// One backend being watched.
struct Watch<F> {
    group: Arc<Group>,
    index: usize,
    tell: F,
    monitor: Monitor,
    streak: Streak,
    pace: Pace,
    resolver: Option<Resolver>,
    told_no_path: bool,
}

impl<F: Fn(Report)> Watch<F> {
    fn new(group: Arc<Group>, index: usize, tell: F) -> Self {
        let probe = &group.def().probe;
        let backend = &group.backends()[index];
        let monitor = Monitor::new(backend.health(), probe.down_after, probe.up_after);
        let resolver = Resolver::of(backend.address());
        Self {
            group,
            index,
            tell,
            monitor,
            streak: Streak::default(),
            pace: Pace::default(),
            resolver,
            told_no_path: false,
        }
    }

    async fn run(mut self) {
        let mut failed = false;
        loop {
            let resolved = self.resolve(failed).await;
            let begun = crate::clock::now();
            let outcome = if resolved { self.probe(begun).await } else { Some(unresolved()) };
            failed = matches!(outcome, Some(Outcome::Failed(_)));
            if let Some(outcome) = outcome {
                self.observe(outcome, begun);
            }
            self.pause(begun).await;
        }
    }

    /// Looks the backend's name up where that is due; false: it has no address at all.
    async fn resolve(&mut self, failed: bool) -> bool {
        let backend = Arc::clone(self.backend());
        let Some(resolver) = &mut self.resolver else { return true };
        let patience = self.group.def().probe.timeout;
        if let Some(addresses) = resolver.refresh(failed, patience).await {
            backend.publish_addresses(addresses);
        }
        !backend.resolved().is_empty()
    }

    /// One probe; `None`: it says nothing.
    async fn probe(&mut self, begun: Instant) -> Option<Outcome> {
        let group = Arc::clone(&self.group);
        let def = group.def();
        let deadline = begun + def.probe.timeout;
        match probe::ask(self.backend(), def, deadline).await {
            Ok(status) => {
                if status == Some(404) {
                    self.tell_no_path();
                }
                self.paced(crate::clock::now().saturating_duration_since(begun));
                Some(Outcome::Answered)
            }
            // A backend that answers requests is slow to answer probes, not gone.
            Err(ProbeFailure::AnswerTimeout)
                if self.backend().answered_within(def.probe.timeout, crate::clock::now()) =>
            {
                self.paced(def.probe.timeout);
                None
            }
            Err(failure) => Some(Outcome::Failed(failure)),
        }
    }

    /// A probe took so long to be answered.
    fn paced(&mut self, took: Duration) {
        let turn = match self.monitor.health() {
            Health::Up => self.pace.observe(took),
            // A backend that wakes up is slow: that belongs to its absence.
            Health::Down | Health::Unknown => self.pace.was_away(),
        };
        if let Some(turn) = turn {
            self.group.lot().paced(turn, crate::clock::now());
        }
    }

    /// Takes note of what a probe that began at `begun` (or a request) met with.
    fn observe(&mut self, outcome: Outcome, begun: Instant) {
        let now = crate::clock::now();
        match outcome {
            Outcome::Failed(failure) => {
                let answered = self.backend().answered_since(begun);
                self.streak.failed(failure, begun, answered);
            }
            Outcome::Answered => {
                if let Some((began, ended)) = self.streak.answered(self.monitor.health(), now) {
                    self.backend().was_cut(began, ended);
                }
            }
        }
        let change = self.monitor.observe(outcome, now);
        if let Some(change) = change {
            self.backend().publish(change.to);
            if change.to == Health::Up {
                self.group.larder().look();
            }
            self.tell(News::Changed(change));
        }
        // After what was published: whoever is released looks at it.
        match outcome {
            Outcome::Failed(failure) if self.group.is_down() => {
                self.group.lot().away(failure, self.streak.began().unwrap_or(begun), begun, now);
            }
            Outcome::Answered if self.monitor.health() == Health::Up => self.group.lot().returns(now),
            Outcome::Failed(_) | Outcome::Answered => {}
        }
    }

    /// Waits until the next probe is due, or evidence asks for one.
    async fn pause(&mut self, begun: Instant) {
        // Evidence from before the probe is answered by it.
        self.backend().take_failure();
        let backend = Arc::clone(self.backend());
        let due = begun + jittered(self.gap(), crate::clock::random());
        loop {
            let mut asked = false;
            tokio::select! {
                () = tokio::time::sleep_until(due.into()) => return,
                () = backend.way() => asked = true,
                () = backend.news() => {}
            }
            if backend.take_failure() || asked {
                return tokio::time::sleep_until((begun + LEAST_GAP).min(due).into()).await;
            }
            if self.monitor.health() != Health::Up && backend.answered_since(begun) {
                self.observe(Outcome::Answered, begun);
            }
        }
    }

    /// Between two probes: short while something is wrong.
    fn gap(&self) -> Duration {
        let Probe { every, every_when_down, .. } = self.group.def().probe;
        if self.monitor.health() == Health::Down || self.monitor.is_doubtful() {
            every_when_down.min(every)
        } else {
            every
        }
    }

    fn tell_no_path(&mut self) {
        if let ProbeKind::Http(path) = &self.group.def().probe.kind
            && !std::mem::replace(&mut self.told_no_path, true)
        {
            self.tell(News::NoProbePath(Arc::clone(path)));
        }
    }

    fn tell(&self, news: News) {
        let group = Arc::clone(&self.group.def().name);
        (self.tell)(Report { group, backend: Arc::clone(self.backend().label()), news });
    }

    fn backend(&self) -> &Arc<Backend> {
        &self.group.backends()[self.index]
    }
}

fn unresolved() -> Outcome {
    Outcome::Failed(ProbeFailure::Unresolved)
}

/// `gap` give or take a tenth, so that probes of many edges and groups do not march in step.
fn jittered(gap: Duration, random: u64) -> Duration {
    let share = (random >> 32) as f64 / f64::from(u32::MAX);
    gap.mul_f64(0.9 + share / 5.0)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::mpsc;

    use super::super::fake::{self, Fake};
    use super::*;
    use crate::config::model::BackendAddress;

    const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK";

    /// A backend that answers probe number n as `answers[n]` says, the last one on and on; "" closes.
    async fn scripted(answers: &'static [&'static str]) -> Fake {
        let count = Arc::new(AtomicUsize::new(0));
        Fake::start(move |_, mut peer| {
            let count = Arc::clone(&count);
            async move {
                peer.request().await;
                let number = count.fetch_add(1, Ordering::Relaxed).min(answers.len() - 1);
                peer.send(answers[number]).await;
            }
        })
        .await
    }

    fn watch(groups: &[Arc<Group>]) -> (Probers, mpsc::UnboundedReceiver<Report>) {
        let (tell, told) = mpsc::unbounded_channel();
        let mut probers = Probers::default();
        probers.follow(groups, &move |report| {
            let _ = tell.send(report);
        });
        (probers, told)
    }

    #[tokio::test(start_paused = true)]
    async fn health_follows_the_probes() {
        const BAD: &str = "HTTP/1.1 502 Bad Gateway\r\n\r\n";
        let backend = scripted(&[OK, "", BAD, "nonsense", OK]).await;
        let group = backend.group();
        let (_probers, mut told) = watch(&[Arc::clone(&group)]);
        let mut lines = Vec::new();
        for health in [Health::Up, Health::Down, Health::Up] {
            lines.push(told.recv().await.unwrap().to_string());
            assert_eq!(group.backends()[0].health(), health);
        }
        let name = format!("upstream \"home\": backend {} ", backend.addr);
        assert_eq!(lines[0], format!("{name}is up"));
        assert!(lines[1].starts_with(&format!("{name}is down: it answered with status 502 (was up for ")));
        assert!(lines[2].starts_with(&format!("{name}is up (was down for ")));
        assert!(backend.seen()[0].starts_with("GET /health HTTP/1.1\r\nHost: 127.0.0.1:"));
    }

    #[tokio::test(start_paused = true)]
    async fn missing_probe_path_is_up_and_told_once() {
        let backend = scripted(&["HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"]).await;
        let (_probers, mut told) = watch(&[backend.group()]);
        let first = told.recv().await.unwrap().to_string();
        assert!(
            first.ends_with("answers but has no /health: check the address or set probe.path"),
            "{first}"
        );
        assert!(matches!(told.recv().await.unwrap().news, News::Changed(Transition { to: Health::Up, .. })));
        while backend.count("GET") < 4 {
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
        assert!(told.try_recv().is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn name_that_does_not_resolve_is_down() {
        let mut def = fake::upstream(&[BackendAddress::Name("no.such.name.invalid".into(), 1)]);
        def.probe.down_after = 1;
        let (_probers, mut told) = watch(&fake::groups(&[def]));
        let line = told.recv().await.unwrap().to_string();
        assert!(line.ends_with("is down: its name does not resolve"), "{line}");
    }

    #[tokio::test]
    async fn name_is_resolved_and_published() {
        let backend = scripted(&[OK]).await;
        let def = fake::upstream(&[BackendAddress::Name("localhost".into(), backend.addr.port())]);
        let groups = fake::groups(&[def]);
        assert!(groups[0].backends()[0].resolved().is_empty());
        let (_probers, mut told) = watch(&groups);
        told.recv().await.unwrap();
        assert!(groups[0].backends()[0].resolved().contains(&backend.addr));
    }

    #[tokio::test(start_paused = true)]
    async fn evidence_asks_for_a_probe_at_once() {
        let backend = scripted(&[OK, ""]).await;
        let mut def = fake::upstream(&[BackendAddress::Socket(backend.addr)]);
        def.probe.every = Duration::from_secs(3600);
        def.probe.every_when_down = Duration::from_secs(3600);
        def.probe.down_after = 1;
        let groups = fake::groups(&[def]);
        let (_probers, mut told) = watch(&groups);
        told.recv().await.unwrap();
        let start = crate::clock::now();
        groups[0].backends()[0].saw_failure();
        let line = told.recv().await.unwrap().to_string();
        assert!(line.contains("is down: it closed the connection without an answer"), "{line}");
        assert!(crate::clock::now() - start < Duration::from_secs(1));
        // An answered request is evidence of Up.
        groups[0].backends()[0].saw_answer(crate::clock::now());
        assert!(told.recv().await.unwrap().to_string().contains("is up"));
        assert!(crate::clock::now() - start < Duration::from_secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn backend_that_hangs_is_down_unless_it_answers_requests() {
        let backend = Fake::start(|_, mut peer| async move {
            peer.request().await;
            peer.closed().await;
        })
        .await;
        let group = backend.group();
        group.backends()[0].publish(Health::Up);
        let (_probers, mut told) = watch(&[Arc::clone(&group)]);
        let answering = Arc::clone(&group);
        let answers = tokio::spawn(async move {
            for _ in 0..30 {
                answering.backends()[0].saw_answer(crate::clock::now());
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });
        answers.await.unwrap();
        assert!(told.try_recv().is_err());
        let line = told.recv().await.unwrap().to_string();
        assert!(line.contains("is down: no answer in time"), "{line}");
    }

    #[tokio::test(start_paused = true)]
    async fn prober_of_a_group_that_is_gone_stops() {
        let backend = scripted(&[OK]).await;
        let (mut probers, mut told) = watch(&[backend.group()]);
        told.recv().await.unwrap();
        probers.follow(&[], &|_| {});
        // The last sender is gone with the prober.
        assert!(told.recv().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn tcp_probe_asks_nothing() {
        let backend = Fake::start(|_, mut peer| async move { peer.closed().await }).await;
        let mut def = fake::upstream(&[BackendAddress::Socket(backend.addr)]);
        def.probe.kind = ProbeKind::Tcp;
        let (_probers, mut told) = watch(&fake::groups(&[def]));
        assert!(told.recv().await.unwrap().to_string().ends_with("is up"));
        assert!(backend.seen().is_empty());
    }

    #[test]
    fn jitter_is_a_tenth_each_way() {
        let gap = Duration::from_secs(10);
        assert_eq!(jittered(gap, 0), Duration::from_secs(9));
        assert_eq!(jittered(gap, u64::MAX), Duration::from_secs(11));
    }
}
