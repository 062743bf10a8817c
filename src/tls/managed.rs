//! The certificates that were ordered: which host each of them answers for.
//!
//! Files come first: a host that one of them covers is never answered for by these.

use std::cmp::Reverse;
use std::fmt;
use std::sync::Arc;

use crate::config::model::{Config, HostPattern, Site};
use crate::provision::PemPair;
use crate::tls;
use crate::tls::reuse::Reuse;
use crate::tls::store::{Entry, Origin, Served, Store};
use crate::tls::warnings::Warning;

/// A certificate that was ordered for a site.
#[derive(Clone, PartialEq, Eq)]
pub struct Managed {
    /// The site's name.
    pub site: Arc<str>,
    /// The chain and its key.
    pub pair: PemPair,
}

/// Without the key: this may end up in a log.
impl fmt::Debug for Managed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Managed").field("site", &self.site).finish_non_exhaustive()
    }
}

/// The managed certificates that some host needs, in the order of the sites, each with its hosts.
///
/// A certificate of a site that is gone still answers for hosts that it covers and that have none of their
/// own yet. One that can't be served is a warning, and what was served in its place goes on.
pub(super) fn entries(
    managed: &[Managed],
    config: &Config,
    files: &Store,
    reuse: &Reuse<'_>,
    warnings: &mut Vec<Warning>,
) -> Vec<Entry> {
    let mut ready: Vec<(&Managed, Arc<Served>)> = Vec::with_capacity(managed.len());
    for one in managed {
        let origin = Origin::Acme(one.site.clone());
        let served = reuse.served(&origin, &one.pair).or_else(|fault| {
            warnings.push(Warning::Unusable { of: origin.clone(), fault });
            reuse.before(&origin).ok_or(())
        });
        ready.extend(served.ok().map(|served| (one, served)));
    }
    let mut answers = Answers { files, entries: Vec::new(), answered: Vec::new() };
    for site in tls::sites(config) {
        ready.iter().filter(|(one, _)| one.site == site.name).for_each(|(_, own)| answers.give(site, own));
    }
    // What is still open goes to whatever is good for the longest time.
    ready.sort_by_key(|(_, served)| Reverse(served.facts.not_after));
    for site in tls::sites(config) {
        ready.iter().for_each(|(_, served)| answers.give(site, served));
    }
    answers.entries
}

/// Which certificate answers for which host, as far as it is known.
struct Answers<'a> {
    files: &'a Store,
    entries: Vec<Entry>,
    answered: Vec<HostPattern>,
}

impl Answers<'_> {
    /// Has `served` answer for the hosts of `site` that it covers and that nothing answers for yet.
    fn give(&mut self, site: &Site, served: &Arc<Served>) {
        let open = |host: &&HostPattern| !self.files.has_file_for(host) && !self.answered.contains(host);
        let covered = site.hosts.iter().filter(open).filter(|host| served.facts.covers_pattern(host));
        let hosts: Vec<HostPattern> = covered.cloned().collect();
        // An entry without hosts would stand for all that the certificate names.
        if hosts.is_empty() {
            return;
        }
        self.answered.extend_from_slice(&hosts);
        match self.entries.iter_mut().find(|entry| Arc::ptr_eq(&entry.served, served)) {
            Some(entry) => entry.hosts.extend(hosts),
            None => self.entries.push(Entry { hosts, served: served.clone() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::fixtures::{self, Ca, Files, host};
    use crate::tls::load::{self, Carried, Loaded};

    fn managed(site: &str, pair: PemPair) -> Managed {
        Managed { site: site.into(), pair }
    }

    fn loaded(config: &Config, files: &mut Files, managed: &[Managed], carried: &Carried) -> Loaded {
        load::load(config, files, carried, managed, fixtures::now()).unwrap()
    }

    fn with_acme(mut config: Config) -> Config {
        config.acme = Some(fixtures::acme());
        config
    }

    fn origin(store: &Store, sni: &str) -> String {
        store.lookup(Some(sni)).unwrap().origin.to_string()
    }

    #[test]
    fn files_come_first_and_a_site_has_its_own_before_others() {
        let (ca, mut files) = (Ca::new(), Files::default());
        let file = files.put("file", ca.chain(&["*.f.test"]), &[]);
        let sites: &[&[&str]] = &[&["a.test", "x.f.test"], &["b.test", "c.test"], &["d.test"]];
        let config = with_acme(fixtures::config(vec![file], sites));
        let (begin, soon) = (fixtures::day(2020, 1, 1), fixtures::day(2090, 1, 1));
        let managed = [
            managed("gone", ca.leaf_within(&["a.test", "b.test", "c.test"], begin, soon)),
            managed("never", ca.chain(&["e.test"])),
            managed("b.test", ca.chain(&["b.test"])),
            managed("a.test", ca.chain(&["a.test", "c.test", "x.f.test"])),
        ];
        let Loaded { store, warnings } = loaded(&config, &mut files, &managed, &Carried::fresh().unwrap());
        for (sni, expected) in [
            ("a.test", "certificate of site \"a.test\""),
            ("x.f.test", "certificate /file.crt"),
            ("b.test", "certificate of site \"b.test\""),
            ("c.test", "certificate of site \"a.test\""),
            ("d.test", "stand-in certificate"),
            ("e.test", "certificate /file.crt"),
        ] {
            assert_eq!(origin(&store, sni), expected, "{sni}");
        }
        assert_eq!(warnings, []);
        assert_eq!(store.all().len(), 4, "what nobody needs is left out");
        assert!(store.has_file_for(&host("x.f.test")) && !store.has_file_for(&host("a.test")));
    }

    #[test]
    fn certificate_that_cannot_be_served_is_told_and_the_one_before_goes_on() {
        let (ca, mut files) = (Ca::new(), Files::default());
        let config = with_acme(fixtures::config(Vec::new(), &[&["a.test"], &["b.test"]]));
        let good = ca.chain(&["a.test"]);
        let broken = PemPair { key: ca.leaf(&["a.test"]).key, ..good.clone() };
        let carried = Carried::fresh().unwrap();
        let first = loaded(&config, &mut files, &[managed("a.test", good)], &carried);
        let carried = carried.with(Arc::new(first.store));
        let both = [managed("a.test", broken.clone()), managed("b.test", broken)];
        let second = loaded(&config, &mut files, &both, &carried);
        assert_eq!(origin(&second.store, "a.test"), "certificate of site \"a.test\"");
        assert_eq!(origin(&second.store, "b.test"), "stand-in certificate");
        let told: Vec<String> = second.warnings.iter().map(ToString::to_string).collect();
        assert!(
            told.len() == 2
                && told[0].starts_with(
                    "certificate of site \"a.test\" as it was kept is not served: the key does not belong"
                ),
            "{told:?}"
        );
    }

    #[test]
    fn expired_certificate_is_served_until_there_is_another() {
        let (ca, mut files) = (Ca::new(), Files::default());
        let config = with_acme(fixtures::config(Vec::new(), &[&["a.test"]]));
        let pair = ca.leaf_within(&["a.test"], fixtures::day(2020, 1, 1), fixtures::day(2021, 1, 1));
        let old = [managed("a.test", pair)];
        let Loaded { store, warnings } = loaded(&config, &mut files, &old, &Carried::fresh().unwrap());
        assert_eq!(origin(&store, "a.test"), "certificate of site \"a.test\"");
        assert!(matches!(warnings[..], [Warning::Expired { .. }]), "{warnings:?}");
    }
}
