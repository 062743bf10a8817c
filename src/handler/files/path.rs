//! From a request's path to a name beneath the root (pure).
//!
//! Only one spelling of a name reaches the disk: what the routes have matched must be what is opened, so dot
//! segments, hidden slashes and the like are no files here.

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

/// All but what RFC 3986 section 3.3 lets stand in a segment. A colon is encoded too: `javascript:x` as a
/// relative link would be a scheme.
const SEGMENT: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'/')
    .add(b':')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// What a path asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    /// The decoded segments, joined by `/`; empty: the root.
    pub(super) name: String,
    /// Whether the path ended in a slash.
    pub(super) folder: bool,
    /// Whether it was spelt as no client needs to (`a//b`, `%61/b`): it is then redirected, as a second name of
    /// `a/b` may have gone by the route that guards it.
    pub(super) odd: bool,
}

impl Wanted {
    /// Reads a path as it was sent, without its query; `None`: no file can have this name.
    pub(super) fn parse(path: &str) -> Option<Self> {
        let path = path.strip_prefix('/')?;
        let folder = path.is_empty() || path.ends_with('/');
        let inner = path.strip_suffix('/').unwrap_or(path);
        let mut wanted = Self { name: String::with_capacity(inner.len()), folder, odd: false };
        if path.is_empty() {
            return Some(wanted);
        }
        for raw in inner.split('/') {
            if raw.is_empty() {
                wanted.odd = true;
                continue;
            }
            wanted.odd |= encodes_unreserved(raw);
            let segment = percent_decode_str(raw).decode_utf8().ok()?;
            if !is_shown(&segment, wanted.name.is_empty()) {
                return None;
            }
            if !wanted.name.is_empty() {
                wanted.name.push('/');
            }
            wanted.name.push_str(&segment);
        }
        Some(wanted)
    }

    /// The one path of a folder: always one slash first, never two, so that it can't name another host.
    pub(super) fn folder_path(&self) -> String {
        self.path(true)
    }

    /// The one path of what is wanted.
    pub(super) fn own_path(&self) -> String {
        self.path(self.folder)
    }

    fn path(&self, folder: bool) -> String {
        let mut path = String::with_capacity(self.name.len() + 2);
        for segment in self.name.split('/').filter(|segment| !segment.is_empty()) {
            path.push('/');
            path.extend(encode(segment));
        }
        if folder || path.is_empty() {
            path.push('/');
        }
        path
    }
}

/// A segment as it stands in a path.
pub(super) fn encode(segment: &str) -> impl Iterator<Item = &str> {
    utf8_percent_encode(segment, SEGMENT)
}

/// Whether a name may be asked for; `top`: directly beneath the root.
///
/// Nothing that starts with a dot but the top `.well-known` (RFC 8615), so that `.git`, `.env` and editors'
/// leftovers stay private. A backslash is a slash to some clients; control characters are in no honest name.
pub(super) fn is_shown(segment: &str, top: bool) -> bool {
    let hidden = segment.starts_with('.') && !(top && segment == ".well-known");
    !segment.is_empty() && !hidden && !segment.chars().any(|c| c == '/' || c == '\\' || c.is_control())
}

/// Whether something is encoded that never needs to be (RFC 3986 sections 2.3 and 6.2.2.2).
fn encodes_unreserved(raw: &str) -> bool {
    raw.split('%').skip(1).any(|rest| {
        let byte = rest.get(..2).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~'))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(path: &str) -> Option<(String, bool, bool)> {
        Wanted::parse(path).map(|wanted| (wanted.name, wanted.folder, wanted.odd))
    }

    #[test]
    fn a_path_names_what_it_decodes_to() {
        for (path, wanted, folder) in [
            ("/", "", true),
            ("/a", "a", false),
            ("/a/", "a", true),
            ("/a/b.txt", "a/b.txt", false),
            ("/a%20b/%23%25.txt", "a b/#%.txt", false),
            ("/%C3%A9", "\u{e9}", false),
            ("/a%252fb", "a%2fb", false),
            ("/.well-known/security.txt", ".well-known/security.txt", false),
            ("/.well-known/", ".well-known", true),
        ] {
            assert_eq!(name(path), Some((wanted.to_owned(), folder, false)), "{path}");
        }
    }

    #[test]
    fn no_file_has_an_ambiguous_or_hidden_name() {
        for path in [
            "",
            "a",
            "*",
            "/..",
            "/../x",
            "/a/../b",
            "/a/..",
            "/./a",
            "/%2e%2e/x",
            "/%2E%2e",
            "/.%2e/",
            "/a%2fb",
            "/a%2F..%2fb",
            "/..%5cx",
            "/a\\b",
            "/a%00",
            "/a%0ab",
            "/%ff",
            "/.git/config",
            "/a/.env",
            "/%2egit",
            "/a/.well-known/x",
            "/.well-known/.x",
            "/.well-knownx",
            "/..a",
        ] {
            assert_eq!(name(path), None, "{path}");
        }
    }

    #[test]
    fn a_redirect_stays_on_this_host() {
        for (path, to) in [
            ("//evil.com/x", "/evil.com/x/"),
            ("///evil.com", "/evil.com/"),
            ("//", "/"),
            ("/a//b", "/a/b/"),
            ("/a b%3fc", "/a%20b%3Fc/"),
            ("/%C3%A9", "/%C3%A9/"),
        ] {
            assert_eq!(Wanted::parse(path).map(|wanted| wanted.folder_path()).as_deref(), Some(to), "{path}");
        }
    }

    #[test]
    fn a_second_spelling_leads_to_the_first() {
        for (path, to) in [
            ("//a//b", Some("/a/b")),
            ("/%61/b%2etxt", Some("/a/b.txt")),
            ("/%7Euser/", Some("/~user/")),
            ("/a/b", None),
            ("/a%20b/%23%25%3A%2B", None),
            ("/100%", None),
            ("/100%4", None),
        ] {
            let wanted = Wanted::parse(path).unwrap();
            assert_eq!(wanted.odd.then(|| wanted.own_path()).as_deref(), to, "{path}");
        }
    }

    proptest! {
        #[test]
        fn no_path_leaves_the_root(path in "/([a-z./\\\\]|%2e|%2f|%5c|%25|%00|\\PC){0,20}") {
            if let Some(wanted) = Wanted::parse(&path) {
                for segment in wanted.name.split('/') {
                    prop_assert!(!matches!(segment, "." | "..") && !segment.contains(['\\', '\0']));
                }
                let to = wanted.folder_path();
                prop_assert!(to.starts_with('/') && !to.starts_with("//") && !to.contains(['\\', '\r', '\n']));
                // The path that we redirect to names the same and is not redirected again.
                let again = Wanted::parse(&to).map(|again| (again.name, again.odd));
                prop_assert_eq!(again, Some((wanted.name, false)));
            }
        }
    }
}
