//! Years with CAs of all tempers: no limit is passed, and what can be had is had in time.

use std::sync::Arc;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::acme::schedule::tests::world::{Authority, DAY, LETS_ENCRYPT, PRIVATE, Temper, World};
use crate::config::model::acme::FailingName;

/// Tries few of each by default, because each is thousands of plans; a long run tries more, though not as
/// many as of other properties.
fn try_some<S: Strategy>(strategy: S, property: impl Fn(S::Value) -> Result<(), TestCaseError>) {
    let asked = std::env::var("PROPTEST_CASES").is_ok();
    let cases = if asked { (ProptestConfig::default().cases / 100).max(1) } else { 8 };
    let config = ProptestConfig {
        cases,
        max_shrink_iters: 64,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    if let Err(failure) = TestRunner::new(config).run(&strategy, property) {
        panic!("{failure}");
    }
}

/// A bad temper of any degree, mild ones too.
fn temper(world: &mut World) -> Temper {
    let mut some = |most: u64| {
        let degree = world.dice.below(5);
        world.dice.below(most * degree / 4 + 1)
    };
    Temper {
        at_opening: some(60),
        at_order: some(60),
        at_validation: some(90),
        silent: some(50),
        at_signing: some(40),
        wishes: some(100),
        slow: some(150),
        renewal_info: some(1) == 1,
    }
}

/// Something happens to the machine or its configuration.
fn poke(world: &mut World) {
    match world.dice.below(14) {
        0..=2 if world.writable || !world.unsaved => world.restart(),
        3..=5 => {
            let site = world.dice.below(world.sites.len() as u64);
            world.ask(usize::try_from(site).unwrap());
        }
        6 | 7 => change_hosts(world),
        8 => world.behind += world.dice.below(3 * DAY),
        // A suspended machine, between attempts.
        9 if world.quiet() => world.now += world.dice.below(20 * DAY),
        10 => {
            let writable = world.dice.chance(70);
            world.set_writable(writable);
        }
        11 => world.temper = temper(world),
        12 => world.lose_accounts(),
        _ => {}
    }
}

fn change_hosts(world: &mut World) {
    let site = usize::try_from(world.dice.below(world.sites.len() as u64)).unwrap();
    let base = world.sites[site].name.clone();
    let mut names: Vec<Arc<str>> = vec![Arc::from(base.as_str())];
    for label in ["www", "chat", "matrix", "rtc", "mail"] {
        if world.dice.chance(50) {
            names.push(Arc::from(format!("{label}.{base}")));
        }
    }
    world.sites[site].names = names;
}

fn hostile(seed: u64, sites: usize, both: bool, life: u64, pokes: u64, steps: u32, wait: bool) -> World {
    let mut world = World::new(seed);
    world.authorities = vec![Authority::new(LETS_ENCRYPT, life)];
    if both {
        world = world.authority(PRIVATE, life);
    }
    if wait {
        world.failing_name = FailingName::Wait;
    }
    for site in 0..sites {
        world = world.site(&[&format!("{site}.example.org"), &format!("www.{site}.example.org")]);
    }
    world.temper = temper(&mut world);
    for _ in 0..steps {
        let until = world.now + 1 + world.dice.below(pokes);
        world.run_until(until);
        poke(&mut world);
    }
    world
}

#[test]
fn no_published_limit_is_ever_passed() {
    let life = prop::sample::select(vec![6 * DAY, 90 * DAY]);
    let pokes = prop::sample::select(vec![20, 600, 7200, 2 * DAY]);
    let any = (any::<u64>(), 1_usize..6, any::<bool>(), any::<bool>(), life, pokes);
    try_some(any, |(seed, sites, both, wait, life, pokes)| {
        hostile(seed, sites, both, life, pokes, 150, wait);
        Ok(())
    });
}

#[test]
fn a_bad_time_is_made_good_when_it_is_over() {
    let life = prop::sample::select(vec![6 * DAY, 90 * DAY]);
    let pokes = prop::sample::select(vec![600, 2 * DAY]);
    try_some((any::<u64>(), 1_usize..4, life, pokes), |(seed, sites, life, pokes)| {
        let mut world = hostile(seed, sites, false, life, pokes, 60, false);
        world.temper = Temper { slow: 30, ..Temper::default() };
        world.set_writable(true);
        // Caps on certificates look back a week, waits are a day and its jitter.
        let until = world.now + 9 * DAY;
        world.run_until(until);
        prop_assert!(world.well());
        Ok(())
    });
}

#[test]
fn a_healthy_authority_keeps_every_site_served() {
    let life = prop::sample::select(vec![6 * DAY, 45 * DAY, 90 * DAY]);
    try_some((any::<u64>(), 1_usize..6, life, any::<bool>()), |(seed, sites, life, renewal_info)| {
        let mut world = World::new(seed);
        world.authorities = vec![Authority::new(LETS_ENCRYPT, life)];
        world.temper = Temper { slow: 3, renewal_info, ..Temper::default() };
        for site in 0..sites {
            world = world.site(&[&format!("{site}.example.org"), &format!("www.{site}.example.org")]);
        }
        let start = world.now;
        world.run_until(start + 60);
        prop_assert!(world.well(), "no certificates within a minute");
        while world.now < start + 400 * DAY {
            world.advance(u64::MAX);
            prop_assert!(world.well(), "one ran out");
            if world.dice.chance(5) && world.quiet() {
                world.restart();
            }
        }
        // About two thirds of a life each, or half of one by the CA's wish, and not much oftener.
        let most = sites as u64 * (400 * DAY / (life * 45 / 100) + 1);
        prop_assert!(world.finished <= most, "{} certificates, {most} were enough", world.finished);
        prop_assert_eq!(world.authorities[0].orders.len() as u64, world.finished);
        Ok(())
    });
}

#[test]
fn a_restless_operator_gets_as_many_certificates_as_are_allowed_and_no_more() {
    let mut world = World::new(1).site(&["example.org"]);
    for round in 0..80 {
        world.sites[0].names = vec![Arc::from(format!("{round}.example.org"))];
        let until = world.now + 120;
        world.run_until(until);
    }
    assert_eq!(world.finished, 50);
    // Renewals of a set that it has pass all the same.
    world.sites[0].names = world.sites[0].held.as_ref().unwrap().names.clone();
    world.ask(0);
    let until = world.now + 120;
    world.run_until(until);
    assert_eq!(world.finished, 51);
}

#[test]
fn a_script_that_asks_without_end_passes_no_cap_on_orders() {
    let mut world = World::new(2).site(&["example.org"]);
    world.temper.at_order = 100;
    world.authorities[0].registered();
    for _ in 0..400 {
        world.ask(0);
        let until = world.now + 15;
        world.run_until(until);
    }
    assert_eq!(world.authorities[0].orders.len(), 300);
}
