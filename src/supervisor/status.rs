//! How all stands, put together from what the control thread knows.

use std::sync::Arc;
use std::time::Duration;

use crate::acme::moment::Moment;
use crate::admin::forecast::Standing;
use crate::admin::status::{
    BackendStatus, Connections, Parked, Presence, Status, Traffic, UpstreamStatus, Why,
};
use crate::clock;
use crate::incidents::record::{Cause, Incident};
use crate::supervisor::control::Control;
use crate::supervisor::outages::{Change, Outages};
use crate::telemetry::figures::ClassRates;
use crate::upstream::group::Group;
use crate::upstream::health::{Health, ProbeFailure};

/// So many of the last incidents are shown.
const INCIDENTS: usize = 5;

impl Control {
    /// How all stands, but for the certificates, which others know.
    pub fn status(&self) -> Status {
        let generation = self.daemon.in_force();
        let outages = self.daemon.outages();
        let mut incidents: Vec<Incident> = outages.journal().all().rev().take(INCIDENTS).cloned().collect();
        incidents.reverse();
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            at: Moment::of(clock::wall()),
            started: self.started,
            generation: generation.number,
            reload: self.reloaded.clone(),
            connections: Connections { open: self.daemon.open() as u64, most: self.daemon.most() as u64 },
            upstreams: generation.groups.iter().map(|group| upstream(group, outages)).collect(),
            tunnel: self.daemon.metrics().sources.tunnel.status(),
            home_address: self.daemon.metrics().sources.home.borrow().clone(),
            traffic: self.traffic(),
            certificates: Vec::new(),
            incidents,
        }
    }

    /// What was asked in the last minute, by class. Without figures the section is left out.
    fn traffic(&self) -> Vec<Traffic> {
        let Some(rates) = self.daemon.metrics().rates() else { return Vec::new() };
        let millis =
            |time: Option<Duration>| time.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        let asked = rates.classes.iter().filter(|class| class.requests > 0);
        let line = |class: &ClassRates| Traffic {
            class: class.class.name().to_owned(),
            requests: class.requests,
            seconds: rates.span.as_secs().max(1),
            p50_ms: millis(class.p50),
            p99_ms: millis(class.p99),
        };
        asked.map(line).collect()
    }

    /// How the upstream of this name stands.
    pub fn standing(&self, name: &str) -> Option<Standing> {
        let group = self.daemon.in_force().groups.iter().find(|group| *group.def().name == *name)?;
        let UpstreamStatus { state, since, cause, parked, .. } = upstream(group, self.daemon.outages());
        Some(Standing { presence: state, since, cause, waiting: parked.now })
    }
}

fn upstream(group: &Group, outages: &Outages) -> UpstreamStatus {
    let name = &group.def().name;
    let changes: Vec<(Health, Option<Change>)> = group
        .backends()
        .iter()
        .map(|backend| (backend.health(), outages.change(name, backend.label())))
        .collect();
    let seen = |health: Health| {
        changes.iter().filter(move |(now, _)| *now == health).filter_map(|(_, change)| *change)
    };
    let lasting = outages.journal().lasting(name);
    let (state, since, cause) = match lasting {
        Some(incident) => {
            let state = if incident.is_slowness() { Presence::Slow } else { Presence::Away };
            (state, Some(incident.began), incident.causes.last().map(of_incident))
        }
        None if group.is_down() => {
            let last = seen(Health::Down).max_by_key(|change| change.since);
            let since = last.map(|change| Moment::of(change.since));
            (Presence::Away, since, last.and_then(|change| change.cause).map(why))
        }
        None if changes.iter().any(|(health, _)| *health == Health::Up) => {
            let first = seen(Health::Up).map(|change| Moment::of(change.since)).min();
            let over = outages.journal().all().rev().find(|incident| *incident.upstream == **name);
            (Presence::Up, first.max(over.and_then(|incident| incident.ended)), None)
        }
        None => (Presence::Unknown, None, None),
    };
    let counts = group.lot().counts();
    let parked = Parked {
        now: counts.now.into(),
        most: group.def().park.most.into(),
        parked: counts.parked,
        delivered: counts.delivered,
        expired: counts.expired,
        refused: counts.refused,
        left: counts.left,
    };
    let backends = group.backends().iter().zip(&changes);
    let backends = backends.map(|(backend, (health, change))| of_backend(backend.label(), *health, *change));
    UpstreamStatus { name: name.to_string(), state, since, cause, parked, backends: backends.collect() }
}

fn of_backend(address: &Arc<str>, health: Health, change: Option<Change>) -> BackendStatus {
    // A backend that a reload has made anew is not the one that was seen.
    let change = change.filter(|change| change.health == health);
    BackendStatus {
        address: address.to_string(),
        health: health.to_string(),
        since: change.map(|change| Moment::of(change.since)),
        cause: change.and_then(|change| change.cause).map(why),
    }
}

fn why(cause: ProbeFailure) -> Why {
    Why { token: cause.token().to_owned(), text: cause.to_string() }
}

fn of_incident(cause: &Cause) -> Why {
    Why { token: cause.token.clone(), text: cause.text.clone() }
}
