//! The plan against stories that it must know, and against any order of events.

use proptest::prelude::*;

use super::edge::YIELD_LIMIT;
use super::*;
use crate::clock;

const STOP: Duration = Duration::from_secs(20);
const UPGRADE: Duration = Duration::from_secs(600);
const LIMITS: Drain = Drain { stop: STOP, reload: STOP, upgrade: UPGRADE };

fn tell(id: u64, order: Order) -> Act {
    Act::Tell(EdgeId(id), order)
}

fn start(id: u64, leads: bool, anew: bool) -> Act {
    Act::Start { id: EdgeId(id), leads, anew }
}

fn upgraded(failed: Option<&str>) -> Order {
    Order::Upgraded { failed: failed.map(str::to_owned) }
}

/// A plan with one edge that serves.
fn serving(now: Instant) -> Plan {
    let mut plan = Plan::new(LIMITS);
    assert_eq!(plan.begin(now), [start(1, true, true)]);
    assert_eq!(plan.ready(EdgeId(1), now), []);
    plan
}

#[test]
fn start_that_fails_ends_porchd() {
    let now = clock::now();
    let mut plan = Plan::new(LIMITS);
    plan.begin(now);
    assert_eq!(plan.ended(EdgeId(1), false, "refused", now), [Act::Exit { well: false }]);
}

#[test]
fn edge_that_dies_is_replaced_at_once_and_then_more_and_more_slowly() {
    let mut now = clock::now();
    let mut plan = serving(now);
    assert_eq!(plan.ended(EdgeId(1), false, "killed", now), [start(2, true, false)]);
    let mut pauses = Vec::new();
    for id in 2..10 {
        assert_eq!(plan.ended(EdgeId(id), false, "killed", now), []);
        let due = plan.due().unwrap();
        pauses.push((due - now).as_secs());
        assert_eq!(plan.tick(due - Duration::from_millis(1)), []);
        now = due;
        assert_eq!(plan.tick(now), [start(id + 1, true, false)]);
    }
    assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30, 30]);
    // One that has served for a while has earned another at once.
    plan.ready(EdgeId(10), now);
    now += STEADY;
    assert_eq!(plan.ended(EdgeId(10), false, "killed", now), [start(11, true, false)]);
}

#[test]
fn upgrade_moves_the_lead_when_the_new_edge_serves() {
    let now = clock::now();
    let mut plan = serving(now);
    assert_eq!(plan.asked(Asked::Upgrade, now), [Act::Replace]);
    assert_eq!(plan.upgrade(now), [start(2, false, true)]);
    assert_eq!(plan.ready(EdgeId(2), now), [tell(1, upgraded(None)), tell(1, Order::Yield)]);
    assert_eq!(plan.asked(Asked::Reload, now), [tell(2, Order::Reload)]);
    assert_eq!(plan.yielded(EdgeId(1), now), [tell(2, Order::Lead)]);
    // A reload of the new edge says ready again, and nothing follows from it.
    assert_eq!(plan.ready(EdgeId(2), now), []);
    assert_eq!(plan.ended(EdgeId(1), true, "", now), []);
    assert_eq!(plan.edges().len(), 1);
}

#[test]
fn what_comes_while_a_new_edge_starts_is_done_when_it_serves() {
    let now = clock::now();
    let takes_over = [tell(1, upgraded(None)), tell(1, Order::Yield)];
    let reloads = [&takes_over[..], &[tell(2, Order::Reload)]].concat();
    let mut plan = serving(now);
    plan.upgrade(now);
    assert_eq!(plan.asked(Asked::Reload, now), [tell(1, Order::Reload)]);
    assert_eq!(plan.ready(EdgeId(2), now), reloads);
    assert_eq!(plan.ready(EdgeId(2), now), []);
    // One that is asked for at the control socket is noted by the edge that has it, be it just before it yields.
    let mut plan = serving(now);
    plan.upgrade(now);
    assert_eq!(plan.reloading(EdgeId(1)), []);
    assert_eq!(plan.ready(EdgeId(2), now), reloads);
    assert_eq!(plan.reloading(EdgeId(1)), [tell(2, Order::Reload)]);
    plan.yielded(EdgeId(1), now);
    assert_eq!(plan.reloading(EdgeId(1)), []);
    // The new edge's own is no reason, nor is one that was over before.
    let mut plan = serving(now);
    assert_eq!(plan.reloading(EdgeId(1)), []);
    plan.upgrade(now);
    assert_eq!(plan.reloading(EdgeId(2)), []);
    assert_eq!(plan.ready(EdgeId(2), now), takes_over);
    // Another upgrade, once and after this one.
    let mut plan = serving(now);
    plan.upgrade(now);
    assert_eq!(plan.asked(Asked::Upgrade, now), []);
    assert_eq!(plan.asked(Asked::Upgrade, now), []);
    assert_eq!(plan.ready(EdgeId(2), now), [&takes_over[..], &[Act::Replace]].concat());
    assert_eq!(plan.upgrade(now), [start(3, false, true)]);
    assert_eq!(plan.ready(EdgeId(3), now), [tell(2, upgraded(None)), tell(2, Order::Yield)]);
    // One that is asked for too early begins when an edge serves.
    let mut plan = Plan::new(LIMITS);
    plan.begin(now);
    assert_eq!(plan.asked(Asked::Upgrade, now), []);
    assert_eq!(plan.ready(EdgeId(1), now), [Act::Replace]);
    // Not if nothing came of the first: whoever asked is told.
    let mut plan = serving(now);
    plan.upgrade(now);
    plan.asked(Asked::Upgrade, now);
    assert_eq!(plan.ended(EdgeId(2), false, "why", now), [tell(1, upgraded(Some("why")))]);
    assert_eq!(plan.ready(EdgeId(1), now), []);
}

#[test]
fn edge_that_was_replaced_is_gone_by_its_deadline() {
    let mut now = clock::now();
    let replaced = |now| {
        let mut plan = serving(now);
        plan.upgrade(now);
        plan.ready(EdgeId(2), now);
        plan
    };
    let mut plan = replaced(now);
    assert_eq!(plan.due(), Some(now + YIELD_LIMIT));
    assert_eq!(plan.tick(now + YIELD_LIMIT), [Act::Kill(EdgeId(1))]);
    assert_eq!(plan.tick(now + YIELD_LIMIT), []);
    assert_eq!(plan.due(), None);
    assert_eq!(plan.ended(EdgeId(1), false, "killed", now), [tell(2, Order::Lead)]);
    // One that has given up the lead has as long as connections have by its own configuration, however often it says so.
    let mut plan = serving(now);
    plan.upgrade(now);
    plan.settled(EdgeId(2), Drain { upgrade: Duration::ZERO, ..LIMITS });
    plan.ready(EdgeId(2), now);
    plan.yielded(EdgeId(1), now);
    let gone_by = now + UPGRADE + GRACE;
    assert_eq!(plan.due(), Some(gone_by));
    now += UPGRADE;
    plan.yielded(EdgeId(1), now);
    assert_eq!(plan.due(), Some(gone_by));
    assert_eq!(plan.tick(gone_by), [Act::Kill(EdgeId(1))]);
}

#[test]
fn edge_that_dies_before_it_yields_leaves_the_lead() {
    let now = clock::now();
    let mut plan = serving(now);
    plan.upgrade(now);
    plan.ready(EdgeId(2), now);
    assert_eq!(plan.ended(EdgeId(1), false, "killed", now), [tell(2, Order::Lead)]);
}

#[test]
fn new_edge_that_fails_is_given_up_and_the_old_one_stays() {
    let now = clock::now();
    let mut plan = serving(now);
    plan.upgrade(now);
    let acts = plan.ended(EdgeId(2), false, "the file is wrong", now);
    assert_eq!(acts, [tell(1, upgraded(Some("the file is wrong")))]);
    assert_eq!(plan.place(EdgeId(1)), Some(Place::Main));
    // One that hangs is ended.
    plan.upgrade(now);
    assert_eq!(plan.due(), Some(now + START_LIMIT));
    assert_eq!(plan.tick(now + START_LIMIT), [Act::Kill(EdgeId(3))]);
}

#[test]
fn main_edge_that_dies_in_an_upgrade_is_followed_by_the_new_one() {
    let now = clock::now();
    let mut plan = serving(now);
    plan.upgrade(now);
    assert_eq!(plan.ended(EdgeId(1), false, "killed", now), []);
    assert_eq!(plan.ready(EdgeId(2), now), [tell(2, Order::Lead)]);
    assert_eq!(plan.place(EdgeId(2)), Some(Place::Main));
    // Both die: another one is started.
    let mut plan = serving(now);
    plan.upgrade(now);
    plan.ended(EdgeId(1), false, "killed", now);
    assert_eq!(plan.ended(EdgeId(2), false, "killed", now), [start(3, true, false)]);
}

#[test]
fn new_edge_that_dies_while_the_old_one_drains_is_replaced() {
    let now = clock::now();
    let mut plan = serving(now);
    plan.upgrade(now);
    plan.ready(EdgeId(2), now);
    assert_eq!(plan.ended(EdgeId(2), false, "killed", now), [start(3, false, false)]);
    assert_eq!(plan.yielded(EdgeId(1), now), []);
    assert_eq!(plan.ready(EdgeId(3), now), [tell(3, Order::Lead)]);
}

#[test]
fn stop_reaches_all_and_the_last_one_ends_it() {
    let now = clock::now();
    let mut plan = serving(now);
    plan.upgrade(now);
    plan.ready(EdgeId(2), now);
    assert_eq!(plan.asked(Asked::Stop, now), [tell(1, Order::Stop), tell(2, Order::Stop)]);
    assert_eq!(plan.asked(Asked::Stop, now), [tell(1, Order::Stop), tell(2, Order::Stop)]);
    assert_eq!(plan.ended(EdgeId(2), true, "", now), []);
    assert_eq!(plan.tick(now + STOP), []);
    assert_eq!(plan.tick(now + STOP + GRACE), [Act::Kill(EdgeId(1))]);
    assert_eq!(plan.ended(EdgeId(1), false, "killed", now), [Act::Exit { well: false }]);
    // With nobody there it ends at once.
    let mut plan = serving(now);
    plan.ended(EdgeId(1), false, "killed", now);
    plan.ended(EdgeId(2), false, "killed", now);
    assert_eq!(plan.asked(Asked::Stop, now), [Act::Exit { well: true }]);
    assert_eq!(plan.tick(now + STOP), []);
}

#[test]
fn stop_gives_each_edge_its_time() {
    let now = clock::now();
    let long = Duration::from_secs(300);
    let mut plan = serving(now);
    plan.settled(EdgeId(1), Drain { stop: long, ..LIMITS });
    plan.upgrade(now);
    plan.ready(EdgeId(2), now);
    // Neither has to yield in a minute, nor to be ready.
    plan.asked(Asked::Stop, now);
    plan.yielded(EdgeId(1), now);
    assert_eq!(plan.due(), Some(now + long + GRACE));
    let mut plan = serving(now);
    plan.settled(EdgeId(1), Drain { stop: long, ..LIMITS });
    plan.upgrade(now);
    plan.asked(Asked::Stop, now);
    plan.ready(EdgeId(2), now);
    assert_eq!(plan.due(), Some(now + long + GRACE));
    // One that drains already gets no more than it had.
    let mut plan = serving(now);
    plan.settled(EdgeId(1), Drain { stop: long, upgrade: Duration::ZERO, ..LIMITS });
    plan.upgrade(now);
    plan.ready(EdgeId(2), now);
    plan.yielded(EdgeId(1), now);
    plan.asked(Asked::Stop, now);
    assert_eq!(plan.due(), Some(now + GRACE));
}

#[test]
fn reload_while_nobody_serves_starts_an_edge_with_the_new_file() {
    let now = clock::now();
    let mut plan = serving(now);
    plan.ended(EdgeId(1), false, "killed", now);
    plan.ended(EdgeId(2), false, "killed", now);
    assert_eq!(plan.asked(Asked::Reload, now), [start(3, true, true)]);
}

#[test]
fn successor_goes_on_with_the_edges_that_there_are() {
    let now = clock::now();
    let plan = serving(now);
    let mut plan = Plan::of(plan.edges().to_vec(), LIMITS);
    assert_eq!(plan.upgrade(now), [start(2, false, true)]);
    assert_eq!(plan.ready(EdgeId(2), now).len(), 2);
}

/// Something that happens; edges by their place among those that run.
#[derive(Debug, Clone)]
enum Event {
    Ready(usize),
    Yielded(usize),
    Ended(usize, bool),
    Reload,
    Reloading(usize),
    Upgrade,
    Later(u64),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (0..4usize).prop_map(Event::Ready),
        3 => (0..4usize).prop_map(Event::Yielded),
        3 => (0..4usize, any::<bool>()).prop_map(|(at, well)| Event::Ended(at, well)),
        1 => Just(Event::Reload),
        1 => (0..4usize).prop_map(Event::Reloading),
        3 => Just(Event::Upgrade),
        2 => (0..90u64).prop_map(Event::Later),
    ]
}

proptest! {
    #[test]
    fn there_is_one_leader_and_one_main_edge_and_nobody_is_forgotten(events in prop::collection::vec(event(), 0..60)) {
        let mut now = clock::now();
        let mut plan = serving(now);
        let (mut running, mut killed) = (vec![EdgeId(1)], Vec::new());
        for event in events {
            let at = |at: usize| running.get(at % running.len().max(1)).copied();
            let mut acts = match event {
                Event::Ready(place) => at(place).map(|id| plan.ready(id, now)).unwrap_or_default(),
                Event::Yielded(place) => {
                    // Nobody yields who was not told to.
                    let old = at(place).filter(|id| plan.place(*id) == Some(Place::Old));
                    old.map(|id| plan.yielded(id, now)).unwrap_or_default()
                }
                Event::Ended(place, well) => at(place).map(|id| {
                    running.retain(|one| *one != id);
                    plan.ended(id, well, "", now)
                }).unwrap_or_default(),
                Event::Reloading(place) => at(place).map(|id| plan.reloading(id)).unwrap_or_default(),
                Event::Reload => plan.asked(Asked::Reload, now),
                Event::Upgrade => plan.asked(Asked::Upgrade, now),
                Event::Later(seconds) => {
                    now += Duration::from_secs(seconds);
                    plan.tick(now)
                }
            };
            if acts.contains(&Act::Replace) {
                acts.extend(plan.upgrade(now));
            }
            running.extend(acts.iter().filter_map(|act| match act {
                Act::Start { id, .. } => Some(*id),
                _ => None,
            }));
            killed.extend(acts.iter().filter_map(|act| match act {
                Act::Kill(id) => Some(*id),
                _ => None,
            }));
            let edges = plan.edges();
            let mut known: Vec<EdgeId> = edges.iter().map(|edge| edge.id).collect();
            known.sort();
            running.sort();
            prop_assert_eq!(&known, &running);
            let count = |place| edges.iter().filter(|edge| edge.place == place).count();
            prop_assert!(count(Place::Main) <= 1 && count(Place::Next) <= 1);
            prop_assert!(edges.iter().filter(|edge| edge.leads).count() <= 1);
            let exits = acts.iter().any(|act| matches!(act, Act::Exit { .. }));
            prop_assert!(!exits);
            // Whoever serves as the main one leads, or waits for one that still runs.
            if let Some(main) = edges.iter().find(|edge| edge.place == Place::Main && edge.ready.is_some()) {
                prop_assert!(main.leads || edges.iter().any(|edge| edge.leads));
            }
            // Whoever is not where it should be is not waited for for ever.
            let waited_for = |edge: &&Edge| edge.place == Place::Old || edge.ready.is_none();
            let given_up = |edge: &Edge| killed.contains(&edge.id);
            prop_assert!(edges.iter().filter(waited_for).all(|edge| edge.deadline.is_some() || given_up(edge)));
            // If nobody serves or starts, the next start is due.
            prop_assert!(count(Place::Main) + count(Place::Next) > 0 || plan.due().is_some());
        }
    }
}
