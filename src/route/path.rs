//! What a raw request path may mean to whoever reads it next.
//!
//! Backends decode once, twice or not at all, take `\` for `/`, cut path parameters, merge slashes and
//! resolve dot segments, in an order of their own. A path without any of that means itself; for the others
//! this gives the one form that every such reading ends in, and says when a reading can also leave
//! segments out. It routes nothing.

/// Layers of percent-encoding that somebody may honestly send or a chain of readers undo.
const LAYERS: usize = 3;

/// A path that can be read in more than one way.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Flat {
    /// Decoded through all layers; `\` is `/`; parameters cut; no empty and no dot segments but for the
    /// trailing slash.
    pub(super) path: Vec<u8>,
    /// All segments, when a reading may leave out some of them: dot segments take their parent away, and
    /// parameters may hide encoded slashes.
    pub(super) loose: Option<Vec<Vec<u8>>>,
}

/// What a path means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// Itself, to every reader.
    Plain,
    /// More than one thing.
    Odd(Flat),
    /// Encoded deeper than anybody honest does.
    TooDeep,
}

/// Reads `raw`, a path without its query.
pub(super) fn meaning(raw: &[u8]) -> Meaning {
    if is_plain(raw) {
        return Meaning::Plain;
    }
    let Some(decoded) = decode_fully(raw) else {
        return Meaning::TooDeep;
    };
    if is_plain(&decoded) && memchr::memchr2(b'?', b'#', &decoded).is_none() {
        // The ids of rooms and users, with nothing in them but encoded punctuation.
        return Meaning::Odd(Flat { path: decoded, loose: None });
    }
    let segments: Vec<&[u8]> = decoded[..].split(is_separator).map(cut).collect();
    let dots = segments.iter().any(|segment| is_dots(segment));
    // Who cuts parameters up to the next slash takes with them what others take for slashes.
    let separators = decoded.iter().filter(|byte| is_separator(byte)).count();
    let slashes = raw.iter().filter(|byte| **byte == b'/').count();
    let hiding = decoded.contains(&b';') && separators > slashes;
    let names = segments.iter().filter(|segment| !segment.is_empty() && !is_dots(segment));
    let loose = (dots || hiding).then(|| names.map(|name| name.to_vec()).collect());
    Meaning::Odd(Flat { path: resolved(&segments), loose })
}

/// The segments of a configured path, in the form that `Flat` has.
pub(super) fn segments(path: &[u8]) -> Vec<Vec<u8>> {
    let decoded = decode_fully(path).unwrap_or_else(|| path.to_vec());
    let segments = decoded.split(is_separator).filter(|segment| !segment.is_empty());
    segments.map(<[u8]>::to_vec).collect()
}

/// Whether no reader can take it for anything else.
fn is_plain(raw: &[u8]) -> bool {
    let mut before = 0;
    for (at, &byte) in raw.iter().enumerate() {
        let odd = match byte {
            b'%' | b'\\' | b';' | b'#' | 0 => true,
            b'/' => before == b'/',
            b'.' if before == b'/' => is_dots(raw[at..].split(is_separator).next().unwrap_or_default()),
            _ => false,
        };
        if odd {
            return false;
        }
        before = byte;
    }
    true
}

/// Dot segments taken out (RFC 3986 5.2.4), empty ones too; the trailing slash is kept.
fn resolved(segments: &[&[u8]]) -> Vec<u8> {
    let mut kept: Vec<&[u8]> = Vec::with_capacity(segments.len());
    for &segment in segments {
        match segment {
            b"" | b"." => {}
            b".." => drop(kept.pop()),
            name => kept.push(name),
        }
    }
    let mut path = Vec::new();
    for segment in &kept {
        path.push(b'/');
        path.extend_from_slice(segment);
    }
    let open = segments.last().is_none_or(|last| last.is_empty() || is_dots(last));
    if open || path.is_empty() {
        path.push(b'/');
    }
    path
}

/// Decoded until nothing is left to decode, unless that takes too long.
fn decode_fully(raw: &[u8]) -> Option<Vec<u8>> {
    let mut path = decode(raw);
    for _ in 0..LAYERS {
        if memchr::memchr(b'%', &path).is_none() {
            return Some(path);
        }
        let decoded = decode(&path);
        if decoded.len() == path.len() {
            return Some(path);
        }
        path = decoded;
    }
    None
}

/// Decoded once. Most of a path is copied as it is.
fn decode(path: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some(at) = memchr::memchr(b'%', rest) {
        decoded.extend_from_slice(&rest[..at]);
        let hex = |at: usize| rest.get(at).and_then(|digit| char::from(*digit).to_digit(16));
        let used = match (hex(at + 1), hex(at + 2)) {
            (Some(high), Some(low)) => {
                // Two digits of 16 are a byte.
                decoded.push((high << 4 | low) as u8);
                3
            }
            _ => {
                decoded.push(b'%');
                1
            }
        };
        rest = &rest[at + used..];
    }
    decoded.extend_from_slice(rest);
    decoded
}

fn is_separator(byte: &u8) -> bool {
    matches!(byte, b'/' | b'\\')
}

fn is_dots(segment: &[u8]) -> bool {
    matches!(segment, b"." | b"..")
}

/// A segment up to where a reader may end it: path parameters (RFC 3986 3.3), a decoded query or
/// fragment, a terminating NUL.
fn cut(segment: &[u8]) -> &[u8] {
    let end = segment.iter().position(|byte| matches!(byte, b';' | b'?' | b'#' | 0));
    &segment[..end.unwrap_or(segment.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn odd(raw: &str) -> (String, bool) {
        match meaning(raw.as_bytes()) {
            Meaning::Odd(flat) => (String::from_utf8_lossy(&flat.path).into_owned(), flat.loose.is_some()),
            other => panic!("{raw}: {other:?}"),
        }
    }

    #[test]
    fn ordinary_paths_mean_themselves() {
        for raw in
            ["/", "/a", "/a/", "/.well-known/matrix/client", "/a/..b/...", "/a.b/c..", "/!r:h/$e", "*", ""]
        {
            assert_eq!(meaning(raw.as_bytes()), Meaning::Plain, "{raw}");
        }
    }

    #[test]
    fn odd_paths_are_flattened() {
        let table = [
            ("/a%2Fb", "/a/b", false),
            ("/%61/b", "/a/b", false),
            ("/a%252Fb", "/a/b", false),
            ("/a%25252fb", "/a/b", false),
            ("//a///b//", "/a/b/", false),
            ("/a\\b", "/a/b", false),
            ("/a%5cb", "/a/b", false),
            ("/a;x=1/b", "/a/b", false),
            ("/a%00/b", "/a/b", false),
            ("/r/%23a:h", "/r/", false),
            ("/a%3Fx", "/a", false),
            ("/a/b#x", "/a/b", false),
            ("/a/../b", "/b", true),
            ("/a/./b/.", "/a/b/", true),
            ("/a/%2e%2E/b", "/b", true),
            ("/a/..;x/b", "/b", true),
            ("/../..", "/", true),
            ("/a/..%2fb", "/b", true),
            ("/a;%2Fb/c", "/a/b/c", true),
            ("/a;\\b/c", "/a/b/c", true),
            ("/100%", "/100%", false),
            ("/%zz", "/%zz", false),
        ];
        for (raw, flat, loose) in table {
            assert_eq!(odd(raw), (flat.to_owned(), loose), "{raw}");
        }
    }

    #[test]
    fn endless_encoding_is_not_followed() {
        assert_eq!(meaning(format!("/%{}2e", "25".repeat(2)).as_bytes()), meaning(b"/."));
        assert_eq!(meaning(format!("/%{}2e", "25".repeat(3)).as_bytes()), Meaning::TooDeep);
        assert_eq!(meaning(format!("/%{}2e", "25".repeat(4000)).as_bytes()), Meaning::TooDeep);
    }
}
