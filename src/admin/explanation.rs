//! What would become of a request, as it goes over the control socket and as `porchd explain --json` prints it.
//!
//! Programs read it: fields are added and never change their meaning. Secrets in the URL are redacted.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// All that is to be said of one request. What it did not get to is absent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// The method.
    pub method: String,
    /// The URL.
    pub url: String,
    /// The client's address.
    pub from: IpAddr,
    /// The listener that it reaches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listener: Option<Heard>,
    /// The site that its host belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<String>,
    /// The path of the route that takes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// What the route does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<Action>,
    /// The class of the endpoint: `sync`, `send`, `federation`, `keys`, `media`, `login`, `client` or `other`.
    pub class: String,
    /// Whether the edge's own answers to it are of Matrix' form: JSON with CORS.
    pub matrix: bool,
    /// How often one client may ask for endpoints of that class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// How it would go to an upstream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forward: Option<Forwarded>,
    /// What would be answered.
    pub answer: Answered,
}

/// How often one client may ask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate {
    /// So many at once.
    pub burst: u32,
    /// And one more each time that so many milliseconds have passed.
    pub every_ms: u64,
}

/// A listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heard {
    /// Its name.
    pub name: String,
    /// Its addresses.
    pub addresses: Vec<String>,
    /// Whether it speaks TLS.
    pub tls: bool,
    /// False: none of its addresses has the URL's port. Something in front may lead there.
    pub port_matches: bool,
}

/// What a route does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Action {
    /// `forward`, `files`, `redirect`, `respond`, `well-known` or `deny`.
    pub does: String,
    /// With what: an upstream, a folder, a URL, a status.
    pub with: String,
}

/// How a request would go to an upstream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forwarded {
    /// The upstream's name.
    pub upstream: String,
    /// Its backends.
    pub backends: Vec<String>,
    /// The head that the upstream would get, without what the client's own headers add to it.
    pub head: Vec<String>,
    /// Whether it may be sent again after its bytes went out and no byte of an answer came.
    pub sent_again: bool,
    /// How long it may wait while the upstream is away, in milliseconds; 0: it does not wait.
    pub park_ms: u64,
    /// How long the upstream has for the head of its answer, in milliseconds.
    pub head_timeout_ms: u64,
}

/// What would be answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answered {
    /// `home`: an upstream would answer. `edge`: porchd itself. `unknown`: that depends on the upstream's health,
    /// which was not asked.
    pub by: String,
    /// The status, where porchd knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The token that the access log would have as the reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// How long it would wait first, in milliseconds at the most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_ms: Option<u64>,
    /// The same in a sentence.
    pub text: String,
}
