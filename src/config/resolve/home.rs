//! The link home.

use std::time::Duration;

use crate::config::decode::At;
use crate::config::file::home::{self, Update};
use crate::config::model::home as model;
use crate::config::problem::Finding;
use crate::config::resolve::Resolver;
use crate::config::scalar::home::{Interface, PeerKey};
use crate::config::tree::Place;

impl Resolver<'_> {
    /// The link home; empty where nothing was written.
    pub(crate) fn home_link(&mut self) -> model::HomeLink {
        let Some(link) = &self.file.home_link else { return model::HomeLink::default() };
        model::HomeLink {
            wireguard: link.wireguard.as_ref().map(|peer| wireguard(&peer.interface, &peer.peer)),
            address: link.address.as_ref().map(|address| self.address(address)),
        }
    }

    fn address(&mut self, address: &home::Address) -> model::Address {
        let every = address.every;
        if every.value.0 < LEAST_EVERY {
            self.findings.push(
                Finding::error(every.place, "a nameserver is asked once in a second at most")
                    .label("too often")
                    .help("once a minute is usual: 60s"),
            );
        }
        let updates: Vec<At<model::Update>> =
            address.update.iter().filter_map(|update| self.update(update)).collect();
        let targets: Vec<At<String>> =
            updates.iter().map(|update| At::made(target(&update.value), update.place)).collect();
        self.each_once(&targets, |target| format!("{target} is listed twice"));
        model::Address {
            name: address.name.value.0.clone(),
            nameserver: address.nameserver.0.clone(),
            every: every.value.0,
            allow_private: address.allow_private,
            updates: updates.into_iter().map(|update| update.value).collect(),
        }
    }

    fn update(&mut self, written: &At<Update>) -> Option<At<model::Update>> {
        let Update { pf_table, nft_set, file, wireguard_endpoint, owned } = &written.value;
        let flag = owned.is_some_and(|owned| owned.value);
        let pf =
            pf_table.as_ref().map(|table| model::Update::PfTable { table: table.0.clone(), owned: flag });
        let nft = nft_set.as_ref().map(|set| model::Update::NftSet { set: set.0.clone(), owned: flag });
        let file = file.as_ref().map(|path| model::Update::File(path.0.clone()));
        let endpoint = wireguard_endpoint.as_ref().map(|one| model::Update::WireGuardEndpoint {
            wireguard: wireguard(&one.interface, &one.peer),
            port: one.port.0,
        });
        let mut all: Vec<model::Update> = [pf, nft, file, endpoint].into_iter().flatten().collect();
        if all.len() != 1 {
            if !self.incomplete(written.place) {
                self.findings.push(not_one(written.place, all.len()));
            }
            return None;
        }
        let update = all.remove(0);
        let shared = matches!(update, model::Update::PfTable { .. } | model::Update::NftSet { .. });
        if let (false, Some(owned)) = (shared, owned) {
            self.findings.push(
                Finding::error(owned.place, "`owned` is for tables and sets")
                    .label("not here")
                    .help("a file is porchd's anyway, and an endpoint has one address"),
            );
        }
        Some(At::made(update, written.place))
    }
}

/// Below it, a nameserver would be flooded.
const LEAST_EVERY: Duration = Duration::from_secs(1);

fn not_one(place: Place, found: usize) -> Finding {
    let finding = Finding::error(place, "one update is one thing that is told where home is");
    let finding = if found == 0 { finding.label("nothing is told") } else { finding.label("more than one") };
    finding.help("write one of `pf_table`, `nft_set`, `file` and `wireguard_endpoint` in each item")
}

/// What is changed, whatever else is said of it: two updates of one thing would undo each other.
fn target(update: &model::Update) -> String {
    match update {
        model::Update::WireGuardEndpoint { wireguard, .. } => {
            format!("peer {} of {}", wireguard.peer, wireguard.interface)
        }
        update => update.to_string(),
    }
}

fn wireguard(interface: &Interface, peer: &PeerKey) -> model::WireGuard {
    model::WireGuard { interface: interface.0.clone(), peer: peer.0 }
}
