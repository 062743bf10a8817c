//! What an nft set with `auto-merge` makes of neighbours: one range, out of which an address is taken again. Pure.

use std::fmt;
use std::net::IpAddr;

/// Most addresses of a range that is taken apart. A larger one is a network that somebody put there.
const MOST: u128 = 16;

/// All addresses from the first to the last, both in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    first: IpAddr,
    last: IpAddr,
}

impl Span {
    /// The one with `ip` in it, of what `nft get element` says: `elements = { 5.9.1.7-5.9.1.8 }`, or `5.9.1.8/31`.
    pub(super) fn around(ip: IpAddr, said: &str) -> Option<Self> {
        let (_, elements) = said.split_once("elements = {")?;
        let (elements, _) = elements.split_once('}')?;
        let all = elements.split(',').filter_map(|one| Self::read(one.split_whitespace().next()?));
        all.into_iter().find(|span| span.holds(ip))
    }

    fn read(text: &str) -> Option<Self> {
        if let Some((first, last)) = text.split_once('-') {
            return Some(Self { first: first.parse().ok()?, last: last.parse().ok()? });
        }
        let Some((first, bits)) = text.split_once('/') else {
            let ip = text.parse().ok()?;
            return Some(Self { first: ip, last: ip });
        };
        let first: IpAddr = first.parse().ok()?;
        let free = width(first).checked_sub(bits.parse::<u32>().ok()?)?;
        let others = 1_u128.checked_shl(free).map_or(u128::MAX, |all| all - 1);
        Some(Self { first, last: of(number(first) | others, first) })
    }

    fn holds(&self, ip: IpAddr) -> bool {
        let one_family = self.first.is_ipv4() == ip.is_ipv4() && self.last.is_ipv4() == ip.is_ipv4();
        one_family && self.first <= ip && ip <= self.last
    }

    /// Whether it is one address.
    pub(super) fn is_one(&self) -> bool {
        self.first == self.last
    }

    /// What is left without `ip`, which is in it. `None`: it is large, or `ip` is in the middle; then it is a network
    /// rather than neighbours that have met.
    pub(super) fn without(&self, ip: IpAddr) -> Option<Self> {
        let (first, last) = (number(self.first), number(self.last));
        if self.is_one() || last - first >= MOST {
            return None;
        }
        if ip == self.first {
            return Some(Self { first: of(first + 1, ip), ..*self });
        }
        (ip == self.last).then(|| Self { last: of(last - 1, ip), ..*self })
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_one() { write!(f, "{}", self.first) } else { write!(f, "{}-{}", self.first, self.last) }
    }
}

fn width(ip: IpAddr) -> u32 {
    if ip.is_ipv4() { 32 } else { 128 }
}

fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => u128::from(ip.to_bits()),
        IpAddr::V6(ip) => ip.to_bits(),
    }
}

/// The address of this number, of the family of `like`.
fn of(number: u128, like: IpAddr) -> IpAddr {
    match like {
        // Numbers of its addresses fit.
        IpAddr::V4(_) => IpAddr::V4(u32::try_from(number).unwrap_or(u32::MAX).into()),
        IpAddr::V6(_) => IpAddr::V6(number.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn what_is_left_of_a_range() {
        for (said, address, range, left) in [
            ("5.9.1.7-5.9.1.8", "5.9.1.7", "5.9.1.7-5.9.1.8", Some("5.9.1.8")),
            ("5.9.1.7-5.9.1.9", "5.9.1.9", "5.9.1.7-5.9.1.9", Some("5.9.1.7-5.9.1.8")),
            ("5.9.1.8/31", "5.9.1.9", "5.9.1.8-5.9.1.9", Some("5.9.1.8")),
            ("2a01::1-2a01::2", "2a01::1", "2a01::1-2a01::2", Some("2a01::2")),
            ("5.9.1.7-5.9.1.9", "5.9.1.8", "5.9.1.7-5.9.1.9", None),
            ("5.9.1.0/24", "5.9.1.0", "5.9.1.0-5.9.1.255", None),
            ("2a01::/64", "2a01::", "2a01::-2a01::ffff:ffff:ffff:ffff", None),
            ("::/0", "::", "::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", None),
            ("5.9.1.7", "5.9.1.7", "5.9.1.7", None),
            ("1.1.1.1, 5.9.1.7 counter packets 1 bytes 2", "5.9.1.7", "5.9.1.7", None),
        ] {
            let text =
                format!("table inet filter {{\n\tset homeip {{\n\t\telements = {{ {said} }}\n\t}}\n}}");
            let span = Span::around(ip(address), &text).unwrap();
            assert_eq!(span.to_string(), range);
            assert_eq!(span.without(ip(address)).map(|left| left.to_string()).as_deref(), left, "{said}");
        }
    }

    #[test]
    fn what_is_no_range_around_it_is_none() {
        for said in [
            "",
            "elements = { }",
            "elements = { 5.9.1.8 }",
            "elements = { 5.9.1.0/40 }",
            "elements = { x-y }",
        ] {
            assert_eq!(Span::around(ip("5.9.1.7"), said), None, "{said}");
        }
    }
}
