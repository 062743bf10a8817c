//! What is next for one site: an order at one of the CAs, or a wait.

use std::sync::Arc;
use std::time::Duration;

use crate::acme::ledger::Ledger;
use crate::acme::moment::Moment;
use crate::acme::schedule::names::{Names, covers, names};
use crate::acme::schedule::renewal::{last_call, renewal};
use crate::acme::schedule::{AuthorityView, Held, SiteView, View};
use crate::acme::status::{LeftOut, Next};
use crate::config::model::acme::{Challenge, FailingName};

/// What is next, and which names have no certificate meanwhile.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) step: Step,
    pub(super) left_out: Vec<LeftOut>,
}

/// What is next.
#[derive(Debug)]
pub(super) enum Step {
    /// Something is under way.
    Nothing,
    /// An order, now.
    Order {
        authority: String,
        names: Vec<(Arc<str>, Challenge)>,
        left_out: Vec<Arc<str>>,
        renewal: bool,
        why: String,
    },
    /// An order, later.
    Wait(Next),
}

/// What is next for `site`. `ledger` is settled and knows of what this plan orders already.
pub(super) fn step(view: &View<'_>, ledger: &Ledger, site: &SiteView<'_>) -> Seen {
    let mut left_out = None;
    let mut closed: Option<Next> = None;
    for authority in view.authorities {
        let names = names(view, ledger, site, authority);
        left_out.get_or_insert_with(|| names.left_out(site.held.as_ref()));
        if site.busy {
            break;
        }
        let until = match at(view, ledger, site, authority, &names) {
            Offer::Order { names: ordered, why } => {
                let left_out = names.left_out(site.held.as_ref());
                let step = hold(view, ledger, site)
                    .map_or_else(|| order(view, ledger, site, authority, ordered, why), Step::Wait);
                return Seen { step, left_out };
            }
            Offer::Later(next) => {
                return Seen { step: Step::Wait(next), left_out: names.left_out(site.held.as_ref()) };
            }
            Offer::Closed(next) => next,
        };
        closed = closed.filter(|closed| closed.at <= until.at).or(Some(until));
    }
    Seen { step: closed.map_or(Step::Nothing, Step::Wait), left_out: left_out.unwrap_or_default() }
}

/// What one CA offers a site.
enum Offer {
    /// These can be ordered there now, and there is reason to.
    Order { names: Vec<Arc<str>>, why: String },
    /// There is no reason yet, or none of the names can be ordered yet; another CA changes nothing.
    Later(Next),
    /// There is reason to order, and that CA is out of the question until then.
    Closed(Next),
}

fn at(
    view: &View<'_>,
    ledger: &Ledger,
    site: &SiteView<'_>,
    authority: &AuthorityView<'_>,
    names: &Names,
) -> Offer {
    let (ordered, why) = match wish(view, ledger, site, names) {
        Wish::Now(ordered, why) => (ordered, why),
        Wish::Later(next) => return Offer::Later(next),
    };
    match closed(view, ledger, site, authority, &ordered) {
        Some(next) => Offer::Closed(next),
        None => Offer::Order { names: ordered, why },
    }
}

/// What there is reason to order.
enum Wish {
    Now(Vec<Arc<str>>, String),
    Later(Next),
}

fn wish(view: &View<'_>, ledger: &Ledger, site: &SiteView<'_>, names: &Names) -> Wish {
    let held = site.held.as_ref().filter(|held| view.now < held.to);
    let again = names.again(view.failing_name, view.now);
    let wait = view.failing_name == FailingName::Wait;
    let Some(held) = held else {
        let why = if site.held.is_some() { "it has expired" } else { "there is none yet" };
        return match again.filter(|_| wait || names.able.is_empty()) {
            Some(at) => Wish::Later(next(at, "tried again after a failure")),
            None => Wish::Now(names.able.clone(), why.to_owned()),
        };
    };
    let renewal = reason(view, ledger, site, held);
    let new_name = names.able.iter().any(|name| !covers(Some(held), name));
    let due = renewal.at <= view.now;
    if !due && !new_name {
        return Wish::Later(sooner(renewal, names, held, again));
    }
    let why = if due { renewal.why } else { "names are not on it yet".to_owned() };
    // Names that have a certificate keep it as long as it lives: the order waits for them while it can.
    let mut covered = names.unable.iter().filter(|unable| covers(Some(held), &unable.name));
    let low = view.now >= last_call(held);
    let held_up = !low && covered.any(|unable| !(new_name && unable.hopeless));
    match again.filter(|_| held_up || wait || names.able.is_empty()) {
        Some(at) if low => Wish::Later(next(at, "tried again after a failure")),
        Some(at) => Wish::Later(next(at.min(last_call(held)), "tried again after a failure")),
        None => Wish::Now(names.able.clone(), why),
    }
}

/// When what is held is to be replaced by itself, whatever names fail.
fn reason(view: &View<'_>, ledger: &Ledger, site: &SiteView<'_>, held: &Held) -> Next {
    if site.asked {
        return next(view.now, "asked for");
    }
    let renewal = renewal(view, ledger, site, held);
    let gone = held.names.iter().any(|name| !site.names.iter().any(|other| other.eq_ignore_ascii_case(name)));
    let early = held.from.after(NAMES_GONE);
    if gone && early < renewal.at { next(early, "names were taken off the site") } else { renewal }
}

/// The renewal, or the next try of a name that is not on the certificate.
fn sooner(renewal: Next, names: &Names, held: &Held, again: Option<Moment>) -> Next {
    let missing = names.unable.iter().map(|unable| &*unable.name);
    let missing: Vec<&str> = missing.filter(|name| !covers(Some(held), name)).collect();
    match again.filter(|at| !missing.is_empty() && *at < renewal.at) {
        Some(at) => next(at, &format!("{} tried again", missing.join(", "))),
        None => renewal,
    }
}

/// Until when the CA is out of the question.
fn closed(
    view: &View<'_>,
    ledger: &Ledger,
    site: &SiteView<'_>,
    authority: &AuthorityView<'_>,
    names: &[Arc<str>],
) -> Option<Next> {
    let AuthorityView { directory, limits } = authority;
    let renewal = ledger.is_renewal(directory, site.site, names);
    let later = |at: Moment, why: &str| (at > view.now).then(|| next(at, why));
    let unavailable = ledger.unavailable(directory);
    let found = [
        unavailable.and_then(|wait| later(wait.until, "tried again when the CA may answer")),
        (unavailable.is_some() || ledger.account_unsure(directory, limits, view.now))
            .then(|| probing(view, ledger, site, directory))
            .flatten(),
        ledger
            .refused(directory, site.site)
            .and_then(|wait| later(wait.until, "tried again after a refusal")),
        ledger
            .accounts_full(directory, limits, view.now)
            .and_then(|at| later(at, "as many accounts as the CA allows")),
        ledger.orders_full(directory, limits, names, renewal, view.now).and_then(|(at, why)| later(at, why)),
    ];
    found.into_iter().flatten().max_by_key(|next| next.at)
}

/// While a CA fails or may have no account of ours, one order at a time finds out.
fn probing(view: &View<'_>, ledger: &Ledger, site: &SiteView<'_>, directory: &str) -> Option<Next> {
    let mut others = view.sites.iter().filter(|other| other.site != site.site);
    let busy = others.any(|other| ledger.runs_at(directory, other.site));
    busy.then(|| next(view.now.after(PROBE), "another site's order is tried first"))
}

/// Until when nothing is ordered for the site, wherever.
fn hold(view: &View<'_>, ledger: &Ledger, site: &SiteView<'_>) -> Option<Next> {
    let later = |at: Moment, why: &str| (at > view.now).then(|| next(at, why));
    let local = ledger.local(site.site).and_then(|wait| later(wait.until, "tried again after a failure"));
    let lost = ledger.lost_until(site.site).and_then(|at| later(at, "tried again after an interruption"));
    let disk = disk(view, ledger, site).and_then(|at| later(at, "when the disk takes it"));
    [local, lost, disk].into_iter().flatten().max_by_key(|next| next.at)
}

/// Until when nothing is ordered because its outcome could not be remembered.
///
/// A certificate that is needed now is worth one order each quarter of an hour of a process: however often
/// it restarts, that stays within what CAs allow.
fn disk(view: &View<'_>, ledger: &Ledger, site: &SiteView<'_>) -> Option<Moment> {
    if view.writable {
        return None;
    }
    let again = view.now.after(DISK_AGAIN);
    let life = |held: &Held| held.to.since(held.from);
    let needed = site.held.as_ref().is_none_or(|held| held.to.since(view.now) < life(held) / 10);
    if !needed || view.running_for < MEMORY_ALONE {
        return Some(again);
    }
    ledger
        .last_turn(site.site)
        .map(|last| last.after(MEMORY_ALONE))
        .filter(|at| *at > view.now)
        .map(|_| again)
}

fn order(
    view: &View<'_>,
    ledger: &Ledger,
    site: &SiteView<'_>,
    authority: &AuthorityView<'_>,
    names: Vec<Arc<str>>,
    why: String,
) -> Step {
    let directory = authority.directory;
    let left_out = site.names.iter().filter(|name| !names.contains(name)).cloned().collect();
    let renewal = ledger.is_renewal(directory, site.site, &names);
    let way = |name: &Arc<str>| ledger.challenge(directory, site.site, name, view.challenges);
    let names = names.into_iter().map(|name| (Arc::clone(&name), way(&name))).collect();
    Step::Order { authority: directory.to_owned(), names, left_out, renewal, why }
}

fn next(at: Moment, why: &str) -> Next {
    Next { at, why: why.to_owned() }
}

/// A certificate with a name that its site has no more is replaced when it is a day old.
const NAMES_GONE: Duration = Duration::from_secs(86_400);
/// When to look whether another site's order went well.
const PROBE: Duration = Duration::from_secs(3);
/// When to look whether the disk takes the ledger.
const DISK_AGAIN: Duration = Duration::from_secs(30);
/// How long a process must have run to order without a ledger on disk, and between such orders.
const MEMORY_ALONE: Duration = Duration::from_secs(900);
