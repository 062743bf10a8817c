//! The tunnel home as the cause of outages: when it was stale, and which failures that explains. Pure.

use std::borrow::Cow;
use std::time::Instant;

use crate::config::model::home::WireGuard;
use crate::home::standing::{STALE, Standing, standing};
use crate::home::tunnel::{Reading, TunnelError};
use crate::incidents::evidence::{Now, Sign};
use crate::incidents::told;
use crate::upstream::health::ProbeFailure;

/// What an outage is put down to while nothing can go through the tunnel.
pub const STALE_TUNNEL: &str = "tunnel-stale";
/// Most spells that are remembered; the oldest go.
const MOST: usize = 16;

/// A time in which nothing could go through the tunnel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spell {
    /// When it began.
    pub from: Instant,
    /// When it was over; `None`: it lasts.
    pub until: Option<Instant>,
    /// How the tunnel stood when it was read last, for people.
    pub text: String,
}

impl Spell {
    fn holds(&self, at: Instant) -> bool {
        self.from <= at && self.until.is_none_or(|until| at < until)
    }
}

/// The times in which nothing could go through the tunnel, oldest first.
#[derive(Debug, Default)]
pub struct Spells(Vec<Spell>);

impl Spells {
    /// Takes what was read of the tunnel now.
    pub fn observe(&mut self, wireguard: &WireGuard, found: &Result<Reading, TunnelError>, now: Now) {
        let interface = &wireguard.interface;
        let (from, text) = match found {
            Ok(reading) => match standing(reading.handshake, now.wall) {
                Standing::Fresh(_) => return self.over(now.at),
                Standing::Stale(age) => {
                    let ms = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
                    let text = format!(
                        "no handshake over the tunnel {interface} for {}",
                        told::span(ms / 1000 * 1000)
                    );
                    // It was so before anybody looked.
                    (now.at.checked_sub(age.saturating_sub(STALE)), text)
                }
                Standing::Never => (None, format!("no handshake over the tunnel {interface} yet")),
            },
            Err(error) if error.is_absence() => (None, error.to_string()),
            // Nothing follows from it: what was known last holds.
            Err(_) => return,
        };
        match self.0.last_mut().filter(|spell| spell.until.is_none()) {
            Some(spell) => spell.text = text,
            None => self.begin(from.unwrap_or(now.at), text),
        }
    }

    /// Nobody watches the tunnel any more, or it carries again.
    pub fn over(&mut self, at: Instant) {
        if let Some(spell) = self.0.last_mut().filter(|spell| spell.until.is_none()) {
            spell.until = Some(at.max(spell.from));
        }
    }

    fn begin(&mut self, from: Instant, text: String) {
        let free = self.0.last().and_then(|spell| spell.until);
        if self.0.len() >= MOST {
            self.0.remove(0);
        }
        let from = free.map_or(from, |free| from.max(free));
        self.0.push(Spell { from, until: None, text });
    }

    /// How the tunnel stands, if nothing can go through it.
    pub fn lasting(&self) -> Option<&str> {
        self.0.last().filter(|spell| spell.until.is_none()).map(|spell| spell.text.as_str())
    }

    /// What an outage is put down to, given what was seen of its upstream: failures that the tunnel explains give
    /// place to it.
    pub fn explain(&self, seen: &[(Instant, ProbeFailure)], ended: Option<Instant>) -> Vec<(Instant, Sign)> {
        let Some((began, _)) = seen.first() else { return Vec::new() };
        let within = |at: &Instant| at > began && ended.is_none_or(|ended| *at < ended);
        let turns = self.0.iter().flat_map(|spell| [Some(spell.from), spell.until]).flatten();
        let mut moments: Vec<Instant> = seen.iter().map(|(at, _)| *at).chain(turns.filter(within)).collect();
        moments.sort();
        moments.dedup();
        let mut signs: Vec<(Instant, Sign)> = Vec::new();
        for at in moments {
            let Some((_, failure)) = seen.iter().rev().find(|(seen, _)| *seen <= at) else { continue };
            let sign = self.sign(*failure, at);
            if signs.last().is_none_or(|(_, last)| *last != sign) {
                signs.push((at, sign));
            }
        }
        signs
    }

    fn sign(&self, failure: ProbeFailure, at: Instant) -> Sign {
        let spell = self.0.iter().find(|spell| spell.holds(at)).filter(|_| failure.is_unanswered());
        match spell {
            Some(spell) => Sign { token: Cow::Borrowed(STALE_TUNNEL), text: spell.text.clone().into() },
            None => Sign { token: failure.token().into(), text: failure.to_string().into() },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use crate::config::model::home::PublicKey;

    /// Readings of a tunnel, at seconds since a begin.
    struct Scene {
        begun: Instant,
        spells: Spells,
    }

    const DAY: u64 = 86_400;

    impl Scene {
        fn new() -> Self {
            Self { begun: crate::clock::now() + Duration::from_secs(DAY), spells: Spells::default() }
        }

        fn at(&self, seconds: u64) -> Instant {
            self.begun + Duration::from_secs(seconds)
        }

        fn read(&mut self, at: u64, found: Result<Option<u64>, TunnelError>) {
            let wall = |seconds| UNIX_EPOCH + Duration::from_secs(DAY + seconds);
            let found = found.map(|handshake| Reading {
                handshake: handshake.map(wall),
                endpoint: None,
                received: 0,
                sent: 0,
                keepalive: None,
            });
            let wireguard = WireGuard { interface: "wg1".into(), peer: PublicKey([1; 32]) };
            let now = Now { at: self.at(at), wall: wall(at) };
            self.spells.observe(&wireguard, &found, now);
        }

        /// What is said of an outage that was seen so, in seconds.
        fn told(&self, seen: &[(u64, ProbeFailure)], ended: Option<u64>) -> Vec<(u64, String)> {
            let seen: Vec<_> = seen.iter().map(|(at, failure)| (self.at(*at), *failure)).collect();
            let signs = self.spells.explain(&seen, ended.map(|at| self.at(at)));
            signs
                .iter()
                .map(|(at, sign)| (at.duration_since(self.begun).as_secs(), sign.token.to_string()))
                .collect()
        }
    }

    fn list(signs: &[(u64, &str)]) -> Vec<(u64, String)> {
        signs.iter().map(|(at, token)| (*at, (*token).to_owned())).collect()
    }

    #[test]
    fn an_outage_is_put_down_to_the_tunnel_from_when_its_handshake_was_too_old() {
        let mut scene = Scene::new();
        let seen = [(1_000, ProbeFailure::AnswerTimeout), (1_004, ProbeFailure::ConnectTimeout)];
        scene.read(1_000, Ok(Some(900)));
        assert_eq!(scene.told(&seen, None), list(&[(1_000, "probe-timeout"), (1_004, "connect-timeout")]));
        // Read at 1,090, it was too old since 1,080.
        scene.read(1_090, Ok(Some(900)));
        let stale = list(&[(1_000, "probe-timeout"), (1_004, "connect-timeout"), (1_080, "tunnel-stale")]);
        assert_eq!(scene.told(&seen, None), stale);
        assert_eq!(scene.spells.lasting(), Some("no handshake over the tunnel wg1 for 3 min 10 s"));
        scene.read(1_500, Ok(Some(900)));
        assert_eq!(scene.spells.lasting(), Some("no handshake over the tunnel wg1 for 10 min"));
        // It was over before the tunnel was read again.
        scene.read(1_510, Ok(Some(1_505)));
        assert_eq!(scene.told(&seen, Some(1_506)), stale);
        assert_eq!(scene.spells.lasting(), None);
    }

    #[test]
    fn a_tunnel_that_was_stale_before_is_the_first_cause() {
        let mut scene = Scene::new();
        scene.read(1_000, Ok(None));
        assert_eq!(scene.spells.lasting(), Some("no handshake over the tunnel wg1 yet"));
        assert_eq!(
            scene.told(&[(1_010, ProbeFailure::ConnectTimeout)], None),
            list(&[(1_010, "tunnel-stale")])
        );
    }

    #[test]
    fn what_somebody_answered_is_not_the_tunnels_fault() {
        let mut scene = Scene::new();
        scene.read(1_000, Ok(None));
        for failure in [ProbeFailure::Refused, ProbeFailure::Status(502), ProbeFailure::Slow] {
            assert_eq!(scene.told(&[(1_010, failure)], None), list(&[(1_010, failure.token())]));
        }
        // The tunnel carries again, and what is behind it has not come back.
        scene.read(1_100, Ok(Some(1_099)));
        let seen = [(1_010, ProbeFailure::ConnectTimeout), (1_130, ProbeFailure::Status(502))];
        let told = list(&[(1_010, "tunnel-stale"), (1_100, "connect-timeout"), (1_130, "probe-status")]);
        assert_eq!(scene.told(&seen, None), told);
    }

    #[test]
    fn an_interface_that_is_gone_is_stale_and_a_question_that_failed_says_nothing() {
        let mut scene = Scene::new();
        let seen = [(1_000, ProbeFailure::NoRoute)];
        scene.read(1_000, Err(TunnelError::Denied { interface: "wg1".into() }));
        assert_eq!(scene.told(&seen, None), list(&[(1_000, "no-route")]));
        scene.read(1_005, Err(TunnelError::NoInterface { interface: "wg1".into() }));
        scene.read(1_010, Err(TunnelError::Unanswered { interface: "wg1".into() }));
        assert_eq!(scene.told(&seen, None), list(&[(1_000, "no-route"), (1_005, "tunnel-stale")]));
        let text = scene.spells.lasting().unwrap();
        assert!(text.starts_with("there is no interface wg1; "), "{text}");
        // Nobody watches it any more.
        scene.spells.over(scene.at(1_020));
        let told = list(&[(1_000, "no-route"), (1_005, "tunnel-stale"), (1_020, "no-route")]);
        assert_eq!(scene.told(&seen, None), told);
    }

    #[test]
    fn spells_do_not_overlap_and_fill_no_memory() {
        let mut scene = Scene::new();
        for turn in 0..100 {
            scene.read(1_000 + 10 * turn, Ok(None));
            // By this reading it would have begun before the last one was over.
            scene.read(1_005 + 10 * turn, Ok(Some(1_004 + 10 * turn)));
        }
        assert_eq!(scene.spells.0.len(), MOST);
        scene.read(2_000, Ok(Some(1_000)));
        let spells = &scene.spells.0;
        assert!(
            spells.windows(2).all(|pair| pair[0].until.is_some_and(|until| until <= pair[1].from)),
            "{spells:?}"
        );
    }
}
