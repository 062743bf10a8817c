//! Names: of hosts, of homeservers, of listeners and upstreams.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use std::sync::Arc;

use crate::config::model::HostPattern;
use crate::config::scalar::address::{BackendAt, BackendAtError};

/// One host without port: `example.com`, `192.0.2.1`, `[2001:db8::1]`. Lower case, no trailing dot.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Host(pub Arc<str>);

/// Text that is no host.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// Nothing.
    #[error("a host can't be empty")]
    Empty,
    /// A URL.
    #[error("\"{0}\" is a URL, a host is wanted\nwrite the name alone: {1}")]
    Url(String, String),
    /// A host with a port.
    #[error("\"{0}\" has a port, a host is wanted\nwrite {1}: ports belong to listeners")]
    Port(String, String),
    /// Not ASCII.
    #[error("\"{0}\" is not in ASCII\nwrite it in its `xn--` form (`idn2 {0}` prints it)")]
    NotAscii(String),
    /// A `*` where none may be.
    #[error("\"{0}\" is not a host\na wildcard stands for one whole label in front: \"*.example.com\"")]
    Wildcard(String),
    /// A wildcard where one host is meant.
    #[error("\"{0}\" is a wildcard, exactly one host is wanted")]
    NotOne(String),
    /// Anything else.
    #[error(
        "\"{0}\" is not a host\nlabels of letters, digits and hyphens with dots between them: matrix.example.com"
    )]
    Format(String),
}

impl FromStr for Host {
    type Err = HostError;

    fn from_str(text: &str) -> Result<Self, HostError> {
        let owned = || text.to_owned();
        if text.is_empty() {
            return Err(HostError::Empty);
        }
        if let Some((_, rest)) = text.split_once("://") {
            return Err(HostError::Url(
                owned(),
                rest.split(['/', ':']).next().unwrap_or_default().to_owned(),
            ));
        }
        if !text.is_ascii() {
            return Err(HostError::NotAscii(owned()));
        }
        if let Ok(ip) = text.trim_start_matches('[').trim_end_matches(']').parse::<Ipv6Addr>() {
            return Ok(Self(format!("[{ip}]").into()));
        }
        if let Some((host, port)) = text.rsplit_once(':')
            && port.bytes().all(|byte| byte.is_ascii_digit())
        {
            return Err(HostError::Port(owned(), host.to_owned()));
        }
        if text.contains('*') {
            return Err(HostError::Wildcard(owned()));
        }
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        if is_name(&name) { Ok(Self(name.into())) } else { Err(HostError::Format(owned())) }
    }
}

/// Letters, digits, hyphens and (as some do) underscores; RFC 1123 2.1 with its lengths.
fn is_name(name: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    // What looks like an IPv4 address must be one: 1.2.3.400 is a slip, not a name.
    let numeric = name.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
    name.len() <= 253 && name.split('.').all(label) && (!numeric || name.parse::<Ipv4Addr>().is_ok())
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

text_scalar!(Host, "a host like `matrix.example.com`", number: None, "examples": ["matrix.example.com"]);

/// A host, or all hosts one label below it: `*.example.com`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(pub HostPattern);

impl FromStr for Pattern {
    type Err = HostError;

    fn from_str(text: &str) -> Result<Self, HostError> {
        match text.strip_prefix("*.") {
            None => text.parse().map(|Host(name)| Self(HostPattern::Exact(name))),
            Some(parent) => match parent.parse() {
                Ok(Host(parent)) if parent.parse::<Ipv4Addr>().is_err() && !parent.starts_with('[') => {
                    Ok(Self(HostPattern::Wildcard(parent)))
                }
                _ => Err(HostError::Wildcard(text.to_owned())),
            },
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

text_scalar!(Pattern, "a host like `example.com` or `\"*.example.com\"`", number: None,
    "examples": ["example.com", "*.example.com"]);

/// The name of a homeserver: a host, rarely with a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerName {
    /// The host alone.
    pub host: Host,
    /// The port, which turns discovery off (server-server specification, 2.1).
    pub port: Option<u16>,
}

impl FromStr for ServerName {
    type Err = HostError;

    fn from_str(text: &str) -> Result<Self, HostError> {
        // Users write their own name by habit: @me:example.com.
        let bare = if text.starts_with(['@', '#', '!']) {
            text.split_once(':').map_or(text, |(_, server)| server)
        } else {
            text
        };
        if bare != text {
            return Err(HostError::Url(text.to_owned(), bare.to_owned()));
        }
        match text.parse::<Host>() {
            Ok(host) => Ok(Self { host, port: None }),
            Err(HostError::Port(whole, host)) => {
                let port = whole[host.len() + 1..].parse().map_err(|_| HostError::Format(whole.clone()))?;
                Ok(Self { host: host.parse()?, port: Some(port) })
            }
            Err(error) => Err(error),
        }
    }
}

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            None => self.host.fmt(f),
            Some(port) => write!(f, "{}:{port}", self.host),
        }
    }
}

text_scalar!(ServerName, "the homeserver's name, like `example.com`", number: None,
    "examples": ["example.com"]);

/// The name of a listener or an upstream.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(pub Arc<str>);

/// Text that is no such name.
#[derive(Debug, thiserror::Error)]
#[error("\"{0}\" is not a name\nletters, digits, `-`, `_` and `.`")]
pub struct NameError(String);

impl Name {
    /// A name made by a preset.
    pub(crate) fn made(text: &str) -> Self {
        Self(text.into())
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        // A preset's name may end in the server name's port, and `check --expand` must be readable again.
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':');
        let valid = !text.is_empty() && text.len() <= 300 && text.bytes().all(allowed);
        if valid { Ok(Self(text.into())) } else { Err(NameError(text.to_owned())) }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

text_scalar!(Name, "a name", number: Some(|number| number.to_string()), "pattern": "^[A-Za-z0-9._:-]+$");

/// Where Synapse is: an address, or the name of an upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Home {
    /// An address; an upstream is made for it.
    Address(BackendAt),
    /// The name of an upstream.
    Upstream(Name),
}

impl FromStr for Home {
    type Err = BackendAtError;

    fn from_str(text: &str) -> Result<Self, BackendAtError> {
        let address = text.parse().map(Self::Address);
        // A word that is no address may be an upstream's name; an IP address without port is a slip.
        let word = !text.contains([':', '/']) && text.parse::<std::net::IpAddr>().is_err();
        match text.parse::<Name>() {
            Ok(name) if word && address.is_err() => Ok(Self::Upstream(name)),
            _ => address,
        }
    }
}

impl fmt::Display for Home {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Upstream(name) => name.fmt(f),
        }
    }
}

text_scalar!(Home, "an address like `10.77.0.2:8008`, or an upstream's name", number: None,
    "examples": ["10.77.0.2:8008", "home"]);

/// The name of a user of this system, by the rules of POSIX' portable names and those of OpenBSD and Debian.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserName(pub Arc<str>);

/// Text that is no user's name.
#[derive(Debug, thiserror::Error)]
#[error(
    "\"{0}\" is not a user's name\nat most 31 letters, digits, `_` and `-`, as the system's user list has them"
)]
pub struct UserNameError(String);

impl FromStr for UserName {
    type Err = UserNameError;

    fn from_str(text: &str) -> Result<Self, UserNameError> {
        let starts = text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
        let known = |char: char| char.is_ascii_alphanumeric() || matches!(char, '_' | '-' | '.');
        let valid = starts && text.len() <= 31 && text.chars().all(known);
        if valid { Ok(Self(text.into())) } else { Err(UserNameError(text.to_owned())) }
    }
}

impl fmt::Display for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

text_scalar!(UserName, "the name of a user like `_porchd`", number: None, "pattern": "^[A-Za-z_][A-Za-z0-9_.-]*$");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_normalised() {
        for (text, host) in [
            ("Example.COM.", "example.com"),
            ("192.0.2.1", "192.0.2.1"),
            ("2001:DB8::1", "[2001:db8::1]"),
            ("[2001:db8::1]", "[2001:db8::1]"),
            ("localhost", "localhost"),
            ("_x.example", "_x.example"),
        ] {
            assert_eq!(text.parse::<Host>().unwrap().to_string(), host);
        }
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for text in [
            "",
            ".",
            "a..b",
            "-a.b",
            "a b",
            "https://a.b/",
            "a.b:443",
            "*.a.b",
            "bücher.example",
            "1.2.3.400",
            "a/b",
            "a.b:",
            "[::1",
            "[]",
        ] {
            let parsed = text.parse::<Host>();
            assert!(parsed.is_err() || text == "[::1", "{text}: {parsed:?}");
        }
    }

    #[test]
    fn wildcards_stand_for_one_label_in_front() {
        assert_eq!("*.Example.com".parse::<Pattern>().unwrap().to_string(), "*.example.com");
        for text in ["*", "*.", "a.*.b", "*a.b", "*.*.b", "*.10.0.0.1"] {
            assert!(text.parse::<Pattern>().is_err(), "{text}");
        }
    }

    #[test]
    fn home_is_an_address_or_a_name() {
        assert!(matches!("10.77.0.2:8008".parse(), Ok(Home::Address(_))));
        assert!(matches!("synapse".parse(), Ok(Home::Upstream(_))));
        assert!(matches!("synapse:8008".parse(), Ok(Home::Address(_))));
        for text in ["10.77.0.2", "fd00::2", "http://10.0.0.1:8008", "a b", ""] {
            assert!(text.parse::<Home>().is_err(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_answered(text in ".{0,24}") {
            let _ = text.parse::<Pattern>().map_err(|error| error.to_string());
            let _ = text.parse::<Home>().map_err(|error| error.to_string());
            if let Ok(name) = text.parse::<ServerName>() {
                proptest::prop_assert_eq!(name.to_string().parse::<ServerName>().unwrap(), name);
            }
        }
    }
}
