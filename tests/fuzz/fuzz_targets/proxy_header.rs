//! Any bytes as a PROXY header: no panic, a verdict that more bytes do not change, and what is understood is understood
//! again when it is written anew in either version.

#![no_main]

use std::net::{IpAddr, SocketAddr};

use house::listener::proxy_protocol::{MAX_V2, Origin, Progress, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let verdict = parse(bytes);
    // The reader takes what it has whenever `More` is said, so a header may come byte by byte.
    let first = (0..=bytes.len()).map(|end| parse(&bytes[..end])).find(|early| *early != Ok(Progress::More));
    assert_eq!(first.unwrap_or(Ok(Progress::More)), verdict);
    let Ok(Progress::Complete { origin, used }) = verdict else { return };
    assert!(used <= bytes.len().min(MAX_V2));
    assert_eq!(parse(&bytes[..used]), verdict);
    if let Origin::Client { from, to } = origin {
        assert!([from, to].iter().all(|addr| addr.ip() == addr.ip().to_canonical()));
        for anew in [line(from, to), block(from, to)] {
            let again = Progress::Complete { origin, used: anew.len() };
            assert_eq!(parse(&[&anew[..], b"GET / "].concat()), Ok(again), "{}", anew.escape_ascii());
        }
    }
});

/// A line of version 1.
fn line(from: SocketAddr, to: SocketAddr) -> Vec<u8> {
    let (family, from_ip, to_ip) = match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => ("TCP4", from.to_string(), to.to_string()),
        (from, to) => ("TCP6", wide(from).to_string(), wide(to).to_string()),
    };
    format!("PROXY {family} {from_ip} {to_ip} {} {}\r\n", from.port(), to.port()).into_bytes()
}

/// A block of version 2, always with addresses of IPv6.
fn block(from: SocketAddr, to: SocketAddr) -> Vec<u8> {
    let mut bytes = b"\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x24".to_vec();
    bytes.extend(wide(from.ip()).octets());
    bytes.extend(wide(to.ip()).octets());
    bytes.extend(from.port().to_be_bytes());
    bytes.extend(to.port().to_be_bytes());
    bytes
}

fn wide(ip: IpAddr) -> std::net::Ipv6Addr {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    }
}
