//! What begins and what ends: from the plan to tasks, from tasks to the book, the holdings and the log.

use std::rc::Rc;
use std::sync::Arc;

use crate::acme::attempt::Issued;
use crate::acme::failure::{Failure, Kind};
use crate::acme::moment::Moment;
use crate::acme::preflight::Seen;
use crate::acme::records::Stored;
use crate::acme::schedule::Due;
use crate::acme::service::{Busy, Service, now};
use crate::acme::target::Target;
use crate::acme::tasks::{Done, Order};
use crate::clock;
use crate::config::model::acme::Challenge;

impl Service {
    /// Begins what is due, if there is room; what is left stays due.
    pub(super) fn begin(&mut self, target: &Rc<Target>, due: Due) {
        if !self.tasks.has_room() {
            return;
        }
        match due {
            Due::AskRenewalInfo { site, authority } => {
                let Some(held) = self.holdings.of_site(&site) else { return };
                self.tasks.ask_window(target, site.clone(), authority, held.pair.cert.clone());
                self.busy.insert(site, Busy::Asking);
            }
            Due::Order { site, names, .. } if !self.looks.fresh(&site, clock::now()) => {
                let names = target.wanted.iter().find(|wanted| *wanted.site == *site).map_or_else(
                    || names.iter().map(|(name, _)| name.clone()).collect(),
                    |wanted| wanted.names.clone(),
                );
                self.tasks.look(target, site.clone(), names);
                self.busy.insert(site, Busy::Looking);
            }
            Due::Order { site, authority, names, renewal, why, .. } => {
                let remembered = self.book.borrow().writable();
                let order = Order { site, authority, names, renewal, remembered, replaces: None };
                self.begin_order(target, order, &why);
            }
        }
    }

    fn begin_order(&mut self, target: &Rc<Target>, order: Order, why: &str) {
        let Order { site, authority, names, .. } = &order;
        tracing::info!(
            "ordering a certificate for {} from {}: {why}",
            by_challenge(names),
            target.called(authority)
        );
        // The CA may exempt a renewal from its limits when it is told what it replaces (RFC 9773 section 5).
        let followed = self.holdings.of_site(site).filter(|held| {
            !held.revoked && self.book.borrow().ledger().issuing_authority(site) == Some(authority)
        });
        let replaces = followed.map(|held| held.pair.cert.clone());
        self.busy.insert(site.clone(), Busy::Ordering);
        self.tasks.order(target, Order { replaces, ..order });
    }

    /// Takes in what a task came to.
    pub(super) fn done(&mut self, done: Done) {
        let now = now();
        match done {
            Done::Looked(site, seen) => {
                self.busy.remove(&site);
                self.looked(&site, seen);
            }
            Done::Attempted(order, proving, result) => {
                self.busy.remove(&order.site);
                match *result {
                    Ok(issued) => self.issued(&order, issued, now),
                    Err(failure) => self.failed(&order, proving, &failure, now),
                }
            }
            Done::Window(site, answer) => {
                self.busy.remove(&site);
                let random = clock::random();
                self.book.borrow_mut().note(&self.vault, now, |ledger| match answer {
                    Ok(Some((window, ask_again))) => {
                        ledger.renewal_window(&site, window, ask_again, now, random)
                    }
                    Ok(None) => ledger.renewal_window_unknown(&site, None, now),
                    Err(failure) => {
                        tracing::debug!("the renewal window of {site} is not known: {failure}");
                        ledger.renewal_window_unknown(&site, failure.retry_after, now);
                    }
                });
            }
            Done::Revoked(site, result) => {
                self.busy.remove(&site);
                self.revoked(&site, result);
            }
            Done::Lost(site) => {
                // What it was for stays due.
                self.busy.remove(&site);
                if let Some(reply) = self.revoking.remove(&site) {
                    let _ =
                        reply.send(Err(format!("{site}: revoking it went wrong inside porchd; see its log")));
                }
            }
        }
    }

    fn looked(&mut self, site: &str, seen: Seen) {
        let news = self.looks.looked(site, seen, clock::now());
        news.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
        for name in news.without_address {
            tracing::warn!(
                "{name} has no address in the DNS: it is ordered once it has one; add an A or AAAA record, or take it out of the configuration"
            );
        }
    }

    fn issued(&mut self, order: &Order, issued: Issued, now: Moment) {
        let Order { site, authority, .. } = order;
        let Issued { pair, validated, names } = issued;
        if let Err(error) = self.holdings.put(Stored { site: site.clone(), pair }, false) {
            // The attempt has looked at it already, so this is a bug; the old one stays.
            tracing::error!("the new certificate for {site} is not used: it {error}");
            return;
        }
        self.holdings.save(&self.vault, now);
        if let Some(target) = self.target.clone() {
            self.offer(&target);
        }
        self.book
            .borrow_mut()
            .note(&self.vault, now, |ledger| ledger.issued(authority, site, &names, &validated, now));
        let until = self.holdings.of_site(site).map(|held| Moment::of(held.facts.not_after));
        let told = format!(
            "{site}: a certificate for {} is here, valid until {}",
            names.join(", "),
            until.map(|until| until.to_string()).unwrap_or_default()
        );
        tracing::info!("{told}");
        self.answer(site, Ok(told));
    }

    fn failed(&mut self, order: &Order, proving: bool, failure: &Failure, now: Moment) {
        let target = self.target.clone();
        let Order { site, authority, names, .. } = order;
        // What is wrong with this machine is met again every minute until it is mended.
        let before = self.complaints.remove(site);
        let told = |text: &String| *text == failure.text;
        let of_disk = self.book.borrow().trouble().is_some_and(|trouble| told(&trouble.text));
        let told_before = of_disk || before.as_ref().is_some_and(told);
        if failure.kind == Kind::Local {
            self.complaints.insert(site.clone(), failure.text.clone());
        }
        let random = clock::random();
        // It counts for the CA, and so in the ledger, even if nothing is to be ordered any more.
        let configured = target.as_ref().map_or(&[][..], |target| &target.acme.challenges);
        self.book.borrow_mut().note(&self.vault, now, |ledger| {
            ledger.failed(
                authority,
                site,
                concerned(names, proving, failure),
                configured,
                failure,
                now,
                random,
            );
        });
        let Some(target) = target else { return };
        let plan = self.plan(&target, now);
        let next = plan.next.iter().find(|(of, _)| of == site).map(|(_, next)| next);
        let served = if self.holdings.of_site(site).is_some() { "; the old one stays in use" } else { "" };
        let at_once = next.is_some_and(|next| next.at <= now);
        let again = match next {
            _ if at_once => String::from("; the next try begins at once"),
            Some(next) => format!("; next order at {} ({})", next.at, next.why),
            None => String::new(),
        };
        let told =
            format!("{site}: no certificate{}: {failure}{served}{again}", from(&target, authority, failure));
        match failure.kind {
            Kind::Local if told_before => tracing::debug!("{told}"),
            Kind::Names(_) | Kind::Refused | Kind::Local if !at_once => tracing::error!("{told}"),
            _ => tracing::warn!("{told}"),
        }
        // What is tried at once in another way is still the same renewal to whoever waits for it.
        if !at_once {
            self.answer(site, Err(told));
        }
    }
}

/// The names that a failure may concern. Unless the CA says which of them failed, each that it was told to look at may
/// have; those that it refused before it looked are left out alone.
fn concerned<'a>(
    names: &'a [(Arc<str>, Challenge)],
    proving: bool,
    failure: &Failure,
) -> &'a [(Arc<str>, Challenge)] {
    if proving || matches!(failure.kind, Kind::Names(_)) { names } else { &[] }
}

/// Whom a failure came from, unless its own words say so.
fn from(target: &Target, authority: &str, failure: &Failure) -> String {
    let called = target.called(authority);
    if failure.text.contains(called) { String::new() } else { format!(" from {called}") }
}

/// The names, each group with the challenge that is to prove them.
fn by_challenge(names: &[(Arc<str>, Challenge)]) -> String {
    let groups = names.chunk_by(|(_, one), (_, other)| one == other).map(|group| {
        let names: Vec<&str> = group.iter().map(|(name, _)| &**name).collect();
        let challenge = group.first().map_or("", |(_, challenge)| challenge.as_str());
        format!("{} by {challenge}", names.join(", "))
    });
    groups.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acme::failure::FailedName;
    use crate::acme::ledger::Ledger;

    const CA: &str = "https://ca.test/directory";

    fn failed(proving: bool, kind: Kind) -> Ledger {
        let names = ["good.test", "bad.test"].map(|name| (Arc::from(name), Challenge::Http01));
        let plain = names.clone().map(|(name, _)| name);
        let failure = Failure { kind, retry_after: None, text: String::from("no") };
        let (mut ledger, now) = (Ledger::default(), Moment::of(clock::wall()));
        ledger.order_attempted(CA, "good.test", &plain, false, now);
        let concerned = concerned(&names, proving, &failure);
        ledger.failed(CA, "good.test", concerned, &[Challenge::Http01], &failure, now, 0);
        ledger
    }

    #[test]
    fn name_that_is_refused_before_anything_is_proved_is_left_out_alone() {
        let bad = FailedName { name: "bad.test".into(), challenge: None, text: String::from("never") };
        let ledger = failed(false, Kind::Names(vec![bad]));
        assert!(ledger.name(CA, "good.test", "bad.test").is_some());
        assert!(ledger.name(CA, "good.test", "good.test").is_none());
        assert!(ledger.refused(CA, "good.test").is_none());
    }

    #[test]
    fn what_fails_before_anything_is_proved_blames_no_name() {
        for (proving, blamed) in [(false, false), (true, true)] {
            let text = failed(proving, Kind::Unavailable).to_json();
            assert_eq!(text.contains("unproved"), blamed, "{text}");
        }
    }

    #[test]
    fn names_are_told_with_the_challenge_of_each() {
        let name = |name: &str, challenge| (Arc::from(name), challenge);
        let (http, alpn) = (Challenge::Http01, Challenge::TlsAlpn01);
        let names = [name("a.test", http), name("b.test", http), name("c.test", alpn)];
        assert_eq!(by_challenge(&names), "a.test, b.test by http-01, c.test by tls-alpn-01");
    }
}
