//! What is put where and taken out again: every path of a step, and no foreign address touched in any of them.

use proptest::prelude::*;

use super::*;
use crate::config::model::home::NftSet;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn set(owned: bool) -> Update {
    let set = NftSet { family: "inet".into(), table: "filter".into(), set: "homeip".into() };
    Update::NftSet { set, owned }
}

fn table() -> Update {
    Update::PfTable { table: "homeip".into(), owned: false }
}

/// A firewall that does what it is told, with what others put there.
#[derive(Debug, Default)]
struct World {
    holds: BTreeMap<String, BTreeSet<IpAddr>>,
    broken: bool,
}

impl World {
    fn act(&mut self, update: &Update, step: &Step) -> Result<Outcome, UpdateError> {
        if self.broken {
            return Err(UpdateError::NoProgram { program: "nft".into() });
        }
        let holds = self.holds.entry(key(update)).or_default();
        Ok(match step {
            Step::Add(ip) if holds.contains(ip) => Outcome::Present,
            Step::Add(ip) => {
                holds.insert(*ip);
                Outcome::Done
            }
            Step::Remove(ip) => {
                holds.remove(ip);
                Outcome::Done
            }
            Step::Replace(all) => {
                *holds = all.iter().copied().collect();
                Outcome::Done
            }
        })
    }

    /// All that is to be done; what was told, and what was done in which order.
    fn settle(&mut self, ledger: &mut Ledger, updates: &[Update]) -> (Vec<Told>, Vec<Step>) {
        let (mut told, mut done) = (Vec::new(), Vec::new());
        let mut take = |world: &mut Self, ledger: &mut Ledger, steps: Vec<(usize, Step)>| {
            for (which, step) in steps {
                let result = world.act(&updates[which], &step);
                told.extend(ledger.took(&updates[which], &step, &result));
                done.push(step);
            }
        };
        let steps = ledger.additions(updates);
        take(self, ledger, steps);
        let steps = ledger.removals(updates);
        take(self, ledger, steps);
        (told, done)
    }

    fn of(&self, update: &Update) -> Vec<IpAddr> {
        self.holds.get(&key(update)).into_iter().flatten().copied().collect()
    }
}

fn done(text: &str) -> Told {
    Told::Done(text.to_owned())
}

#[test]
fn the_new_address_comes_before_the_old_one_goes() {
    let (updates, mut world, mut ledger) = (vec![set(false)], World::default(), Ledger::default());
    world.holds.insert(key(&updates[0]), [ip("9.9.9.9")].into());
    ledger.follow("home", &updates);
    assert!(world.settle(&mut ledger, &updates).1.is_empty(), "nothing is believed yet");
    ledger.believe(&[ip("5.9.1.1")], 7);
    let (told, steps) = world.settle(&mut ledger, &updates);
    assert_eq!(told, [done("nft set inet filter homeip: added 5.9.1.1")]);
    assert_eq!(steps, [Step::Add(ip("5.9.1.1"))]);
    assert!(world.settle(&mut ledger, &updates).1.is_empty(), "nothing is to do");
    ledger.believe(&[ip("5.9.1.2")], 8);
    let (told, steps) = world.settle(&mut ledger, &updates);
    assert_eq!(steps, [Step::Add(ip("5.9.1.2")), Step::Remove(ip("5.9.1.1"))]);
    let line = |what| done(&format!("nft set inet filter homeip: {what}"));
    assert_eq!(told, [line("added 5.9.1.2"), line("removed 5.9.1.1")]);
    assert_eq!(world.of(&updates[0]), [ip("5.9.1.2"), ip("9.9.9.9")]);
}

#[test]
fn what_others_put_there_stays_even_if_it_was_home_for_a_while() {
    let (updates, mut world, mut ledger) = (vec![table()], World::default(), Ledger::default());
    world.holds.insert(key(&updates[0]), [ip("5.9.1.1")].into());
    ledger.follow("home", &updates);
    ledger.believe(&[ip("5.9.1.1")], 7);
    assert!(world.settle(&mut ledger, &updates).0.is_empty());
    ledger.believe(&[ip("5.9.1.2")], 8);
    world.settle(&mut ledger, &updates);
    assert_eq!(world.of(&updates[0]), [ip("5.9.1.1"), ip("5.9.1.2")]);
}

#[test]
fn after_a_restart_its_own_address_is_taken_out() {
    let (updates, mut world, mut ledger) = (vec![set(false)], World::default(), Ledger::default());
    ledger.follow("home", &updates);
    ledger.believe(&[ip("5.9.1.1")], 7);
    world.settle(&mut ledger, &updates);
    let mut again = Ledger::read(&ledger.text()).unwrap();
    assert!(again.follow("home", &updates).is_empty());
    assert_eq!(again.believed(), (&[ip("5.9.1.1")][..], 7));
    // What the machine forgot at its own restart is put there again, and what is there is no news.
    assert_eq!(world.settle(&mut again, &updates), (vec![], vec![Step::Add(ip("5.9.1.1"))]));
    again.believe(&[ip("5.9.1.2")], 8);
    world.settle(&mut again, &updates);
    assert_eq!(world.of(&updates[0]), [ip("5.9.1.2")]);
}

#[test]
fn another_name_takes_out_the_address_of_the_one_before() {
    let (updates, mut world, mut ledger) = (vec![set(false)], World::default(), Ledger::default());
    ledger.follow("home", &updates);
    ledger.believe(&[ip("5.9.1.1")], 7);
    world.settle(&mut ledger, &updates);
    ledger.follow("other", &updates);
    assert_eq!(ledger.believed(), (&[][..], 0));
    assert!(world.settle(&mut ledger, &updates).1.is_empty());
    ledger.believe(&[ip("5.9.1.2")], 8);
    world.settle(&mut ledger, &updates);
    assert_eq!(world.of(&updates[0]), [ip("5.9.1.2")]);
}

#[test]
fn a_family_that_is_gone_is_taken_out_where_the_other_does_not_fit() {
    let unfit = Err(UpdateError::Unfit { holds: "ipv6_addr".into(), address: ip("5.9.1.1") });
    let both = [ip("5.9.1.1"), ip("2a01::1")];
    for owned in [false, true] {
        let (updates, mut ledger) = (vec![set(owned)], Ledger::default());
        ledger.follow("home", &updates);
        ledger.believe(&both, 7);
        for (_, step) in ledger.additions(&updates) {
            let fits = step != Step::Add(both[0]);
            let result = if fits { Ok(Outcome::Done) } else { unfit.clone() };
            ledger.took(&updates[0], &step, &result);
        }
        ledger.believe(&both[..1], 8);
        let additions = ledger.additions(&updates);
        if owned {
            assert_eq!(additions, [(0, Step::Replace(vec![both[0]]))]);
            ledger.took(&updates[0], &additions[0].1, &unfit);
        }
        assert_eq!(ledger.removals(&updates), [(0, Step::Remove(both[1]))]);
        ledger.took(&updates[0], &Step::Remove(both[1]), &Ok(Outcome::Done));
        assert!(ledger.additions(&updates).is_empty() && ledger.removals(&updates).is_empty());
    }
}

#[test]
fn what_is_updated_no_more_is_left_as_it_is_and_told() {
    let (updates, mut world, mut ledger) = (vec![set(false), table()], World::default(), Ledger::default());
    ledger.follow("home", &updates);
    ledger.believe(&[ip("5.9.1.1")], 7);
    world.settle(&mut ledger, &updates);
    assert_eq!(ledger.follow("home", &updates[..1]), ["pf table homeip"]);
    ledger.believe(&[ip("5.9.1.2")], 8);
    world.settle(&mut ledger, &updates[..1]);
    assert_eq!(world.of(&updates[1]), [ip("5.9.1.1")]);
}

#[test]
fn a_failure_is_told_once_tried_again_and_keeps_the_old_address() {
    let (updates, mut world, mut ledger) = (vec![set(false)], World::default(), Ledger::default());
    ledger.follow("home", &updates);
    ledger.believe(&[ip("5.9.1.1")], 7);
    world.settle(&mut ledger, &updates);
    world.broken = true;
    ledger.believe(&[ip("5.9.1.2")], 8);
    let (told, steps) = world.settle(&mut ledger, &updates);
    assert!(matches!(&told[..], [Told::Failed(text)] if text.contains("there is no nft")), "{told:?}");
    assert_eq!(steps, [Step::Add(ip("5.9.1.2"))], "nothing is removed");
    assert_eq!(world.settle(&mut ledger, &updates), (vec![], vec![Step::Add(ip("5.9.1.2"))]));
    world.broken = false;
    let (told, _) = world.settle(&mut ledger, &updates);
    assert_eq!(told.len(), 2, "{told:?}");
    assert_eq!(world.of(&updates[0]), [ip("5.9.1.2")]);
}

#[test]
fn what_does_not_fit_is_told_once_and_not_tried_again() {
    let (updates, mut ledger) = (vec![set(false)], Ledger::default());
    ledger.follow("home", &updates);
    let all = [ip("5.9.1.1"), ip("2a01:4f8::1")];
    ledger.believe(&all, 7);
    let mut told = Vec::new();
    for _ in 0..3 {
        for (which, step) in ledger.additions(&updates) {
            let result = match step {
                Step::Add(ip) if ip.is_ipv6() => {
                    Err(UpdateError::Unfit { holds: "ipv4_addr".into(), address: ip })
                }
                _ => Ok(Outcome::Done),
            };
            told.extend(ledger.took(&updates[which], &step, &result));
        }
        assert!(ledger.removals(&updates).is_empty());
        ledger.refresh();
    }
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(ledger.failing().is_empty());
    assert!(matches!(&told[1], Told::Unfit(text) if text.contains("it holds ipv4_addr")), "{told:?}");
}

#[test]
fn what_porchd_owns_is_replaced_as_a_whole() {
    let updates = vec![set(true), Update::File("/etc/homeip".into())];
    let (mut world, mut ledger) = (World::default(), Ledger::default());
    world.holds.insert(key(&updates[0]), [ip("9.9.9.9")].into());
    ledger.follow("home", &updates);
    ledger.believe(&[ip("5.9.1.1"), ip("2a01:4f8::1")], 7);
    let (told, _) = world.settle(&mut ledger, &updates);
    assert_eq!(told[1], done("file /etc/homeip: holds 5.9.1.1, 2a01:4f8::1"));
    ledger.believe(&[ip("5.9.1.1")], 8);
    world.settle(&mut ledger, &updates);
    assert_eq!(world.of(&updates[0]), [ip("5.9.1.1")]);
    assert_eq!(world.of(&updates[1]), [ip("5.9.1.1")]);
}

#[test]
fn a_file_of_another_kind_is_refused() {
    for text in ["", "{", "[]", "{\"version\":2}", "{\"version\":1,\"added\":7}"] {
        assert!(Ledger::read(text).is_err(), "{text}");
    }
}

#[derive(Debug, Clone)]
enum Turn {
    Moves(Vec<IpAddr>),
    Breaks(bool),
    Restarts,
    Refreshes,
    /// The firewall is loaded anew: what porchd put there is gone.
    Reloads,
}

fn turn() -> impl Strategy<Value = Turn> {
    let home = prop::sample::subsequence(vec![ip("5.9.1.1"), ip("5.9.1.2"), ip("5.9.1.3")], 1..3);
    prop_oneof![
        4 => home.prop_map(Turn::Moves),
        1 => any::<bool>().prop_map(Turn::Breaks),
        1 => Just(Turn::Restarts),
        1 => Just(Turn::Refreshes),
        1 => Just(Turn::Reloads),
    ]
}

proptest! {
    #[test]
    fn in_the_end_home_is_in_and_nothing_foreign_was_touched(
        turns in proptest::collection::vec(turn(), 0..40)
    ) {
        let foreign: BTreeSet<IpAddr> = [ip("9.9.9.9"), ip("5.9.1.3")].into();
        let updates = vec![set(false), table()];
        let mut world = World::default();
        for update in &updates {
            world.holds.insert(key(update), foreign.clone());
        }
        let mut ledger = Ledger::default();
        ledger.follow("home", &updates);
        let mut home = vec![ip("5.9.1.1")];
        ledger.believe(&home, 0);
        for turn in turns {
            match turn {
                Turn::Moves(to) => {
                    ledger.believe(&to, 0);
                    home = to;
                }
                Turn::Breaks(broken) => world.broken = broken,
                Turn::Restarts => {
                    // Every change is written at once, but for what only this process knows.
                    if !world.broken {
                        ledger = Ledger::read(&ledger.text()).unwrap();
                        ledger.follow("home", &updates);
                    }
                }
                Turn::Refreshes => ledger.refresh(),
                Turn::Reloads => {
                    world.holds.values_mut().for_each(|all| *all = foreign.clone());
                    ledger.refresh();
                }
            }
            world.settle(&mut ledger, &updates);
            for update in &updates {
                prop_assert!(foreign.iter().all(|one| world.of(update).contains(one)), "{world:?} {ledger:?}");
            }
        }
        world.broken = false;
        world.settle(&mut ledger, &updates);
        let wanted: BTreeSet<IpAddr> = foreign.iter().chain(&home).copied().collect();
        for update in &updates {
            prop_assert_eq!(world.of(update).into_iter().collect::<BTreeSet<_>>(), wanted.clone());
        }
    }
}
