//! Golden pages: `tests/golden/status/NAME.txt`, one for each state that matters at night.
//!
//! `UPDATE_GOLDEN=1 cargo test` writes them anew; a reader of the diff decides.

use std::path::Path;

use super::of;
use crate::acme::moment::Moment;
use crate::acme::status::{CertificateStatus, LastError, Next, Source, State};
use crate::admin::status::{
    BackendStatus, Connections, HomeAddress, Parked, Presence, Reloaded, Status, Traffic, UpstreamStatus, Why,
};
use crate::admin::tunnel::TunnelStatus;
use crate::cli::columns::{Ink, WIDTH};
use crate::incidents::record::{Cause, End, Incident, Requests};

fn at(text: &str) -> Moment {
    Moment::parse(text).unwrap()
}

fn refused() -> Why {
    Why { token: "refused".into(), text: "connection refused".into() }
}

fn certificate(name: &str, from: &str, to: &str) -> CertificateStatus {
    CertificateStatus {
        name: name.into(),
        state: State::Valid,
        source: Source::Acme,
        names: vec![name.into()],
        left_out: Vec::new(),
        issuer: Some("Let's Encrypt E8".into()),
        from: Some(at(from)),
        to: Some(at(to)),
        next: None,
        last_error: None,
    }
}

fn class(name: &str, requests: u64, p50: u64, p99: u64) -> Traffic {
    Traffic { class: name.into(), requests, seconds: 60, p50_ms: Some(p50), p99_ms: Some(p99) }
}

/// Up for three days, and nothing happens.
fn idle() -> Status {
    let up = at("2026-11-25T08:00:03Z");
    Status {
        version: "0.1.0".into(),
        at: at("2026-11-28T14:02:54Z"),
        started: at("2026-11-25T08:00:00Z"),
        generation: 1,
        reload: None,
        connections: Connections { open: 12, most: 20_000 },
        upstreams: vec![UpstreamStatus {
            name: "home".into(),
            state: Presence::Up,
            since: Some(up),
            cause: None,
            parked: Parked { most: 1024, ..Parked::default() },
            backends: vec![BackendStatus {
                address: "10.77.0.2:8008".into(),
                health: "up".into(),
                since: Some(up),
                cause: None,
            }],
        }],
        tunnel: None,
        home_address: None,
        traffic: Vec::new(),
        certificates: vec![certificate("example.com", "2026-11-03T14:00:00Z", "2027-02-01T13:59:59Z")],
        incidents: Vec::new(),
    }
}

/// Away for 43 seconds, with requests that wait.
fn away() -> Status {
    let mut status = idle();
    let began = at("2026-11-28T14:02:11Z");
    let home = &mut status.upstreams[0];
    (home.state, home.since, home.cause) = (Presence::Away, Some(began), Some(refused()));
    home.parked = Parked { now: 17, most: 1024, parked: 18, left: 1, ..Parked::default() };
    let backend = &mut home.backends[0];
    (backend.health, backend.since, backend.cause) = ("down".into(), Some(began), Some(refused()));
    status.traffic = vec![class("sync", 744, 30_120, 30_480), class("send", 31, 84, 2_310)];
    status.incidents = vec![incident(None, 43_000)];
    status
}

fn incident(ended: Option<&str>, lasted_ms: u64) -> Incident {
    let cause =
        |time: &str, text: &str| Cause { at: at(time), token: text.replace(' ', "-"), text: text.into() };
    Incident {
        id: 3,
        upstream: "home".into(),
        began: at("2026-11-28T14:02:11Z"),
        ended: ended.map(at),
        end: if ended.is_some() { End::Back } else { End::Lasts },
        lasted_ms,
        causes: vec![cause("2026-11-28T14:02:11Z", "connection refused")],
        requests: Requests { parked: 18, delivered: 0, failed: 0, left: 1, longest_wait_ms: 0 },
    }
}

/// Back after an incident of which the log is full.
fn back() -> Status {
    let mut status = idle();
    status.at = at("2026-11-28T14:10:00Z");
    let since = at("2026-11-28T14:02:55Z");
    let home = &mut status.upstreams[0];
    (home.since, home.backends[0].since) = (Some(since), Some(since));
    home.parked = Parked { most: 1024, parked: 132, delivered: 130, expired: 2, ..Parked::default() };
    status.traffic = vec![
        class("sync", 744, 30_120, 30_480),
        class("send", 31, 84, 310),
        class("federation", 6_003, 121, 1_205),
        class("media", 4, 40, 61),
    ];
    let mut last = incident(Some("2026-11-28T14:02:54Z"), 43_200);
    let slow = Cause { text: "no answer in time".into(), ..last.causes[0].clone() };
    last.causes.push(slow);
    last.requests = Requests { parked: 132, delivered: 130, failed: 2, left: 0, longest_wait_ms: 41_234 };
    let blip = Incident { lasted_ms: 400, requests: Requests::default(), ..incident(None, 0) };
    let blip = Incident { began: at("2026-11-27T03:12:09Z"), end: End::Back, ..blip };
    status.incidents = vec![blip, last];
    status
}

/// The tunnel that leads home, with its last handshake at `handshake`.
fn tunnel(handshake: Option<&str>, stale: bool) -> TunnelStatus {
    TunnelStatus {
        interface: "wg1".into(),
        peer: "ABEiM0RVZneImaq7zN3u/wARIjNEVWZ3iJmqu8zd7v8=".into(),
        read: at("2026-11-28T14:02:50Z"),
        stale,
        handshake: handshake.map(at),
        endpoint: Some("192.0.2.10:51820".parse().unwrap()),
        received_bytes: Some(13_212_345_678),
        sent_bytes: Some(1_048_575),
        keepalive_s: None,
        error: None,
    }
}

/// Up, by a tunnel whose last handshake is young.
fn tunnelled() -> Status {
    Status { tunnel: Some(tunnel(Some("2026-11-28T14:01:33Z"), false)), ..idle() }
}

/// Away, since the tunnel is dead.
fn stale() -> Status {
    let mut status = away();
    status.tunnel = Some(tunnel(Some("2026-11-28T13:58:01Z"), true));
    let text = "no handshake over the tunnel wg1 for 4 min 50 s";
    let why = Why { token: "tunnel-stale".into(), text: text.into() };
    status.upstreams[0].cause = Some(why);
    let timeout = Why { token: "connect-timeout".into(), text: "connect timed out".into() };
    status.incidents[0].causes[0].token.clone_from(&timeout.token);
    status.incidents[0].causes[0].text.clone_from(&timeout.text);
    status.upstreams[0].backends[0].cause = Some(timeout);
    status.incidents[0].causes.push(Cause {
        at: at("2026-11-28T14:02:20Z"),
        token: "tunnel-stale".into(),
        text: text.into(),
    });
    status
}

/// The tunnel never came up, in the one case; in the other porchd may not look.
fn untold(error: Option<&str>) -> Status {
    let endpoint = error.and(None);
    let tunnel = TunnelStatus { endpoint, error: error.map(str::to_owned), ..tunnel(None, error.is_none()) };
    Status { tunnel: Some(TunnelStatus { received_bytes: Some(0), ..tunnel }), ..idle() }
}

/// Home has moved a while ago, and a nameserver and an update fail.
fn moved() -> Status {
    let mut status = idle();
    status.home_address = Some(HomeAddress {
        name: "myhomeip.example.com".into(),
        nameserver: "dns1.example.net".into(),
        addresses: vec!["5.9.1.2".parse().unwrap(), "2a01:4f8::2".parse().unwrap()],
        since: Some(at("2026-11-28T13:02:11Z")),
        asked: Some(at("2026-11-28T14:03:48Z")),
        answered: Some(at("2026-11-28T13:50:00Z")),
        fault: Some("A: the nameserver does not answer".into()),
        failing: vec!["nft set inet filter homeip".into()],
        changes: 1,
    });
    let text = "home moved from 5.9.1.1, 2a01:4f8::1 to 5.9.1.2, 2a01:4f8::2".into();
    let cause = Cause { at: at("2026-11-28T13:02:11Z"), token: "moved".into(), text };
    let moved = Incident { end: End::Back, lasted_ms: 0, requests: Requests::default(), ..incident(None, 0) };
    status.incidents = vec![Incident { began: cause.at, causes: vec![cause], ..moved }];
    status
}

/// A reload that was refused, and a certificate that is not renewed.
fn neglected() -> Status {
    let mut status = idle();
    status.generation = 4;
    let error = "error: there is no upstream `hoem`\n  --> /etc/porchd/porchd.yaml:10:29\n   |\n\
                 10 |       - { path: /, forward: hoem }\n   |                             ^^^^ did you mean `home`?\n   \
                 |\n   = help: the upstreams are `home`\n\n/etc/porchd/porchd.yaml: 1 error";
    status.reload = Some(Reloaded {
        at: at("2026-11-28T12:00:00Z"),
        ok: false,
        changes: Vec::new(),
        error: Some(error.into()),
    });
    let mut late = certificate("example.com", "2026-09-03T14:00:00Z", "2026-12-02T13:59:59Z");
    late.last_error = Some(LastError {
        at: at("2026-11-28T11:40:12Z"),
        text: "example.com: the CA could not fetch http://example.com/.well-known/acme-challenge/: timeout"
            .into(),
        authority: "https://acme-v02.api.letsencrypt.org/directory".into(),
    });
    let mut missing = certificate("chat.example.org", "2026-09-03T14:00:00Z", "2026-12-02T13:59:59Z");
    (missing.state, missing.from, missing.to) = (State::Missing, None, None);
    missing.next = Some(Next { at: at("2026-11-28T14:20:00Z"), why: "tried again after a failure".into() });
    status.certificates = vec![late, missing];
    status
}

#[test]
fn pages_look_as_agreed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/status");
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let denied = "permission denied for wg1; this needs the capability CAP_NET_ADMIN, which a drop-in gives";
    for (name, status) in [
        ("up-and-idle", idle()),
        ("away", away()),
        ("back", back()),
        ("neglected", neglected()),
        ("tunnel-stands", tunnelled()),
        ("tunnel-stale", stale()),
        ("tunnel-never", untold(None)),
        ("tunnel-denied", untold(Some(denied))),
        ("moved", moved()),
    ] {
        let page = of(&status, Ink::PLAIN);
        let path = folder.join(format!("{name}.txt"));
        if update {
            std::fs::write(&path, &page).expect("write golden file");
        }
        let agreed = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(page == agreed, "{name}:\n{page}");
    }
}

#[test]
fn no_line_is_over_80_columns_and_nothing_is_obeyed() {
    let mut status = neglected();
    status.upstreams[0].name = "an-upstream-with-a-very-long-name-indeed".into();
    status.upstreams[0].cause = Some(Why { text: "words and \u{1b}[2J words ".repeat(20), ..refused() });
    status.incidents = back().incidents;
    status.incidents[0].causes[0].text = "many words ".repeat(30);
    status.incidents[1].causes[0].text = "https://example.com/".repeat(30);
    status.traffic = vec![class("a-class-that-nobody-has-thought-of", 9_999_999, 119_999, 9_999_999)];
    let page = of(&status, Ink::PLAIN);
    let long: Vec<_> = page.lines().filter(|line| line.chars().count() > WIDTH).collect();
    assert!(long.is_empty(), "{long:#?}");
    assert!(!page.contains('\u{1b}'));
}
