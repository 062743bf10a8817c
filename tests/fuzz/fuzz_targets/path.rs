//! Any text as a request's target: no reading of a path gets past a deny, no file name leaves its root, no secret is
//! shown, and a poll's time is all that is rewritten.

#![no_main]

use std::path::{Component, Path};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use house::handler::files;
use house::matrix::class::{self, Class, Endpoint};
use house::matrix::secrets;
use house::route::Table;
use house::route::site::{Matched, SiteTable};
use http::Method;
use libfuzzer_sys::fuzz_target;

const CONFIG: &str = "
listeners: { any: { bind: [ '127.0.0.1:0' ], tls: true } }
upstreams: { home: { backends: [ '127.0.0.1:1' ] } }
sites:
  - hosts: [ a.test ]
    routes:
      - { path: /_matrix/, forward: home }
      - { path: /_synapse/client/, forward: home }
      - { path: /_synapse/, deny: true }
      - { path: /secret, deny: true }
      - { path: /secret/open/, forward: home }
      - { path: /a/, forward: home }
      - { path: /a/b, deny: true }
      - { path: /, forward: home }
";

static SITE: LazyLock<Arc<SiteTable>> = LazyLock::new(|| {
    let loaded = house::config::load(CONFIG, "fuzz").expect("a configuration");
    let table = Table::new(&loaded.config);
    Arc::clone(table.site_of_host("any", "a.test").expect("the site"))
});

fuzz_target!(|input: &[u8]| {
    let Some((plan, target)) = input.split_first_chunk::<8>() else { return };
    let Ok(target) = str::from_utf8(target) else { return };
    let path = target.split('?').next().unwrap_or_default();
    no_reading_passes_a_deny(path, plan);
    no_name_leaves_its_root(path);
    classes_hold(target);
    no_secret_shows(target);
    polls_alone_are_shortened(target, u64::from(plan[0]) << plan[1] % 32);
});

/// Some reader behind the edge takes these steps, in this order.
fn no_reading_passes_a_deny(path: &str, plan: &[u8; 8]) {
    let Matched::Route(_) = SITE.route(path) else { return };
    let mut reading = path.as_bytes().to_vec();
    for step in plan {
        reading = match step % 8 {
            0 => decoded(&reading),
            1 => reading.iter().map(|byte| if *byte == b'\\' { b'/' } else { *byte }).collect(),
            2 => joined(reading.split(is_slash).map(|name| before(name, b";"))),
            3 => merged(&reading),
            4 => resolved(&reading),
            5 => before(&reading, b"\0").to_vec(),
            6 => before(&reading, b"?#").to_vec(),
            _ => reading,
        };
        assert!(!is_denied(&reading), "{path} can be read as {}", reading.escape_ascii());
    }
}

/// Whether this path, taken as it is, leads below a deny.
fn is_denied(path: &[u8]) -> bool {
    let below = |folder: &str| {
        let rest = path.strip_prefix(folder.as_bytes());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
    };
    below("/_synapse") && !path.starts_with(b"/_synapse/client/")
        || below("/secret") && !path.starts_with(b"/secret/open/")
        || below("/a/b")
}

fn is_slash(byte: &u8) -> bool {
    *byte == b'/'
}

fn joined<'a>(names: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    names.collect::<Vec<_>>().join(&b'/')
}

fn before<'a>(text: &'a [u8], ends: &[u8]) -> &'a [u8] {
    &text[..text.iter().position(|byte| ends.contains(byte)).unwrap_or(text.len())]
}

fn decoded(path: &[u8]) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::new(), path);
    while let Some((&byte, tail)) = rest.split_first() {
        let hex = |at: usize| tail.get(at).and_then(|digit| char::from(*digit).to_digit(16));
        if let (b'%', Some(high), Some(low)) = (byte, hex(0), hex(1)) {
            out.push((high * 16 + low) as u8);
            rest = &tail[2..];
            continue;
        }
        rest = tail;
        out.push(byte);
    }
    out
}

fn merged(path: &[u8]) -> Vec<u8> {
    let mut out = path.to_vec();
    out.dedup_by(|one, other| *one == b'/' && *other == b'/');
    out
}

/// Dot segments taken out; empty ones stay, and count as folders.
fn resolved(path: &[u8]) -> Vec<u8> {
    let mut kept: Vec<&[u8]> = Vec::new();
    for name in path.split(is_slash) {
        match name {
            b"." => {}
            b".." if kept.len() > 1 => drop(kept.pop()),
            b".." => {}
            name => kept.push(name),
        }
    }
    joined(kept.into_iter())
}

fn no_name_leaves_its_root(path: &str) {
    let Some((name, folder, own, _)) = files::wanted(path) else { return };
    assert!(Path::new(&name).components().all(|part| matches!(part, Component::Normal(_))));
    assert!(!name.contains(['\\', '\0']) && !name.contains("//"));
    assert!(own.starts_with('/') && !own.starts_with("//"));
    assert_eq!(files::wanted(&own), Some((name, folder, own.clone(), false)));
}

fn classes_hold(target: &str) {
    for method in [Method::GET, Method::POST, Method::PUT, Method::OPTIONS] {
        let row = Endpoint::of(&method, target);
        let may_post = matches!(row.class, Class::Sync | Class::Keys);
        assert!(method != Method::POST || !row.replayable || may_post);
        assert!(row.head_timeout >= Duration::from_secs(30) && row.head_timeout <= Duration::from_secs(3660));
        assert!(!row.upload || row.class == Class::Media);
    }
}

fn no_secret_shows(target: &str) {
    let shown = secrets::redact(target);
    assert_eq!(secrets::redact(&shown), shown);
    let target = format!("{target}&access_token=S3CR3T&{target}");
    assert_eq!(secrets::redact(&target).matches("S3CR3T").count(), shown.matches("S3CR3T").count() * 2);
}

fn polls_alone_are_shortened(target: &str, waited: u64) {
    let before = format!("GET {target} HTTP/1.1\r\nhost: a?timeout=7\r\n\r\n").into_bytes();
    let mut head = before.clone();
    class::shorten_poll(&mut head, Duration::from_millis(waited));
    let same = before.iter().zip(&head).take_while(|(one, other)| one == other).count();
    let behind = before.iter().rev().zip(head.iter().rev()).take_while(|(one, other)| one == other).count();
    assert!(head.len() <= before.len());
    let gone = &before[same..before.len() - behind.min(before.len() - same)];
    assert!(gone.iter().all(u8::is_ascii_digit), "{}", gone.escape_ascii());
}
