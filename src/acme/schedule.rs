//! What is due when: orders, questions about renewal, and when to look again. It starts nothing.

mod names;
mod renewal;
mod site;

use std::sync::Arc;
use std::time::Duration;

use crate::acme::ledger::Ledger;
use crate::acme::limits::Limits;
use crate::acme::moment::Moment;
use crate::acme::schedule::site::{Step, step};
use crate::acme::status::{LeftOut, Next};
use crate::config::model::acme::{Challenge, FailingName};

/// The certificate that a site has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The names that it is good for.
    pub names: Vec<Arc<str>>,
    /// Not valid before.
    pub from: Moment,
    /// Not valid after.
    pub to: Moment,
}

/// A site as the plan sees it.
#[derive(Debug, Clone)]
pub struct SiteView<'a> {
    /// Its name.
    pub site: &'a str,
    /// The names that its certificate should have; not empty.
    pub names: &'a [Arc<str>],
    /// The certificate that it has.
    pub held: Option<Held>,
    /// Those of its names that resolve to no address.
    pub without_address: &'a [Arc<str>],
    /// Something is under way for it: an attempt, or the question about renewal.
    pub busy: bool,
    /// A person asked for a new certificate.
    pub asked: bool,
}

/// A CA as the plan sees it.
#[derive(Debug, Clone, Copy)]
pub struct AuthorityView<'a> {
    /// The URL of its directory.
    pub directory: &'a str,
    /// What it publishes.
    pub limits: Limits,
}

/// All that decides what is due.
#[derive(Debug, Clone)]
pub struct View<'a> {
    /// The time.
    pub now: Moment,
    /// The CAs, in the order of trial.
    pub authorities: &'a [AuthorityView<'a>],
    /// The challenges, in the order of trial.
    pub challenges: &'a [Challenge],
    /// What becomes of a site's other names when one fails.
    pub failing_name: FailingName,
    /// The sites.
    pub sites: &'a [SiteView<'a>],
    /// What was.
    pub ledger: &'a Ledger,
    /// The ledger can be kept on disk.
    pub writable: bool,
    /// For how long this process runs.
    pub running_for: Duration,
    /// A number of this install that keeps it apart from its neighbours.
    pub jitter: u64,
}

/// Something to be done now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Due {
    /// An order.
    Order {
        /// The site.
        site: String,
        /// The CA, by the URL of its directory.
        authority: String,
        /// The names, each with the challenge to prove it by.
        names: Vec<(Arc<str>, Challenge)>,
        /// The site's names that are not ordered.
        left_out: Vec<Arc<str>>,
        /// That CA issued a certificate for the same names last.
        renewal: bool,
        /// Why now.
        why: String,
    },
    /// The question when the CA wants to see the site's certificate renewed.
    AskRenewalInfo {
        /// The site.
        site: String,
        /// The CA that issued it.
        authority: String,
    },
}

/// What is due, and what will be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// What is due now, the site that waited longest first.
    pub due: Vec<Due>,
    /// When to look again at the latest; always in the future.
    pub wake: Moment,
    /// The next order of each site that is not busy.
    pub next: Vec<(String, Next)>,
    /// Names that have no certificate, by site.
    pub left_out: Vec<(String, LeftOut)>,
}

/// What is due. To be asked again when something ended, when the host list changed, and at `wake`.
pub fn plan(view: &View<'_>) -> Plan {
    let mut ledger = view.ledger.clone();
    ledger.settle(view.now);
    reserve(view, &mut ledger);
    let mut plan =
        Plan { due: Vec::new(), wake: view.now.after(LOOK_AGAIN), next: Vec::new(), left_out: Vec::new() };
    // Whoever waited longest goes first, so that one that always fails holds up nobody else.
    let mut sites: Vec<&SiteView<'_>> = view.sites.iter().collect();
    sites.sort_by_key(|site| ledger.last_turn(site.site));
    for site in sites {
        let seen = step(view, &ledger, site);
        plan.left_out.extend(seen.left_out.into_iter().map(|left_out| (site.site.to_owned(), left_out)));
        match seen.step {
            Step::Nothing => continue,
            Step::Order { authority, names, left_out, renewal, why } => {
                let ordered: Vec<_> = names.iter().map(|(name, _)| Arc::clone(name)).collect();
                ledger.order_reserved(&authority, site.site, &ordered, renewal, view.now);
                plan.next.push((site.site.to_owned(), Next { at: view.now, why: why.clone() }));
                let site = site.site.to_owned();
                plan.due.push(Due::Order { site, authority, names, left_out, renewal, why });
            }
            Step::Wait(next) => {
                plan.wake = plan.wake.min(next.at);
                plan.next.push((site.site.to_owned(), next));
                match renewal::question(view, &ledger, site) {
                    Some((at, authority)) if at <= view.now => {
                        plan.due.push(Due::AskRenewalInfo { site: site.site.to_owned(), authority });
                    }
                    Some((at, _)) => plan.wake = plan.wake.min(at),
                    None => {}
                }
            }
        }
    }
    plan.wake = plan.wake.max(view.now.after(Duration::from_secs(1)));
    let place = |name: &str| view.sites.iter().position(|site| site.site == name);
    plan.next.sort_by_key(|(site, _)| place(site));
    plan.left_out.sort_by_key(|(site, _)| place(site));
    plan
}

/// Attempts that began and did not send their order yet are counted as if they had, at every CA; orders that
/// nobody works on any more are lost.
fn reserve(view: &View<'_>, ledger: &mut Ledger) {
    for site in view.sites {
        if !site.busy {
            ledger.abandoned(site.site);
            continue;
        }
        if !view.authorities.iter().any(|authority| ledger.runs_at(authority.directory, site.site)) {
            for authority in view.authorities {
                ledger.order_reserved(authority.directory, site.site, site.names, false, view.now);
            }
        }
    }
}

/// A wake at least this often: clocks are set, machines sleep, and timers notice neither.
const LOOK_AGAIN: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests;
