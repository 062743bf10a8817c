//! `admin.socket` out of a file that may be wrong: whoever repairs it must reach the running porchd.
//!
//! It complains of nothing; `load` does. What can't be made out is the default.

use std::path::PathBuf;

use crate::config::file::admin;
use crate::config::tree::{self, Kind, Node};

/// The socket's path; `None` if the file says that there is none.
pub(crate) fn read(text: &str) -> Option<PathBuf> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    match tree::parse(text) {
        Ok(tree) => from_tree(&tree),
        Err(_) => from_lines(text),
    }
}

fn from_tree(tree: &Node) -> Option<PathBuf> {
    let socket = tree.get("admin").and_then(|admin| admin.get("socket"));
    let socket = socket.map(|socket| socket.get("path").unwrap_or(socket));
    match socket.map(|socket| &socket.kind) {
        Some(Kind::Bool(false)) => None,
        Some(Kind::Text(path)) if path.starts_with('/') => Some(path.into()),
        _ => Some(admin::default_path()),
    }
}

/// The first path behind `socket:` in the lines of `admin:`, which reach to the next line that is not
/// indented.
fn from_lines(text: &str) -> Option<PathBuf> {
    let mut lines = text.lines().skip_while(|line| !line.starts_with("admin:"));
    let first = lines.next().unwrap_or_default();
    let indented = lines.take_while(|line| line.is_empty() || line.starts_with([' ', '\t', '#', '}']));
    let section: Vec<&str> =
        std::iter::once(first).chain(indented).map(|line| line.split(" #").next().unwrap_or(line)).collect();
    let section = section.join("\n");
    let value = section.split_once("socket:").map_or("", |(_, value)| value);
    if value.trim_start().starts_with("false") {
        return None;
    }
    let path = value.find('/').map_or("", |at| &value[at..]);
    let path = path.split(['"', '\'', ',', '}', '\n']).next().unwrap_or_default().trim_end();
    Some(if path.is_empty() { admin::default_path() } else { path.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> String {
        read(text).map_or_else(|| "none".into(), |path| path.display().to_string())
    }

    #[test]
    fn a_good_file_is_read() {
        let default = admin::default_path().display().to_string();
        for (text, path) in [
            ("", default.as_str()),
            ("admin: {}", &default),
            ("admin: { socket: true }", &default),
            ("admin: { socket: /run/x.sock }", "/run/x.sock"),
            ("admin: { socket: { path: /run/x.sock, best_effort: true } }", "/run/x.sock"),
            ("admin:\n  socket: \"/run/a b.sock\"\n", "/run/a b.sock"),
            ("admin: { socket: false }", "none"),
            ("matrixx: 1\nadmin: { socket: /run/x.sock, metrics: 1 }", "/run/x.sock"),
            ("admin: { socket: [ 1 ] }", &default),
        ] {
            assert_eq!(told(text), path, "{text}");
        }
    }

    #[test]
    fn a_file_that_is_no_yaml_is_read_as_well_as_it_goes() {
        let default = admin::default_path().display().to_string();
        for (admin, path) in [
            ("", default.as_str()),
            ("admin: { socket: /run/x.sock }\n", "/run/x.sock"),
            ("admin:\n  # where\n  socket: \"/run/x.sock\"  # here\nlog: { to: /x }\n", "/run/x.sock"),
            ("admin:\n  socket: { path: /run/x.sock, best_effort: true }\n", "/run/x.sock"),
            ("admin:\n  socket: false\n", "none"),
            ("admin:\n  other: 1\nlog: { socket: /x }\n", &default),
        ] {
            let text = format!("matrix: {{ server_name: [\n{admin}");
            assert!(tree::parse(&text).is_err(), "{text}");
            assert_eq!(told(&text), path, "{text}");
            assert_eq!(told(&format!("{admin}sites: ]\n")), path, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_answered(text in "(admin:|socket:|/run|[ \\n{}\"#:-]|.){0,20}") {
            read(&text);
        }
    }
}
