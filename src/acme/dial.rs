//! Connects to a CA by name: every address gets its chance, and a dead IPv6 does not stop IPv4.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// For the look-up and the connection together.
const PATIENCE: Duration = Duration::from_secs(10);

/// The next address is tried too when the ones before it have not answered for this long (RFC 8305 section 5).
const STAGGER: Duration = Duration::from_millis(250);

/// More addresses than this are not tried.
const MOST: usize = 8;

/// A connection that did not come about.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The name service does not know the name, or can't be asked.
    #[error("{host} does not resolve: {}", words(source))]
    Lookup {
        /// The name.
        host: String,
        /// What the system says.
        source: io::Error,
    },
    /// The name service did not answer in time.
    #[error("no answer from the name service for {host} within {} s", PATIENCE.as_secs())]
    LookupSlow {
        /// The name.
        host: String,
    },
    /// The name has no address.
    #[error("{host} has no address")]
    NoAddress {
        /// The name.
        host: String,
    },
    /// Every address refused, each in its way.
    #[error("{}", Tried(.0))]
    Failed(Vec<(SocketAddr, io::Error)>),
    /// Nobody answered in time.
    #[error("connect to {}: no answer within {} s", list(.0), PATIENCE.as_secs())]
    Slow(Vec<SocketAddr>),
}

struct Tried<'a>(&'a [(SocketAddr, io::Error)]);

impl fmt::Display for Tried<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, (address, error)) in self.0.iter().enumerate() {
            let between = if place == 0 { "" } else { "; " };
            write!(f, "{between}connect to {address}: {}", words(error))?;
        }
        Ok(())
    }
}

fn list(addresses: &[SocketAddr]) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// What the system says, without the number that says the same.
pub fn words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => return "refused".to_owned(),
        io::ErrorKind::ConnectionReset => return "reset".to_owned(),
        io::ErrorKind::NetworkUnreachable => return "network unreachable".to_owned(),
        io::ErrorKind::HostUnreachable => return "host unreachable".to_owned(),
        io::ErrorKind::TimedOut => return "no answer".to_owned(),
        _ => {}
    }
    let text = error.to_string();
    let text = text.strip_prefix("failed to lookup address information: ").unwrap_or(&text);
    text.split(" (os error").next().unwrap_or(text).to_owned()
}

/// A connection to `host` (a name, or an address without brackets) within ten seconds.
pub async fn connect(host: &str, port: u16) -> Result<TcpStream, DialError> {
    let begin = crate::clock::now();
    let addresses = match host.parse::<IpAddr>() {
        Ok(ip) => vec![SocketAddr::new(ip, port)],
        Err(_) => look_up(host, port).await?,
    };
    let left = PATIENCE.saturating_sub(crate::clock::now().saturating_duration_since(begin));
    let reached = timeout(left, race(&addresses)).await;
    reached.unwrap_or(Err(DialError::Slow(addresses)))
}

async fn look_up(host: &str, port: u16) -> Result<Vec<SocketAddr>, DialError> {
    let found = match timeout(PATIENCE, lookup_host((host, port))).await {
        Err(_) => return Err(DialError::LookupSlow { host: host.to_owned() }),
        Ok(Err(source)) => return Err(DialError::Lookup { host: host.to_owned(), source }),
        Ok(Ok(found)) => found.collect(),
    };
    let mut addresses = by_turns(found);
    addresses.truncate(MOST);
    if addresses.is_empty() { Err(DialError::NoAddress { host: host.to_owned() }) } else { Ok(addresses) }
}

/// One family after the other, the one that the system prefers first (RFC 8305 section 4).
fn by_turns(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let six_first = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) =
        addresses.into_iter().partition(|address| address.is_ipv6() == six_first);
    let mut second = second.into_iter();
    let mut mixed = Vec::new();
    for address in first {
        mixed.push(address);
        mixed.extend(second.next());
    }
    mixed.extend(second);
    mixed
}

async fn race(addresses: &[SocketAddr]) -> Result<TcpStream, DialError> {
    let mut dials = JoinSet::new();
    let mut delay = Duration::ZERO;
    for (place, address) in addresses.iter().copied().enumerate() {
        dials.spawn(async move {
            sleep(delay).await;
            (place, address, TcpStream::connect(address).await)
        });
        delay += STAGGER;
    }
    let mut failed = Vec::new();
    while let Some(done) = dials.join_next().await {
        match done {
            Ok((_, _, Ok(stream))) => {
                // Requests are written whole; waiting for more helps nobody.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Ok((place, address, Err(error))) => failed.push((place, address, error)),
            Err(_) => {}
        }
    }
    failed.sort_by_key(|(place, _, _)| *place);
    Err(DialError::Failed(failed.into_iter().map(|(_, address, error)| (address, error)).collect()))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::net::TcpListener;

    use super::*;
    use crate::acme::fake::closed_port;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn families_take_turns() {
        let [a, b, c] = ["[::1]:1", "[::2]:1", "[::3]:1"].map(address);
        let [x, y] = ["127.0.0.1:1", "127.0.0.2:1"].map(address);
        assert_eq!(by_turns(vec![a, b, c, x, y]), [a, x, b, y, c]);
        assert_eq!(by_turns(vec![x, a, b]), [x, a, b]);
        assert_eq!(by_turns(Vec::new()), []);
    }

    #[tokio::test]
    async fn refusals_are_told_by_address() {
        let (_reserved, closed) = closed_port();
        let error = connect("127.0.0.1", closed.port()).await.unwrap_err();
        assert_eq!(error.to_string(), format!("connect to {closed}: refused"));
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_refuses_does_not_stop_the_next() {
        let (_reserved, closed) = closed_port();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let open = listener.local_addr().unwrap();
        assert_eq!(race(&[closed, open]).await.unwrap().peer_addr().unwrap(), open);
    }

    #[cfg(target_os = "linux")]
    #[tokio::test(start_paused = true)]
    async fn an_address_that_is_silent_does_not_stop_the_next() {
        // A queue of one that is full: Linux drops what comes then, as a dead route does.
        let full = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        full.bind(&address("127.0.0.1:0").into()).unwrap();
        full.listen(0).unwrap();
        let silent = full.local_addr().unwrap().as_socket().unwrap();
        let _first = std::net::TcpStream::connect(silent).unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let open = listener.local_addr().unwrap();
        assert_eq!(race(&[silent, open]).await.unwrap().peer_addr().unwrap(), open);
        let error = connect("127.0.0.1", silent.port()).await.unwrap_err();
        assert_eq!(error.to_string(), format!("connect to {silent}: no answer within 10 s"));
    }

    #[tokio::test]
    async fn names_that_are_none_are_told() {
        let error = connect("no such name", 443).await.unwrap_err().to_string();
        assert!(error.starts_with("no such name does not resolve: "), "{error}");
        assert!(!error.contains("os error") && !error.contains("lookup"), "{error}");
    }
}
