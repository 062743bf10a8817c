//! Which connections give way when there is no room, as a pure decision.
//!
//! Those that idle, and of these the ones of the client that holds most; a connection with a request in flight never
//! does.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::{Duration, Instant};

use crate::config::model::client::Client;

/// Who has idled for less keeps its place: a newcomer needs the time to shake hands and to ask.
pub const GRACE: Duration = Duration::from_secs(1);

/// A connection that idles.
#[derive(Debug, Clone, Copy)]
pub struct Idle {
    /// Which one.
    pub key: usize,
    /// Whose; `None`: a proxy's, which stands for many.
    pub client: Option<Client>,
    /// Since when.
    pub since: Instant,
}

/// At most `most` connections to close. `held` says how many connections a client has, with those in use.
pub fn choose(
    idle: impl Iterator<Item = Idle>,
    held: impl Fn(&Client) -> usize,
    most: usize,
    now: Instant,
) -> Vec<usize> {
    let mut clients: HashMap<Option<Client>, Vec<(Instant, usize)>> = HashMap::new();
    for one in idle.filter(|one| now.saturating_duration_since(one.since) >= GRACE) {
        clients.entry(one.client).or_default().push((one.since, one.key));
    }
    // Each client with what it holds and its connection that has idled for longest.
    let mut heap: BinaryHeap<_> = clients
        .into_iter()
        .filter_map(|(client, mut own)| {
            own.sort_by_key(|(since, _)| Reverse(*since));
            let (since, key) = own.pop()?;
            // A proxy's connections are many clients' and go last.
            Some((client.as_ref().map_or(0, &held), Reverse(since), key, own))
        })
        .collect();
    let mut chosen = Vec::new();
    while chosen.len() < most
        && let Some((held, _, key, mut own)) = heap.pop()
    {
        chosen.push(key);
        if let Some((since, key)) = own.pop() {
            heap.push((held.saturating_sub(1), Reverse(since), key, own));
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Chooses among connections: whose (0 is a proxy's), and for how many seconds each has idled.
    fn chosen(idle: &[(u8, u64)], busy: &[(u8, usize)], most: usize) -> Vec<usize> {
        let start = crate::clock::now();
        let now = start + Duration::from_secs(100);
        let client = |number: u8| Client::of([192, 0, 2, number].into());
        let of = |(key, (whose, seconds)): (usize, &(u8, u64))| Idle {
            key,
            client: (*whose > 0).then(|| client(*whose)),
            since: now - Duration::from_secs(*seconds),
        };
        let held = |wanted: &Client| {
            let idling = idle.iter().filter(|(whose, _)| client(*whose) == *wanted).count();
            idling + busy.iter().filter(|(whose, _)| client(*whose) == *wanted).map(|(_, n)| n).sum::<usize>()
        };
        choose(idle.iter().enumerate().map(of), held, most, now)
    }

    #[test]
    fn who_holds_most_gives_way_and_what_idled_longest_goes_first() {
        assert_eq!(chosen(&[(1, 90), (2, 5), (2, 8), (2, 6)], &[], 1), [2]);
        assert_eq!(chosen(&[(1, 90), (2, 5)], &[(2, 3)], 1), [1], "connections in use count too");
        assert_eq!(chosen(&[(1, 5), (2, 9), (3, 7)], &[], 1), [1], "of equals, who idled longest");
    }

    #[test]
    fn several_are_taken_in_turns() {
        assert_eq!(chosen(&[(1, 9), (1, 8), (1, 7), (2, 6), (2, 5), (3, 4)], &[], 4), [0, 1, 3, 2]);
    }

    #[test]
    fn newcomers_are_left_alone_and_a_proxy_goes_last() {
        assert_eq!(chosen(&[(1, 0), (1, 0), (2, 1)], &[], 9), [2]);
        assert_eq!(chosen(&[(0, 90), (0, 80), (1, 2)], &[], 2), [2, 0]);
        assert!(chosen(&[], &[(1, 9)], 5).is_empty());
    }
}
