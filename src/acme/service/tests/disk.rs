//! A disk that takes nothing: served from memory, told once, tried again.

use std::fs;
use std::time::Duration;

use crate::acme::service::tests::scene::{play, rest};
use crate::acme::status::State;

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn a_certificate_that_the_disk_does_not_take_is_shown_and_kept_later() {
    play(async |scene| {
        let folder = scene.path.join("certificates");
        fs::write(&folder, "in the way").unwrap();
        scene.has(&[&["a.test"], &["b.test"]]).await;
        let status = scene.status("a.test").await;
        assert_eq!(status.state, State::Unsaved);
        let told = status.last_error.unwrap().text;
        assert!(told.contains("this is no folder") && told.contains("move it away"), "{told}");
        rest(10 * MINUTE).await;
        assert_eq!(scene.told("is served from memory until then"), 1);
        fs::remove_file(&folder).unwrap();
        rest(MINUTE).await;
        for site in ["a.test", "b.test"] {
            let status = scene.status(site).await;
            assert_eq!((status.state, status.last_error), (State::Valid, None));
            assert!(scene.kept(site));
        }
        assert_eq!((scene.fake.asked("new"), scene.told("has all certificates again")), (2, 1));
    });
}

#[test]
fn nothing_is_ordered_that_could_not_be_remembered() {
    play(async |scene| {
        fs::remove_file(scene.path.join("ledger.json")).unwrap();
        fs::create_dir_all(scene.path.join("ledger.json/in the way")).unwrap();
        scene.follow(&[&["a.test"]]);
        rest(5 * MINUTE).await;
        assert_eq!((scene.fake.asked("new"), scene.told("none is ordered while")), (0, 1));
        let status = scene.status("a.test").await;
        assert_eq!(
            (status.state, status.next.unwrap().why),
            (State::Missing, "the disk is tried again every 5 s".into())
        );
        assert!(status.last_error.unwrap().text.contains("ledger.json"));
        let told = scene.renew(Some("a.test"), true).await.unwrap_err();
        assert!(told.contains("when the disk takes it"), "{told}");
        fs::remove_dir_all(scene.path.join("ledger.json")).unwrap();
        scene.until(|| scene.shown("a.test").is_some()).await;
        let status = scene.status("a.test").await;
        assert_eq!((status.state, status.last_error), (State::Valid, None));
        assert_eq!(scene.told("takes what is written again"), 1);
    });
}

#[test]
fn a_long_run_without_a_disk_orders_what_is_missing() {
    play(async |scene| {
        scene.has(&[&["a.test"]]).await;
        fs::remove_dir_all(&scene.path).unwrap();
        scene.follow(&[&["a.test"], &["b.test"]]);
        rest(9 * MINUTE).await;
        assert!(scene.shown("b.test").is_none());
        assert!(scene.status("b.test").await.last_error.unwrap().text.contains("the folder is gone"));
        rest(21 * MINUTE).await;
        assert_eq!(scene.status("b.test").await.state, State::Unsaved);
        assert_eq!((scene.status("a.test").await.state, scene.fake.asked("new")), (State::Valid, 2));
        assert_eq!(scene.told("the folder is gone"), 3, "the ledger, the order, the certificate");
    });
}

#[test]
fn a_broken_ledger_is_set_aside_and_begun_anew() {
    play(async |scene| {
        scene.has(&[&["a.test"]]).await;
        scene.kill().await;
        fs::write(scene.path.join("ledger.json"), "{ broken").unwrap();
        scene.start();
        scene.follow(&[&["a.test"]]);
        rest(MINUTE).await;
        assert_eq!(scene.told("is broken and set aside"), 1);
        assert_eq!(fs::read_to_string(scene.path.join("ledger.json.broken")).unwrap(), "{ broken");
        assert_eq!((scene.status("a.test").await.state, scene.fake.asked("new")), (State::Valid, 1));
    });
}

#[test]
fn a_clock_that_begins_in_the_past_orders_and_forgets_nothing_until_it_is_set() {
    play(async |scene| {
        scene.has(&[&["a.test"]]).await;
        scene.kill().await;
        let file = scene.path.join("ledger.json");
        // Its own year at the end of the calendar: as a clock sees it that has stood still.
        let text = fs::read_to_string(&file).unwrap();
        let year = text.split("\"at\": \"").nth(1).unwrap()[..4].to_owned();
        let ahead = text.replace(&format!("\"{year}-"), "\"9998-");
        fs::write(&file, &ahead).unwrap();
        scene.start();
        scene.follow(&[&["a.test"], &["b.test"]]);
        rest(50 * MINUTE).await;
        assert_eq!((scene.fake.asked("new"), scene.told("before the clock is right")), (1, 1));
        assert_eq!(fs::read_to_string(&file).unwrap(), ahead);
        let told = scene.renew(Some("b.test"), true).await.unwrap_err();
        assert!(told.contains("before this machine's clock is set"), "{told}");
        // It is not set: so it was right, and the other one was wrong.
        rest(20 * MINUTE).await;
        scene.until(|| scene.shown("b.test").is_some()).await;
    });
}
