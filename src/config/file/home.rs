//! The link home: the tunnel that leads there, and the address that home has on the internet.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::decode::At;
use crate::config::scalar::home::{HomeName, Interface, NameserverAt, NftSetName, PeerKey, PfTable, Port};
use crate::config::scalar::quantity::Timeout;
use crate::config::scalar::web::FilePath;
use crate::config::tree::Place;

/// The link home.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields, expecting = "a map with `wireguard` and `address`")]
pub struct HomeLink {
    /// The tunnel that leads home: its handshakes are watched, and tell why home is away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wireguard: Option<WireGuard>,
    /// Home's address on the internet, followed when it moves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<At<Address>>,
}

/// One peer of one WireGuard interface.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "a map such as { interface: wg1, peer: PUBLIC_KEY }")]
pub struct WireGuard {
    /// The interface, like `wg1`.
    pub interface: Interface,
    /// The public key of the peer at home, as `wg show` prints it.
    pub peer: PeerKey,
}

/// Home's address on the internet. Changes are believed after two equal answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "a map with `name` and `nameserver`")]
pub struct Address {
    /// The name that home keeps up to date.
    pub name: At<HomeName>,
    /// The nameserver with authority over that name, so that no cache is asked: a name or an address, with a port
    /// if it is not 53.
    pub nameserver: NameserverAt,
    /// Between two questions; at least 1s. Default: 60s.
    #[serde(default = "every")]
    pub every: At<Timeout>,
    /// True: addresses that nobody has on the internet are believed too (RFC 1918, 100.64.0.0/10, fc00::/7).
    /// Default: false.
    #[serde(default)]
    pub allow_private: bool,
    /// What is told where home is, in this order. Default: nothing; the address is only shown.
    #[serde(default)]
    pub update: Vec<At<Update>>,
}

fn every() -> At<Timeout> {
    At::made(Timeout(Duration::from_secs(60)), Place::ROOT)
}

/// One thing that is told where home is: exactly one of `pf_table`, `nft_set`, `file` and `wireguard_endpoint`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(
    default,
    deny_unknown_fields,
    expecting = "a map with one of `pf_table`, `nft_set`, `file` and `wireguard_endpoint`"
)]
pub struct Update {
    /// A table of pf(4), by its name in pf.conf; porchd adds and removes addresses of home alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pf_table: Option<PfTable>,
    /// A set of nftables: the family of its table, its table and its name, like "inet filter homeip"; porchd adds
    /// and removes addresses of home alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nft_set: Option<NftSetName>,
    /// A file, written anew at each change: one address a line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<FilePath>,
    /// The endpoint of a WireGuard peer; changed only while its handshake is older than 3 minutes: a peer that
    /// roamed and is heard from is left alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wireguard_endpoint: Option<WireGuardEndpoint>,
    /// For `pf_table` and `nft_set`. True: everything in it is porchd's, and what is not an address of home is
    /// removed. Default: false, what others added stays.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owned: Option<At<bool>>,
}

/// The endpoint of a WireGuard peer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "a map such as { interface: wg1, peer: PUBLIC_KEY, port: 51820 }")]
pub struct WireGuardEndpoint {
    /// The interface, like `wg1`.
    pub interface: Interface,
    /// The public key of the peer at home, as `wg show` prints it.
    pub peer: PeerKey,
    /// The UDP port that the peer has at home.
    pub port: Port,
}
