//! Which names are ordered for which site. Pure.
//!
//! Which hosts no CA signs for is `config::signable`'s to say, and the configuration's warnings tell it. What is
//! ordered when is `schedule`'s affair.

use std::sync::Arc;

use crate::config::model::{Config, HostPattern};
use crate::config::signable;
use crate::tls;

/// What one site's certificate should name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The site's name.
    pub site: Arc<str>,
    /// Its hosts as configured (IPv6 addresses in brackets), each in no other site; at least one.
    pub names: Vec<Arc<str>>,
}

/// What is to be ordered for the TLS sites of `config`, where nothing else has `covered` it.
///
/// A host is ordered for the first site that has it. Without `acme` nothing is ordered.
pub fn wanted(config: &Config, covered: &dyn Fn(&HostPattern) -> bool) -> Vec<Wanted> {
    let mut wanted = Vec::<Wanted>::new();
    let Some(acme) = &config.acme else { return wanted };
    for site in tls::sites(config) {
        for host in site.hosts.iter().filter(|host| !covered(host)) {
            let HostPattern::Exact(name) = host else { continue };
            let elsewhere = wanted.iter().any(|one| one.names.contains(name));
            if elsewhere || signable::refused(acme, host).is_some() {
                continue;
            }
            // Sites of different listeners may have the same first host, and so one name.
            match wanted.iter_mut().find(|one| one.site == site.name) {
                Some(one) => one.names.push(name.clone()),
                None => wanted.push(Wanted { site: site.name.clone(), names: vec![name.clone()] }),
            }
        }
    }
    wanted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::config::model::acme::{Acme, Authority, Challenge, FailingName, KeyType};

    fn config(directory: &str, sites: &[(&[&str], &[&str])]) -> Config {
        let text = "listeners: { https: { bind: [ '127.0.0.1:0' ], tls: true }, \
            federation: { bind: [ '127.0.0.1:0' ], tls: true }, http: { bind: [ '127.0.0.1:0' ] } }\n\
            sites: [ { hosts: [ a.org ], routes: [ { path: /, respond: { status: 204 } } ] } ]";
        let mut config = config::load(text, "t").unwrap().config;
        let any = config.sites.remove(0);
        config.sites.extend(sites.iter().map(|(hosts, listeners)| config::model::Site {
            name: hosts[0].into(),
            hosts: hosts.iter().map(|text| host(text)).collect(),
            listeners: listeners.iter().map(|&name| name.into()).collect(),
            ..any.clone()
        }));
        let authority = Authority {
            name: "x".into(),
            directory: directory.into(),
            ca_file: None,
            profile: None,
            external_account: None,
        };
        config.acme = Some(Acme {
            contact: "admin@a.org".into(),
            authorities: vec![authority],
            challenges: vec![Challenge::Http01],
            key_type: KeyType::P256,
            failing_name: FailingName::LeaveOut,
        });
        config
    }

    fn host(text: &str) -> HostPattern {
        match text.strip_prefix("*.") {
            Some(parent) => HostPattern::Wildcard(parent.into()),
            None => HostPattern::Exact(text.into()),
        }
    }

    fn told(wanted: &[Wanted]) -> Vec<String> {
        wanted.iter().map(|one| format!("{}: {}", one.site, one.names.join(" "))).collect()
    }

    const PUBLIC_CA: &str = "https://acme-v02.api.letsencrypt.org/directory";
    const OWN_CA: &str = "https://letsencrypt.org.lan:14000/dir";
    const TLS: &[&str] = &["https"];

    #[test]
    fn each_tls_site_is_ordered_for_with_the_hosts_that_nothing_covers() {
        let sites: &[(&[&str], &[&str])] = &[
            (&["a.org", "file.a.org", "b.a.org"], TLS),
            (&["plain.org"], &["http"]),
            (&["file.b.org"], TLS),
            (&["c.org"], &["http", "https"]),
        ];
        let covered = |host: &HostPattern| host.to_string().starts_with("file.");
        let wanted = wanted(&config(PUBLIC_CA, sites), &covered);
        assert_eq!(told(&wanted), ["a.org: a.org b.a.org", "c.org: c.org"]);
    }

    #[test]
    fn host_of_two_sites_is_ordered_once_and_sites_of_one_name_together() {
        let sites: &[(&[&str], &[&str])] = &[
            (&["a.org", "b.org"], TLS),
            (&["a.org", "c.org", "c.org"], &["federation"]),
            (&["b.org"], &["federation"]),
        ];
        let wanted = wanted(&config(PUBLIC_CA, sites), &|_| false);
        assert_eq!(told(&wanted), ["a.org: a.org b.org c.org"]);
    }

    #[test]
    fn what_no_ca_signs_is_left_out() {
        let hosts: &[&str] = &["*.a.org", "nas.local", "a.org", "10.0.0.1", "8.8.8.8"];
        let sites: &[(&[&str], &[&str])] = &[(hosts, TLS)];
        let by = |directory: &str| told(&wanted(&config(directory, sites), &|_| false));
        assert_eq!(by(PUBLIC_CA), ["*.a.org: a.org 8.8.8.8"]);
        assert_eq!(by(OWN_CA), ["*.a.org: nas.local a.org 10.0.0.1 8.8.8.8"]);
    }

    #[test]
    fn nothing_is_ordered_without_acme() {
        let mut config = config(PUBLIC_CA, &[(&["a.org", "*.a.org"], TLS)]);
        config.acme = None;
        assert_eq!(wanted(&config, &|_| false), Vec::new());
    }
}
