//! What is ordered when, what is shown meanwhile, and what those who ask are told.

use std::fs;
use std::time::Duration;

use serde_json::json;

use crate::acme::fake::Fault;
use crate::acme::service::Command;
use crate::acme::service::tests::scene::{play, rest};
use crate::acme::status::State;
use crate::clock;
use crate::tls::inspect;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// The names on a chain's first certificate.
fn names(chain: &[u8]) -> Vec<String> {
    inspect::facts(chain).unwrap().names.iter().map(ToString::to_string).collect()
}

#[test]
fn a_first_certificate_is_kept_shown_and_reported() {
    play(async |scene| {
        scene.follow(&[&["a.test"]]);
        let status = scene.status("a.test").await;
        assert!(matches!(status.state, State::Missing | State::Ordering), "{status:?}");
        assert_eq!(status.names, ["a.test"]);
        scene.until(|| scene.shown("a.test").is_some()).await;
        let status = scene.status("a.test").await;
        assert_eq!((status.state, status.last_error.is_none()), (State::Valid, true));
        assert!(status.issuer.is_some() && status.from < status.to);
        assert_eq!(status.next.unwrap().why, "a third of its life is left");
        assert!(scene.kept("a.test"));
        assert_eq!((scene.told("a certificate for a.test is here"), scene.fake.asked("new")), (1, 1));
        // Nothing else happens.
        rest(24 * HOUR).await;
        assert_eq!(scene.fake.asked("new"), 1);
        // A restart begins with it, and asks the CA for nothing new.
        let before = scene.shown("a.test").unwrap();
        scene.kill().await;
        scene.start();
        scene.published.lock().unwrap().clear();
        scene.has(&[&["a.test"]]).await;
        rest(HOUR).await;
        assert_eq!((scene.shown("a.test").unwrap() == before, scene.fake.asked("new")), (true, 1));
    });
}

#[test]
fn who_asks_for_a_new_certificate_is_answered_at_once_or_in_the_end() {
    play(async |scene| {
        let told = scene.renew(None, true).await.unwrap_err();
        assert!(told.contains("no `acme` section"), "{told}");
        scene.has(&[&["a.test", "www.a.test"], &["b.test"]]).await;
        let old = scene.shown("a.test").unwrap();
        let told = scene.renew(Some("www.a.test"), false).await.unwrap();
        assert_eq!(told, "queued: a.test; `porchd certs` shows what comes of it");
        assert_eq!(scene.shown("a.test").unwrap(), old);
        let second = scene.shown_after("a.test", &old).await;
        // What waits for the outcome hears of it when it is shown: `publish` looks.
        *scene.waits.lock().unwrap() = Some(scene.asks(Some("a.test"), true));
        scene.shown_after("a.test", &second).await;
        let waits = scene.waits.lock().unwrap().take().unwrap();
        let told = waits.await.unwrap().unwrap();
        assert!(told.starts_with("a.test: a certificate for a.test, www.a.test is here"), "{told}");
        let told = scene.renew(None, true).await.unwrap();
        assert_eq!(told.lines().count(), 2, "{told}");
        assert_eq!(scene.fake.asked("new"), 6);
        let told = scene.renew(Some("c.test"), true).await.unwrap_err();
        assert!(told.starts_with("no certificate is ordered for c.test; "), "{told}");
        scene.fake.fault("new", Fault::Problem(403, "unauthorized", ""));
        let told = scene.renew(Some("b.test"), true).await.unwrap_err();
        assert!(
            told.contains("as you wish (unauthorized); the old one stays in use; next order at"),
            "{told}"
        );
        assert_eq!(scene.status("b.test").await.state, State::Valid);
    });
}

#[test]
fn a_name_that_fails_is_left_out_until_it_works() {
    play(async |scene| {
        scene.fake.state().verdicts.insert("www.a.test".into(), ("connection", "nobody is there"));
        scene.has(&[&["a.test", "www.a.test"], &["b.test"]]).await;
        assert_eq!(names(&scene.shown("a.test").unwrap()), ["a.test"]);
        assert_eq!(names(&scene.shown("b.test").unwrap()), ["b.test"]);
        let status = scene.status("a.test").await;
        assert_eq!((status.state, status.left_out.len()), (State::Valid, 1));
        let left_out = &status.left_out[0];
        assert_eq!((&*left_out.name, left_out.again.is_some()), ("www.a.test", true));
        assert!(left_out.why.contains("nobody is there"), "{left_out:?}");
        for way in ["http-01", "tls-alpn-01"] {
            assert!(scene.told(&format!("www.a.test by {way}: nobody is there")) > 0, "{way}");
        }
        scene.fake.state().verdicts.clear();
        let old = scene.shown("a.test").unwrap();
        let new = scene.shown_after("a.test", &old).await;
        assert_eq!(names(&new), ["a.test", "www.a.test"]);
        assert!(scene.status("a.test").await.left_out.is_empty());
    });
}

#[test]
fn a_ca_that_is_down_is_asked_again_until_it_is_up() {
    play(async |scene| {
        for fault in [Fault::Page(503, ""), Fault::Reset, Fault::Garbage, Fault::Hang] {
            scene.fake.fault("directory", fault);
        }
        let begun = clock::now();
        scene.follow(&[&["a.test"], &["b.test"]]);
        scene.until(|| scene.told("next order at") > 0).await;
        let status = scene.status("a.test").await;
        assert_eq!(status.state, State::Missing);
        scene.until(|| scene.shown("a.test").is_some() && scene.shown("b.test").is_some()).await;
        let passed = clock::now() - begun;
        assert!(passed < 5 * MINUTE, "{passed:?}");
        assert_eq!(scene.fake.asked("new"), 2, "no order is wasted");
    });
}

#[test]
fn a_ca_that_wants_rest_gets_it_and_no_more() {
    play(async |scene| {
        scene.fake.fault("new", Fault::Problem(429, "rateLimited", "3"));
        let begun = clock::now();
        scene.has(&[&["a.test"]]).await;
        let passed = clock::now() - begun;
        assert!(passed >= Duration::from_secs(3) && passed < Duration::from_secs(10), "{passed:?}");
        assert_eq!(scene.fake.asked("new"), 2);
        scene.fake.fault("new", Fault::Problem(429, "rateLimited", "7200"));
        let told = scene.renew(Some("a.test"), true).await.unwrap_err();
        assert!(told.contains("as you wish (rateLimited); the old one stays in use; "), "{told}");
        let status = scene.status("a.test").await;
        assert_eq!((status.state, status.last_error.is_some()), (State::Valid, true));
    });
}

#[test]
fn a_revoked_certificate_is_shown_until_another_is_there() {
    play(async |scene| {
        scene.follow(&[&["a.test"]]);
        assert_eq!(scene.revoke("a.test").await.unwrap_err(), "there is no certificate for a.test yet");
        scene.until(|| scene.shown("a.test").is_some()).await;
        let old = scene.shown("a.test").unwrap();
        scene.fake.fault("revoke", Fault::Problem(403, "unauthorized", ""));
        let told = scene.revoke("a.test").await.unwrap_err();
        assert!(told.starts_with("a.test: not revoked: ") && told.contains("unauthorized"), "{told}");
        assert!(scene.kept("a.test") && scene.fake.asked("new") == 1);
        scene.fake.fault("new", Fault::Page(503, ""));
        let told = scene.revoke("a.test").await.unwrap();
        assert_eq!(told, "a.test: revoked; another certificate is ordered");
        assert_eq!(scene.fake.told("revoke")["reason"], 4);
        assert!(!scene.kept("a.test"), "a restart must not begin with it");
        scene.until(|| scene.told("answers 503") > 0).await;
        assert_eq!(scene.shown("a.test").unwrap(), old);
        scene.shown_after("a.test", &old).await;
        assert!(scene.kept("a.test") && scene.status("a.test").await.state == State::Valid);
        let told = scene.revoke("c.test").await.unwrap_err();
        assert!(told.starts_with("no certificate is ordered for c.test"), "{told}");
    });
}

#[test]
fn other_names_are_ordered_at_once() {
    play(async |scene| {
        scene.has(&[&["a.test"]]).await;
        let old = scene.shown("a.test").unwrap();
        scene.follow(&[&["a.test", "www.a.test"]]);
        let new = scene.shown_after("a.test", &old).await;
        assert_eq!((names(&new), scene.fake.asked("new")), (vec!["a.test".into(), "www.a.test".into()], 2));
    });
}

#[test]
fn nothing_is_ordered_when_nothing_is_wanted() {
    play(async |scene| {
        scene.has(&[&["a.test"]]).await;
        scene.fake.state().processing = usize::MAX;
        let waits = scene.asks(None, true);
        scene.until(|| scene.fake.asked("finalize") == 2).await;
        scene.send(Command::Follow(None));
        let told = waits.await.unwrap().unwrap_err();
        assert_eq!(told, "a.test: the configuration does not order it any more");
        assert!(scene.report().await.is_empty());
        rest(24 * HOUR).await;
        assert_eq!(scene.fake.asked("new"), 2);
        // Wanted again, it is still there.
        scene.published.lock().unwrap().clear();
        scene.fake.state().processing = 0;
        scene.follow(&[&["a.test"]]);
        rest(HOUR).await;
        assert_eq!(scene.status("a.test").await.state, State::Valid);
    });
}

#[test]
fn a_failure_counts_though_nothing_is_wanted_any_more() {
    play(async |scene| {
        scene.fake.fault("new", Fault::Hang);
        scene.follow(&[&["a.test"]]);
        scene.until(|| scene.fake.asked("account") == 1).await;
        scene.send(Command::Follow(None));
        rest(HOUR).await;
        let ledger = fs::read_to_string(scene.path.join("ledger.json")).unwrap();
        assert!(ledger.contains("no answer within 30 s"), "{ledger}");
    });
}

#[test]
fn a_site_that_goes_while_somebody_waits_for_it_is_told() {
    play(async |scene| {
        scene.fake.fault("new", Fault::Hang);
        scene.follow(&[&["a.test"], &["b.test"]]);
        let waits = scene.asks(None, true);
        scene.until(|| scene.shown("b.test").is_some()).await;
        scene.follow(&[&["b.test"]]);
        let told = waits.await.unwrap().unwrap_err();
        assert!(told.contains("a.test: the configuration does not order it any more"), "{told}");
        assert!(told.contains("b.test: a certificate for b.test is here"), "{told}");
    });
}

#[test]
fn a_renamed_site_keeps_its_certificate() {
    play(async |scene| {
        scene.has(&[&["a.test", "www.a.test"]]).await;
        let old = scene.shown("a.test").unwrap();
        scene.has(&[&["www.a.test", "a.test"]]).await;
        assert_eq!(scene.shown("www.a.test").unwrap(), old);
        rest(HOUR).await;
        assert!(scene.kept("www.a.test"));
        assert_eq!(scene.fake.asked("new"), 1);
    });
}

#[test]
fn sites_that_become_one_are_served_as_before_until_it_has_its_own() {
    play(async |scene| {
        scene.has(&[&["a.test"], &["b.test"]]).await;
        let (a, b) = (scene.shown("a.test").unwrap(), scene.shown("b.test").unwrap());
        scene.fake.state().processing = 3;
        scene.follow(&[&["a.test", "b.test"]]);
        scene.until(|| scene.fake.asked("finalize") == 3).await;
        assert_eq!((scene.shown("a.test").unwrap() == a, scene.shown("b.test")), (true, Some(b)));
        let new = scene.shown_after("a.test", &a).await;
        assert_eq!(names(&new), ["a.test", "b.test"]);
    });
}

#[test]
fn an_order_of_a_killed_process_is_fetched_by_the_next() {
    play(async |scene| {
        scene.fake.state().processing = usize::MAX;
        scene.follow(&[&["a.test"]]);
        scene.until(|| scene.fake.asked("finalize") == 1).await;
        scene.kill().await;
        assert!(scene.path.join("orders/a.test.json").is_file());
        scene.fake.state().processing = 0;
        scene.start();
        scene.has(&[&["a.test"]]).await;
        assert_eq!((scene.fake.asked("new"), scene.fake.asked("finalize")), (1, 1));
        assert_eq!(scene.fake.state().accounts.len(), 1);
        scene.until(|| !scene.path.join("orders/a.test.json").exists()).await;
    });
}

#[test]
fn a_restart_loop_does_not_order_again_and_again() {
    play(async |scene| {
        // The CA answers nothing once it has the order.
        for _ in 0..200 {
            scene.fake.fault("proof", Fault::Hang);
        }
        for _ in 0..100 {
            scene.follow(&[&["a.test"]]);
            rest(Duration::from_secs(5)).await;
            scene.kill().await;
            scene.start();
        }
        let orders = scene.fake.asked("new");
        assert!((2..10).contains(&orders), "{orders} orders");
    });
}

#[test]
fn the_cas_wish_for_a_renewal_is_followed_once_a_day() {
    play(async |scene| {
        let window = json!({ "start": "2020-01-01T00:00:00Z", "end": "2020-01-02T00:00:00Z" });
        scene.fake.state().ari = Some(json!({ "suggestedWindow": window }));
        scene.has(&[&["a.test"]]).await;
        let old = scene.shown("a.test").unwrap();
        scene.shown_after("a.test", &old).await;
        assert!(scene.fake.told("new")["replaces"].is_string());
        assert_eq!(scene.status("a.test").await.next.unwrap().why, "the CA's window (ARI)");
        rest(23 * HOUR).await;
        assert_eq!(scene.fake.asked("new"), 2);
        rest(2 * HOUR).await;
        assert_eq!(scene.fake.asked("new"), 3);
    });
}

#[test]
fn a_name_without_an_address_waits_for_one_and_holds_up_no_other() {
    play(async |scene| {
        scene.without_address.borrow_mut().insert("www.a.test".into());
        scene.has(&[&["a.test", "www.a.test"]]).await;
        assert_eq!(names(&scene.shown("a.test").unwrap()), ["a.test"]);
        assert_eq!(scene.told("www.a.test has no address in the DNS"), 1);
        rest(HOUR).await;
        assert_eq!((scene.told("no address in the DNS"), scene.fake.asked("new")), (1, 1));
        assert!(scene.status("a.test").await.left_out[0].why.contains("it has no address"));
        scene.without_address.borrow_mut().clear();
        let old = scene.shown("a.test").unwrap();
        assert_eq!(names(&scene.shown_after("a.test", &old).await), ["a.test", "www.a.test"]);
    });
}

#[test]
fn what_goes_wrong_for_one_site_is_no_concern_of_others() {
    play(async |scene| {
        scene.fake.state().processing = usize::MAX;
        scene.follow(&[&["b.test"]]);
        scene.until(|| scene.fake.asked("finalize") == 1).await;
        // Its first look panics.
        scene.without_address.borrow_mut().insert("panic.test".into());
        scene.follow(&[&["b.test"], &["panic.test"]]);
        scene.until(|| scene.fake.asked("finalize") == 2).await;
        scene.fake.state().processing = 0;
        scene.until(|| scene.shown("b.test").is_some() && scene.shown("panic.test").is_some()).await;
        assert_eq!(scene.fake.asked("new"), 2, "one order for each");
    });
}

#[test]
fn a_panic_of_the_thread_itself_ends_nothing() {
    play(async |scene| {
        let published = scene.published.clone();
        let poisons = std::thread::spawn(move || {
            let _held = published.lock().unwrap();
            unreachable!("as the test wants it");
        });
        assert!(poisons.join().is_err());
        scene.follow(&[&["a.test"]]);
        rest(5 * MINUTE).await;
        assert!((4..=6).contains(&scene.told("met a bug of porchd")));
        scene.published.clear_poison();
        scene.until(|| scene.shown("a.test").is_some()).await;
    });
}

#[test]
fn a_name_that_is_refused_with_the_order_is_left_out_at_once() {
    play(async |scene| {
        let kind = "urn:ietf:params:acme:error:rejectedIdentifier";
        let identifier = json!({ "type": "dns", "value": "bad.test" });
        let part = json!({ "type": kind, "detail": "forbidden by policy", "identifier": identifier });
        scene.fake.fault("new", Fault::Told(403, json!({ "type": kind, "subproblems": [part] })));
        scene.follow(&[&["good.test", "bad.test"]]);
        scene.until(|| scene.shown("good.test").is_some()).await;
        assert_eq!(names(&scene.shown("good.test").unwrap()), ["good.test"]);
        let left_out = scene.status("good.test").await.left_out;
        assert_eq!(left_out.iter().map(|name| &*name.name).collect::<Vec<_>>(), ["bad.test"]);
        assert_eq!(scene.fake.asked("new"), 2);
    });
}
