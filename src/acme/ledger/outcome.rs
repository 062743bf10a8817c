//! How orders end, and what is waited for then; and what is forgotten in time.

use std::sync::Arc;
use std::time::Duration;

use crate::acme::failure::{FailedName, Failure, Kind};
use crate::acme::ledger::Ledger;
use crate::acme::ledger::backoff::{
    Backoff, LOCAL, NAME, NAME_REFUSED, RATE_LIMITED, RATE_LIMITED_AGAIN, REFUSED, UNAVAILABLE, mix, obey,
};
use crate::acme::ledger::record::{
    AuthorityRecord, IssuedRecord, NameFailure, NameRecord, OrderRecord, OrderState, SiteRecord, Wait, Way,
};
use crate::acme::moment::Moment;
use crate::acme::status::LastError;
use crate::config::model::acme::Challenge;

impl Ledger {
    /// A certificate came: of the order that runs, or of one that was lost and fetched later.
    pub fn issued(
        &mut self,
        authority: &str,
        site: &str,
        names: &[Arc<str>],
        validated: &[(Arc<str>, Challenge)],
        now: Moment,
    ) {
        let renewal = self.is_renewal(authority, site, names);
        let book = self.authority(authority);
        book.unavailable = None;
        let open = |order: &&mut OrderRecord| {
            let fetched_later = order.state == OrderState::Lost && order.finalizing;
            order.site == site && (order.state == OrderState::Running || fetched_later)
        };
        let order = book.orders.iter_mut().rev().find(open);
        match order {
            Some(order) => {
                (order.state, order.ended, order.finalizing) = (OrderState::Issued, Some(now), true);
                order.unproved.clear();
            }
            None => book.orders.push(OrderRecord {
                ended: Some(now),
                state: OrderState::Issued,
                finalizing: true,
                unproved: Vec::new(),
                ..OrderRecord::sent(site, names, renewal, now)
            }),
        }
        self.site(site).issued(authority, names, validated, now);
    }

    /// An attempt failed: the order that runs, or what comes before one (the directory, the account).
    ///
    /// `names` are those whose challenges were set ready: unless the failure says which of them failed, each
    /// may have. It is empty when the failure came before that. `challenges` are the configured ones, in
    /// their order.
    #[expect(clippy::too_many_arguments, reason = "one event, all of it known to one caller")]
    pub fn failed(
        &mut self,
        authority: &str,
        site: &str,
        names: &[(Arc<str>, Challenge)],
        challenges: &[Challenge],
        failure: &Failure,
        now: Moment,
        random: u64,
    ) {
        let random = mix(random, site);
        let known = match &failure.kind {
            Kind::Names(failed) => known_names(names, failed),
            _ => Vec::new(),
        };
        self.end_order(authority, site, names, failure, &known, now);
        let book = self.authority(authority);
        match &failure.kind {
            // Attempts that began before the wait did say nothing new.
            Kind::Unavailable => {
                let old =
                    book.unavailable.as_ref().map_or((0, None), |wait| (wait.failures, Some(wait.until)));
                let fresh = old.1.is_none_or(|until| until <= now);
                let failures = old.0.saturating_add(u32::from(fresh));
                let wait = UNAVAILABLE.wait(failures, now, failure.retry_after, random, &failure.text);
                let until = if fresh {
                    wait.until
                } else {
                    told(failure, UNAVAILABLE, now, random).max(old.1).unwrap_or(now)
                };
                book.unavailable = Some(Wait { until, ..wait });
            }
            Kind::Local => {}
            _ => book.unavailable = None,
        }
        let record = self.site(site);
        record.last_failure =
            Some(LastError { at: now, text: failure.text.clone(), authority: authority.to_owned() });
        match &failure.kind {
            Kind::Unavailable => {}
            Kind::Local => {
                let failures = record.local.as_ref().map_or(0, |wait| wait.failures).saturating_add(1);
                record.local = Some(LOCAL.wait(failures, now, None, random, &failure.text));
            }
            Kind::Names(_) if !known.is_empty() => {
                record.refused.remove(authority);
                for (failed, tried) in known {
                    record.name_failed(
                        authority,
                        failed,
                        tried,
                        challenges,
                        failure,
                        now,
                        mix(random, &failed.name),
                    );
                }
            }
            // Names that nobody asked for, or none: nothing to leave out, so the order as a whole was refused.
            Kind::Names(_) | Kind::Refused | Kind::RateLimited => {
                record.order_refused(authority, failure, now, random)
            }
        }
    }

    fn end_order(
        &mut self,
        authority: &str,
        site: &str,
        names: &[(Arc<str>, Challenge)],
        failure: &Failure,
        known: &[(&FailedName, Option<Challenge>)],
        now: Moment,
    ) {
        let Some(book) = self.authorities.get_mut(authority) else { return };
        let running = |order: &&mut OrderRecord| order.site == site && order.state == OrderState::Running;
        let Some(order) = book.orders.iter_mut().rev().find(running) else { return };
        order.ended = Some(now);
        order.unproved = if order.finalizing {
            Vec::new()
        } else if known.is_empty() {
            names.iter().map(|(name, _)| Arc::clone(name)).collect()
        } else {
            known
                .iter()
                .filter(|(_, tried)| tried.is_some())
                .map(|(failed, _)| Arc::clone(&failed.name))
                .collect()
        };
        // Silence after the CA was asked to sign: there may be a certificate, and it counts.
        let silent = matches!(failure.kind, Kind::Unavailable | Kind::Local);
        order.state = if order.finalizing && silent { OrderState::Lost } else { OrderState::Failed };
    }
}

/// The failed names that were ordered, each with the challenge that it failed by.
fn known_names<'a>(
    names: &[(Arc<str>, Challenge)],
    failed: &'a [FailedName],
) -> Vec<(&'a FailedName, Option<Challenge>)> {
    let ordered = |failed: &FailedName| names.iter().find(|(name, _)| *name == failed.name);
    let known = failed.iter().filter_map(|failed| {
        let (_, ours) = ordered(failed)?;
        Some((failed, failed.challenge.map(|_| *ours)))
    });
    known.collect()
}

fn told(failure: &Failure, backoff: Backoff, now: Moment, random: u64) -> Option<Moment> {
    failure.retry_after.map(|at| obey(now, at, backoff.obeyed, random))
}

impl SiteRecord {
    fn issued(
        &mut self,
        authority: &str,
        names: &[Arc<str>],
        validated: &[(Arc<str>, Challenge)],
        now: Moment,
    ) {
        let wish = self.renewal.take().and_then(|renewal| renewal.chosen);
        if wish.is_some_and(|wish| wish <= now) {
            self.wish_followed = Some(now);
        }
        self.issued = Some(IssuedRecord { authority: authority.to_owned(), at: now, names: names.to_vec() });
        (self.last_failure, self.local) = (None, None);
        self.refused.clear();
        for name in names {
            if let Some(record) = self.names.get_mut(&**name) {
                record.failing.clear();
            }
        }
        for (name, challenge) in validated {
            self.names.entry(name.to_string()).or_default().worked = Some(Way(*challenge));
        }
    }

    /// The order as a whole was refused, or was one too many.
    fn order_refused(&mut self, authority: &str, failure: &Failure, now: Moment, random: u64) {
        let failures = self.refused.get(authority).map_or(0, |wait| wait.failures).saturating_add(1);
        let limited = failure.kind == Kind::RateLimited;
        let wait = match failure.retry_after.filter(|_| limited) {
            // Its word is taken exactly, until it has proved empty three times.
            Some(at) if failures <= 3 => {
                let until = obey(now, at, RATE_LIMITED.obeyed, random);
                Wait { failures, since: now, until, told: Some(until), text: failure.text.clone() }
            }
            Some(at) => RATE_LIMITED_AGAIN.wait(failures - 2, now, Some(at), random, &failure.text),
            None if limited => RATE_LIMITED.wait(failures, now, None, random, &failure.text),
            None => REFUSED.wait(failures, now, failure.retry_after, random, &failure.text),
        };
        self.refused.insert(authority.to_owned(), Wait { failures, ..wait });
    }

    /// A name failed by the challenge `tried`; by none when the CA would not even try.
    #[expect(clippy::too_many_arguments, reason = "one event, all of it known to one caller")]
    fn name_failed(
        &mut self,
        authority: &str,
        failed: &FailedName,
        tried: Option<Challenge>,
        challenges: &[Challenge],
        failure: &Failure,
        now: Moment,
        random: u64,
    ) {
        let failing = &mut self.names.entry(failed.name.to_string()).or_default().failing;
        let old = failing.remove(authority);
        let rounds = old.as_ref().map_or(0, |old| old.wait.failures);
        let mut so_far = old.map_or(Vec::new(), |old| old.tried);
        let again = tried.is_some_and(|challenge| so_far.contains(&Way(challenge)));
        so_far.extend(tried.filter(|_| !again).map(Way));
        let left = challenges.iter().any(|challenge| !so_far.contains(&Way(*challenge)));
        if tried.is_some() && left && !again {
            let until = told(failure, NAME, now, random).unwrap_or(now);
            let wait = Wait { failures: rounds, since: now, until, told: None, text: failed.text.clone() };
            failing.insert(authority.to_owned(), NameFailure { tried: so_far, wait });
            return;
        }
        let backoff = if tried.is_some() { NAME } else { NAME_REFUSED };
        let wait = backoff.wait(rounds.saturating_add(1), now, failure.retry_after, random, &failed.text);
        failing.insert(authority.to_owned(), NameFailure { tried: Vec::new(), wait });
    }

    /// Brings it in line with the clock and forgets what is long over.
    pub(super) fn settle(&mut self, now: Moment) {
        let waits = self.local.iter_mut().chain(self.refused.values_mut());
        let failing = self.names.values_mut().flat_map(|name| name.failing.values_mut());
        waits.chain(failing.map(|failure| &mut failure.wait)).for_each(|wait| wait.settle(now));
        for at in self.issued.iter_mut().map(|issued| &mut issued.at).chain(&mut self.wish_followed) {
            *at = (*at).min(now);
        }
        if let Some(failure) = &mut self.last_failure {
            failure.at = failure.at.min(now);
        }
        if let Some(renewal) = &mut self.renewal {
            renewal.ask_again = renewal.ask_again.min(now.after(super::ASK_MOST));
        }
        let over = |wait: &Wait| now.since(wait.until) > FAILURES_KEPT;
        self.local.take_if(|wait| over(wait));
        self.refused.retain(|_, wait| !over(wait));
        let issued = self.issued.take_if(|issued| now.since(issued.at) > SITES_KEPT).is_none();
        let on = self.issued.as_ref().map_or(&[][..], |issued| &issued.names);
        self.names.retain(|name, record| {
            record.failing.retain(|_, failure| !over(&failure.wait));
            !record.failing.is_empty() || on.iter().any(|other| **other == **name)
        });
        self.last_failure.take_if(|failure| now.since(failure.at) > SITES_KEPT);
        if !issued {
            (self.renewal, self.wish_followed) = (None, None);
        }
        self.names.retain(|_, record| *record != NameRecord::default());
    }
}

impl AuthorityRecord {
    /// Brings it in line with the clock and forgets what is older than `memory` and counts no more.
    pub(super) fn settle(&mut self, now: Moment, memory: Duration) {
        let memory = memory.max(LOST_KEPT) + 2 * super::count::SLACK;
        self.accounts.iter_mut().for_each(|at| *at = (*at).min(now));
        self.accounts.retain(|at| now.since(*at) <= memory);
        for order in &mut self.orders {
            order.at = order.at.min(now);
            order.ended = order.ended.map(|ended| ended.min(now));
        }
        self.orders.retain(|order| {
            let counted = order.state == OrderState::Running || order.may_have_a_certificate();
            let memory = if counted { memory } else { LOST_KEPT };
            order.state == OrderState::Running || now.since(order.over()) <= memory
        });
        if let Some(wait) = &mut self.unavailable {
            wait.settle(now);
        }
        self.unavailable.take_if(|wait| now.since(wait.until) > FAILURES_KEPT);
    }
}

/// A failure is no longer one in a row when the wait after it was over for that long.
const FAILURES_KEPT: Duration = Duration::from_secs(30 * 86_400);
/// What is known of sites that are gone is kept for that long.
const SITES_KEPT: Duration = Duration::from_secs(400 * 86_400);
/// Orders that failed or were lost: longer than any window that counts them.
const LOST_KEPT: Duration = Duration::from_secs(86_400);
