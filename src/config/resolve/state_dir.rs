//! What must not lie in the state folder: files that porchd opens for the edge, as root.
//!
//! The folder is the edge's own. Whoever takes the edge over could put a link there, to have root open or write
//! another file in its place.

use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};

use crate::config::problem::Finding;
use crate::config::resolve::Resolver;
use crate::config::tree::{Kind, Node};

/// Sections that name such files, and the keys in them that do.
const SECTIONS: [&str; 5] = ["log", "tls", "acme", "upstreams", "home_link"];
const KEYS: [&str; 6] = ["to", "file", "cert", "key", "ca_file", "key_file"];

impl Resolver<'_> {
    /// Tells of each file beneath the state folder that is opened as root.
    pub(crate) fn beneath_state_dir(&mut self) {
        let state = plain(&self.file.state_dir().0);
        let written = self.tree.get("state_dir").map(|node| node.place);
        let mut found = Vec::new();
        SECTIONS.iter().filter_map(|name| self.tree.get(name)).for_each(|node| collect(node, &mut found));
        for (node, path) in found {
            if !plain(Path::new(path)).starts_with(&state) {
                continue;
            }
            let title = format!("`{path}` lies in `state_dir`, where the edge may put anything");
            let finding = Finding::error(node.place, title).label("opened as root").help(
                "put it where root alone may write: /etc/porchd, or /var/log/porchd for logs; or set another `state_dir`",
            );
            self.findings.push(match written {
                Some(place) => finding.also(place, "the state folder"),
                None => {
                    finding.help(format!("`state_dir` is {} if nothing else is written", state.display()))
                }
            });
        }
    }
}

/// Texts at the keys that name files, wherever they are below `node`.
fn collect<'a>(node: &'a Node, found: &mut Vec<(&'a Node, &'a str)>) {
    match &node.kind {
        Kind::List(items) => items.iter().for_each(|item| collect(item, found)),
        Kind::Map(entries) => {
            for (key, value) in entries {
                match &value.kind {
                    Kind::Text(text) if KEYS.contains(&key.text.as_str()) => found.push((value, text)),
                    _ => collect(value, found),
                }
            }
        }
        _ => {}
    }
}

/// The path without `.` and `..`, as far as that can be told without looking.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => drop(plain.pop()),
            other => plain.push::<&OsStr>(other.as_ref()),
        }
    }
    plain
}
