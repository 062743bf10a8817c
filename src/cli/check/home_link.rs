//! Asks the nameserver of home's address once, and looks for the programs that the updates need.
//!
//! What is odd is no reason to refuse a configuration: a nameserver may be away for a while.

use crate::config::model::home::Address;
use crate::home::address::{Answer, Family, unwanted};
use crate::home::message::Fault;
use crate::home::tools::Tools;
use crate::home::{ask, firewall};

/// What is odd, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Oddity {
    /// What it is.
    pub(super) what: String,
    /// The cure.
    pub(super) cure: String,
}

/// Looks at all of `address`.
pub(super) fn look(address: &Address) -> Vec<Oddity> {
    let mut oddities = of_programs(address, &|program| Tools::default().find(program).is_some());
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return oddities;
    };
    let answers = runtime.block_on(ask::both(&address.nameserver, &address.name));
    oddities.extend(of_answers(address, &answers));
    oddities
}

fn of_programs(address: &Address, has: &dyn Fn(&str) -> bool) -> Vec<Oddity> {
    let mut needed: Vec<&str> = address.updates.iter().filter_map(firewall::program).collect();
    needed.dedup();
    needed.retain(|program| !has(program));
    let told = |program: &str| Oddity {
        what: format!("home_link.address: there is no {program} on this machine"),
        cure: match program {
            "nft" => String::from("install nftables, or take `nft_set` out of `update`"),
            _ => String::from("pf is of OpenBSD and FreeBSD: take `pf_table` out of `update`"),
        },
    };
    needed.into_iter().map(told).collect()
}

fn of_answers(address: &Address, answers: &[Answer; 2]) -> Vec<Oddity> {
    let Address { name, nameserver, .. } = address;
    let mut all = answers.iter().flatten().flatten();
    let known = all.clone().any(|ip| unwanted(*ip, address.allow_private).is_none());
    let told = |what: String, cure: &str| Oddity { what, cure: cure.to_owned() };
    if let Some(bad) = all.find(|ip| unwanted(**ip, address.allow_private).is_some()).filter(|_| !known) {
        let why = unwanted(*bad, address.allow_private).unwrap_or_default();
        let cure = "porchd does not believe it; for a home that has such an address, set `allow_private`";
        return vec![told(format!("home_link.address: {name} is {bad}, which is {why}"), cure)];
    }
    let faults = [Family::V4, Family::V6].into_iter().zip(answers).filter_map(|(family, answer)| {
        let fault = answer.as_ref().err()?;
        // One family is enough.
        (*fault != Fault::Empty || !known && family == Family::V4).then_some((family, fault))
    });
    let mut faults: Vec<_> = faults.collect();
    faults.dedup_by(|one, other| one.1 == other.1);
    faults
        .into_iter()
        .map(|(family, fault)| {
            let what = format!("home_link.address: {nameserver}, {} of {name}: {fault}", family.record());
            told(what, &format!("`dig @{nameserver} {name} {}` asks the same", family.record()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::model::home::{Nameserver, NftSet, Update};

    fn address() -> Address {
        let set = NftSet { family: "inet".into(), table: "filter".into(), set: "homeip".into() };
        Address {
            name: "home.example.com".into(),
            nameserver: Nameserver::Name("ns.example.com".into(), 53),
            every: Duration::from_secs(60),
            allow_private: false,
            updates: vec![Update::NftSet { set, owned: false }, Update::File("/etc/homeip".into())],
        }
    }

    #[test]
    fn programs_that_are_missing_are_told() {
        assert!(of_programs(&address(), &|_| true).is_empty());
        let told = of_programs(&address(), &|_| false);
        assert!(matches!(&told[..], [one] if one.what.ends_with("no nft on this machine")), "{told:?}");
    }

    #[test]
    fn answers_are_judged_as_they_will_be() {
        let good = || Ok(vec!["5.9.1.1".parse().unwrap()]);
        let private = || Ok(vec!["10.0.0.1".parse().unwrap()]);
        for (answers, told) in [
            ([good(), Err(Fault::Empty)], vec![]),
            ([Err(Fault::Empty), Err(Fault::Empty)], vec!["A of home.example.com: the name has no address"]),
            (
                [Err(Fault::Silent), Err(Fault::Silent)],
                vec!["A of home.example.com: the nameserver does not"],
            ),
            ([private(), Err(Fault::Empty)], vec!["home.example.com is 10.0.0.1, which is private"]),
            ([good(), Err(Fault::Failing)], vec!["AAAA of home.example.com: the nameserver has a fault"]),
        ] {
            let found = of_answers(&address(), &answers);
            assert_eq!(found.len(), told.len(), "{found:?}");
            for (oddity, part) in found.iter().zip(told) {
                assert!(oddity.what.contains(part), "{oddity:?}");
            }
        }
    }
}
