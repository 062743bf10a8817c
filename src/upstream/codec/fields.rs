//! The field lines of an answer's head or trailer section (RFC 9112 section 5).
//!
//! Lines end with CRLF and nothing else, names are tokens, nothing is folded: the checks are those of
//! `HeaderName` and `HeaderValue`, and a line is looked through once. What the fields mean is `framing`'s.

use std::cell::RefCell;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use memchr::memchr;

use super::head::HeadError;

/// Reads field lines from `at` on, up to an empty line: the fields, and where the empty line ends. `None`: it
/// has not come.
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
        let end = at + line.len();
        if line.is_empty() {
            return Ok(Some((fields, end + 2)));
        }
        if fields.len() == most {
            return Err(HeadError::TooManyFields);
        }
        let (name, value) = match recall(line) {
            Some(known) => known,
            None => field(buf, at, end)?,
        };
        fields.try_append(name, value).map_err(|_| HeadError::TooManyFields)?;
        at = end + 2;
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

/// Reads the line `at..end`: the value is a slice of `buf`.
fn field(buf: &Bytes, at: usize, end: usize) -> Result<(HeaderName, HeaderValue), HeadError> {
    let line = &buf[at..end];
    let colon = memchr(b':', line).ok_or(HeadError::Field)?;
    let name = HeaderName::from_bytes(&line[..colon]).map_err(|_| HeadError::Field)?;
    let (mut first, mut last) = (at + colon + 1, end);
    let is_blank = |at: usize| matches!(buf[at], b' ' | b'\t');
    while first < last && is_blank(first) {
        first += 1;
    }
    while first < last && is_blank(last - 1) {
        last -= 1;
    }
    let value = HeaderValue::from_maybe_shared(buf.slice(first..last)).map_err(|_| HeadError::Field)?;
    remember(line, &name, &value);
    Ok((name, value))
}

/// The field of a line that was read before.
fn recall(line: &[u8]) -> Option<(HeaderName, HeaderValue)> {
    KNOWN.with_borrow(|known| {
        let places = places(line).map(|place| known[place].as_ref());
        let found = places.into_iter().flatten().find(|known| *known.line == *line)?;
        Some((found.name.clone(), found.value.clone()))
    })
}

fn remember(line: &[u8], name: &HeaderName, value: &HeaderValue) {
    if line.len() > LONGEST_KNOWN || !REPEATED.contains(name) {
        return;
    }
    // A copy: the value itself holds on to all that was read with it.
    let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) else { return };
    let new = Known { line: line.into(), name: name.clone(), value };
    KNOWN.with_borrow_mut(|known| {
        let [first, second] = places(line);
        // Two lines share two places: the one read last is in the first.
        known[second] = known[first].replace(new);
    });
}

/// Where a line may be kept.
fn places(line: &[u8]) -> [usize; 2] {
    // Names differ at their ends, values at theirs, and lines in their length.
    let word = |at: usize| line[at..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    let end = line.len().saturating_sub(8);
    let mixed = word(0) ^ word(end / 2).rotate_left(21) ^ word(end).rotate_left(42) ^ line.len() as u64;
    // Fibonacci hashing: the upper bits depend on all.
    let place = (mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - PLACES.ilog2())) as usize;
    [place & !1, place | 1]
}

/// A line that was read, and what it says.
struct Known {
    line: Box<[u8]>,
    name: HeaderName,
    value: HeaderValue,
}

/// Answers of Synapse have about ten fields.
const USUAL: usize = 12;
/// How many maps wait for another head: as many as requests of a connection end together.
const MOST_SPARE: usize = 32;
/// A larger map, of a strange request, is not kept.
const LARGEST_SPARE: usize = 48;
const LONGEST_KNOWN: usize = 160;
const PLACES: usize = 128;

/// Fields that backends write the same way in answer after answer. None of them can hold a secret.
static REPEATED: [HeaderName; 13] = [
    header::SERVER,
    header::DATE,
    header::CONTENT_TYPE,
    header::CACHE_CONTROL,
    header::ACCESS_CONTROL_ALLOW_ORIGIN,
    header::ACCESS_CONTROL_ALLOW_METHODS,
    header::ACCESS_CONTROL_ALLOW_HEADERS,
    header::ACCESS_CONTROL_EXPOSE_HEADERS,
    header::CONTENT_ENCODING,
    header::TRANSFER_ENCODING,
    header::CONNECTION,
    header::VARY,
    header::X_CONTENT_TYPE_OPTIONS,
];

thread_local! {
    // Two allocations less for each answer.
    static SPARE: RefCell<Vec<HeaderMap>> = const { RefCell::new(Vec::new()) };
    // Most lines of an answer are those of the one before: to compare them is quicker than to read them.
    static KNOWN: RefCell<[Option<Known>; PLACES]> = const { RefCell::new([const { None }; PLACES]) };
}

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
    fn lines_that_share_a_place_are_told_apart() {
        let (one, other) = ("Server: a1b", "Server: a1b".replace('S', "s"));
        let lines = ["Vary: ab-x", "Vary: ba-x", "vary:  ba-x", "Vary: ab-x", one, &other, one];
        for line in lines.iter().chain(&lines) {
            let (fields, _) = parsed(format!("{line}\r\n\r\n").as_bytes()).unwrap().unwrap();
            let (name, value) = line.split_once(':').unwrap();
            assert_eq!(fields.get(name.to_lowercase()).unwrap(), value.trim(), "{line}");
        }
    }

    #[test]
    fn two_lines_that_share_a_place_are_both_remembered() {
        let all: Vec<String> = (0..1000).map(|number| format!("Server: a{number}")).collect();
        let rival = all.iter().skip(1).find(|line| places(line.as_bytes()) == places(all[0].as_bytes()));
        let pair = [&all[0], rival.unwrap()];
        for line in pair {
            parsed(format!("{line}\r\n\r\n").as_bytes()).unwrap();
        }
        assert!(pair.iter().all(|line| recall(line.as_bytes()).is_some()));
    }

    #[test]
    fn only_harmless_lines_are_remembered() {
        let text = b"Server: s\r\nSet-Cookie: secret\r\nLocation: /?loginToken=secret\r\nETag: \"x\"\r\n\r\n";
        parsed(text).unwrap();
        let long = format!("Server: {}\r\n\r\n", "s".repeat(LONGEST_KNOWN));
        parsed(long.as_bytes()).unwrap();
        let lines = KNOWN.with_borrow(|known| {
            known
                .iter()
                .flatten()
                .map(|known| String::from_utf8(known.line.to_vec()).unwrap())
                .collect::<Vec<_>>()
        });
        assert_eq!(lines, ["Server: s"]);
    }

    #[test]
    fn lines_of_an_answer_are_all_remembered() {
        let lines = [
            "Server: Synapse/1.163.2",
            "Date: Sat, 28 Nov 2026 12:00:00 GMT",
            "Content-Type: application/json",
            "Cache-Control: no-cache, no-store, must-revalidate",
            "Access-Control-Allow-Origin: *",
            "Access-Control-Allow-Methods: GET, HEAD, POST, PUT, DELETE, OPTIONS",
            "Access-Control-Allow-Headers: X-Requested-With, Content-Type, Authorization, Date",
            "Access-Control-Expose-Headers: Synapse-Trace-Id, Server",
            "Transfer-Encoding: chunked",
            "Content-Encoding: gzip",
            "Vary: Accept-Encoding",
        ];
        for lines in [lines.map(str::to_owned), lines.map(str::to_lowercase)] {
            let text = lines.join("\r\n") + "\r\n\r\n";
            parsed(text.as_bytes()).unwrap();
            assert!(lines.iter().all(|line| recall(line.as_bytes()).is_some()));
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
