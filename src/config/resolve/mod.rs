//! From the expanded mirror to the model: names are looked up, and what does not fit together is told.
//!
//! It changes nothing that was written; presets and defaults are in the mirror already.

pub(crate) mod acme;
pub(crate) mod admin;
pub(crate) mod home;
pub(crate) mod limits;
pub(crate) mod listener;
pub(crate) mod matrix;
pub(crate) mod route;
pub(crate) mod site;
pub(crate) mod state_dir;
pub(crate) mod upstream;

use std::collections::BTreeSet;

use crate::config::decode::At;
use crate::config::file::File;
use crate::config::file::basics::{self, LogTo, LogWord};
use crate::config::model;
use crate::config::problem::Finding;
use crate::config::tree::{Kind, Node, Place};

/// What is known while resolving, and what was found wrong.
pub(crate) struct Resolver<'a> {
    /// The expanded file.
    pub(crate) file: &'a File,
    /// The tree, to tell what was left out of it.
    tree: &'a Node,
    left_out: &'a BTreeSet<Place>,
    /// What was found wrong.
    pub(crate) findings: Vec<Finding>,
}

impl<'a> Resolver<'a> {
    /// A resolver of `file`, which was decoded from `tree` without the nodes `left_out`.
    pub(crate) fn new(file: &'a File, tree: &'a Node, left_out: &'a BTreeSet<Place>) -> Self {
        Self { file, tree, left_out, findings: Vec::new() }
    }

    /// Whether something at or below `place` could not be read: then what is missing there was told.
    pub(crate) fn incomplete(&self, place: Place) -> bool {
        let node = self.tree.at(place);
        node.is_some_and(|node| self.left_out.iter().any(|place| node.holds(*place)))
    }

    /// Whether something in one of these sections could not be read. A key that nobody knows may have been
    /// meant for one of them.
    pub(crate) fn incomplete_sections(&self, names: &[&str]) -> bool {
        let Kind::Map(sections) = &self.tree.kind else { return false };
        sections.iter().any(|(key, node)| {
            let unknown = self.left_out.contains(&key.place);
            let named = names.contains(&key.text.as_str());
            unknown || (named && self.left_out.iter().any(|place| node.holds(*place)))
        })
    }

    /// The whole configuration. It is meaningless if there is an error among the findings.
    pub(crate) fn config(&mut self) -> model::Config {
        let file = self.file;
        if file.sites.is_empty() && !self.incomplete_sections(&["matrix", "sites"]) {
            self.findings.push(nothing_to_do());
        }
        self.beneath_state_dir();
        model::Config {
            homeservers: self.homeservers(),
            threads: match file.threads {
                basics::Threads::Auto(_) => model::threads::Threads::Auto,
                basics::Threads::Count(count) => model::threads::Threads::Count(count.as_usize()),
            },
            accept: match file.accept {
                basics::AcceptMode::Auto => model::threads::AcceptMode::Auto,
                basics::AcceptMode::PerThread => model::threads::AcceptMode::PerThread,
                basics::AcceptMode::Single => model::threads::AcceptMode::Single,
            },
            listeners: self.listeners(),
            tls: self.tls(),
            acme: self.acme(),
            state_dir: file.state_dir().0,
            admin: self.admin(),
            upstreams: self.upstreams(),
            sites: self.sites(),
            limits: self.limits(),
            trusted_proxies: file.trusted_proxies.iter().map(|net| net.value.0).collect(),
            home_link: self.home_link(),
            user: file.user.as_ref().map(|user| user.value.0.clone()),
            drain: model::limits::Drain {
                stop: file.drain.stop.0,
                reload: file.drain.reload.0,
                upgrade: file.drain.upgrade.0,
            },
            log: log(&file.log),
        }
    }

    /// Tells of everything but the first of several equal things.
    pub(crate) fn each_once<T: PartialEq>(&mut self, things: &[At<T>], title: impl Fn(&T) -> String) {
        for (at, thing) in things.iter().enumerate() {
            if let Some(first) = things[..at].iter().find(|first| first.value == thing.value) {
                let finding = Finding::error(thing.place, title(&thing.value)).label("again");
                self.findings.push(finding.also(first.place, "first here"));
            }
        }
    }
}

fn nothing_to_do() -> Finding {
    Finding::error(Place::ROOT, "there is nothing to serve: neither `matrix` nor `sites`").help(
        "the least that makes sense is `matrix` with `server_name` and `home`, and `acme` with `contact`",
    )
}

fn log(log: &basics::Log) -> model::log::Log {
    model::log::Log {
        to: match &log.to {
            LogTo::Word(LogWord::Stderr) => model::log::LogTo::Stderr,
            LogTo::Word(LogWord::Syslog) => model::log::LogTo::Syslog,
            LogTo::File(path) => model::log::LogTo::File(path.0.clone()),
        },
        level: match log.level {
            basics::LogLevel::Error => model::log::LogLevel::Error,
            basics::LogLevel::Warn => model::log::LogLevel::Warn,
            basics::LogLevel::Info => model::log::LogLevel::Info,
            basics::LogLevel::Debug => model::log::LogLevel::Debug,
            basics::LogLevel::Trace => model::log::LogLevel::Trace,
        },
        format: match log.format {
            basics::LogFormat::Text => model::log::LogFormat::Text,
            basics::LogFormat::Json => model::log::LogFormat::Json,
        },
        access: log.access.as_ref().map(|access| model::log::AccessLog {
            file: access.file.as_ref().map(|file| file.0.clone()),
            format: match access.format {
                basics::AccessFormat::Combined => model::log::AccessFormat::Combined,
                basics::AccessFormat::Json => model::log::AccessFormat::Json,
            },
        }),
    }
}
