//! Homeservers: what is left of the `matrix` section once its listeners, upstreams and sites are made.

use std::sync::Arc;

use crate::config::decode::At;
use crate::config::file::matrix::{Delegation, Homeserver, Homeservers};
use crate::config::model;
use crate::config::model::HostPattern;
use crate::config::preset;
use crate::config::problem::Finding;
use crate::config::resolve::Resolver;
use crate::matrix::documents;

impl Resolver<'_> {
    /// Every homeserver whose upstream exists.
    pub(crate) fn homeservers(&mut self) -> Vec<model::homeserver::Homeserver> {
        let Some(matrix) = &self.file.matrix else { return Vec::new() };
        let list = matrix.list();
        if let Homeservers::Several(several) = matrix
            && several.is_empty()
            && !self.incomplete_sections(&["matrix"])
        {
            let place = self.tree.get("matrix").map_or(crate::config::tree::Place::ROOT, |node| node.place);
            let finding = Finding::error(place, "`matrix` lists no homeserver").label("empty");
            self.findings.push(finding.help("write `server_name` and `home`, or leave out `matrix`"));
        }
        let names: Vec<_> = list.iter().map(|homeserver| homeserver.server_name.clone()).collect();
        self.each_once(&names, |name| format!("homeserver `{name}` is listed twice"));
        list.iter().filter_map(|homeserver| self.homeserver(homeserver, list.len() == 1)).collect()
    }

    fn homeserver(
        &mut self,
        homeserver: &Homeserver,
        only_one: bool,
    ) -> Option<model::homeserver::Homeserver> {
        let host = homeserver.host();
        if !homeserver.serve_server_name && host.value == homeserver.server_name.value.host {
            let finding = Finding::error(host.place, "`serve_server_name: false` leaves no host to serve")
                .label("the same as `server_name`")
                .help(
                    "with the website elsewhere the homeserver needs another `host`, like matrix.example.com",
                );
            self.findings.push(finding);
        }
        let name = At::made(preset::upstream_name(homeserver, only_one), homeserver.home.place);
        let upstream = self.upstream_named(&name)?;
        Some(model::homeserver::Homeserver {
            server_name: homeserver.server_name.to_string().into(),
            host: host.value.0,
            upstream,
            serve_server_name: homeserver.serve_server_name,
            well_known: Arc::new(well_known(homeserver)),
            admin_allow: homeserver.admin_api.allow.iter().map(|net| net.value.0).collect(),
        })
    }

    /// The homeserver that a site with these hosts belongs to.
    pub(crate) fn homeserver_of(
        &self,
        hosts: &[At<crate::config::scalar::name::Pattern>],
    ) -> Option<&Homeserver> {
        let list = self.file.matrix.as_ref().map_or(&[][..], Homeservers::list);
        let has = |name: &str| {
            hosts.iter().any(|host| matches!(&host.value.0, HostPattern::Exact(exact) if **exact == *name))
        };
        let own = |homeserver: &&Homeserver| {
            has(&homeserver.host().value.0) || has(&homeserver.server_name.value.host.0)
        };
        list.iter().find(own)
    }
}

/// The documents of one homeserver.
pub(crate) fn well_known(homeserver: &Homeserver) -> model::route::WellKnown {
    let written = &homeserver.well_known;
    let base_url = format!("https://{}", homeserver.host().value);
    model::route::WellKnown {
        server: match preset::delegation(homeserver) {
            Delegation::To(server) => Some(documents::server(&server.to_string())),
            Delegation::Flag(_) => None,
        },
        client: Some(documents::client(&base_url, &written.client)),
        support: written.support.clone().map(|support| documents::support(&support.into())),
    }
}
