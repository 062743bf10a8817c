//! What can be used and is probably not what was meant. Only what a person would want to hear.
//!
//! What only the certificates' files or home itself can tell is not here: see `porchd check`.

mod acme;
mod exposure;
mod home;
mod park;
mod site;

use crate::config::decode::At;
use crate::config::file::File;
use crate::config::file::listener::{Bind, Listener};
use crate::config::file::matrix::{Homeserver, Homeservers};
use crate::config::preset;
use crate::config::problem::Finding;
use crate::config::scalar::name::Name;
use crate::config::tree::Place;

/// Everything that is risky in an expanded file.
pub(crate) fn of(file: &File) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(no_certificate(file));
    findings.extend(no_ipv6(file));
    acme::findings(file, &mut findings);
    exposure::findings(file, &mut findings);
    home::findings(file, &mut findings);
    park::findings(file, &mut findings);
    site::findings(file, &mut findings);
    findings
}

fn homeservers(file: &File) -> &[Homeserver] {
    file.matrix.as_ref().map_or(&[], Homeservers::list)
}

/// Names of the upstreams that are a homeserver's Synapse.
fn homes(file: &File) -> Vec<Name> {
    let all = homeservers(file);
    all.iter().map(|homeserver| preset::upstream_name(homeserver, all.len() == 1)).collect()
}

fn tls_listeners(file: &File) -> impl Iterator<Item = &(At<Name>, Listener)> {
    file.listeners.0.iter().filter(|(_, listener)| listener.tls == Some(true))
}

fn binds(listener: &Listener) -> &[At<Bind>] {
    listener.bind.as_ref().map_or(&[], |binds| &binds.value)
}

fn no_certificate(file: &File) -> Option<Finding> {
    let (name, _) = tls_listeners(file).next()?;
    let none = file.tls.certificates.is_empty() && !file.tls.internal_ca && file.acme.is_none();
    none.then(|| {
        Finding::warning(name.place, format!("there is no certificate for listener `{}`", name.value))
            .label("every TLS handshake will fail")
            .help("have them ordered, `acme: { contact: YOUR_ADDRESS }`, or name one in `tls.certificates`")
            .help("for a trial on your own machine: `tls: { internal_ca: true }`")
    })
}

fn no_ipv6(file: &File) -> Option<Finding> {
    let all: Vec<&At<Bind>> = tls_listeners(file).flat_map(|(_, listener)| binds(listener)).collect();
    let ipv6 = all.iter().any(|bind| bind.address().0.is_ipv6());
    let public = all.iter().find(|bind| !bind.address().0.ip().is_loopback())?;
    (!ipv6).then(|| {
        let port = public.address().0.port();
        Finding::warning(public.place, "no TLS listener has an IPv6 address").label("IPv4 alone").help(
            format!(
                "where a host has an AAAA record, clients with IPv6 get no connection: add \"[::]:{port}\""
            ),
        )
    })
}

/// Where a finding about something that may be the preset's own can be shown.
fn place_or(place: Place, other: Place) -> Place {
    if place == Place::ROOT { other } else { place }
}
