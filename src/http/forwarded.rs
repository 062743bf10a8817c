//! What a listed proxy in front says of the client: its address and scheme.
//!
//! Only for connections from `trusted_proxies`; from anybody else these headers are a stranger's words,
//! and `headers` never passes them on.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Whether the peer at `address` is listed.
pub fn is_trusted(address: IpAddr, trusted: &[IpNet]) -> bool {
    let address = address.to_canonical();
    trusted.iter().any(|net| net.contains(&address))
}

/// The client's address: the peer's own, or, while that is a listed proxy, what it says.
///
/// The list is read from its end: each listed proxy vouches for the entry before its own. What no address
/// stands in ends the walk.
pub fn client(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let mut client = peer.to_canonical();
    if trusted.is_empty() || !is_trusted(client, trusted) {
        return client;
    }
    let lines = headers.get_all(FORWARDED_FOR);
    for entry in lines.iter().rev().flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b',')) {
        match address(entry) {
            Some(address) => client = address.to_canonical(),
            None => return client,
        }
        if !is_trusted(client, trusted) {
            return client;
        }
    }
    client
}

/// Whether the client spoke https to a listed proxy; `None` when that one does not say.
pub fn https(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> Option<bool> {
    if trusted.is_empty() || !is_trusted(peer, trusted) {
        return None;
    }
    let said = headers.get_all(FORWARDED_PROTO).iter().next_back().map(HeaderValue::as_bytes)?;
    let last = said.rsplit(|byte| *byte == b',').next()?.trim_ascii();
    match last {
        _ if last.eq_ignore_ascii_case(b"https") => Some(true),
        _ if last.eq_ignore_ascii_case(b"http") => Some(false),
        _ => None,
    }
}

/// `192.0.2.1`, `2001:db8::1`, and both as they look with a port.
fn address(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry).ok()?.trim();
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    let with_port = || text.parse::<SocketAddr>().ok().map(|with_port| with_port.ip());
    text.parse().ok().or_else(with_port).or_else(bracketed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nets(list: &[&str]) -> Vec<IpNet> {
        list.iter().map(|net| net.parse().expect("a network")).collect()
    }

    fn lines(name: HeaderName, values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name.clone(), HeaderValue::from_str(value).expect("a value"));
        }
        headers
    }

    #[test]
    fn only_listed_proxies_are_believed() {
        let trusted = nets(&["10.0.0.0/8", "2001:db8:1::/48"]);
        let table = [
            ("192.0.2.1", &["203.0.113.9"][..], "192.0.2.1"),
            ("10.0.0.1", &["203.0.113.9"], "203.0.113.9"),
            ("::ffff:10.0.0.1", &["203.0.113.9"], "203.0.113.9"),
            ("10.0.0.1", &["1.1.1.1, 203.0.113.9"], "203.0.113.9"),
            ("10.0.0.1", &["1.1.1.1, 203.0.113.9, 10.0.0.2"], "203.0.113.9"),
            ("10.0.0.1", &["1.1.1.1", "203.0.113.9"], "203.0.113.9"),
            ("10.0.0.1", &["1.1.1.1, unknown"], "10.0.0.1"),
            ("10.0.0.1", &["203.0.113.9:4711"], "203.0.113.9"),
            ("2001:db8:1::1", &["[2001:db8::9]:4711"], "2001:db8::9"),
            ("10.0.0.1", &["[2001:db8::9]"], "2001:db8::9"),
            ("10.0.0.1", &["10.0.0.3"], "10.0.0.3"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &[""], "10.0.0.1"),
        ];
        for (peer, values, expected) in table {
            let headers = lines(FORWARDED_FOR, values);
            let found = client(peer.parse().expect("an address"), &headers, &trusted);
            assert_eq!(found.to_string(), expected, "{peer} {values:?}");
        }
    }

    #[test]
    fn nobody_is_believed_by_default() {
        let headers = lines(FORWARDED_FOR, &["203.0.113.9"]);
        let peer = "10.0.0.1".parse().expect("an address");
        assert_eq!(client(peer, &headers, &[]), peer);
        assert_eq!(https(peer, &lines(FORWARDED_PROTO, &["https"]), &[]), None);
    }

    #[test]
    fn the_scheme_is_what_the_nearest_proxy_says() {
        let trusted = nets(&["10.0.0.0/8"]);
        let said = |values: &[&str]| {
            https("10.0.0.1".parse().expect("an address"), &lines(FORWARDED_PROTO, values), &trusted)
        };
        assert_eq!(said(&["HTTPS"]), Some(true));
        assert_eq!(said(&["https, http"]), Some(false));
        assert_eq!(said(&["http", "https"]), Some(true));
        assert_eq!(said(&["ftp"]), None);
        assert_eq!(said(&[]), None);
    }
}
