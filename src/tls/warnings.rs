//! What an operator should know about the certificates before clients tell them. Pure.
//!
//! Nothing of this stops a start: an expired certificate is better than none at all.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::config::model::{Config, HostPattern, Site};
use crate::tls;
use crate::tls::inspect::ChainShape;
use crate::tls::store::{Origin, Served, ServedError, Store};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// An end nearer than this is told.
const SOON: Duration = DAY.saturating_mul(14);

/// Something that will fail for clients, or soon will.
#[derive(Debug, Clone, PartialEq)]
pub enum Warning {
    /// Its time is over.
    Expired {
        /// The certificate.
        of: Origin,
        /// When it ended.
        at: SystemTime,
        /// How long ago.
        ago: Duration,
    },
    /// Its time is nearly over.
    Expiring {
        /// The certificate.
        of: Origin,
        /// When it ends.
        at: SystemTime,
        /// In what time.
        left: Duration,
    },
    /// Its time has not come.
    NotYetValid {
        /// The certificate.
        of: Origin,
        /// When it begins.
        at: SystemTime,
    },
    /// Clients verify the chain only if they happen to know what is missing.
    LeafAlone {
        /// The certificate.
        of: Origin,
        /// The certificate that is missing.
        issuer: String,
    },
    /// Some clients refuse such a chain.
    Disordered {
        /// The certificate.
        of: Origin,
    },
    /// Every name of it is served by a certificate that was configured earlier.
    Unused {
        /// The certificate.
        of: Origin,
    },
    /// It was ordered and can't be served.
    Unusable {
        /// The certificate.
        of: Origin,
        /// Why.
        fault: ServedError,
    },
    /// It is configured for hosts that it does not name.
    LacksHosts {
        /// The certificate.
        of: Origin,
        /// The site.
        site: String,
        /// The hosts.
        hosts: Vec<HostPattern>,
    },
    /// No certificate is for these hosts.
    Uncovered {
        /// The site.
        site: String,
        /// The hosts.
        hosts: Vec<HostPattern>,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expired { of, at, ago } => match days(*ago).as_str() {
                "0 days" => write!(f, "{of} expired today ({})", Day(*at)),
                days => write!(f, "{of} expired {days} ago ({})", Day(*at)),
            },
            Self::Expiring { of, at, left } => match days(*left).as_str() {
                "0 days" => write!(f, "{of} expires in less than a day ({})", Day(*at)),
                days => write!(f, "{of} expires in {days} ({})", Day(*at)),
            },
            Self::NotYetValid { of, at } => {
                write!(f, "{of} is not valid before {}; is this machine's clock right?", Day(*at))
            }
            Self::LeafAlone { of, issuer } => {
                write!(
                    f,
                    "{of} comes without its issuer \"{issuer}\"; use the full chain, or many clients fail"
                )
            }
            Self::Disordered { of } => {
                write!(f, "{of} has a chain out of order; put each certificate before its issuer's")
            }
            Self::Unused { of } => {
                write!(f, "{of} is never served: certificates before it in the list have all of its hosts")
            }
            Self::Unusable { of, fault } => {
                write!(f, "{of} as it was kept is not served: {fault}; porchd certs renew orders another")
            }
            Self::LacksHosts { of, site, hosts } => {
                write!(f, "site \"{site}\": {of} does not name {}; clients will refuse it", list(hosts))
            }
            Self::Uncovered { site, hosts } => {
                write!(f, "site \"{site}\": no certificate for {}; add one to tls.certificates", list(hosts))
            }
        }
    }
}

/// What is wrong, or soon will be, with `store` for the sites of `config`.
pub fn warnings(store: &Store, config: &Config, now: SystemTime) -> Vec<Warning> {
    let mut told: Vec<Warning> = store.all().iter().flat_map(|served| of_certificate(served, now)).collect();
    let unused = store.all().iter().filter(|served| !store.serves(served));
    told.extend(unused.map(|served| Warning::Unused { of: served.origin.clone() }));
    told.extend(tls::sites(config).flat_map(|site| of_site(store, site)));
    told
}

fn of_certificate(served: &Served, now: SystemTime) -> impl Iterator<Item = Warning> {
    let chain = match (&served.origin, served.facts.chain) {
        (Origin::File(_), ChainShape::LeafAlone) => {
            Some(Warning::LeafAlone { of: served.origin.clone(), issuer: served.facts.issuer.clone() })
        }
        (Origin::File(_), ChainShape::Disordered) => Some(Warning::Disordered { of: served.origin.clone() }),
        _ => None,
    };
    of_dates(served, now).into_iter().chain(chain)
}

fn of_dates(served: &Served, now: SystemTime) -> Option<Warning> {
    let (begin, end) = (served.facts.not_before, served.facts.not_after);
    let of = || served.origin.clone();
    if let Ok(ago) = now.duration_since(end) {
        return (!ago.is_zero()).then(|| Warning::Expired { of: of(), at: end, ago });
    }
    if now < begin {
        return Some(Warning::NotYetValid { of: of(), at: begin });
    }
    let left = end.duration_since(now).unwrap_or_default();
    let life = end.duration_since(begin).unwrap_or_default();
    // Certificates of a few days are renewed when a third is left; 14 days would always warn of them. Of
    // those that are renewed here it is told once that has failed for a while.
    let share = if matches!(served.origin, Origin::Acme(_)) { 6 } else { 3 };
    (left < SOON.min(life / share)).then(|| Warning::Expiring { of: of(), at: end, left })
}

/// One warning for each certificate that fails hosts of the site, and one for hosts that have none.
fn of_site(store: &Store, site: &Site) -> Vec<Warning> {
    let mut lacking: Vec<(&Origin, Vec<HostPattern>)> = Vec::new();
    let mut uncovered = Vec::new();
    for host in &site.hosts {
        match store.chosen(host) {
            None => uncovered.push(host.clone()),
            Some(served) if served.facts.covers_pattern(host) => {}
            Some(served) => match lacking.iter_mut().find(|(of, _)| **of == served.origin) {
                Some((_, hosts)) => hosts.push(host.clone()),
                None => lacking.push((&served.origin, vec![host.clone()])),
            },
        }
    }
    let name = || site.name.to_string();
    let lacks = |(of, hosts): (&Origin, _)| Warning::LacksHosts { of: of.clone(), site: name(), hosts };
    let mut told: Vec<Warning> = lacking.into_iter().map(lacks).collect();
    if !uncovered.is_empty() {
        told.push(Warning::Uncovered { site: name(), hosts: uncovered });
    }
    told
}

fn days(span: Duration) -> String {
    match span.as_secs() / DAY.as_secs() {
        1 => "1 day".to_owned(),
        days => format!("{days} days"),
    }
}

fn list(hosts: &[HostPattern]) -> String {
    hosts.iter().map(HostPattern::to_string).collect::<Vec<_>>().join(", ")
}

/// A time shown as its day (UTC), `2026-11-20`.
struct Day(SystemTime);

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = match self.0.duration_since(UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_secs()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_secs()).map_or(i64::MIN, |seconds| -seconds),
        };
        let (year, month, day) = civil(seconds.div_euclid(86_400));
        write!(f, "{year:04}-{month:02}-{day:02}")
    }
}

/// Year, month and day of the proleptic Gregorian calendar, `days` after 1970-01-01.
///
/// Years are counted from March, so that a leap day is a year's last, in cycles of 400 years.
fn civil(days: i64) -> (i64, i64, i64) {
    // 719 468 days lie between 0000-03-01 and 1970-01-01; 146 097 make a cycle.
    let days = days + 719_468;
    let (cycle, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month + 2) / 5 + 1;
    let january = i64::from(month >= 10);
    (cycle * 400 + year + january, month + 3 - 12 * january, day_of_month)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::provision::PemPair;
    use crate::tls::fixtures::{self, Ca, Files};
    use crate::tls::load::{self, Carried};

    fn told(pair: PemPair, hosts: &[&str], sites: &[&[&str]], now: SystemTime) -> Vec<String> {
        let mut files = Files::default();
        let config = fixtures::config(vec![files.put("a", pair, hosts)], sites);
        let loaded = load::load(&config, &mut files, &Carried::fresh().unwrap(), &[], now).unwrap();
        loaded.warnings.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn dates_are_told_as_spans_and_days() {
        let ca = Ca::new();
        let begin = fixtures::day(2026, 8, 22);
        let end = fixtures::day(2026, 11, 20);
        let mut pair = ca.leaf_within(&["a.test"], begin, end);
        pair.cert.extend_from_slice(ca.pem().as_bytes());
        let hour = Duration::from_secs(3600);
        for (now, expected) in [
            (begin - hour, Some("is not valid before 2026-08-22; is this machine's clock right?")),
            (begin, None),
            (end - 14 * DAY, None),
            (end - 14 * DAY + hour, Some("expires in 13 days (2026-11-20)")),
            (end - DAY, Some("expires in 1 day (2026-11-20)")),
            (end - hour, Some("expires in less than a day (2026-11-20)")),
            (end + hour, Some("expired today (2026-11-20)")),
            (end + DAY, Some("expired 1 day ago (2026-11-20)")),
            (end + 3 * DAY, Some("expired 3 days ago (2026-11-20)")),
        ] {
            let expected: Vec<_> = expected.iter().map(|text| format!("certificate /a.crt {text}")).collect();
            assert_eq!(told(pair.clone(), &[], &[], now), expected);
        }
    }

    #[test]
    fn certificate_of_six_days_is_told_in_its_last_third_alone() {
        let begin = fixtures::day(2026, 11, 1);
        let life = 6 * DAY;
        let warned = |now| {
            let ca = Ca::new();
            let mut pair = ca.leaf_within(&["a.test"], begin, begin + life);
            pair.cert.extend_from_slice(ca.pem().as_bytes());
            told(pair, &[], &[], now).len()
        };
        assert_eq!(warned(begin + 4 * DAY), 0);
        assert_eq!(warned(begin + 4 * DAY + Duration::from_secs(1)), 1);
    }

    #[test]
    fn broken_chains_are_told() {
        let ca = Ca::new();
        let mut disordered = ca.leaf(&["a.test"]);
        disordered.cert.extend_from_slice(&fixtures::self_signed(&["b.test"]).cert);
        for (pair, expected) in [
            (ca.chain(&["a.test"]), None),
            (fixtures::self_signed(&["a.test"]), None),
            (ca.leaf(&["a.test"]), Some("certificate /a.crt comes without its issuer \"test CA\"; use")),
            (disordered, Some("certificate /a.crt has a chain out of order; put each")),
        ] {
            let told = told(pair, &[], &[], fixtures::now());
            assert_eq!(told.len(), usize::from(expected.is_some()), "{told:?}");
            assert!(told.iter().zip(expected).all(|(told, expected)| told.starts_with(expected)), "{told:?}");
        }
    }

    #[test]
    fn hosts_without_a_fitting_certificate_are_told_by_site() {
        let pair = Ca::new().chain(&["a.test", "*.w.test"]);
        let hosts = &["a.test", "b.test", "c.test", "*.w.test"];
        let sites: &[&[&str]] =
            &[&["a.test", "x.w.test", "*.w.test"], &["b.test", "c.test", "d.test", "*.d.test"], &["e.test"]];
        assert_eq!(
            told(pair, hosts, sites, fixtures::now()),
            [
                "site \"b.test\": certificate /a.crt does not name b.test, c.test; clients will refuse it",
                "site \"b.test\": no certificate for d.test, *.d.test; add one to tls.certificates",
                "site \"e.test\": no certificate for e.test; add one to tls.certificates",
            ]
        );
    }

    #[test]
    fn certificate_behind_others_is_told() {
        let (ca, mut files) = (Ca::new(), Files::default());
        let mut put = |name: &str, names: &[&str], hosts: &[&str]| files.put(name, ca.chain(names), hosts);
        let certificates = vec![
            put("default", &["a.test"], &["unasked.test"]),
            put("both", &["a.test", "*.b.test"], &[]),
            put("late", &["*.b.test", "a.test"], &["a.test"]),
            put("other", &["a.test", "c.test"], &[]),
        ];
        let config = fixtures::config(certificates, &[]);
        let loaded =
            load::load(&config, &mut files, &Carried::fresh().unwrap(), &[], fixtures::now()).unwrap();
        let expected = [Warning::Unused { of: Origin::File("/late.crt".into()) }];
        assert_eq!(loaded.warnings, expected);
    }

    #[test]
    fn site_without_tls_needs_no_certificate() {
        let mut config = fixtures::config(Vec::new(), &[&["a.test"]]);
        let store = Store::new(Vec::new(), Vec::new(), None);
        assert_eq!(warnings(&store, &config, fixtures::now()).len(), 1);
        config.sites[0].listeners = vec![Arc::from("http")];
        assert_eq!(warnings(&store, &config, fixtures::now()), []);
    }

    #[test]
    fn origin_is_shown_as_a_person_would_say_it() {
        assert_eq!(Origin::File(PathBuf::from("/x.crt")).to_string(), "certificate /x.crt");
        assert_eq!(Origin::InternalCa.to_string(), "certificate of the internal CA");
    }

    proptest! {
        #[test]
        fn day_is_the_one_of_the_calendar(seconds in 0_u64..253_402_300_800) {
            let at = UNIX_EPOCH + Duration::from_secs(seconds);
            // Sun, 06 Nov 1994 08:49:37 GMT
            let date = httpdate::fmt_http_date(at);
            let months = "JanFebMarAprMayJunJulAugSepOctNovDec";
            let month = months.find(&date[8..11]).unwrap() / 3 + 1;
            prop_assert_eq!(Day(at).to_string(), format!("{}-{month:02}-{}", &date[12..16], &date[5..7]));
        }
    }

    #[test]
    fn day_before_the_epoch_is_right_too() {
        assert_eq!(Day(UNIX_EPOCH - Duration::from_secs(1)).to_string(), "1969-12-31");
        assert_eq!(Day(UNIX_EPOCH - DAY * 719_468).to_string(), "0000-03-01");
    }
}
