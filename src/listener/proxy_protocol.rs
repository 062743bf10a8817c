//! Reads a PROXY protocol header (v1 and v2) from bytes, as a pure incremental function.
//!
//! It does not read sockets and does not decide who may send one: `proxy_header.rs` does. The
//! specification is `doc/proxy-protocol.txt` of HAProxy, revision 2.2; "2.1" and so on are its sections.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// What a header says of the connection behind the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The proxy relays a client.
    Client {
        /// The client's address.
        from: SocketAddr,
        /// The address that the client connected to.
        to: SocketAddr,
    },
    /// The proxy speaks for itself (its health check), or can't say for whom: the connection's own
    /// addresses are meant (2.1 `UNKNOWN`, 2.2 `LOCAL`, `AF_UNSPEC` and `AF_UNIX`).
    Itself,
}

/// How far a header has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// These bytes begin a header that is not complete.
    More,
    /// The header is complete.
    Complete {
        /// What it says.
        origin: Origin,
        /// Its length; what follows is the client's own data.
        used: usize,
    },
}

/// Bytes that are no PROXY header, or one that is not acceptable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Neither version's signature.
    #[error("the connection does not begin with a PROXY header")]
    Missing,
    /// A v1 line that is malformed or not ended within 107 bytes.
    #[error("malformed PROXY v1 line")]
    Line,
    /// A v2 version, command, family or transport that the specification does not know.
    #[error("PROXY v2 header with an unsupported version, command or family")]
    Unsupported,
    /// A v2 header whose lengths do not add up.
    #[error("PROXY v2 header whose lengths do not add up")]
    Length,
    /// A v2 header that is larger than `MAX_V2`.
    #[error("PROXY v2 header of more than {MAX_V2} bytes")]
    TooLarge,
}

/// Largest v2 header that is taken: 536 bytes must be (2.2), a TLV with a client certificate fits too.
pub const MAX_V2: usize = 4096;

/// Looks at the first bytes of a connection. Never panics, whatever they are.
pub fn parse(bytes: &[u8]) -> Result<Progress, HeaderError> {
    if begins(bytes, V2_SIGNATURE) {
        return parse_v2(bytes);
    }
    if begins(bytes, V1_SIGNATURE) {
        return parse_v1(bytes);
    }
    Err(HeaderError::Missing)
}

/// Whether `bytes` are a beginning of `signature`, or begin with the whole of it.
fn begins(bytes: &[u8], signature: &[u8]) -> bool {
    let known = bytes.len().min(signature.len());
    bytes[..known] == signature[..known]
}

fn parse_v1(bytes: &[u8]) -> Result<Progress, HeaderError> {
    let seen = &bytes[..bytes.len().min(MAX_V1)];
    let Some(end) = seen.windows(2).position(|pair| pair == b"\r\n") else {
        return if bytes.len() < MAX_V1 { Ok(Progress::More) } else { Err(HeaderError::Line) };
    };
    let line = std::str::from_utf8(&seen[..end]).map_err(|_| HeaderError::Line)?;
    let origin = line_origin(line).ok_or(HeaderError::Line)?;
    Ok(Progress::Complete { origin, used: end + 2 })
}

/// Reads a v1 line without its end (2.1). Fields are separated by exactly one space.
fn line_origin(line: &str) -> Option<Origin> {
    let mut fields = line.split(' ');
    if fields.next()? != "PROXY" {
        return None;
    }
    let family = fields.next()?;
    if family == "UNKNOWN" {
        // What follows UNKNOWN must be ignored.
        return Some(Origin::Itself);
    }
    let (from, to) = match family {
        "TCP4" => (v4(fields.next()?)?, v4(fields.next()?)?),
        "TCP6" => (v6(fields.next()?)?, v6(fields.next()?)?),
        _ => return None,
    };
    let (from_port, to_port) = (port(fields.next()?)?, port(fields.next()?)?);
    if fields.next().is_some() {
        return None;
    }
    Some(Origin::Client { from: SocketAddr::new(from, from_port), to: SocketAddr::new(to, to_port) })
}

fn v4(field: &str) -> Option<IpAddr> {
    field.parse::<Ipv4Addr>().ok().map(IpAddr::V4)
}

fn v6(field: &str) -> Option<IpAddr> {
    field.parse::<Ipv6Addr>().ok().map(|addr| IpAddr::V6(addr).to_canonical())
}

/// A port as 2.1 wants it: digits alone, no leading zero, at most 65535.
fn port(field: &str) -> Option<u16> {
    let plain = field.bytes().all(|b| b.is_ascii_digit()) && (field == "0" || !field.starts_with('0'));
    if plain { field.parse().ok() } else { None }
}

fn parse_v2(bytes: &[u8]) -> Result<Progress, HeaderError> {
    let Some(head) = bytes.first_chunk::<V2_HEAD>() else { return Ok(Progress::More) };
    let [.., command, family, high, low] = *head;
    let length = usize::from(u16::from_be_bytes([high, low]));
    let used = V2_HEAD + length;
    if used > MAX_V2 {
        return Err(HeaderError::TooLarge);
    }
    let local = match command {
        0x20 => true,
        0x21 => false,
        _ => return Err(HeaderError::Unsupported),
    };
    // LOCAL: the receiver must discard the rest, whatever family it names (2.2).
    let addresses = if local { Some(Addresses::None) } else { Addresses::of(family) };
    let addresses = addresses.ok_or(HeaderError::Unsupported)?;
    let Some(block) = bytes.get(V2_HEAD..used) else { return Ok(Progress::More) };
    let (origin, rest) = if local { (Origin::Itself, &[][..]) } else { addresses.read(block)? };
    skip_tlvs(rest)?;
    Ok(Progress::Complete { origin, used })
}

/// The kinds of address block of v2 that a TCP connection can carry.
#[derive(Clone, Copy)]
enum Addresses {
    None,
    V4,
    V6,
    Unix,
}

impl Addresses {
    /// From the byte of family and transport. Datagrams can't admit_and_serve over TCP.
    fn of(byte: u8) -> Option<Self> {
        match byte {
            0x00 => Some(Self::None),
            0x11 => Some(Self::V4),
            0x21 => Some(Self::V6),
            0x31 => Some(Self::Unix),
            _ => None,
        }
    }

    /// Splits the block into what it says and the TLVs behind it.
    fn read(self, block: &[u8]) -> Result<(Origin, &[u8]), HeaderError> {
        match self {
            // With AF_UNSPEC the whole block is to be ignored; it need not be TLVs.
            Self::None => Ok((Origin::Itself, &[])),
            Self::V4 => {
                let (addresses, rest) = block.split_first_chunk::<12>().ok_or(HeaderError::Length)?;
                let [a, b, c, d, e, f, g, h, ports @ ..] = *addresses;
                let from = Ipv4Addr::new(a, b, c, d);
                let to = Ipv4Addr::new(e, f, g, h);
                Ok((client(from.into(), to.into(), ports), rest))
            }
            Self::V6 => {
                let (from, rest) = block.split_first_chunk::<16>().ok_or(HeaderError::Length)?;
                let (to, rest) = rest.split_first_chunk::<16>().ok_or(HeaderError::Length)?;
                let (ports, rest) = rest.split_first_chunk::<4>().ok_or(HeaderError::Length)?;
                Ok((client(Ipv6Addr::from(*from).into(), Ipv6Addr::from(*to).into(), *ports), rest))
            }
            Self::Unix => {
                let (_, rest) = block.split_first_chunk::<216>().ok_or(HeaderError::Length)?;
                Ok((Origin::Itself, rest))
            }
        }
    }
}

fn client(from: IpAddr, to: IpAddr, [a, b, c, d]: [u8; 4]) -> Origin {
    Origin::Client {
        from: SocketAddr::new(from.to_canonical(), u16::from_be_bytes([a, b])),
        to: SocketAddr::new(to.to_canonical(), u16::from_be_bytes([c, d])),
    }
}

/// TLVs are not used, but ones that do not fill the header exactly betray a confused sender.
fn skip_tlvs(mut rest: &[u8]) -> Result<(), HeaderError> {
    while !rest.is_empty() {
        let ([_, high, low], tail) = rest.split_first_chunk::<3>().ok_or(HeaderError::Length)?;
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        rest = tail.get(length..).ok_or(HeaderError::Length)?;
    }
    Ok(())
}

const V1_SIGNATURE: &[u8] = b"PROXY ";
const V2_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family, length.
const V2_HEAD: usize = 16;
/// Longest v1 line with its end (2.1).
const MAX_V1: usize = 107;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn complete(bytes: &[u8]) -> (Origin, usize) {
        match parse(bytes) {
            Ok(Progress::Complete { origin, used }) => (origin, used),
            other => panic!("{other:?} of {:?}", String::from_utf8_lossy(bytes)),
        }
    }

    fn v2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
        let mut bytes = V2_SIGNATURE.to_vec();
        bytes.extend([command, family]);
        bytes.extend(u16::try_from(block.len()).unwrap().to_be_bytes());
        bytes.extend(block);
        bytes
    }

    fn origin(from: &str, to: &str) -> Origin {
        Origin::Client { from: from.parse().unwrap(), to: to.parse().unwrap() }
    }

    #[test]
    fn v1_lines_give_the_client() {
        let cases = [
            ("PROXY TCP4 203.0.113.9 192.0.2.1 56324 443\r\n", origin("203.0.113.9:56324", "192.0.2.1:443")),
            (
                "PROXY TCP6 2001:db8::1 2001:db8::2 1 65535\r\n",
                origin("[2001:db8::1]:1", "[2001:db8::2]:65535"),
            ),
            ("PROXY TCP6 ::ffff:203.0.113.9 ::1 0 443\r\n", origin("203.0.113.9:0", "[::1]:443")),
            ("PROXY UNKNOWN\r\n", Origin::Itself),
            ("PROXY UNKNOWN ffff:: whatever 1 x\r\n", Origin::Itself),
        ];
        for (line, expected) in cases {
            assert_eq!(complete(line.as_bytes()), (expected, line.len()), "{line:?}");
            let followed = format!("{line}GET / HTTP/1.1\r\n\r\n");
            assert_eq!(complete(followed.as_bytes()), (expected, line.len()), "{followed:?}");
        }
    }

    #[test]
    fn malformed_v1_lines_are_refused() {
        let lines = [
            "PROXY TCP4 203.0.113.9 192.0.2.1 56324\r\n",
            "PROXY TCP4 203.0.113.9 192.0.2.1 56324 443 \r\n",
            "PROXY TCP4  203.0.113.9 192.0.2.1 56324 443\r\n",
            "PROXY TCP4 203.0.113.9 192.0.2.1 056324 443\r\n",
            "PROXY TCP4 203.0.113.9 192.0.2.1 65536 443\r\n",
            "PROXY TCP4 203.0.113.9 192.0.2.1 +1 443\r\n",
            "PROXY TCP4 203.0.113.009 192.0.2.1 1 443\r\n",
            "PROXY TCP4 2001:db8::1 2001:db8::2 1 443\r\n",
            "PROXY TCP6 203.0.113.9 192.0.2.1 1 443\r\n",
            "PROXY UDP4 203.0.113.9 192.0.2.1 1 443\r\n",
            "PROXY tcp4 203.0.113.9 192.0.2.1 1 443\r\n",
            "PROXY TCP4 203.0.113.9 192.0.2.1 1 443\r\r\n",
            "PROXY TCP4 203.0.113.9\n192.0.2.1 1 443\r\n",
            "PROXY \r\n",
        ];
        for line in lines {
            assert_eq!(parse(line.as_bytes()), Err(HeaderError::Line), "{line:?}");
        }
    }

    #[test]
    fn endless_v1_line_is_refused_at_its_bound() {
        let mut line = b"PROXY UNKNOWN ".to_vec();
        line.resize(MAX_V1 - 1, b'x');
        assert_eq!(parse(&line), Ok(Progress::More));
        line.push(b'x');
        assert_eq!(parse(&line), Err(HeaderError::Line));
        // The longest line of the specification just fits.
        let longest = format!("PROXY UNKNOWN {}\r\n", "f".repeat(MAX_V1 - 16));
        assert_eq!(complete(longest.as_bytes()), (Origin::Itself, MAX_V1));
    }

    #[test]
    fn v2_blocks_give_the_client() {
        let v4 = [203, 0, 113, 9, 192, 0, 2, 1, 0xdc, 0x04, 0x01, 0xbb];
        let bytes = v2(0x21, 0x11, &v4);
        assert_eq!(complete(&bytes), (origin("203.0.113.9:56324", "192.0.2.1:443"), 28));

        let mut v6 = Vec::new();
        v6.extend("2001:db8::1".parse::<Ipv6Addr>().unwrap().octets());
        v6.extend("2001:db8::2".parse::<Ipv6Addr>().unwrap().octets());
        v6.extend([0, 1, 0xff, 0xff]);
        let bytes = v2(0x21, 0x21, &v6);
        assert_eq!(complete(&bytes), (origin("[2001:db8::1]:1", "[2001:db8::2]:65535"), 52));
    }

    #[test]
    fn v2_without_client_means_the_proxy_itself() {
        for bytes in [
            v2(0x20, 0x00, &[]),
            v2(0x20, 0xff, &[1, 2, 3]),
            v2(0x21, 0x00, &[9; 5]),
            v2(0x21, 0x31, &[b'/'; 216]),
        ] {
            assert_eq!(complete(&bytes), (Origin::Itself, bytes.len()));
        }
    }

    #[test]
    fn v2_tlvs_are_skipped_and_must_fit() {
        let mut block = vec![203, 0, 113, 9, 192, 0, 2, 1, 0xdc, 0x04, 0x01, 0xbb];
        block.extend([0x01, 0, 2, b'h', b'2', 0x04, 0, 0]);
        let bytes = v2(0x21, 0x11, &block);
        assert_eq!(complete(&bytes), (origin("203.0.113.9:56324", "192.0.2.1:443"), bytes.len()));
        block.push(0x04);
        assert_eq!(parse(&v2(0x21, 0x11, &block)), Err(HeaderError::Length));
        block.extend([0, 200]);
        assert_eq!(parse(&v2(0x21, 0x11, &block)), Err(HeaderError::Length));
    }

    #[test]
    fn odd_v2_headers_are_refused() {
        let cases = [
            (v2(0x11, 0x11, &[0; 12]), HeaderError::Unsupported),
            (v2(0x22, 0x11, &[0; 12]), HeaderError::Unsupported),
            (v2(0x21, 0x12, &[0; 12]), HeaderError::Unsupported),
            (v2(0x21, 0x41, &[0; 12]), HeaderError::Unsupported),
            (v2(0x21, 0x11, &[0; 11]), HeaderError::Length),
            (v2(0x21, 0x21, &[0; 35]), HeaderError::Length),
            (v2(0x21, 0x31, &[0; 215]), HeaderError::Length),
            (v2(0x21, 0x11, &[0; MAX_V2]), HeaderError::TooLarge),
            (b"GET / HTTP/1.1\r\n".to_vec(), HeaderError::Missing),
            (b"\x16\x03\x01".to_vec(), HeaderError::Missing),
            (b"PROXY\t".to_vec(), HeaderError::Missing),
        ];
        for (bytes, expected) in cases {
            assert_eq!(parse(&bytes), Err(expected), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_judged_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = parse(&bytes);
            for signature in [V1_SIGNATURE, V2_SIGNATURE] {
                let _ = parse(&[signature, &bytes[..]].concat());
            }
            if let Ok(Progress::Complete { used, .. }) = parse(&[V2_SIGNATURE, &bytes[..]].concat()) {
                prop_assert!(used <= V2_SIGNATURE.len() + bytes.len());
            }
        }

        #[test]
        fn split_anywhere_gives_more_and_then_the_same(
            from in any::<SocketAddr>(), to in any::<SocketAddr>(), v1 in any::<bool>(), cut in any::<prop::sample::Index>(),
        ) {
            let bytes = written(from, to, v1);
            let cut = cut.index(bytes.len());
            prop_assert_eq!(parse(&bytes[..cut]), Ok(Progress::More));
            let (origin, used) = complete(&bytes);
            prop_assert_eq!(used, bytes.len());
            let Origin::Client { from: read, .. } = origin else { panic!("{origin:?}") };
            prop_assert_eq!((read.ip(), read.port()), (from.ip().to_canonical(), from.port()));
        }
    }

    /// A header as a proxy would write it, both addresses as IPv6.
    fn written(from: SocketAddr, to: SocketAddr, v1: bool) -> Vec<u8> {
        let six = |addr: SocketAddr| match addr.ip() {
            IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            IpAddr::V6(v6) => v6,
        };
        if v1 {
            return format!("PROXY TCP6 {} {} {} {}\r\n", six(from), six(to), from.port(), to.port())
                .into_bytes();
        }
        let mut block = [six(from).octets(), six(to).octets()].concat();
        block.extend(from.port().to_be_bytes());
        block.extend(to.port().to_be_bytes());
        v2(0x21, 0x21, &block)
    }
}
