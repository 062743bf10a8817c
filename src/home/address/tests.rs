//! Where home is believed to be: tables of answers, and what holds for any of them.

use proptest::prelude::*;

use super::*;

const EVERY: Duration = Duration::from_secs(60);

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn ips(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| ip(text)).collect()
}

/// A name that is followed, and the time.
struct Scene {
    follower: Follower,
    now: Instant,
}

impl Scene {
    fn new(believed: &[&str]) -> Self {
        Self { follower: Follower::new(EVERY, false, &ips(believed)), now: crate::clock::now() }
    }

    fn hears(&mut self, after: u64, v4: Answer, v6: Answer) -> Round {
        self.now += Duration::from_secs(after);
        self.follower.observe([v4, v6], self.now)
    }

    /// IPv4 alone.
    fn v4(&mut self, after: u64, texts: &[&str]) -> Round {
        self.hears(after, Ok(ips(texts)), Err(Fault::Empty))
    }
}

fn moved(from: &[&str], to: &[&str]) -> News {
    News::Moved { from: ips(from), to: ips(to) }
}

#[test]
fn a_change_is_believed_when_it_is_answered_twice() {
    let mut scene = Scene::new(&[]);
    assert_eq!(scene.v4(0, &["5.9.1.1"]), Round { news: vec![], again: CONFIRM });
    assert_eq!(scene.v4(5, &["5.9.1.1"]), Round { news: vec![moved(&[], &["5.9.1.1"])], again: EVERY });
    assert_eq!(scene.v4(60, &["5.9.1.1"]), Round { news: vec![], again: EVERY });
    assert_eq!(scene.v4(60, &["5.9.1.2"]), Round { news: vec![], again: CONFIRM });
    assert_eq!(scene.v4(2, &["5.9.1.2"]), Round { news: vec![], again: CONFIRM }, "too soon");
    let round = scene.v4(3, &["5.9.1.2"]);
    assert_eq!(round, Round { news: vec![moved(&["5.9.1.1"], &["5.9.1.2"])], again: EVERY });
}

#[test]
fn an_answer_that_does_not_last_changes_nothing() {
    let mut scene = Scene::new(&["5.9.1.1"]);
    assert_eq!(scene.v4(60, &["5.9.1.2"]).again, CONFIRM);
    assert_eq!(scene.v4(5, &["5.9.1.1"]), Round { news: vec![], again: EVERY });
    assert_eq!(scene.v4(60, &["5.9.1.2"]).again, CONFIRM, "it begins anew");
    assert_eq!(scene.follower.believed(), ips(&["5.9.1.1"]));
}

#[test]
fn answers_in_turn_are_told_once_and_asked_for_at_the_usual_pace() {
    let mut scene = Scene::new(&["5.9.1.1"]);
    assert_eq!(scene.v4(60, &["5.9.1.2"]).again, CONFIRM);
    let round = scene.v4(5, &["5.9.1.3"]);
    assert_eq!(round, Round { news: vec![News::Fault(Family::V4, Fault::Unsteady)], again: EVERY });
    assert_eq!(scene.v4(60, &["5.9.1.2"]), Round { news: vec![], again: EVERY });
    let round = scene.v4(60, &["5.9.1.2"]);
    assert_eq!(round.news, [moved(&["5.9.1.1"], &["5.9.1.2"]), News::Works(Family::V4)]);
}

#[test]
fn faults_change_nothing_and_are_told_once() {
    let faults = [
        Fault::Silent,
        Fault::NoSuchName,
        Fault::Failing,
        Fault::Empty,
        Fault::Unreachable(std::io::ErrorKind::ConnectionRefused),
    ];
    let mut scene = Scene::new(&["5.9.1.1"]);
    for (at, fault) in faults.into_iter().enumerate() {
        let round = scene.hears(60, Err(fault.clone()), Err(Fault::Empty));
        let told = if at == 0 { vec![News::Fault(Family::V4, fault.clone())] } else { vec![] };
        assert_eq!(round, Round { news: told, again: EVERY });
        assert_eq!(scene.follower.fault(), Some((Family::V4, &fault)));
    }
    assert_eq!(scene.v4(60, &["5.9.1.1"]).news, [News::Works(Family::V4)]);
    assert_eq!(scene.follower.believed(), ips(&["5.9.1.1"]));
    assert_eq!(scene.follower.fault(), None);
}

#[test]
fn what_is_no_home_is_not_believed() {
    let mut scene = Scene::new(&["5.9.1.1"]);
    let why = "private";
    let bad = Fault::Unwanted { address: ip("192.168.1.5"), why };
    assert_eq!(scene.v4(60, &["192.168.1.5"]).news, [News::Fault(Family::V4, bad)]);
    // Beside a good one it is passed over.
    assert_eq!(scene.v4(60, &["192.168.1.5", "5.9.1.1"]).news, [News::Works(Family::V4)]);
    let crowd: Vec<IpAddr> = (0..9).map(|last| ip(&format!("5.9.1.{last}"))).collect();
    let round = scene.hears(60, Ok(crowd), Err(Fault::Empty));
    assert_eq!(round.news, [News::Fault(Family::V4, Fault::TooMany(9))]);
}

#[test]
fn families_are_followed_apart() {
    let mut scene = Scene::new(&["5.9.1.1", "2a01:4f8::1"]);
    scene.hears(60, Ok(ips(&["5.9.1.2"])), Err(Fault::Failing));
    let round = scene.hears(5, Ok(ips(&["5.9.1.2"])), Err(Fault::Failing));
    assert_eq!(round.news, [moved(&["5.9.1.1", "2a01:4f8::1"], &["5.9.1.2", "2a01:4f8::1"])]);
    // Both at once are one move.
    let next = || (Ok(ips(&["5.9.1.3"])), Ok(ips(&["2a01:4f8::3"])));
    let (v4, v6) = next();
    scene.hears(60, v4, v6);
    let (v4, v6) = next();
    let round = scene.hears(5, v4, v6);
    assert_eq!(
        round.news,
        [moved(&["5.9.1.2", "2a01:4f8::1"], &["5.9.1.3", "2a01:4f8::3"]), News::Works(Family::V6)]
    );
}

#[test]
fn a_family_that_home_does_not_have_is_not_told() {
    let mut scene = Scene::new(&[]);
    let round = scene.hears(0, Err(Fault::Empty), Err(Fault::Empty));
    assert_eq!(round.news, [News::Fault(Family::V4, Fault::Empty)], "of the two one is told");
    let round = scene.hears(60, Err(Fault::Empty), Ok(ips(&["2a01:4f8::1"])));
    assert_eq!(round.news, [News::Works(Family::V4)]);
    let round = scene.hears(5, Err(Fault::Empty), Ok(ips(&["2a01:4f8::1"])));
    assert_eq!(round.news, [moved(&[], &["2a01:4f8::1"])]);
    let round = scene.hears(60, Err(Fault::Empty), Err(Fault::Empty));
    assert_eq!(round.news, [News::Fault(Family::V6, Fault::Empty)], "it had one");
}

/// A home with both families whose AAAA record goes away: so many rounds later.
fn lacking_for(rounds: u64) -> Scene {
    let mut scene = Scene::new(&["5.9.1.1", "2a01:4f8::1"]);
    assert_eq!(scene.v4(60, &["5.9.1.1"]).news, [News::Fault(Family::V6, Fault::Empty)]);
    for _ in 0..rounds {
        assert_eq!(scene.v4(60, &["5.9.1.1"]).news, []);
        assert_eq!(scene.follower.believed(), ips(&["5.9.1.1", "2a01:4f8::1"]));
        assert!(scene.follower.answered() && scene.follower.fault().is_some());
    }
    scene
}

const DAY: u64 = 24 * 60;

#[test]
fn a_family_without_an_address_for_a_day_is_gone() {
    let mut scene = lacking_for(DAY - 1);
    let gone = [moved(&["5.9.1.1", "2a01:4f8::1"], &["5.9.1.1"]), News::Gone(Family::V6)];
    assert_eq!(scene.v4(60, &["5.9.1.1"]).news, gone);
    assert_eq!(scene.follower.fault(), None);
    assert_eq!(scene.v4(60, &["5.9.1.1"]).news, [], "and is missed no more");
    scene.hears(60, Ok(ips(&["5.9.1.1"])), Ok(ips(&["2a01:4f8::2"])));
    let round = scene.hears(5, Ok(ips(&["5.9.1.1"])), Ok(ips(&["2a01:4f8::2"])));
    assert_eq!(round.news, [moved(&["5.9.1.1"], &["5.9.1.1", "2a01:4f8::2"])], "until there is one again");
}

#[test]
fn a_family_that_comes_back_within_a_day_was_not_gone() {
    let mut scene = lacking_for(DAY - 1);
    let round = scene.hears(60, Ok(ips(&["5.9.1.1"])), Ok(ips(&["2a01:4f8::1"])));
    assert_eq!(round.news, [News::Works(Family::V6)]);
    assert_eq!(scene.v4(60, &["5.9.1.1"]).news, [News::Fault(Family::V6, Fault::Empty)], "a new day");
}

#[test]
fn failures_are_no_answers_without_an_address() {
    // A failure now and then holds nothing up, and says nothing.
    let mut scene = lacking_for(DAY - 2);
    scene.hears(60, Ok(ips(&["5.9.1.1"])), Err(Fault::Silent));
    assert_eq!(scene.v4(60, &["5.9.1.1"]).news.last(), Some(&News::Gone(Family::V6)));
    // Nor are answers while the other family has no address either, or fails, however long.
    for v4 in [Err(Fault::Empty), Err(Fault::Silent)] {
        let mut scene = lacking_for(0);
        for _ in 0..2 * DAY {
            scene.hears(60, v4.clone(), Err(Fault::Empty));
            assert!(!scene.follower.answered());
        }
        assert_eq!(scene.follower.believed(), ips(&["5.9.1.1", "2a01:4f8::1"]));
        scene.v4(60, &["5.9.1.1"]);
        assert_eq!(scene.follower.believed().len(), 2, "after a long pause the day begins anew");
    }
}

#[test]
fn an_answer_for_one_family_is_an_answer() {
    let mut scene = Scene::new(&["5.9.1.1", "2a01:4f8::1"]);
    scene.hears(60, Ok(ips(&["5.9.1.1"])), Err(Fault::Silent));
    assert!(scene.follower.answered());
    scene.hears(60, Err(Fault::Empty), Err(Fault::Silent));
    assert!(!scene.follower.answered());
    scene.hears(60, Ok(ips(&["5.9.1.2"])), Err(Fault::Silent));
    scene.hears(60, Ok(ips(&["5.9.1.2"])), Err(Fault::Silent));
    scene.hears(60, Ok(ips(&["5.9.1.3"])), Err(Fault::Silent));
    scene.hears(60, Ok(ips(&["5.9.1.4"])), Err(Fault::Silent));
    assert!(!scene.follower.answered(), "answers in turn are none");
}

#[test]
fn a_short_pace_shortens_the_second_look() {
    let second = Duration::from_secs(1);
    let mut follower = Follower::new(second, false, &[]);
    let now = crate::clock::now();
    let answer = || [Ok(ips(&["5.9.1.1"])), Err(Fault::Empty)];
    assert_eq!(follower.observe(answer(), now).again, second);
    assert_eq!(follower.observe(answer(), now + second).news.len(), 1);
}

#[test]
fn addresses_that_no_home_has() {
    for (text, private_alone) in [
        ("0.0.0.0", false),
        ("127.0.0.1", false),
        ("169.254.1.1", false),
        ("224.0.0.1", false),
        ("255.255.255.255", false),
        ("250.1.1.1", false),
        ("192.0.2.1", false),
        ("198.51.100.7", false),
        ("203.0.113.9", false),
        ("198.19.0.1", false),
        ("192.0.0.8", false),
        ("10.0.0.1", true),
        ("172.31.255.1", true),
        ("192.168.178.1", true),
        ("100.64.0.1", true),
        ("100.127.255.255", true),
        ("::", false),
        ("::1", false),
        ("::ffff:5.9.1.1", false),
        ("64:ff9b::1", false),
        ("fe80::1", false),
        ("fec0::1", false),
        ("ff02::1", false),
        ("2001:db8::1", false),
        ("2001::1", false),
        ("3fff::1", false),
        ("4000::1", false),
        ("fd00::2", true),
    ] {
        assert!(unwanted(ip(text), false).is_some(), "{text}");
        assert_eq!(unwanted(ip(text), true).is_none(), private_alone, "{text}");
    }
    for text in ["5.9.1.1", "100.63.0.1", "100.128.0.1", "172.32.0.1", "198.20.0.1", "2a01:4f8::1", "2600::1"]
    {
        assert_eq!(unwanted(ip(text), false), None, "{text}");
    }
}

fn answer() -> impl Strategy<Value = Answer> {
    let one =
        prop_oneof![Just("5.9.1.1"), Just("5.9.1.2"), Just("5.9.1.3"), Just("10.0.0.1"), Just("127.0.0.1"),];
    prop_oneof![
        4 => proptest::collection::vec(one, 0..3).prop_map(|texts| Ok(ips(&texts))),
        1 => Just(Err(Fault::Silent)),
        1 => Just(Err(Fault::NoSuchName)),
    ]
}

proptest! {
    #[test]
    fn nothing_is_believed_that_was_not_answered_twice(
        heard in proptest::collection::vec((answer(), 0_u64..70), 0..60)
    ) {
        let mut scene = Scene::new(&[]);
        let mut good: Vec<(BTreeSet<IpAddr>, Instant)> = Vec::new();
        for (answer, after) in heard {
            let before = scene.follower.believed();
            let plain = answer.clone().and_then(|all| wanted(&all, false));
            let round = scene.hears(after, answer, Err(Fault::Empty));
            let after = scene.follower.believed();
            let set: BTreeSet<IpAddr> = after.iter().copied().collect();
            prop_assert!(after.iter().all(|one| unwanted(*one, false).is_none()));
            let told = round.news.iter().any(|news| matches!(news, News::Moved { .. }));
            prop_assert_eq!(told, before != after);
            prop_assert!(round.again == EVERY || round.again == CONFIRM);
            match plain {
                Ok(heard) if after != before => {
                    let (last, since) = good.last().expect("one before");
                    prop_assert_eq!(last, &heard);
                    prop_assert_eq!(&set, &heard);
                    let first = good.iter().rev().take_while(|(one, _)| *one == heard).last();
                    let first = first.map_or(*since, |(_, since)| *since);
                    prop_assert!(scene.now.saturating_duration_since(first) >= CONFIRM);
                    good.push((heard, scene.now));
                }
                Ok(heard) => good.push((heard, scene.now)),
                Err(_) => prop_assert_eq!(before, after),
            }
        }
    }
}
