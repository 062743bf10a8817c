//! What a configuration amounts to, in a few lines for a person.

use std::fmt::Write;

use crate::acme::wanted::Wanted;
use crate::config::model::acme::Acme;
use crate::config::model::homeserver::Homeserver;
use crate::config::model::route::{Action, Route};
use crate::config::model::{Backend, BackendAddress, Config, Listener, ProbeKind, Site, Upstream};
use crate::matrix::cors;

/// The summary of `config`, which is called `name`; `ordered`: for each certificate to order, its names.
pub(super) fn of(config: &Config, name: &str, warnings: usize, ordered: &[Wanted]) -> String {
    let warnings = match warnings {
        0 => String::new(),
        1 => String::from(", with 1 warning"),
        more => format!(", with {more} warnings"),
    };
    let mut text = format!("{name}: ok{warnings}\n");
    for homeserver in &config.homeservers {
        row(&mut text, "homeserver", &of_homeserver(homeserver));
    }
    for listener in &config.listeners {
        row(&mut text, "listener", &of_listener(listener));
    }
    for upstream in &config.upstreams {
        row(&mut text, "upstream", &of_upstream(upstream));
    }
    for site in &config.sites {
        row(&mut text, "site", &of_site(site));
        for route in &site.routes {
            row(&mut text, "", &format!("  {}", of_route(route)));
        }
    }
    if let Some(acme) = &config.acme {
        row(&mut text, "acme", &of_acme(acme));
        ordered.iter().for_each(|wanted| row(&mut text, "", &format!("  {}", wanted.names.join(", "))));
        row(&mut text, "state", &config.state_dir.display().to_string());
    }
    for homeserver in config.homeservers.iter().filter(|homeserver| !homeserver.serve_server_name) {
        text += &elsewhere(homeserver);
    }
    text
}

fn row(text: &mut String, kind: &str, line: &str) {
    text.push_str(format!("  {kind:<10}  {line}").trim_end());
    text.push('\n');
}

fn list<T: ToString>(things: impl IntoIterator<Item = T>) -> String {
    things.into_iter().map(|thing| thing.to_string()).collect::<Vec<_>>().join(", ")
}

/// From which CA certificates come, by which challenges, and whom the CA may write to.
fn of_acme(acme: &Acme) -> String {
    let authorities: Vec<_> = acme.authorities.iter().map(|authority| &*authority.name).collect();
    let challenges: Vec<_> = acme.challenges.iter().map(|challenge| challenge.as_str()).collect();
    let (authorities, challenges) = (authorities.join(", else "), challenges.join(", then "));
    format!("from {authorities} by {challenges}, for {}", acme.contact)
}

fn of_homeserver(homeserver: &Homeserver) -> String {
    let admin = match homeserver.admin_allow.as_slice() {
        [] => String::from("admin API denied"),
        nets => format!("admin API for {}", list(nets)),
    };
    let Homeserver { server_name, host, upstream, .. } = homeserver;
    format!("{server_name} at https://{host}, its Synapse is upstream {upstream}, {admin}")
}

fn of_listener(listener: &Listener) -> String {
    let binds = listener.binds.iter().map(|bind| {
        let address = bind.addr.to_string();
        if bind.best_effort { address + " (if there is IPv6)" } else { address }
    });
    let tls = if listener.tls { "TLS" } else { "no TLS" };
    let proxies = match listener.proxy_protocol.as_slice() {
        [] => String::new(),
        nets => format!(", PROXY protocol from {}", list(nets)),
    };
    format!("{} on {}, {tls}{proxies}", listener.name, list(binds))
}

fn of_upstream(upstream: &Upstream) -> String {
    let backends = list(upstream.backends.iter().map(of_backend));
    let scheme = if upstream.tls.is_some() { ", https" } else { "" };
    let probe = match &upstream.probe.kind {
        ProbeKind::Http(path) => format!("probed at {path}"),
        ProbeKind::Tcp => String::from("probed by connecting"),
    };
    format!("{} at {backends}{scheme}, {probe}", upstream.name)
}

fn of_backend(backend: &Backend) -> String {
    let mut text = backend.address.to_string();
    if matches!(backend.address, BackendAddress::Name(..)) {
        text += " (looked up)";
    }
    if backend.weight != 1 {
        text += &format!(" (weight {})", backend.weight);
    }
    if backend.backup {
        text += " (backup)";
    }
    text
}

fn of_site(site: &Site) -> String {
    format!("{} on {}", list(&site.hosts), list(&site.listeners))
}

fn of_route(route: &Route) -> String {
    let action = match &route.action {
        Action::WellKnown(_) => String::from("discovery documents"),
        Action::Forward(forward) => match &forward.strip {
            None => format!("to {}", forward.upstream),
            Some(strip) => format!("to {} without {strip}", forward.upstream),
        },
        Action::Redirect(redirect) => format!("redirected to {} ({})", redirect.to, redirect.status.as_u16()),
        Action::Respond(respond) => format!("answered with {}", respond.status.as_u16()),
        Action::Deny => String::from("denied"),
        Action::Files(files) => format!("files in {}", files.root.display()),
    };
    let access = match &route.access {
        Some(access) if !access.allow.is_empty() => format!(", for {} alone", list(&access.allow)),
        Some(access) if !access.deny.is_empty() => format!(", not for {}", list(&access.deny)),
        _ => String::new(),
    };
    format!("{:<24} {action}{access}", route.path)
}

/// What the website of `server_name` must serve when porchd does not.
fn elsewhere(homeserver: &Homeserver) -> String {
    let name = &homeserver.server_name;
    let mut text = format!("\nThe website of {name} is elsewhere and must answer:\n");
    let documents = [("server", &homeserver.well_known.server), ("client", &homeserver.well_known.client)];
    for (document, body) in documents {
        let Some(body) = body else { continue };
        let body = String::from_utf8_lossy(body);
        let _ = write!(text, "\n  https://{name}/.well-known/matrix/{document}\n    {body}\n");
    }
    let mut headers = http::HeaderMap::new();
    cors::apply(&mut headers);
    text += "\nboth as Content-Type: application/json, and with the header (browsers need it)\n";
    if let Some(origin) = headers.get(http::header::ACCESS_CONTROL_ALLOW_ORIGIN) {
        let _ = writeln!(text, "    Access-Control-Allow-Origin: {}", origin.to_str().unwrap_or("*"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    #[test]
    fn a_website_elsewhere_is_told_what_to_serve() {
        let text = "matrix: { server_name: example.com, host: m.example.com, serve_server_name: false, \
                    home: 10.77.0.2:8008 }\ntls: { internal_ca: true }\n";
        let summary = of(&config::load(text, "t").expect("valid").config, "t", 0, &[]);
        for line in [
            "https://example.com/.well-known/matrix/server",
            "{\"m.server\":\"m.example.com:443\"}",
            "{\"m.homeserver\":{\"base_url\":\"https://m.example.com\"}}",
            "Access-Control-Allow-Origin: *",
        ] {
            assert!(summary.contains(line), "{line} is not in\n{summary}");
        }
    }
}
