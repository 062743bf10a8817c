//! Where home is, by what its nameserver answers: what is believed, and when it is asked again. Pure.
//!
//! Nothing but an answer with an address changes anything, and a change is believed when it is answered twice. IPv4
//! and IPv6 are followed apart; one that is answered without an address for a day, while the other has one, is gone.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use crate::home::message::Fault;

/// Between the two equal answers that make a change, at the least; a shorter `every` shortens it.
pub const CONFIRM: Duration = Duration::from_secs(5);
/// Most addresses of a family: home is one place.
pub const MOST: usize = 8;

/// So long a family is answered without an address, while the other has one, until home has it no more.
pub const GONE: Duration = Duration::from_secs(24 * 60 * 60);
/// Without an answer for longer than this the day begins anew.
const PAUSE: Duration = Duration::from_secs(60 * 60);

/// One of the two families of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// IPv4: what an A record holds.
    V4,
    /// IPv6: what an AAAA record holds.
    V6,
}

impl Family {
    /// The type of its records.
    pub fn record(self) -> &'static str {
        match self {
            Self::V4 => "A",
            Self::V6 => "AAAA",
        }
    }

    /// Of `address`.
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }
}

/// What one question came to.
pub type Answer = Result<Vec<IpAddr>, Fault>;

/// Something that is worth a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// Home is elsewhere; both lists hold both families. `from` is empty when it was nowhere before.
    Moved {
        /// Where it was.
        from: Vec<IpAddr>,
        /// Where it is.
        to: Vec<IpAddr>,
    },
    /// No more is learned of a family; told once until it works again.
    Fault(Family, Fault),
    /// It works again.
    Works(Family),
    /// Home has no address of this family any more; it is told of the move, too.
    Gone(Family),
}

/// What a round of questions came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Round {
    /// What is worth a line.
    pub news: Vec<News>,
    /// When to ask again, from now on.
    pub again: Duration,
}

/// Follows one name.
#[derive(Debug)]
pub struct Follower {
    every: Duration,
    allow_private: bool,
    sides: [Side; 2],
    answered: bool,
}

/// What is known of one family.
#[derive(Debug)]
struct Side {
    family: Family,
    believed: BTreeSet<IpAddr>,
    /// An answer that is not believed yet, and when it was first heard.
    candidate: Option<(BTreeSet<IpAddr>, Instant)>,
    /// When it was answered first, and last, that it has no address while the other family has one.
    lacking: Option<(Instant, Instant)>,
    fault: Option<Fault>,
}

impl Follower {
    /// One that goes on with what was `believed`; what would not be believed today is left out.
    pub fn new(every: Duration, allow_private: bool, believed: &[IpAddr]) -> Self {
        let side = |family| Side {
            family,
            believed: believed
                .iter()
                .copied()
                .filter(|one| Family::of(*one) == family && unwanted(*one, allow_private).is_none())
                .take(MOST)
                .collect(),
            candidate: None,
            lacking: None,
            fault: None,
        };
        Self { every, allow_private, sides: [side(Family::V4), side(Family::V6)], answered: false }
    }

    /// Where home is, IPv4 first; empty: that is not known yet.
    pub fn believed(&self) -> Vec<IpAddr> {
        self.sides.iter().flat_map(|side| side.believed.iter().copied()).collect()
    }

    /// What is in the way of learning more, if something is.
    pub fn fault(&self) -> Option<(Family, &Fault)> {
        self.sides.iter().find_map(|side| Some((side.family, side.fault.as_ref()?)))
    }

    /// Whether an address of one family at least was answered, and steadily, at the last time.
    pub fn answered(&self) -> bool {
        self.answered
    }

    /// Takes what was answered to a question for each family.
    pub fn observe(&mut self, answers: [Answer; 2], now: Instant) -> Round {
        let from = self.believed();
        let confirm = CONFIRM.min(self.every);
        let mut round = Round { news: Vec::new(), again: self.every };
        let judged = answers.map(|answer| answer.and_then(|all| wanted(&all, self.allow_private)));
        let heard = [0, 1].map(|side| judged[side].is_ok());
        let known = [0, 1].map(|side| heard[side] || !self.sides[side].believed.is_empty());
        let pause = PAUSE.max(self.every * 4);
        for (at, answer) in judged.into_iter().enumerate() {
            let side = &mut self.sides[at];
            // A home has seldom both families. That the one is missing is told if nothing else is known.
            let unknown = side.believed.is_empty() && (known[1 - at] || side.family == Family::V6);
            match answer {
                Err(Fault::Empty) if unknown => round.news.extend(side.works()),
                Err(Fault::Empty) if heard[1 - at] && side.is_gone(pause, now) => {
                    round.news.push(side.forget());
                }
                Err(fault) => round.news.extend(side.fails(fault)),
                Ok(addresses) => {
                    let (news, soon) = side.hears(addresses, confirm, now);
                    round.news.extend(news);
                    if soon {
                        round.again = confirm;
                    }
                }
            }
        }
        self.answered = (0..2).any(|at| heard[at] && self.sides[at].fault.is_none());
        let to = self.believed();
        if to != from {
            round.news.insert(0, News::Moved { from, to });
        }
        round
    }
}

impl Side {
    fn fails(&mut self, fault: Fault) -> Option<News> {
        let told = self.fault.is_some();
        self.fault = Some(fault.clone());
        (!told).then_some(News::Fault(self.family, fault))
    }

    fn works(&mut self) -> Option<News> {
        self.fault.take().map(|_| News::Works(self.family))
    }

    /// Takes an answer without an address, while the other family has one. Whether that was so for long enough.
    fn is_gone(&mut self, pause: Duration, now: Instant) -> bool {
        let known = self.lacking.filter(|(_, last)| now.saturating_duration_since(*last) <= pause);
        let first = known.map_or(now, |(first, _)| first);
        self.lacking = Some((first, now));
        now.saturating_duration_since(first) >= GONE
    }

    /// Home has no such address any more.
    fn forget(&mut self) -> News {
        self.believed.clear();
        (self.candidate, self.lacking, self.fault) = (None, None, None);
        News::Gone(self.family)
    }

    /// Takes an answer with addresses. Whether to ask again soon.
    fn hears(&mut self, heard: BTreeSet<IpAddr>, confirm: Duration, now: Instant) -> (Option<News>, bool) {
        self.lacking = None;
        if heard == self.believed {
            self.candidate = None;
            return (self.works(), false);
        }
        match self.candidate.take() {
            Some((same, since)) if same == heard => {
                if now.saturating_duration_since(since) < confirm {
                    self.candidate = Some((same, since));
                    return (None, true);
                }
                self.believed = heard;
                (self.works(), false)
            }
            // Answers that come in turn would be asked for again and again.
            Some(_) => {
                self.candidate = Some((heard, now));
                (self.fails(Fault::Unsteady), false)
            }
            None => {
                self.candidate = Some((heard, now));
                (None, true)
            }
        }
    }
}

/// The addresses that may be home's.
fn wanted(all: &[IpAddr], allow_private: bool) -> Result<BTreeSet<IpAddr>, Fault> {
    let good: BTreeSet<IpAddr> =
        all.iter().copied().filter(|one| unwanted(*one, allow_private).is_none()).collect();
    if good.len() > MOST {
        return Err(Fault::TooMany(good.len()));
    }
    if !good.is_empty() {
        return Ok(good);
    }
    let bad = all.first().and_then(|one| unwanted(*one, allow_private).map(|why| (*one, why)));
    Err(bad.map_or(Fault::Empty, |(address, why)| Fault::Unwanted { address, why }))
}

/// Why `address` can't be that of a home on the internet; `None`: it can.
///
/// Ranges are those of the special-purpose registries (RFC 6890 and what followed it).
pub fn unwanted(address: IpAddr, allow_private: bool) -> Option<&'static str> {
    match address {
        IpAddr::V4(ip) => unwanted_v4(ip, allow_private),
        IpAddr::V6(ip) => unwanted_v6(ip, allow_private),
    }
}

fn unwanted_v4(ip: Ipv4Addr, allow_private: bool) -> Option<&'static str> {
    let [a, b, ..] = ip.octets();
    match (a, b) {
        (0, _) => Some("no address at all"),
        (127, _) => Some("loopback"),
        (169, 254) => Some("link-local"),
        (224..=239, _) => Some("multicast"),
        (240.., _) => Some("reserved"),
        (192, 0) if ip.octets()[2] == 0 => Some("reserved"),
        (198, 18 | 19) => Some("for benchmarks"),
        _ if ip.is_documentation() => Some("for documentation"),
        _ if ip.is_private() && !allow_private => Some("private"),
        (100, 64..=127) if !allow_private => Some("behind a carrier's NAT"),
        _ => None,
    }
}

fn unwanted_v6(ip: Ipv6Addr, allow_private: bool) -> Option<&'static str> {
    let [a, b, ..] = ip.segments();
    match (a, b) {
        _ if ip.is_unspecified() => Some("no address at all"),
        _ if ip.is_loopback() => Some("loopback"),
        (0xff00.., _) => Some("multicast"),
        (0xfe80..=0xfebf, _) => Some("link-local"),
        (0xfc00..=0xfdff, _) if allow_private => None,
        (0xfc00..=0xfdff, _) => Some("private"),
        (0x2001, 0xdb8) | (0x3fff, 0..=0xfff) => Some("for documentation"),
        (0x2001, 0..=0x1ff) => Some("reserved"),
        (0x2000..=0x3fff, _) => None,
        _ => Some("none of the internet's"),
    }
}

#[cfg(test)]
mod tests;
