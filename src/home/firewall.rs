//! Addresses in tables of pf(4) and sets of nftables, by their own programs.
//!
//! What others put in is not touched: an address is added if it is not there, and taken out alone.

use std::net::IpAddr;

use crate::config::model::home::{NftSet, Update};
use crate::home::address::Family;
use crate::home::firewall::span::Span;
use crate::home::tools::{Ran, Tools};
use crate::home::update::{Outcome, Step, UpdateError};

mod span;

const PFCTL: &str = "pfctl";
const NFT: &str = "nft";

/// Who may have something in what is updated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owned {
    /// porchd alone: the whole is replaced.
    ByPorchd,
    /// Others, too: addresses are added and removed.
    ByOthersToo,
}

impl Owned {
    /// Of `update`.
    pub fn of(update: &Update) -> Self {
        match update {
            Update::PfTable { owned: true, .. } | Update::NftSet { owned: true, .. } | Update::File(_) => {
                Self::ByPorchd
            }
            _ => Self::ByOthersToo,
        }
    }
}

/// The program that `update` needs.
pub fn program(update: &Update) -> Option<&'static str> {
    match update {
        Update::PfTable { .. } => Some(PFCTL),
        Update::NftSet { .. } => Some(NFT),
        Update::File(_) | Update::WireGuardEndpoint { .. } => None,
    }
}

/// Does `step` to a table of pf.
///
/// # Errors
/// What `pfctl` says, or that it can't be run.
pub fn pf(tools: &Tools, table: &str, step: &Step) -> Result<Outcome, UpdateError> {
    let run = |act: &str, all: &[IpAddr]| {
        let all: Vec<String> = all.iter().map(IpAddr::to_string).collect();
        let mut arguments = vec!["-q", "-t", table, "-T", act];
        arguments.extend(all.iter().map(String::as_str));
        tools.run(PFCTL, &arguments, "")
    };
    match step {
        // It ends well if the address, or a network around it, is there.
        Step::Add(ip) if run("test", &[*ip])?.status.success() => Ok(Outcome::Present),
        Step::Add(ip) => done(PFCTL, run("add", &[*ip])?),
        Step::Remove(ip) => done(PFCTL, run("delete", &[*ip])?),
        Step::Replace(all) => done(PFCTL, run("replace", all)?),
    }
}

/// Does `step` to a set of nftables.
///
/// # Errors
/// What `nft` says, or that it can't be run, and that the set is of the other family.
pub fn nft(tools: &Tools, set: &NftSet, step: &Step) -> Result<Outcome, UpdateError> {
    let run = |act: &str, what: &str| {
        tools.run(NFT, &[act, "element", &set.family, &set.table, &set.set, &format!("{{ {what} }}")], "")
    };
    match step {
        Step::Add(ip) => {
            // Asked first: a set with `auto-merge` takes what it holds already, and says nothing.
            if run("get", &ip.to_string())?.status.success() {
                return Ok(Outcome::Present);
            }
            let added = run("create", &ip.to_string())?;
            if added.status.success() { Ok(Outcome::Done) } else { Err(why(tools, set, &[*ip], added)) }
        }
        Step::Remove(ip) => {
            // Alone: in one transaction with an `add` it fails in a set with `auto-merge`.
            let removed = run("delete", &ip.to_string())?;
            if removed.status.success() {
                return Ok(Outcome::Done);
            }
            let there = run("get", &ip.to_string())?;
            if there.status.success() {
                return take_out(tools, set, *ip, &there.said, removed);
            }
            // It is gone already, if there is such a set.
            holds(tools, set).map(|_| Outcome::Done)
        }
        Step::Replace(all) => replace(tools, set, all),
    }
}

/// Takes one address out of what `auto-merge` has made of it and its neighbours, as `said` tells. In one transaction:
/// the others are in the set at every time.
fn take_out(
    tools: &Tools,
    set: &NftSet,
    ip: IpAddr,
    said: &str,
    removed: Ran,
) -> Result<Outcome, UpdateError> {
    let Some(span) = Span::around(ip, said).filter(|span| !span.is_one()) else {
        return Err(failed(NFT, removed));
    };
    let Some(rest) = span.without(ip) else {
        return Err(UpdateError::Merged { address: ip, range: span.to_string() });
    };
    let script = format!("delete element {set} {{ {span} }}\nadd element {set} {{ {rest} }}\n");
    done(NFT, tools.run(NFT, &["-f", "-"], &script)?)
}

/// Puts into the set what fits into it, in place of all that was there.
fn replace(tools: &Tools, set: &NftSet, all: &[IpAddr]) -> Result<Outcome, UpdateError> {
    let holds = holds(tools, set)?;
    let fitting: Vec<String> = all.iter().filter(|ip| fits(&holds, **ip)).map(IpAddr::to_string).collect();
    if let (true, Some(first)) = (fitting.is_empty(), all.first()) {
        // What it holds may still be home: of that family nothing is known.
        return Err(UpdateError::Unfit { holds, address: *first });
    }
    let script = format!("flush set {set}\nadd element {set} {{ {} }}\n", fitting.join(", "));
    done(NFT, tools.run(NFT, &["-f", "-"], &script)?)
}

fn done(program: &str, ran: Ran) -> Result<Outcome, UpdateError> {
    if ran.status.success() { Ok(Outcome::Done) } else { Err(failed(program, ran)) }
}

fn failed(program: &str, ran: Ran) -> UpdateError {
    let said = match ran.said.lines().find(|line| !line.trim().is_empty()) {
        Some(line) => line.trim().to_owned(),
        None => ran.status.to_string(),
    };
    UpdateError::Failed { program: program.to_owned(), said }
}

/// Why `nft` does not take `all`: most often the set is for the other family, and it says so in no clear words.
fn why(tools: &Tools, set: &NftSet, all: &[IpAddr], ran: Ran) -> UpdateError {
    let Ok(holds) = holds(tools, set) else { return failed(NFT, ran) };
    match all.iter().find(|ip| !fits(&holds, **ip)) {
        Some(address) => UpdateError::Unfit { holds, address: *address },
        None => failed(NFT, ran),
    }
}

/// The type of a set, such as `ipv4_addr`.
fn holds(tools: &Tools, set: &NftSet) -> Result<String, UpdateError> {
    let ran = tools.run(NFT, &["-t", "list", "set", &set.family, &set.table, &set.set], "")?;
    if !ran.status.success() {
        return Err(failed(NFT, ran));
    }
    let line = ran.said.lines().map(str::trim).find_map(|line| {
        line.strip_prefix("type ").or_else(|| line.strip_prefix("typeof ")).map(str::to_owned)
    });
    Ok(line.unwrap_or_default())
}

/// Whether a set of this type can hold `ip`. What is not understood is tried.
fn fits(holds: &str, ip: IpAddr) -> bool {
    let wrong: &[&str] = match Family::of(ip) {
        Family::V4 => &["ipv6_addr", "ip6 "],
        Family::V6 => &["ipv4_addr", "ip "],
    };
    !wrong.iter().any(|other| holds.starts_with(other))
}

#[cfg(test)]
mod tests;
