//! How a running porchd is asked.

use std::fmt;
use std::path::PathBuf;

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, IntoDeserializer, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::config::decode::At;
use crate::config::scalar::address::MetricsAddress;
use crate::config::scalar::web::FilePath;

/// How a running porchd is asked, by `porchd reload` and `porchd certs`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields, expecting = "a map with `socket` and `metrics`")]
pub struct Admin {
    /// The control socket: a path, or false for none. Root and its group may use it. Default:
    /// /run/porchd/porchd.sock, on OpenBSD /var/run/porchd/porchd.sock. May also be a map with `path` and
    /// `best_effort`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub socket: Option<At<Socket>>,
    /// Where Prometheus reads figures, at `/metrics`: an address and port, like 127.0.0.1:9178. They hold no
    /// secrets and are not for strangers. Default: nowhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics: Option<At<MetricsAddress>>,
}

/// The control socket.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(untagged)]
pub enum Socket {
    /// Whether there is one; true: at the default's path.
    Flag(bool),
    /// Its path: an error at start when it can't be made.
    Path(FilePath),
    /// The path with more to say.
    Detailed(DetailedSocket),
}

/// A control socket with more to say.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "a map with `path` and `best_effort`")]
pub struct DetailedSocket {
    /// Its path.
    pub path: FilePath,
    /// True: only a warning when it can't be made, as with the default's path.
    #[serde(default)]
    pub best_effort: bool,
}

impl Default for DetailedSocket {
    fn default() -> Self {
        Self { path: FilePath(default_path()), best_effort: true }
    }
}

/// Where the socket is when nobody says otherwise.
pub(crate) fn default_path() -> PathBuf {
    let folder = if cfg!(target_os = "openbsd") { "/var/run" } else { "/run" };
    [folder, "porchd", "porchd.sock"].iter().collect()
}

impl Admin {
    /// The socket, if there is one.
    pub(crate) fn socket(&self) -> Option<DetailedSocket> {
        match self.socket.as_ref().map(|socket| &socket.value) {
            None | Some(Socket::Flag(true)) => Some(DetailedSocket::default()),
            Some(Socket::Flag(false)) => None,
            Some(Socket::Path(path)) => Some(DetailedSocket { path: path.clone(), best_effort: false }),
            Some(Socket::Detailed(socket)) => Some(socket.clone()),
        }
    }
}

impl<'de> Deserialize<'de> for Socket {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FlagPathOrMap;
        impl<'de> Visitor<'de> for FlagPathOrMap {
            type Value = Socket;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the path of a socket, or `false` for none")
            }

            fn visit_bool<E: de::Error>(self, flag: bool) -> Result<Socket, E> {
                Ok(Socket::Flag(flag))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Socket, E> {
                FilePath::deserialize(text.into_deserializer()).map(Socket::Path)
            }

            fn visit_map<A: MapAccess<'de>>(self, access: A) -> Result<Socket, A::Error> {
                DetailedSocket::deserialize(MapAccessDeserializer::new(access)).map(Socket::Detailed)
            }
        }
        deserializer.deserialize_any(FlagPathOrMap)
    }
}
