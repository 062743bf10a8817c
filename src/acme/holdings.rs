//! The certificates that are held, by site: what is served, and whether the disk has it.

use std::collections::BTreeMap;

use crate::acme::book::Trouble;
use crate::acme::moment::Moment;
use crate::acme::records::Stored;
use crate::acme::schedule;
use crate::acme::vault::Vault;
use crate::acme::vault::error::VaultError;
use crate::acme::wanted::Wanted;
use crate::config::model::HostPattern;
use crate::provision::PemPair;
use crate::tls::inspect::{self, Facts, InspectError};
use crate::tls::managed::Managed;

/// One certificate.
pub struct Held {
    /// The chain and its key.
    pub pair: PemPair,
    /// What it says.
    pub facts: Facts,
    /// Whether the disk has it.
    pub saved: bool,
    /// Whether it was revoked: it is served until another is there, and counts for nothing.
    pub revoked: bool,
}

/// All of them.
#[derive(Default)]
pub struct Holdings {
    by_site: BTreeMap<String, Held>,
    trouble: Option<Trouble>,
}

impl Held {
    /// What the schedule needs to know.
    pub fn view(&self) -> Option<schedule::Held> {
        let names = self.facts.names.iter().filter_map(|name| match name {
            HostPattern::Exact(host) => Some(host.clone()),
            HostPattern::Wildcard(_) => None,
        });
        let (from, to) = (Moment::of(self.facts.not_before), Moment::of(self.facts.not_after));
        (!self.revoked).then(|| schedule::Held { names: names.collect(), from, to })
    }
}

impl Held {
    fn save(&self, site: &str, vault: &Vault) -> Result<(), VaultError> {
        if self.revoked {
            return vault.forget_certificate(site);
        }
        vault.keep_certificate(
            &Stored { site: site.to_owned(), pair: self.pair.clone() },
            &comment(&self.facts),
        )?;
        // It is what could still be fetched from the CA, until the certificate is here to stay.
        if let Err(error) = vault.forget_pending(site) {
            tracing::debug!("{error}");
        }
        Ok(())
    }
}

impl Holdings {
    /// Those that `vault` has.
    pub fn of(stored: Vec<Stored>) -> Self {
        let mut holdings = Self::default();
        for stored in stored {
            let site = stored.site.clone();
            if let Err(error) = holdings.put(stored, true) {
                tracing::error!("the kept certificate of {site} is not used: it {error}");
            }
        }
        holdings
    }

    /// Takes a certificate in; `saved`: it comes from the disk.
    pub fn put(&mut self, stored: Stored, saved: bool) -> Result<(), InspectError> {
        let facts = inspect::facts(&stored.pair.cert)?;
        self.by_site.insert(stored.site, Held { pair: stored.pair, facts, saved, revoked: false });
        Ok(())
    }

    /// The certificate of a site.
    pub fn of_site(&self, site: &str) -> Option<&Held> {
        self.by_site.get(site)
    }

    /// It was revoked, for whatever sites it is held: one that was renamed has left it under its old name too.
    pub fn revoked(&mut self, site: &str) {
        let Some(cert) = self.by_site.get(site).map(|held| held.pair.cert.clone()) else { return };
        for held in self.by_site.values_mut().filter(|held| held.pair.cert == cert) {
            held.revoked = true;
        }
    }

    /// A site that has none takes one that has all of its names: sites may be renamed.
    pub fn adopt(&mut self, wanted: &[Wanted]) {
        for Wanted { site, names } in wanted {
            if self.by_site.contains_key(&**site) {
                continue;
            }
            let fits = |held: &&Held| !held.revoked && names.iter().all(|name| held.facts.covers(name));
            if let Some(held) = self.by_site.values().filter(fits).max_by_key(|held| held.facts.not_after) {
                let (pair, facts) = (held.pair.clone(), held.facts.clone());
                self.by_site.insert(site.to_string(), Held { pair, facts, saved: false, revoked: false });
            }
        }
    }

    /// Those to be served for `wanted`. Of sites that are gone too: until the sites that took over their names have
    /// certificates of their own, these are better than none.
    pub fn managed(&self, wanted: &[Wanted]) -> Vec<Managed> {
        let named = |site: &str| wanted.iter().any(|wanted| *wanted.site == *site);
        let served = self.by_site.iter().filter(|(site, held)| named(site) || !held.revoked);
        served.map(|(site, held)| Managed { site: site.as_str().into(), pair: held.pair.clone() }).collect()
    }

    /// Writes what the disk does not have, and removes what was revoked: after a restart it must not look like a good
    /// one. True when the disk has everything.
    pub fn save(&mut self, vault: &Vault, now: Moment) -> bool {
        let before = self.trouble.take();
        for (site, held) in self.by_site.iter_mut().filter(|(_, held)| held.saved == held.revoked) {
            match held.save(site, vault) {
                Ok(()) => held.saved = !held.revoked,
                Err(error) => {
                    let text = error.to_string();
                    if before.is_none() && self.trouble.is_none() {
                        let meanwhile =
                            if held.revoked { "is revoked and still there" } else { "is served from memory" };
                        tracing::error!("{text}; the certificate of {site} {meanwhile} until then");
                    }
                    let since = before.as_ref().map_or(now, |before| before.since);
                    self.trouble = Some(Trouble { since, text });
                }
            }
        }
        if before.is_some() && self.trouble.is_none() {
            tracing::info!("the state folder has all certificates again");
        }
        self.trouble.is_none()
    }

    /// What keeps a certificate from being written.
    pub fn trouble(&self) -> Option<&Trouble> {
        self.trouble.as_ref()
    }
}

/// What a person who opens the file reads first.
fn comment(facts: &Facts) -> String {
    let names: Vec<String> = facts.names.iter().map(HostPattern::to_string).collect();
    format!(
        "{}\nissued by {}\nvalid from {} to {}",
        names.join(", "),
        facts.issuer,
        Moment::of(facts.not_before),
        Moment::of(facts.not_after)
    )
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use rcgen::{CertificateParams, KeyPair};

    use super::*;
    use crate::os::folder::Folder;

    /// A certificate for `names` until the first day of that year.
    fn stored(site: &str, names: &[&str], until: i32) -> Stored {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_after = rcgen::date_time_ymd(until, 1, 1);
        let cert = params.self_signed(&key).unwrap();
        let pair = PemPair { cert: cert.pem().into_bytes(), key: key.serialize_pem().into_bytes() };
        Stored { site: site.to_owned(), pair }
    }

    #[test]
    fn revoked_certificate_is_gone_from_the_disk_under_every_name() {
        let path = std::env::temp_dir().join(format!("porchd-holdings-{:x}", crate::clock::random()));
        let (vault, now) = (Vault::open(Folder::make(&path).unwrap()), Moment::of(crate::clock::wall()));
        let old = stored("old.test", &["a.test"], 2040);
        vault.keep_certificate(&old, "").unwrap();
        let mut holdings = Holdings::of(vec![old]);
        holdings.adopt(&[Wanted { site: "a.test".into(), names: vec!["a.test".into()] }]);
        assert!(holdings.save(&vault, now));
        assert_eq!(vault.certificates().0.len(), 2);
        // What can't be removed now is tried again.
        let file = path.join("certificates/a.test.pem");
        fs::remove_file(&file).unwrap();
        fs::create_dir_all(file.join("in the way")).unwrap();
        holdings.revoked("a.test");
        assert!(!holdings.save(&vault, now) && holdings.trouble().is_some());
        fs::remove_dir_all(&file).unwrap();
        assert!(holdings.save(&vault, now));
        assert_eq!(vault.certificates().0.len(), 0);
        // It is served until there is another, which is kept again.
        assert!(holdings.of_site("a.test").is_some_and(|held| held.view().is_none()));
        holdings.put(stored("a.test", &["a.test"], 2040), false).unwrap();
        assert!(holdings.save(&vault, now));
        assert_eq!(vault.certificates().0.len(), 1);
        fs::remove_dir_all(&path).unwrap();
    }

    fn wanted(sites: &[&[&str]]) -> Vec<Wanted> {
        let of = |names: &&[&str]| Wanted {
            site: names[0].into(),
            names: names.iter().map(|name| (*name).into()).collect(),
        };
        sites.iter().map(of).collect()
    }

    fn served(holdings: &Holdings, sites: &[&[&str]]) -> Vec<String> {
        holdings.managed(&wanted(sites)).iter().map(|managed| managed.site.to_string()).collect()
    }

    fn now() -> Moment {
        Moment::parse("2026-03-01T12:00:00Z").unwrap()
    }

    #[test]
    fn a_site_without_a_certificate_adopts_the_longest_that_has_all_its_names() {
        let (short, long) = (stored("old.test", &["a.test", "b.test"], 2030), stored("x", &["a.test"], 2040));
        let partly = stored("y", &["a.test", "c.test"], 2050);
        let mut holdings = Holdings::of(vec![short.clone(), long.clone(), partly]);
        holdings.adopt(&wanted(&[&["a.test", "b.test"], &["b.test", "c.test"], &["x", "b.test"]]));
        assert!(holdings.of_site("a.test").unwrap().pair == short.pair, "the only one that has both names");
        assert!(holdings.of_site("b.test").is_none(), "none has both names");
        assert!(holdings.of_site("x").unwrap().pair == long.pair, "what a site has, it keeps");
        holdings.adopt(&wanted(&[&["c.test"]]));
        assert!(!holdings.of_site("c.test").unwrap().saved, "it is not on disk under that name");
    }

    #[test]
    fn a_revoked_certificate_is_served_to_its_site_alone_and_counts_for_nothing() {
        let mut holdings = Holdings::of(vec![stored("a.test", &["a.test", "b.test"], 2040)]);
        holdings.revoked("a.test");
        assert!(holdings.of_site("a.test").unwrap().view().is_none());
        holdings.adopt(&wanted(&[&["b.test"]]));
        assert!(holdings.of_site("b.test").is_none());
        assert_eq!(served(&holdings, &[&["a.test"]]), ["a.test"]);
        assert!(served(&holdings, &[&["b.test"]]).is_empty());
        holdings.put(stored("a.test", &["a.test"], 2040), true).unwrap();
        assert!(!holdings.of_site("a.test").unwrap().revoked, "a new one is not");
    }

    #[test]
    fn certificates_of_sites_that_are_gone_are_served_on() {
        let of = |site| stored(site, &[site], 2040);
        let holdings = Holdings::of(vec![of("a.test"), of("b.test")]);
        assert_eq!(served(&holdings, &[&["a.test", "b.test"]]), ["a.test", "b.test"]);
    }

    #[test]
    fn what_is_no_certificate_is_not_held() {
        let good = stored("a.test", &["a.test"], 2040);
        let pair = PemPair { cert: b"nonsense".to_vec(), key: Vec::new() };
        let mut holdings =
            Holdings::of(vec![good.clone(), Stored { site: "b.test".into(), pair: pair.clone() }]);
        assert!(holdings.of_site("b.test").is_none());
        assert!(holdings.put(Stored { site: "a.test".into(), pair }, false).is_err());
        assert!(holdings.of_site("a.test").unwrap().pair == good.pair, "the old one stays");
    }

    #[test]
    fn what_the_disk_does_not_take_is_tried_again_and_since_when_is_known() {
        let path = std::env::temp_dir().join(format!("porchd-holdings-{:x}", crate::clock::random()));
        let vault = Vault::open(Folder::make(&path).unwrap());
        fs::write(path.join("certificates"), "in the way").unwrap();
        let mut holdings = Holdings::default();
        holdings.put(stored("a.test", &["a.test"], 2040), false).unwrap();
        let later = now().after(Duration::from_secs(9));
        assert!(!holdings.save(&vault, now()) && !holdings.save(&vault, later));
        assert_eq!(holdings.trouble().unwrap().since, now());
        fs::remove_file(path.join("certificates")).unwrap();
        assert!(holdings.save(&vault, later) && holdings.trouble().is_none());
        assert!(holdings.of_site("a.test").unwrap().saved);
        let text = fs::read_to_string(path.join("certificates/a.test.pem")).unwrap();
        assert!(text.contains("# a.test\n") && text.contains("to 2040-01-01T00:00:00Z"), "{text}");
        fs::remove_dir_all(&path).unwrap();
    }
}
