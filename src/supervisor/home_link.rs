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

/// Between two readings while something is away.
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
        let hurries = away && enough == SELDOM;
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
