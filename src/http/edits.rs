//! The header changes of a site and of a route as one: the route's win.
//!
//! What frames a message is not theirs to change: such a header would be one lie more on the wire.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::hop::hop_by_hop;
use crate::config::model::Edits;

/// A site's edits and then a route's.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Both<'a> {
    edits: [&'a Edits; 2],
    none: bool,
}

impl<'a> Both<'a> {
    pub(crate) fn new(edits: [&'a Edits; 2]) -> Self {
        let none = edits.iter().all(|edits| edits.set.is_empty() && edits.remove.is_empty());
        Self { edits, none }
    }

    /// Whether `name` is set or removed, so that what came with the message is not kept.
    #[inline]
    pub(crate) fn touches(&self, name: &str) -> bool {
        !self.none && self.edits.iter().any(|edits| touches(edits, name))
    }

    /// Whether `name` reads like one that is set, to gateways that know no `_` or `.` in names.
    #[inline]
    pub(crate) fn is_twin(&self, name: &str) -> bool {
        !self.none && is_odd(name) && self.set().any(|(set, _)| is_twin(name, set.as_str()))
    }

    /// What is set, the site's first and without what the route changes.
    pub(crate) fn set(&self) -> impl Iterator<Item = (&'a HeaderName, &'a HeaderValue)> {
        let [site, route] = self.edits;
        let of_site = site.set.iter().filter(|(name, _)| !touches(route, name.as_str()));
        of_site
            .chain(&route.set)
            .filter(|(name, _)| !is_framing(name.as_str()))
            .map(|(name, value)| (name, value))
    }

    /// Makes the changes in place.
    pub(crate) fn apply(&self, headers: &mut HeaderMap) {
        if self.none {
            return;
        }
        for name in self.edits.iter().flat_map(|edits| &edits.remove) {
            if !is_framing(name.as_str()) {
                headers.remove(name);
            }
        }
        for (name, value) in self.set() {
            headers.insert(name, value.clone());
        }
    }
}

fn touches(edits: &Edits, name: &str) -> bool {
    let set = || edits.set.iter().any(|(set, _)| set.as_str() == name);
    edits.remove.iter().any(|removed| removed.as_str() == name) || set()
}

fn is_framing(name: &str) -> bool {
    hop_by_hop(name).is_some() || name == "content-length" || name == "expect"
}

/// Whether `name` holds more than letters, digits and `-`.
#[inline]
pub(crate) fn is_odd(name: &str) -> bool {
    !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// Whether `odd` becomes `name` once everything but letters and digits is read as `-`.
pub(crate) fn is_twin(odd: &str, name: &str) -> bool {
    let read = |byte: u8| if byte.is_ascii_alphanumeric() { byte } else { b'-' };
    odd != name && odd.len() == name.len() && odd.bytes().map(read).eq(name.bytes().map(read))
}
