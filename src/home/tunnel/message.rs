//! Messages of generic netlink to and from Linux's own WireGuard, as `linux/netlink.h`, `linux/genetlink.h` and
//! `linux/wireguard.h` have them. Pure; numbers are of this machine's byte order.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use super::peer::{Fault, KEY, MOST, Peer, moment};

/// The family of the controller, which knows the numbers of the others.
pub const CONTROLLER: u16 = 0x10;

// nlmsghdr: length, type, flags, sequence, port; genlmsghdr: command, version, reserved.
const HEADER: usize = 16;
const GENERIC_HEADER: usize = 4;
const NOOP: u16 = 1;
const ERROR: u16 = 2;
const DONE: u16 = 3;
const OVERRUN: u16 = 4;
const REQUEST: u16 = 0x1;
const ACK: u16 = 0x4;
const DUMP: u16 = 0x300;
/// In an answer: what it tells has changed while it was told.
const INTERRUPTED: u16 = 0x10;
const NESTED: u16 = 0x8000;
/// An attribute's type without its flags.
const TYPE: u16 = 0x3fff;

const CTRL_GET_FAMILY: u8 = 3;
const CTRL_FAMILY_ID: u16 = 1;
const CTRL_FAMILY_NAME: u16 = 2;

const WG_VERSION: u8 = 1;
const WG_GET_DEVICE: u8 = 0;
const WG_SET_DEVICE: u8 = 1;
const DEVICE_NAME: u16 = 2;
const DEVICE_PEERS: u16 = 8;
const PEER_KEY: u16 = 1;
const PEER_FLAGS: u16 = 3;
const PEER_ENDPOINT: u16 = 4;
const PEER_KEEPALIVE: u16 = 5;
const PEER_HANDSHAKE: u16 = 6;
const PEER_RECEIVED: u16 = 7;
const PEER_SENT: u16 = 8;
const UPDATE_ONLY: u32 = 4;

const IPV4: u16 = 2;
const IPV6: u16 = 10;

/// Asks the controller for the number of the family `name`.
pub fn get_family(name: &str, sequence: u32) -> Vec<u8> {
    let mut message = Message::new(CONTROLLER, REQUEST, sequence, CTRL_GET_FAMILY, 1);
    message.text(CTRL_FAMILY_NAME, name);
    message.finish()
}

/// Asks for an interface with all its peers.
pub fn get_device(family: u16, interface: &str, sequence: u32) -> Vec<u8> {
    let mut message = Message::new(family, REQUEST | ACK | DUMP, sequence, WG_GET_DEVICE, WG_VERSION);
    message.text(DEVICE_NAME, interface);
    message.finish()
}

/// Gives a peer that is there another endpoint, and changes nothing else.
pub fn set_endpoint(
    family: u16,
    interface: &str,
    key: &[u8; KEY],
    endpoint: SocketAddr,
    sequence: u32,
) -> Vec<u8> {
    let mut message = Message::new(family, REQUEST | ACK, sequence, WG_SET_DEVICE, WG_VERSION);
    message.text(DEVICE_NAME, interface);
    message.nest(DEVICE_PEERS, |peers| {
        peers.nest(0, |peer| {
            peer.bytes(PEER_KEY, key);
            peer.bytes(PEER_FLAGS, &UPDATE_ONLY.to_ne_bytes());
            peer.bytes(PEER_ENDPOINT, &socket_address(endpoint));
        });
    });
    message.finish()
}

/// A message in the making.
struct Message(Vec<u8>);

impl Message {
    fn new(kind: u16, flags: u16, sequence: u32, command: u8, version: u8) -> Self {
        let mut bytes = vec![0; 4];
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend(sequence.to_ne_bytes());
        // The port is for the kernel to fill in.
        bytes.extend([0; 4]);
        bytes.extend([command, version, 0, 0]);
        Self(bytes)
    }

    fn bytes(&mut self, kind: u16, value: &[u8]) {
        self.nest(kind, |message| message.0.extend(value));
        self.unmark(kind, value.len());
    }

    /// A name ends with a zero.
    fn text(&mut self, kind: u16, value: &str) {
        self.bytes(kind, &[value.as_bytes(), &[0]].concat());
    }

    fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) {
        let begin = self.0.len();
        self.0.extend([0; 2]);
        self.0.extend((kind | NESTED).to_ne_bytes());
        fill(self);
        let length = u16::try_from(self.0.len() - begin).unwrap_or(u16::MAX);
        self.0[begin..begin + 2].copy_from_slice(&length.to_ne_bytes());
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }

    fn unmark(&mut self, kind: u16, length: usize) {
        let at = self.0.len() - length.next_multiple_of(4) - 2;
        self.0[at..at + 2].copy_from_slice(&kind.to_ne_bytes());
    }

    fn finish(mut self) -> Vec<u8> {
        let length = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        self.0[..4].copy_from_slice(&length.to_ne_bytes());
        self.0
    }
}

/// `sockaddr_in` or `sockaddr_in6`, which the kernel tells apart by their length.
fn socket_address(address: SocketAddr) -> Vec<u8> {
    let port = address.port().to_be_bytes();
    match address {
        SocketAddr::V4(v4) => [&IPV4.to_ne_bytes()[..], &port, &v4.ip().octets(), &[0; 8]].concat(),
        SocketAddr::V6(v6) => [
            &IPV6.to_ne_bytes()[..],
            &port,
            &v6.flowinfo().to_ne_bytes(),
            &v6.ip().octets(),
            &v6.scope_id().to_ne_bytes(),
        ]
        .concat(),
    }
}

/// What an answer has told so far.
#[derive(Debug, Default)]
pub struct Answer {
    /// The number of the family that was asked for.
    pub family: Option<u16>,
    /// The peers of the interface that was asked for.
    pub peers: Vec<Peer>,
    /// It has changed while it was told, and should be asked for again.
    pub interrupted: bool,
}

impl Answer {
    /// Takes one datagram of the answer to the message `sequence`. Whether it was the last one.
    ///
    /// # Errors
    /// What the kernel says against it; `Garbled` when it is no netlink.
    pub fn take(&mut self, datagram: &[u8], sequence: u32) -> Result<bool, Fault> {
        let mut rest = datagram;
        while !rest.is_empty() {
            let length = word(rest, 0).ok_or(Fault::Garbled)? as usize;
            let whole = rest.get(..length).filter(|_| length >= HEADER).ok_or(Fault::Garbled)?;
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
            let (kind, flags) = (short(whole, 4), short(whole, 6));
            let (Some(kind), Some(flags)) = (kind, flags) else { return Err(Fault::Garbled) };
            if word(whole, 8) != Some(sequence) {
                continue;
            }
            self.interrupted |= flags & INTERRUPTED != 0;
            if self.message(kind, &whole[HEADER..])? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn message(&mut self, kind: u16, body: &[u8]) -> Result<bool, Fault> {
        match kind {
            NOOP => Ok(false),
            // An error of 0 says that it is done.
            ERROR | DONE => match word(body, 0).map(u32::cast_signed) {
                Some(0) => Ok(true),
                Some(number) => Err(Fault::Refused(number.saturating_neg())),
                None if kind == DONE => Ok(true),
                None => Err(Fault::Garbled),
            },
            OVERRUN => Err(Fault::Garbled),
            _ => {
                let attributes = body.get(GENERIC_HEADER..).ok_or(Fault::Garbled)?;
                if kind == CONTROLLER { self.controller(attributes) } else { self.device(attributes) }
            }
        }
    }

    fn controller(&mut self, attributes: &[u8]) -> Result<bool, Fault> {
        for attribute in Attributes(attributes) {
            let (kind, value) = attribute?;
            if kind == CTRL_FAMILY_ID {
                self.family = Some(short(value, 0).ok_or(Fault::Garbled)?);
            }
        }
        Ok(self.family.is_some())
    }

    fn device(&mut self, attributes: &[u8]) -> Result<bool, Fault> {
        for attribute in Attributes(attributes) {
            let (kind, value) = attribute?;
            if kind != DEVICE_PEERS {
                continue;
            }
            for attribute in Attributes(value) {
                self.add(peer(attribute?.1)?)?;
            }
        }
        Ok(false)
    }

    /// A peer with many allowed addresses goes on in the next message, where only its key is told again.
    fn add(&mut self, peer: Peer) -> Result<(), Fault> {
        if self.peers.last().is_some_and(|last| last.key == peer.key) {
            return Ok(());
        }
        if self.peers.len() >= MOST {
            return Err(Fault::Garbled);
        }
        self.peers.push(peer);
        Ok(())
    }
}

fn peer(attributes: &[u8]) -> Result<Peer, Fault> {
    let mut peer = Peer::new([0; KEY]);
    let mut key = None;
    for attribute in Attributes(attributes) {
        let (kind, value) = attribute?;
        match kind {
            PEER_KEY => key = Some(value.try_into().map_err(|_| Fault::Garbled)?),
            PEER_ENDPOINT => peer.endpoint = endpoint(value),
            PEER_KEEPALIVE => peer.keepalive = short(value, 0).filter(|seconds| *seconds > 0),
            PEER_HANDSHAKE => {
                let times = (long(value, 0), long(value, 8));
                let (Some(seconds), Some(nanos)) = times else { return Err(Fault::Garbled) };
                peer.handshake = moment(seconds.cast_signed(), nanos.cast_signed());
            }
            PEER_RECEIVED => peer.received = long(value, 0).ok_or(Fault::Garbled)?,
            PEER_SENT => peer.sent = long(value, 0).ok_or(Fault::Garbled)?,
            _ => {}
        }
    }
    key.map(|key| Peer { key, ..peer }).ok_or(Fault::Garbled)
}

/// One of a family that nobody knows is none.
fn endpoint(value: &[u8]) -> Option<SocketAddr> {
    let port = u16::from_be_bytes(array(value, 2)?);
    match short(value, 0)? {
        IPV4 => Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::from(array::<4>(value, 4)?)), port)),
        IPV6 => {
            let ip = Ipv6Addr::from(array::<16>(value, 8)?);
            Some(SocketAddrV6::new(ip, port, word(value, 4)?, word(value, 24)?).into())
        }
        _ => None,
    }
}

/// Attributes one after the other: their types without flags, and their values.
struct Attributes<'a>(&'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = Result<(u16, &'a [u8]), Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        let (length, kind) = (usize::from(short(self.0, 0)?), short(self.0, 2)?);
        let Some(value) = self.0.get(4..length) else {
            self.0 = &[];
            return Some(Err(Fault::Garbled));
        };
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Ok((kind & TYPE, value)))
    }
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

fn short(bytes: &[u8], at: usize) -> Option<u16> {
    array(bytes, at).map(u16::from_ne_bytes)
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    array(bytes, at).map(u32::from_ne_bytes)
}

fn long(bytes: &[u8], at: usize) -> Option<u64> {
    array(bytes, at).map(u64::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use proptest::prelude::*;

    use super::*;

    // Of a little-endian machine. Made by another implementation of the same headers (pyroute2 0.9); no kernel with WireGuard has said them. The
    // second peer goes on in the second datagram.
    const FIRST: &str = "7c0100001f000200070000000000000000010000080001000500000008000200776731002400030009090909090909090909 \
     09090909090909090909090909090909090909090909060006006cca0000080007000000000024010880c400018024000100 \
     000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f240002000000000000000000000000000000 \
     000000000000000000000000000000000000140004000200ca6cc000020a0000000000000000060005001900000014000600 \
     e3de0a6b0000000080b2e60e000000000c00070040e20100000000000c000800f1fb09000000000008000a00010000002800 \
     09802400018006000100020000000f00020030613a34643a30303a30320005000300200000005c0002802400010064656667 \
     68696a6b6c6d6e6f707172737475767778797a7b7c7d7e7f8081828306000500000000001400060000000000000000000000 \
     0000000000000c00070000000000000000000c0008009400000000000000";
    const SECOND: &str = "bc0000001f0002000700000000000000000100000800020077673100a000088028000180240001006465666768696a6b6c6d \
     6e6f707172737475767778797a7b7c7d7e7f808182837400028024000100c8c9cacbcccdcecfd0d1d2d3d4d5d6d7d8d9dadb \
     dcdddedfe0e1e2e3e4e5e6e7200004000a00ca6d0000000020010db80000000000000000000000100000000014000600d0dc \
     0a6b0000000000000000000000000c00070001000000000000000c0008000200000000000000";
    const SET: &str = "640000001f000500070000000000000001010000080002007767310048000880440001802400010000010203040506070809 \
     0a0b0c0d0e0f101112131415161718191a1b1c1d1e1f0800030004000000140004000200ca6cc63364070000000000000000";
    const GET: &str = "1c0000001f0005030700000000000000000100000800020077673100";
    const FAMILY: u16 = 0x1f;
    const SEQUENCE: u32 = 7;

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<u8> =
            hex.chars().filter_map(|digit| digit.to_digit(16)).map(|digit| digit as u8).collect();
        digits.chunks(2).map(|pair| pair[0] * 16 + pair[1]).collect()
    }

    fn key(first: u8) -> [u8; KEY] {
        std::array::from_fn(|at| first + at as u8)
    }

    /// A message of one word, as errors and ends are.
    fn closing(kind: u16, number: i32) -> Vec<u8> {
        let mut message = 20_u32.to_ne_bytes().to_vec();
        message.extend(kind.to_ne_bytes());
        message.extend(2_u16.to_ne_bytes());
        message.extend(SEQUENCE.to_ne_bytes());
        message.extend([0; 4]);
        message.extend(number.to_ne_bytes());
        message
    }

    #[test]
    fn peers_are_read_over_several_datagrams() {
        let mut answer = Answer::default();
        assert!(!answer.take(&bytes(FIRST), SEQUENCE).unwrap());
        assert!(!answer.take(&bytes(SECOND), SEQUENCE).unwrap());
        assert!(answer.take(&closing(DONE, 0), SEQUENCE).unwrap());
        let home = Peer {
            key: key(0),
            handshake: Some(UNIX_EPOCH + Duration::from_millis(1_795_874_531_250)),
            endpoint: Some("192.0.2.10:51820".parse().unwrap()),
            received: 123_456,
            sent: 654_321,
            keepalive: Some(25),
        };
        let silent = Peer { sent: 148, ..Peer::new(key(100)) };
        let third = Peer {
            handshake: Some(UNIX_EPOCH + Duration::from_secs(1_795_874_000)),
            endpoint: Some("[2001:db8::10]:51821".parse().unwrap()),
            received: 1,
            sent: 2,
            ..Peer::new(key(200))
        };
        assert_eq!(answer.peers, [home, silent, third]);
        assert!(!answer.interrupted);
    }

    #[test]
    fn questions_are_as_another_implementation_writes_them() {
        assert_eq!(get_device(FAMILY, "wg1", SEQUENCE), bytes(GET));
        let endpoint = "198.51.100.7:51820".parse().unwrap();
        // It counts in arrays from 1, wg(8) from 0; the kernel does not look.
        let mut set = bytes(SET);
        set[34] = 0;
        assert_eq!(set_endpoint(FAMILY, "wg1", &key(0), endpoint, SEQUENCE), set);
    }

    #[test]
    fn an_endpoint_is_read_as_it_is_written() {
        for address in ["192.0.2.1:1", "[2001:db8::1]:65535", "[fe80::1%7]:51820"] {
            let address: SocketAddr = address.parse().unwrap();
            assert_eq!(endpoint(&socket_address(address)), Some(address));
        }
        assert_eq!(endpoint(&[1, 0, 0, 0, 0, 0, 0, 0]), None);
    }

    #[test]
    fn an_error_is_told_by_its_number() {
        let told = |bytes: &[u8]| Answer::default().take(bytes, SEQUENCE);
        assert!(matches!(told(&closing(ERROR, -19)), Err(Fault::Refused(19))));
        assert!(matches!(told(&closing(DONE, -1)), Err(Fault::Refused(1))));
        assert!(matches!(told(&closing(ERROR, i32::MIN)), Err(Fault::Refused(i32::MAX))));
        assert!(matches!(told(&closing(ERROR, 0)), Ok(true)));
        assert!(matches!(told(&closing(OVERRUN, 0)), Err(Fault::Garbled)));
        // Of another question.
        assert!(matches!(Answer::default().take(&closing(ERROR, -19), SEQUENCE + 1), Ok(false)));
        assert!(matches!(told(&bytes(FIRST)[..379]), Err(Fault::Garbled)));
        assert!(matches!(told(&[0; 64]), Err(Fault::Garbled)));
    }

    #[test]
    fn an_interrupted_answer_is_told_as_such() {
        let mut datagram = bytes(FIRST);
        datagram[6] |= INTERRUPTED as u8;
        let mut answer = Answer::default();
        assert!(!answer.take(&datagram, SEQUENCE).unwrap());
        assert!(answer.interrupted);
    }

    proptest! {
        #[test]
        fn no_datagram_is_feared(mut datagram in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Answer::default().take(&datagram, SEQUENCE);
            // The same behind a header that is right.
            let mut whole = (datagram.len() as u32 + 16).to_ne_bytes().to_vec();
            whole.extend([FAMILY as u8, 0, 2, 0, SEQUENCE as u8, 0, 0, 0, 0, 0, 0, 0]);
            whole.append(&mut datagram);
            let _ = Answer::default().take(&whole, SEQUENCE);
        }

        #[test]
        fn no_damaged_answer_is_feared(at in 0_usize..380, value: u8) {
            let mut datagram = bytes(FIRST);
            datagram[at] = value;
            let _ = Answer::default().take(&datagram, SEQUENCE);
        }
    }
}
