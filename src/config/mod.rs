//! The configuration: from the text that a user writes to types that are valid by construction.
//!
//! ```text
//! text -> tree (numbered nodes) -> file (mirror, serde) -> preset, merge, fill -> resolve -> model
//! ```
//!
//! Every step goes on after an error as far as it can, so that all errors are told at once. Nothing here
//! reads a file, a socket or the clock.

mod control_socket;
pub mod decode;
mod defaults;
mod deserializer;
pub mod diff;
pub mod file;
mod merge;
pub mod model;
mod networks;
mod preset;
pub mod problem;
mod rejection;
mod resolve;
pub mod scalar;
pub mod signable;
pub mod source;
mod syntax;
pub mod tree;
mod warnings;
mod words;

use std::path::PathBuf;
use std::sync::Arc;

use crate::config::file::File;
use crate::config::model::Config;
use crate::config::problem::{Finding, Problem, Report, Severity};
use crate::config::resolve::Resolver;
use crate::config::source::Source;
use crate::config::tree::{Node, Place};

/// A configuration that can be used.
#[derive(Debug)]
pub struct Loaded {
    /// What the rest of the program sees.
    pub config: Config,
    /// What is probably not what was meant.
    pub warnings: Vec<Problem>,
    /// The effective file as YAML, with every default and what the preset made.
    pub expanded: String,
    source: Arc<Source>,
    anchors: Vec<(Anchor, Place)>,
}

/// Something in the file that another part has a warning about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Anchor {
    /// The CA of this index: that of `acme` itself, then its fallbacks.
    Authority(usize),
    /// The certificate of this index.
    Certificate(usize),
    /// Nothing in particular: the file as a whole.
    File,
    /// Home's address.
    HomeAddress,
    /// The site of this name.
    Site(String),
    /// The upstream of this name.
    Upstream(String),
    /// The user of the edge.
    User,
}

impl Loaded {
    /// A warning of another part, shown at what it is about.
    pub fn warning(&self, about: &Anchor, title: &str) -> Problem {
        Finding::warning(self.place(about), title).locate(&self.source)
    }

    /// An error of another part, shown at what it is about.
    pub fn error(&self, about: &Anchor, title: &str) -> Problem {
        Finding::error(self.place(about), title).locate(&self.source)
    }

    fn place(&self, about: &Anchor) -> Place {
        let found = self.anchors.iter().find(|(anchor, _)| anchor == about);
        found.map_or(Place::ROOT, |(_, place)| *place)
    }
}

fn anchors(file: &File) -> Vec<(Anchor, Place)> {
    let certificates = file.tls.certificates.iter().enumerate();
    let certificates = certificates.map(|(index, at)| (Anchor::Certificate(index), at.place));
    let sites = file.sites.iter().filter_map(|site| site.hosts.first());
    let sites = sites.map(|host| (Anchor::Site(host.value.to_string()), host.place));
    let upstreams = file.upstreams.0.iter().filter_map(|(name, upstream)| {
        Some((Anchor::Upstream(name.value.to_string()), upstream.backends.as_ref()?.first()?.place))
    });
    let fallbacks = file.acme.iter().flat_map(|acme| &acme.fallback).map(|fallback| fallback.place);
    let authorities = file.acme.iter().map(|acme| acme.place).chain(fallbacks).enumerate();
    let authorities = authorities.map(|(index, place)| (Anchor::Authority(index), place));
    let home = file.home_link.iter().filter_map(|link| link.address.as_ref());
    let home = home.map(|address| (Anchor::HomeAddress, address.name.place));
    let user = file.user.iter().map(|user| (Anchor::User, user.place));
    certificates.chain(sites).chain(upstreams).chain(authorities).chain(home).chain(user).collect()
}

/// More problems than this are not located.
const MOST_TOLD: usize = 100;

/// Reads a configuration; `name` is what it is called in messages.
pub fn load(text: &str, name: &str) -> Result<Loaded, Report> {
    // An editor's byte order mark is no part of the text, and libyaml does not count it.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let source = Arc::new(Source { name: name.to_owned(), text: text.to_owned() });
    let mut tree = match tree::parse(text) {
        Ok(tree) => tree,
        Err(error) => return Err(Report { problems: vec![syntax::problem(&error, &source)] }),
    };
    let mut findings = duplicates(&mut tree);
    // A file with nothing in it is as good as an empty map.
    let decoded = decode::decode::<Option<File>>(&mut tree);
    findings.extend(decoded.findings);

    let resolved = decoded.value.map(|file| {
        let (file, made) = preset::expand(file.unwrap_or_default());
        findings.extend(made);
        let mut resolver = Resolver::new(&file, &tree, &decoded.left_out);
        let config = resolver.config();
        findings.append(&mut resolver.findings);
        // Beside errors, guesses would be noise: half of them would follow from the errors.
        if !findings.iter().any(|finding| finding.severity() == Severity::Error) {
            findings.extend(warnings::of(&file));
        }
        (file, config)
    });
    let failed = findings.iter().any(|finding| finding.severity() == Severity::Error);
    findings.sort_by_key(Finding::place);
    // Two hosts of one homeserver, or two homeservers, can bring the same thing twice.
    findings.dedup_by(|one, other| one.is_like(other));
    // Each costs a reading of the text; nobody reads so many.
    let problems = findings.into_iter().take(MOST_TOLD).map(|finding| finding.locate(&source)).collect();
    match resolved {
        Some((file, config)) if !failed => {
            let (expanded, anchors) = (expanded(&file, name), anchors(&file));
            Ok(Loaded { config, warnings: problems, expanded, source, anchors })
        }
        _ => Err(Report { problems }),
    }
}

fn duplicates(tree: &mut Node) -> Vec<Finding> {
    let told = |(key, first): (tree::Key, Place)| {
        Finding::error(key.place, format!("the key `{}` is there twice", key.text))
            .label("again")
            .also(first, "first here")
    };
    tree.take_duplicates().into_iter().map(told).collect()
}

fn expanded(file: &File, name: &str) -> String {
    // The mirror has no value that YAML can't carry, so serialising does not fail.
    let yaml = serde_yaml::to_string(file).unwrap_or_default();
    format!(
        "# What is in force of {}, with every default and what `matrix` makes.\n{yaml}",
        name.escape_debug()
    )
}

/// Where a running porchd is asked, for a client of it: from a file that may be wrong elsewhere, or no YAML at
/// all. `None`: there is no socket.
pub fn control_socket(text: &str) -> Option<PathBuf> {
    control_socket::read(text)
}

/// A JSON Schema of the file, for editors.
pub fn schema() -> &'static str {
    // Written from the types by a test, which refuses when the two differ.
    include_str!("schema.json")
}

#[cfg(test)]
mod examples;
#[cfg(test)]
mod golden;
