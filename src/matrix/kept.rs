//! The two documents that the edge may answer in home's place while home is away.
//!
//! Both are public, and asked so often that their absence is noticed at once: clients look at `/versions`
//! before anything else, peers check signatures with the key. Only these, and only where the request carries
//! no credentials: Synapse varies `/versions` by user.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A document that may be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kept {
    /// `/_matrix/client/versions`
    Versions,
    /// `/_matrix/key/v2/server`
    Keys,
}

impl Kept {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Versions, Self::Keys];

    /// Its path.
    pub fn path(self) -> &'static str {
        match self {
            Self::Versions => "/_matrix/client/versions",
            Self::Keys => "/_matrix/key/v2/server",
        }
    }

    /// The document that exactly `target` asks for: no query, nothing encoded.
    pub fn of(target: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kept| kept.path() == target)
    }

    /// Until when a document may be shown; `None`: it is not one. Keys say it themselves, versions are good
    /// for as long as an outage lasts.
    pub fn good_until(self, body: &[u8]) -> Option<SystemTime> {
        let document: serde_json::Value = serde_json::from_slice(body).ok()?;
        match self {
            Self::Versions => document.get("versions")?.is_array().then_some(UNIX_EPOCH + FAR),
            Self::Keys => {
                let millis = document.get("valid_until_ts")?.as_u64()?;
                UNIX_EPOCH.checked_add(Duration::from_millis(millis).min(FAR))
            }
        }
    }
}

/// The year 3000, after 1970: later than any outage ends, and a time that every system can tell.
const FAR: Duration = Duration::from_secs(32_503_680_000);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_exact_targets_are_kept() {
        assert_eq!(Kept::of("/_matrix/client/versions"), Some(Kept::Versions));
        assert_eq!(Kept::of("/_matrix/key/v2/server"), Some(Kept::Keys));
        for target in [
            "/_matrix/client/versions?access_token=x",
            "/_matrix/client/versions/",
            "/_matrix/key/v2/server/ed25519:a",
            "/_matrix/key/v2/query/example.com",
            "/_matrix/client/v%65rsions",
        ] {
            assert_eq!(Kept::of(target), None, "{target}");
        }
    }

    #[test]
    fn keys_say_until_when_and_garbage_is_not_kept() {
        let at = |millis| UNIX_EPOCH + Duration::from_millis(millis);
        let keys = |body: &str| Kept::Keys.good_until(body.as_bytes());
        assert_eq!(keys(r#"{"valid_until_ts": 1795424707042}"#), Some(at(1_795_424_707_042)));
        assert_eq!(keys(r#"{"valid_until_ts": 18446744073709551615}"#), Some(UNIX_EPOCH + FAR));
        for body in ["", "<html>", "{}", r#"{"valid_until_ts": "soon"}"#, r#"{"valid_until_ts": -1}"#] {
            assert_eq!(keys(body), None, "{body}");
        }
        assert!(Kept::Versions.good_until(br#"{"versions":["v1.1"]}"#).is_some());
        assert_eq!(Kept::Versions.good_until(br#"{"errcode":"M_UNKNOWN"}"#), None);
    }
}
