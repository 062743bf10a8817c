//! Which hosts a CA can sign for, by their names alone. Whether a name leads here is not known here.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::config::model::HostPattern;
use crate::config::model::acme::Acme;
use crate::config::networks;

/// Why no CA signs for a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotSigned {
    /// RFC 8555 section 8.3 and RFC 8737 section 3: neither challenge proves a wildcard.
    #[error("wildcards are signed by dns-01 alone, which porchd does not do")]
    Wildcard,
    /// Names that nobody can own (RFC 6761, 6762, 8375, 9476) or that no public DNS has.
    #[error("no public CA signs names that exist in a private network alone")]
    PrivateName,
    /// Addresses that nobody can own.
    #[error("no public CA signs private addresses")]
    PrivateAddress,
}

/// Whether `directory` is of a CA that signs for the world, and so only what the world can reach.
pub fn is_public(directory: &str) -> bool {
    let host = directory.strip_prefix("https://").unwrap_or(directory);
    let host = host.split(['/', ':']).next().unwrap_or_default();
    let below =
        |domain: &&str| host.strip_suffix(*domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    PUBLIC.iter().any(below)
}

/// Where CAs that sign for everybody have their directories.
const PUBLIC: [&str; 8] = [
    "letsencrypt.org",
    "zerossl.com",
    "buypass.com",
    "pki.goog",
    "ssl.com",
    "sectigo.com",
    "digicert.com",
    "actalis.com",
];

/// Why none of the CAs signs for `host`; `None`: one of them may.
pub fn refused(acme: &Acme, host: &HostPattern) -> Option<NotSigned> {
    refused_by(acme.authorities.iter().all(|authority| is_public(&authority.directory)), host)
}

/// The same, where it is known whether all the CAs are public.
pub fn refused_by(public: bool, host: &HostPattern) -> Option<NotSigned> {
    let name = match host {
        HostPattern::Wildcard(_) => return Some(NotSigned::Wildcard),
        HostPattern::Exact(_) if !public => return None,
        HostPattern::Exact(name) => name,
    };
    match name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
        Ok(ip) if ip.is_unspecified() || networks::is_private(&IpNet::from(ip)) => {
            Some(NotSigned::PrivateAddress)
        }
        Ok(_) => None,
        Err(_) => is_private_name(name).then_some(NotSigned::PrivateName),
    }
}

/// Last labels that public DNS does not have, as far as people use them.
const PRIVATE_ENDS: [&str; 12] = [
    "arpa",
    "corp",
    "example",
    "home",
    "internal",
    "invalid",
    "lan",
    "local",
    "localdomain",
    "localhost",
    "onion",
    "test",
];

fn is_private_name(name: &str) -> bool {
    name.rsplit_once('.').is_none_or(|(_, end)| PRIVATE_ENDS.contains(&end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(public: bool, host: &str) -> Option<NotSigned> {
        let pattern = match host.strip_prefix("*.") {
            Some(parent) => HostPattern::Wildcard(parent.into()),
            None => HostPattern::Exact(host.into()),
        };
        refused_by(public, &pattern)
    }

    #[test]
    fn public_authorities_sign_what_the_world_can_reach() {
        for host in ["example.com", "a.b.example.org", "203.0.113.9", "[2001:db8::1]", "local.example.com"] {
            assert_eq!(told(true, host), None, "{host}");
        }
        for host in ["localhost", "porch", "nas.local", "x.home.arpa", "m.internal", "a.localhost", "nas.lan"]
        {
            assert_eq!(told(true, host), Some(NotSigned::PrivateName), "{host}");
        }
        for host in ["10.77.0.2", "127.0.0.1", "[fd00::1]", "[::1]", "0.0.0.0", "100.64.1.1"] {
            assert_eq!(told(true, host), Some(NotSigned::PrivateAddress), "{host}");
        }
    }

    #[test]
    fn an_authority_of_ones_own_signs_all_but_wildcards() {
        for host in ["localhost", "nas.local", "10.77.0.2", "example.com"] {
            assert_eq!(told(false, host), None, "{host}");
        }
        for public in [true, false] {
            assert_eq!(told(public, "*.example.com"), Some(NotSigned::Wildcard));
        }
    }
}
