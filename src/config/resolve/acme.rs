//! Where certificates are ordered.

use std::sync::Arc;

use crate::config::decode::At;
use crate::config::file::acme::{self, Directory, ExternalAccount};
use crate::config::model::acme as model;
use crate::config::problem::Finding;
use crate::config::resolve::Resolver;
use crate::config::tree::Place;

impl Resolver<'_> {
    /// How certificates are ordered, if they are.
    pub(crate) fn acme(&mut self) -> Option<model::Acme> {
        let acme = self.file.acme.as_ref()?;
        Some(model::Acme {
            contact: acme.contact.0.clone(),
            authorities: self.authorities(acme),
            challenges: self.challenges(acme),
            key_type: match acme.key_type {
                acme::KeyType::P256 => model::KeyType::P256,
                acme::KeyType::P384 => model::KeyType::P384,
                acme::KeyType::Rsa2048 => model::KeyType::Rsa2048,
            },
            failing_name: match acme.failing_name {
                acme::FailingName::LeaveOut => model::FailingName::LeaveOut,
                acme::FailingName::Wait => model::FailingName::Wait,
            },
        })
    }

    fn challenges(&mut self, acme: &acme::Acme) -> Vec<model::Challenge> {
        let written = &acme.challenge;
        if written.0.is_empty() && !self.incomplete(written.place) {
            let finding = Finding::error(written.place, "there is no challenge").label("empty");
            self.findings.push(finding.help("without `challenge` both are tried: http-01, then tls-alpn-01"));
        }
        let challenges: Vec<At<model::Challenge>> =
            written.0.iter().map(|one| At::made(challenge(one.value), one.place)).collect();
        self.each_once(&challenges, |challenge| format!("challenge `{challenge}` is listed twice"));
        challenges.iter().map(|challenge| challenge.value).collect()
    }

    /// The CA, then those to fall back to; none of them twice.
    fn authorities(&mut self, acme: &At<acme::Acme>) -> Vec<model::Authority> {
        let first = acme::DetailedFallback {
            directory: acme.directory.clone(),
            ca_file: acme.ca_file.clone(),
            profile: acme.profile.clone(),
            external_account: acme.external_account.clone(),
        };
        let fallbacks = acme.fallback.iter().map(At::detailed);
        let all: Vec<acme::DetailedFallback> = std::iter::once(first).chain(fallbacks).collect();
        let urls: Vec<At<Url>> = all.iter().map(|one| url(&one.directory, acme.place)).collect();
        self.each_once(&urls, |url| format!("CA `{}` is listed twice", url.0));
        for one in &all {
            let missing = one.directory.needs_account() == Some(true) && one.external_account.is_none();
            if missing && !self.incomplete(acme.place) {
                self.findings.push(no_account(&one.directory, acme.place));
            }
        }
        all.into_iter().map(authority).collect()
    }
}

/// A CA as it is called; two ways to call one are equal.
struct Url(Directory);

impl PartialEq for Url {
    fn eq(&self, other: &Self) -> bool {
        self.0.url() == other.0.url()
    }
}

fn url(directory: &At<Directory>, section: Place) -> At<Url> {
    // The default stands nowhere: the section is where it comes from.
    let place = if directory.place == Place::ROOT { section } else { directory.place };
    At::made(Url(directory.value.clone()), place)
}

fn no_account(directory: &At<Directory>, section: Place) -> Finding {
    let place = if directory.place == Place::ROOT { section } else { directory.place };
    Finding::error(place, format!("CA `{}` needs an account that exists already", directory.value))
        .label("needs `external_account`")
        .help("make EAB credentials at app.zerossl.com (Developer), put the HMAC key into a file for root alone, and write")
        .help("external_account: { key_id: KEY_ID, key_file: /etc/porchd/eab.key }")
}

fn authority(one: acme::DetailedFallback) -> model::Authority {
    let takes_account = one.directory.needs_account() != Some(false);
    model::Authority {
        name: name(&one.directory),
        directory: one.directory.url().into(),
        ca_file: one.ca_file.map(|file| file.0),
        profile: one.profile.map(|profile| profile.0),
        external_account: one.external_account.filter(|_| takes_account).map(|one| account(&one)),
    }
}

fn account(account: &ExternalAccount) -> model::ExternalAccount {
    model::ExternalAccount { key_id: account.key_id.0.clone(), key_file: account.key_file.0.clone() }
}

fn name(directory: &Directory) -> Arc<str> {
    match directory {
        Directory::Word(known) => known.facts().0.into(),
        Directory::Url(url) => {
            let rest = url.0.strip_prefix("https://").unwrap_or(&url.0);
            rest.split('/').next().unwrap_or(rest).into()
        }
    }
}

fn challenge(challenge: acme::Challenge) -> model::Challenge {
    match challenge {
        acme::Challenge::Http01 => model::Challenge::Http01,
        acme::Challenge::TlsAlpn01 => model::Challenge::TlsAlpn01,
    }
}

#[cfg(test)]
mod tests {
    use crate::config::load;
    use crate::config::model::Config;
    use crate::config::model::acme::{Challenge, FailingName, KeyType};

    fn config(more: &str) -> Config {
        let text = format!("matrix: {{ server_name: example.com, home: 10.77.0.2:8008 }}\n{more}\n");
        load(&text, "t").unwrap_or_else(|report| panic!("{}", report.render(false))).config
    }

    #[test]
    fn a_contact_is_enough() {
        let acme = config("acme: { contact: MAILTO:admin@Example.com }").acme.expect("acme");
        assert_eq!(&*acme.contact, "admin@example.com");
        assert_eq!(acme.challenges, [Challenge::Http01, Challenge::TlsAlpn01]);
        assert_eq!((acme.key_type, acme.failing_name), (KeyType::P256, FailingName::LeaveOut));
        assert_eq!(acme.authorities.len(), 1);
        assert_eq!(&*acme.authorities[0].directory, "https://acme-v02.api.letsencrypt.org/directory");
    }

    #[test]
    fn an_account_goes_to_those_who_ask_for_one() {
        let cases: [(&str, &[(&str, bool)]); 3] = [
            ("fallback: [ zerossl ]", &[("letsencrypt", false), ("zerossl", true)]),
            (
                "directory: zerossl, fallback: [ letsencrypt, https://ca.example:9/dir ]",
                &[("zerossl", true), ("letsencrypt", false), ("ca.example:9", false)],
            ),
            (
                "directory: https://ca.example:9/dir, fallback: [ zerossl ]",
                &[("ca.example:9", true), ("zerossl", true)],
            ),
        ];
        for (keys, expected) in cases {
            let account = "external_account: { key_id: x, key_file: /x.key }";
            let config = config(&format!("acme: {{ contact: a@example.com, {keys}, {account} }}"));
            let authorities = config.acme.expect("acme").authorities;
            let told: Vec<(&str, bool)> =
                authorities.iter().map(|one| (&*one.name, one.external_account.is_some())).collect();
            assert_eq!(told, expected, "{keys}");
        }
    }

    #[test]
    fn nobody_fails_for_a_socket_that_nobody_wrote() {
        let socket = |more| config(more).admin.socket.map(|socket| socket.best_effort);
        assert_eq!(socket(""), Some(true));
        assert_eq!(socket("admin: { socket: true }"), Some(true));
        assert_eq!(socket("admin: { socket: /run/porchd/porchd.sock }"), Some(false));
        assert_eq!(socket("admin: { socket: false }"), None);
    }
}
