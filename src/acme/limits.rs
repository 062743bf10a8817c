//! What CAs publish about how often they may be asked. Nothing is counted here.
//!
//! A sliding window is what is held to. Let's Encrypt counts with token buckets that refill evenly over the
//! same time, so whoever stays within the window stays within the bucket.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

/// At most so many within any window of that length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cap {
    /// How many.
    pub most: usize,
    /// Within what time.
    pub window: Duration,
}

/// What one CA allows; `None`: nothing is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// New orders of an account.
    pub orders: Cap,
    /// New accounts from an address.
    pub accounts: Option<Cap>,
    /// Failed validations of a name by an account.
    pub failed_validations: Option<Cap>,
    /// Certificates for names of one registered domain; renewals of the same set of names are exempt.
    pub certificates_of_domain: Option<Cap>,
    /// Certificates for exactly the same set of names, renewals too.
    pub certificates_of_set: Option<Cap>,
}

impl Limits {
    /// The limits of the CA with that directory URL.
    ///
    /// Let's Encrypt's are those of its pages "Rate Limits" and "Staging Environment". Other CAs publish
    /// none, or count by contract: there the back-off after failures and a generous cap on orders must do.
    pub fn of(directory: &str) -> Self {
        match host(directory) {
            "acme-v02.api.letsencrypt.org" => Self {
                orders: cap(300, 3 * HOUR),
                accounts: Some(cap(10, 3 * HOUR)),
                failed_validations: Some(cap(5, HOUR)),
                certificates_of_domain: Some(cap(50, WEEK)),
                certificates_of_set: Some(cap(5, WEEK)),
            },
            "acme-staging-v02.api.letsencrypt.org" => Self {
                orders: cap(1500, 3 * HOUR),
                accounts: Some(cap(50, 3 * HOUR)),
                failed_validations: Some(cap(60, HOUR)),
                certificates_of_domain: Some(cap(30_000, WEEK)),
                certificates_of_set: Some(cap(30_000, WEEK)),
            },
            _ => Self {
                orders: cap(300, 3 * HOUR),
                accounts: Some(cap(10, 3 * HOUR)),
                failed_validations: None,
                certificates_of_domain: None,
                certificates_of_set: None,
            },
        }
    }

    /// For how long what happened there must be remembered.
    pub fn memory(&self) -> Duration {
        let others =
            [self.accounts, self.failed_validations, self.certificates_of_domain, self.certificates_of_set];
        let windows = others.iter().flatten().map(|cap| cap.window);
        windows.fold(self.orders.window, Duration::max)
    }
}

/// What names share the cap on certificates of a registered domain.
///
/// The last two labels, without the public suffix list: for `example.co.uk` that is too wide a group, so it
/// counts too much and never too little. An IPv4 address stands for itself, an IPv6 address for its /64.
pub fn registered_domain(name: &str) -> String {
    match name.trim_start_matches('[').trim_end_matches(']').parse() {
        Ok(IpAddr::V4(address)) => address.to_string(),
        Ok(IpAddr::V6(address)) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).to_string(),
        Err(_) => {
            let mut labels = name.trim_end_matches('.').rsplit('.');
            let (top, second) = (labels.next().unwrap_or_default(), labels.next().unwrap_or_default());
            format!("{second}.{top}").to_ascii_lowercase()
        }
    }
}

const HOUR: u64 = 3600;
const WEEK: u64 = 7 * 24 * HOUR;

const fn cap(most: usize, seconds: u64) -> Cap {
    Cap { most, window: Duration::from_secs(seconds) }
}

/// The host of a URL.
fn host(url: &str) -> &str {
    let behind = url.split_once("://").map_or(url, |(_, behind)| behind);
    behind.split(['/', ':', '?']).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_authorities_have_their_limits_and_others_the_general_ones() {
        let of = |url: &str| Limits::of(url).failed_validations.map(|cap| cap.most);
        assert_eq!(of("https://acme-v02.api.letsencrypt.org/directory"), Some(5));
        assert_eq!(of("https://acme-staging-v02.api.letsencrypt.org/directory"), Some(60));
        for other in ["https://127.0.0.1:14000/dir", "https://acme.zerossl.com/v2/DV90", "nonsense", ""] {
            assert_eq!(of(other), None, "{other}");
            assert!(Limits::of(other).orders.most >= 60, "{other}");
        }
        assert_eq!(
            Limits::of("https://acme-v02.api.letsencrypt.org/directory").memory(),
            Duration::from_secs(WEEK)
        );
    }

    #[test]
    fn names_are_grouped_rather_too_widely() {
        for (name, group) in [
            ("example.com", "example.com"),
            ("a.b.Example.com.", "example.com"),
            ("example.co.uk", "co.uk"),
            ("single", ".single"),
            ("192.0.2.7", "192.0.2.7"),
            ("[2001:db8:1:2:3::4]", "2001:db8:1:2::"),
            ("2001:db8:1:2::9", "2001:db8:1:2::"),
        ] {
            assert_eq!(registered_domain(name), group, "{name}");
        }
    }
}
