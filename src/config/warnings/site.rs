//! What is odd about a site by itself.

use std::time::Duration;

use http::Uri;

use crate::config::decode::At;
use crate::config::file::File;
use crate::config::file::route::{Keep, Route};
use crate::config::file::site::Site;
use crate::config::problem::Finding;
use crate::config::scalar::name::Host;
use crate::config::scalar::web::UrlPath;
use crate::config::warnings::exposure::most_specific;

/// The lists that are built into browsers ask for this at least (hstspreload.org).
const PRELOAD_AT_LEAST: Duration = Duration::from_secs(365 * 86_400);

/// Appends what is odd about sites.
pub(super) fn findings(file: &File, findings: &mut Vec<Finding>) {
    for site in &file.sites {
        if site.routes.is_empty() {
            findings.push(
                Finding::warning(site.hosts.place, "this site has no routes")
                    .label("every request is answered 404")
                    .help("write `routes`, like `- { path: /, files: { root: /var/www/site } }`"),
            );
        }
        findings.extend(preload(site));
        findings.extend(site.routes.iter().filter_map(|route| redirect_loop(site, route)));
    }
}

fn preload(site: &Site) -> Option<Finding> {
    let hsts = site.hsts.as_ref().filter(|hsts| hsts.preload)?;
    let why = if !hsts.subdomains {
        "`preload` needs `subdomains: true`"
    } else if hsts.max_age.0 < PRELOAD_AT_LEAST {
        "`preload` needs `max_age: 365d` or more"
    } else {
        return None;
    };
    Some(
        Finding::warning(hsts.place, why)
            .label("browsers' lists will not take it")
            .help("leave out `preload` if the host need not be on those lists: it is hard to leave them"),
    )
}

/// A redirect whose target is answered by the same route of the same site.
fn redirect_loop(site: &Site, route: &At<Route>) -> Option<Finding> {
    let redirect = route.redirect.as_ref()?;
    let target = redirect.to.0.split(['?', '#']).next()?.parse::<Uri>().ok()?;
    let here = target.host().is_none_or(|host| {
        let host = host.parse::<Host>();
        host.is_ok_and(|host| site.hosts.iter().any(|pattern| pattern.value.0.matches(&host.0)))
    });
    // From http to https of the same host is no loop; from a listener to itself is.
    let https = target.scheme_str() != Some("http");
    let path = match (redirect.keep, target.path()) {
        (None, "") => UrlPath::made("/"),
        (None, path) => path.parse().ok()?,
        // What is kept is put behind the target's path.
        (Some(Keep::Path), path) => {
            UrlPath::made(&format!("{}{}", path.trim_end_matches('/'), route.path.value))
        }
    };
    let again = most_specific(site, &path).is_some_and(|other| other.path.value == route.path.value);
    let default_port = matches!(target.port_u16(), None | Some(443));
    (here && https && default_port && again).then(|| {
        Finding::warning(redirect.place, "this redirect leads back to itself")
            .label("browsers give up after some rounds")
            .also(route.path.place, "the same route answers there")
    })
}
