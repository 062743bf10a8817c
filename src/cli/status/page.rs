//! How all stands, as a person reads it at night: what is wrong comes first, no line is over 80 columns, times in UTC.

use crate::acme::moment::Moment;
use crate::acme::status::{CertificateStatus, State};
use crate::admin::status::{
    BackendStatus, HomeAddress, Parked, Presence, Reloaded, Status, Traffic, UpstreamStatus,
};
use crate::admin::tunnel::TunnelStatus;
use crate::cli::columns::{Ink, Tone, WIDTH, coming, cut, minute, paragraph, span};
use crate::incidents::record::Incident;
use crate::incidents::told;

/// What is left to a certificate when somebody should look: renewal has failed for days then.
const EXPIRES_SOON: u64 = 10 * 86_400;
/// Lines of a refused reload that are shown; `porchd check` has them all.
const REFUSAL_LINES: usize = 8;

/// All of it.
pub(super) fn of(status: &Status, ink: Ink) -> String {
    let now = status.at;
    let mut sections = vec![
        status.upstreams.iter().map(|upstream| home(upstream, now, ink)).collect(),
        status.tunnel.as_ref().map_or(String::new(), |one| tunnel(one, now, ink)),
        status.home_address.as_ref().map_or(String::new(), |home| address(home, now, ink)),
        traffic(&status.traffic, ink),
        certificates(&status.certificates, now, ink),
        porchd(status, ink),
        incidents(&status.incidents, ink),
    ];
    sections.retain(|section: &String| !section.is_empty());
    sections.join("\n")
}

fn home(upstream: &UpstreamStatus, now: Moment, ink: Ink) -> String {
    let (word, tone) = match upstream.state {
        Presence::Up => ("is up", Tone::Good),
        Presence::Slow => ("is SLOW", Tone::Doubtful),
        Presence::Away => ("is AWAY", Tone::Bad),
        Presence::Unknown => ("was not heard of yet", Tone::Doubtful),
    };
    let why = upstream.cause.as_ref().map_or(String::new(), |cause| format!(": {}", cause.text));
    let head = format!("{} {word}{}{why}", upstream.name, since(upstream.since, now));
    let mut text = ink.paint(tone, &lines(&head, 0, 2));
    for backend in &upstream.backends {
        text += &lines(&format!("  {}", of_backend(backend, now)), 2, 4);
    }
    text + &lines(&format!("  {}", waiting(&upstream.parked)), 2, 4)
}

fn address(home: &HomeAddress, now: Moment, ink: Ink) -> String {
    let all: Vec<String> = home.addresses.iter().map(ToString::to_string).collect();
    let place = if all.is_empty() { String::from("somewhere unknown") } else { all.join(", ") };
    let asked =
        home.asked.map_or(String::from("not asked yet"), |at| format!("asked {} ago", span(now.since(at))));
    let head = format!("home is at {place}{}; {} {asked}", since(home.since, now), home.name);
    let mut text = lines(&head, 0, 2);
    if let Some(fault) = &home.fault {
        let answered =
            home.answered.map_or(String::new(), |at| format!(" (last answer {} ago)", span(now.since(at))));
        text += &ink.paint(Tone::Doubtful, &lines(&format!("  {} {fault}{answered}", home.nameserver), 2, 4));
    }
    if !home.failing.is_empty() {
        let failing = home.failing.join(", ");
        text += &ink.paint(Tone::Bad, &lines(&format!("  NOT TOLD: {failing}; the log says why"), 2, 4));
    }
    text
}

fn of_backend(backend: &BackendStatus, now: Moment) -> String {
    let why = backend.cause.as_ref().map_or(String::new(), |cause| format!(": {}", cause.text));
    let since = backend.since.map_or(String::new(), |since| format!(" for {}", span(now.since(since))));
    format!("{} {}{since}{why}", backend.address, backend.health)
}

fn waiting(parked: &Parked) -> String {
    let Parked { now, most, parked: all, delivered, expired, refused, left } = *parked;
    let now = match now {
        0 => String::from("nobody waits"),
        1 => format!("1 request waits ({most} may)"),
        _ => format!("{now} requests wait ({most} may)"),
    };
    if all == 0 && refused == 0 {
        return now;
    }
    format!(
        "{now}; since the start {all} waited: {delivered} delivered, {} failed, {left} given up",
        expired + refused
    )
}

fn tunnel(tunnel: &TunnelStatus, now: Moment, ink: Ink) -> String {
    let TunnelStatus { interface, handshake, stale, endpoint, received_bytes, sent_bytes, error, .. } =
        tunnel;
    if let Some(error) = error {
        let tone = if *stale { Tone::Bad } else { Tone::Doubtful };
        return ink.paint(tone, &lines(&format!("tunnel {interface} can't be watched: {error}"), 0, 2));
    }
    let how = match handshake {
        None => String::from("has had NO handshake yet"),
        Some(at) => {
            let age = told::span(u64::try_from(now.since(*at).as_millis()).unwrap_or(u64::MAX));
            format!("{}: last handshake {age} ago", if *stale { "is STALE" } else { "stands" })
        }
    };
    let tone = if *stale { Tone::Bad } else { Tone::Good };
    let text = ink.paint(tone, &lines(&format!("tunnel {interface} {how}"), 0, 2));
    let endpoint = endpoint.map_or(String::from("home is waited for"), |at| format!("home at {at}"));
    let bytes = |count: &Option<u64>| amount(count.unwrap_or_default());
    let traffic = format!("  {endpoint}; {} received, {} sent", bytes(received_bytes), bytes(sent_bytes));
    text + &lines(&traffic, 2, 4)
}

/// So many bytes, in the largest unit of which there is at least one, to a tenth.
fn amount(bytes: u64) -> String {
    let units = [(1_u64 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match units.into_iter().find(|(size, _)| bytes >= *size) {
        Some((size, unit)) => format!("{}.{} {unit}", bytes / size, bytes % size * 10 / size),
        None => format!("{bytes} B"),
    }
}

fn traffic(traffic: &[Traffic], ink: Ink) -> String {
    let Some(first) = traffic.first() else { return String::new() };
    let title = format!("Requests, last {} s", first.seconds);
    let mut text =
        ink.paint(Tone::Heading, &format!("{title:<28}{:>12}{:>10}{:>10}\n", "a second", "p50", "p99"));
    let time = |ms: Option<u64>| ms.map_or(String::from("-"), quick);
    for class in traffic {
        let Traffic { class: name, requests, seconds, p50_ms, p99_ms } = class;
        // In tenths: a float would be written differently by different machines.
        let tenths = requests.saturating_mul(10) / (*seconds).max(1);
        let rate = format!("{}.{}", tenths / 10, tenths % 10);
        text += &format!("  {:<26}{rate:>12}{:>10}{:>10}\n", cut(name, 26), time(*p50_ms), time(*p99_ms));
    }
    text
}

/// A time to an answer.
fn quick(ms: u64) -> String {
    if ms < 1000 { format!("{ms} ms") } else { told::exact(ms) }
}

fn certificates(all: &[CertificateStatus], now: Moment, ink: Ink) -> String {
    if all.is_empty() {
        return String::new();
    }
    let mut text = ink.paint(Tone::Heading, "Certificates\n");
    for one in all {
        let (how, tone) = standing(one, now);
        let error = match (&one.last_error, tone) {
            (Some(error), _) => format!("; failed {} ago: {}", span(now.since(error.at)), error.text),
            (None, Some(_)) => one
                .next
                .as_ref()
                .map_or(String::new(), |next| format!("; next order {}: {}", coming(next.at, now), next.why)),
            (None, None) => String::new(),
        };
        let shown = lines(&format!("  {}: {how}{error}", one.name), 2, 4);
        text += &tone.map_or(shown.clone(), |tone| ink.paint(tone, &shown));
    }
    text
}

/// How it stands, and how loud that is to be said.
fn standing(one: &CertificateStatus, now: Moment) -> (String, Option<Tone>) {
    let left = one.to.map_or(String::new(), |to| format!("{} left", span(to.since(now))));
    let soon = one.to.is_some_and(|to| to.since(now).as_secs() < EXPIRES_SOON) && is_late(one, now);
    match one.state {
        State::Expired => (String::from("EXPIRED"), Some(Tone::Bad)),
        State::Missing => (String::from("MISSING"), Some(Tone::Bad)),
        State::Unsaved => (format!("valid, {left}, and not on disk"), Some(Tone::Doubtful)),
        State::Ordering if one.to.is_none() => (String::from("being ordered"), Some(Tone::Doubtful)),
        State::Ordering => (format!("being renewed, {left}"), None),
        State::Valid if soon => (format!("EXPIRES SOON, {left}"), Some(Tone::Doubtful)),
        State::Valid => (format!("valid, {left}"), None),
    }
}

/// Whether more of its life is over than should be: certificates of six days are never far from their end.
fn is_late(one: &CertificateStatus, now: Moment) -> bool {
    match (one.from, one.to) {
        (Some(from), Some(to)) => to.since(now) * 4 < to.since(from),
        _ => true,
    }
}

fn porchd(status: &Status, ink: Ink) -> String {
    let now = status.at;
    let connections = status.connections;
    let head = format!(
        "porchd {}, up {}; {} of {} connections open; generation {}",
        status.version,
        span(now.since(status.started)),
        connections.open,
        connections.most,
        status.generation
    );
    let mut text = lines(&head, 0, 2);
    if let Some(reload) = &status.reload {
        text += &reloaded(reload, now, ink);
    }
    text
}

fn reloaded(reload: &Reloaded, now: Moment, ink: Ink) -> String {
    let when = format!("{}, {} ago", minute(reload.at), span(now.since(reload.at)));
    if reload.ok {
        let changes = match reload.changes.len() {
            0 => String::from("nothing had changed"),
            _ => reload.changes.join("; "),
        };
        return lines(&format!("  last reload {when}: in force; {changes}"), 2, 4);
    }
    let mut text = ink.paint(Tone::Bad, &lines(&format!("  last reload REFUSED {when}:"), 2, 4));
    let error = reload.error.as_deref().unwrap_or("nobody said why");
    let lines: Vec<&str> = error.lines().filter(|line| !line.trim().is_empty()).collect();
    for line in lines.iter().take(REFUSAL_LINES) {
        // Carets stand below what they mean: lines are cut, not wrapped.
        text += &format!("    {}\n", cut(line, 76));
    }
    if lines.len() > REFUSAL_LINES {
        text += "    ... `porchd check` shows all of it\n";
    }
    text
}

fn incidents(incidents: &[Incident], ink: Ink) -> String {
    if incidents.is_empty() {
        return String::new();
    }
    let mut text = ink.paint(Tone::Heading, "Last incidents\n");
    for incident in incidents {
        text += &lines(&format!("  {}  {}", minute(incident.began), told::ended(incident)), 2, 4);
    }
    text
}

fn since(since: Option<Moment>, now: Moment) -> String {
    since.map_or(String::new(), |since| format!(" since {}, {}", minute(since), span(now.since(since))))
}

/// A paragraph in which not even a URL is longer than a line.
fn lines(text: &str, kept: usize, indent: usize) -> String {
    paragraph(text, kept, indent).lines().map(|line| cut(line, WIDTH) + "\n").collect()
}

#[cfg(test)]
mod tests;
