//! The link home: the tunnel that leads there, and the address that home has on the internet.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

/// What is known of the link home.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HomeLink {
    /// The tunnel that leads home, whose handshakes are watched.
    pub wireguard: Option<WireGuard>,
    /// Home's address on the internet, which may move.
    pub address: Option<Address>,
}

/// One peer of one WireGuard interface of this machine.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct WireGuard {
    /// The interface, like `wg1`.
    pub interface: Arc<str>,
    /// The peer at home.
    pub peer: PublicKey,
}

/// Home's address on the internet: whom to ask for it, and what to tell of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// The name that home keeps up to date: lower case, without a last dot.
    pub name: Arc<str>,
    /// Who is asked.
    pub nameserver: Nameserver,
    /// Between two questions; at least one second.
    pub every: Duration,
    /// Whether addresses that nobody has on the internet are believed.
    pub allow_private: bool,
    /// What is told of a change, in this order.
    pub updates: Vec<Update>,
}

/// The nameserver that is asked, the one with authority over the name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Nameserver {
    /// By its address and port.
    Socket(SocketAddr),
    /// By its name, which the system looks up, and its port.
    Name(Arc<str>, u16),
}

impl fmt::Display for Nameserver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let port = |f: &mut fmt::Formatter<'_>, port| match port {
            DNS_PORT => Ok(()),
            port => write!(f, ":{port}"),
        };
        match self {
            Self::Socket(at) => {
                match at.ip() {
                    IpAddr::V6(ip) if at.port() != DNS_PORT => write!(f, "[{ip}]")?,
                    ip => write!(f, "{ip}")?,
                }
                port(f, at.port())
            }
            Self::Name(name, at) => {
                f.write_str(name)?;
                port(f, *at)
            }
        }
    }
}

/// The port of nameservers.
pub const DNS_PORT: u16 = 53;

/// One thing that is told where home is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Update {
    /// A table of pf(4).
    PfTable {
        /// Its name.
        table: Arc<str>,
        /// Whether everything in it is porchd's.
        owned: bool,
    },
    /// A set of nftables.
    NftSet {
        /// Where it is.
        set: NftSet,
        /// Whether everything in it is porchd's.
        owned: bool,
    },
    /// A file with one address a line.
    File(PathBuf),
    /// The endpoint of a WireGuard peer, while its handshake is stale.
    WireGuardEndpoint {
        /// The peer.
        wireguard: WireGuard,
        /// The peer's UDP port at home.
        port: u16,
    },
}

impl fmt::Display for Update {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PfTable { table, .. } => write!(f, "pf table {table}"),
            Self::NftSet { set, .. } => write!(f, "nft set {set}"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::WireGuardEndpoint { wireguard, .. } => write!(f, "wireguard {}", wireguard.interface),
        }
    }
}

/// A set of nftables, as `inet filter homeip`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NftSet {
    /// The family of its table: ip, ip6, inet, bridge, arp or netdev.
    pub family: Arc<str>,
    /// Its table.
    pub table: Arc<str>,
    /// Its own name.
    pub set: Arc<str>,
}

impl fmt::Display for NftSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.family, self.table, self.set)
    }
}

/// The public key of a WireGuard peer (Curve25519), written in base64 as wg(8) does.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublicKey(pub [u8; 32]);

/// Text that is no public key. It does not repeat the text: a private key looks the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PublicKeyError {
    /// Not base64.
    #[error(
        "this is not a public key of WireGuard: it is not in base64\n`wg show INTERFACE peers` prints it: 44 characters with a `=` at the end"
    )]
    Base64,
    /// Not 32 bytes.
    #[error(
        "this is not a public key of WireGuard: it has {0} bytes instead of 32\n`wg show INTERFACE peers` prints it: 44 characters with a `=` at the end"
    )]
    Length(usize),
}

impl FromStr for PublicKey {
    type Err = PublicKeyError;

    fn from_str(text: &str) -> Result<Self, PublicKeyError> {
        let bytes = STANDARD.decode(text.trim()).map_err(|_| PublicKeyError::Base64)?;
        <[u8; 32]>::try_from(bytes).map(Self).map_err(|bytes| PublicKeyError::Length(bytes.len()))
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

impl TryFrom<String> for PublicKey {
    type Error = PublicKeyError;

    fn try_from(text: String) -> Result<Self, PublicKeyError> {
        text.parse()
    }
}

impl From<PublicKey> for String {
    fn from(key: PublicKey) -> Self {
        key.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ABEiM0RVZneImaq7zN3u/wARIjNEVWZ3iJmqu8zd7v8=";

    #[test]
    fn a_key_is_read_and_written_alike() {
        let key: PublicKey = KEY.parse().unwrap();
        assert_eq!((key.0[1], key.0[31]), (0x11, 0xff));
        assert_eq!(key.to_string(), KEY);
        let json = serde_json::to_string(&key).unwrap();
        assert_eq!(json, format!("\"{KEY}\""));
        assert_eq!(serde_json::from_str::<PublicKey>(&json).unwrap(), key);
    }

    #[test]
    fn what_is_no_key_is_told_without_repeating_it() {
        for (text, told) in [
            ("", PublicKeyError::Length(0)),
            ("secret key", PublicKeyError::Base64),
            (&KEY[..43], PublicKeyError::Base64),
            ("AAAA", PublicKeyError::Length(3)),
        ] {
            let error = text.parse::<PublicKey>().unwrap_err();
            assert_eq!(error, told);
            assert!(text.is_empty() || !error.to_string().contains(text), "{error}");
        }
        assert!(serde_json::from_str::<PublicKey>("\"x\"").is_err());
    }

    #[test]
    fn nameservers_are_told_as_they_are_written() {
        for (at, told) in [
            ("192.0.2.53:53", "192.0.2.53"),
            ("192.0.2.53:5353", "192.0.2.53:5353"),
            ("[2001:db8::53]:53", "2001:db8::53"),
            ("[2001:db8::53]:5353", "[2001:db8::53]:5353"),
        ] {
            assert_eq!(Nameserver::Socket(at.parse().unwrap()).to_string(), told);
        }
        assert_eq!(Nameserver::Name("dns1.example.net".into(), 53).to_string(), "dns1.example.net");
        assert_eq!(Nameserver::Name("dns1.example.net".into(), 54).to_string(), "dns1.example.net:54");
    }
}
