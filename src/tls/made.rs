//! The certificate that is made here for the hosts that nothing else covers: by the internal CA, or as stand-in.

use std::sync::Arc;
use std::time::Duration;

use crate::config::model::{Config, HostPattern};
use crate::provision::PemPair;
use crate::tls;
use crate::tls::inspect::bare;
use crate::tls::internal_ca::{InternalCa, SignError};
use crate::tls::reuse::Reuse;
use crate::tls::stand_in::{StandIn, StandInError};
use crate::tls::store::{Entry, Origin, Served, ServedError, Store};

/// What the internal CA always signs for, beside the sites' hosts.
const LOCAL: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// A certificate made here that ends sooner than this is made again by a reload.
pub(super) const RENEW_BEFORE: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// A certificate that can't be made here.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum MadeError {
    /// The internal CA does not sign it.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// The stand-in does not come about.
    #[error(transparent)]
    StandIn(#[from] StandInError),
    /// What was made can't be served.
    #[error("{of}: {fault}")]
    Unusable {
        /// Who made it.
        of: Origin,
        /// Why.
        fault: ServedError,
    },
}

/// One certificate of `ca` for all hosts that `store` leaves out, and for this machine's own names.
pub(super) fn by_ca(
    ca: &Arc<InternalCa>,
    config: &Config,
    store: &Store,
    reuse: &Reuse<'_>,
) -> Result<Entry, MadeError> {
    let local = LOCAL.iter().map(|name| HostPattern::Exact((*name).into()));
    let hosts = left_out(config, store, local);
    let same_ca = reuse.old.and_then(Store::ca).is_some_and(|old| Arc::ptr_eq(old, ca));
    let kept = if same_ca { still_good(&Origin::InternalCa, &hosts, reuse) } else { None };
    let served = match kept {
        Some(kept) => kept,
        None => ready(Origin::InternalCa, &ca.sign(&hosts, reuse.now)?, reuse)?,
    };
    Ok(Entry { hosts, served })
}

/// One stand-in for all hosts that `store` leaves out; `None`: there are none.
pub(super) fn by_stand_in(
    stand_in: &StandIn,
    config: &Config,
    store: &Store,
    reuse: &Reuse<'_>,
) -> Result<Option<Entry>, MadeError> {
    let hosts = left_out(config, store, std::iter::empty());
    if hosts.is_empty() {
        return Ok(None);
    }
    let served = match still_good(&Origin::StandIn, &hosts, reuse) {
        Some(kept) => kept,
        None => ready(Origin::StandIn, &stand_in.sign(&hosts, reuse.now)?, reuse)?,
    };
    Ok(Some(Entry { hosts, served }))
}

fn ready(of: Origin, pair: &PemPair, reuse: &Reuse<'_>) -> Result<Arc<Served>, MadeError> {
    reuse.served(&of, pair).map_err(|fault| MadeError::Unusable { of, fault })
}

/// In order and each once, as a certificate names them: that is how the one before is known again.
fn left_out(config: &Config, store: &Store, more: impl Iterator<Item = HostPattern>) -> Vec<HostPattern> {
    let mut hosts: Vec<HostPattern> = tls::sites(config)
        .flat_map(|site| site.hosts.iter().cloned())
        .chain(more)
        .filter(|host| store.chosen(host).is_none())
        .map(named)
        .collect();
    hosts.sort();
    hosts.dedup();
    hosts
}

fn named(host: HostPattern) -> HostPattern {
    match host {
        HostPattern::Exact(text) => HostPattern::Exact(bare(&text).into()),
        wildcard @ HostPattern::Wildcard(_) => wildcard,
    }
}

fn still_good(origin: &Origin, hosts: &[HostPattern], reuse: &Reuse<'_>) -> Option<Arc<Served>> {
    let kept = reuse.before(origin)?;
    let left = kept.facts.not_after.duration_since(reuse.now);
    (kept.facts.names == hosts && left.is_ok_and(|left| left > RENEW_BEFORE)).then_some(kept)
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::config::model::TlsVersion;
    use crate::tls::fixtures::{self, Ca, Files, host, now};
    use crate::tls::load::{self, Carried};
    use crate::tls::managed::Managed;

    fn store(config: &Config, managed: &[Managed], carried: &Carried, now: SystemTime) -> Arc<Store> {
        Arc::new(load::load(config, &mut Files::default(), carried, managed, now).unwrap().store)
    }

    /// Two sites, and certificates are ordered.
    fn config() -> Config {
        let mut config =
            fixtures::config(Vec::new(), &[&["a.test", "*.a.test", "[2001:db8::1]"], &["b.test"]]);
        config.acme = Some(fixtures::acme());
        config
    }

    #[test]
    fn stand_in_is_for_all_hosts_that_nothing_covers() {
        let loaded =
            load::load(&config(), &mut Files::default(), &Carried::fresh().unwrap(), &[], now()).unwrap();
        assert_eq!(loaded.warnings, [], "what is being ordered is no news");
        let [stand_in] = loaded.store.all() else { panic!("one is enough") };
        assert_eq!(stand_in.facts.names, ["2001:db8::1", "a.test", "b.test", "*.a.test"].map(host));
        assert!(loaded.store.chosen(&host("[2001:db8::1]")).is_some());
        assert!(!loaded.store.has_file_for(&host("a.test")));
    }

    #[test]
    fn stand_in_is_the_same_object_while_its_hosts_are() {
        let carried = Carried::fresh().unwrap();
        let first = store(&config(), &[], &carried, now());
        let carried = carried.with(first.clone());
        let second = store(&config(), &[], &carried, now());
        assert!(Arc::ptr_eq(&first.all()[0], &second.all()[0]) && first.same(&second));

        let ordered = Managed { site: "b.test".into(), pair: Ca::new().chain(&["b.test"]) };
        let third = store(&config(), &[ordered], &carried, now());
        assert!(!third.same(&first));
        let [own, stand_in] = third.all() else { panic!("the site's own, and what stands in") };
        assert_eq!((&own.origin, &stand_in.origin), (&Origin::Acme("b.test".into()), &Origin::StandIn));
        assert!(!stand_in.covers("b.test"));
    }

    #[test]
    fn stand_in_is_made_anew_before_it_ends_and_for_other_settings() {
        let carried = Carried::fresh().unwrap();
        let first = store(&config(), &[], &carried, now());
        let carried = carried.with(first.clone());
        let late = first.all()[0].facts.not_after - RENEW_BEFORE;
        assert!(store(&config(), &[], &carried, late).all()[0].facts.not_after > late);
        let mut strict = config();
        strict.tls.min_version = TlsVersion::Tls13;
        assert!(!store(&strict, &[], &carried, now()).same(&first));
    }

    #[test]
    fn nothing_stands_in_without_orders_or_beside_the_internal_ca() {
        let carried = Carried::fresh().unwrap();
        let mut config = config();
        config.tls.internal_ca = true;
        assert_eq!(store(&config, &[], &carried, now()).all()[0].origin, Origin::InternalCa);
        config.tls.internal_ca = false;
        config.acme = None;
        assert_eq!(store(&config, &[], &carried, now()).all().len(), 0);
    }
}
