//! What is odd about upstreams, above all about the one that is home.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;

use crate::config::decode::At;
use crate::config::file::File;
use crate::config::file::upstream::{Backend, BackendTls, Upstream};
use crate::config::model::BackendAddress;
use crate::config::networks;
use crate::config::problem::Finding;
use crate::config::scalar::name::Name;
use crate::config::warnings::{binds, homes, place_or};

/// How long Synapse keeps an idle connection: twisted.web.http's `_REQUEST_TIMEOUT`; it can't be set.
const SYNAPSE_KEEPS: Duration = Duration::from_secs(60);

/// Appends what is odd about upstreams.
pub(super) fn findings(file: &File, findings: &mut Vec<Finding>) {
    let homes = homes(file);
    for (name, upstream) in &file.upstreams.0 {
        let is_home = homes.contains(&name.value);
        if is_home {
            findings.extend(idle(name, upstream));
            findings.extend(other_host(name, upstream));
        } else {
            findings.extend(unused(file, name));
        }
        for backend in upstream.backends.iter().flat_map(|backends| &backends.value) {
            findings.extend(localhost(backend));
            findings.extend(own_listener(file, backend));
            if is_home && matches!(upstream.tls, None | Some(BackendTls::Flag(false))) {
                findings.extend(public(backend));
            }
        }
    }
}

fn idle(name: &At<Name>, upstream: &Upstream) -> Option<Finding> {
    let time = upstream.idle_timeout.filter(|time| time.value.0 >= SYNAPSE_KEEPS)?;
    Some(
        Finding::warning(
            place_or(time.place, name.place),
            "idle connections are kept longer than Synapse keeps them",
        )
        .label("Synapse closes them after 60s")
        .help("a request on a connection that home is just closing must be sent again, or fails: stay below, like 25s"),
    )
}

fn other_host(name: &At<Name>, upstream: &Upstream) -> Option<Finding> {
    let host = upstream.host.as_ref()?;
    Some(
        Finding::warning(name.place, format!("Synapse is told the host `{host}` instead of the client's"))
            .label("sets `host`")
            .help("Synapse builds links from the host that the client used: leave `host` out"),
    )
}

fn unused(file: &File, name: &At<Name>) -> Option<Finding> {
    let mut forwards =
        file.sites.iter().flat_map(|site| &site.routes).filter_map(|route| route.forward.as_ref());
    let used = forwards.any(|forward| forward.value == name.value);
    (!used).then(|| {
        Finding::warning(name.place, format!("upstream `{}` is not used", name.value))
            .label("no route forwards to it")
    })
}

fn localhost(backend: &At<Backend>) -> Option<Finding> {
    let BackendAddress::Name(name, port) = &backend.address().0 else { return None };
    (&**name == "localhost").then(|| {
        Finding::warning(backend.place, "`localhost` is two addresses, ::1 and 127.0.0.1")
            .label("and the backend may have one of them alone")
            .help(format!("write the one that it listens on: 127.0.0.1:{port} or \"[::1]:{port}\""))
    })
}

fn public(backend: &At<Backend>) -> Option<Finding> {
    let BackendAddress::Socket(addr) = backend.address().0 else { return None };
    (!networks::is_private(&IpNet::from(addr.ip()))).then(|| {
        Finding::warning(backend.place, "home has a public address, and the way there is not encrypted")
            .label("everything can be read on the way")
            .help("go through a tunnel such as WireGuard and write the address inside it, or set `tls` on the upstream")
    })
}

fn own_listener(file: &File, backend: &At<Backend>) -> Option<Finding> {
    let BackendAddress::Socket(to) = backend.address().0 else { return None };
    let reaches = |bind: SocketAddr| {
        let same_family = bind.is_ipv4() == to.is_ipv4();
        let any = bind.ip().is_unspecified() && is_loopback(to.ip());
        bind.port() == to.port() && same_family && (bind.ip() == to.ip() || any)
    };
    let mut named =
        file.listeners.0.iter().flat_map(|(name, listener)| binds(listener).iter().map(move |b| (name, b)));
    let (name, bind) = named.find(|(_, bind)| reaches(bind.address().0))?;
    let finding = Finding::warning(backend.place, format!("{to} is porchd's own listener `{}`", name.value))
        .label("requests would go round in circles")
        .help("write the backend's own address and port");
    Some(if name.place == bind.place { finding } else { finding.also(bind.place, "bound here") })
}

fn is_loopback(ip: IpAddr) -> bool {
    ip.is_loopback()
}
