//! Words of the link home: who is asked for an address, and the names of tables, sets, interfaces and keys.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;

use crate::config::model::home::{DNS_PORT, Nameserver, NftSet, PublicKey, PublicKeyError};
use crate::config::scalar::name::{Host, HostError};

/// A name that has an address: `myhomeip.example.com`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HomeName(pub Arc<str>);

/// Text that is no such name.
#[derive(Debug, thiserror::Error)]
pub enum HomeNameError {
    /// An address.
    #[error("\"{0}\" is an address, a name is wanted\nan address that never moves needs no `address` here")]
    Address(String),
    /// No host at all.
    #[error(transparent)]
    Host(#[from] HostError),
}

impl FromStr for HomeName {
    type Err = HomeNameError;

    fn from_str(text: &str) -> Result<Self, HomeNameError> {
        let host: Host = text.parse()?;
        let address = host.0.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
        if address { Err(HomeNameError::Address(text.to_owned())) } else { Ok(Self(host.0)) }
    }
}

impl fmt::Display for HomeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

text_scalar!(HomeName, "a name like `myhomeip.example.com`", number: None,
    "examples": ["myhomeip.example.com"]);

/// A nameserver: `dns1.example.net`, `192.0.2.53`, `192.0.2.53:5353`, `"[2001:db8::53]:5353"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameserverAt(pub Nameserver);

/// Text that is no nameserver.
#[derive(Debug, thiserror::Error)]
pub enum NameserverError {
    /// Neither a name nor an address.
    #[error(
        "\"{0}\" is not a nameserver\nwrite its name or its address, with a port if it is not 53: dns1.example.net, 192.0.2.53, \"[2001:db8::53]:5353\""
    )]
    Format(String),
    /// An address that is no destination, or port 0.
    #[error(
        "\"{0}\" is nowhere that could be asked\nwrite the nameserver's own address, and a port of 1 to 65535"
    )]
    Nowhere(String),
}

impl FromStr for NameserverAt {
    type Err = NameserverError;

    fn from_str(text: &str) -> Result<Self, NameserverError> {
        let format = || NameserverError::Format(text.to_owned());
        let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
        let socket = bare.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, DNS_PORT)).or_else(|_| text.parse());
        if let Ok(socket) = socket {
            let nowhere = socket.port() == 0 || socket.ip().is_unspecified();
            let at = (!nowhere).then_some(Self(Nameserver::Socket(socket)));
            return at.ok_or_else(|| NameserverError::Nowhere(text.to_owned()));
        }
        let (name, port) = match text.rsplit_once(':') {
            Some((name, port)) => (name, port.parse().map_err(|_| format())?),
            None => (text, DNS_PORT),
        };
        if port == 0 {
            return Err(NameserverError::Nowhere(text.to_owned()));
        }
        let name: HomeName = name.parse().map_err(|_| format())?;
        Ok(Self(Nameserver::Name(name.0, port)))
    }
}

impl fmt::Display for NameserverAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

text_scalar!(NameserverAt, "a nameserver like `dns1.example.net` or `192.0.2.53`", number: None,
    "examples": ["dns1.example.net", "192.0.2.53", "192.0.2.53:5353"]);

/// The name of a table of pf(4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PfTable(pub Arc<str>);

/// Text that is no such name.
#[derive(Debug, thiserror::Error)]
#[error("\"{0}\" is not the name of a pf table\nwrite it as in pf.conf, without < and >: homeip")]
pub struct PfTableError(String);

impl FromStr for PfTable {
    type Err = PfTableError;

    fn from_str(text: &str) -> Result<Self, PfTableError> {
        // PF_TABLE_NAME_SIZE is 32, with the last zero.
        let valid = text.len() <= 31 && is_word(text);
        if valid { Ok(Self(text.into())) } else { Err(PfTableError(text.to_owned())) }
    }
}

/// A name that can be no option and needs no quotes, neither in pf.conf nor in nftables.
fn is_word(text: &str) -> bool {
    let starts = text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
    starts && text.chars().all(|char| char.is_ascii_alphanumeric() || matches!(char, '_' | '-' | '.'))
}

impl fmt::Display for PfTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

text_scalar!(PfTable, "the name of a pf table like `homeip`", number: None,
    "pattern": "^[A-Za-z_][A-Za-z0-9_.-]*$");

/// A set of nftables: `inet filter homeip`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NftSetName(pub NftSet);

/// Text that is no set.
#[derive(Debug, thiserror::Error)]
pub enum NftSetError {
    /// Not three words.
    #[error(
        "\"{0}\" is not a set of nftables\nwrite its table's family, its table and its name: \"inet filter homeip\""
    )]
    Format(String),
    /// The first word is no family.
    #[error("\"{0}\" is not a family of nftables\nit is one of ip, ip6, inet, bridge, arp and netdev")]
    Family(String),
}

const FAMILIES: [&str; 6] = ["ip", "ip6", "inet", "bridge", "arp", "netdev"];

impl FromStr for NftSetName {
    type Err = NftSetError;

    fn from_str(text: &str) -> Result<Self, NftSetError> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let [family, table, set] = words[..] else { return Err(NftSetError::Format(text.to_owned())) };
        if !FAMILIES.contains(&family) {
            return Err(NftSetError::Family(family.to_owned()));
        }
        // NFT_NAME_MAXLEN is 256, with the last zero.
        if [table, set].iter().any(|word| word.len() > 255 || !is_word(word)) {
            return Err(NftSetError::Format(text.to_owned()));
        }
        Ok(Self(NftSet { family: family.into(), table: table.into(), set: set.into() }))
    }
}

impl fmt::Display for NftSetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

text_scalar!(NftSetName, "a set of nftables like `inet filter homeip`", number: None,
    "examples": ["inet filter homeip"]);

/// A network interface of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface(pub Arc<str>);

/// Text that is no interface.
#[derive(Debug, thiserror::Error)]
#[error("\"{0}\" is not the name of an interface\nat most 15 letters, digits, `_`, `-` and `.`, like wg1")]
pub struct InterfaceError(String);

impl FromStr for Interface {
    type Err = InterfaceError;

    fn from_str(text: &str) -> Result<Self, InterfaceError> {
        // IFNAMSIZ is 16 on both systems, with the last zero.
        let valid = text.len() <= 15 && is_word(text);
        if valid { Ok(Self(text.into())) } else { Err(InterfaceError(text.to_owned())) }
    }
}

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

text_scalar!(Interface, "an interface like `wg1`", number: None, "pattern": "^[A-Za-z_][A-Za-z0-9_.-]*$");

/// The public key of a WireGuard peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerKey(pub PublicKey);

impl FromStr for PeerKey {
    type Err = PublicKeyError;

    fn from_str(text: &str) -> Result<Self, PublicKeyError> {
        text.parse().map(Self)
    }
}

impl fmt::Display for PeerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

text_scalar!(PeerKey, "the public key of a WireGuard peer", number: None,
    "pattern": "^[A-Za-z0-9+/]{43}=$");

/// A port that something can be sent to: 1 to 65535.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Port(pub u16);

/// A number that is no port.
#[derive(Debug, thiserror::Error)]
#[error("{0} is not a port\nports are 1 to 65535")]
pub struct PortError(u64);

impl TryFrom<u64> for Port {
    type Error = PortError;

    fn try_from(number: u64) -> Result<Self, PortError> {
        match u16::try_from(number) {
            Ok(port @ 1..) => Ok(Self(port)),
            _ => Err(PortError(number)),
        }
    }
}

impl Port {
    fn number(self) -> u64 {
        self.0.into()
    }
}

number_scalar!(Port, "a port", "minimum": 1, "maximum": 65535);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nameservers_are_names_or_addresses_with_a_port_or_without() {
        for text in [
            "dns1.example.net",
            "dns1.example.net:5353",
            "192.0.2.53",
            "127.0.0.1:24053",
            "2001:db8::53",
            "[2001:db8::53]:5353",
            "localhost",
        ] {
            assert_eq!(text.parse::<NameserverAt>().unwrap().to_string(), text);
        }
        assert_eq!("[2001:db8::53]".parse::<NameserverAt>().unwrap().to_string(), "2001:db8::53");
        for text in
            ["", "a b", "0.0.0.0", "::", "dns1:0", "192.0.2.53:0", "dns1:x", "udp://dns1", "[dns1]:53"]
        {
            assert!(text.parse::<NameserverAt>().is_err(), "{text}");
        }
    }

    #[test]
    fn no_name_can_be_an_option_or_more_than_one_word() {
        for text in ["-F", "", "a b", "<homeip>", "a;b", "a\nb", "a{b", "homeip,x", "\"a\""] {
            assert!(text.parse::<PfTable>().is_err(), "{text}");
            assert!(text.parse::<Interface>().is_err(), "{text}");
            assert!(format!("inet filter {text}").parse::<NftSetName>().is_err(), "{text}");
        }
        assert!("a234567890123456".parse::<Interface>().is_err());
        assert!("a2345678901234567890123456789012".parse::<PfTable>().is_err());
    }

    #[test]
    fn a_set_is_named_in_three_words() {
        assert_eq!("inet  filter homeip".parse::<NftSetName>().unwrap().to_string(), "inet filter homeip");
        for text in ["homeip", "filter homeip", "inet filter homeip x", "inet6 filter homeip"] {
            assert!(text.parse::<NftSetName>().is_err(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_answered(text in "[a-z0-9:.\\[\\] -]{0,24}") {
            if let Ok(at) = text.parse::<NameserverAt>() {
                proptest::prop_assert_eq!(at.to_string().parse::<NameserverAt>().unwrap(), at);
            }
            let _ = text.parse::<NftSetName>().map_err(|error| error.to_string());
            let _ = text.parse::<HomeName>().map_err(|error| error.to_string());
        }
    }
}
