//! How a site's certificate stands, for `porchd certs`. Pure.

use crate::acme::book::Trouble;
use crate::acme::holdings::Held;
use crate::acme::ledger::Ledger;
use crate::acme::moment::Moment;
use crate::acme::schedule::Plan;
use crate::acme::service::AFTER_DISK;
use crate::acme::status::{CertificateStatus, LastError, LeftOut, Next, Source, State};
use crate::acme::wanted::Wanted;
use crate::config::model::HostPattern;

/// The status of one site.
pub fn of_site(
    wanted: &Wanted,
    held: Option<&Held>,
    plan: &Plan,
    ledger: &Ledger,
    trouble: Option<&Trouble>,
    ordering: bool,
    now: Moment,
) -> CertificateStatus {
    let site = &*wanted.site;
    let names = match held {
        Some(held) => held.facts.names.iter().map(HostPattern::to_string).collect(),
        None => wanted.names.iter().map(ToString::to_string).collect(),
    };
    // While the disk takes nothing, that is what stands in the way.
    let last_error = trouble.map(of_disk).or_else(|| ledger.last_failure(site));
    let planned = plan.next.iter().find(|(of, _)| of == site).map(|(_, next)| next.clone());
    let told =
        |left_out: &LeftOut| last_error.as_ref().is_some_and(|error| error.text.contains(&left_out.why));
    let left_out = plan.left_out.iter().filter(|(of, left_out)| of == site && !told(left_out));
    CertificateStatus {
        name: site.to_owned(),
        state: state(held, ordering, now),
        source: Source::Acme,
        names,
        left_out: left_out.map(|(_, left_out)| left_out.clone()).collect(),
        issuer: held.map(|held| held.facts.issuer.clone()),
        from: held.map(|held| Moment::of(held.facts.not_before)),
        to: held.map(|held| Moment::of(held.facts.not_after)),
        next: trouble.map(|_| of_next_write(now)).or(planned),
        last_error,
    }
}

fn of_next_write(now: Moment) -> Next {
    Next {
        at: now.after(AFTER_DISK),
        why: format!("the disk is tried again every {} s", AFTER_DISK.as_secs()),
    }
}

fn of_disk(trouble: &Trouble) -> LastError {
    LastError { at: trouble.since, text: trouble.text.clone(), authority: String::new() }
}

fn state(held: Option<&Held>, ordering: bool, now: Moment) -> State {
    match held {
        Some(held) if !held.revoked => match Moment::of(held.facts.not_after) {
            end if end <= now => State::Expired,
            _ if held.saved => State::Valid,
            _ => State::Unsaved,
        },
        _ if ordering => State::Ordering,
        _ => State::Missing,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rcgen::{CertificateParams, KeyPair};

    use super::*;
    use crate::acme::failure::{Failure, Kind};
    use crate::acme::holdings::Holdings;
    use crate::acme::records::Stored;
    use crate::acme::status::{LeftOut, Next};
    use crate::provision::PemPair;

    const NOW: &str = "2026-03-01T12:00:00Z";
    const CA: &str = "https://ca.test/directory";

    fn at(text: &str) -> Moment {
        Moment::parse(text).unwrap()
    }

    /// A certificate for `a.test` until the end of 2026.
    fn holdings(saved: bool) -> Holdings {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["a.test".to_owned()]).unwrap();
        (params.not_before, params.not_after) =
            (rcgen::date_time_ymd(2026, 1, 1), rcgen::date_time_ymd(2027, 1, 1));
        let cert = params.self_signed(&key).unwrap();
        let pair = PemPair { cert: cert.pem().into_bytes(), key: key.serialize_pem().into_bytes() };
        let mut holdings = Holdings::default();
        holdings.put(Stored { site: "a.test".into(), pair }, saved).unwrap();
        holdings
    }

    fn plan() -> Plan {
        let next = |site: &str| (site.to_owned(), Next { at: at(NOW), why: format!("of {site}") });
        let left_out = |site: &str| {
            (site.to_owned(), LeftOut { name: format!("www.{site}"), why: "no".into(), again: None })
        };
        Plan {
            due: Vec::new(),
            wake: at(NOW),
            next: vec![next("b.test"), next("a.test")],
            left_out: vec![left_out("b.test"), left_out("a.test")],
        }
    }

    fn of(held: Option<&Held>, ordering: bool, now: &str) -> CertificateStatus {
        let wanted = Wanted { site: "a.test".into(), names: vec!["a.test".into(), "www.a.test".into()] };
        of_site(&wanted, held, &plan(), &Ledger::default(), None, ordering, at(now))
    }

    #[test]
    fn a_site_stands_as_what_is_shown_for_it() {
        let (saved, unsaved, mut revoked) = (holdings(true), holdings(false), holdings(true));
        revoked.revoked("a.test");
        for (held, ordering, now, expected) in [
            (None, false, NOW, State::Missing),
            (None, true, NOW, State::Ordering),
            (Some(&saved), false, NOW, State::Valid),
            (Some(&saved), true, NOW, State::Valid),
            (Some(&unsaved), false, NOW, State::Unsaved),
            (Some(&saved), false, "2026-12-31T23:59:59Z", State::Valid),
            (Some(&saved), true, "2027-01-01T00:00:00Z", State::Expired),
            (Some(&unsaved), true, "2027-01-01T00:00:00Z", State::Expired),
            (Some(&revoked), false, NOW, State::Missing),
            (Some(&revoked), true, NOW, State::Ordering),
        ] {
            let status = of(held.and_then(|held| held.of_site("a.test")), ordering, now);
            assert_eq!(status.state, expected, "{ordering} {now}");
        }
    }

    #[test]
    fn names_are_those_that_are_covered_or_else_those_that_are_wanted() {
        let held = holdings(true);
        let status = of(held.of_site("a.test"), false, NOW);
        assert_eq!((status.names, status.source), (vec!["a.test".to_owned()], Source::Acme));
        assert_eq!(status.from.zip(status.to).map(|(from, to)| to.since(from).as_secs() / 86_400), Some(365));
        let status = of(None, false, NOW);
        assert_eq!(status.names, ["a.test", "www.a.test"]);
        assert_eq!((status.issuer, status.from, status.to), (None, None, None));
        assert_eq!(status.next.unwrap().why, "of a.test");
        assert_eq!(status.left_out.len(), 1);
        assert_eq!(status.left_out[0].name, "www.a.test");
    }

    #[test]
    fn a_disk_that_takes_nothing_is_told_before_what_a_ca_said() {
        let now = at(NOW);
        let mut ledger = Ledger::default();
        let failure = Failure { kind: Kind::Refused, retry_after: None, text: "no".into() };
        ledger.failed(CA, "a.test", &[], &[], &failure, now, 0);
        let wanted = Wanted { site: "a.test".into(), names: vec!["a.test".into()] };
        let trouble = Trouble { since: now.before(Duration::from_secs(60)), text: "the disk is full".into() };
        for (trouble, since, text, authority) in
            [(None, now, "no", CA), (Some(&trouble), trouble.since, "the disk is full", "")]
        {
            let status = of_site(&wanted, None, &plan(), &ledger, trouble, false, now);
            let told = LastError { at: since, text: text.into(), authority: authority.into() };
            assert_eq!(status.last_error, Some(told));
        }
    }
}
