//! What stands in the way of certificates by ACME, as far as the file shows it.
//!
//! Whether names lead here is for a pre-flight to find out.

use crate::config::decode::At;
use crate::config::file::File;
use crate::config::file::acme::{Acme, Challenge, Directory, KnownCa};
use crate::config::file::site::Site;
use crate::config::model::HostPattern;
use crate::config::problem::Finding;
use crate::config::scalar::name::Pattern;
use crate::config::signable;
use crate::config::tree::Place;
use crate::config::warnings::{binds, place_or, tls_listeners};

/// Appends what stands in the way of certificates.
pub(super) fn findings(file: &File, findings: &mut Vec<Finding>) {
    let Some(acme) = &file.acme else { return };
    let hosts: Vec<&At<Pattern>> = tls_sites(file).flat_map(|site| &site.hosts.value).collect();
    if hosts.is_empty() {
        findings.push(
            Finding::warning(acme.place, "there is nothing to order certificates for")
                .label("no site is on a TLS listener")
                .help("set `tls: true` on the listener that the site is on, or leave `acme` out"),
        );
        return;
    }
    findings.extend(staging(acme));
    let public = directories(acme).all(|directory| signable::is_public(directory.url()));
    let both = [Challenge::Http01, Challenge::TlsAlpn01];
    // Whoever has neither port beside a CA of his own has sent the ports here, or told the CA of others.
    if public || both.iter().any(|challenge| listens(file, *challenge)) {
        findings.extend(both.iter().filter_map(|challenge| port(file, acme, *challenge)));
    }
    findings.extend(unused_account(acme));
    findings.extend(hosts.iter().filter(|host| !covered(file, host)).filter_map(|host| {
        let why = signable::refused_by(public, &host.value.0)?;
        Some(not_signed(host, &why.to_string()))
    }));
    findings.extend(hosts.iter().filter_map(|host| address(acme, host)));
    if public {
        findings.extend(example_contact(acme, &hosts));
    }
}

fn tls_sites(file: &File) -> impl Iterator<Item = &At<Site>> {
    file.sites.iter().filter(|site| {
        let on =
            |name: &str| site.listeners.iter().any(|names| names.iter().any(|one| &*one.value.0 == name));
        tls_listeners(file).any(|(name, _)| on(&name.value.0))
    })
}

/// Every CA's directory; in an expanded file all fallbacks have one.
fn directories(acme: &Acme) -> impl Iterator<Item = Directory> {
    let fallbacks = acme.fallback.iter().map(|fallback| fallback.detailed().directory.value);
    std::iter::once(acme.directory.value.clone()).chain(fallbacks)
}

fn staging(acme: &At<Acme>) -> Option<Finding> {
    let staging = acme.directory.value == Directory::Word(KnownCa::LetsEncryptStaging);
    staging.then(|| {
        Finding::warning(place_or(acme.directory.place, acme.place), "letsencrypt-staging is for trials")
            .label("browsers and other homeservers do not trust it")
            .help("when all is well, write `directory: letsencrypt`")
    })
}

/// A challenge for whose port there is no listener.
fn port(file: &File, acme: &At<Acme>, challenge: Challenge) -> Option<Finding> {
    let written = acme.challenge.0.iter().find(|one| one.value == challenge)?;
    let (name, port, kind, other, other_name) = match challenge {
        Challenge::Http01 => ("http-01", 80, "without TLS", Challenge::TlsAlpn01, "tls-alpn-01"),
        Challenge::TlsAlpn01 => ("tls-alpn-01", 443, "with TLS", Challenge::Http01, "http-01"),
    };
    if listens(file, challenge) {
        return None;
    }
    let place = place_or(written.place, place_or(acme.challenge.place, acme.place));
    let instead = match listens(file, other) {
        true => format!(", or leave this one out: `challenge: {other_name}`"),
        false => String::new(),
    };
    Some(
        Finding::warning(place, format!("`{name}` needs port {port}, and no listener {kind} has it"))
            .label("can only fail, unless that port is sent here")
            .help(format!("bind port {port} in `listeners`{instead}")),
    )
}

/// Whether a listener is where this challenge is asked (RFC 8555 section 8.3, RFC 8737 section 3).
fn listens(file: &File, challenge: Challenge) -> bool {
    let (port, tls) = match challenge {
        Challenge::Http01 => (80, false),
        Challenge::TlsAlpn01 => (443, true),
    };
    let mut same = file.listeners.0.iter().filter(|(_, listener)| (listener.tls == Some(true)) == tls);
    same.any(|(_, listener)| binds(listener).iter().any(|bind| bind.address().0.port() == port))
}

/// An account that is for none of the CAs.
fn unused_account(acme: &Acme) -> Option<Finding> {
    let unneeded = |directory: &Directory| directory.needs_account() == Some(false);
    let told = |place: Place, names: &str| {
        Finding::warning(place, "this external account is not used").label(format!("{names} asks for none"))
    };
    let fallbacks: Vec<_> = acme.fallback.iter().map(At::detailed).collect();
    let inherited = |account| fallbacks.iter().any(|one| one.external_account.as_ref() == Some(account));
    let own = acme.external_account.as_ref().filter(|account| !inherited(account));
    if let Some(account) = own.filter(|_| unneeded(&acme.directory)) {
        return Some(told(account.place, &acme.directory.value.to_string()));
    }
    let fallback = fallbacks.iter().find(|one| unneeded(&one.directory) && one.external_account.is_some())?;
    Some(told(fallback.external_account.as_ref()?.place, &fallback.directory.value.to_string()))
}

/// Whether something else than a CA has a certificate for this host, or may have.
fn covered(file: &File, host: &At<Pattern>) -> bool {
    let host = &host.value.0;
    file.tls.internal_ca
        || file.tls.certificates.iter().any(|certificate| {
            let covers = |pattern: &HostPattern| {
                pattern == host || matches!(host, HostPattern::Exact(name) if pattern.matches(name))
            };
            // Without `hosts` the certificate itself says for whom it is: that is told when it is read.
            certificate.hosts.is_empty() || certificate.hosts.iter().any(|pattern| covers(&pattern.value.0))
        })
}

fn not_signed(host: &At<Pattern>, why: &str) -> Finding {
    Finding::warning(host.place, format!("no certificate is ordered for `{}`", host.value))
        .label("browsers will complain")
        .help(why)
        .help("name a certificate for it in `tls.certificates`")
}

/// Let's Encrypt signs addresses in short-lived certificates alone.
fn address(acme: &Acme, host: &At<Pattern>) -> Option<Finding> {
    let HostPattern::Exact(name) = &host.value.0 else { return None };
    let address = name.starts_with('[') || name.parse::<std::net::Ipv4Addr>().is_ok();
    let signs = acme.directory.needs_account() == Some(false);
    let shortlived = acme.profile.as_ref().is_some_and(|profile| &*profile.0 == "shortlived");
    let refused = signable::refused_by(true, &host.value.0).is_some();
    (address && signs && !shortlived && !refused).then(|| {
        Finding::warning(
            host.place,
            format!("{} signs no address without `profile: shortlived`", acme.directory.value),
        )
        .label("an address")
        .help("add `profile: shortlived` to `acme`, or serve a name")
    })
}

/// The contact of an example beside names that are not. CAs refuse it.
fn example_contact(acme: &Acme, hosts: &[&At<Pattern>]) -> Option<Finding> {
    let domain = acme.contact.0.rsplit('@').next()?;
    let real = |host: &&&At<Pattern>| {
        let (HostPattern::Exact(name) | HostPattern::Wildcard(name)) = &host.value.0;
        !is_example(name) && signable::refused_by(true, &host.value.0).is_none()
    };
    (is_example(domain) && hosts.iter().any(|host| real(&host))).then(|| {
        Finding::warning(acme.contact.place, format!("`{}` is nobody's address", acme.contact.value))
            .label("from an example")
            .help("write your own: CAs refuse addresses of example domains")
    })
}

/// Domains that are reserved for examples (RFC 2606).
fn is_example(name: &str) -> bool {
    let of =
        |domain: &str| name.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    ["example.com", "example.org", "example.net", "example", "test", "invalid"]
        .iter()
        .any(|domain| of(domain))
}
