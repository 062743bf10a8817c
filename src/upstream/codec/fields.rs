//! The field lines of an answer's head or trailer section (RFC 9112 section 5).
//!
//! Lines end with CRLF and nothing else, names are tokens, nothing is folded: the checks are those of
//! `HeaderName` and `HeaderValue`, and a line is looked through once. What the fields mean is `framing`'s.

use std::cell::RefCell;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use memchr::memchr;

use super::head::HeadError;

/// Reads field lines from `at` on, up to an empty line: the fields, their values as slices of `buf`, and
/// where the empty line ends. `None`: it has not come.
///
/// # Errors
/// `Field` for what is no field line, `TooManyFields` for more than `most`.
pub(super) fn parse(
    buf: &Bytes,
    mut at: usize,
    most: usize,
) -> Result<Option<(HeaderMap, usize)>, HeadError> {
    let mut fields = SPARE.with_borrow_mut(Vec::pop).unwrap_or_else(|| HeaderMap::with_capacity(USUAL));
    loop {
        let Some(line) = line(&buf[at..])? else { return Ok(None) };
        let next = at + line.len() + 2;
        if line.is_empty() {
            return Ok(Some((fields, next)));
        }
        if fields.len() == most {
            return Err(HeadError::TooManyFields);
        }
        let colon = memchr(b':', line).ok_or(HeadError::Field)?;
        let name = name(&line[..colon])?;
        let is_blank = |byte: &&u8| matches!(byte, b' ' | b'\t');
        let value = &line[colon + 1..];
        let blanks = value.iter().take_while(is_blank).count();
        let after = value[blanks..].iter().rev().take_while(is_blank).count();
        let (begin, end) = (at + colon + 1 + blanks, at + line.len() - after);
        let value = HeaderValue::from_maybe_shared(buf.slice(begin..end));
        fields
            .try_append(name, value.map_err(|_| HeadError::Field)?)
            .map_err(|_| HeadError::TooManyFields)?;
        at = next;
    }
}

/// Takes the map of a head that nobody needs any more, for another head of this thread.
pub fn recycle(mut map: HeaderMap) {
    SPARE.with_borrow_mut(|spare| {
        if spare.len() < MOST_SPARE && (USUAL..=LARGEST_SPARE).contains(&map.capacity()) {
            map.clear();
            spare.push(map);
        }
    });
}

/// The first line of `text` without its CRLF; `None`: its end has not come.
pub(super) fn line(text: &[u8]) -> Result<Option<&[u8]>, HeadError> {
    let Some(end) = memchr(b'\n', text) else { return Ok(None) };
    match &text[..end] {
        [line @ .., b'\r'] => Ok(Some(line)),
        // Some readers take LF alone for a line end, and others do not (RFC 9112 section 2.2).
        _ => Err(HeadError::Field),
    }
}

/// The name as it is known, without being read again where it was read before.
fn name(raw: &[u8]) -> Result<HeaderName, HeadError> {
    let Some(place) = place(raw) else { return read(raw) };
    KNOWN.with_borrow_mut(|known| match &known[place] {
        Some((text, name)) if **text == *raw => Ok(name.clone()),
        _ => {
            let name = read(raw)?;
            known[place] = Some((raw.into(), name.clone()));
            Ok(name)
        }
    })
}

fn read(raw: &[u8]) -> Result<HeaderName, HeadError> {
    HeaderName::from_bytes(raw).map_err(|_| HeadError::Field)
}

/// Where a name is kept; `None`: it is too long to be.
fn place(raw: &[u8]) -> Option<usize> {
    let (first, last) = (*raw.first()?, *raw.last()?);
    let mixed = usize::from(first) * 7 + usize::from(last) * 3 + raw.len() * 5;
    (raw.len() <= LONGEST_KNOWN).then_some(mixed % PLACES)
}

/// Answers of Synapse have about ten fields.
const USUAL: usize = 12;
const LONGEST_KNOWN: usize = 64;
const PLACES: usize = 64;

/// How many maps wait for another head: as many as requests of a connection end together.
const MOST_SPARE: usize = 32;
/// A larger map, of a strange request, is not kept.
const LARGEST_SPARE: usize = 48;

// Two allocations less for each answer.
thread_local!(static SPARE: RefCell<Vec<HeaderMap>> = const { RefCell::new(Vec::new()) });

/// A name as it was written, and what it is.
type Known = Option<(Box<[u8]>, HeaderName)>;

// A backend writes the same dozen names the same way in each of its answers.
thread_local!(static KNOWN: RefCell<[Known; PLACES]> = const { RefCell::new([const { None }; PLACES]) });

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(text: &[u8]) -> Result<Option<(HeaderMap, usize)>, HeadError> {
        parse(&Bytes::copy_from_slice(text), 0, 100)
    }

    #[test]
    fn values_are_trimmed_and_keep_their_bytes() {
        let text = b"X-A:b\r\nX-A: \t b\xe9 c\t \r\nX-B:\r\nx-b:  \r\n\r\nrest";
        let (fields, end) = parsed(text).unwrap().unwrap();
        assert_eq!(&text[end..], b"rest");
        let of = |name: &str| fields.get_all(name).iter().map(HeaderValue::as_bytes).collect::<Vec<_>>();
        assert_eq!(of("x-a"), [&b"b"[..], b"b\xe9 c"]);
        assert_eq!(of("x-b"), [b"", b""]);
    }

    #[test]
    fn names_that_share_a_place_are_told_apart() {
        let (one, other) = ("x-ab-z", "x-ba-z");
        assert_eq!(place(one.as_bytes()), place(other.as_bytes()));
        for name in [one, other, one, "X-Ab-z", one] {
            let (fields, _) = parsed(format!("{name}: 1\r\n\r\n").as_bytes()).unwrap().unwrap();
            assert_eq!(fields.keys().next().unwrap().as_str(), name.to_lowercase());
        }
    }

    #[test]
    fn what_is_no_field_line_is_refused() {
        for text in [
            &b"a b: c\r\n"[..],
            b" a: b\r\n",
            b"a : b\r\n",
            b": b\r\n",
            b"a\r\n",
            b"a: b\n",
            b"a: \0\r\n",
            b"a: b\rc\r\n",
            b"a: b\r\r\n",
            b"a: \x0cb\r\n",
        ] {
            assert_eq!(parsed(text).unwrap_err(), HeadError::Field, "{}", text.escape_ascii());
        }
        assert_eq!(
            parse(&Bytes::from_static(b"a: 1\r\nb: 2\r\n\r\n"), 0, 1).unwrap_err(),
            HeadError::TooManyFields
        );
    }

    #[test]
    fn recycled_map_is_empty_and_only_usual_ones_are_kept() {
        let (fields, _) = parsed(b"a: 1\r\na: 2\r\nb: 3\r\n\r\n").unwrap().unwrap();
        recycle(fields);
        recycle(HeaderMap::with_capacity(1000));
        recycle(HeaderMap::new());
        let (fields, _) = parsed(b"c: 4\r\n\r\n").unwrap().unwrap();
        assert_eq!(fields.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["c"]);
        assert!(fields.capacity() < 1000);
        assert_eq!(SPARE.with_borrow(Vec::len), 0);
    }

    proptest! {
        /// The best-known parser is asked for its opinion.
        #[test]
        fn what_is_taken_is_what_httparse_reads(text in "([a-zA-Z_ :-]{0,6}[:]?[ -~\t\r\u{0}\u{e9}]{0,8}(\r\n|\r\n|\n))*(\r\n)?") {
            let mut slots = [httparse::EMPTY_HEADER; 64];
            let theirs = httparse::parse_headers(text.as_bytes(), &mut slots);
            if let Ok(Some((fields, end))) = parsed(text.as_bytes()) {
                let Ok(httparse::Status::Complete((length, headers))) = theirs else {
                    return Err(TestCaseError::fail("httparse refuses it"));
                };
                prop_assert_eq!((end, fields.len()), (length, headers.len()));
                for header in headers {
                    prop_assert!(fields.get_all(header.name).iter().any(|value| value.as_bytes() == header.value));
                }
            }
        }
    }
}
