//! Sites.

use std::sync::Arc;

use crate::config::decode::At;
use crate::config::file::site;
use crate::config::model;
use crate::config::problem::Finding;
use crate::config::resolve::Resolver;
use crate::config::scalar::name::{Name, Pattern};
use crate::config::scalar::web::Field;
use crate::config::words;

impl Resolver<'_> {
    /// Every site. No host is in two sites of one listener.
    pub(crate) fn sites(&mut self) -> Vec<model::Site> {
        let file = self.file;
        let mut taken: Vec<(Arc<str>, &At<Pattern>)> = Vec::new();
        let mut sites = Vec::new();
        for site in &file.sites {
            let listeners = self.site_listeners(site);
            self.each_once(&site.hosts, |host| format!("host `{host}` is listed twice"));
            for host in &site.hosts.value {
                let other =
                    taken.iter().find(|(on, other)| other.value == host.value && listeners.contains(on));
                if let Some((on, other)) = other {
                    let finding =
                        Finding::error(host.place, format!("host `{}` is in two sites", host.value))
                            .label(format!("again on listener `{on}`"))
                            .also(other.place, "first here")
                            .help("put the routes of both into one site");
                    self.findings.push(finding);
                }
            }
            // A host that is listed twice in one site was told above.
            let places = listeners.iter().flat_map(|on| site.hosts.iter().map(|host| (on.clone(), host)));
            taken.extend(places);
            sites.extend(self.site(site, listeners));
        }
        sites
    }

    fn site_listeners(&mut self, site: &At<site::Site>) -> Vec<Arc<str>> {
        let Some(names) = &site.listeners else { return Vec::new() };
        if names.is_empty() && !self.incomplete(names.place) && !self.incomplete_sections(&["listeners"]) {
            let finding = if names.place == site.place {
                Finding::error(site.place, "this site is on no listener: none speaks TLS")
                    .label("needs `listeners`")
                    .help("by default a site is on every TLS listener; name the others with `listeners: [ name ]`")
            } else {
                Finding::error(names.place, "this site is on no listener").label("empty")
            };
            self.findings.push(finding);
        }
        self.each_once(names, |name| format!("listener `{name}` is listed twice"));
        let found: Vec<_> = names.iter().filter(|name| self.has_listener(name)).collect();
        found.iter().map(|name| name.value.0.clone()).collect()
    }

    fn has_listener(&mut self, name: &At<Name>) -> bool {
        let listeners = &self.file.listeners;
        if listeners.get(&name.value.0).is_some() {
            return true;
        }
        if !self.incomplete_sections(&["matrix", "listeners"]) {
            let finding = Finding::error(name.place, format!("there is no listener `{}`", name.value));
            let names: Vec<&str> = listeners.names().collect();
            let finding = match words::nearest(&name.value.0, names.iter().copied()) {
                Some(near) => finding.label(format!("did you mean `{near}`?")),
                None => finding.label("not among `listeners`"),
            };
            self.findings.push(finding.help(format!("the listeners are {}", words::listed(&names))));
        }
        false
    }

    fn site(&mut self, site: &At<site::Site>, listeners: Vec<Arc<str>>) -> Option<model::Site> {
        let Some(first) = site.hosts.first() else {
            if !self.incomplete(site.hosts.place) {
                let finding = Finding::error(site.hosts.place, "this site has no host").label("empty");
                self.findings.push(finding.help("a site answers for the hosts that it lists"));
            }
            return None;
        };
        let paths: Vec<_> =
            site.routes.iter().map(|route| At::made(route.path.value.clone(), route.path.place)).collect();
        self.each_once(&paths, |path| format!("two routes of one site have the path `{path}`"));
        let routes = site.routes.iter().filter_map(|route| self.route(site, route)).collect();
        Some(model::Site {
            name: first.value.to_string().into(),
            hosts: site.hosts.iter().map(|host| host.value.0.clone()).collect(),
            listeners,
            hsts: site.hsts.as_ref().map(|hsts| model::Hsts {
                max_age: hsts.max_age.0,
                subdomains: hsts.subdomains,
                preload: hsts.preload,
            }),
            headers: self.headers(&site.headers),
            access: site.access.as_ref().map(access).unwrap_or_default(),
            error_pages: site.error_pages.as_ref().map(|folder| folder.0.clone()),
            routes,
        })
    }

    /// Header changes; names that differ in case alone are one header.
    pub(crate) fn headers(&mut self, headers: &site::Headers) -> model::HeaderEdits {
        for edits in [&headers.request, &headers.response] {
            let names: Vec<At<Field>> = edits.set.iter().map(|(name, _)| name.clone()).collect();
            self.each_once(&names, |name| format!("header `{name}` is set twice"));
        }
        model::HeaderEdits { request: edits(&headers.request), response: edits(&headers.response) }
    }
}

fn edits(edits: &site::Edits) -> model::Edits {
    model::Edits {
        set: edits.set.iter().map(|(name, value)| (name.value.0.clone(), value.0.clone())).collect(),
        remove: edits.remove.iter().map(|name| name.0.clone()).collect(),
    }
}

/// Who may use it.
pub(crate) fn access(access: &site::Access) -> model::Access {
    let nets = |nets: &[crate::config::scalar::address::Net]| nets.iter().map(|net| net.0).collect();
    model::Access { deny: nets(&access.deny), allow: nets(&access.allow) }
}
