//! What would make an order fail, told before it is sent: names without an address, addresses that lead elsewhere.
//!
//! Only a name without any address holds an order back. Everything else is seen from this machine alone, and behind
//! a translated address (1:1 NAT) or a firewall that may differ from what the CA sees: it is told and no more.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::clock;
use crate::config::model::acme::Challenge;
use crate::tls::challenges::Challenges;

/// What was seen of a site's names.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Names that the resolver says have no address.
    pub without_address: Vec<Arc<str>>,
    /// What else may make the order fail.
    pub warnings: Vec<Warning>,
}

/// Something that may make an order fail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Warning {
    /// An AAAA record, and no listener on IPv6.
    NoListenerOnIpv6 {
        /// The name.
        name: Arc<str>,
        /// What its record says.
        ip: IpAddr,
    },
    /// The name means this machine itself, as only this machine sees it.
    Loopback {
        /// The name.
        name: Arc<str>,
        /// What it means here.
        ip: IpAddr,
    },
    /// Nobody answers.
    Silent {
        /// The name.
        name: Arc<str>,
        /// Where.
        addr: SocketAddr,
        /// Why.
        reason: String,
    },
    /// Somebody else answers.
    Elsewhere {
        /// The name.
        name: Arc<str>,
        /// Where.
        addr: SocketAddr,
    },
    /// The resolver is at fault, so nothing is known.
    Unresolved {
        /// The name.
        name: Arc<str>,
        /// Why.
        reason: String,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoListenerOnIpv6 { name, ip } => write!(
                f,
                "{name} has the IPv6 address {ip} and porchd listens on IPv4 alone; CAs ask IPv6 first: listen on [::]:80 and [::]:443, or remove the AAAA record"
            ),
            Self::Loopback { name, ip } => write!(
                f,
                "{name} is {ip} on this machine (/etc/hosts?), so it can't be seen from here whether its public address leads here"
            ),
            Self::Silent { name, addr, reason } => write!(
                f,
                "{name}: nobody answers on {addr} ({reason}); if the CA sees the same, the order fails: open the port, or correct the {} record",
                record(addr.ip())
            ),
            Self::Elsewhere { name, addr } => write!(
                f,
                "{name}: {addr} is answered by something else than this porchd; if the CA sees the same, the order fails: correct the {} record, or stop what answers there",
                record(addr.ip())
            ),
            Self::Unresolved { name, reason } => {
                write!(f, "{name} cannot be looked up now ({reason}); see /etc/resolv.conf")
            }
        }
    }
}

fn record(ip: IpAddr) -> &'static str {
    if ip.is_ipv6() { "AAAA" } else { "A" }
}

/// Where porchd can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listening {
    /// Some listener is on an IPv6 address.
    pub ipv6: bool,
}

/// Looks at `names`. The ports asked are those that the CA will ask: 80 for http-01, else 443.
pub async fn look(
    names: &[Arc<str>],
    by: &[Challenge],
    listening: Listening,
    challenges: &Challenges,
) -> Seen {
    let mut looking = JoinSet::new();
    for (index, name) in names.iter().enumerate() {
        let name = name.clone();
        let port = port(by);
        looking.spawn_local(async move { (index, resolve(&name, port).await) });
    }
    let mut resolved = looking.join_all().await;
    resolved.sort_by_key(|(index, _)| *index);
    let mut seen = Seen::default();
    let mut asking = JoinSet::new();
    for (index, answer) in resolved {
        let name = &names[index];
        match answer {
            Resolved::Nothing => seen.without_address.push(name.clone()),
            Resolved::Unknown(reason) => {
                seen.warnings.push(Warning::Unresolved { name: name.clone(), reason });
            }
            Resolved::To(addrs) => {
                for addr in addrs {
                    let (name, challenges) = (name.clone(), challenges.clone());
                    asking.spawn_local(async move { of_address(name, addr, listening, &challenges).await });
                }
            }
        }
    }
    let mut told: Vec<Warning> = asking.join_all().await.into_iter().flatten().collect();
    told.sort_by_key(ToString::to_string);
    seen.warnings.extend(told);
    seen
}

fn port(by: &[Challenge]) -> u16 {
    if by.contains(&Challenge::Http01) { HTTP } else { HTTPS }
}

enum Resolved {
    To(Vec<SocketAddr>),
    Nothing,
    Unknown(String),
}

async fn resolve(name: &str, port: u16) -> Resolved {
    let literal = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
    if let Ok(ip) = literal.parse::<IpAddr>() {
        return Resolved::To(vec![(ip, port).into()]);
    }
    // With the root's dot no search domain is tried, as the CA tries none; but /etc/hosts is passed over then.
    let mut answer = Resolved::Nothing;
    for asked in [format!("{name}."), name.to_owned()] {
        answer = match timeout(LOOKUP, lookup_host((asked, port))).await {
            Ok(answer) => verdict(answer.map(Iterator::collect)),
            Err(_) => Resolved::Unknown(format!("no answer within {} s", LOOKUP.as_secs())),
        };
        if !matches!(answer, Resolved::Nothing) {
            break;
        }
    }
    answer
}

fn verdict(answer: io::Result<Vec<SocketAddr>>) -> Resolved {
    match answer {
        Ok(mut addrs) => {
            addrs.sort();
            addrs.dedup();
            if addrs.is_empty() { Resolved::Nothing } else { Resolved::To(addrs) }
        }
        // std keeps the text of gai_strerror(3) and not its number.
        Err(error) => {
            let text = error.to_string();
            let text = text.strip_prefix("failed to lookup address information: ").unwrap_or(&text);
            let lower = text.to_ascii_lowercase();
            match NO_SUCH.iter().any(|words| lower.contains(words)) {
                true => Resolved::Nothing,
                false => Resolved::Unknown(text.to_owned()),
            }
        }
    }
}

/// How the systems say that there is no such name, or that it has no address (EAI_NONAME, EAI_NODATA): glibc, musl,
/// OpenBSD, FreeBSD, macOS. Whatever else they say does not hold an order back.
const NO_SUCH: [&str; 4] = ["not known", "no address associated", "does not resolve", "no usable address"];

async fn of_address(
    name: Arc<str>,
    addr: SocketAddr,
    listening: Listening,
    challenges: &Challenges,
) -> Option<Warning> {
    let ip = addr.ip();
    if ip.is_ipv6() && !listening.ipv6 {
        return Some(Warning::NoListenerOnIpv6 { name, ip });
    }
    let asked = match addr.port() {
        HTTP => timeout(ANSWER, answers_document(&name, addr, challenges)).await,
        _ => timeout(ANSWER, answers(addr)).await,
    };
    match asked {
        Ok(Ok(true)) => None,
        // Debian gives a machine's own name 127.0.1.1; nobody else sees that.
        _ if ip.is_loopback() => Some(Warning::Loopback { name, ip }),
        Ok(Ok(false)) => Some(Warning::Elsewhere { name, addr }),
        Ok(Err(error)) => Some(Warning::Silent { name, addr, reason: reason(&error) }),
        Err(_) => {
            Some(Warning::Silent { name, addr, reason: format!("no answer within {} s", ANSWER.as_secs()) })
        }
    }
}

fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => String::from("connection refused"),
        io::ErrorKind::NetworkUnreachable => String::from("network unreachable"),
        io::ErrorKind::HostUnreachable => String::from("host unreachable"),
        _ => error.to_string(),
    }
}

async fn answers(addr: SocketAddr) -> io::Result<bool> {
    TcpStream::connect(addr).await.map(|_| true)
}

/// Whether a document that this process offers comes back from `addr`.
async fn answers_document(name: &str, addr: SocketAddr, challenges: &Challenges) -> io::Result<bool> {
    let token = format!("porchd-preflight-{:016x}", clock::random());
    let proof = format!("{:016x}{:016x}", clock::random(), clock::random());
    let _offer = challenges.offer_document(&token, &proof);
    let mut stream = TcpStream::connect(addr).await?;
    let request = format!(
        "GET /.well-known/acme-challenge/{token} HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\nUser-Agent: porchd\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(MOST).read_to_end(&mut answer).await?;
    Ok(memchr::memmem::find(&answer, proof.as_bytes()).is_some())
}

const HTTP: u16 = 80;
const HTTPS: u16 = 443;
const LOOKUP: Duration = Duration::from_secs(5);
/// A first certificate should not wait long for what is told and no more.
const ANSWER: Duration = Duration::from_secs(2);
/// Of an answer, enough to find the proof behind any head.
const MOST: u64 = 16 * 1024;

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;
    use tokio::task::LocalSet;

    use super::*;

    fn name() -> Arc<str> {
        "a.test".into()
    }

    const BOTH: Listening = Listening { ipv6: true };

    #[test]
    fn only_a_certain_answer_means_no_address() {
        let failed = |text: &str| verdict(Err(io::Error::other(text.to_owned())));
        assert!(matches!(verdict(Ok(Vec::new())), Resolved::Nothing));
        for certain in [
            "failed to lookup address information: Name or service not known",
            "failed to lookup address information: No address associated with hostname",
            "failed to lookup address information: Name does not resolve",
            "failed to lookup address information: Name has no usable address",
            "failed to lookup address information: nodename nor servname provided, or not known",
        ] {
            assert!(matches!(failed(certain), Resolved::Nothing), "{certain}");
        }
        for reason in [
            "Temporary failure in name resolution",
            "Try again",
            "Non-recoverable failure in name resolution",
            "Too many open files (os error 24)",
        ] {
            let found = failed(&format!("failed to lookup address information: {reason}"));
            assert!(matches!(found, Resolved::Unknown(told) if told == reason), "{reason}");
        }
        let addr: SocketAddr = "192.0.2.1:80".parse().unwrap();
        assert!(matches!(verdict(Ok(vec![addr, addr])), Resolved::To(addrs) if addrs == [addr]));
    }

    #[tokio::test]
    async fn ipv6_address_without_a_listener_is_told_without_asking() {
        let addr = "[2001:db8::1]:80".parse().unwrap();
        let told = of_address(name(), addr, Listening { ipv6: false }, &Challenges::default()).await.unwrap();
        assert!(told.to_string().starts_with("a.test has the IPv6 address 2001:db8::1 and"), "{told}");
    }

    #[tokio::test]
    async fn own_answer_is_told_from_anothers() {
        let challenges = Challenges::default();
        for own in [true, false] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let addr = listener.local_addr().unwrap();
            let home = challenges.clone();
            let server = async move {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut head = [0; 256];
                let count = stream.read(&mut head).await.unwrap();
                let head = std::str::from_utf8(&head[..count]).unwrap();
                let token =
                    head.split(['/', ' ']).find(|part| part.starts_with("porchd-preflight-")).unwrap();
                let body = home.document(token).filter(|_| own).unwrap_or_else(|| "moved".into());
                stream.write_all(format!("HTTP/1.1 200 OK\r\n\r\n{body}").as_bytes()).await.unwrap();
            };
            let (answer, ()) = tokio::join!(answers_document("a.test", addr, &challenges), server);
            assert_eq!(answer.unwrap(), own);
        }
    }

    #[tokio::test]
    async fn addresses_as_names_need_no_resolver() {
        let names: Vec<Arc<str>> = vec!["127.0.0.1".into(), "[::1]".into()];
        let challenges = Challenges::default();
        let look = look(&names, &[Challenge::TlsAlpn01], BOTH, &challenges);
        let seen = LocalSet::new().run_until(look).await;
        // Nothing of ours listens on 443 there; whoever does, no name is without an address.
        assert!(seen.without_address.is_empty());
        assert!(seen.warnings.iter().all(|told| matches!(told, Warning::Loopback { .. })), "{seen:?}");
    }
}
