//! Looks for the user that the edge is to run as.
//!
//! What is missing on this machine is no reason to refuse a configuration: it may be meant for another, and
//! `--one-process` needs no user.

use std::io;

use crate::os::{owner, users};
use crate::warden;

/// What is odd, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Oddity {
    /// What it is.
    pub(super) what: String,
    /// The cure.
    pub(super) cure: String,
}

/// Looks for the user that is `named`, or for the one that is taken otherwise.
pub(super) fn look(named: Option<&str>) -> Option<Oddity> {
    odd(named, owner::me() == owner::ROOT, &|name| Ok(users::named(name)?.is_some()))
}

/// Who is not root may run porchd as themselves, and then needs nobody else; but whom the configuration names is needed.
fn odd(named: Option<&str>, by_root: bool, exists: &dyn Fn(&str) -> io::Result<bool>) -> Option<Oddity> {
    let name = match named {
        Some(name) => name,
        None if by_root => warden::USER,
        None => return None,
    };
    match exists(name) {
        Ok(true) => None,
        Ok(false) => Some(Oddity {
            what: format!(
                "there is no user {name:?} for the edge to run as: `porchd run` by root will not start"
            ),
            cure: format!("{}, or set `user`; --one-process needs none", warden::useradd(name)),
        }),
        Err(error) => Some(Oddity {
            what: format!(
                "whether there is a user {name:?} for the edge to run as cannot be found out: {error}"
            ),
            cure: format!("`getent passwd {name}` asks the same"),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(named: Option<&str>, by_root: bool) -> Option<Oddity> {
        odd(named, by_root, &|name| Ok(name == "somebody"))
    }

    #[test]
    fn a_user_that_is_missing_is_told_with_the_cure() {
        for (named, name) in [(None, "_porchd"), (Some("nobody-here"), "nobody-here")] {
            let oddity = told(named, true).unwrap();
            assert!(oddity.what.starts_with(&format!("there is no user {name:?}")), "{oddity:?}");
            assert!(
                oddity.cure.starts_with("useradd ")
                    && oddity.cure.contains(&format!(" {name}, or set `user`"))
            );
        }
        assert_eq!(told(Some("somebody"), true), None);
    }

    #[test]
    fn who_is_not_root_hears_of_it_where_it_is_named_alone() {
        assert_eq!(told(None, false), None);
        assert_eq!(told(Some("somebody"), false), None);
        assert!(told(Some("nobody-here"), false).is_some());
    }

    #[test]
    fn a_list_of_users_that_cannot_be_read_is_told() {
        let oddity = odd(None, true, &|_| Err(io::ErrorKind::PermissionDenied.into())).unwrap();
        assert!(oddity.what.contains("cannot be found out: permission denied"), "{oddity:?}");
        assert_eq!(look(Some("root")), None, "every system has it");
    }
}
