//! A CA's directory (RFC 8555 section 7.1.1): where what is, and what it asks for. Pure.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{Request, Response, Uri};
use instant_acme::{Error, Problem};
use serde::{Deserialize, Serialize};

use crate::acme::answer::Seen;
use crate::acme::failure::{Failure, Kind};
use crate::acme::problem;
use crate::config::model::acme::Authority;

/// What is used of a directory.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Directory {
    /// Where nonces come from.
    pub new_nonce: String,
    /// Where accounts are made.
    pub new_account: String,
    /// Where certificates are ordered.
    pub new_order: String,
    /// Where certificates are revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoke_cert: Option<String>,
    /// Where renewal windows are told (RFC 9773).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renewal_info: Option<String>,
    /// What it asks for.
    #[serde(default, skip_serializing)]
    pub meta: Meta,
}

/// What a CA asks for and offers.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Meta {
    /// Whether an account here needs one elsewhere.
    #[serde(default)]
    pub external_account_required: bool,
    /// Profiles by name, with what they are (draft-ietf-acme-profiles section 3).
    #[serde(default)]
    pub profiles: BTreeMap<String, serde_json::Value>,
}

impl Directory {
    /// The directory of `authority` that is `body`; `seen` is what came beside it.
    pub fn of_answer(body: &[u8], authority: &Authority, seen: &Seen) -> Result<Self, Failure> {
        let directory: Self = serde_json::from_slice(body).map_err(|_| {
            let what = if seen.is_page() { "is an HTML page" } else { "is no ACME directory" };
            let text = format!("{}: {} {what}; is the URL right?", authority.name, authority.directory);
            problem::plain(Kind::Unavailable, &text)
        })?;
        directory.addresses(authority)?;
        Ok(directory)
    }

    /// Whether this CA can do what `authority` is set to.
    pub fn check(&self, authority: &Authority) -> Result<(), Failure> {
        let name = &authority.name;
        if self.meta.external_account_required && authority.external_account.is_none() {
            return Err(problem::plain(
                Kind::Refused,
                &format!(
                    "{name} needs an external account: set `external_account` to the key_id and the key_file \
                     that it hands out on its site"
                ),
            ));
        }
        let Some(profile) = &authority.profile else { return Ok(()) };
        if self.meta.profiles.contains_key(&**profile) {
            return Ok(());
        }
        let offered: Vec<_> = self.meta.profiles.keys().map(String::as_str).collect();
        let text = match offered.as_slice() {
            [] => format!("{name} has no profiles; take `profile: {profile}` out"),
            some => format!("{name} has no profile \"{profile}\"; it has {}", some.join(", ")),
        };
        Err(problem::plain(Kind::Refused, &text))
    }

    /// The library takes it for granted that these are URLs.
    fn addresses(&self, authority: &Authority) -> Result<(), Failure> {
        let optional = [&self.revoke_cert, &self.renewal_info].into_iter().flatten();
        let all = [&self.new_nonce, &self.new_account, &self.new_order].into_iter().chain(optional);
        let is_address = |url: &str| {
            url.parse::<Uri>().is_ok_and(|uri| uri.scheme_str() == Some("https") && uri.host().is_some())
        };
        match all.into_iter().find(|url| !is_address(url)) {
            None => Ok(()),
            Some(url) => {
                let text = format!("{}: its directory names {url:?}, which is no https URL", authority.name);
                Err(problem::plain(Kind::Unavailable, &text))
            }
        }
    }
}

/// A request for `url` without an account.
pub fn get(url: &str) -> Result<Request<Bytes>, Error> {
    Ok(Request::get(url).body(Bytes::new())?)
}

/// The body of an answer that is no error.
pub fn accepted(answer: &Response<Bytes>) -> Result<&[u8], Error> {
    if answer.status().is_success() {
        return Ok(answer.body());
    }
    Err(Error::Api(serde_json::from_slice::<Problem>(answer.body())?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::model::acme::ExternalAccount;

    fn authority(profile: Option<&str>) -> Authority {
        Authority {
            name: "ca".into(),
            directory: "https://ca.test/dir".into(),
            ca_file: None,
            profile: profile.map(Into::into),
            external_account: None,
        }
    }

    fn directory(nonce: &str, meta: &str) -> Directory {
        let text = format!(
            r#"{{"newNonce":"{nonce}","newAccount":"https://c/a","newOrder":"https://c/o","x":1,"meta":{meta}}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn what_a_ca_cannot_do_is_told_before_it_is_asked() {
        let profiles = directory("https://c/n", r#"{"profiles":{"classic":"","shortlived":"six days"}}"#);
        assert!(profiles.check(&authority(None)).is_ok());
        assert!(profiles.check(&authority(Some("classic"))).is_ok());
        let told = profiles.check(&authority(Some("short"))).unwrap_err();
        assert_eq!(told.text, "ca has no profile \"short\"; it has classic, shortlived");
        let none = directory("https://c/n", "{}").check(&authority(Some("short"))).unwrap_err();
        assert_eq!(
            (none.text.as_str(), none.kind),
            ("ca has no profiles; take `profile: short` out", Kind::Refused)
        );
        let external = directory("https://c/n", r#"{"externalAccountRequired":true}"#);
        assert!(
            external.check(&authority(None)).unwrap_err().text.starts_with("ca needs an external account")
        );
        let mut bound = authority(None);
        bound.external_account = Some(ExternalAccount { key_id: "k".into(), key_file: "/k".into() });
        assert!(external.check(&bound).is_ok());
    }

    #[test]
    fn addresses_that_are_none_are_told() {
        for wrong in ["http://c/n", "/n", "", "https://", "a b"] {
            let told = directory(wrong, "{}").addresses(&authority(None)).unwrap_err();
            assert_eq!(told.text, format!("ca: its directory names {wrong:?}, which is no https URL"));
        }
        assert!(directory("https://c/n", "{}").addresses(&authority(None)).is_ok());
    }
}
