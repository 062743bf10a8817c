//! Upstreams.

use std::sync::Arc;

use crate::config::decode::At;
use crate::config::file::park::DetailedPark;
use crate::config::file::upstream::{self, BackendTls};
use crate::config::model;
use crate::config::problem::Finding;
use crate::config::resolve::Resolver;
use crate::config::scalar::name::Name;
use crate::config::words;

impl Resolver<'_> {
    /// Every upstream; those without a backend are told and left out.
    pub(crate) fn upstreams(&mut self) -> Vec<model::Upstream> {
        let file = self.file;
        file.upstreams.0.iter().filter_map(|(name, upstream)| self.upstream(name, upstream)).collect()
    }

    fn upstream(&mut self, name: &At<Name>, upstream: &upstream::Upstream) -> Option<model::Upstream> {
        let backends = self.backends(name, upstream)?;
        if let Some(path) = &upstream.probe.path
            && upstream.probe.tcp()
        {
            self.findings.push(
                Finding::error(path.place, "a probe either asks for a path or only connects")
                    .label("`tcp: true` asks for nothing")
                    .help("leave out one of `path` and `tcp`"),
            );
        }
        Some(model::Upstream {
            name: name.value.0.clone(),
            backends,
            balance: match upstream.balance() {
                upstream::Balance::RoundRobin => model::Balance::RoundRobin,
                upstream::Balance::LeastConnections => model::Balance::LeastConnections,
            },
            probe: probe(&upstream.probe),
            connect_timeout: upstream.connect_timeout().0,
            idle_timeout: upstream.idle_timeout().0,
            response_timeout: upstream.response_timeout.map(|time| time.0),
            tls: upstream.tls.as_ref().and_then(tls),
            host: upstream.host.as_ref().map(|host| host.0.clone()),
            park: self.park(upstream.park()),
        })
    }

    fn backends(&mut self, name: &At<Name>, upstream: &upstream::Upstream) -> Option<Vec<model::Backend>> {
        let written = upstream.backends.as_ref().map_or(&[][..], |backends| &backends.value);
        if written.is_empty() {
            let place = upstream.backends.as_ref().map_or(name.place, |backends| backends.place);
            if !self.incomplete(place) {
                self.findings.push(
                    Finding::error(place, format!("upstream `{}` has no backend", name.value))
                        .label("needs `backends`")
                        .help("like `backends: [ 10.77.0.2:8008 ]`"),
                );
            }
            return None;
        }
        let addresses: Vec<_> =
            written.iter().map(|backend| At::made(backend.address().clone(), backend.place)).collect();
        self.each_once(&addresses, |address| format!("backend {address} is listed twice"));
        if written.iter().all(|backend| backend.detailed().backup) {
            self.findings.push(
                Finding::error(
                    written[0].place,
                    format!("upstream `{}` has nothing but backups", name.value),
                )
                .label("for what?")
                .help("a backup is used while every other backend is Down: leave out `backup` on one"),
            );
        }
        Some(written.iter().map(|written| backend(written)).collect())
    }

    fn park(&mut self, park: Option<DetailedPark>) -> model::park::Park {
        let Some(park) = park else { return model::park::Park { most: 0, ..Default::default() } };
        if park.memory.value.0 == 0 {
            self.findings.push(
                Finding::error(park.memory.place, "nothing can wait without memory")
                    .label("no bytes")
                    .help("to have nothing wait, write `park: false`"),
            );
        }
        model::park::Park {
            most: park.most.0,
            most_per_client: park.most_per_client().0,
            memory: park.memory.0,
            outage: park.outage.0,
            budgets: model::park::Budgets {
                sync: park.sync.0,
                send: park.send.0,
                federation: park.federation.0,
                keys: park.keys.0,
                media: park.media.0,
                login: park.login.0,
                client: park.client.0,
                other: park.other.0,
            },
        }
    }

    /// The upstream of this name as an `Arc`, if it exists; else that is told.
    pub(crate) fn upstream_named(&mut self, name: &At<Name>) -> Option<Arc<str>> {
        if self.file.upstreams.get(&name.value.0).is_some() {
            return Some(name.value.0.clone());
        }
        if !self.incomplete_sections(&["matrix", "upstreams"]) {
            let finding = Finding::error(name.place, format!("there is no upstream `{}`", name.value));
            let names: Vec<&str> = self.file.upstreams.names().collect();
            let finding = match words::nearest(&name.value.0, names.iter().copied()) {
                Some(near) => finding.label(format!("did you mean `{near}`?")),
                None => finding.label("not among `upstreams`"),
            };
            self.findings.push(match names.as_slice() {
                [] => finding.help("there are no upstreams: write one under `upstreams`, with `backends`"),
                names => finding.help(format!("the upstreams are {}", words::listed(names))),
            });
        }
        None
    }
}

fn backend(written: &upstream::Backend) -> model::Backend {
    let backend = written.detailed();
    model::Backend {
        address: backend.address.0,
        weight: backend.weight.0,
        backup: backend.backup,
        max_connections: backend.max_connections.map(|count| count.0),
    }
}

fn probe(probe: &upstream::Probe) -> model::Probe {
    model::Probe {
        kind: if probe.tcp() { model::ProbeKind::Tcp } else { model::ProbeKind::Http(probe.path().0) },
        every: probe.every().0,
        every_when_down: probe.every_when_down().0,
        timeout: probe.timeout().0,
        down_after: probe.down_after().0,
        up_after: probe.up_after().0,
    }
}

fn tls(tls: &BackendTls) -> Option<model::BackendTls> {
    match tls {
        BackendTls::Flag(false) => None,
        BackendTls::Flag(true) => Some(model::BackendTls { server_name: None, ca_file: None }),
        BackendTls::Detailed(tls) => Some(model::BackendTls {
            server_name: tls.server_name.as_ref().map(|host| host.0.clone()),
            ca_file: tls.ca_file.as_ref().map(|file| file.0.clone()),
        }),
    }
}
