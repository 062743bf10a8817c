//! From what is observed of upstreams to incidents: when one begins, what it is put down to, when it is over.
//!
//! It is given the time, returns what is worth a log line, and says when it wants to be written. An incident that
//! lasts when porchd ends is closed at the next start, its end unknown: between the two nobody looked, and a home
//! that is still away then begins an incident of its own within seconds.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant, SystemTime};

use crate::acme::moment::Moment;
use crate::incidents::evidence::{Evidence, Now, Sign};
use crate::incidents::record::{Cause, End, Incident, MOVED, Requests};

/// Most incidents that are remembered.
pub const MOST: usize = 1000;
/// What began longer ago is forgotten.
pub const OLDEST: Duration = Duration::from_secs(400 * 86_400);
/// Between two writes while nothing begins or ends.
pub const WRITE_EVERY: Duration = Duration::from_secs(10);
/// How long the line of an end waits for the last of those that waited.
const SETTLED: Duration = Duration::from_secs(60);
/// Most incidents that one look finds to have been missed.
const MOST_MISSED: u64 = 16;

/// All that is remembered.
#[derive(Debug, Default)]
pub struct Journal {
    /// Oldest first; ids go up.
    incidents: VecDeque<Incident>,
    watched: BTreeMap<String, Watched>,
    last_id: u64,
    unwritten: Unwritten,
    written: Option<Instant>,
}

/// What is worth a line in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// It lasts.
    Began(Incident),
    /// It is over, and nobody waits any more.
    Ended(Incident),
}

/// What was seen of an upstream at the last look.
#[derive(Debug, Default)]
struct Watched {
    number: u64,
    /// The last incident.
    current: Option<Current>,
    /// Its end was told.
    told: bool,
}

#[derive(Debug, Clone, Copy)]
struct Current {
    id: u64,
    began: Instant,
    // Read once: an incident must not move when the clock on the wall is set.
    wall: SystemTime,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Unwritten {
    #[default]
    Nothing,
    Little,
    Much,
}

impl Journal {
    /// One that goes on with what was `kept`; and what of it is closed now, since it lasted when porchd ended.
    pub fn restore(mut kept: Vec<Incident>, wall: SystemTime) -> (Self, Vec<Incident>) {
        kept.sort_by_key(|incident| incident.id);
        kept.dedup_by_key(|incident| incident.id);
        let mut closed = Vec::new();
        for incident in kept.iter_mut().filter(|incident| incident.lasts()) {
            incident.end = End::Restart;
            closed.push(incident.clone());
        }
        let last_id = kept.last().map_or(0, |incident| incident.id);
        let unwritten = if closed.is_empty() { Unwritten::Nothing } else { Unwritten::Much };
        let mut journal = Self { incidents: kept.into(), last_id, unwritten, ..Self::default() };
        journal.forget(Moment::of(wall));
        (journal, closed)
    }

    /// All incidents, oldest first.
    pub fn all(&self) -> impl DoubleEndedIterator<Item = &Incident> {
        self.incidents.iter()
    }

    /// The incident of `upstream` that lasts.
    pub fn lasting(&self, upstream: &str) -> Option<&Incident> {
        self.incidents.iter().rev().find(|incident| incident.lasts() && incident.upstream == upstream)
    }

    /// Takes what is seen of `upstream` now.
    pub fn observe(&mut self, upstream: &str, evidence: &Evidence, now: Now) -> Vec<News> {
        let mut news = Vec::new();
        let seen = self.watched.get(upstream).map_or(0, |watched| watched.number);
        if evidence.number > seen {
            news.extend(self.end(upstream, evidence.began.min(now.at), End::Back));
            let missed = (evidence.number - seen - 1).min(MOST_MISSED);
            news.extend((0..missed).map(|_| News::Ended(self.missed(upstream, evidence.began, now))));
            let current = self.begin(upstream, evidence, now);
            let watched = Watched { number: evidence.number, current: Some(current), told: false };
            self.watched.insert(upstream.to_owned(), watched);
            let begun = self.update(current, evidence, now);
            news.extend(begun.filter(|begun| begun.lasts()).map(News::Began));
        } else if evidence.number < seen {
            return news;
        }
        news.extend(self.go_on(upstream, evidence, now));
        news
    }

    /// Remembers that the home called `name` has moved; `text` is the whole story.
    pub fn moved(&mut self, name: &str, text: String, now: Now) {
        let at = Moment::of(now.wall);
        let mut moved = self.opened(name, at);
        (moved.ended, moved.end) = (Some(at), End::Back);
        moved.causes.push(Cause { at, token: String::from(MOVED), text });
        self.add(moved, now);
    }

    /// Only these upstreams are watched from now on: what lasts of others is closed.
    pub fn follow(&mut self, upstreams: &[&str], now: Now) -> Vec<News> {
        let gone: Vec<String> =
            self.watched.keys().filter(|name| !upstreams.contains(&name.as_str())).cloned().collect();
        let mut news = Vec::new();
        for upstream in gone {
            news.extend(self.end(&upstream, now.at, End::Removed));
            self.watched.remove(&upstream);
        }
        news
    }

    /// Whether it is to be written now; it is taken to be done.
    pub fn is_due(&mut self, now: Instant) -> bool {
        let rested = self.written.is_none_or(|written| now.saturating_duration_since(written) >= WRITE_EVERY);
        let due = match self.unwritten {
            Unwritten::Nothing => false,
            Unwritten::Little => rested,
            Unwritten::Much => true,
        };
        if due {
            (self.unwritten, self.written) = (Unwritten::Nothing, Some(now));
        }
        due
    }

    /// The one that is seen now for the first time.
    fn begin(&mut self, upstream: &str, evidence: &Evidence, now: Now) -> Current {
        let wall = now.wall_at(evidence.began);
        let incident = self.opened(upstream, Moment::of(wall));
        let id = incident.id;
        self.add(incident, now);
        Current { id, began: evidence.began, wall }
    }

    /// One that began and ended between two looks, and was followed by another that began at `next`.
    fn missed(&mut self, upstream: &str, next: Instant, now: Now) -> Incident {
        let at = Moment::of(now.wall_at(next));
        let mut missed = self.opened(upstream, at);
        (missed.ended, missed.end) = (Some(at), End::Back);
        let text = String::from("over before anybody looked");
        missed.causes.push(Cause { at, token: String::from("unseen"), text });
        self.add(missed.clone(), now);
        missed
    }

    fn opened(&mut self, upstream: &str, began: Moment) -> Incident {
        // A damaged file may have used up all numbers.
        self.last_id = self.last_id.saturating_add(1);
        Incident {
            id: self.last_id,
            upstream: upstream.to_owned(),
            began,
            ended: None,
            end: End::Lasts,
            lasted_ms: 0,
            causes: Vec::new(),
            requests: Requests::default(),
        }
    }

    fn add(&mut self, incident: Incident, now: Now) {
        self.incidents.push_back(incident);
        self.unwritten = Unwritten::Much;
        self.forget(Moment::of(now.wall));
    }

    /// Brings the incident in line with the evidence.
    fn update(&mut self, current: Current, evidence: &Evidence, now: Now) -> Option<Incident> {
        let wall = |at: Instant| {
            let after = at.saturating_duration_since(current.began);
            Moment::of(current.wall.checked_add(after).unwrap_or(current.wall))
        };
        let end = evidence.ended.map(|ended| ended.max(current.began));
        let lasted = end.unwrap_or(now.at).saturating_duration_since(current.began);
        let causes = evidence.causes.iter().map(|(at, Sign { token, text })| Cause {
            at: wall(*at),
            token: token.clone().into_owned(),
            text: text.clone().into_owned(),
        });
        let counts = &evidence.counts;
        let incident = self.find(current.id)?;
        let before = incident.clone();
        incident.causes = causes.collect();
        incident.lasted_ms = millis(lasted);
        incident.ended = end.map(wall);
        incident.end = if end.is_some() { End::Back } else { End::Lasts };
        incident.requests = Requests {
            parked: counts.parked,
            delivered: counts.delivered,
            failed: counts.expired + counts.refused,
            left: counts.left,
            longest_wait_ms: millis(evidence.longest),
        };
        let (turned, changed) = (before.end != incident.end, before != *incident);
        let after = incident.clone();
        let unwritten = match (turned, changed) {
            (true, _) => Unwritten::Much,
            (false, true) => Unwritten::Little,
            (false, false) => Unwritten::Nothing,
        };
        self.unwritten = self.unwritten.max(unwritten);
        Some(after)
    }

    /// Updates the current incident. Tells its end once nobody waits for it any more, and when that was none.
    fn go_on(&mut self, upstream: &str, evidence: &Evidence, now: Now) -> Option<News> {
        let Watched { current, told, .. } = self.watched.get(upstream)?;
        let (current, told) = ((*current)?, *told);
        let incident = self.update(current, evidence, now)?;
        let waited = evidence.ended.map(|ended| now.at.saturating_duration_since(ended));
        let over = waited.is_some_and(|waited| told || evidence.is_settled() || waited >= SETTLED);
        if over == told {
            return None;
        }
        self.watched.get_mut(upstream)?.told = over;
        self.unwritten = Unwritten::Much;
        Some(if over { News::Ended(incident) } else { News::Began(incident) })
    }

    /// Ends what lasts of `upstream`, if something does, and tells it if that is still to be done.
    fn end(&mut self, upstream: &str, at: Instant, end: End) -> Option<News> {
        let watched = self.watched.get_mut(upstream)?;
        let (current, told) = (watched.current.take()?, watched.told);
        if told {
            return None;
        }
        let incident = self.find(current.id)?;
        if incident.lasts() {
            let lasted = at.saturating_duration_since(current.began);
            incident.lasted_ms = millis(lasted);
            incident.ended = current.wall.checked_add(lasted).map(Moment::of);
            incident.end = end;
        }
        let incident = incident.clone();
        self.unwritten = Unwritten::Much;
        Some(News::Ended(incident))
    }

    fn find(&mut self, id: u64) -> Option<&mut Incident> {
        self.incidents.iter_mut().rev().find(|incident| incident.id == id)
    }

    /// Holds the bounds: the oldest go, of those that are over.
    fn forget(&mut self, now: Moment) {
        let mut excess = self.incidents.len().saturating_sub(MOST);
        self.incidents.retain(|incident| {
            let surplus = !incident.lasts() && excess > 0;
            excess -= usize::from(surplus);
            incident.lasts() || !surplus && now.since(incident.began) <= OLDEST
        });
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use proptest::prelude::*;

    use super::*;
    use crate::incidents::{file, told};
    use crate::upstream::outage::Counts;

    /// A clock that a test turns.
    #[derive(Clone, Copy)]
    struct Clock {
        begun: Instant,
        ms: u64,
    }

    impl Clock {
        fn new() -> Self {
            Self { begun: crate::clock::now(), ms: 0 }
        }

        fn at(self, ms: u64) -> Instant {
            self.begun + Duration::from_millis(ms)
        }

        fn now(self) -> Now {
            let wall = UNIX_EPOCH + Duration::from_millis(1_795_874_531_000 + self.ms);
            Now { at: self.at(self.ms), wall }
        }
    }

    fn sign(token: &'static str) -> Sign {
        Sign { token: token.into(), text: token.into() }
    }

    /// An outage of `number` between these milliseconds.
    fn evidence(clock: Clock, number: u64, began: u64, ended: Option<u64>) -> Evidence {
        Evidence {
            number,
            began: clock.at(began),
            ended: ended.map(|ended| clock.at(ended)),
            causes: vec![(clock.at(began), sign("refused"))],
            counts: Counts::default(),
            longest: Duration::ZERO,
        }
    }

    fn journal() -> Journal {
        Journal::restore(Vec::new(), UNIX_EPOCH).0
    }

    fn lines(news: &[News]) -> Vec<String> {
        let line = |news: &News| match news {
            News::Began(incident) => told::began(incident),
            News::Ended(incident) => told::ended(incident),
        };
        news.iter().map(line).collect()
    }

    #[test]
    fn an_outage_is_told_at_its_begin_and_at_its_end() {
        let mut clock = Clock { ms: 2_300, ..Clock::new() };
        let mut journal = journal();
        let mut seen = evidence(clock, 1, 2_000, None);
        assert_eq!(lines(&journal.observe("home", &seen, clock.now())), ["home is away: refused"]);
        assert!(journal.is_due(clock.now().at));
        assert_eq!(journal.observe("home", &seen, clock.now()), []);
        clock.ms = 30_000;
        seen.causes.push((clock.at(9_000), sign("probe-timeout")));
        seen.counts = Counts { now: 2, parked: 2, ..Counts::default() };
        assert_eq!(journal.observe("home", &seen, clock.now()), []);
        clock.ms = 45_050;
        seen.ended = Some(clock.at(45_000));
        seen.counts = Counts { now: 1, parked: 2, delivered: 1, ..Counts::default() };
        assert_eq!(journal.observe("home", &seen, clock.now()), [], "one still waits");
        let id = journal.all().next().unwrap().id;
        assert!(!journal.all().next().unwrap().lasts(), "it is over all the same");
        seen.counts = Counts { now: 0, parked: 2, delivered: 1, expired: 1, ..Counts::default() };
        seen.longest = Duration::from_millis(41_234);
        assert_eq!(
            lines(&journal.observe("home", &seen, clock.now())),
            [
                "home is back after 43 s (refused, then probe-timeout): 2 requests waited, 1 delivered, 1 failed, \
              longest wait 41.2 s"
            ]
        );
        assert_eq!(journal.observe("home", &seen, clock.now()), []);
        let incident = journal.all().next().unwrap();
        assert_eq!((incident.id, incident.began.to_string()), (id, "2026-11-28T14:02:13Z".to_owned()));
        assert_eq!(incident.ended.unwrap().since(incident.began), Duration::from_secs(43));
        assert_eq!(incident.causes[1].at.since(incident.began), Duration::from_secs(7));
    }

    #[test]
    fn what_was_over_before_the_first_look_is_kept() {
        let clock = Clock { ms: 5_000, ..Clock::new() };
        let mut journal = journal();
        let news = journal.observe("home", &evidence(clock, 1, 4_100, Some(4_600)), clock.now());
        assert_eq!(lines(&news), ["home is back after 0.5 s (refused): no request waited"]);
        assert!(matches!(&*news, [News::Ended(incident)] if incident.is_blip()));
    }

    #[test]
    fn a_return_that_was_none_is_the_same_incident() {
        let mut clock = Clock { ms: 5_000, ..Clock::new() };
        let mut journal = journal();
        journal.observe("home", &evidence(clock, 1, 1_000, None), clock.now());
        journal.observe("home", &evidence(clock, 1, 1_000, Some(4_000)), clock.now());
        clock.ms = 6_000;
        let news = journal.observe("home", &evidence(clock, 1, 1_000, None), clock.now());
        assert_eq!(lines(&news), ["home is away: refused"]);
        let news = journal.observe("home", &evidence(clock, 1, 1_000, Some(5_500)), clock.now());
        assert_eq!(lines(&news), ["home is back after 4.5 s (refused): no request waited"]);
        assert_eq!(journal.all().count(), 1);
    }

    #[test]
    fn what_was_missed_is_counted() {
        let clock = Clock { ms: 5_000, ..Clock::new() };
        let mut journal = journal();
        journal.observe("home", &evidence(clock, 1, 1_000, None), clock.now());
        let news = journal.observe("home", &evidence(clock, 3, 4_000, None), clock.now());
        assert_eq!(
            lines(&news),
            [
                "home is back after 3 s (refused): no request waited",
                "home is back after 0 s (over before anybody looked): no request waited",
                "home is away: refused",
            ]
        );
        assert_eq!(journal.all().count(), 3);
        assert_eq!(journal.lasting("home").unwrap().id, 3);
    }

    #[test]
    fn what_lasted_when_porchd_ended_is_closed_and_what_follows_is_new() {
        let clock = Clock { ms: 5_000, ..Clock::new() };
        let mut first = journal();
        first.observe("home", &evidence(clock, 1, 1_000, None), clock.now());
        let kept = first.all().cloned().collect();
        let (mut second, closed) = Journal::restore(kept, clock.now().wall);
        assert_eq!(closed.len(), 1);
        assert!(second.is_due(clock.now().at));
        let news = second.observe("home", &evidence(clock, 1, 4_900, None), clock.now());
        assert_eq!(lines(&news), ["home is away: refused"]);
        let ends: Vec<_> = second.all().map(|incident| (incident.id, incident.end, incident.ended)).collect();
        assert_eq!(ends, [(1, End::Restart, None), (2, End::Lasts, None)]);
    }

    #[test]
    fn a_file_that_has_used_up_all_numbers_is_gone_on_with() {
        let clock = Clock { ms: 5_000, ..Clock::new() };
        let mut first = journal();
        first.observe("home", &evidence(clock, 1, 1_000, None), clock.now());
        let mut kept: Vec<Incident> = first.all().cloned().collect();
        kept[0].id = u64::MAX;
        let (mut second, _) = Journal::restore(kept, clock.now().wall);
        let news = second.observe("home", &evidence(clock, 1, 4_900, None), clock.now());
        assert_eq!(lines(&news), ["home is away: refused"]);
        assert_eq!(second.lasting("home").map(|incident| incident.id), Some(u64::MAX));
    }

    #[test]
    fn an_upstream_that_is_configured_no_more_lets_go() {
        let clock = Clock { ms: 5_000, ..Clock::new() };
        let mut journal = journal();
        journal.observe("old", &evidence(clock, 4, 1_000, None), clock.now());
        assert!(journal.follow(&["old"], clock.now()).is_empty());
        let news = journal.follow(&["home"], clock.now());
        assert!(matches!(&*news, [.., News::Ended(incident)] if incident.end == End::Removed), "{news:?}");
        // One of this name that comes later counts from 1 again.
        let again = journal.observe("old", &evidence(clock, 1, 4_000, None), clock.now());
        assert!(matches!(&*again, [News::Began(_)]), "{again:?}");
    }

    #[test]
    fn it_is_written_at_once_when_something_turns_and_seldom_while_it_lasts() {
        let mut clock = Clock { ms: 1_000, ..Clock::new() };
        let mut journal = journal();
        assert!(!journal.is_due(clock.now().at));
        journal.observe("home", &evidence(clock, 1, 1_000, None), clock.now());
        let mut written = 0;
        for ms in (1_000..31_000).step_by(500) {
            clock.ms = ms;
            journal.observe("home", &evidence(clock, 1, 1_000, None), clock.now());
            written += u32::from(journal.is_due(clock.now().at));
        }
        assert_eq!(written, 3);
        journal.observe("home", &evidence(clock, 1, 1_000, Some(30_000)), clock.now());
        assert!(journal.is_due(clock.now().at));
    }

    #[test]
    fn the_oldest_are_forgotten_and_what_lasts_is_not() {
        let mut clock = Clock { ms: 10, ..Clock::new() };
        let mut journal = journal();
        journal.observe("away", &evidence(clock, 1, 5, None), clock.now());
        for number in 1..=1_500 {
            clock.ms += 1_000;
            let seen = evidence(clock, number, clock.ms - 100, Some(clock.ms - 50));
            journal.observe("home", &seen, clock.now());
        }
        assert_eq!(journal.all().count(), MOST);
        assert_eq!(journal.lasting("away").map(|incident| incident.id), Some(1));
        assert_eq!(journal.all().next_back().unwrap().id, 1_501);
        clock.ms += 401 * 86_400_000;
        journal.observe("home", &evidence(clock, 1_501, clock.ms - 100, None), clock.now());
        assert_eq!(journal.all().count(), 2);
    }

    /// What becomes of an upstream.
    #[derive(Debug, Clone)]
    enum Step {
        Fails(&'static str),
        Heals,
        Parks,
        Settles,
        Looks,
        Restarts,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            prop_oneof![Just("refused"), Just("probe-timeout"), Just("slow")].prop_map(Step::Fails),
            Just(Step::Heals),
            Just(Step::Parks),
            Just(Step::Settles),
            Just(Step::Looks),
            Just(Step::Looks),
            Just(Step::Restarts),
        ]
    }

    proptest! {
        #[test]
        fn no_outage_is_lost_and_what_is_written_is_read_back(
            steps in proptest::collection::vec((step(), 0_u64..20_000), 0..80)
        ) {
            let mut clock = Clock::new();
            let mut journal = journal();
            let mut seen: Option<Evidence> = None;
            let (mut outages, mut looked_at) = (0, 0);
            for (step, passes) in steps {
                clock.ms += passes;
                let now = clock.at(clock.ms);
                let lasts = seen.as_ref().is_some_and(|seen| seen.ended.is_none());
                match (step, &mut seen) {
                    (Step::Fails(token), Some(seen)) if lasts => seen.causes.push((now, sign(token))),
                    (Step::Fails(token), _) => {
                        outages += 1;
                        let number = seen.as_ref().map_or(1, |seen| seen.number + 1);
                        let mut new = evidence(clock, number, clock.ms, None);
                        new.causes[0].1 = sign(token);
                        seen = Some(new);
                    }
                    (Step::Heals, Some(seen)) if lasts => seen.ended = Some(now),
                    (Step::Parks, Some(seen)) if lasts => {
                        seen.counts.now += 1;
                        seen.counts.parked += 1;
                    }
                    (Step::Settles, Some(seen)) => {
                        seen.counts.delivered += u64::from(std::mem::take(&mut seen.counts.now));
                    }
                    (Step::Looks, Some(seen)) => {
                        journal.observe("home", seen, clock.now());
                        looked_at = outages;
                    }
                    (Step::Restarts, _) => {
                        let text = file::text(journal.all());
                        let kept = file::read(&text).unwrap();
                        prop_assert!(kept.iter().eq(journal.all()));
                        journal = Journal::restore(kept, clock.now().wall).0;
                        // What nobody had looked at ends with the process that it was of.
                        seen = None;
                        outages = looked_at;
                    }
                    _ => {}
                }
                let open = journal.all().filter(|incident| incident.lasts()).count();
                prop_assert!(open <= 1);
                prop_assert!(journal.all().map(|incident| incident.id).is_sorted_by(|one, next| one < next));
            }
            if let Some(seen) = &seen {
                journal.observe("home", seen, clock.now());
                looked_at = outages;
            }
            prop_assert_eq!(journal.all().count(), looked_at);
        }
    }
}
