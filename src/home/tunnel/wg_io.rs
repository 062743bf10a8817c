//! What OpenBSD's SIOCGWG and SIOCSWG read and write, byte by byte, as `net/if_wg.h` of OpenBSD 7.8 lays it out on
//! 64-bit machines. Pure: a layout of offsets is tried on every system, and a wrong length is told, not obeyed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use super::peer::{Fault, KEY, MOST, Peer, moment};

/// `struct wg_interface_io`, without its peers.
pub const INTERFACE: usize = PEERS_COUNT + 8;
/// `struct wg_peer_io`, without its allowed addresses.
pub const PEER: usize = AIPS_COUNT + 8;
/// `struct wg_aip_io`.
pub const ALLOWED: usize = 24;

// wg_interface_io: flags, port, rtable, public and private key, count of peers.
const PEERS_COUNT: usize = 72;
// wg_peer_io: flags, protocol, public key, pre-shared key, keepalive, endpoint, bytes, handshake, description (64).
const FLAGS: usize = 0;
const PUBLIC: usize = 8;
const KEEPALIVE: usize = 72;
const ENDPOINT: usize = 76;
const SENT: usize = 104;
const RECEIVED: usize = 112;
const HANDSHAKE: usize = 120;
const AIPS_COUNT: usize = 200;

const HAS_PUBLIC: u32 = 1;
const HAS_KEEPALIVE: u32 = 1 << 2;
const HAS_ENDPOINT: u32 = 1 << 3;
/// Only a peer that is there is changed.
const UPDATE: u32 = 1 << 6;

// sockaddr_in and sockaddr_in6 of the BSDs begin with their length and family, a byte each.
const IPV4: (u8, u8) = (16, 2);
const IPV6: (u8, u8) = (28, 24);

/// The peers that SIOCGWG has written.
///
/// # Errors
/// `Garbled` when the counts in it reach beyond its end.
pub fn peers(bytes: &[u8]) -> Result<Vec<Peer>, Fault> {
    let count = size(bytes, PEERS_COUNT)?;
    if count > MOST {
        return Err(Fault::Garbled);
    }
    let (mut peers, mut at) = (Vec::new(), INTERFACE);
    for _ in 0..count {
        let peer = bytes.get(at..at + PEER).ok_or(Fault::Garbled)?;
        peers.push(one(peer)?);
        // Its allowed addresses stand between it and the next one.
        let allowed = size(peer, AIPS_COUNT)?.checked_mul(ALLOWED).ok_or(Fault::Garbled)?;
        at = (at + PEER).checked_add(allowed).filter(|at| *at <= bytes.len()).ok_or(Fault::Garbled)?;
    }
    Ok(peers)
}

fn one(bytes: &[u8]) -> Result<Peer, Fault> {
    let flags = u32::from_ne_bytes(array(bytes, FLAGS)?);
    let key: [u8; KEY] = array(bytes, PUBLIC)?;
    let keepalive = u16::from_ne_bytes(array(bytes, KEEPALIVE)?);
    let seconds = i64::from_ne_bytes(array(bytes, HANDSHAKE)?);
    let nanos = i64::from_ne_bytes(array(bytes, HANDSHAKE + 8)?);
    Ok(Peer {
        key,
        handshake: moment(seconds, nanos),
        endpoint: if flags & HAS_ENDPOINT == 0 { None } else { endpoint(bytes)? },
        received: u64::from_ne_bytes(array(bytes, RECEIVED)?),
        sent: u64::from_ne_bytes(array(bytes, SENT)?),
        keepalive: Some(keepalive).filter(|seconds| *seconds > 0 && flags & HAS_KEEPALIVE != 0),
    })
}

/// What SIOCSWG is given so that one peer, if it is there, gets another endpoint, and nothing else changes.
pub fn with_endpoint(key: &[u8; KEY], endpoint: SocketAddr) -> Vec<u8> {
    let mut bytes = vec![0; INTERFACE + PEER];
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    put(PEERS_COUNT, &1_u64.to_ne_bytes());
    put(INTERFACE + FLAGS, &(HAS_PUBLIC | HAS_ENDPOINT | UPDATE).to_ne_bytes());
    put(INTERFACE + PUBLIC, key);
    put(INTERFACE + ENDPOINT + 2, &endpoint.port().to_be_bytes());
    match endpoint {
        SocketAddr::V4(v4) => {
            put(INTERFACE + ENDPOINT, &[IPV4.0, IPV4.1]);
            put(INTERFACE + ENDPOINT + 4, &v4.ip().octets());
        }
        SocketAddr::V6(v6) => {
            put(INTERFACE + ENDPOINT, &[IPV6.0, IPV6.1]);
            put(INTERFACE + ENDPOINT + 8, &v6.ip().octets());
            put(INTERFACE + ENDPOINT + 24, &v6.scope_id().to_ne_bytes());
        }
    }
    bytes
}

fn endpoint(peer: &[u8]) -> Result<Option<SocketAddr>, Fault> {
    let [_, family] = array(peer, ENDPOINT)?;
    let port = u16::from_be_bytes(array(peer, ENDPOINT + 2)?);
    if family == IPV4.1 {
        let ip = IpAddr::V4(Ipv4Addr::from(array::<4>(peer, ENDPOINT + 4)?));
        return Ok(Some(SocketAddr::new(ip, port)));
    }
    if family == IPV6.1 {
        let ip = Ipv6Addr::from(array::<16>(peer, ENDPOINT + 8)?);
        let scope = u32::from_ne_bytes(array(peer, ENDPOINT + 24)?);
        return Ok(Some(SocketAddrV6::new(ip, port, 0, scope).into()));
    }
    Ok(None)
}

fn size(bytes: &[u8], at: usize) -> Result<usize, Fault> {
    usize::try_from(u64::from_ne_bytes(array(bytes, at)?)).map_err(|_| Fault::Garbled)
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], Fault> {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().ok_or(Fault::Garbled)
}

// What a C compiler says of OpenBSD's headers.
const _: () = assert!(INTERFACE == 80 && PEER == 208 && ALLOWED == 24);

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use proptest::prelude::*;

    use super::*;

    fn key(first: u8) -> [u8; KEY] {
        std::array::from_fn(|at| first + at as u8)
    }

    /// What the kernel would write of these peers, each with so many allowed addresses.
    fn written(peers: &[(Peer, u64)]) -> Vec<u8> {
        let mut bytes = vec![0; INTERFACE];
        bytes[PEERS_COUNT..].copy_from_slice(&(peers.len() as u64).to_ne_bytes());
        for (peer, allowed) in peers {
            // The same layout is written for SIOCSWG.
            let endpoint = peer.endpoint.unwrap_or_else(|| "0.0.0.0:0".parse().unwrap());
            let mut one = with_endpoint(&peer.key, endpoint).split_off(INTERFACE);
            let flags = HAS_PUBLIC
                | if peer.endpoint.is_some() { HAS_ENDPOINT } else { 0 }
                | if peer.keepalive.is_some() { HAS_KEEPALIVE } else { 0 };
            let since = peer.handshake.map_or(Duration::ZERO, |at| at.duration_since(UNIX_EPOCH).unwrap());
            let mut put = |at: usize, value: &[u8]| one[at..at + value.len()].copy_from_slice(value);
            put(FLAGS, &flags.to_ne_bytes());
            put(KEEPALIVE, &peer.keepalive.unwrap_or_default().to_ne_bytes());
            put(SENT, &peer.sent.to_ne_bytes());
            put(RECEIVED, &peer.received.to_ne_bytes());
            put(HANDSHAKE, &since.as_secs().to_ne_bytes());
            put(HANDSHAKE + 8, &u64::from(since.subsec_nanos()).to_ne_bytes());
            put(AIPS_COUNT, &allowed.to_ne_bytes());
            bytes.extend(one);
            bytes.extend(vec![0xaa; *allowed as usize * ALLOWED]);
        }
        bytes
    }

    fn two() -> [(Peer, u64); 2] {
        let home = Peer {
            handshake: Some(UNIX_EPOCH + Duration::from_millis(1_795_874_531_250)),
            endpoint: Some("192.0.2.10:51820".parse().unwrap()),
            received: 123_456,
            sent: 654_321,
            keepalive: Some(25),
            ..Peer::new(key(0))
        };
        let silent = Peer { endpoint: Some("[2001:db8::1]:51821".parse().unwrap()), ..Peer::new(key(100)) };
        [(home, 2), (silent, 0)]
    }

    #[test]
    fn peers_are_read_with_their_allowed_addresses_between_them() {
        let bytes = written(&two());
        assert_eq!(bytes.len(), 80 + 208 + 2 * 24 + 208);
        assert_eq!(peers(&bytes).unwrap(), two().map(|(peer, _)| peer));
        assert_eq!(peers(&written(&[])).unwrap(), []);
        assert_eq!(peers(&written(&[(Peer::new(key(1)), 1)])).unwrap(), [Peer::new(key(1))]);
    }

    #[test]
    fn only_the_endpoint_of_a_peer_that_is_there_is_changed() {
        let bytes = with_endpoint(&key(0), "192.0.2.7:51820".parse().unwrap());
        assert_eq!(bytes.len(), INTERFACE + PEER);
        // No flag of the interface is set, one peer follows, and it is public, with an endpoint, to be updated.
        assert!(bytes[..PEERS_COUNT].iter().all(|byte| *byte == 0));
        assert_eq!(bytes[INTERFACE..INTERFACE + 4], 0b100_1001_u32.to_ne_bytes());
        assert_eq!(bytes[INTERFACE + 76..INTERFACE + 84], [16, 2, 0xca, 0x6c, 192, 0, 2, 7]);
        assert!(bytes[INTERFACE + 84..].iter().all(|byte| *byte == 0));
        let six = with_endpoint(&key(0), "[2001:db8::7]:1".parse().unwrap());
        assert_eq!(six[INTERFACE + 76..INTERFACE + 88], [28, 24, 0, 1, 0, 0, 0, 0, 0x20, 1, 0x0d, 0xb8]);
    }

    #[test]
    fn counts_that_reach_beyond_the_end_are_refused() {
        let whole = written(&two());
        for length in 0..whole.len() {
            assert!(peers(&whole[..length]).is_err(), "{length}");
        }
        for at in [PEERS_COUNT, INTERFACE + AIPS_COUNT] {
            for count in [u64::MAX, u64::MAX / 24, 1 << 40, 3] {
                let mut bytes = whole.clone();
                bytes[at..at + 8].copy_from_slice(&count.to_ne_bytes());
                assert!(peers(&bytes).is_err(), "{at} {count}");
            }
        }
    }

    proptest! {
        #[test]
        fn no_bytes_are_feared(bytes in prop::collection::vec(any::<u8>(), 0..600), at in 0_usize..544, value: u8) {
            let _ = peers(&bytes);
            let mut damaged = written(&two());
            damaged[at] = value;
            let _ = peers(&damaged);
        }
    }
}
