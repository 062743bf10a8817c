//! What was asked of CAs and what came of it: the memory by which no limit is passed, restarts or not.
//!
//! It is kept as JSON that people can read and mend. Nothing is decided here; `schedule.rs` does.

mod backoff;
mod count;
mod outcome;
mod record;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::acme::ledger::backoff::{LOST, LOST_SIGNED, mix};
use crate::acme::ledger::record::{
    AuthorityRecord, OrderRecord, OrderState, RenewalRecord, SiteRecord, Wait,
};
use crate::acme::limits::Limits;
use crate::acme::moment::Moment;
use crate::acme::records::RenewalWindow;
use crate::acme::status::LastError;
use crate::config::model::acme::Challenge;

/// Attempts and failures, by CA, site and name. CAs go by the URL of their directory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    version: Version,
    #[serde(default)]
    authorities: BTreeMap<String, AuthorityRecord>,
    #[serde(default)]
    sites: BTreeMap<String, SiteRecord>,
}

/// The layout of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
struct Version(u32);

impl Default for Version {
    fn default() -> Self {
        Self(1)
    }
}

impl Ledger {
    /// Reads what `to_json` wrote. Orders that were on their way then are lost: their outcome is not known.
    ///
    /// # Errors
    /// The text is no ledger, or one of a newer porchd; in words for a person.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut ledger: Self = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if ledger.version != Version::default() {
            let Version(found) = ledger.version;
            return Err(format!("it has version {found}, and this porchd knows version 1"));
        }
        for order in ledger.authorities.values_mut().flat_map(|authority| &mut authority.orders) {
            if order.state == OrderState::Running {
                order.state = OrderState::Lost;
            }
        }
        Ok(ledger)
    }

    /// The file's text.
    pub fn to_json(&self) -> String {
        // Maps with text keys, times and numbers: none of it can fail to be written.
        serde_json::to_string_pretty(self).map(|text| text + "\n").unwrap_or_default()
    }

    /// Brings it in line with the clock: what lies in the future happened now, and what no rule needs any
    /// more is forgotten. To be called before each look at the plan.
    pub fn settle(&mut self, now: Moment) {
        for (directory, authority) in &mut self.authorities {
            authority.settle(now, Limits::of(directory).memory());
        }
        for site in self.sites.values_mut() {
            site.settle(now);
        }
        self.authorities.retain(|_, authority| *authority != AuthorityRecord::default());
        self.sites.retain(|_, site| *site != SiteRecord::default());
    }

    /// An account is asked for. To be kept on disk before it is.
    pub fn account_attempted(&mut self, authority: &str, now: Moment) {
        self.authority(authority).accounts.push(now);
    }

    /// An order is sent. To be kept on disk before it is.
    pub fn order_attempted(
        &mut self,
        authority: &str,
        site: &str,
        names: &[Arc<str>],
        renewal: bool,
        now: Moment,
    ) {
        self.abandoned(site);
        self.authority(authority).orders.push(OrderRecord::sent(site, names, renewal, now));
    }

    /// The order that runs is finalized. To be kept on disk before it is (with the pending order): from
    /// then on there may be a certificate that counts, whatever becomes of this process.
    pub fn finalizing(&mut self, authority: &str, site: &str) {
        let orders = &mut self.authority(authority).orders;
        let running = |order: &&mut OrderRecord| order.site == site && order.state == OrderState::Running;
        if let Some(order) = orders.iter_mut().rev().find(running) {
            order.finalizing = true;
            // It can only be finalized because every name was validated.
            order.unproved.clear();
        }
    }

    /// What the CA says about the renewal of the certificate that the site has; asked again at `ask_again`.
    ///
    /// The point within the window is chosen by `random` once, and kept until the window changes.
    pub fn renewal_window(
        &mut self,
        site: &str,
        window: RenewalWindow,
        ask_again: Moment,
        now: Moment,
        random: u64,
    ) {
        if window.end <= window.start {
            // RFC 9773 section 4.2: such a window is to be treated as if there was none.
            return self.renewal_window_unknown(site, Some(ask_again), now);
        }
        let record = self.site(site);
        let before = record.renewal.take().filter(|renewal| {
            renewal.window.as_ref().is_some_and(|old| (old.start, old.end) == (window.start, window.end))
        });
        let length = window.end.since(window.start).as_secs().max(1);
        let point = window.start.after(Duration::from_secs(mix(random, site) % length));
        let chosen = before.and_then(|renewal| renewal.chosen).unwrap_or(point);
        let ask_again = ask_again.max(now.after(ASK_LEAST)).min(now.after(ASK_MOST));
        record.renewal = Some(RenewalRecord { window: Some(window), chosen: Some(chosen), ask_again });
    }

    /// The CA says nothing about renewal, or could not be asked. What it said before still holds.
    pub fn renewal_window_unknown(&mut self, site: &str, retry_after: Option<Moment>, now: Moment) {
        let ask_again = retry_after.unwrap_or(now.after(ASK_AGAIN));
        let ask_again = ask_again.max(now.after(ASK_LEAST)).min(now.after(ASK_MOST));
        let record = &mut self.site(site).renewal;
        match record {
            Some(renewal) => renewal.ask_again = ask_again,
            None => *record = Some(RenewalRecord { window: None, chosen: None, ask_again }),
        }
    }

    /// A person wants the site's certificate now: waits are over. Those that a CA asked for are not, nor are caps on
    /// what it allows.
    pub fn forget_failures(&mut self, site: &str) {
        for authority in self.authorities.values_mut() {
            authority.unavailable.iter_mut().for_each(Wait::cut);
        }
        if let Some(record) = self.sites.get_mut(site) {
            record.local = None;
            record.refused.retain(|_, wait| wait.told.is_some());
            record.refused.values_mut().for_each(Wait::cut);
            record.names.values_mut().for_each(|name| name.failing.clear());
        }
    }

    /// What failed last, if nothing was issued since.
    pub fn last_failure(&self, site: &str) -> Option<LastError> {
        self.sites.get(site)?.last_failure.clone()
    }

    /// The last thing that happened, if `now` is more than a day before it: then one of the two clocks was wrong.
    pub fn ahead_of(&self, now: Moment) -> Option<Moment> {
        let orders = self
            .authorities
            .values()
            .flat_map(|book| book.orders.iter().map(|order| order.at).chain(book.accounts.iter().copied()));
        let failures =
            self.sites.values().filter_map(|site| site.last_failure.as_ref()).map(|failure| failure.at);
        let last = orders.chain(failures).max()?;
        (last.since(now) > Duration::from_secs(24 * 60 * 60)).then_some(last)
    }

    /// The CA that issued what the site has, as far as is remembered.
    pub fn issuing_authority(&self, site: &str) -> Option<&str> {
        Some(&self.sites.get(site)?.issued.as_ref()?.authority)
    }

    fn authority(&mut self, directory: &str) -> &mut AuthorityRecord {
        self.authorities.entry(directory.to_owned()).or_default()
    }

    fn site(&mut self, site: &str) -> &mut SiteRecord {
        self.sites.entry(site.to_owned()).or_default()
    }
}

/// What the schedule asks.
impl Ledger {
    /// Counts an order that may be sent any moment; never to be kept.
    pub(super) fn order_reserved(
        &mut self,
        authority: &str,
        site: &str,
        names: &[Arc<str>],
        renewal: bool,
        now: Moment,
    ) {
        let order = OrderRecord::sent(site, names, renewal, now);
        self.authority(authority).orders.push(OrderRecord { reserved: true, ..order });
    }

    /// Nobody works on the site: what seems to run does not.
    pub(super) fn abandoned(&mut self, site: &str) {
        for order in self.authorities.values_mut().flat_map(|authority| &mut authority.orders) {
            if order.site == site && order.state == OrderState::Running {
                order.state = OrderState::Lost;
            }
        }
    }

    /// That the CA does not answer as it should, perhaps over.
    pub(super) fn unavailable(&self, authority: &str) -> Option<&Wait> {
        self.authorities.get(authority)?.unavailable.as_ref()
    }

    /// That the CA refused the site's order or said that there were too many, perhaps over.
    pub(super) fn refused(&self, authority: &str, site: &str) -> Option<&Wait> {
        self.sites.get(site)?.refused.get(authority)
    }

    /// That this machine was at fault, perhaps over.
    pub(super) fn local(&self, site: &str) -> Option<&Wait> {
        self.sites.get(site)?.local.as_ref()
    }

    /// How a name fails at the CA, its wait perhaps over, and in how many full rounds it did.
    pub(super) fn name(&self, authority: &str, site: &str, name: &str) -> Option<(&Wait, u32)> {
        let failure = self.sites.get(site)?.names.get(name)?.failing.get(authority)?;
        Some((&failure.wait, failure.wait.failures))
    }

    /// The challenge to try a name by: what worked last comes first, what failed in this round not again.
    pub(super) fn challenge(
        &self,
        authority: &str,
        site: &str,
        name: &str,
        configured: &[Challenge],
    ) -> Challenge {
        let record = self.sites.get(site).and_then(|record| record.names.get(name));
        let worked = record.and_then(|record| record.worked).map(|way| way.0);
        let tried = record.and_then(|record| record.failing.get(authority)).map(|failure| &failure.tried[..]);
        let failed = |challenge: &Challenge| tried.unwrap_or_default().iter().any(|way| way.0 == *challenge);
        let wanted = worked.into_iter().chain(configured.iter().copied());
        let mut wanted = wanted.filter(|challenge| configured.contains(challenge));
        let first = configured.first().copied().unwrap_or(Challenge::Http01);
        wanted.find(|challenge| !failed(challenge)).unwrap_or(worked.unwrap_or(first))
    }

    /// Until when a site rests whose last orders were lost in the middle; it must not be busy.
    pub(super) fn lost_until(&self, site: &str) -> Option<Moment> {
        let mut orders: Vec<_> = self.orders_of(site).collect();
        orders.sort_by_key(|order| order.at);
        let lost = orders.iter().rev().take_while(|order| {
            order.ended.is_none() && matches!(order.state, OrderState::Running | OrderState::Lost)
        });
        let (failures, signed) = lost.fold((0_u32, 0_u32), |(failures, signed), order| {
            (failures.saturating_add(1), signed.saturating_add(u32::from(order.finalizing)))
        });
        let last = orders.last().filter(|_| failures > 0)?;
        let rest = LOST.after(failures);
        // Certificates that nobody fetches use up what the CA gives in a week.
        let rest = if signed > 1 { rest.max(LOST_SIGNED.after(signed - 1)) } else { rest };
        Some(last.at.after(rest))
    }

    /// Whether an order of the site is on its way at that CA.
    pub(super) fn runs_at(&self, authority: &str, site: &str) -> bool {
        let runs = |order: &OrderRecord| order.site == site && order.state == OrderState::Running;
        self.authorities.get(authority).is_some_and(|authority| authority.orders.iter().any(runs))
    }

    /// When the site last took its turn.
    pub(super) fn last_turn(&self, site: &str) -> Option<Moment> {
        let failed = self.sites.get(site).and_then(|record| Some(record.last_failure.as_ref()?.at));
        self.orders_of(site).map(|order| order.at).max().max(failed)
    }

    /// Whether that CA issued a certificate for exactly these names to the site last.
    pub(super) fn is_renewal(&self, authority: &str, site: &str, names: &[Arc<str>]) -> bool {
        let issued = self.sites.get(site).and_then(|record| record.issued.as_ref());
        issued.is_some_and(|issued| issued.authority == authority && count::same_set(&issued.names, names))
    }

    /// What the CA said about renewal: its point, when it wants to be asked again.
    pub(super) fn renewal(&self, site: &str) -> Option<(Option<Moment>, Moment)> {
        let renewal = self.sites.get(site)?.renewal.as_ref()?;
        Some((renewal.chosen, renewal.ask_again))
    }

    /// When such a point last brought a new certificate.
    pub(super) fn wish_followed(&self, site: &str) -> Option<Moment> {
        self.sites.get(site)?.wish_followed
    }

    fn orders_of(&self, site: &str) -> impl Iterator<Item = &OrderRecord> {
        let orders = self.authorities.values().flat_map(|authority| &authority.orders);
        orders.filter(move |order| order.site == site)
    }
}

/// A CA is asked about renewal at least this often, and this seldom (RFC 9773 section 4.3 asks for both).
const ASK_LEAST: Duration = Duration::from_secs(60);
const ASK_MOST: Duration = Duration::from_secs(86_400);
/// When it does not say.
const ASK_AGAIN: Duration = Duration::from_secs(6 * 3600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_is_no_ledger_is_told_apart() {
        assert_eq!(Ledger::parse(&Ledger::default().to_json()), Ok(Ledger::default()));
        assert!(Ledger::parse("{\"version\": 2}").unwrap_err().contains("version 2"));
        for text in ["", "{}", "[]", "{\"version\": 1, \"sites\": 3}", "{\"version\": 1"] {
            assert!(Ledger::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_no_rule_needs_any_more_is_forgotten() {
        let (site, names) = ("example.org", [Arc::from("example.org")]);
        let at = |days: u64| {
            Moment::parse("2026-03-01T12:00:00Z").unwrap().after(Duration::from_secs(days * 86_400))
        };
        let mut ledger = Ledger::default();
        for day in 0..300 {
            ledger.account_attempted("https://ca.test", at(day));
            ledger.order_attempted("https://ca.test", site, &names, false, at(day));
            ledger.finalizing("https://ca.test", site);
            ledger.issued(
                "https://ca.test",
                site,
                &names,
                &[(Arc::clone(&names[0]), Challenge::Http01)],
                at(day),
            );
            ledger.settle(at(day));
        }
        assert!(ledger.to_json().len() < 2000, "{}", ledger.to_json());
        ledger.settle(at(320));
        assert_eq!(ledger.issuing_authority(site), Some("https://ca.test"));
        assert_eq!(
            ledger.challenge("https://ca.test", site, site, &[Challenge::TlsAlpn01, Challenge::Http01]),
            Challenge::Http01,
        );
        ledger.settle(at(800));
        assert_eq!(ledger, Ledger::default());
    }
}
