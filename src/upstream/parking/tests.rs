//! The bounds, the order and the pace of what waits.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

fn bounds(most: u32, most_per_client: u32) -> Park {
    Park { most, most_per_client, memory: 1000, ..Park::default() }
}

fn guest(client: u8) -> Guest {
    Guest { client: IpAddr::from([192, 0, 2, client]), stranger: false, first: false, bytes: 10 }
}

fn tokens(out: Vec<(Place, u32)>) -> Vec<u32> {
    out.into_iter().map(|(_, token)| token).collect()
}

#[test]
fn the_first_goes_on_at_once_and_the_others_ever_faster() {
    let mut parking = Parking::new(bounds(100, 100));
    let start = crate::clock::now();
    parking.away();
    for token in 0..20 {
        parking.arrive(guest(1), token).unwrap();
    }
    assert_eq!((parking.release(start).len(), parking.next_release(start)), (0, None));
    parking.returns(start);
    let mut now = start;
    let mut sizes = Vec::new();
    let mut all = Vec::new();
    while let Some(next) = parking.next_release(now).filter(|_| !parking.is_empty()) {
        let out = tokens(parking.release(now));
        sizes.push(out.len());
        all.extend(out);
        now = next;
    }
    assert_eq!(sizes, [1, 1, 2, 4, 8, 4]);
    assert_eq!(all, (0..20).collect::<Vec<_>>());
}

#[test]
fn who_comes_during_a_return_goes_on_within_the_pace_and_behind_the_others() {
    let mut parking = Parking::new(bounds(100, 100));
    let start = crate::clock::now();
    parking.away();
    parking.arrive(guest(1), 0).unwrap();
    parking.returns(start);
    assert_eq!(tokens(parking.release(start)), [0]);
    parking.arrive(guest(1), 1).unwrap();
    assert!(parking.release(start).is_empty());
    assert_eq!(tokens(parking.release(start + STEP)), [1]);
    assert_eq!(parking.next_release(start + STEP), Some(start + STEP * STEPS));
    parking.release(start + STEP * STEPS);
    assert_eq!(parking.standing(), Standing::Present);
}

#[test]
fn a_poll_that_was_cut_off_goes_first() {
    let mut parking = Parking::new(bounds(100, 100));
    parking.away();
    parking.arrive(guest(1), 0).unwrap();
    parking.arrive(Guest { first: true, ..guest(1) }, 1).unwrap();
    parking.arrive(Guest { first: true, ..guest(1) }, 2).unwrap();
    let now = crate::clock::now();
    parking.returns(now);
    assert_eq!(tokens(parking.release(now + STEP * 4)), [1, 2, 0]);
}

#[test]
fn nobody_waits_for_an_upstream_that_is_present() {
    let mut parking = Parking::new(bounds(100, 100));
    parking.arrive(guest(1), 0).unwrap();
    parking.arrive(guest(1), 1).unwrap();
    assert_eq!(tokens(parking.release(crate::clock::now())), [0, 1]);
}

#[test]
fn bounds_are_told_apart() {
    let mut parking = Parking::new(Park { memory: 25, ..bounds(4, 3) });
    let stranger = Guest { stranger: true, bytes: 0, ..guest(9) };
    assert!(parking.arrive(guest(1), 0).is_ok());
    assert!(parking.arrive(stranger, 0).is_ok());
    assert!(parking.arrive(stranger, 0).is_ok());
    assert_eq!(parking.arrive(stranger, 0), Err(Full::Strangers));
    assert_eq!(parking.arrive(Guest { bytes: 16, ..guest(1) }, 0), Err(Full::Memory));
    assert!(parking.arrive(guest(1), 0).is_ok());
    assert_eq!(parking.arrive(guest(1), 0), Err(Full::Places));
    let mut parking = Parking::new(bounds(10, 2));
    let v6 = |last: u16| Guest { client: IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, last]), ..guest(0) };
    assert!(parking.arrive(v6(1), 0).is_ok() && parking.arrive(v6(2), 0).is_ok());
    assert_eq!(parking.arrive(v6(3), 0), Err(Full::Client));
}

#[test]
fn who_failed_to_go_home_has_its_place_again() {
    let mut parking = Parking::new(bounds(2, 2));
    parking.away();
    let first = parking.arrive(guest(1), 0).unwrap();
    parking.arrive(guest(1), 1).unwrap();
    let now = crate::clock::now();
    parking.returns(now);
    assert_eq!(tokens(parking.release(now)), [0]);
    parking.arrive(guest(1), 2).unwrap();
    parking.away();
    parking.back(first, guest(1), 0);
    parking.returns(now);
    assert_eq!(tokens(parking.release(now + STEP * 2)), [0, 1, 2]);
}

/// What can happen.
#[derive(Debug, Clone)]
enum Event {
    Arrive(Guest),
    Leave(usize),
    Back(usize),
    Away,
    Returns,
    Recall,
    Pass(u64),
}

fn event() -> impl Strategy<Value = Event> {
    let guest = (0_u8..4, any::<bool>(), any::<bool>(), 0_u64..300)
        .prop_map(|(client, stranger, first, bytes)| Guest { stranger, first, bytes, ..guest(client) });
    prop_oneof![
        8 => guest.prop_map(Event::Arrive),
        2 => any::<usize>().prop_map(Event::Leave),
        2 => any::<usize>().prop_map(Event::Back),
        2 => Just(Event::Away),
        3 => Just(Event::Returns),
        1 => Just(Event::Recall),
        4 => (0_u64..700).prop_map(Event::Pass),
    ]
}

proptest! {
    /// Against a plain account of who is where.
    #[test]
    fn nobody_is_lost_or_let_out_twice_bounds_hold_and_order_holds(
        events in proptest::collection::vec(event(), 1..200), most in 0_u32..12, per_client in 0_u32..6,
    ) {
        let mut parking: Parking<u32> = Parking::new(bounds(most, per_client));
        let mut now = crate::clock::now();
        let mut waiting: BTreeMap<Place, (u32, Guest)> = BTreeMap::new();
        let mut out: Vec<(Place, u32, Guest)> = Vec::new();
        let mut next = 0;
        let mut returned = None;
        let mut released = 0;
        for event in events {
            let mut went: Vec<(Place, u32)> = Vec::new();
            match event {
                Event::Arrive(guest) => {
                    let all = waiting.len();
                    let of = waiting.values().filter(|(_, one)| one.client == guest.client).count();
                    let strangers = waiting.values().filter(|(_, one)| one.stranger).count();
                    if let Ok(place) = parking.arrive(guest, next) {
                        prop_assert!(all < most as usize);
                        prop_assert!(guest.first || of < per_client as usize);
                        prop_assert!(!guest.stranger || strangers < most as usize / 2);
                        prop_assert!(waiting.insert(place, (next, guest)).is_none());
                        next += 1;
                    }
                }
                Event::Leave(which) if !waiting.is_empty() => {
                    let place = *waiting.keys().nth(which % waiting.len()).unwrap();
                    waiting.remove(&place);
                    prop_assert!(parking.leave(place));
                    prop_assert!(!parking.leave(place));
                }
                Event::Back(which) if !out.is_empty() => {
                    let (place, token, guest) = out.swap_remove(which % out.len());
                    parking.back(place, guest, token);
                    waiting.insert(place, (token, guest));
                }
                Event::Away => {
                    parking.away();
                    returned = None;
                }
                Event::Returns => {
                    if parking.standing() == Standing::Away {
                        (returned, released) = (Some(now), 0);
                    }
                    parking.returns(now);
                }
                Event::Recall => went = parking.recall(),
                Event::Pass(millis) => now += Duration::from_millis(millis),
                Event::Leave(_) | Event::Back(_) => {}
            }
            if went.is_empty() {
                went = parking.release(now);
                released += went.len() as u64;
                if let Some(since) = returned {
                    prop_assert!(released <= allowed(steps(since, now)));
                } else {
                    prop_assert!(went.is_empty() || parking.standing() == Standing::Present);
                }
                prop_assert!(parking.is_empty() || parking.standing() != Standing::Present);
                // The first ones, and in order.
                let first: Vec<_> = waiting.keys().take(went.len()).copied().collect();
                prop_assert_eq!(&first, &went.iter().map(|(place, _)| *place).collect::<Vec<_>>());
            }
            for (place, token) in went {
                let (known, guest) = waiting.remove(&place).expect("let out twice");
                prop_assert_eq!(known, token);
                out.push((place, token, guest));
            }
            prop_assert_eq!(parking.len(), waiting.len());
            let bytes: u64 = waiting.values().map(|(_, guest)| guest.bytes).sum();
            let clients: BTreeSet<_> = waiting.values().map(|(_, guest)| guest.client).collect();
            prop_assert_eq!((parking.bytes, parking.clients.len()), (bytes, clients.len()));
            prop_assert_eq!(parking.strangers, waiting.values().filter(|(_, one)| one.stranger).count() as u32);
        }
        // Whoever waits goes on in the end.
        parking.away();
        parking.returns(now);
        let rest = parking.release(now + STEP * 40);
        prop_assert_eq!(rest.len(), waiting.len());
        prop_assert_eq!(parking.standing(), Standing::Present);
    }
}
