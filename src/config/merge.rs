//! How what a user wrote and what the preset made become one: the written key wins, one by one.

use crate::config::decode::At;
use crate::config::file::listener::Listener;
use crate::config::file::named::Named;
use crate::config::file::route::Route;
use crate::config::file::site::Site;
use crate::config::file::upstream::{Probe, Upstream};
use crate::config::model::HostPattern;
use crate::config::problem::Finding;
use crate::config::scalar::name::Host;

/// The preset's listeners first, each with the written keys over it, then the others.
pub(crate) fn listeners(made: Named<Listener>, written: Named<Listener>) -> Named<Listener> {
    named(made, written, |made, written| Listener {
        bind: written.bind.or(made.bind),
        tls: written.tls.or(made.tls),
        proxy_protocol: written.proxy_protocol.or(made.proxy_protocol),
    })
}

/// The preset's upstreams first, each with the written keys over it, then the others.
pub(crate) fn upstreams(made: Named<Upstream>, written: Named<Upstream>) -> Named<Upstream> {
    named(made, written, |made, written| Upstream {
        backends: written.backends.or(made.backends),
        balance: written.balance.or(made.balance),
        probe: probe(made.probe, written.probe),
        connect_timeout: written.connect_timeout.or(made.connect_timeout),
        idle_timeout: written.idle_timeout.or(made.idle_timeout),
        response_timeout: written.response_timeout.or(made.response_timeout),
        tls: written.tls.or(made.tls),
        host: written.host.or(made.host),
        park: written.park.or(made.park),
    })
}

fn probe(made: Probe, written: Probe) -> Probe {
    Probe {
        path: written.path.or(made.path),
        tcp: written.tcp.or(made.tcp),
        every: written.every.or(made.every),
        every_when_down: written.every_when_down.or(made.every_when_down),
        timeout: written.timeout.or(made.timeout),
        down_after: written.down_after.or(made.down_after),
        up_after: written.up_after.or(made.up_after),
    }
}

fn named<T>(made: Named<T>, mut written: Named<T>, over: impl Fn(T, T) -> T) -> Named<T> {
    let mut merged = Vec::new();
    for (name, thing) in made.0 {
        match written.0.iter().position(|(other, _)| *other == name) {
            None => merged.push((name, thing)),
            Some(at) => {
                let (name, other) = written.0.remove(at);
                merged.push((name, over(thing, other)));
            }
        }
    }
    merged.append(&mut written.0);
    Named(merged)
}

/// Whether `host` is one of the site's, by its own name.
pub(crate) fn shares_host(site: &Site, host: &Host) -> bool {
    let exact = |pattern: &HostPattern| matches!(pattern, HostPattern::Exact(name) if *name == host.0);
    site.hosts.iter().any(|pattern| exact(&pattern.value.0))
}

fn share_a_host(one: &Site, other: &Site) -> bool {
    one.hosts.iter().any(|host| other.hosts.contains(host))
}

/// The preset's sites, less those that a written site absorbs, then the written ones.
pub(crate) fn sites(made: Vec<Site>, written: Vec<At<Site>>) -> (Vec<At<Site>>, Vec<Finding>) {
    let mut findings = Vec::new();
    let alone = |site: &&Site| !written.iter().any(|other| share_a_host(site, other));
    let mut merged: Vec<At<Site>> =
        made.iter().filter(alone).map(|site| At::made(site.clone(), site.hosts.place)).collect();
    for site in written {
        let absorbed: Vec<&Site> = made.iter().filter(|other| share_a_host(&site, other)).collect();
        let place = site.place;
        merged.push(At::made(absorb(site.value, &absorbed, &mut findings), place));
    }
    (merged, findings)
}

fn absorb(mut site: Site, absorbed: &[&Site], findings: &mut Vec<Finding>) -> Site {
    if site.listeners.is_none() && absorbed.iter().all(|other| other.listeners.is_some()) {
        let names = absorbed.iter().filter_map(|other| other.listeners.as_ref());
        site.listeners = names.fold(None, |all: Option<At<Vec<_>>>, names| {
            let mut all = all.unwrap_or_else(|| At::made(Vec::new(), names.place));
            let added: Vec<_> = names.iter().filter(|name| !all.contains(name)).cloned().collect();
            all.value.extend(added);
            Some(all)
        });
    }
    for other in absorbed {
        let added: Vec<_> = other.hosts.iter().filter(|host| !site.hosts.contains(host)).cloned().collect();
        site.hosts.value.extend(added);
    }
    let written = site.routes.len();
    for route in absorbed.iter().flat_map(|other| &other.routes) {
        // Only written routes replace; two absorbed sites bring the same routes once.
        let same = |other: &&At<_>| same_path(other, route);
        match site.routes.iter().take(written).find(same) {
            Some(over) if route.deny.is_some() && over.deny.is_none() => findings.push(yielded(over)),
            Some(_) => {}
            None if site.routes.iter().any(|other| same(&other)) => {}
            None => site.routes.push(route.clone()),
        }
    }
    site
}

fn same_path(one: &Route, other: &Route) -> bool {
    one.path.bare() == other.path.bare()
}

fn yielded(route: &Route) -> Finding {
    let path = &route.path;
    Finding::warning(path.place, format!("this route opens `{}`, which `matrix` denies", path.value))
        .label("replaces the preset's deny")
        .help("Synapse's admin API, metrics and replication are below /_synapse; /_synapse/client/ is open anyway")
}
