//! What `matrix` stands for: listeners, an upstream and sites, in the words of the file itself.
//!
//! It works from mirror to mirror, so `check --expand` can show the result and a user's own `listeners`,
//! `upstreams` and `sites` replace the preset's keys one by one. Whether it all fits is `resolve`'s to say.

use crate::config::decode::At;
use crate::config::file::File;
use crate::config::file::listener::{Bind, DetailedBind, Listener};
use crate::config::file::matrix::{Delegation, Element, Homeserver};
use crate::config::file::named::Named;
use crate::config::file::route::{Discovery, Files, Route, index};
use crate::config::file::site::{Access, Headers, Site};
use crate::config::file::upstream::{Backend, Upstream};
use crate::config::model::HostPattern;
use crate::config::problem::Finding;
use crate::config::scalar::address::BindAddress;
use crate::config::scalar::name::{Home, Host, Name, Pattern, ServerName};
use crate::config::scalar::web::UrlPath;
use crate::config::tree::Place;
use crate::config::{defaults, merge};

/// The file with everything that the preset makes, and every default.
pub(crate) fn expand(mut file: File) -> (File, Vec<Finding>) {
    let mut findings = Vec::new();
    file.listeners = merge::listeners(listeners(&file), std::mem::take(&mut file.listeners));
    let (made, dropped) = upstreams(&file);
    findings.extend(dropped);
    file.upstreams = merge::upstreams(made, std::mem::take(&mut file.upstreams));
    let (sites, shared) = sites(&file);
    findings.extend(shared);
    let (sites, yielded) = merge::sites(sites, std::mem::take(&mut file.sites));
    file.sites = sites;
    findings.extend(yielded);
    defaults::fill(&mut file);
    (file, findings)
}

fn homeservers(file: &File) -> &[Homeserver] {
    file.matrix.as_ref().map_or(&[], |matrix| matrix.list())
}

/// The name of the upstream that is this homeserver's Synapse.
pub(crate) fn upstream_name(homeserver: &Homeserver, only_one: bool) -> Name {
    match &homeserver.home.value {
        Home::Upstream(name) => name.clone(),
        Home::Address(_) if only_one => Name::made("home"),
        Home::Address(_) => Name::made(&format!("home-{}", homeserver.server_name.value)),
    }
}

/// All addresses of a port. A machine without IPv6 is no reason not to start.
fn everywhere(port: u16, tls: bool, place: Place) -> Listener {
    let bind = |ip: std::net::IpAddr, best_effort| {
        let address = BindAddress((ip, port).into());
        let bind = if best_effort {
            Bind::Detailed(DetailedBind { address, best_effort })
        } else {
            Bind::Address(address)
        };
        At::made(bind, place)
    };
    let binds = vec![
        bind(std::net::Ipv6Addr::UNSPECIFIED.into(), true),
        bind(std::net::Ipv4Addr::UNSPECIFIED.into(), false),
    ];
    Listener { bind: Some(At::made(binds, place)), tls: Some(tls), proxy_protocol: None }
}

/// `https`, `federation` and `http` for homeservers; the first and the last for sites without listeners.
fn listeners(file: &File) -> Named<Listener> {
    let homeservers = homeservers(file);
    let place = homeservers.first().map_or(Place::ROOT, |homeserver| homeserver.server_name.place);
    let wanted = !homeservers.is_empty() || (file.listeners.is_empty() && !file.sites.is_empty());
    let federation = homeservers.iter().any(|homeserver| homeserver.federation);
    let all =
        [("https", 443, true, wanted), ("federation", 8448, true, federation), ("http", 80, false, wanted)];
    let entry = |(name, port, tls, _)| (At::made(Name::made(name), place), everywhere(port, tls, place));
    Named(all.into_iter().filter(|(.., wanted)| *wanted).map(entry).collect())
}

/// One upstream for each home that is an address.
fn upstreams(file: &File) -> (Named<Upstream>, Vec<Finding>) {
    let homeservers = homeservers(file);
    let (mut made, mut findings) = (Named::default(), Vec::new());
    for homeserver in homeservers {
        let Home::Address(address) = &homeserver.home.value else { continue };
        let place = homeserver.home.place;
        let name = upstream_name(homeserver, homeservers.len() == 1);
        let written = file.upstreams.get(&name.0).and_then(|upstream| upstream.backends.as_ref());
        if let Some(written) = written
            && !written.iter().any(|backend| backend.address() == address)
        {
            findings.push(
                Finding::warning(
                    place,
                    format!("`home` is not used: upstream `{name}` has backends of its own"),
                )
                .label("not among them")
                .also(written.place, "these are used")
                .help(format!("write `home: {name}`")),
            );
        }
        let backends = vec![At::made(Backend::Address(address.clone()), place)];
        let backends = Some(At::made(backends, place));
        made.0.push((At::made(name, place), Upstream { backends, ..Upstream::default() }));
    }
    (made, findings)
}

/// A site for each host of each homeserver, and one for each Element Web.
fn sites(file: &File) -> (Vec<Site>, Vec<Finding>) {
    let homeservers = homeservers(file);
    let (mut sites, mut findings): (Vec<Site>, Vec<Finding>) = (Vec::new(), Vec::new());
    let mut owners: Vec<(At<Host>, Place)> = Vec::new();
    for homeserver in homeservers {
        let name = upstream_name(homeserver, homeservers.len() == 1);
        for host in hosts(homeserver) {
            match owners.iter().find(|(owned, _)| owned.value == host.value) {
                Some((first, owner)) if *owner != homeserver.server_name.place => findings.push(
                    Finding::error(host.place, format!("two homeservers have the host `{}`", host.value))
                        .label("also here")
                        .also(first.place, "first here"),
                ),
                Some(_) => {}
                None => {
                    sites.push(homeserver_site(homeserver, &name, &host, &file.listeners));
                    owners.push((host, homeserver.server_name.place));
                }
            }
        }
    }
    for element in homeservers.iter().filter_map(|homeserver| homeserver.element.as_ref()) {
        let site = element_site(element);
        let shared = sites.iter_mut().find(|site| merge::shares_host(site, &element.host.value));
        match shared {
            None => sites.push(site),
            Some(shared) => {
                shared.routes.extend(site.routes);
                findings.push(element_on_homeserver(&element.host));
            }
        }
    }
    (sites, findings)
}

fn element_on_homeserver(host: &At<Host>) -> Finding {
    Finding::warning(host.place, format!("Element Web shares the host `{}` with the homeserver", host.value))
        .label("give it a host of its own")
        .help("what users upload is served there: a flaw in it could then reach Element's login (Element's security note)")
}

fn hosts(homeserver: &Homeserver) -> Vec<At<Host>> {
    let server_name = At::made(homeserver.server_name.value.host.clone(), homeserver.server_name.place);
    let own = homeserver.serve_server_name.then_some(server_name);
    own.into_iter().chain([homeserver.host()]).collect()
}

fn site(host: &At<Host>, routes: Vec<Route>) -> Site {
    let pattern = Pattern(HostPattern::Exact(host.value.0.clone()));
    Site {
        hosts: At::made(vec![At::made(pattern, host.place)], host.place),
        listeners: None,
        hsts: None,
        headers: Headers::default(),
        access: None,
        error_pages: None,
        routes: routes.into_iter().map(|route| At::made(route, host.place)).collect(),
    }
}

fn homeserver_site(
    homeserver: &Homeserver,
    upstream: &Name,
    host: &At<Host>,
    listeners: &Named<Listener>,
) -> Site {
    let place = host.place;
    let route = |path| Route::at(At::made(UrlPath::made(path), place));
    let forward = |path| {
        let forward = Some(At::made(upstream.clone(), homeserver.home.place));
        Route { forward, ..route(path) }
    };
    let well_known = Some(At::made(Discovery::Own(true), place));
    let mut routes = vec![
        Route { well_known, ..route("/.well-known/matrix/") },
        forward("/_matrix/"),
        forward("/_synapse/client/"),
        Route { deny: Some(At::made(true, place)), ..route("/_synapse/") },
    ];
    let allow: Vec<_> = homeserver.admin_api.allow.iter().map(|net| net.value).collect();
    if !allow.is_empty() {
        let access = Some(Access { allow, deny: Vec::new() });
        routes.push(Route { access, ..forward("/_synapse/admin/") });
    }
    // Another homeserver may have brought the listener on 8448; this one's sites stay off it.
    let off_federation = !homeserver.federation && listeners.get("federation").is_some();
    let elsewhere = listeners
        .0
        .iter()
        .filter(|(name, listener)| &*name.value.0 != "federation" && listener.tls == Some(true))
        .map(|(name, _)| At::made(name.value.clone(), place))
        .collect();
    Site { listeners: off_federation.then(|| At::made(elsewhere, place)), ..site(host, routes) }
}

fn element_site(element: &Element) -> Site {
    let place = element.host.place;
    let files = Files { root: element.root.clone(), index: index(), listing: false, element: true };
    let path = At::made(UrlPath::made("/"), place);
    let route = Route { files: Some(At::made(files, place)), ..Route::at(path) };
    let https = At::made(Name::made("https"), place);
    Site { listeners: Some(At::made(vec![https], place)), ..site(&element.host, vec![route]) }
}

/// What `/.well-known/matrix/server` says: by default clients' own port, so that 8448 is not needed.
pub(crate) fn delegation(homeserver: &Homeserver) -> Delegation {
    match &homeserver.well_known.server {
        Some(Delegation::To(server)) => Delegation::To(server.clone()),
        Some(Delegation::Flag(false)) => Delegation::Flag(false),
        Some(Delegation::Flag(true)) | None => {
            Delegation::To(ServerName { host: homeserver.host().value, port: Some(443) })
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::config::load;
    use crate::config::model::park::{Budgets, Park};
    use crate::config::model::route::Action;
    use crate::config::model::{Config, Site};

    fn config(text: &str) -> Config {
        load(text, "t").unwrap_or_else(|report| panic!("{}", report.render(false))).config
    }

    fn site<'a>(config: &'a Config, host: &str) -> &'a Site {
        config.sites.iter().find(|site| site.hosts.iter().any(|own| own.to_string() == host)).expect(host)
    }

    /// `path: action` of each route.
    fn routes(site: &Site) -> Vec<String> {
        let action = |action: &Action| match action {
            Action::WellKnown(_) => String::from("well-known"),
            Action::Forward(forward) => forward.upstream.to_string(),
            Action::Redirect(_) => String::from("redirect"),
            Action::Respond(_) => String::from("respond"),
            Action::Deny => String::from("deny"),
            Action::Files(_) => String::from("files"),
        };
        site.routes.iter().map(|route| format!("{}: {}", route.path, action(&route.action))).collect()
    }

    fn listeners(config: &Config) -> Vec<String> {
        let binds = |listener: &crate::config::model::Listener| {
            let each = listener
                .binds
                .iter()
                .map(|bind| format!("{}{}", bind.addr, if bind.best_effort { "?" } else { "" }));
            each.collect::<Vec<_>>().join(" ")
        };
        config.listeners.iter().map(|l| format!("{} {} {}", l.name, l.tls, binds(l))).collect()
    }

    const TWO_FACTS: &str = "matrix: { server_name: example.com, home: 10.77.0.2:8008 }\n";
    const OWN_HOST: &str =
        "matrix: { server_name: example.com, host: m.example.com, home: 10.77.0.2:8008 }\n";
    const ROUTES: [&str; 4] = [
        "/.well-known/matrix/: well-known",
        "/_matrix/: home",
        "/_synapse/client/: home",
        "/_synapse/: deny",
    ];

    #[test]
    fn two_facts_make_the_whole_porch() {
        let config = config(TWO_FACTS);
        assert_eq!(
            listeners(&config),
            [
                "https true [::]:443? 0.0.0.0:443",
                "federation true [::]:8448? 0.0.0.0:8448",
                "http false [::]:80? 0.0.0.0:80"
            ]
        );
        assert_eq!(config.upstreams.len(), 1);
        assert_eq!(config.sites.len(), 1);
        assert_eq!(routes(&config.sites[0]), ROUTES);
        assert_eq!(
            config.sites[0].listeners.iter().map(|name| &**name).collect::<Vec<_>>(),
            ["https", "federation"]
        );
        let documents = &config.homeservers[0].well_known;
        assert_eq!(documents.server.as_deref(), Some(&b"{\"m.server\":\"example.com:443\"}"[..]));
        assert_eq!(documents.support, None);
    }

    #[test]
    fn each_host_has_its_site() {
        let config = config(OWN_HOST);
        assert_eq!(config.sites.len(), 2);
        for host in ["example.com", "m.example.com"] {
            assert_eq!(routes(site(&config, host)), ROUTES);
        }
    }

    #[test]
    fn a_website_elsewhere_has_no_site() {
        let config = config(&OWN_HOST.replace("home:", "serve_server_name: false, home:"));
        assert_eq!(config.sites.iter().map(|site| &*site.name).collect::<Vec<_>>(), ["m.example.com"]);
    }

    #[test]
    fn a_written_site_absorbs_every_site_it_shares_a_host_with() {
        let text = OWN_HOST.to_owned()
            + "sites: [ { hosts: [ m.example.com, example.com, www.example.com ], listeners: [ https ], routes: \
               [ { path: /, deny: true }, { path: /_synapse/client, deny: true } ] } ]";
        let config = config(&text);
        assert_eq!(config.sites.len(), 1);
        let merged = ["/: deny", "/_synapse/client: deny", ROUTES[0], ROUTES[1], ROUTES[3]];
        assert_eq!(routes(&config.sites[0]), merged);
        assert_eq!(config.sites[0].listeners.len(), 1);
    }

    #[test]
    fn listeners_and_upstreams_are_replaced_key_by_key() {
        let text = TWO_FACTS.to_owned()
            + "listeners: { https: { bind: [ 127.0.0.1:8443 ] } }\nupstreams: { home: { probe: { every: 7s } } }";
        let config = config(&text);
        assert_eq!(listeners(&config)[0], "https true 127.0.0.1:8443");
        let home = &config.upstreams[0];
        assert_eq!(home.backends[0].address.to_string(), "10.77.0.2:8008");
        assert_eq!((home.probe.every.as_secs(), home.probe.timeout.as_secs()), (7, 3));
    }

    #[test]
    fn what_is_not_said_of_waiting_is_as_usual() {
        let park = |written: &str| {
            let text = format!("{TWO_FACTS}upstreams: {{ home: {{ park: {written} }} }}");
            config(&text).upstreams[0].park.clone()
        };
        let usual = config(TWO_FACTS).upstreams[0].park.clone();
        assert_eq!(usual, Park::default());
        assert_eq!(park("true"), usual);
        assert_eq!(park("{}"), usual);
        assert_eq!(park("false"), Park { most: 0, ..usual.clone() });
        let budgets = Budgets { media: Duration::ZERO, ..usual.budgets.clone() };
        assert_eq!(park("{ media: 0s }"), Park { budgets, ..usual.clone() });
        assert_eq!(park("{ most: 20 }"), Park { most: 20, most_per_client: 20, ..usual });
    }

    #[test]
    fn a_route_says_whether_its_requests_wait() {
        for (written, waits) in [("", None), (", park: true", Some(true)), (", park: false", Some(false))] {
            let route = format!("{{ path: /, forward: home{written} }}");
            let config =
                config(&format!("{TWO_FACTS}sites: [ {{ hosts: [ x.example ], routes: [ {route} ] }} ]"));
            let action = &site(&config, "x.example").routes[0].action;
            assert!(matches!(action, Action::Forward(forward) if forward.park == waits), "{action:?}");
        }
    }

    #[test]
    fn without_federation_nobody_listens_on_8448() {
        let config = config(&TWO_FACTS.replace("home:", "federation: false, home:"));
        assert_eq!(config.listeners.iter().map(|l| &*l.name).collect::<Vec<_>>(), ["https", "http"]);
    }

    #[test]
    fn another_homeservers_federation_is_not_this_ones() {
        let config = config(
            "matrix:\n- { server_name: a.example, home: 10.0.0.1:8008 }\n\
             - { server_name: b.example, home: 10.0.0.2:8008, federation: false }\n",
        );
        let on = |host| site(&config, host).listeners.iter().map(|name| &**name).collect::<Vec<_>>();
        assert_eq!(on("a.example"), ["https", "federation"]);
        assert_eq!(on("b.example"), ["https"]);
        assert_eq!(routes(site(&config, "b.example"))[1], "/_matrix/: home-b.example");
    }

    #[test]
    fn element_is_on_https_alone_and_marked() {
        let config =
            config(&TWO_FACTS.replace("home:", "element: { host: web.example.com, root: /srv }, home:"));
        let site = site(&config, "web.example.com");
        assert_eq!(&*site.listeners[0], "https");
        assert_eq!(site.listeners.len(), 1);
        assert!(matches!(&site.routes[0].action, Action::Files(files) if files.element));
    }

    #[test]
    fn the_admin_api_is_open_to_those_listed() {
        let config = config(&TWO_FACTS.replace("home:", "admin_api: { allow: [ 10.77.0.0/24 ] }, home:"));
        let route =
            config.sites[0].routes.iter().find(|route| &*route.path == "/_synapse/admin/").expect("route");
        let access = route.access.as_ref().expect("access");
        assert!(
            access.permits("10.77.0.9".parse().expect("ip"))
                && !access.permits("10.78.0.9".parse().expect("ip"))
        );
    }

    #[test]
    fn delegation_can_be_left_to_dns() {
        let config = config(&TWO_FACTS.replace("home:", "well_known: { server: false }, home:"));
        assert_eq!(config.homeservers[0].well_known.server, None);
    }

    #[test]
    fn the_status_while_home_is_away_is_the_homeservers() {
        let text = TWO_FACTS.replace("home:", "unavailable_status: 429, home:")
            + "upstreams: { other: { backends: [ 10.0.0.9:80 ] } }\n\
               sites: [ { hosts: [ x.example ], routes: [ { path: /, forward: other }, { path: /a/, forward: home } ] } ]";
        let config = config(&text);
        let status = |at: usize| match &site(&config, "x.example").routes[at].action {
            Action::Forward(forward) => forward.unavailable_status.as_u16(),
            other => panic!("{other:?}"),
        };
        assert_eq!((status(0), status(1)), (503, 429));
    }

    #[test]
    fn sites_alone_have_https_and_the_redirect() {
        let config = config("sites: [ { hosts: [ example.com ], routes: [ { path: /, deny: true } ] } ]");
        assert_eq!(config.listeners.iter().map(|l| &*l.name).collect::<Vec<_>>(), ["https", "http"]);
        assert_eq!(config.sites[0].listeners.len(), 1);
    }
}
