//! Any text as a file of the state folder: no panic, also not when life goes on with what was read, and what is read is
//! read again when it is written.

#![no_main]

use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use house::acme::failure::{Failure, Kind};
use house::acme::ledger::Ledger;
use house::acme::moment::Moment;
use house::acme::records::{PendingOrder, RenewalWindow};
use house::acme::vault::file_names;
use house::config::model::acme::Challenge;
use house::incidents::evidence::{Evidence, Now};
use house::incidents::file;
use house::incidents::journal::Journal;
use libfuzzer_sys::fuzz_target;

const CA: &str = "https://ca.test/directory";
const SITE: &str = "a.test";
const BOTH: [Challenge; 2] = [Challenge::Http01, Challenge::TlsAlpn01];

fuzz_target!(|input: &str| {
    let (kind, text) = input.split_at_checked(1).unwrap_or_default();
    match kind {
        "L" => ledger(text),
        "I" => incidents(text),
        "O" => order(text),
        "N" => names(text),
        _ => moment(text),
    }
});

fn ledger(text: &str) {
    let Ok(mut ledger) = Ledger::parse(text) else { return };
    assert_eq!(Ledger::parse(&ledger.to_json()).as_ref(), Ok(&ledger));
    let now = Moment::of(UNIX_EPOCH + Duration::from_secs(1_800_000_000));
    let _ = (ledger.ahead_of(now), ledger.issuing_authority(SITE), ledger.last_failure(SITE));
    ledger.settle(now);
    let settled = ledger.clone();
    ledger.settle(now);
    assert_eq!(ledger, settled);
    assert_eq!(ledger.ahead_of(now), None);
    go_on(&mut ledger, now);
}

fn go_on(ledger: &mut Ledger, now: Moment) {
    let names: [Arc<str>; 2] = [SITE.into(), "b.test".into()];
    let ready = [(Arc::clone(&names[0]), BOTH[0]), (Arc::clone(&names[1]), BOTH[1])];
    let kinds = [Kind::Unavailable, Kind::RateLimited, Kind::Refused, Kind::Local, Kind::Names(Vec::new())];
    for kind in kinds {
        ledger.account_attempted(CA, now);
        ledger.order_attempted(CA, SITE, &names, false, now);
        ledger.finalizing(CA, SITE);
        let failure = Failure { kind, retry_after: Some(now), text: "no".into() };
        ledger.failed(CA, SITE, &ready, &BOTH, &failure, now, 7);
        ledger.forget_failures(SITE);
    }
    let window = RenewalWindow { start: now, end: now.after(Duration::from_secs(9)), explanation: None };
    ledger.renewal_window(SITE, window, now, now, 7);
    ledger.renewal_window_unknown(SITE, None, now);
    ledger.order_attempted(CA, SITE, &names, true, now);
    ledger.issued(CA, SITE, &names, &ready, now);
    assert_eq!(ledger.issuing_authority(SITE), Some(CA));
    ledger.settle(now.after(Duration::from_secs(60)));
    assert_eq!(Ledger::parse(&ledger.to_json()).as_ref(), Ok(&*ledger));
}

fn incidents(text: &str) {
    let Ok(kept) = file::read(text) else { return };
    assert_eq!(file::read(&file::text(kept.iter())).ok().as_ref(), Some(&kept));
    let wall = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let (mut journal, closed) = Journal::restore(kept, wall);
    assert!(closed.iter().all(|incident| !incident.lasts()));
    assert!(journal.all().all(|incident| !incident.lasts()));
    assert!(journal.all().is_sorted_by(|one, other| one.id < other.id));
    let last = journal.all().next_back().map_or(0, |incident| incident.id);
    let at = Instant::now();
    let evidence = Evidence {
        number: 1,
        began: at,
        ended: None,
        causes: Vec::new(),
        counts: Default::default(),
        longest: Duration::ZERO,
    };
    journal.observe("home", &evidence, Now { at, wall });
    let new = journal.lasting("home").expect("the one that began");
    assert!(new.id > last || last == u64::MAX);
    assert_eq!(file::read(&file::text(journal.all())).ok(), Some(journal.all().cloned().collect()));
}

fn order(text: &str) {
    let Ok(order) = serde_json::from_str::<PendingOrder>(text) else { return };
    let anew = serde_json::to_string(&order).expect("JSON");
    assert!(serde_json::from_str::<PendingOrder>(&anew).expect("what it wrote") == order);
}

fn names(text: &str) {
    for name in file_names(text) {
        assert!(!name.is_empty() && name.len() <= 200);
        assert!(!name.starts_with('.') && !name.contains(['/', '\\', '\0']));
    }
}

fn moment(text: &str) {
    let Some(moment) = Moment::parse(text) else { return };
    assert_eq!(Moment::parse(&moment.to_string()), Some(moment));
    assert_eq!(Moment::of(moment.time()), moment);
    let hour = Duration::from_secs(3600);
    assert!(moment.before(hour) <= moment && moment <= moment.after(hour));
}
