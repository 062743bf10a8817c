//! Networks that are nobody's but their owner's.

use ipnet::IpNet;

/// Private, shared (RFC 6598), link-local, loopback, ULA.
const PRIVATE: [&str; 9] = [
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "100.64.0.0/10",
    "169.254.0.0/16",
    "127.0.0.0/8",
    "fc00::/7",
    "fe80::/10",
    "::1/128",
];

/// Whether all of `net` is private.
pub(crate) fn is_private(net: &IpNet) -> bool {
    PRIVATE.iter().filter_map(|private| private.parse::<IpNet>().ok()).any(|private| private.contains(net))
}
