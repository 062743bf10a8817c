//! Which documents each upstream is asked for, so that the edge has them while home is away.

use std::sync::Arc;

use crate::config::model::route::Action;
use crate::config::model::{HostPattern, Site};
use crate::matrix::kept::Kept;
use crate::route::site::Matched;
use crate::snapshot::Snapshot;
use crate::upstream::larder::Wish;

/// Has every upstream of `snapshot` keep what its routes would forward, host by host. A name under a wildcard is
/// not known before somebody asks for it.
pub fn stock(snapshot: &Snapshot) {
    for (upstream, group) in &snapshot.groups {
        let mut wishes = Vec::new();
        for wish in snapshot.config.sites.iter().flat_map(wishes_of) {
            if !wishes.contains(&wish) && is_forwarded(snapshot, &wish, upstream) {
                wishes.push(wish);
            }
        }
        group.larder().want(wishes);
    }
}

/// Every document for every host of a site.
fn wishes_of(site: &Site) -> impl Iterator<Item = Wish> {
    let exact = site.hosts.iter().filter_map(|host| match host {
        HostPattern::Exact(name) => Some(name),
        HostPattern::Wildcard(_) => None,
    });
    exact.flat_map(|name| Kept::ALL.map(|kept| Wish { host: Arc::clone(name), kept }))
}

/// Whether a request for it would go to `upstream`, on whichever listener.
fn is_forwarded(snapshot: &Snapshot, wish: &Wish, upstream: &str) -> bool {
    let tables = snapshot.config.listeners.iter();
    let mut tables = tables.filter_map(|one| snapshot.routes.site_of_host(&one.name, &wish.host));
    tables.any(|table| match table.route(wish.kept.path()) {
        Matched::Route(route) => matches!(&route.action, Action::Forward(to) if *to.upstream == *upstream),
        Matched::Denied(_) | Matched::Nothing => false,
    })
}
