//! The plain sections: threads, limits, drain, log. Their defaults stand here.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};

use crate::config::file::rate::Rate;
use crate::config::scalar::quantity::{Count, Size, Time, Timeout};
use crate::config::scalar::web::FilePath;

/// The one word `auto`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Auto {
    /// porchd decides.
    Auto,
}

/// A number of threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(untagged)]
pub enum Threads {
    /// One for each core.
    Auto(Auto),
    /// So many.
    Count(Count),
}

impl Default for Threads {
    fn default() -> Self {
        Self::Auto(Auto::Auto)
    }
}

impl<'de> Deserialize<'de> for Threads {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        auto_or_count(deserializer).map(|count| count.map_or(Self::Auto(Auto::Auto), Self::Count))
    }
}

/// A number of connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(untagged)]
pub enum Connections {
    /// As many as descriptors allow.
    Auto(Auto),
    /// So many.
    Count(Count),
}

impl<'de> Deserialize<'de> for Connections {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        auto_or_count(deserializer).map(|count| count.map_or(Self::Auto(Auto::Auto), Self::Count))
    }
}

fn auto_or_count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Count>, D::Error> {
    struct Visitor;
    impl serde::de::Visitor<'_> for Visitor {
        type Value = Option<Count>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("`auto` or a whole number of at least 1")
        }

        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
            match text {
                "auto" => Ok(None),
                _ => Err(E::invalid_type(serde::de::Unexpected::Str(text), &self)),
            }
        }

        fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Self::Value, E> {
            Count::try_from(number).map(Some).map_err(E::custom)
        }
    }
    deserializer.deserialize_any(Visitor)
}

/// How accepted connections are spread over the threads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum AcceptMode {
    /// Per thread on Linux, else single.
    #[default]
    Auto,
    /// A listening socket for each thread, by SO_REUSEPORT.
    PerThread,
    /// One accept loop that deals connections out in turn.
    Single,
}

/// Bounds on what one client may use.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields, expecting = "a map of limits")]
pub struct Limits {
    /// Connections at a time: `auto` is min(20000, (descriptors - 200) / 2), told at start.
    pub connections: Connections,
    /// Connections at a time of one client address; an IPv6 address counts by its /64.
    pub connections_per_address: Count,
    /// Until a TLS handshake is done.
    pub handshake: Timeout,
    /// From the first byte of a request until its head is complete.
    pub request_head: Timeout,
    /// How long a connection may be idle between requests, HTTP/1.1 and HTTP/2.
    pub keep_alive: Timeout,
    /// How long a WebSocket or another upgraded connection may be silent in both directions.
    pub tunnel_idle: Timeout,
    /// How long porchd waits for a client to send or take the next bytes of a body.
    pub body_progress: Timeout,
    /// Largest request body. Media uploads have no limit here: Synapse's `max_upload_size` decides.
    pub body: Size,
    /// How often one client may ask, by class of endpoints. Who asks more often gets 429 and is told when to come back.
    pub rate: Vec<Rate>,
}

impl Default for Limits {
    fn default() -> Self {
        let seconds = |seconds| Timeout(Duration::from_secs(seconds));
        Self {
            connections: Connections::Auto(Auto::Auto),
            connections_per_address: Count(256),
            handshake: seconds(10),
            request_head: seconds(10),
            keep_alive: seconds(180),
            tunnel_idle: seconds(300),
            body_progress: seconds(30),
            // Above Synapse's own 12.5 MiB for federation transactions, so that Synapse is the one to say no.
            body: Size(16 << 20),
            rate: Vec::new(),
        }
    }
}

/// How long a stop, a reload and an upgrade wait for what is in flight.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields, expecting = "a map of deadlines")]
pub struct Drain {
    /// On a stop.
    pub stop: Time,
    /// For the connections of what a reload has taken away.
    pub reload: Time,
    /// For the connections of the edge that an upgrade replaces.
    pub upgrade: Time,
}

impl Default for Drain {
    fn default() -> Self {
        let seconds = |seconds| Time(Duration::from_secs(seconds));
        Self { stop: seconds(20), reload: seconds(300), upgrade: seconds(3600) }
    }
}

/// Where log lines go.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields, expecting = "a map with `to`, `level`, `format` and `access`")]
pub struct Log {
    /// `stderr`, `syslog` (facility daemon), or a file by its absolute path.
    pub to: LogTo,
    /// The least severe level that is written.
    pub level: LogLevel,
    /// How lines are written: `text` for people, `json` for machines.
    pub format: LogFormat,
    /// The access log; without this key there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access: Option<AccessLog>,
}

impl Default for Log {
    fn default() -> Self {
        let to = LogTo::Word(LogWord::Stderr);
        Self { to, level: LogLevel::Info, format: LogFormat::Text, access: None }
    }
}

/// Where diagnostics go.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(untagged)]
pub enum LogTo {
    /// One of the words.
    Word(LogWord),
    /// A file, appended to; opened again on SIGUSR1.
    File(FilePath),
}

/// Where diagnostics go, if not to a file.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum LogWord {
    /// Standard error.
    Stderr,
    /// syslog(3), facility daemon.
    Syslog,
}

impl<'de> Deserialize<'de> for LogTo {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.as_str() {
            "stderr" => Ok(Self::Word(LogWord::Stderr)),
            "syslog" => Ok(Self::Word(LogWord::Syslog)),
            path if path.starts_with('/') => path.parse().map(Self::File).map_err(serde::de::Error::custom),
            other => {
                Err(serde::de::Error::unknown_variant(other, &["stderr", "syslog", "/an/absolute/path"]))
            }
        }
    }
}

/// Severity.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Something failed and needs a person.
    Error,
    /// Something is wrong or soon will be.
    Warn,
    /// What an operator wants to know.
    Info,
    /// What a developer wants to know.
    Debug,
    /// Everything.
    Trace,
}

/// How diagnostics are written.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One object a line.
    Json,
}

/// The access log: one line a request, with who answered it and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields, expecting = "a map with `file` and `format`")]
pub struct AccessLog {
    /// The file, appended to and opened again on SIGUSR1. Without it: standard output.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<FilePath>,
    /// `combined` (as other web daemons write it, with porchd's own fields at the end) or `json`.
    pub format: AccessFormat,
}

impl Default for AccessLog {
    fn default() -> Self {
        Self { file: None, format: AccessFormat::Combined }
    }
}

/// How access lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum AccessFormat {
    /// NCSA combined, with porchd's fields after it.
    Combined,
    /// One object a line.
    Json,
}
