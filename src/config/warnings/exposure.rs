//! What strangers can reach or forge.

use ipnet::IpNet;

use crate::config::decode::At;
use crate::config::file::File;
use crate::config::file::route::Route;
use crate::config::file::site::{Access, Site};
use crate::config::networks;
use crate::config::problem::Finding;
use crate::config::scalar::address::MetricsAddress;
use crate::config::scalar::name::Name;
use crate::config::scalar::web::UrlPath;
use crate::config::tree::Place;
use crate::config::warnings::{binds, homes, homeservers};

/// Appends what strangers can reach or forge.
pub(super) fn findings(file: &File, findings: &mut Vec<Finding>) {
    for net in homeservers(file).iter().flat_map(|homeserver| &homeserver.admin_api.allow) {
        findings.extend(open_net(net.place, &net.value.0));
    }
    findings.extend(file.admin.metrics.and_then(open_metrics));
    let homes = homes(file);
    for site in &file.sites {
        findings.extend(open_admin(site, &homes));
        findings.extend(in_the_clear(file, site));
    }
    for net in file.trusted_proxies.iter().filter(|net| net.value.0.prefix_len() == 0) {
        findings.push(
            Finding::warning(net.place, "everybody is a trusted proxy")
                .label("every client may write its own X-Forwarded-For")
                .help(
                    "Synapse limits logins by that address: list the proxies in front of porchd, or nothing",
                ),
        );
    }
}

fn open_metrics(metrics: At<MetricsAddress>) -> Option<Finding> {
    let ip = metrics.value.0.ip();
    (!networks::is_private(&IpNet::from(ip))).then(|| {
        Finding::warning(metrics.place, "strangers can read porchd's figures")
            .label(if ip.is_unspecified() { "every address of this machine" } else { "a public address" })
            .help("they tell when home is away and how much it is used: write an address of this machine or a tunnel, like 127.0.0.1:9178")
    })
}

fn open_net(place: Place, net: &IpNet) -> Option<Finding> {
    let few = if net.addr().is_ipv4() { 24 } else { 48 };
    let title = match net.prefix_len() {
        0 => "Synapse's admin API is open to the world",
        length if length < few && !networks::is_private(net) => {
            "Synapse's admin API is open to a large public network"
        }
        _ => return None,
    };
    Some(
        Finding::warning(place, title)
            .label(if net.prefix_len() == 0 { "everybody" } else { "who is that?" })
            .help("whoever has an admin's token can read and delete everything: allow your tunnel's network alone"),
    )
}

/// A route to a Synapse that leads to its admin API, for everybody.
fn open_admin(site: &Site, homes: &[Name]) -> Option<Finding> {
    let admin = UrlPath::made("/_synapse/admin/v1/users");
    let route = most_specific(site, &admin)?;
    let upstream = route.forward.as_ref()?;
    // A written route in the place of the preset's deny was told by the merge.
    let told = route.path.bare() == "/_synapse";
    if told || !(homes.contains(&upstream.value) || route.path.is_under("/_synapse")) {
        return None;
    }
    let access = route.access.as_ref().or(site.access.as_ref());
    if let Some(access) = access.filter(|access| !access.allow.is_empty()) {
        // The preset's own route has no place of its own, and its networks were looked at above.
        let made = route.place == route.path.place;
        return if made { None } else { wide(access, route.path.place) };
    }
    Some(
        Finding::warning(route.path.place, "Synapse's admin API is open to the world")
            .label("leads to /_synapse/admin for everybody")
            .help("add `{ path: /_synapse/, deny: true }`, or `access: { allow: [ ... ] }` to this route"),
    )
}

fn wide(access: &Access, place: Place) -> Option<Finding> {
    access.allow.iter().find_map(|net| open_net(place, &net.0))
}

/// The route that a request for `path` takes.
pub(super) fn most_specific<'a>(site: &'a Site, path: &UrlPath) -> Option<&'a At<Route>> {
    let covering = site.routes.iter().filter(|route| path.is_under(route.path.bare()));
    covering.max_by_key(|route| route.path.value.0.len())
}

fn in_the_clear(file: &File, site: &Site) -> Option<Finding> {
    let route = site.routes.iter().find(|route| route.forward.is_some())?;
    let names = site.listeners.as_ref()?;
    let name = names.iter().find(|name| {
        let listener = file.listeners.get(&name.value.0).filter(|listener| listener.tls != Some(true));
        listener
            .is_some_and(|listener| binds(listener).iter().any(|bind| !bind.address().0.ip().is_loopback()))
    })?;
    Some(
        Finding::warning(name.place, format!("listener `{}` has no TLS, and this site forwards", name.value))
            .label("passwords and tokens are readable on the way")
            .also(route.path.place, "forwarded")
            .help("leave the listener out: its hosts are then redirected to https"),
    )
}
