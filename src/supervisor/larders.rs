//! Which documents each upstream is asked for, so that the edge has them while home is away.

use std::sync::Arc;

use crate::config::model::HostPattern;
use crate::config::model::route::Action;
use crate::matrix::kept::Kept;
use crate::route::site::Matched;
use crate::snapshot::Snapshot;
use crate::upstream::larder::Wish;

/// Has every upstream of `snapshot` keep what its routes would forward, host by host. A name under a wildcard is
/// not known before somebody asks for it.
pub fn stock(snapshot: &Snapshot) {
    for (name, group) in &snapshot.groups {
        let mut wishes = Vec::new();
        for site in &snapshot.config.sites {
            for listener in &site.listeners {
                for host in &site.hosts {
                    let HostPattern::Exact(host) = host else { continue };
                    let Some(table) = snapshot.routes.site_of_host(listener, host) else { continue };
                    for kept in Kept::ALL {
                        let wish = Wish { host: Arc::clone(host), kept };
                        let forwarded = matches!(
                            table.route(kept.path()),
                            Matched::Route(route)
                                if matches!(&route.action, Action::Forward(to) if to.upstream == *name)
                        );
                        if forwarded && !wishes.contains(&wish) {
                            wishes.push(wish);
                        }
                    }
                }
            }
        }
        group.larder().want(wishes);
    }
}
