//! What is due when, case by case.

use std::sync::Arc;
use std::time::Duration;

use crate::acme::failure::{FailedName, Failure, Kind};
use crate::acme::ledger::Ledger;
use crate::acme::limits::Limits;
use crate::acme::moment::Moment;
use crate::acme::records::RenewalWindow;
use crate::acme::schedule::tests::world::{BOTH, DAY, LETS_ENCRYPT, PRIVATE, moment, secs};
use crate::acme::schedule::{AuthorityView, Due, Held, Plan, SiteView, View, plan};
use crate::config::model::acme::{Challenge, FailingName};

const A: &str = "example.org";
const B: &str = "www.example.org";

/// One site and its history, in steps.
struct Case {
    now: Moment,
    authorities: Vec<&'static str>,
    challenges: Vec<Challenge>,
    failing_name: FailingName,
    names: Vec<Arc<str>>,
    held: Option<Held>,
    without_address: Vec<Arc<str>>,
    asked: bool,
    writable: bool,
    running_for: Duration,
    ledger: Ledger,
    random: u64,
}

type Ways = Vec<(Arc<str>, Challenge)>;

impl Case {
    fn new(names: &[&str]) -> Self {
        Self {
            now: moment(1_780_000_000),
            authorities: vec![LETS_ENCRYPT, PRIVATE],
            challenges: BOTH.to_vec(),
            failing_name: FailingName::LeaveOut,
            names: names.iter().map(|name| Arc::from(*name)).collect(),
            held: None,
            without_address: Vec::new(),
            asked: false,
            writable: true,
            running_for: secs(5),
            ledger: Ledger::default(),
            random: 3,
        }
    }

    fn alone(mut self) -> Self {
        self.authorities.truncate(1);
        self
    }

    /// A certificate, so many seconds old.
    fn held(mut self, names: &[&str], life: u64, age: u64) -> Self {
        let names = names.iter().map(|name| Arc::from(*name)).collect();
        let from = self.now.before(secs(age));
        self.held = Some(Held { names, from, to: from.after(secs(life)) });
        self
    }

    fn plan(&self) -> Plan {
        let view = |directory: &&'static str| AuthorityView { directory, limits: Limits::of(directory) };
        let site = SiteView {
            site: A,
            names: &self.names,
            held: self.held.clone(),
            without_address: &self.without_address,
            busy: false,
            asked: self.asked,
        };
        plan(&View {
            now: self.now,
            authorities: &self.authorities.iter().map(view).collect::<Vec<_>>(),
            challenges: &self.challenges,
            failing_name: self.failing_name,
            sites: &[site],
            ledger: &self.ledger,
            writable: self.writable,
            running_for: self.running_for,
            jitter: 11,
        })
    }

    /// The order that is due, sent.
    fn order(&mut self) -> (String, Ways) {
        let plan = self.plan();
        let Some(Due::Order { authority, names, renewal, .. }) = plan.due.first() else {
            panic!("nothing is due: {:?}", plan.next);
        };
        let ordered: Vec<_> = names.iter().map(|(name, _)| Arc::clone(name)).collect();
        self.ledger.order_attempted(authority, A, &ordered, *renewal, self.now);
        (authority.clone(), names.clone())
    }

    fn fails(&mut self, kind: Kind, retry_after: Option<u64>) -> (String, Ways) {
        let (authority, names) = self.order();
        let retry_after = retry_after.map(|seconds| self.now.after(secs(seconds)));
        let failure = Failure { kind, retry_after, text: "no".to_owned() };
        self.ledger.failed(&authority, A, &names, &self.challenges, &failure, self.now, self.random);
        (authority, names)
    }

    /// The order goes out and that name fails by its challenge.
    fn refuses(&mut self, name: &str) -> Ways {
        let name: Arc<str> = Arc::from(name);
        let due = self.plan().due.first().cloned();
        let Some(Due::Order { names, .. }) = due else { panic!("nothing is due") };
        let challenge = names.iter().find(|(other, _)| *other == name).map(|(_, challenge)| *challenge);
        let failed = FailedName { name, challenge, text: "connection refused".to_owned() };
        self.fails(Kind::Names(vec![failed]), None).1
    }

    fn succeeds(&mut self, life: u64) -> Ways {
        let (authority, names) = self.order();
        let ordered: Vec<_> = names.iter().map(|(name, _)| Arc::clone(name)).collect();
        self.ledger.finalizing(&authority, A);
        self.ledger.issued(&authority, A, &ordered, &names, self.now);
        self.held = Some(Held { names: ordered, from: self.now, to: self.now.after(secs(life)) });
        self.asked = false;
        names
    }

    /// Waits until an order is due, and tells for how long.
    fn wait(&mut self) -> u64 {
        let start = self.now;
        loop {
            let plan = self.plan();
            if plan.due.iter().any(|due| matches!(due, Due::Order { .. })) {
                return self.now.since(start).as_secs();
            }
            for due in plan.due {
                if let Due::AskRenewalInfo { site, .. } = due {
                    self.ledger.renewal_window_unknown(&site, None, self.now);
                }
            }
            assert!(plan.wake > self.now && plan.wake <= self.now.after(secs(300)));
            let next = plan.next.first().map_or(plan.wake, |(_, next)| next.at);
            self.now = next.max(plan.wake);
        }
    }

    fn idle(&self) -> bool {
        !self.plan().due.iter().any(|due| matches!(due, Due::Order { .. }))
    }
}

fn names(ways: &Ways) -> Vec<&str> {
    ways.iter().map(|(name, _)| &**name).collect()
}

#[test]
fn a_site_without_a_certificate_is_ordered_for_at_once() {
    let mut case = Case::new(&[A, B]);
    let (authority, ways) = case.order();
    assert_eq!(authority, LETS_ENCRYPT);
    assert_eq!(ways, [(Arc::from(A), Challenge::Http01), (Arc::from(B), Challenge::Http01)]);
}

#[test]
fn an_order_that_was_one_too_many_goes_again_when_the_authority_said() {
    for random in 0..20 {
        let mut case = Case { random, ..Case::new(&[A]).alone() };
        case.fails(Kind::RateLimited, Some(3));
        let waited = case.wait();
        assert!((3..=4).contains(&waited), "{waited}");
        case.succeeds(90 * DAY);
        assert_eq!(case.ledger.last_failure(A), None);
    }
}

#[test]
fn an_authority_that_does_not_answer_is_asked_again_in_seconds() {
    for random in 0..20 {
        let mut case = Case { random, ..Case::new(&[A]).alone() };
        case.fails(Kind::Unavailable, None);
        let waited = case.wait();
        assert!((2..=4).contains(&waited), "{waited}");
        case.fails(Kind::Unavailable, None);
        let waited = case.wait();
        assert!((4..=8).contains(&waited), "{waited}");
        case.fails(Kind::Unavailable, Some(50));
        assert!((50..=60).contains(&case.wait()), "it said when");
    }
}

#[test]
fn an_authority_that_always_says_in_a_second_is_not_believed_for_ever() {
    let mut case = Case { authorities: vec![PRIVATE], ..Case::new(&[A]) };
    let start = case.now;
    for _ in 0..40 {
        case.fails(Kind::RateLimited, Some(1));
        case.wait();
    }
    assert!(case.now.since(start) > secs(12 * 3600));
}

#[test]
fn the_next_authority_is_asked_at_once_and_the_first_again_when_its_wait_is_over() {
    for kind in [Kind::Unavailable, Kind::RateLimited, Kind::Refused] {
        let mut case = Case::new(&[A]);
        assert_eq!(case.fails(kind.clone(), Some(100)).0, LETS_ENCRYPT);
        assert_eq!(case.fails(kind.clone(), Some(100)).0, PRIVATE, "{kind:?}");
        let waited = case.wait();
        assert!(waited >= 100, "{kind:?}: {waited}");
        case.now = case.now.after(secs(5 * 3600));
        assert_eq!(case.order().0, LETS_ENCRYPT, "{kind:?}");
    }
}

#[test]
fn a_fault_of_this_machine_is_tried_again_within_a_minute_at_no_other_authority() {
    let mut case = Case::new(&[A]);
    for _ in 0..9 {
        assert_eq!(case.fails(Kind::Local, None).0, LETS_ENCRYPT);
        let waited = case.wait();
        assert!((5..=60).contains(&waited), "{waited}");
        case.now = case.now.after(secs(3600));
    }
}

#[test]
fn the_second_challenge_is_tried_at_once_and_then_it_rests() {
    let mut case = Case::new(&[A]);
    assert_eq!(case.refuses(A), [(Arc::from(A), Challenge::Http01)]);
    assert_eq!(case.refuses(A), [(Arc::from(A), Challenge::TlsAlpn01)], "no second was lost");
    let waited = case.wait();
    assert!((300..=400).contains(&waited), "{waited}");
    case.refuses(A);
    case.refuses(A);
    // Four validations failed within an hour, and one is kept free.
    assert!(case.wait() > 3000);
}

#[test]
fn the_challenge_that_worked_is_first_next_time() {
    let mut case = Case::new(&[A]);
    case.refuses(A);
    assert_eq!(case.succeeds(90 * DAY), [(Arc::from(A), Challenge::TlsAlpn01)]);
    assert!(case.wait() > 50 * DAY);
    assert_eq!(case.refuses(A), [(Arc::from(A), Challenge::TlsAlpn01)]);
    assert_eq!(case.refuses(A), [(Arc::from(A), Challenge::Http01)]);
}

#[test]
fn a_bad_name_is_left_out_and_tried_again() {
    let mut case = Case::new(&[A, B]);
    case.refuses(B);
    case.refuses(B);
    let ways = case.succeeds(90 * DAY);
    assert_eq!(names(&ways), [A], "at once");
    let left_out = case.plan().left_out;
    let (site, left_out) = left_out.first().unwrap();
    assert_eq!((site.as_str(), left_out.name.as_str(), left_out.why.as_str()), (A, B, "connection refused"));
    let again = left_out.again.unwrap();
    assert!(again > case.now);
    assert!((300..=400).contains(&case.wait()));
    assert_eq!(case.now, again);
    assert_eq!(names(&case.succeeds(90 * DAY)), [A, B]);
    assert_eq!(case.plan().left_out, []);
    assert!(case.idle());
}

#[test]
fn a_bad_name_is_waited_for_when_that_is_wished() {
    let mut case = Case { failing_name: FailingName::Wait, ..Case::new(&[A, B]) };
    case.refuses(B);
    case.refuses(B);
    assert!(case.wait() >= 300);
    assert_eq!(names(&case.order().1), [A, B]);
}

#[test]
fn a_name_without_an_address_is_left_out_until_it_has_one() {
    let mut case = Case::new(&[A, B]);
    case.without_address = vec![Arc::from(B)];
    assert_eq!(names(&case.succeeds(90 * DAY)), [A]);
    assert!(case.idle());
    assert_eq!(case.plan().left_out.len(), 1);
    case.without_address.clear();
    assert_eq!(names(&case.order().1), [A, B]);
    let case = Case { without_address: vec![Arc::from(A)], ..Case::new(&[A]) };
    assert!(case.idle(), "nothing to order");
}

#[test]
fn a_name_keeps_its_certificate_while_it_fails_as_long_as_there_is_time() {
    let mut case = Case::new(&[A, B]).held(&[A, B], 90 * DAY, 70 * DAY);
    case.refuses(B);
    case.refuses(B);
    assert!(case.idle(), "three weeks are left for it to work again");
    let last_call = case.held.as_ref().unwrap().to.before(secs(15 * DAY));
    loop {
        case.wait();
        if case.now >= last_call {
            break;
        }
        assert_eq!(names(&case.refuses(B)), [A, B]);
    }
    // Then the other must not run out over it.
    assert_eq!(case.now, last_call);
    assert_eq!(names(&case.order().1), [A]);
}

#[test]
fn a_refusal_that_names_nobody_known_rests_too() {
    let stranger = FailedName { name: Arc::from("other.test"), challenge: None, text: String::new() };
    for failed in [Vec::new(), vec![stranger]] {
        let mut case = Case::new(&[A]).alone();
        case.fails(Kind::Names(failed), None);
        assert!(case.wait() >= 3600);
    }
}

#[test]
fn a_third_of_the_life_is_left_at_renewal() {
    for life in [6 * DAY, 90 * DAY] {
        let mut case = Case::new(&[A]).held(&[A], life, 0);
        case.wait();
        let left = case.held.as_ref().unwrap().to.since(case.now).as_secs();
        assert!((life / 3..=life / 3 + life / 30 + 1).contains(&left), "{left} of {life}");
    }
}

#[test]
fn expired_certificates_and_new_names_are_ordered_for_at_once() {
    assert!(!Case::new(&[A]).held(&[A], 90 * DAY, 91 * DAY).idle());
    assert!(!Case::new(&[A, B]).held(&[A], 90 * DAY, DAY).idle());
    assert!(Case::new(&[A]).held(&[A], 90 * DAY, DAY / 2).idle());
    let mut gone = Case::new(&[A]).held(&[A, B], 90 * DAY, DAY / 2);
    assert_eq!(gone.wait(), DAY / 2, "a name that was taken off is taken off the certificate too");
}

#[test]
fn the_authoritys_window_decides_and_can_not_be_fatal() {
    let window = |case: &mut Case, start: u64, end: u64| {
        let at = |seconds| moment(1_780_000_000).after(secs(seconds));
        let window = RenewalWindow { start: at(start), end: at(end), explanation: None };
        case.ledger.renewal_window(A, window, case.now.after(secs(3600)), case.now, 99);
    };
    let mut case = Case::new(&[A]);
    case.succeeds(90 * DAY);
    let asks = Due::AskRenewalInfo { site: A.to_owned(), authority: LETS_ENCRYPT.to_owned() };
    assert_eq!(case.plan().due, [asks], "about what was just issued");
    window(&mut case, 20 * DAY, 21 * DAY);
    let first = case.plan().next.first().unwrap().1.clone();
    window(&mut case, 20 * DAY, 21 * DAY);
    assert_eq!(case.plan().next.first().unwrap().1, first, "one point, until the window changes");
    assert!(case.plan().due.is_empty());
    let waited = case.wait();
    assert!((20 * DAY..=21 * DAY).contains(&waited), "{waited}");
    case.succeeds(90 * DAY);
    // At the end of the world.
    window(&mut case, 9_000 * DAY, 9_001 * DAY);
    let waited = case.wait();
    assert!((70 * DAY..=75 * DAY).contains(&waited), "{waited}");
    // In the past: at once, and then once a day.
    case.succeeds(90 * DAY);
    window(&mut case, 1, 2);
    assert_eq!(case.wait(), 0);
    case.succeeds(90 * DAY);
    window(&mut case, 1, 2);
    assert_eq!(case.wait(), DAY);
    // Upside down: there is none.
    case.succeeds(90 * DAY);
    window(&mut case, 2, 1);
    assert!(case.wait() > 50 * DAY);
}

#[test]
fn twenty_renewals_in_a_minute_pass_at_a_private_authority_and_five_at_lets_encrypt() {
    for (authority, most) in [(PRIVATE, 20), (LETS_ENCRYPT, 5)] {
        let mut case = Case { authorities: vec![authority], ..Case::new(&[A, B]) };
        let passed = (0..20).take_while(|_| {
            case.now = case.now.after(secs(3));
            case.ledger.forget_failures(A);
            case.asked = true;
            let passes = !case.idle();
            if passes {
                case.succeeds(90 * DAY);
            }
            passes
        });
        assert_eq!(passed.count(), most, "{authority}");
        if authority == LETS_ENCRYPT {
            assert!(case.wait() > 6 * DAY, "the cap is a week's");
        }
    }
}

#[test]
fn waits_that_the_authority_asked_for_do_not_end_when_a_person_asks() {
    for kind in [Kind::Unavailable, Kind::RateLimited] {
        let mut case = Case::new(&[A]).alone();
        case.fails(kind, Some(1000));
        case.ledger.forget_failures(A);
        assert!(case.idle());
        case.now = case.now.after(secs(1200));
        assert!(!case.idle());
    }
}

#[test]
fn waits_end_when_a_person_asks() {
    let mut case = Case::new(&[A]).alone();
    case.fails(Kind::Refused, None);
    case.now = case.now.after(secs(10));
    assert!(case.idle());
    case.ledger.forget_failures(A);
    case.fails(Kind::Unavailable, None);
    assert!(case.idle());
    case.ledger.forget_failures(A);
    case.refuses(A);
    case.refuses(A);
    assert!(case.idle());
    case.ledger.forget_failures(A);
    assert!(case.idle(), "four of its validations may have failed by now");
}

#[test]
fn interrupted_orders_rest_longer_each_time() {
    let mut case = Case { authorities: vec![PRIVATE], ..Case::new(&[A]) };
    let mut waits = Vec::new();
    for _ in 0..12 {
        case.order();
        case.ledger = Ledger::parse(&case.ledger.to_json()).unwrap();
        waits.push(case.wait());
    }
    assert_eq!(waits[..4], [5, 10, 20, 40]);
    assert_eq!(waits[11], 3600);
    let mut case = Case { authorities: vec![PRIVATE], ..Case::new(&[A]) };
    let waits = [0; 3].map(|_| {
        case.order();
        case.ledger.finalizing(PRIVATE, A);
        case.ledger = Ledger::parse(&case.ledger.to_json()).unwrap();
        case.wait()
    });
    assert_eq!(waits, [5, 3600, 7200], "each may have been a certificate");
}

#[test]
fn nothing_is_ordered_that_could_not_be_remembered() {
    let unwritable = |case: Case| Case { writable: false, ..case };
    let case = unwritable(Case::new(&[A]));
    assert!(case.idle(), "a restart loop would order each time");
    assert!(case.plan().wake <= case.now.after(secs(60)), "the disk is looked at soon");
    let mut old = Case { running_for: secs(900), ..unwritable(Case::new(&[A])) };
    old.order();
    old.now = old.now.after(secs(600));
    assert!(old.idle());
    let running_for = secs(9000);
    let case = Case { running_for, ..unwritable(Case::new(&[A]).held(&[A], 90 * DAY, 70 * DAY)) };
    assert!(case.idle(), "there is time");
    let case = Case { running_for, ..unwritable(Case::new(&[A]).held(&[A], 90 * DAY, 82 * DAY)) };
    assert!(!case.idle(), "there is none");
}

#[test]
fn a_failing_authority_is_tried_with_one_order_at_a_time_and_each_site_in_turn() {
    let mut ledger = Ledger::default();
    let limits = Limits::of(PRIVATE);
    let names: Vec<[Arc<str>; 1]> = ["a.test", "b.test"].map(|name| [Arc::from(name)]).to_vec();
    let due = |ledger: &Ledger, now: Moment, busy: &str| {
        let sites = names.iter().map(|names| SiteView {
            site: &names[0],
            names,
            held: None,
            without_address: &[],
            busy: *names[0] == *busy,
            asked: false,
        });
        let sites: Vec<_> = sites.collect();
        let plan = plan(&View {
            now,
            authorities: &[AuthorityView { directory: PRIVATE, limits }],
            challenges: &BOTH,
            failing_name: FailingName::LeaveOut,
            sites: &sites,
            ledger,
            writable: true,
            running_for: secs(1),
            jitter: 0,
        });
        let orders = plan.due.iter().map(|due| match due {
            Due::Order { site, .. } | Due::AskRenewalInfo { site, .. } => site.clone(),
        });
        orders.collect::<Vec<_>>()
    };
    let mut now = moment(1_780_000_000);
    assert_eq!(due(&ledger, now, ""), ["a.test"], "the first may have to ask for an account");
    let failure = Failure { kind: Kind::Unavailable, retry_after: None, text: "503".to_owned() };
    for site in ["b.test", "a.test"] {
        ledger.failed(PRIVATE, site, &[], &BOTH, &failure, now, 0);
    }
    now = now.after(secs(8));
    assert_eq!(due(&ledger, now, "").len(), 1, "both failed at once, and that counts once");
    assert_eq!(due(&ledger, now, "a.test"), Vec::<String>::new());
    now = now.after(secs(1));
    ledger.failed(PRIVATE, "a.test", &[], &BOTH, &failure, now, 0);
    now = now.after(secs(30));
    assert_eq!(due(&ledger, now, ""), ["b.test"]);
    ledger.issued(PRIVATE, "b.test", &names[1], &[], now);
    assert_eq!(due(&ledger, now, ""), ["a.test", "b.test"]);
}

#[test]
fn a_clock_that_was_set_back_neither_frees_nor_locks() {
    let mut case = Case::new(&[A]).alone();
    case.refuses(A);
    case.refuses(A);
    case.now = case.now.before(secs(400 * DAY));
    case.ledger.settle(case.now);
    assert!((300..=500).contains(&case.wait()));
    case.refuses(A);
    case.refuses(A);
    case.ledger.forget_failures(A);
    case.now = case.now.before(secs(400 * DAY));
    case.ledger.settle(case.now);
    let waited = case.wait();
    assert!((3600..=4300).contains(&waited), "{waited}");
}
