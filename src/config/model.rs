//! The resolved configuration: what the rest of the program sees.
//!
//! Valid by construction: names are resolved, presets are expanded, defaults are filled in, hosts are
//! lower-case. Nothing here knows YAML; `file.rs` mirrors what a user writes.

pub mod acme;
pub mod admin;
pub mod client;
pub mod home;
pub mod homeserver;
pub mod limits;
pub mod log;
pub mod park;
pub mod route;
pub mod threads;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use ipnet::IpNet;

use self::acme::Acme;
use self::admin::Admin;
use self::home::HomeLink;
use self::homeserver::Homeserver;
use self::limits::{Drain, Limits};
use self::log::Log;
use self::park::Park;
use self::route::Route;
use self::threads::{AcceptMode, Threads};
use crate::matrix::class::{Class, Endpoint};

/// One whole configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The homeservers of the `matrix` section; their sites and upstreams are already in the lists below.
    pub homeservers: Vec<Homeserver>,
    /// How many threads serve requests.
    pub threads: Threads,
    /// How connections reach the threads.
    pub accept: AcceptMode,
    /// Every address that porchd listens on, by listener.
    pub listeners: Vec<Listener>,
    /// TLS settings of all TLS listeners.
    pub tls: Tls,
    /// How certificates are ordered; `None`: they are not.
    pub acme: Option<Acme>,
    /// The folder of what porchd must remember; made with mode 0700 when it is needed. Fixed while porchd runs.
    pub state_dir: PathBuf,
    /// Where the control socket is.
    pub admin: Admin,
    /// Named groups of backends.
    pub upstreams: Vec<Upstream>,
    /// What is served, by host.
    pub sites: Vec<Site>,
    /// Bounds on what one client may use.
    pub limits: Limits,
    /// Peers whose X-Forwarded-For (and the like) is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// The link home: the tunnel, and the address of home when it moves.
    pub home_link: HomeLink,
    /// The user that the edge runs as when the warden is root; `None`: `_porchd`.
    pub user: Option<Arc<str>>,
    /// How long a stop, a reload and an upgrade wait for what is in flight.
    pub drain: Drain,
    /// Where log lines go.
    pub log: Log,
}

/// One listener: a named set of addresses with one behaviour.
#[derive(Debug, Clone, PartialEq)]
pub struct Listener {
    /// Its name, by which sites refer to it.
    pub name: Arc<str>,
    /// Its addresses, at least one.
    pub binds: Vec<Bind>,
    /// Whether it speaks TLS.
    pub tls: bool,
    /// Peers that must send a PROXY protocol header, if any.
    pub proxy_protocol: Vec<IpNet>,
}

/// One address to bind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bind {
    /// The address; an IPv6 one is IPv6 alone (IPV6_V6ONLY).
    pub addr: SocketAddr,
    /// True for the preset's own `[::]`: a failure is a warning.
    pub best_effort: bool,
}

/// TLS settings.
#[derive(Debug, Clone, PartialEq)]
pub struct Tls {
    /// The least version that is accepted.
    pub min_version: TlsVersion,
    /// Certificates from files, in the order written; the first is the default one.
    pub certificates: Vec<Certificate>,
    /// Whether a local CA signs what no certificate covers.
    pub internal_ca: bool,
}

/// A TLS protocol version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// RFC 5246.
    Tls12,
    /// RFC 8446.
    Tls13,
}

/// A certificate chain and its key, in PEM files.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Certificate {
    /// Hosts it is for; empty: those that the certificate names.
    pub hosts: Vec<HostPattern>,
    /// The chain, leaf first.
    pub cert: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// A host as configuration names it: lower case, without port or trailing dot.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HostPattern {
    /// Exactly this name (or address literal).
    Exact(Arc<str>),
    /// `*.example.com`, kept as `example.com`: one label more than this.
    Wildcard(Arc<str>),
}

impl HostPattern {
    /// Whether `host` (lower case, no port, no trailing dot) is meant.
    pub fn matches(&self, host: &str) -> bool {
        match self {
            Self::Exact(name) => &**name == host,
            Self::Wildcard(parent) => {
                host.split_once('.').is_some_and(|(label, rest)| !label.is_empty() && rest == &**parent)
            }
        }
    }
}

impl std::fmt::Display for HostPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Wildcard(parent) => write!(f, "*.{parent}"),
        }
    }
}

/// A named group of backends.
#[derive(Debug, Clone, PartialEq)]
pub struct Upstream {
    /// Its name, by which routes refer to it.
    pub name: Arc<str>,
    /// Its backends, at least one.
    pub backends: Vec<Backend>,
    /// How one is chosen.
    pub balance: Balance,
    /// How their health is asked.
    pub probe: Probe,
    /// Until a connection stands; a request that may not park waits so long for one.
    pub connect_timeout: Duration,
    /// Of pooled connections; below the backend's own.
    pub idle_timeout: Duration,
    /// Until the response's head; `None`: by endpoint class.
    pub response_timeout: Option<Duration>,
    /// How https is spoken to the backends, if it is.
    pub tls: Option<BackendTls>,
    /// Overrides the `Host` header.
    pub host: Option<HeaderValue>,
    /// How requests wait while it is away.
    pub park: Park,
}

impl Upstream {
    /// Until an answer's head: what the operator wrote, or the class's own. A poll is never cut before its own
    /// time is over.
    pub fn head_timeout(&self, endpoint: Endpoint) -> Duration {
        let own = endpoint.head_timeout;
        match self.response_timeout {
            None => own,
            Some(written) if endpoint.class == Class::Sync => written.max(own),
            Some(written) => written,
        }
    }
}

/// One backend of an upstream.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Backend {
    /// Where it is.
    pub address: BackendAddress,
    /// Its share beside the others', at least 1.
    pub weight: u32,
    /// Used only while every other one is Down.
    pub backup: bool,
    /// Most connections to it at a time, over all threads.
    pub max_connections: Option<u32>,
}

/// Where a backend is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum BackendAddress {
    /// An address and port.
    Socket(SocketAddr),
    /// A name (resolved again and again) and port.
    Name(Arc<str>, u16),
    /// A unix socket.
    Unix(PathBuf),
}

impl std::fmt::Display for BackendAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Socket(addr) => write!(f, "{addr}"),
            Self::Name(host, port) => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// How a backend is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Balance {
    /// In turn, by weight.
    RoundRobin,
    /// The one with the fewest requests in flight, by weight.
    LeastConnections,
}

/// How a backend's health is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// What is asked.
    pub kind: ProbeKind,
    /// Between two probes while it is Up or Unknown.
    pub every: Duration,
    /// Between two probes while it is Down.
    pub every_when_down: Duration,
    /// Until a probe has failed.
    pub timeout: Duration,
    /// Failures in a row until it is Down, at least 1.
    pub down_after: u32,
    /// Successes in a row until it is Up, at least 1.
    pub up_after: u32,
}

/// What a probe asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProbeKind {
    /// `GET` of this path; 2xx to 4xx is Up.
    Http(Arc<str>),
    /// That a TCP connection stands.
    Tcp,
}

/// How https is spoken to backends.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BackendTls {
    /// The name that the backend's certificate must cover; default: the address' host.
    pub server_name: Option<Arc<str>>,
    /// PEM roots to trust instead of the public ones.
    pub ca_file: Option<PathBuf>,
}

/// What is served under some hosts.
#[derive(Debug, Clone, PartialEq)]
pub struct Site {
    /// Its first host as written: its name in messages.
    pub name: Arc<str>,
    /// Its hosts, at least one; no host is in two sites of one listener.
    pub hosts: Vec<HostPattern>,
    /// Names of the listeners that it is on.
    pub listeners: Vec<Arc<str>>,
    /// Strict-Transport-Security on https answers.
    pub hsts: Option<Hsts>,
    /// Header changes of all its routes.
    pub headers: HeaderEdits,
    /// Who may use it, where a route says nothing else.
    pub access: Access,
    /// Folder with `404.html`, `50x.html` and so on.
    pub error_pages: Option<PathBuf>,
    /// Its routes, in no order: the most specific wins.
    pub routes: Vec<Route>,
}

/// HTTP Strict Transport Security (RFC 6797).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hsts {
    /// How long browsers remember.
    pub max_age: Duration,
    /// `includeSubDomains`.
    pub subdomains: bool,
    /// `preload`.
    pub preload: bool,
}

/// Header changes on requests (to the backend) and on responses (to the client).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct HeaderEdits {
    /// On requests.
    pub request: Edits,
    /// On responses.
    pub response: Edits,
}

/// Headers to set and to remove: removed first, then set (replacing).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Edits {
    /// Name and value.
    pub set: Vec<(HeaderName, HeaderValue)>,
    /// Names.
    pub remove: Vec<HeaderName>,
}

/// Who may use a site or route. Deny wins; an empty `allow` allows everybody.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// Client addresses that are refused.
    pub deny: Vec<IpNet>,
    /// Client addresses that are let in, if any is listed.
    pub allow: Vec<IpNet>,
}

impl Access {
    /// Whether a client at `ip` (an IPv4-mapped one already unmapped) is let in.
    pub fn permits(&self, ip: std::net::IpAddr) -> bool {
        let listed = |nets: &[IpNet]| nets.iter().any(|net| net.contains(&ip));
        !listed(&self.deny) && (self.allow.is_empty() || listed(&self.allow))
    }
}
