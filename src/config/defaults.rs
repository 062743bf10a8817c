//! Writes every default into the mirror, so that `check --expand` shows what is in force.

use crate::config::decode::At;
use crate::config::file::File;
use crate::config::file::acme::{Acme, Fallback};
use crate::config::file::admin::{Admin, Socket};
use crate::config::file::matrix::Homeserver;
use crate::config::file::park::Park;
use crate::config::file::upstream::{Backend, BackendTls, Probe, Upstream};
use crate::config::preset;
use crate::config::scalar::name::Name;
use crate::config::tree::Place;

/// Fills in what was not written. Filling twice changes nothing more.
pub(crate) fn fill(file: &mut File) {
    if let Some(matrix) = &mut file.matrix {
        matrix.list_mut().iter_mut().for_each(homeserver);
    }
    if let Some(acme) = &mut file.acme {
        self::acme(&mut acme.value);
    }
    file.state_dir = Some(file.state_dir());
    admin(&mut file.admin);
    for (_, listener) in &mut file.listeners.0 {
        listener.tls.get_or_insert(false);
    }
    for (_, upstream) in &mut file.upstreams.0 {
        self::upstream(upstream);
    }
    let tls = file.listeners.0.iter().filter(|(_, listener)| listener.tls == Some(true));
    let names: Vec<&At<Name>> = tls.map(|(name, _)| name).collect();
    for site in &mut file.sites {
        let place = site.place;
        let made = || names.iter().map(|name| At::made(name.value.clone(), place)).collect();
        site.value.listeners.get_or_insert_with(|| At::made(made(), place));
    }
}

fn homeserver(homeserver: &mut Homeserver) {
    homeserver.host = Some(homeserver.host());
    homeserver.well_known.server = Some(preset::delegation(homeserver));
}

fn acme(acme: &mut Acme) {
    for fallback in &mut acme.fallback {
        let mut detailed = fallback.detailed();
        // The account was written for the one CA of these that asks for one.
        if detailed.directory.needs_account() == Some(true) && detailed.external_account.is_none() {
            detailed.external_account.clone_from(&acme.external_account);
        }
        fallback.value = Fallback::Detailed(detailed);
    }
}

fn admin(admin: &mut Admin) {
    let place = admin.socket.as_ref().map_or(Place::ROOT, |socket| socket.place);
    let socket = admin.socket().map_or(Socket::Flag(false), Socket::Detailed);
    admin.socket = Some(At::made(socket, place));
}

fn upstream(upstream: &mut Upstream) {
    for backend in upstream.backends.iter_mut().flat_map(|backends| &mut backends.value) {
        backend.value = Backend::Detailed(backend.detailed());
    }
    upstream.balance = Some(upstream.balance());
    probe(&mut upstream.probe);
    upstream.connect_timeout = Some(upstream.connect_timeout());
    let place = upstream.idle_timeout.map_or(Place::ROOT, |time| time.place);
    upstream.idle_timeout = Some(At::made(upstream.idle_timeout(), place));
    upstream.tls.get_or_insert(BackendTls::Flag(false));
    upstream.park = Some(park(upstream));
}

fn park(upstream: &Upstream) -> Park {
    let Some(mut park) = upstream.park() else { return Park::Flag(false) };
    let place = park.most_per_client.map_or(Place::ROOT, |most| most.place);
    park.most_per_client = Some(At::made(park.most_per_client(), place));
    Park::Detailed(park)
}

fn probe(probe: &mut Probe) {
    if !probe.tcp() {
        let place = probe.path.as_ref().map_or(Place::ROOT, |path| path.place);
        probe.path = Some(At::made(probe.path(), place));
    }
    probe.tcp = Some(probe.tcp());
    probe.every = Some(probe.every());
    probe.every_when_down = Some(probe.every_when_down());
    probe.timeout = Some(probe.timeout());
    probe.down_after = Some(probe.down_after());
    probe.up_after = Some(probe.up_after());
}
