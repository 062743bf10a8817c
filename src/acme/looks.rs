//! What is known of sites' names from looking them up, and for how long it counts. Pure.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::acme::preflight::{Seen, Warning};

/// An order needs a look that is not older.
const FRESH: Duration = Duration::from_secs(60);
/// Names without an address are looked up again after so long, doubling up to [`RARELY`].
const AGAIN: Duration = Duration::from_secs(60);
const RARELY: Duration = Duration::from_secs(15 * 60);

/// The last look at each site's names.
#[derive(Debug, Default)]
pub struct Looks(HashMap<String, Look>);

#[derive(Debug)]
struct Look {
    at: Instant,
    without_address: Vec<Arc<str>>,
    // Looks in a row that found some name without an address.
    in_vain: u32,
    told: Vec<Warning>,
}

impl Looks {
    /// Takes in what was `seen`, and returns what is new in it.
    pub fn looked(&mut self, site: &str, seen: Seen, now: Instant) -> News {
        let old = self.0.remove(site);
        let (told, before, in_vain) =
            old.map_or_else(Default::default, |old| (old.told, old.without_address, old.in_vain));
        let new = |warning: &&Warning| !told.contains(warning);
        let warnings = seen.warnings.iter().filter(new).cloned().collect();
        let without_address =
            seen.without_address.iter().filter(|name| !before.contains(name)).cloned().collect();
        let in_vain = if seen.without_address.is_empty() { 0 } else { in_vain.saturating_add(1) };
        let look = Look { at: now, without_address: seen.without_address, in_vain, told: seen.warnings };
        self.0.insert(site.to_owned(), look);
        News { warnings, without_address }
    }

    /// Whether the last look at this site still counts.
    pub fn fresh(&self, site: &str, now: Instant) -> bool {
        self.0.get(site).is_some_and(|look| now.saturating_duration_since(look.at) < look.counts_for())
    }

    /// The names of this site that had no address, as long as that counts.
    pub fn without_address(&self, site: &str, now: Instant) -> &[Arc<str>] {
        match self.0.get(site) {
            Some(look) if self.fresh(site, now) => &look.without_address,
            _ => &[],
        }
    }

    /// Looks again at the next opportunity: somebody says that something has changed.
    pub fn forget(&mut self, site: &str) {
        self.0.remove(site);
    }
}

/// What a look found that the one before had not.
#[derive(Debug, PartialEq, Eq)]
pub struct News {
    /// What may make the order fail.
    pub warnings: Vec<Warning>,
    /// Names that have no address now.
    pub without_address: Vec<Arc<str>>,
}

impl Look {
    fn counts_for(&self) -> Duration {
        match self.in_vain {
            0 => FRESH,
            tries => AGAIN.saturating_mul(1 << (tries - 1).min(10)).min(RARELY),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    fn seen(without_address: &[&str]) -> Seen {
        let without_address = without_address.iter().map(|name| Arc::from(*name)).collect();
        Seen { without_address, warnings: Vec::new() }
    }

    #[test]
    fn a_look_counts_for_a_minute() {
        let (mut looks, now) = (Looks::default(), clock::now());
        assert!(!looks.fresh("a.test", now));
        looks.looked("a.test", seen(&[]), now);
        assert!(looks.fresh("a.test", now + Duration::from_secs(59)));
        assert!(!looks.fresh("a.test", now + FRESH));
        looks.forget("a.test");
        assert!(!looks.fresh("a.test", now));
    }

    #[test]
    fn names_without_an_address_are_looked_up_more_and_more_rarely() {
        let (mut looks, mut now) = (Looks::default(), clock::now());
        for minutes in [1, 2, 4, 8, 15, 15] {
            looks.looked("a.test", seen(&["a.test"]), now);
            let until = now + Duration::from_secs(60 * minutes);
            assert_eq!(looks.without_address("a.test", until - Duration::from_secs(1)).len(), 1);
            assert!(looks.without_address("a.test", until).is_empty(), "{minutes}");
            now = until;
        }
    }

    #[test]
    fn the_same_is_told_once() {
        let (mut looks, now) = (Looks::default(), clock::now());
        let warning = Warning::Loopback { name: "a.test".into(), ip: [127, 0, 1, 1].into() };
        let with = |without: &[&str]| Seen { warnings: vec![warning.clone()], ..seen(without) };
        let first = looks.looked("a.test", with(&["b.test"]), now);
        assert_eq!((first.warnings.len(), first.without_address.len()), (1, 1));
        let second = looks.looked("a.test", with(&["b.test"]), now);
        assert_eq!(second, News { warnings: Vec::new(), without_address: Vec::new() });
    }
}
