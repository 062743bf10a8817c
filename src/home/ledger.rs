//! What porchd put where, so that it takes out nothing else; and what is to be told next. Pure; its text is `home.json`.
//!
//! An address is written down before it is added: a crash between the two leaves nothing that nobody takes out again.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::config::model::home::Update;
use crate::home::address::Family;
use crate::home::firewall::Owned;
use crate::home::update::{Outcome, Step, UpdateError};

/// One is added when an old reader would misunderstand.
const VERSION: u64 = 1;
/// Most addresses that are remembered of one update: those that can't be taken out.
const MOST: usize = 64;

/// What can't be read.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// It is something else.
    #[error("this is not what porchd writes there ({0})")]
    Foreign(#[from] serde_json::Error),
    /// A newer porchd has written it.
    #[error("it is of version {0}, which this porchd does not know")]
    Version(u64),
}

/// What is kept of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    version: u64,
    /// The name that was followed.
    name: String,
    /// Where home is.
    believed: Vec<IpAddr>,
    /// Since when, in seconds of Unix time.
    since: u64,
    /// What porchd put where, by what is updated.
    added: BTreeMap<String, BTreeSet<IpAddr>>,
}

/// What was told, and what is to be told.
#[derive(Debug, Default)]
pub struct Ledger {
    kept: Kept,
    changed: bool,
    /// What needs no telling until everything is told anew.
    settled: BTreeMap<String, BTreeSet<IpAddr>>,
    /// What is noted as added and was not there before.
    intended: BTreeSet<(String, IpAddr)>,
    /// Of these a failure was told.
    failing: BTreeSet<String>,
    /// Of these it was told that a family does not fit.
    unfit: BTreeSet<(String, Family)>,
}

/// What is worth a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// It is done, and was not before.
    Done(String),
    /// It does not work; told once.
    Failed(String),
    /// It takes no addresses of this family; told once.
    Unfit(String),
    /// It works again.
    Works(String),
}

#[derive(Deserialize)]
struct Head {
    version: u64,
}

impl Ledger {
    /// The text that holds it.
    pub fn text(&self) -> String {
        // These types hold nothing that JSON can't.
        serde_json::to_string_pretty(&Kept { version: VERSION, ..self.kept.clone() }).unwrap_or_default()
            + "\n"
    }

    /// What `text` holds.
    ///
    /// # Errors
    /// When it is not what `text` makes.
    pub fn read(text: &str) -> Result<Self, LedgerError> {
        let head: Head = serde_json::from_str(text)?;
        if head.version != VERSION {
            return Err(LedgerError::Version(head.version));
        }
        Ok(Self { kept: serde_json::from_str(text)?, ..Self::default() })
    }

    /// Is about `name` and `updates` from now on. Returns what it had put into what is updated no more: that stays.
    pub fn follow(&mut self, name: &str, updates: &[Update]) -> Vec<String> {
        if self.kept.name != name {
            let added = std::mem::take(&mut self.kept.added);
            self.kept = Kept { name: name.to_owned(), added, ..Kept::default() };
            self.changed = true;
        }
        let keys: Vec<String> = updates.iter().map(key).collect();
        let gone: Vec<String> = self.kept.added.keys().filter(|one| !keys.contains(one)).cloned().collect();
        for one in &gone {
            self.kept.added.remove(one);
            self.changed = true;
        }
        self.settled.clear();
        self.failing.retain(|one| keys.contains(one));
        self.unfit.clear();
        gone
    }

    /// Where home was when it was last known, and since when (Unix time).
    pub fn believed(&self) -> (&[IpAddr], u64) {
        (&self.kept.believed, self.kept.since)
    }

    /// Home is at `all` since `since` (Unix time).
    pub fn believe(&mut self, all: &[IpAddr], since: u64) {
        (self.kept.believed, self.kept.since) = (all.to_vec(), since);
        self.changed = true;
    }

    /// Whether it is to be written; it is taken to be done.
    pub fn is_due(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// What does not work, as far as it was told.
    pub fn failing(&self) -> Vec<String> {
        self.failing.iter().cloned().collect()
    }

    /// Everything is told anew: a firewall may have been loaded meanwhile.
    pub fn refresh(&mut self) {
        self.settled.clear();
    }

    /// What is to be done so that nothing of home is missing. It is noted as done by porchd from now on.
    pub fn additions(&mut self, updates: &[Update]) -> Vec<(usize, Step)> {
        let all = self.kept.believed.clone();
        let Some(first) = all.first() else { return Vec::new() };
        let mut steps = Vec::new();
        for (which, update) in updates.iter().enumerate() {
            let key = key(update);
            let settled = self.settled.get(&key);
            let missing: Vec<IpAddr> =
                all.iter().filter(|ip| settled.is_none_or(|done| !done.contains(*ip))).copied().collect();
            match (update, Owned::of(update)) {
                // Whether a peer is stale shows only when it is looked at.
                (Update::WireGuardEndpoint { .. }, _) => steps.push((which, Step::Add(*first))),
                (_, Owned::ByPorchd) => {
                    if !missing.is_empty() || settled.is_some_and(|done| done.len() > all.len()) {
                        steps.push((which, Step::Replace(all.clone())));
                    }
                }
                (_, Owned::ByOthersToo) => {
                    steps.extend(missing.into_iter().map(|ip| (which, Step::Add(ip))));
                }
            }
        }
        for (which, step) in &steps {
            if let (Step::Add(ip), Some(update)) = (step, updates.get(*which))
                && !matches!(update, Update::WireGuardEndpoint { .. })
            {
                self.note(&key(update), *ip);
            }
        }
        steps
    }

    /// What porchd added and home has no more. Nothing is taken out of what the new address is not in yet.
    pub fn removals(&self, updates: &[Update]) -> Vec<(usize, Step)> {
        let believed = &self.kept.believed;
        let mut steps = Vec::new();
        for (which, update) in updates.iter().enumerate() {
            let key = key(update);
            let complete = believed.iter().all(|ip| self.is_settled(&key, *ip)) && !believed.is_empty();
            let ours = self.kept.added.get(&key).into_iter().flatten();
            let old = ours.filter(|ip| !believed.contains(ip));
            // A set is of one family. One that is porchd's own is not replaced when nothing of home fits into it.
            let is_left = |ip: &IpAddr| {
                matches!(update, Update::NftSet { .. })
                    && !believed.iter().any(|new| new.is_ipv4() == ip.is_ipv4())
            };
            let old = old.filter(|ip| Owned::of(update) == Owned::ByOthersToo || is_left(ip));
            if complete {
                steps.extend(old.map(|ip| (which, Step::Remove(*ip))));
            }
        }
        steps
    }

    /// Takes what came of a step: what is to be told of it.
    pub fn took(
        &mut self,
        update: &Update,
        step: &Step,
        result: &Result<Outcome, UpdateError>,
    ) -> Option<Told> {
        let key = key(update);
        let name = update.to_string();
        match result {
            Ok(outcome) => {
                let news = self.succeeded(&key, update, step, *outcome);
                let failed = self.failing.remove(&key);
                match (news, failed) {
                    (Some(what), _) => Some(Told::Done(format!("{name}: {what}"))),
                    (None, true) => Some(Told::Works(name)),
                    (None, false) => None,
                }
            }
            // It will be as unfit the next time: told once, and not tried until everything is told anew.
            Err(error @ UpdateError::Unfit { address, .. }) => {
                match step {
                    Step::Replace(all) => {
                        self.settled.insert(key.clone(), all.iter().copied().collect());
                    }
                    _ => self.settle(&key, *address),
                }
                self.forget(&key, *address);
                let new = self.unfit.insert((key, Family::of(*address)));
                new.then(|| Told::Unfit(format!("{name}: {error}")))
            }
            Err(error) => {
                if let Step::Add(ip) = step {
                    self.not_added(&key, *ip, error);
                }
                self.failing.insert(key).then(|| Told::Failed(format!("{name}: {error}")))
            }
        }
    }

    /// What is worth a line, if something is.
    fn succeeded(&mut self, key: &str, update: &Update, step: &Step, outcome: Outcome) -> Option<String> {
        match (update, step, outcome) {
            (Update::WireGuardEndpoint { port, .. }, Step::Add(ip), Outcome::Done) => {
                Some(format!("endpoint is {} now", std::net::SocketAddr::new(*ip, *port)))
            }
            (Update::WireGuardEndpoint { .. }, ..) => None,
            (_, Step::Add(ip), Outcome::Present) => {
                // It is there by somebody else, unless porchd has put it there before.
                if self.intended.remove(&(key.to_owned(), *ip)) {
                    self.forget(key, *ip);
                }
                self.settle(key, *ip);
                None
            }
            (_, Step::Add(ip), _) => {
                let new = self.intended.remove(&(key.to_owned(), *ip));
                self.settle(key, *ip);
                new.then(|| format!("added {ip}"))
            }
            (_, Step::Remove(ip), _) => {
                self.forget(key, *ip);
                if let Some(settled) = self.settled.get_mut(key) {
                    settled.remove(ip);
                }
                Some(format!("removed {ip}"))
            }
            (_, Step::Replace(all), outcome) => {
                let whole: BTreeSet<IpAddr> = all.iter().copied().collect();
                let before = self.kept.added.insert(key.to_owned(), whole.clone());
                let new = before.as_ref() != Some(&whole);
                self.changed |= new;
                self.settled.insert(key.to_owned(), whole);
                let list: Vec<String> = all.iter().map(IpAddr::to_string).collect();
                (new && outcome == Outcome::Done).then(|| format!("holds {}", list.join(", ")))
            }
        }
    }

    fn is_settled(&self, key: &str, ip: IpAddr) -> bool {
        self.settled.get(key).is_some_and(|settled| settled.contains(&ip))
    }

    fn settle(&mut self, key: &str, ip: IpAddr) {
        self.settled.entry(key.to_owned()).or_default().insert(ip);
    }

    /// Notes an address as put there, before it is.
    fn note(&mut self, key: &str, ip: IpAddr) {
        let added = self.kept.added.entry(key.to_owned()).or_default();
        if added.insert(ip) {
            self.changed = true;
            self.intended.insert((key.to_owned(), ip));
        }
        while added.len() > MOST {
            let old = added.iter().find(|one| !self.kept.believed.contains(one)).copied();
            let Some(old) = old else { break };
            added.remove(&old);
        }
    }

    /// It was to be added for the first time. Killed, a program may have done so before.
    fn not_added(&mut self, key: &str, ip: IpAddr, error: &UpdateError) {
        let first = self.intended.remove(&(key.to_owned(), ip));
        if first && !matches!(error, UpdateError::TooSlow { .. }) {
            self.forget(key, ip);
        }
    }

    fn forget(&mut self, key: &str, ip: IpAddr) {
        self.intended.remove(&(key.to_owned(), ip));
        if let Some(added) = self.kept.added.get_mut(key) {
            self.changed |= added.remove(&ip);
        }
    }
}

/// What is updated, in one text: other settings of it don't make it another thing.
fn key(update: &Update) -> String {
    match update {
        Update::WireGuardEndpoint { wireguard, .. } => {
            format!("peer {} of {}", wireguard.peer, wireguard.interface)
        }
        update => update.to_string(),
    }
}

#[cfg(test)]
mod tests;
