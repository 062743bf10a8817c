//! The mirror: what a user writes, key by key, as serde types.
//!
//! Doc comments of fields are the descriptions of `porchd schema`. Each value is checked alone when it
//! is read; what values mean together is checked in `resolve`.

pub mod acme;
pub mod admin;
pub mod basics;
pub mod home;
pub mod listener;
pub mod matrix;
pub mod named;
pub mod park;
pub mod rate;
pub mod route;
pub mod site;
pub mod upstream;

use serde::{Deserialize, Serialize};

use crate::config::decode::At;
use crate::config::file::acme::Acme;
use crate::config::file::admin::Admin;
use crate::config::file::basics::{AcceptMode, Drain, Limits, Log, Threads};
use crate::config::file::home::HomeLink;
use crate::config::file::listener::{Listener, Tls};
use crate::config::file::matrix::Homeservers;
use crate::config::file::named::Named;
use crate::config::file::site::Site;
use crate::config::file::upstream::Upstream;
use crate::config::scalar::address::Net;
use crate::config::scalar::name::UserName;
use crate::config::scalar::web::FilePath;

/// The configuration of porchd.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields, expecting = "a map of keys such as `matrix` and `sites`")]
#[cfg_attr(test, schemars(title = "porchd.yaml"))]
pub struct File {
    /// The homeserver behind this edge: one map, or a list of maps for several. It makes listeners, an
    /// upstream and sites, which the other sections may refine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub matrix: Option<Homeservers>,
    /// How many threads serve requests: `auto` (one for each core) or a number.
    pub threads: Threads,
    /// How connections reach the threads. `per-thread`: a socket for each thread, balanced by the kernel
    /// (SO_REUSEPORT); `single`: one loop that deals them out; `auto`: per-thread on Linux, else single.
    pub accept: AcceptMode,
    /// The addresses that porchd listens on, by name. Without any, there are `https` on 443 and `http` on
    /// 80 on all addresses, and `federation` on 8448 when `matrix` is there.
    #[serde(skip_serializing_if = "Named::is_empty")]
    pub listeners: Named<Listener>,
    /// Certificates and TLS settings of all TLS listeners.
    pub tls: Tls,
    /// Certificates that porchd orders and renews by itself. Without this key it orders none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acme: Option<At<Acme>>,
    /// The folder of what porchd must remember: certificates that it ordered and their keys, its accounts at
    /// CAs, and when it may ask them again. Made when it is missing, for porchd's own eyes alone; fixed while
    /// porchd runs. It is the edge's to write, so no log, certificate, key or other file that the configuration
    /// names may lie in it. Default: /var/lib/porchd, on OpenBSD /var/porchd.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_dir: Option<FilePath>,
    /// Named groups of backends.
    #[serde(skip_serializing_if = "Named::is_empty")]
    pub upstreams: Named<Upstream>,
    /// What is served under which hosts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sites: Vec<At<Site>>,
    /// Bounds on what one client may use.
    pub limits: Limits,
    /// Proxies in front of porchd (addresses or networks) whose X-Forwarded-For is believed.
    pub trusted_proxies: Vec<At<Net>>,
    /// The link home: the tunnel, and the address of home when it moves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub home_link: Option<HomeLink>,
    /// The user that the edge runs as: the process that meets the network. It holds when porchd is started by
    /// root, which it then needs for ports, keys and logs alone; fixed while porchd runs. Default: _porchd.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<At<UserName>>,
    /// How long a stop, a reload and an upgrade wait for what is in flight.
    pub drain: Drain,
    /// Where log lines go.
    pub log: Log,
    /// How a running porchd is asked.
    pub admin: Admin,
}

impl File {
    /// The folder of what porchd must remember.
    pub(crate) fn state_dir(&self) -> FilePath {
        let default = if cfg!(target_os = "openbsd") { "/var/porchd" } else { "/var/lib/porchd" };
        self.state_dir.clone().unwrap_or_else(|| FilePath(default.into()))
    }
}
