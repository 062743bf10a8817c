//! The segments of a request path, compared through percent-encoding.
//!
//! For classification only: what may be reached is decided by `route`, which normalises the whole path.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// How many segments are looked at; what decides a class stands in the first ones.
const DEPTH: usize = 12;

/// The non-empty segments of a raw path, without allocation.
pub(crate) struct Segments<'a> {
    parts: [&'a str; DEPTH],
    len: usize,
    last: &'a str,
    /// Bit n: part n has a percent sign, so a look at its bytes is not enough.
    encoded: u16,
}

impl<'a> Segments<'a> {
    /// Splits `path`, which has no query.
    pub(crate) fn of(path: &'a str) -> Self {
        let mut all = Self { parts: [""; DEPTH], len: 0, last: "", encoded: 0 };
        let encodes = memchr::memchr(b'%', path.as_bytes()).is_some();
        let mut begin = 0;
        for end in memchr::memchr_iter(b'/', path.as_bytes()).chain([path.len()]) {
            let part = &path[begin..end];
            begin = end + 1;
            if part.is_empty() {
                continue;
            }
            if all.len < DEPTH {
                all.parts[all.len] = part;
                all.encoded |= u16::from(encodes && part.contains('%')) << all.len;
                all.len += 1;
            }
            all.last = part;
        }
        all
    }

    /// The segments that are kept, in order.
    pub(crate) fn all(&self) -> &[&'a str] {
        &self.parts[..self.len]
    }

    /// Segment `at`, decoded; nothing if there is none.
    #[inline]
    pub(crate) fn name(&self, at: usize) -> Cow<'a, str> {
        match self.all().get(at) {
            Some(part) if self.encoded & (1 << at) != 0 => percent_decode_str(part).decode_utf8_lossy(),
            Some(part) => Cow::Borrowed(part),
            None => Cow::Borrowed(""),
        }
    }

    /// Whether any segment from `from` on is `word`.
    pub(crate) fn has(&self, from: usize, word: &str) -> bool {
        (from..self.len).any(|at| self.name(at) == word)
    }

    /// Whether the last segment is `word`.
    pub(crate) fn ends_with(&self, word: &str) -> bool {
        same(self.last, word)
    }
}

/// Whether `raw` is `word`, each byte of it written as itself or percent-encoded.
pub(crate) fn same(raw: &str, word: &str) -> bool {
    if raw.len() == word.len() {
        return raw == word;
    }
    raw.contains('%') && percent_decode_str(raw).eq(word.bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_compared_through_encoding() {
        let path = Segments::of("/_matrix//client/%763/s%79nc");
        assert_eq!([0, 1, 2, 3, 4].map(|at| path.name(at)), ["_matrix", "client", "v3", "sync", ""]);
        assert!(path.ends_with("sync") && path.has(1, "sync") && !path.has(4, "sync"));
        assert!(!same("%zzync", "sync") && !same("sync%", "sync") && !same("syn", "sync"));
    }

    #[test]
    fn depth_is_bounded_and_the_last_segment_is_kept() {
        let deep = "/a".repeat(100) + "/end";
        let path = Segments::of(&deep);
        assert_eq!(path.all().len(), DEPTH);
        assert!(path.ends_with("end"));
    }
}
