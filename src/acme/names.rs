//! Names of hosts as ACME identifiers (RFC 8555 section 7.1.3, RFC 8738), and back. Pure.

use std::net::IpAddr;
use std::sync::Arc;

use instant_acme::Identifier;

/// The address that `name` is, with brackets or without.
pub fn address(name: &str) -> Option<IpAddr> {
    let literal = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
    literal.parse().ok()
}

/// What is ordered for `name`.
pub fn identifier(name: &str) -> Identifier {
    address(name).map_or_else(|| Identifier::Dns(name.to_ascii_lowercase()), Identifier::Ip)
}

/// Which of `names` is meant by `said`.
pub fn find<'a>(names: &'a [Arc<str>], said: &Identifier) -> Option<&'a Arc<str>> {
    names.iter().find(|name| match said {
        Identifier::Dns(text) => text.eq_ignore_ascii_case(name),
        Identifier::Ip(ip) => address(name) == Some(*ip),
        _ => false,
    })
}

/// Those of `names` that `text` speaks of, each as a whole word.
pub fn mentioned<'a>(names: &'a [Arc<str>], text: &str) -> Vec<&'a Arc<str>> {
    let text = text.to_ascii_lowercase();
    let inside = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'*');
    let whole = |at: usize, length: usize| {
        let before = text.as_bytes()[..at].last().copied();
        let after = text.as_bytes()[at + length..].first().copied();
        // A sentence may end behind a name.
        let next = text.as_bytes().get(at + length + 1).copied();
        let ends = after.is_none_or(|byte| !inside(byte))
            || (after == Some(b'.') && next.is_none_or(|byte| !inside(byte)));
        before.is_none_or(|byte| !inside(byte)) && ends
    };
    let spoken_of = |name: &&Arc<str>| text.match_indices(&***name).any(|(at, part)| whole(at, part.len()));
    names.iter().filter(spoken_of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&str]) -> Vec<Arc<str>> {
        list.iter().map(|name| Arc::from(*name)).collect()
    }

    #[test]
    fn addresses_are_ordered_as_addresses() {
        for (name, expected) in [
            ("A.test", Identifier::Dns("a.test".into())),
            ("192.0.2.1", Identifier::Ip("192.0.2.1".parse().unwrap())),
            ("[2001:db8::1]", Identifier::Ip("2001:db8::1".parse().unwrap())),
        ] {
            assert_eq!(identifier(name), expected);
            assert_eq!(find(&names(&["b.test", name]), &expected).map(|name| &**name), Some(name));
        }
    }

    #[test]
    fn names_are_found_in_sentences_as_whole_words() {
        let names = names(&["a.test", "www.a.test", "b.test"]);
        for (text, expected) in [
            (r#"Cannot issue for "A.test": no"#, &["a.test"][..]),
            ("www.a.test", &["www.a.test"]),
            ("will not do a.test, b.test.", &["a.test", "b.test"]),
            ("xa.test a.test.example *.b.test", &[]),
            ("", &[]),
        ] {
            assert_eq!(
                mentioned(&names, text).iter().map(|name| &***name).collect::<Vec<_>>(),
                expected,
                "{text}"
            );
        }
    }
}
