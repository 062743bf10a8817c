//! Listeners and certificates.

use crate::config::decode::At;
use crate::config::file::listener::{self, Bind};
use crate::config::model;
use crate::config::problem::Finding;
use crate::config::resolve::Resolver;
use crate::config::scalar::name::Name;
use crate::config::tree::Place;

impl Resolver<'_> {
    /// Every listener; those without an address are told and left out.
    pub(crate) fn listeners(&mut self) -> Vec<model::Listener> {
        let file = self.file;
        let mut binds: Vec<(At<Bind>, &At<Name>)> = Vec::new();
        let mut listeners = Vec::new();
        for (name, listener) in &file.listeners.0 {
            for bind in listener.bind.iter().flat_map(|binds| &binds.value) {
                self.bound_once(bind, name, &binds);
                binds.push((bind.clone(), name));
            }
            listeners.extend(self.listener(name, listener));
        }
        listeners
    }

    fn bound_once(&mut self, bind: &At<Bind>, name: &At<Name>, others: &[(At<Bind>, &At<Name>)]) {
        let address = bind.address().0;
        // Port 0 asks for any free port: twice is two ports.
        let same = |(other, _): &&(At<Bind>, _)| other.address().0 == address && address.port() != 0;
        if let Some((first, other)) = others.iter().find(same) {
            let both = if other.value == name.value { "twice" } else { "by two listeners" };
            let finding = Finding::error(bind.place, format!("{address} is bound {both}"))
                .label(format!("by `{}`", name.value))
                .also(first.place, format!("by `{}` here", other.value));
            self.findings.push(finding);
        }
    }

    fn listener(&mut self, name: &At<Name>, listener: &listener::Listener) -> Option<model::Listener> {
        let binds = listener.bind.as_ref().map_or(&[][..], |binds| &binds.value);
        if binds.is_empty() {
            let place = listener.bind.as_ref().map_or(name.place, |binds| binds.place);
            if !self.incomplete(place) {
                self.findings.push(no_address(name, place));
            }
            return None;
        }
        let from = listener.proxy_protocol.as_ref().map(|proxy| &proxy.from);
        if let Some(from) = from.filter(|from| from.is_empty() && !self.incomplete(from.place)) {
            self.findings.push(
                Finding::error(from.place, "nobody may send the PROXY protocol header")
                    .label("empty")
                    .help("list the balancers' addresses, or leave out `proxy_protocol`"),
            );
        }
        Some(model::Listener {
            name: name.value.0.clone(),
            binds: binds
                .iter()
                .map(|bind| model::Bind { addr: bind.address().0, best_effort: bind.best_effort() })
                .collect(),
            tls: listener.tls.unwrap_or(false),
            proxy_protocol: from.map(|from| from.iter().map(|net| net.0).collect()).unwrap_or_default(),
        })
    }

    /// Certificates and versions.
    pub(crate) fn tls(&mut self) -> model::Tls {
        let tls = &self.file.tls;
        for certificate in &tls.certificates {
            self.each_once(&certificate.hosts, |host| format!("`{host}` is listed twice"));
        }
        let certificate = |certificate: &At<listener::Certificate>| model::Certificate {
            hosts: certificate.hosts.iter().map(|host| host.value.0.clone()).collect(),
            cert: certificate.cert.0.clone(),
            key: certificate.key.0.clone(),
        };
        model::Tls {
            min_version: match tls.min_version {
                listener::TlsVersion::Tls12 => model::TlsVersion::Tls12,
                listener::TlsVersion::Tls13 => model::TlsVersion::Tls13,
            },
            certificates: tls.certificates.iter().map(certificate).collect(),
            internal_ca: tls.internal_ca,
        }
    }
}

fn no_address(name: &At<Name>, place: Place) -> Finding {
    Finding::error(place, format!("listener `{}` has no address", name.value))
        .label("needs `bind`")
        .help("like `bind: [ \"[::]:443\", \"0.0.0.0:443\" ]`")
}
