//! What a CA counts, counted rather too much than too little: whatever may have happened there did.

use std::sync::Arc;
use std::time::Duration;

use crate::acme::ledger::Ledger;
use crate::acme::ledger::record::{OrderRecord, OrderState};
use crate::acme::limits::{Cap, Limits, registered_domain};
use crate::acme::moment::Moment;

/// Added to every window: both sides cut to seconds, and the CA's clock is its own.
pub(super) const SLACK: Duration = Duration::from_secs(60);
/// No order takes longer than this; what it does is done by then.
const LONGEST_ORDER: Duration = Duration::from_secs(1500);

impl OrderRecord {
    /// When all that the CA counts of it had happened at the latest, as far as is known.
    pub(super) fn over(&self) -> Moment {
        self.ended.unwrap_or(self.at.after(LONGEST_ORDER))
    }

    /// The same of one that may still run.
    fn counted_at(&self, now: Moment) -> Moment {
        if self.state == OrderState::Running { now } else { self.over() }
    }

    /// Whether the CA may have signed.
    pub(super) fn may_have_a_certificate(&self) -> bool {
        match self.state {
            OrderState::Running | OrderState::Issued => true,
            OrderState::Lost => self.finalizing,
            OrderState::Failed => false,
        }
    }
}

impl Ledger {
    /// Until when the CA would take no new account, if it would not now.
    pub(in crate::acme) fn accounts_full(
        &self,
        authority: &str,
        limits: &Limits,
        now: Moment,
    ) -> Option<Moment> {
        let record = self.authorities.get(authority)?;
        full(limits.accounts?, record.accounts.iter().copied(), now)
    }

    /// Whether the next attempt may have to ask for an account: until one got past that, others wait, or
    /// each would ask for one.
    pub(in crate::acme) fn account_unsure(&self, authority: &str, limits: &Limits, now: Moment) -> bool {
        let Some(record) = self.authorities.get(authority) else { return true };
        let last = record.accounts.iter().max();
        let sent = record.orders.iter().filter(|order| !order.reserved).map(|order| order.at).max();
        let recent = |cap: &Cap| record.accounts.iter().filter(|at| now.since(**at) < cap.window).count();
        sent.is_none()
            || sent.as_ref() < last
            || limits.accounts.is_some_and(|cap| recent(&cap) >= cap.most / 2)
    }

    /// Until when a name's failed validations are as many as the CA allows, if they are now.
    ///
    /// One is kept free: what the CA counts besides ours is not known.
    pub(in crate::acme) fn validations_full(
        &self,
        authority: &str,
        limits: &Limits,
        name: &str,
        now: Moment,
    ) -> Option<Moment> {
        let cap = limits.failed_validations?;
        let cap = Cap { most: cap.most.saturating_sub(1).max(1), ..cap };
        let orders = self.authorities.get(authority)?.orders.iter();
        let unproved = orders.filter(|order| order.unproved.iter().any(|other| **other == *name));
        full(cap, unproved.map(|order| order.counted_at(now)), now)
    }

    /// Until when the CA would refuse an order for these names, if it would now, and for having had too
    /// many of what.
    pub(in crate::acme) fn orders_full(
        &self,
        authority: &str,
        limits: &Limits,
        names: &[Arc<str>],
        renewal: bool,
        now: Moment,
    ) -> Option<(Moment, &'static str)> {
        let orders = &self.authorities.get(authority)?.orders;
        let all = full(limits.orders, orders.iter().map(|order| order.at), now);
        let signed = || orders.iter().filter(|order| order.may_have_a_certificate());
        let of_set = limits.certificates_of_set.and_then(|cap| {
            let same = signed().filter(|order| same_set(&order.names, names));
            full(cap, same.map(|order| order.counted_at(now)), now)
        });
        let of_domain = limits.certificates_of_domain.filter(|_| !renewal).and_then(|cap| {
            let mut domains: Vec<_> = names.iter().map(|name| registered_domain(name)).collect();
            domains.sort_unstable();
            domains.dedup();
            let in_domain = |order: &&OrderRecord, domain: &String| {
                !order.renewal && order.names.iter().any(|name| registered_domain(name) == *domain)
            };
            let until = domains.iter().filter_map(|domain| {
                let counted = signed().filter(|order| in_domain(order, domain));
                full(cap, counted.map(|order| order.counted_at(now)), now)
            });
            until.max()
        });
        let found = [
            all.map(|until| (until, "as many orders as the CA allows")),
            of_set.map(|until| (until, "as many certificates for these names as the CA allows")),
            of_domain.map(|until| (until, "as many certificates for this domain as the CA allows")),
        ];
        found.into_iter().flatten().max_by_key(|(until, _)| *until)
    }
}

/// Until when no more is allowed, if it is not now.
fn full(cap: Cap, times: impl Iterator<Item = Moment>, now: Moment) -> Option<Moment> {
    let window = cap.window + SLACK;
    let mut times: Vec<_> = times.filter(|at| now.since(*at) < window).collect();
    let too_many = (times.len() + 1).checked_sub(cap.most.max(1)).filter(|too_many| *too_many > 0)?;
    times.sort_unstable();
    times.get(too_many - 1).map(|at| at.after(window))
}

/// Whether both are the same names, in any order.
pub(super) fn same_set(one: &[Arc<str>], other: &[Arc<str>]) -> bool {
    let within = |these: &[Arc<str>], those: &[Arc<str>]| these.iter().all(|name| those.contains(name));
    within(one, other) && within(other, one)
}
