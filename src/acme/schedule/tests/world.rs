//! A machine, its disk and the CAs that it orders from, simulated over years.
//!
//! The CAs count by themselves, in true time, and complain when a limit that they publish is passed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::acme::failure::{FailedName, Failure, Kind};
use crate::acme::ledger::Ledger;
use crate::acme::limits::{Cap, Limits, registered_domain};
use crate::acme::moment::Moment;
use crate::acme::records::RenewalWindow;
use crate::acme::schedule::{AuthorityView, Due, Held, Plan, SiteView, View, plan};
use crate::config::model::acme::{Challenge, FailingName};

/// Numbers by splitmix64.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Below `end`.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.roll() % end.max(1)
    }

    pub(super) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// How CAs behave, in percent of the occasions.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Temper {
    /// Fails before there is an order.
    pub(super) at_opening: u64,
    /// Refuses an order.
    pub(super) at_order: u64,
    /// A name that is fine fails.
    pub(super) at_validation: u64,
    /// Falls silent after validations, or after it signed.
    pub(super) silent: u64,
    /// Refuses to sign.
    pub(super) at_signing: u64,
    /// Wishes a certificate away at once.
    pub(super) wishes: u64,
    /// The longest that anything of an order takes, in seconds.
    pub(super) slow: u64,
    /// Has renewal information.
    pub(super) renewal_info: bool,
}

pub(super) struct Authority {
    pub(super) directory: String,
    limits: Limits,
    account: bool,
    life: u64,
    accounts: Vec<u64>,
    pub(super) orders: Vec<u64>,
    failed: BTreeMap<Arc<str>, Vec<u64>>,
    /// Names, sorted, and when; renewals are marked.
    pub(super) signed: Vec<(Vec<Arc<str>>, u64, bool)>,
    sets: BTreeSet<Vec<Arc<str>>>,
    pub(super) down: bool,
}

impl Authority {
    pub(super) fn new(directory: &str, life: u64) -> Self {
        Self {
            directory: directory.to_owned(),
            limits: Limits::of(directory),
            account: false,
            life,
            accounts: Vec::new(),
            orders: Vec::new(),
            failed: BTreeMap::new(),
            signed: Vec::new(),
            sets: BTreeSet::new(),
            down: false,
        }
    }

    /// It has our account.
    pub(super) fn registered(&mut self) {
        self.account = true;
    }

    fn count_order(&mut self, now: u64) {
        self.orders.push(now);
        check("orders", Some(self.limits.orders), self.orders.iter().copied(), now);
    }

    fn count_account(&mut self, now: u64) {
        self.accounts.push(now);
        check("accounts", self.limits.accounts, self.accounts.iter().copied(), now);
    }

    fn count_failed(&mut self, name: &Arc<str>, now: u64) {
        let times = self.failed.entry(Arc::clone(name)).or_default();
        times.push(now);
        check(name, self.limits.failed_validations, times.iter().copied(), now);
    }

    fn sign(&mut self, names: &[Arc<str>], now: u64) {
        let mut set = names.to_vec();
        set.sort();
        let renewal = !self.sets.insert(set.clone());
        self.signed.push((set.clone(), now, renewal));
        let same = self.signed.iter().filter(|(other, ..)| *other == set).map(|(_, at, _)| *at);
        check("certificates of the set", self.limits.certificates_of_set, same, now);
        if renewal {
            return;
        }
        for domain in set.iter().map(|name| registered_domain(name)) {
            let in_domain = |names: &[Arc<str>]| names.iter().any(|name| registered_domain(name) == domain);
            let others = self.signed.iter().filter(|(names, _, renewal)| !renewal && in_domain(names));
            check(&domain, self.limits.certificates_of_domain, others.map(|(_, at, _)| *at), now);
        }
    }
}

#[track_caller]
fn check(what: &str, cap: Option<Cap>, times: impl DoubleEndedIterator<Item = u64>, now: u64) {
    let Some(cap) = cap else { return };
    let count = times.rev().take_while(|at| now - at < cap.window.as_secs()).count();
    assert!(count <= cap.most, "{count} of {what} at {now}, {} are allowed", cap.most);
}

pub(super) struct Site {
    pub(super) name: String,
    pub(super) names: Vec<Arc<str>>,
    pub(super) held: Option<Held>,
    kept: Option<Held>,
    pub(super) asked: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Opening,
    Validating,
    /// What the CA found is on its way: the names that failed.
    Telling,
    Finalizing,
    /// It signed, and the answer is on its way.
    Fetching,
}

struct Attempt {
    site: String,
    authority: usize,
    names: Vec<(Arc<str>, Challenge)>,
    renewal: bool,
    stage: Stage,
    at: u64,
    failed: Vec<(Arc<str>, Challenge)>,
    in_memory: bool,
}

pub(super) struct World {
    /// True time, in seconds.
    pub(super) now: u64,
    /// How far the clock of the machine lags.
    pub(super) behind: u64,
    pub(super) dice: Dice,
    pub(super) temper: Temper,
    pub(super) authorities: Vec<Authority>,
    pub(super) sites: Vec<Site>,
    /// What fails: a name by a challenge, or by all.
    pub(super) broken: BTreeSet<(Arc<str>, Option<Challenge>)>,
    pub(super) failing_name: FailingName,
    pub(super) challenges: Vec<Challenge>,
    pub(super) ledger: Ledger,
    disk: Ledger,
    pub(super) writable: bool,
    started: u64,
    attempts: Vec<Attempt>,
    pub(super) without_address: Vec<Arc<str>>,
    /// What only the memory of this process knows.
    pub(super) unsaved: bool,
    pub(super) finished: u64,
    /// Plans since time moved.
    still: u32,
}

pub(super) const BOTH: [Challenge; 2] = [Challenge::Http01, Challenge::TlsAlpn01];
pub(super) const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";
pub(super) const PRIVATE: &str = "https://ca.internal/directory";
pub(super) const DAY: u64 = 86_400;

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let ledger = Ledger::default();
        Self {
            now: 1_780_000_000,
            behind: 0,
            dice: Dice(seed),
            temper: Temper { slow: 5, ..Temper::default() },
            authorities: vec![Authority::new(LETS_ENCRYPT, 90 * DAY)],
            sites: Vec::new(),
            broken: BTreeSet::new(),
            failing_name: FailingName::LeaveOut,
            challenges: BOTH.to_vec(),
            disk: ledger.clone(),
            ledger,
            writable: true,
            started: 1_780_000_000,
            attempts: Vec::new(),
            without_address: Vec::new(),
            unsaved: false,
            finished: 0,
            still: 0,
        }
    }

    pub(super) fn site(mut self, names: &[&str]) -> Self {
        let names: Vec<Arc<str>> = names.iter().map(|name| Arc::from(*name)).collect();
        let name = names.first().map(ToString::to_string).unwrap_or_default();
        self.sites.push(Site { name, names, held: None, kept: None, asked: false });
        self
    }

    pub(super) fn authority(mut self, directory: &str, life: u64) -> Self {
        self.authorities.push(Authority::new(directory, life));
        self
    }

    /// What the machine takes for the time.
    pub(super) fn clock(&self) -> Moment {
        moment(self.now - self.behind)
    }

    pub(super) fn quiet(&self) -> bool {
        self.attempts.is_empty()
    }

    pub(super) fn plan(&mut self) -> Plan {
        self.ledger.settle(self.clock());
        let sites = self.sites.iter().map(|site| SiteView {
            site: &site.name,
            names: &site.names,
            held: site.held.clone(),
            without_address: &self.without_address,
            busy: self.attempts.iter().any(|attempt| attempt.site == site.name),
            asked: site.asked,
        });
        let sites: Vec<_> = sites.collect();
        let authorities = self.authorities.iter();
        let authorities = authorities.map(|it| AuthorityView { directory: &it.directory, limits: it.limits });
        plan(&View {
            now: self.clock(),
            authorities: &authorities.collect::<Vec<_>>(),
            challenges: &self.challenges,
            failing_name: self.failing_name,
            sites: &sites,
            ledger: &self.ledger,
            writable: self.writable,
            running_for: Duration::from_secs(self.now - self.started),
            jitter: 7,
        })
    }

    /// Does what is due and goes on to the next thing that happens, at most to `until`.
    pub(super) fn advance(&mut self, until: u64) {
        let plan = self.plan();
        assert!(plan.wake > self.clock(), "wakes in the past");
        let before = self.now;
        self.still += 1;
        assert!(self.still < 1000, "time stands still: {plan:?} {}", self.ledger.to_json());
        let mut due = 0;
        for due_now in &plan.due {
            self.dispatch(due_now);
            due += usize::from(matches!(due_now, Due::AskRenewalInfo { .. }));
        }
        if due > 0 {
            return;
        }
        // Nothing is missed by sleeping longer than the plan says, but the time at which it is seen.
        let sooner = plan.next.iter().map(|(_, next)| next.at).filter(|at| *at > self.clock()).min();
        let idle = self.now + 6 * 3600 + self.dice.below(DAY);
        let planned = sooner.map_or(idle, |at| self.now + at.since(self.clock()).as_secs());
        // The plan looks for a better disk twice a minute; that would be most of what happens here.
        let planned = if self.writable { planned } else { planned.max(self.now + 900) };
        let ended = self.attempts.iter().map(|attempt| attempt.at).min();
        let target = planned.min(idle).min(ended.unwrap_or(u64::MAX)).max(self.now);
        self.now = if target > self.now || ended == Some(target) { target } else { self.now + 1 }.min(until);
        self.still = if self.now > before { 0 } else { self.still };
        for at in (0..self.attempts.len()).rev() {
            if self.attempts[at].at <= self.now {
                let attempt = self.attempts.swap_remove(at);
                if let Some(attempt) = self.progress(attempt) {
                    self.attempts.push(attempt);
                }
            }
        }
    }

    pub(super) fn run_until(&mut self, until: u64) {
        while self.now < until {
            self.advance(until);
        }
    }

    fn dispatch(&mut self, due: &Due) {
        match due {
            Due::AskRenewalInfo { site, .. } => self.answer_renewal(site),
            Due::Order { site, authority, names, renewal, .. } => {
                let authority = self.authorities.iter().position(|it| it.directory == *authority).unwrap();
                let at = self.now + self.dice.below(3);
                self.attempts.push(Attempt {
                    site: site.clone(),
                    authority,
                    names: names.clone(),
                    renewal: *renewal,
                    stage: Stage::Opening,
                    at,
                    failed: Vec::new(),
                    in_memory: !self.writable,
                });
            }
        }
    }

    fn answer_renewal(&mut self, site: &str) {
        let now = self.clock();
        let held = self.sites.iter().find(|it| it.name == site).and_then(|it| it.held.clone()).unwrap();
        if !self.temper.renewal_info || self.dice.chance(self.temper.at_opening) {
            return self.ledger.renewal_window_unknown(site, None, now);
        }
        let life = held.to.since(held.from).as_secs();
        let (start, length) = match self.dice.chance(self.temper.wishes) {
            true => (held.from.before(secs(2 * DAY)), self.dice.below(DAY)),
            false if self.dice.chance(self.temper.wishes) => (held.to.after(secs(40 * DAY)), DAY),
            false => (held.from.after(secs(life / 2)), life / 20),
        };
        let window = RenewalWindow { start, end: start.after(secs(length)), explanation: None };
        let random = self.dice.roll();
        let again = now.after(secs(self.dice.below(2 * DAY)));
        self.ledger.renewal_window(site, window, again, now, random);
    }

    fn progress(&mut self, mut attempt: Attempt) -> Option<Attempt> {
        let slow = self.temper.slow;
        match attempt.stage {
            Stage::Opening => return self.open(attempt),
            Stage::Validating => {
                for (name, challenge) in attempt.names.clone() {
                    let broken = self.broken.contains(&(Arc::clone(&name), None))
                        || self.broken.contains(&(Arc::clone(&name), Some(challenge)));
                    if broken || self.dice.chance(self.temper.at_validation) {
                        self.authorities[attempt.authority].count_failed(&name, self.now);
                        attempt.failed.push((name, challenge));
                    }
                }
                attempt.stage = Stage::Telling;
            }
            Stage::Telling if self.dice.chance(self.temper.silent) => {
                return self.fail(&attempt, Kind::Unavailable, true);
            }
            Stage::Telling if attempt.failed.is_empty() => {
                self.ledger.finalizing(&self.authorities[attempt.authority].directory, &attempt.site);
                if !self.keep() && !attempt.in_memory {
                    return self.fail(&attempt, Kind::Local, true);
                }
                attempt.stage = Stage::Finalizing;
            }
            Stage::Telling => {
                let failed = attempt.failed.iter().map(|(name, challenge)| FailedName {
                    name: Arc::clone(name),
                    challenge: Some(*challenge),
                    text: "no answer on that port".to_owned(),
                });
                let kind = Kind::Names(failed.collect());
                return self.fail(&attempt, kind, true);
            }
            Stage::Finalizing if self.dice.chance(self.temper.at_signing) => {
                let kind = if self.dice.chance(50) { Kind::Refused } else { Kind::RateLimited };
                return self.fail(&attempt, kind, true);
            }
            Stage::Finalizing => {
                let names: Vec<_> = attempt.names.iter().map(|(name, _)| Arc::clone(name)).collect();
                self.authorities[attempt.authority].sign(&names, self.now);
                attempt.stage = Stage::Fetching;
            }
            Stage::Fetching if self.dice.chance(self.temper.silent) => {
                return self.fail(&attempt, Kind::Unavailable, true);
            }
            Stage::Fetching => {
                self.fetched(&attempt);
                return None;
            }
        }
        attempt.at = self.now + self.dice.below(slow.min(140) + 1);
        Some(attempt)
    }

    /// The directory, the account, the order.
    fn open(&mut self, mut attempt: Attempt) -> Option<Attempt> {
        let directory = self.authorities[attempt.authority].directory.clone();
        if self.authorities[attempt.authority].down {
            return self.fail(&attempt, Kind::Unavailable, false);
        }
        if self.dice.chance(self.temper.at_opening) {
            let kind = self.any_kind();
            return self.fail(&attempt, kind, false);
        }
        if !self.authorities[attempt.authority].account {
            self.ledger.account_attempted(&directory, self.clock());
            if !self.keep() && !attempt.in_memory {
                return self.fail(&attempt, Kind::Local, false);
            }
            self.authorities[attempt.authority].count_account(self.now);
            if self.dice.chance(self.temper.at_order) {
                let kind = self.any_kind();
                return self.fail(&attempt, kind, false);
            }
            self.authorities[attempt.authority].account = true;
        }
        let names: Vec<_> = attempt.names.iter().map(|(name, _)| Arc::clone(name)).collect();
        self.ledger.order_attempted(&directory, &attempt.site, &names, attempt.renewal, self.clock());
        if !self.keep() && !attempt.in_memory {
            return self.fail(&attempt, Kind::Local, false);
        }
        if let Some(site) = self.sites.iter_mut().find(|site| site.name == attempt.site) {
            site.asked = false;
        }
        self.authorities[attempt.authority].count_order(self.now);
        if self.dice.chance(self.temper.at_order) {
            let kind = match self.dice.below(3) {
                0 => Kind::Names(vec![FailedName {
                    name: Arc::clone(&names[0]),
                    challenge: None,
                    text: "policy".to_owned(),
                }]),
                1 if self.dice.chance(30) => Kind::Names(Vec::new()),
                _ => self.any_kind(),
            };
            return self.fail(&attempt, kind, false);
        }
        attempt.stage = Stage::Validating;
        attempt.at = self.now + self.dice.below(self.temper.slow.min(140) + 1);
        Some(attempt)
    }

    fn fetched(&mut self, attempt: &Attempt) {
        let names: Vec<_> = attempt.names.iter().map(|(name, _)| Arc::clone(name)).collect();
        let Authority { directory, life, .. } = &self.authorities[attempt.authority];
        let now = self.clock();
        self.ledger.issued(directory, &attempt.site, &names, &attempt.names, now);
        self.finished += 1;
        let held = Held { names, from: now.before(secs(3600)), to: now.after(secs(life - 3600)) };
        let writable = self.keep();
        if let Some(site) = self.sites.iter_mut().find(|site| site.name == attempt.site) {
            site.held = Some(held.clone());
            site.kept = if writable { Some(held) } else { site.kept.take() };
        }
    }

    fn fail(&mut self, attempt: &Attempt, kind: Kind, ready: bool) -> Option<Attempt> {
        let retry_after = match self.dice.below(4) {
            0 => Some(self.clock().after(secs(self.dice.below(30)))),
            1 if self.temper.at_order > 0 => Some(self.clock().after(secs(self.dice.below(DAY)))),
            2 if self.temper.at_order > 0 => Some(self.clock().before(secs(DAY))),
            _ => None,
        };
        let retry_after = retry_after.filter(|_| kind != Kind::Local && self.temper.at_opening > 0);
        self.fail_as(attempt, Failure { kind, retry_after, text: "as it is".to_owned() }, ready)
    }

    fn fail_as(&mut self, attempt: &Attempt, failure: Failure, ready: bool) -> Option<Attempt> {
        let directory = self.authorities[attempt.authority].directory.clone();
        let known = ready || matches!(&failure.kind, Kind::Names(failed) if !failed.is_empty());
        let names = if known { &attempt.names[..] } else { &[] };
        let (random, now) = (self.dice.roll(), self.clock());
        self.ledger.failed(&directory, &attempt.site, names, &self.challenges, &failure, now, random);
        self.keep();
        None
    }

    fn any_kind(&mut self) -> Kind {
        match self.dice.below(4) {
            0 => Kind::Unavailable,
            1 => Kind::RateLimited,
            2 => Kind::Refused,
            _ => Kind::Local,
        }
    }

    /// Writes the ledger, if the disk takes it.
    fn keep(&mut self) -> bool {
        if self.writable {
            self.disk.clone_from(&self.ledger);
        } else {
            self.unsaved = true;
        }
        self.writable
    }

    pub(super) fn set_writable(&mut self, writable: bool) {
        self.writable = writable;
        if writable {
            self.unsaved = false;
            self.keep();
            self.sites.iter_mut().for_each(|site| site.kept.clone_from(&site.held));
        }
    }

    /// The process ends, whatever it was about, and another starts.
    pub(super) fn restart(&mut self) {
        self.ledger = Ledger::parse(&self.disk.to_json()).unwrap();
        assert_eq!(Ledger::parse(&self.ledger.to_json()).as_ref(), Ok(&self.ledger));
        self.started = self.now;
        let lost: Vec<_> = self.attempts.drain(..).collect();
        for site in &mut self.sites {
            site.held.clone_from(&site.kept);
            site.asked = false;
        }
        for attempt in lost.iter().filter(|attempt| attempt.stage == Stage::Fetching && !attempt.in_memory) {
            if self.writable && self.dice.chance(50) {
                self.fetched(attempt);
            }
        }
    }

    pub(super) fn ask(&mut self, site: usize) {
        let name = self.sites[site].name.clone();
        self.ledger.forget_failures(&name);
        self.sites[site].asked = true;
        self.keep();
    }

    pub(super) fn lose_accounts(&mut self) {
        self.authorities.iter_mut().for_each(|authority| authority.account = false);
    }

    /// Whether every site has a certificate for all of its names that are not broken.
    pub(super) fn well(&self) -> bool {
        self.sites.iter().all(|site| {
            let fine = |name: &&Arc<str>| !self.broken.contains(&(Arc::clone(name), None));
            let held = site.held.as_ref().filter(|held| held.to > self.clock());
            held.is_some_and(|held| site.names.iter().filter(fine).all(|name| held.names.contains(name)))
        })
    }
}

pub(super) fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(super) fn moment(seconds: u64) -> Moment {
    Moment::of(std::time::UNIX_EPOCH + secs(seconds))
}
