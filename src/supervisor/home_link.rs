//! The tunnel home as the control thread watches it: read from time to time, told when it can't be.

use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::acme::moment::Moment;
use crate::admin::tunnel::{Shown, TunnelStatus};
use crate::config::model::home::WireGuard;
use crate::home::tunnel::{Reading, TunnelError};
use crate::incidents::evidence::Now;
use crate::incidents::tunnel::Spells;
use crate::provision::{Provision, ProvisionError};

/// Between two readings while something is away, or nothing can go through.
const OFTEN: Duration = Duration::from_secs(5);
/// Between two readings while nothing is.
const SELDOM: Duration = Duration::from_secs(30);
/// After one that was waited for in vain: the control thread has better things to do.
const LATER: Duration = Duration::from_secs(120);

/// What is known of the tunnel.
#[derive(Debug)]
pub struct Tunnel {
    watched: Option<WireGuard>,
    spells: Spells,
    // When it was read last, and how long that is enough while nothing is away.
    read: Option<(Instant, Duration)>,
    away: bool,
    // What is wrong, as it was told.
    trouble: Option<String>,
    shown: Rc<Shown>,
}

impl Tunnel {
    /// One of which nothing is known; what is found out will be in `shown`.
    pub fn new(shown: Rc<Shown>) -> Self {
        Self { watched: None, spells: Spells::default(), read: None, away: false, trouble: None, shown }
    }

    /// Reads it, if there is one to watch and it is time. `away`: something is.
    pub fn look(&mut self, provision: &mut dyn Provision, wanted: Option<&WireGuard>, away: bool, now: Now) {
        if self.watched.as_ref() != wanted {
            self.spells.over(now.at);
            self.shown.show(None);
            (self.watched, self.read, self.trouble) = (wanted.cloned(), None, None);
        }
        let Some(wireguard) = wanted.filter(|_| self.is_due(away, now.at)) else { return };
        let found = provision.tunnel(wireguard);
        let late = matches!(found, Err(ProvisionError::Tunnel(TunnelError::Unanswered { .. })));
        self.read = Some((now.at, if late { LATER } else { SELDOM }));
        self.take(wireguard, found, now);
    }

    /// Whether to read it now. What went away this moment is looked into at once.
    fn is_due(&mut self, away: bool, now: Instant) -> bool {
        let news = away && !self.away;
        self.away = away;
        let Some((read, enough)) = self.read else { return true };
        let hurries = (away || self.spells.lasting().is_some()) && enough == SELDOM;
        let rest = if hurries { OFTEN } else { enough };
        now.saturating_duration_since(read) >= rest || hurries && news && now > read
    }

    fn take(&mut self, wireguard: &WireGuard, found: Result<Reading, ProvisionError>, now: Now) {
        let error = found.as_ref().err().map(ToString::to_string);
        self.tell(error.as_deref());
        let found = match found {
            Ok(reading) => Some(Ok(reading)),
            Err(ProvisionError::Tunnel(error)) => Some(Err(error)),
            Err(_) => None,
        };
        if let Some(found) = &found {
            self.spells.observe(wireguard, found, now);
        }
        let reading = found.and_then(Result::ok);
        self.shown.show(Some(TunnelStatus {
            interface: wireguard.interface.to_string(),
            peer: wireguard.peer.to_string(),
            read: Moment::of(now.wall),
            stale: self.spells.lasting().is_some(),
            handshake: reading.and_then(|reading| reading.handshake).map(Moment::of),
            endpoint: reading.and_then(|reading| reading.endpoint),
            received_bytes: reading.map(|reading| reading.received),
            sent_bytes: reading.map(|reading| reading.sent),
            keepalive_s: reading.and_then(|reading| reading.keepalive),
            error,
        }));
    }

    /// Tells what is wrong once, and that it is over.
    fn tell(&mut self, error: Option<&str>) {
        if self.trouble.as_deref() == error {
            return;
        }
        match error {
            Some(error) => tracing::warn!("home_link.wireguard: {error}"),
            None => tracing::info!("home_link.wireguard: the tunnel can be read again"),
        }
        self.trouble = error.map(str::to_owned);
    }

    /// When nothing could go through it.
    pub fn spells(&self) -> &Spells {
        &self.spells
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use crate::config::model::home::PublicKey;

    #[test]
    fn it_is_read_at_once_when_something_goes_away_and_oftener_then() {
        let begun = clock::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let mut tunnel = Tunnel::new(Rc::default());
        assert!(tunnel.is_due(false, at(0)), "it was never read");
        tunnel.read = Some((at(0), SELDOM));
        for (away, seconds, due) in [
            (false, 29, false),
            (false, 30, true),
            // Gone, and still gone.
            (true, 2, true),
            (true, 3, false),
            (true, 5, true),
            (false, 6, false),
            // In the very moment in which it was read there is nothing new.
            (true, 0, false),
        ] {
            assert_eq!(tunnel.is_due(away, at(seconds)), due, "{away} {seconds}");
        }
        // Who waited for it in vain does not do so often.
        (tunnel.read, tunnel.away) = (Some((at(0), LATER)), false);
        assert!(!tunnel.is_due(true, at(119)));
        assert!(tunnel.is_due(true, at(120)));
    }

    #[test]
    fn what_is_shown_is_what_was_read_last() {
        let shown = Rc::<Shown>::default();
        let mut tunnel = Tunnel::new(Rc::clone(&shown));
        let wireguard = WireGuard { interface: "wg1".into(), peer: PublicKey([1; 32]) };
        let now = Now { at: clock::now(), wall: clock::wall() };
        let reading = Reading { handshake: None, endpoint: None, received: 7, sent: 148, keepalive: None };
        tunnel.take(&wireguard, Ok(reading), now);
        let status = shown.status().unwrap();
        assert!(status.stale && shown.is_stale() && status.error.is_none());
        assert_eq!((status.received_bytes, status.sent_bytes), (Some(7), Some(148)));
        // A question that failed leaves what was known of the tunnel, and no figures of before.
        let denied = TunnelError::Denied { interface: "wg1".into() };
        tunnel.take(&wireguard, Err(denied.into()), now);
        let status = shown.status().unwrap();
        assert!(status.stale && status.sent_bytes.is_none());
        assert!(status.error.is_some_and(|error| error.contains("permission denied for wg1")));
        tunnel.take(&wireguard, Ok(Reading { handshake: Some(now.wall), ..reading }), now);
        assert!(!shown.is_stale());
    }
}
