//! Which backend of a group is next.
//!
//! Each serving thread has its own `Selector`: shares hold for each thread, and so for all. Retries are
//! `retry`'s; it tells which backends are out of the question for a request.

use crate::config::model::Balance;

use super::health::Health;

/// A set of backends of one group, by index.
///
/// A group may have more backends than bits; then some share a bit, and are merely tried later than
/// they could be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Members(u64);

impl Members {
    /// Puts a backend in.
    pub fn insert(&mut self, index: usize) {
        self.0 |= Self::bit(index);
    }

    /// Whether a backend is in.
    pub fn contains(self, index: usize) -> bool {
        self.0 & Self::bit(index) != 0
    }

    /// Whether none is in.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    fn bit(index: usize) -> u64 {
        1 << (index % 64)
    }
}

/// What the choice depends on, of one backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// Its share, at least 1.
    pub weight: u32,
    /// Used only while every other one is Down.
    pub backup: bool,
    /// Unknown counts as usable.
    pub health: Health,
    /// Requests in flight, over all threads.
    pub in_flight: u32,
}

impl Candidate {
    fn is_usable(&self) -> bool {
        self.health != Health::Down
    }
}

/// The memory of a choice in turn.
#[derive(Debug, Clone, Default)]
pub struct Selector {
    /// Smooth weighted round-robin: what each backend is owed.
    owed: Vec<i64>,
}

impl Selector {
    /// The next backend that is usable and not in `without`; `None`: there is none now.
    pub fn pick(&mut self, balance: Balance, all: &[Candidate], without: Members) -> Option<usize> {
        let backups = all.iter().filter(|one| !one.backup).all(|one| !one.is_usable());
        let fits = |index: usize, one: &Candidate| {
            one.is_usable() && one.backup == backups && !without.contains(index)
        };
        match balance {
            Balance::RoundRobin => self.in_turn(all, fits),
            Balance::LeastConnections => least(all, fits),
        }
    }

    /// Each candidate earns its weight, the richest is chosen and pays what all earned: the order is
    /// spread evenly (a a b a, not a a a b) and shares are exact over each full turn.
    fn in_turn(&mut self, all: &[Candidate], fits: impl Fn(usize, &Candidate) -> bool) -> Option<usize> {
        self.owed.resize(all.len(), 0);
        let mut total = 0;
        let mut best: Option<usize> = None;
        for (index, one) in all.iter().enumerate().filter(|(index, one)| fits(*index, one)) {
            let weight = i64::from(one.weight.max(1));
            self.owed[index] += weight;
            total += weight;
            if best.is_none_or(|best| self.owed[index] > self.owed[best]) {
                best = Some(index);
            }
        }
        self.owed[best?] -= total;
        best
    }
}

/// The candidate with the fewest requests in flight for its weight; the first of equals.
fn least(all: &[Candidate], fits: impl Fn(usize, &Candidate) -> bool) -> Option<usize> {
    // a/b < c/d as a*d < c*b; one is added so that of two idle ones the heavier is chosen.
    let load = |one: &Candidate| (u64::from(one.in_flight) + 1, u64::from(one.weight.max(1)));
    all.iter()
        .enumerate()
        .filter(|(index, one)| fits(*index, one))
        .min_by(|(_, one), (_, other)| {
            let ((a, b), (c, d)) = (load(one), load(other));
            (a * d).cmp(&(c * b))
        })
        .map(|(index, _)| index)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn up(weight: u32) -> Candidate {
        Candidate { weight, backup: false, health: Health::Up, in_flight: 0 }
    }

    fn without(indexes: &[usize]) -> Members {
        let mut set = Members::default();
        indexes.iter().for_each(|index| set.insert(*index));
        set
    }

    #[test]
    fn turns_are_smooth_and_by_weight() {
        let all = [up(5), up(1), up(1)];
        let mut selector = Selector::default();
        let turn: Vec<_> =
            (0..7).filter_map(|_| selector.pick(Balance::RoundRobin, &all, Members::default())).collect();
        assert_eq!(turn, [0, 0, 1, 0, 2, 0, 0]);
    }

    #[test]
    fn backup_is_used_only_while_all_others_are_down() {
        let mut all = [up(1), Candidate { backup: true, ..up(1) }];
        for balance in [Balance::RoundRobin, Balance::LeastConnections] {
            let mut selector = Selector::default();
            all[0].health = Health::Unknown;
            assert_eq!(selector.pick(balance, &all, Members::default()), Some(0));
            assert_eq!(selector.pick(balance, &all, without(&[0])), None);
            all[0].health = Health::Down;
            assert_eq!(selector.pick(balance, &all, Members::default()), Some(1));
            assert_eq!(selector.pick(balance, &all, without(&[1])), None);
        }
    }

    #[test]
    fn least_connections_weighs_load() {
        let busy = |weight, in_flight| Candidate { in_flight, ..up(weight) };
        let mut selector = Selector::default();
        let mut pick = |all: &[Candidate]| selector.pick(Balance::LeastConnections, all, Members::default());
        assert_eq!(pick(&[busy(1, 1), busy(1, 0)]), Some(1));
        assert_eq!(pick(&[busy(1, 2), busy(4, 7)]), Some(1));
        assert_eq!(pick(&[busy(1, 0), busy(4, 0)]), Some(1));
        assert_eq!(pick(&[busy(1, 0), busy(1, 0)]), Some(0));
    }

    #[test]
    fn members_beyond_the_bits_share_one() {
        let mut set = Members::default();
        assert!(set.is_empty());
        set.insert(64);
        assert!(set.contains(64) && set.contains(0) && !set.contains(1) && !set.contains(65));
    }

    proptest! {
        #[test]
        fn choice_is_usable_and_shares_are_exact(
            backends in proptest::collection::vec((1_u32..6, any::<bool>(), 0_u8..3), 1..6), rounds in 1_u32..5,
        ) {
            let all: Vec<_> = backends.iter().map(|(weight, backup, health)| Candidate {
                backup: *backup,
                health: [Health::Unknown, Health::Up, Health::Down][usize::from(*health)],
                ..up(*weight)
            }).collect();
            let mut selector = Selector::default();
            let mut counts = vec![0; all.len()];
            let main_up = all.iter().any(|one| !one.backup && one.is_usable());
            let fits = |one: &&Candidate| one.is_usable() && one.backup != main_up;
            let total: u32 = all.iter().filter(fits).map(|one| one.weight).sum();
            for _ in 0..total * rounds {
                let index = selector.pick(Balance::RoundRobin, &all, Members::default()).unwrap();
                prop_assert!(fits(&&all[index]));
                counts[index] += 1;
            }
            for (one, count) in all.iter().zip(&counts) {
                prop_assert_eq!(*count, if fits(&one) { one.weight * rounds } else { 0 });
            }
        }
    }
}
