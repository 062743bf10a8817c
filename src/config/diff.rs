//! What changes between two configurations, for the reload's log and for what a reload must do.
//!
//! It compares and decides nothing else: `threads`, `accept` and `state_dir`, which no reload changes, are
//! not in it.

use std::fmt;
use std::sync::Arc;

use crate::config::model::acme::Acme;
use crate::config::model::{Certificate, Config, Listener, Site, Upstream};

/// What happened to the things of one kind, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes<N> {
    /// Those that were not there before.
    pub added: Vec<N>,
    /// Those that are no longer there.
    pub removed: Vec<N>,
    /// Those that are there with other settings.
    pub changed: Vec<N>,
}

/// What changes between two configurations. `Display` is one line for each kind of change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diff {
    /// Listeners by name. A changed one has other addresses or settings.
    pub listeners: Changes<Arc<str>>,
    /// Upstreams by name.
    pub upstreams: Changes<Arc<str>>,
    /// Sites by their first host.
    pub sites: Changes<Arc<str>>,
    /// Certificates by the chain's file; a changed one is for other hosts or has another key.
    pub certificates: Changes<String>,
    /// Names of the plain sections that changed, as they are written. Of `admin` and `home_link` each key is told, and of
    /// `acme`
    /// unless the whole section came or went.
    pub settings: Vec<&'static str>,
}

impl Diff {
    /// What changes from `old` to `new`.
    pub fn between(old: &Config, new: &Config) -> Self {
        let name = |listener: &Listener| Arc::clone(&listener.name);
        Self {
            listeners: changes(&old.listeners, &new.listeners, name),
            upstreams: changes(&old.upstreams, &new.upstreams, |upstream: &Upstream| {
                Arc::clone(&upstream.name)
            }),
            sites: changes(&old.sites, &new.sites, |site: &Site| Arc::clone(&site.name)),
            certificates: changes(
                &old.tls.certificates,
                &new.tls.certificates,
                |certificate: &Certificate| certificate.cert.display().to_string(),
            ),
            settings: settings(old, new),
        }
    }
}

fn settings(old: &Config, new: &Config) -> Vec<&'static str> {
    let tls = (old.tls.min_version, old.tls.internal_ca) != (new.tls.min_version, new.tls.internal_ca);
    let changed = [
        ("matrix", old.homeservers != new.homeservers),
        ("tls", tls),
        ("admin.socket", old.admin.socket != new.admin.socket),
        ("admin.metrics", old.admin.metrics != new.admin.metrics),
        ("limits", old.limits != new.limits),
        ("trusted_proxies", old.trusted_proxies != new.trusted_proxies),
        ("home_link.wireguard", old.home_link.wireguard != new.home_link.wireguard),
        ("home_link.address", old.home_link.address != new.home_link.address),
        ("drain", old.drain != new.drain),
        ("log", old.log != new.log),
    ];
    let changed = changed.into_iter().filter(|(_, changed)| *changed).map(|(name, _)| name);
    changed.chain(acme(old.acme.as_ref(), new.acme.as_ref())).collect()
}

/// The keys of `acme` that changed; each leads to other actions of a CA.
fn acme(old: Option<&Acme>, new: Option<&Acme>) -> Vec<&'static str> {
    let (old, new) = match (old, new) {
        (Some(old), Some(new)) => (old, new),
        (None, None) => return Vec::new(),
        _ => return vec!["acme"],
    };
    let first = |acme: &Acme| acme.authorities.first().cloned();
    let (one, other) = (first(old), first(new));
    let (one, other) = (one.as_ref(), other.as_ref());
    let fallbacks = |acme: &Acme| acme.authorities.iter().skip(1).cloned().collect::<Vec<_>>();
    let changed = [
        ("acme.contact", old.contact != new.contact),
        ("acme.directory", one.map(|one| &one.directory) != other.map(|other| &other.directory)),
        ("acme.ca_file", one.map(|one| &one.ca_file) != other.map(|other| &other.ca_file)),
        ("acme.profile", one.map(|one| &one.profile) != other.map(|other| &other.profile)),
        (
            "acme.external_account",
            one.map(|one| &one.external_account) != other.map(|other| &other.external_account),
        ),
        ("acme.fallback", fallbacks(old) != fallbacks(new)),
        ("acme.challenge", old.challenges != new.challenges),
        ("acme.key_type", old.key_type != new.key_type),
        ("acme.failing_name", old.failing_name != new.failing_name),
    ];
    changed.into_iter().filter(|(_, changed)| *changed).map(|(name, _)| name).collect()
}

/// Things of one name are matched in order: two sites may have the same first host on two listeners.
fn changes<T: PartialEq, N: PartialEq + Clone>(old: &[T], new: &[T], name: impl Fn(&T) -> N) -> Changes<N> {
    let mut left: Vec<(N, &T)> = old.iter().map(|thing| (name(thing), thing)).collect();
    let mut changes = Changes { added: Vec::new(), removed: Vec::new(), changed: Vec::new() };
    for thing in new {
        let name = name(thing);
        let same = left.iter().position(|(other, before)| *other == name && *before == thing);
        match same.or_else(|| left.iter().position(|(other, _)| *other == name)) {
            None => changes.added.push(name),
            Some(at) => {
                if left.remove(at).1 != thing {
                    changes.changed.push(name);
                }
            }
        }
    }
    changes.removed = left.into_iter().map(|(name, _)| name).collect();
    changes
}

impl fmt::Display for Diff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines: Vec<String> = Vec::new();
        lines.extend(told("listener", &self.listeners));
        lines.extend(told("upstream", &self.upstreams));
        lines.extend(told("site", &self.sites));
        lines.extend(told("certificate", &self.certificates));
        if !self.settings.is_empty() {
            lines.push(format!("changed: {}", self.settings.join(", ")));
        }
        if lines.is_empty() {
            lines.push(String::from("nothing changed in the configuration"));
        }
        f.write_str(&lines.join("\n"))
    }
}

fn told<N: fmt::Display>(kind: &str, changes: &Changes<N>) -> Option<String> {
    let list = |word: &str, names: &[N]| {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        (!names.is_empty()).then(|| format!("{word} {}", names.join(", ")))
    };
    let parts =
        [list("added", &changes.added), list("changed", &changes.changed), list("removed", &changes.removed)];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| format!("{kind}s: {}", parts.join("; ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load;

    const BASE: &str = "\
matrix: { server_name: example.com, home: 10.77.0.2:8008 }
upstreams: { jwt: { backends: [ 10.77.0.2:8080 ] } }
tls: { certificates: [ { cert: /a.crt, key: /a.key } ] }
sites: [ { hosts: [ rtc.example.com ], routes: [ { path: /, forward: jwt } ] } ]
threads: 2
";

    fn config(text: &str) -> Config {
        load(text, "t").unwrap_or_else(|report| panic!("{}", report.render(false))).config
    }

    fn told(changed: &str) -> String {
        Diff::between(&config(BASE), &config(changed)).to_string()
    }

    #[test]
    fn the_same_text_changes_nothing() {
        assert_eq!(told(BASE), "nothing changed in the configuration");
    }

    #[test]
    fn each_change_is_told_by_name() {
        for (from, to, line) in [
            ("10.77.0.2:8008", "10.77.0.3:8008", "upstreams: changed home"),
            ("jwt", "token", "upstreams: added token; removed jwt\nsites: changed rtc.example.com"),
            ("rtc.example.com", "x.example.com", "sites: added x.example.com; removed rtc.example.com"),
            ("cert: /a.crt", "cert: /b.crt", "certificates: added /b.crt; removed /a.crt"),
            ("key: /a.key", "key: /b.key", "certificates: changed /a.crt"),
            ("upstreams: {", "upstreams: { home: { park: { sync: 30s } },", "upstreams: changed home"),
            ("10.77.0.2:8080 ]", "10.77.0.2:8080 ], park: false", "upstreams: changed jwt"),
            (
                "10.77.0.2:8080 ]",
                "10.77.0.2:8080 ], park: { most: 1024 }",
                "nothing changed in the configuration",
            ),
            (
                "threads: 2",
                "threads: 2\nlimits: { body: 20MiB }\nlog: { level: debug }",
                "changed: limits, log",
            ),
            (
                "threads: 2",
                "threads: 2\nacme: { contact: a@example.com }\nadmin: { socket: /run/x.sock }",
                "changed: admin.socket, acme",
            ),
            (
                "threads: 2",
                "threads: 2\nhome_link: { address: { name: a.example, nameserver: b.example } }",
                "changed: home_link.address",
            ),
            ("threads: 2", "threads: 2\nadmin: { metrics: 127.0.0.1:9178 }", "changed: admin.metrics"),
            (
                "threads: 2",
                "threads: 2\nlisteners: { federation: { bind: [ 0.0.0.0:8449 ] }, x: { bind: [ 127.0.0.1:1 ] } }",
                "listeners: added x; changed federation",
            ),
        ] {
            assert_eq!(told(&BASE.replace(from, to)), line);
        }
    }

    #[test]
    fn keys_of_acme_are_told_one_by_one() {
        let acme = |keys: &str| config(&format!("{BASE}acme: {{ contact: a@example.com{keys} }}\n"));
        for (keys, line) in [
            ("", "nothing changed in the configuration"),
            (", directory: letsencrypt", "nothing changed in the configuration"),
            (", profile: shortlived", "changed: acme.profile"),
            (", fallback: [ https://ca.example/ ]", "changed: acme.fallback"),
            (", challenge: http-01, key_type: p384", "changed: acme.challenge, acme.key_type"),
            (", failing_name: wait", "changed: acme.failing_name"),
        ] {
            assert_eq!(Diff::between(&acme(""), &acme(keys)).to_string(), line);
        }
    }
}
