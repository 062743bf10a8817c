//! Which site a host belongs to on a listener, and which route a path takes.
//!
//! A pure function of the configuration, built once for each generation. It decides nothing by client
//! address and opens no files; precedence is written in `site`, what a path may mean in `path`.

pub mod hash;
mod path;
pub mod site;

use std::sync::Arc;

use crate::config::model::{Config, HostPattern, Listener, Site};

use self::hash::Map;
use self::site::SiteTable;

/// All sites, by listener and host.
#[derive(Debug)]
pub struct Table {
    listeners: Vec<(Arc<str>, Hosts)>,
}

/// What a host is on a listener.
#[derive(Debug, Clone, Copy)]
pub enum Host<'a> {
    /// It is served here.
    Site(&'a Arc<SiteTable>),
    /// This listener is a plain one and only TLS listeners serve the host.
    ToHttps {
        /// The port to send clients to.
        port: u16,
    },
}

#[derive(Debug, Default)]
struct Hosts {
    exact: Map<Arc<str>, Entry>,
    /// By the part behind `*.`.
    wildcard: Map<Arc<str>, Entry>,
}

#[derive(Debug, Clone)]
enum Entry {
    Site(Arc<SiteTable>),
    ToHttps(u16),
}

impl Table {
    /// Builds the table of one configuration.
    pub fn new(config: &Config) -> Self {
        let sites: Vec<_> = config.sites.iter().map(|site| Arc::new(SiteTable::new(site.clone()))).collect();
        let hosts_of =
            |listener: &Listener| (Arc::clone(&listener.name), Hosts::of(listener, config, &sites));
        Self { listeners: config.listeners.iter().map(hosts_of).collect() }
    }

    /// What `host` (lower case, without port and trailing dot) is on the listener so named.
    pub fn host(&self, listener: &str, host: &str) -> Option<Host<'_>> {
        // A handful of listeners: comparing names is cheaper than hashing one.
        let (_, hosts) = self.listeners.iter().find(|(name, _)| **name == *listener)?;
        Some(match hosts.find(host)? {
            Entry::Site(site) => Host::Site(site),
            Entry::ToHttps(port) => Host::ToHttps { port: *port },
        })
    }

    /// The site that serves `host` on the listener so named.
    pub fn site_of_host(&self, listener: &str, host: &str) -> Option<&Arc<SiteTable>> {
        match self.host(listener, host)? {
            Host::Site(site) => Some(site),
            Host::ToHttps { .. } => None,
        }
    }
}

impl Hosts {
    fn of(listener: &Listener, config: &Config, sites: &[Arc<SiteTable>]) -> Self {
        let mut hosts = Self::default();
        for site in sites {
            let entry = if site.site.listeners.contains(&listener.name) {
                Entry::Site(Arc::clone(site))
            } else if let (false, Some(port)) = (listener.tls, tls_port(&site.site, config)) {
                Entry::ToHttps(port)
            } else {
                continue;
            };
            for pattern in &site.site.hosts {
                hosts.add(pattern, &entry);
            }
        }
        hosts
    }

    fn add(&mut self, pattern: &HostPattern, entry: &Entry) {
        let (map, name) = match pattern {
            HostPattern::Exact(name) => (&mut self.exact, Arc::clone(name)),
            HostPattern::Wildcard(parent) => (&mut self.wildcard, Arc::clone(parent)),
        };
        // No host is in two sites of a listener; but one may be served here and elsewhere by TLS.
        match map.get(&name) {
            Some(Entry::Site(_)) => {}
            _ => drop(map.insert(name, entry.clone())),
        }
    }

    fn find(&self, host: &str) -> Option<&Entry> {
        if let Some(entry) = self.exact.get(host) {
            return Some(entry);
        }
        if self.wildcard.is_empty() {
            return None;
        }
        let (label, parent) = host.split_once('.')?;
        self.wildcard.get(parent).filter(|_| !label.is_empty())
    }
}

/// The port that a site's visitors by TLS come to: 443 if it is among its listeners', else the first.
fn tls_port(site: &Site, config: &Config) -> Option<u16> {
    let its = |listener: &&Listener| listener.tls && site.listeners.contains(&listener.name);
    let listeners = config.listeners.iter().filter(its);
    let mut ports = listeners.flat_map(|listener| &listener.binds).map(|bind| bind.addr.port());
    let first = ports.next()?;
    Some(if ports.any(|port| port == 443) { 443 } else { first })
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::config::model::route::*;
    use crate::config::model::*;

    pub(super) fn route(path: &str, action: Action) -> Route {
        Route { path: Arc::from(path), action, access: None, headers: HeaderEdits::default() }
    }

    pub(super) fn forward(upstream: &str) -> Action {
        Action::Forward(Forward {
            upstream: Arc::from(upstream),
            strip: None,
            unavailable_status: http::StatusCode::SERVICE_UNAVAILABLE,
            park: None,
        })
    }

    pub(super) fn site(hosts: &[&str], listeners: &[&str], routes: Vec<Route>) -> Site {
        let pattern = |host: &&str| match host.strip_prefix("*.") {
            Some(parent) => HostPattern::Wildcard(Arc::from(parent)),
            None => HostPattern::Exact(Arc::from(*host)),
        };
        Site {
            name: Arc::from(hosts[0]),
            hosts: hosts.iter().map(pattern).collect(),
            listeners: listeners.iter().map(|name| Arc::from(*name)).collect(),
            hsts: None,
            headers: HeaderEdits::default(),
            access: Access::default(),
            error_pages: None,
            routes,
        }
    }

    fn listener(name: &str, tls: bool, ports: &[u16]) -> Listener {
        let bind = |port: &u16| Bind { addr: ([0, 0, 0, 0], *port).into(), best_effort: false };
        Listener {
            name: Arc::from(name),
            binds: ports.iter().map(bind).collect(),
            tls,
            proxy_protocol: Vec::new(),
        }
    }

    fn config(listeners: Vec<Listener>, sites: Vec<Site>) -> Config {
        let text = "listeners: { any: { bind: [ '127.0.0.1:0' ], tls: true } }\n\
            sites: [ { hosts: [ a.test ], routes: [ { path: /, respond: { status: 204 } } ] } ]";
        Config { listeners, sites, ..crate::config::load(text, "t").unwrap().config }
    }

    fn example() -> Table {
        let listeners = vec![
            listener("https", true, &[8443, 443]),
            listener("federation", true, &[8448]),
            listener("http", false, &[80]),
        ];
        let sites = vec![
            site(&["a.example", "[::1]"], &["https", "federation"], vec![]),
            site(&["*.a.example"], &["https"], vec![]),
            site(&["fed.example"], &["federation"], vec![]),
            site(&["plain.example"], &["http"], vec![]),
            site(&["both.example"], &["https", "http"], vec![]),
        ];
        Table::new(&config(listeners, sites))
    }

    fn found(table: &Table, listener: &str, host: &str) -> String {
        match table.host(listener, host) {
            Some(Host::Site(site)) => site.site.name.to_string(),
            Some(Host::ToHttps { port }) => format!("to https {port}"),
            None => "nothing".to_owned(),
        }
    }

    #[test]
    fn hosts_are_found_on_their_listeners() {
        let table = example();
        let expected = [
            ("https", "a.example", "a.example"),
            ("federation", "a.example", "a.example"),
            ("https", "[::1]", "a.example"),
            ("https", "x.a.example", "*.a.example"),
            ("https", "x.y.a.example", "nothing"),
            ("https", ".a.example", "nothing"),
            ("federation", "x.a.example", "nothing"),
            ("https", "fed.example", "nothing"),
            ("https", "plain.example", "nothing"),
            ("http", "plain.example", "plain.example"),
            ("http", "both.example", "both.example"),
            ("https", "unknown.example", "nothing"),
            ("nowhere", "a.example", "nothing"),
        ];
        for (listener, host, name) in expected {
            assert_eq!(found(&table, listener, host), name, "{listener} {host}");
        }
    }

    #[test]
    fn plain_listeners_send_to_the_tls_port() {
        let table = example();
        assert_eq!(found(&table, "http", "a.example"), "to https 443");
        assert_eq!(found(&table, "http", "x.a.example"), "to https 443");
        assert_eq!(found(&table, "http", "fed.example"), "to https 8448");
        assert_eq!(found(&table, "http", "evil.example"), "nothing");
        assert!(table.site_of_host("http", "a.example").is_none());
        assert!(table.site_of_host("https", "a.example").is_some());
    }

    #[test]
    fn a_host_served_in_the_clear_is_not_sent_away() {
        let listeners = vec![listener("https", true, &[443]), listener("http", false, &[80])];
        for order in [[0, 1], [1, 0]] {
            let two = [site(&["a.example"], &["https"], vec![]), site(&["a.example"], &["http"], vec![])];
            let sites = order.map(|at: usize| two[at].clone()).to_vec();
            let table = Table::new(&config(listeners.clone(), sites));
            assert_eq!(found(&table, "http", "a.example"), "a.example");
        }
    }
}
