//! Addresses: what to bind, whom to trust, where backends are.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use ipnet::IpNet;

use crate::config::model::BackendAddress;
use crate::config::scalar::name::Host;

/// An address and port to bind: `0.0.0.0:443`, `[::]:443`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BindAddress(pub SocketAddr);

/// Text that is no address to bind.
#[derive(Debug, thiserror::Error)]
#[error("\"{text}\" is not an address to bind\n{}", bind_help(text))]
pub struct BindAddressError {
    text: String,
}

fn bind_help(text: &str) -> String {
    if let Ok(port) = text.trim_start_matches(['*', ':']).parse::<u16>() {
        return format!("write both: \"[::]:{port}\" for IPv6 and \"0.0.0.0:{port}\" for IPv4");
    }
    match text.parse::<IpAddr>() {
        Ok(IpAddr::V4(ip)) => format!("it needs a port: {ip}:443"),
        Ok(IpAddr::V6(ip)) => format!("it needs brackets and a port: \"[{ip}]:443\""),
        Err(_) if text.starts_with(|ch: char| ch.is_ascii_alphabetic()) => String::from(
            "names are not looked up here; write the address: 192.0.2.1:443 or \"[2001:db8::1]:443\"",
        ),
        Err(_) => String::from("write address:port, like 0.0.0.0:443 or \"[::]:443\""),
    }
}

impl FromStr for BindAddress {
    type Err = BindAddressError;

    fn from_str(text: &str) -> Result<Self, BindAddressError> {
        text.parse().map(Self).map_err(|_| BindAddressError { text: text.to_owned() })
    }
}

impl fmt::Display for BindAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

text_scalar!(BindAddress, "an address and port like `0.0.0.0:443` or `\"[::]:443\"`",
    number: Some(|number| number.to_string()), "examples": ["[::]:443", "0.0.0.0:443"]);

/// Where figures are read: `127.0.0.1:9178`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetricsAddress(pub SocketAddr);

/// Text that is no address for figures.
#[derive(Debug, thiserror::Error)]
#[error("\"{text}\" is not an address and port\n{}", metrics_help(text))]
pub struct MetricsAddressError {
    text: String,
}

fn metrics_help(text: &str) -> String {
    if let Ok(ip) = text.trim_matches(['[', ']']).parse::<IpAddr>() {
        return format!("it needs a port: \"{}\"", SocketAddr::new(ip, METRICS_PORT));
    }
    let port = text.strip_prefix("localhost").unwrap_or(text).trim_start_matches(['*', ':']).parse::<u16>();
    match port {
        Ok(port) => format!("write 127.0.0.1:{port} for this machine alone"),
        Err(_) => format!("write address:port, like 127.0.0.1:{METRICS_PORT}"),
    }
}

/// The port of examples; nothing listens there by default.
const METRICS_PORT: u16 = 9178;

impl FromStr for MetricsAddress {
    type Err = MetricsAddressError;

    fn from_str(text: &str) -> Result<Self, MetricsAddressError> {
        text.parse().map(Self).map_err(|_| MetricsAddressError { text: text.to_owned() })
    }
}

impl fmt::Display for MetricsAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

text_scalar!(MetricsAddress, "an address and port like `127.0.0.1:9178`",
    number: Some(|number| number.to_string()), "examples": ["127.0.0.1:9178", "[::1]:9178"]);

/// A network or one address: `10.77.0.0/24`, `2001:db8::/48`, `192.0.2.10`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Net(pub IpNet);

/// Text that is no network.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// Neither an address nor a network.
    #[error(
        "\"{0}\" is not a network\nwrite an address like 192.0.2.10 or a network like 10.77.0.0/24 or \"2001:db8::/48\""
    )]
    Format(String),
    /// Bits below the prefix: what was meant is not certain.
    #[error("\"{written}\" has bits set behind its /{}\nwrite {} for the network, {} for the one address",
        written.prefix_len(), written.trunc(), written.addr())]
    HostBits {
        /// What was written.
        written: IpNet,
    },
}

impl FromStr for Net {
    type Err = NetError;

    fn from_str(text: &str) -> Result<Self, NetError> {
        if let Ok(ip) = text.parse::<IpAddr>() {
            return Ok(Self(IpNet::from(ip)));
        }
        let net = text.parse::<IpNet>().map_err(|_| NetError::Format(text.to_owned()))?;
        if net.addr() == net.network() { Ok(Self(net)) } else { Err(NetError::HostBits { written: net }) }
    }
}

impl fmt::Display for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.prefix_len() == self.0.max_prefix_len() { self.0.addr().fmt(f) } else { self.0.fmt(f) }
    }
}

text_scalar!(Net, "an address or network like `10.77.0.0/24`", number: None,
    "examples": ["10.77.0.0/24", "2001:db8::/48", "192.0.2.10"]);

/// Where a backend is: `10.77.0.2:8008`, `"[fd00::2]:8008"`, `synapse.lan:8008`, `unix:/run/synapse.sock`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackendAt(pub BackendAddress);

/// Text that is no backend's address.
#[derive(Debug, thiserror::Error)]
pub enum BackendAtError {
    /// Not `host:port`.
    #[error(
        "\"{0}\" is not a backend's address\nwrite address:port, name:port or unix:/path, like 10.77.0.2:8008"
    )]
    Format(String),
    /// A URL.
    #[error("\"{0}\" is a URL, a backend is an address\n{1}")]
    Url(String, String),
    /// No port.
    #[error("\"{0}\" has no port\nSynapse's is 8008 by default: {0}:8008")]
    NoPort(String),
    /// Port 0.
    #[error("\"{0}\" has no usable port\nports are 1 to 65535")]
    Port(String),
    /// An address that is no destination.
    #[error("\"{0}\" is an address to listen on, nothing can be sent there\nwrite the backend's own address")]
    Unspecified(String),
    /// A unix socket's path that is not absolute.
    #[error("\"{0}\" has no absolute path\nwrite unix:/run/synapse.sock")]
    Path(String),
}

fn url_help(rest: &str, https: bool) -> String {
    let authority = rest.split('/').next().unwrap_or_default();
    let tls = if https { ", and `tls: true` beside `backends` for https" } else { "" };
    format!("write {authority}{tls}")
}

impl FromStr for BackendAt {
    type Err = BackendAtError;

    fn from_str(text: &str) -> Result<Self, BackendAtError> {
        use BackendAtError as E;
        let owned = || text.to_owned();
        if let Some(path) = text.strip_prefix("unix:") {
            let valid = path.len() > 1 && path.starts_with('/') && !path.contains('\0');
            return if valid {
                Ok(Self(BackendAddress::Unix(PathBuf::from(path))))
            } else {
                Err(E::Path(owned()))
            };
        }
        for (scheme, https) in [("http://", false), ("https://", true)] {
            if let Some(rest) = text.strip_prefix(scheme) {
                return Err(E::Url(owned(), url_help(rest, https)));
            }
        }
        if let Ok(addr) = text.parse::<SocketAddr>() {
            return match addr {
                _ if addr.ip().is_unspecified() => Err(E::Unspecified(owned())),
                _ if addr.port() == 0 => Err(E::Port(owned())),
                _ => Ok(Self(BackendAddress::Socket(addr))),
            };
        }
        if let Ok(ip) = text.trim_matches(['[', ']']).parse::<Ipv6Addr>() {
            return Err(E::NoPort(format!("[{ip}]")));
        }
        let Some((host, port)) = text.rsplit_once(':') else {
            return Err(if text.parse::<Host>().is_ok() { E::NoPort(owned()) } else { E::Format(owned()) });
        };
        let name = host.parse::<Host>().map_err(|_| E::Format(owned()))?;
        match port.parse() {
            Ok(port @ 1..) => Ok(Self(BackendAddress::Name(name.0, port))),
            _ => Err(E::Port(owned())),
        }
    }
}

impl fmt::Display for BackendAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

text_scalar!(BackendAt, "a backend: address:port, name:port or unix:/path", number: None,
    "examples": ["10.77.0.2:8008", "synapse.lan:8008", "unix:/run/synapse.sock"]);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backends_are_addresses_names_or_sockets() {
        for text in
            ["10.77.0.2:8008", "[fd00::2]:8008", "synapse.lan:8008", "unix:/run/s.sock", "localhost:80"]
        {
            assert_eq!(text.parse::<BackendAt>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "10.77.0.2",
            "synapse",
            "http://10.77.0.2:8008/",
            "0.0.0.0:8008",
            "a:0",
            "a:99999",
            ":80",
            "unix:x",
            "fd00::2",
            "[::]:80",
            "a b:1",
            "unix:",
        ] {
            assert!(text.parse::<BackendAt>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_network_with_host_bits_is_told_both_meanings() {
        let told = "10.77.0.2/24".parse::<Net>().unwrap_err().to_string();
        assert!(
            told.ends_with("write 10.77.0.0/24 for the network, 10.77.0.2 for the one address"),
            "{told}"
        );
        for text in ["10.77.0.0/24", "192.0.2.10", "2001:db8::/48", "::/0", "::1"] {
            assert_eq!(text.parse::<Net>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_bare_port_is_answered_with_both_families() {
        for text in ["443", ":443", "*:443"] {
            let told = text.parse::<BindAddress>().unwrap_err().to_string();
            assert!(told.contains("\"[::]:443\"") && told.contains("\"0.0.0.0:443\""), "{told}");
        }
    }

    #[test]
    fn figures_are_offered_to_this_machine_first() {
        for (text, help) in [
            ("9178", "write 127.0.0.1:9178 for this machine alone"),
            (":9178", "write 127.0.0.1:9178 for this machine alone"),
            ("localhost:9100", "write 127.0.0.1:9100 for this machine alone"),
            ("10.77.0.1", "it needs a port: \"10.77.0.1:9178\""),
            ("::1", "it needs a port: \"[::1]:9178\""),
            ("http://127.0.0.1:9178/", "write address:port, like 127.0.0.1:9178"),
        ] {
            let told = text.parse::<MetricsAddress>().unwrap_err().to_string();
            assert_eq!(told, format!("\"{text}\" is not an address and port\n{help}"));
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_answered(text in "[a-z0-9:./\\[\\]*-]{0,24}") {
            let _ = text.parse::<BindAddress>().map_err(|error| error.to_string());
            let _ = text.parse::<MetricsAddress>().map_err(|error| error.to_string());
            let _ = text.parse::<Net>().map_err(|error| error.to_string());
            if let Ok(backend) = text.parse::<BackendAt>() {
                proptest::prop_assert_eq!(backend.to_string().parse::<BackendAt>().unwrap(), backend);
            }
        }
    }
}
