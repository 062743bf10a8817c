//! How often each client may ask: buckets of tokens, of which a request takes one.
//!
//! Told the time, it decides; it keeps no clock and answers nobody. A bucket that is full again is forgotten, so
//! memory follows who asked lately. There is a bound on that too: at it, the accounts of those who have not asked
//! for longest are forgotten as though their buckets were full. Nobody is refused for want of memory, and who asks
//! all the time stays known.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::config::model::client::Client;
use crate::config::model::limits::Rate;

/// The buckets of all clients, for one rate.
#[derive(Debug)]
pub struct Buckets {
    rate: Rate,
    /// In how long an empty bucket is full.
    span: Duration,
    most: usize,
    /// When each bucket is full, of clients that asked since `begun`.
    lately: HashMap<Client, Instant>,
    /// The same of clients that did so before, for at least a whole `span` before it is forgotten.
    before: HashMap<Client, Instant>,
    begun: Option<Instant>,
}

impl Buckets {
    /// Every bucket is full. At most about `most` clients are remembered.
    pub fn new(rate: Rate, most: usize) -> Self {
        let span = rate.every.saturating_mul(rate.burst);
        Self {
            rate,
            span,
            // Half of them may be those of before.
            most: (most / 2).max(1),
            lately: HashMap::new(),
            before: HashMap::new(),
            begun: None,
        }
    }

    /// How often each client may ask.
    pub fn rate(&self) -> Rate {
        self.rate
    }

    /// How many clients are remembered.
    pub fn len(&self) -> usize {
        self.lately.len() + self.before.len()
    }

    /// Whether every bucket is full as far as anybody remembers.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes a token of this client's bucket. A refused request takes none.
    ///
    /// # Errors
    /// The bucket holds no whole token: in how long it will.
    pub fn take(&mut self, client: Client, now: Instant) -> Result<(), Duration> {
        self.forget(now);
        let known = self.before.remove(&client).or_else(|| self.lately.get(&client).copied());
        let full = known.map_or(now, |full| full.max(now));
        let (full, taken) = match full.checked_add(self.rate.every) {
            Some(after) => {
                let lacking = after.saturating_duration_since(now).saturating_sub(self.span);
                if lacking.is_zero() { (after, Ok(())) } else { (full, Err(lacking)) }
            }
            // Beyond the end of time nothing is due.
            None => (full, Err(self.rate.every)),
        };
        if self.lately.len() >= self.most && !self.lately.contains_key(&client) {
            self.turn(now);
        }
        // Also when refused: its account must not be forgotten while it goes on asking.
        self.lately.insert(client, full);
        taken
    }

    /// Forgets buckets that are full again. None takes longer than a `span`.
    fn forget(&mut self, now: Instant) {
        let begun = *self.begun.get_or_insert(now);
        let age = now.saturating_duration_since(begun);
        if age >= self.span.saturating_mul(2) {
            self.lately = HashMap::new();
        }
        if age >= self.span {
            self.turn(now);
        }
    }

    fn turn(&mut self, now: Instant) {
        self.before = std::mem::take(&mut self.lately);
        self.begun = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;

    fn client(number: u32) -> Client {
        Client::of(Ipv4Addr::from_bits(number).into())
    }

    fn rate(burst: u32, millis: u64) -> Rate {
        Rate { burst, every: Duration::from_millis(millis) }
    }

    #[test]
    fn a_burst_then_one_each_time() {
        let start = crate::clock::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut buckets = Buckets::new(rate(2, 1000), 100);
        let mut take = |millis| buckets.take(client(1), at(millis)).map_err(|wait| wait.as_millis());
        assert_eq!([take(0), take(0), take(0), take(400)], [Ok(()), Ok(()), Err(1000), Err(600)]);
        assert_eq!([take(1000), take(1000), take(1999)], [Ok(()), Err(1000), Err(1)]);
        assert_eq!([take(5000), take(5000), take(5000)], [Ok(()), Ok(()), Err(1000)]);
    }

    #[test]
    fn clients_have_buckets_of_their_own_and_a_network_one() {
        let now = crate::clock::now();
        let mut buckets = Buckets::new(rate(1, 1000), 100);
        let mut take = |text: &str| buckets.take(Client::of(text.parse().unwrap()), now).is_ok();
        assert!(take("192.0.2.1") && take("192.0.2.2") && take("2001:db8:1:1::1") && take("2001:db8:1:2::1"));
        assert!(!take("::ffff:192.0.2.1") && !take("2001:db8:1:1:ffff::9"));
    }

    #[test]
    fn what_is_full_again_is_forgotten() {
        let start = crate::clock::now();
        let mut buckets = Buckets::new(rate(2, 1000), 1 << 20);
        for number in 0..10_000 {
            assert!(buckets.take(client(number), start).is_ok());
        }
        assert_eq!(buckets.len(), 10_000);
        assert!(buckets.take(client(0), start + Duration::from_millis(2000)).is_ok());
        assert!(buckets.take(client(0), start + Duration::from_millis(4000)).is_ok());
        assert_eq!(buckets.len(), 1);
    }

    #[test]
    fn at_the_bound_nobody_is_refused_and_who_goes_on_asking_stays_known() {
        let now = crate::clock::now();
        let mut buckets = Buckets::new(rate(1, 1000), 100);
        assert!(buckets.take(client(0), now).is_ok());
        for number in 1..10_000 {
            assert!(buckets.take(client(number), now).is_ok(), "{number} is new");
            assert!(buckets.take(client(0), now).is_err(), "after {number}");
            assert!(buckets.len() <= 100);
        }
    }

    /// The plain account: tokens in whole nanoseconds of time.
    struct Account {
        credit: u128,
        seen: Instant,
    }

    impl Account {
        fn take(&mut self, rate: Rate, now: Instant) -> Result<(), u128> {
            let whole = rate.every.as_nanos();
            let passed = now.duration_since(self.seen).as_nanos();
            self.credit = (self.credit + passed).min(whole * u128::from(rate.burst));
            self.seen = now;
            let lacking = whole.saturating_sub(self.credit);
            if lacking > 0 {
                return Err(lacking);
            }
            self.credit -= whole;
            Ok(())
        }
    }

    proptest! {
        #[test]
        fn as_a_plain_account_says(
            burst in 1..6_u32,
            every in 1..50_u64,
            asked in prop::collection::vec((0..4_u32, 0..120_u64), 1..200),
        ) {
            let rate = rate(burst, every);
            let start = crate::clock::now();
            let full = rate.every.as_nanos() * u128::from(burst);
            let mut accounts: Vec<_> = (0..4).map(|_| Account { credit: full, seen: start }).collect();
            let mut buckets = Buckets::new(rate, 1 << 16);
            let mut now = start;
            for (who, pause) in asked {
                // Mostly small steps, now and then a long silence.
                now += Duration::from_millis(if pause > 100 { pause * 10 } else { pause / 10 });
                let told = buckets.take(client(who), now).map_err(|wait| wait.as_nanos());
                prop_assert_eq!(told, accounts[who as usize].take(rate, now));
            }
        }
    }
}
