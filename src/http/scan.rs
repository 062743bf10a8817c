//! Sees in the raw bytes of an HTTP/1 request's head what the front's parser repairs without a word.
//!
//! It is no parser: what that one refuses by itself needs no second judge here. Fed with bytes as they
//! come, in any pieces, it says at the end of each head what was wrong with it and how its body is framed.

use memchr::{memchr, memchr_iter};

/// The longest line that is looked at; the front's own limit on heads is below it.
const LONGEST_LINE: usize = 256 * 1024;

/// What is wrong with a head: a set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Flags(u16);

/// Every flag and what the log calls it.
const NAMES: [(Flags, &str); 12] = [
    (Flags::LENGTH_AND_ENCODING, "content-length with transfer-encoding"),
    (Flags::SEVERAL_LENGTHS, "several content-lengths"),
    (Flags::BAD_LENGTH, "a content-length that is no number"),
    (Flags::SEVERAL_ENCODINGS, "several transfer-encodings"),
    (Flags::BAD_ENCODING, "a transfer-encoding other than chunked"),
    (Flags::FRAGMENT, "a fragment in the target"),
    (Flags::FOLDED, "a folded header line"),
    (Flags::NO_NAME, "a header line without a plain name"),
    (Flags::BARE_CR, "a bare CR"),
    (Flags::BARE_LF, "a bare LF"),
    (Flags::CONTROL, "a control character"),
    (Flags::TOO_LONG, "an endless line"),
];

impl Flags {
    /// Content-Length beside Transfer-Encoding (RFC 9112 6.3, rule 3).
    pub const LENGTH_AND_ENCODING: Self = Self(1);
    /// More than one Content-Length, equal or not (RFC 9112 6.3, rule 5).
    pub const SEVERAL_LENGTHS: Self = Self(1 << 1);
    /// A Content-Length that is not digits alone.
    pub const BAD_LENGTH: Self = Self(1 << 2);
    /// More than one Transfer-Encoding line.
    pub const SEVERAL_ENCODINGS: Self = Self(1 << 3);
    /// A Transfer-Encoding that is not exactly `chunked`.
    pub const BAD_ENCODING: Self = Self(1 << 4);
    /// `#` in the request target (RFC 9112 3.2).
    pub const FRAGMENT: Self = Self(1 << 5);
    /// A line that continues the one before (RFC 9112 5.2).
    pub const FOLDED: Self = Self(1 << 6);
    /// No colon, no name, or what belongs in none before the colon (RFC 9112 5.1).
    pub const NO_NAME: Self = Self(1 << 7);
    /// CR without LF (RFC 9112 2.2).
    pub const BARE_CR: Self = Self(1 << 8);
    /// LF without CR: allowed to be understood, and understood differently (RFC 9112 2.2).
    pub const BARE_LF: Self = Self(1 << 9);
    /// A control character other than a tab (RFC 9110 5.5).
    pub const CONTROL: Self = Self(1 << 10);
    /// A line longer than any limit on heads.
    pub const TOO_LONG: Self = Self(1 << 11);

    /// Whether nothing is wrong.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether all of `other` is in it.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    fn add(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

impl std::fmt::Display for Flags {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut between = "";
        for (_, name) in NAMES.iter().filter(|(flag, _)| self.contains(*flag)) {
            write!(f, "{between}{name}")?;
            between = ", ";
        }
        Ok(())
    }
}

/// How the body behind a head is framed; meaningless when its head is flagged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// So many bytes, perhaps none.
    Length(u64),
    /// Chunks and trailers.
    Chunked,
}

/// What feeding led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scan {
    /// The head has not ended; all bytes were taken.
    More,
    /// A head ended.
    Complete {
        /// How many of the bytes belong to it.
        used: usize,
        /// What is wrong with it.
        flags: Flags,
        /// What follows it.
        body: Body,
    },
}

/// Scans heads, one after the other; after `Complete` it is ready for the next.
#[derive(Debug, Default)]
pub struct HeadScanner {
    /// The beginning of a line whose end has not come.
    partial: Vec<u8>,
    head: Head,
}

/// What is known of the head so far.
#[derive(Debug, Default)]
struct Head {
    flags: Flags,
    begun: bool,
    length: Option<u64>,
    chunked: bool,
    /// CRs in all, and those that end a line: more of the former means a bare one.
    returns: usize,
    ends: usize,
}

impl HeadScanner {
    /// A scanner before the first byte of a head.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether a head has begun and not ended. Empty lines before it are no beginning.
    pub fn is_within(&self) -> bool {
        self.head.begun || !self.partial.is_empty()
    }

    /// Takes the next bytes, up to the end of the head.
    pub fn feed(&mut self, bytes: &[u8]) -> Scan {
        let mut at = 0;
        for end in memchr_iter(b'\n', bytes) {
            let line = &bytes[at..end];
            at = end + 1;
            let ended = if self.partial.is_empty() {
                self.head.line(line)
            } else {
                self.keep(line);
                let ended = self.head.line(&self.partial);
                self.partial.clear();
                ended
            };
            if ended {
                self.head.characters(&bytes[..at]);
                return self.complete(at);
            }
        }
        self.head.characters(bytes);
        self.keep(&bytes[at..]);
        Scan::More
    }

    fn complete(&mut self, used: usize) -> Scan {
        // A long line's buffer is not kept for the life of an idle connection.
        self.partial = Vec::new();
        let mut head = std::mem::take(&mut self.head);
        if head.returns > head.ends {
            head.flags.add(Flags::BARE_CR);
        }
        let body = if head.chunked { Body::Chunked } else { Body::Length(head.length.unwrap_or(0)) };
        Scan::Complete { used, flags: head.flags, body }
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = LONGEST_LINE - self.partial.len();
        if bytes.len() > room {
            self.head.flags.add(Flags::TOO_LONG);
        }
        self.partial.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
}

impl Head {
    /// Takes one line without its LF; true when it ends the head.
    fn line(&mut self, line: &[u8]) -> bool {
        let line = match line {
            [line @ .., b'\r'] => {
                self.ends += 1;
                line
            }
            line => {
                self.flags.add(Flags::BARE_LF);
                line
            }
        };
        if line.is_empty() {
            // RFC 9112 2.2: empty lines before a request are passed over.
            return self.begun;
        }
        if std::mem::replace(&mut self.begun, true) {
            self.header(line);
        } else if let Some(target) = memchr(b' ', line)
            && memchr(b'#', &line[target..]).is_some()
        {
            self.flags.add(Flags::FRAGMENT);
        }
        false
    }

    /// Looks at all bytes of the head at once: that runs on vectors, and lines are short.
    fn characters(&mut self, bytes: &[u8]) {
        let (returns, control) = characters(bytes);
        self.returns += returns;
        if control {
            self.flags.add(Flags::CONTROL);
        }
    }

    fn header(&mut self, line: &[u8]) {
        // Names are short: a table is quicker than a search for the colon.
        let end = line.iter().position(|byte| !IN_NAMES[usize::from(*byte)]).unwrap_or(line.len());
        let (name, rest) = line.split_at(end);
        let [b':', value @ ..] = rest else {
            let folded = matches!(line.first(), Some(b' ' | b'\t'));
            return self.flags.add(if folded { Flags::FOLDED } else { Flags::NO_NAME });
        };
        match name.len() {
            0 => self.flags.add(Flags::NO_NAME),
            14 if name.eq_ignore_ascii_case(b"content-length") => self.length(value.trim_ascii()),
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => self.encoding(value.trim_ascii()),
            _ => {}
        }
    }

    fn length(&mut self, value: &[u8]) {
        let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
        let number = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
        if !digits || number.is_none() {
            self.flags.add(Flags::BAD_LENGTH);
        }
        if self.length.replace(number.unwrap_or(0)).is_some() {
            self.flags.add(Flags::SEVERAL_LENGTHS);
        }
        if self.chunked {
            self.flags.add(Flags::LENGTH_AND_ENCODING);
        }
    }

    fn encoding(&mut self, value: &[u8]) {
        if !value.eq_ignore_ascii_case(b"chunked") {
            self.flags.add(Flags::BAD_ENCODING);
        }
        if std::mem::replace(&mut self.chunked, true) {
            self.flags.add(Flags::SEVERAL_ENCODINGS);
        }
        if self.length.is_some() {
            self.flags.add(Flags::LENGTH_AND_ENCODING);
        }
    }
}

/// What a header's name is made of: the tokens of RFC 9110 5.6.2.
static IN_NAMES: [bool; 256] = {
    let (mut table, mut byte) = ([false; 256], 0);
    while byte < 128 {
        table[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let (marks, mut at) = (b"!#$%&'*+-.^_`|~", 0);
    while at < marks.len() {
        table[marks[at] as usize] = true;
        at += 1;
    }
    table
};

/// How many CRs there are, and whether there is a control character other than a tab and what ends lines.
fn characters(bytes: &[u8]) -> (usize, bool) {
    /// As many as one register of the least machine holds.
    const LANES: usize = 16;
    let (mut returns, mut control) = (0, 0);
    // The counts of a lane are bytes, so a block has fewer rows than would make them overflow.
    for block in bytes.chunks(LANES * 255) {
        let (mut counts, mut bad) = ([0_u8; LANES], [0_u8; LANES]);
        // Without a branch, so that it runs on vectors.
        let mut look = |lane: usize, byte: u8| {
            counts[lane] += u8::from(byte == b'\r');
            let below = (byte < b' ') & (byte != b'\t') & (byte != b'\r') & (byte != b'\n');
            bad[lane] |= u8::from(below | (byte == 0x7f));
        };
        let (rows, rest) = block.as_chunks::<LANES>();
        rows.iter().for_each(|row| (0..LANES).for_each(|lane| look(lane, row[lane])));
        rest.iter().enumerate().for_each(|(lane, byte)| look(lane, *byte));
        returns += counts.iter().map(|count| usize::from(*count)).sum::<usize>();
        control |= bad.iter().fold(0, |all, bad| all | bad);
    }
    (returns, control != 0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn scan(head: &str) -> (usize, Flags, Body) {
        match HeadScanner::new().feed(head.as_bytes()) {
            Scan::Complete { used, flags, body } => (used, flags, body),
            Scan::More => panic!("{head:?} has no end"),
        }
    }

    #[test]
    fn clean_heads_are_not_flagged() {
        let table = [
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", Body::Length(0)),
            ("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Body::Length(0)),
            ("G#T / HTTP/1.1\r\nX: #\r\nEmpty:\r\nTab:\ta\tb\r\nBytes: \u{fc}\r\n\r\n", Body::Length(0)),
            ("PUT / HTTP/1.1\r\ncontent-LENGTH:  42 \r\n\r\n", Body::Length(42)),
            ("PUT / HTTP/1.1\r\ntransfer-ENCODING: Chunked\r\n\r\n", Body::Chunked),
        ];
        for (head, body) in table {
            assert_eq!(scan(head), (head.len(), Flags::default(), body), "{head:?}");
        }
    }

    #[test]
    fn what_the_front_hides_is_flagged() {
        let table = [
            ("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n", Flags::LENGTH_AND_ENCODING),
            ("Transfer-Encoding: chunked\r\nContent-Length: 1\r\n", Flags::LENGTH_AND_ENCODING),
            ("Content-Length: 1\r\nContent-Length: 1\r\n", Flags::SEVERAL_LENGTHS),
            ("Content-Length: 1\r\nContent-Length: 2\r\n", Flags::SEVERAL_LENGTHS),
            ("Content-Length: 1, 1\r\n", Flags::BAD_LENGTH),
            ("Content-Length: +1\r\n", Flags::BAD_LENGTH),
            ("Content-Length:\r\n", Flags::BAD_LENGTH),
            ("Content-Length: 99999999999999999999\r\n", Flags::BAD_LENGTH),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", Flags::SEVERAL_ENCODINGS),
            ("Transfer-Encoding: gzip, chunked\r\n", Flags::BAD_ENCODING),
            ("Transfer-Encoding: xchunked\r\n", Flags::BAD_ENCODING),
            ("Transfer-Encoding:\r\n", Flags::BAD_ENCODING),
            ("X: a\r\n b\r\n", Flags::FOLDED),
            ("X: a\r\n\tTransfer-Encoding: chunked\r\n", Flags::FOLDED),
            ("Host : a\r\n", Flags::NO_NAME),
            ("Content-Length : 1\r\n", Flags::NO_NAME),
            (": a\r\n", Flags::NO_NAME),
            ("no colon\r\n", Flags::NO_NAME),
            ("X: a\rb\r\n", Flags::BARE_CR),
            ("X: a\r\r\n", Flags::BARE_CR),
            ("X: a\n", Flags::BARE_LF),
            ("X: a\0b\r\n", Flags::CONTROL),
            ("X: a\u{7f}\r\n", Flags::CONTROL),
            ("X\u{fc}: a\r\n", Flags::NO_NAME),
            ("X(: a\r\n", Flags::NO_NAME),
        ];
        for (lines, flag) in table {
            let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
            assert_eq!((scan(&head).0, scan(&head).1), (head.len(), flag), "{lines:?}: {}", scan(&head).1);
        }
        for target in ["/#", "/a#b?c", "http://a/#x"] {
            assert_eq!(scan(&format!("GET {target} HTTP/1.1\r\n\r\n")).1, Flags::FRAGMENT, "{target}");
        }
        assert_eq!(scan("GET / HTTP/1.1\r\nHost: a\r\n\n").1, Flags::BARE_LF);
        assert_eq!(scan("\nGET / HTTP/1.1\r\n\r\n").1, Flags::BARE_LF);
    }

    #[test]
    fn characters_are_counted_however_long_the_head() {
        for length in [0, 1, 15, 16, 17, 4079, 4080, 4081, 10_000] {
            let mut bytes = vec![b'\r'; length];
            assert_eq!(characters(&bytes), (length, false), "{length}");
            if let Some(last) = bytes.last_mut() {
                *last = 0;
                assert_eq!(characters(&bytes), (length - 1, true), "{length}");
            }
        }
    }

    #[test]
    fn flags_are_named() {
        let both = scan("GET /# HTTP/1.1\r\nX: a\n\r\n").1;
        assert_eq!(both.to_string(), "a fragment in the target, a bare LF");
        assert!(both.contains(Flags::FRAGMENT) && !both.contains(Flags::FOLDED) && !both.is_empty());
        assert_eq!(Flags::default().to_string(), "");
    }

    #[test]
    fn heads_follow_each_other() {
        let two = b"GET /# HTTP/1.1\r\n\r\nPUT / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc";
        let mut scanner = HeadScanner::new();
        let first = scanner.feed(two);
        assert_eq!(first, Scan::Complete { used: 19, flags: Flags::FRAGMENT, body: Body::Length(0) });
        assert!(!scanner.is_within());
        let second = scanner.feed(&two[19..]);
        let used = two.len() - 19 - 3;
        assert_eq!(second, Scan::Complete { used, flags: Flags::default(), body: Body::Length(3) });
    }

    #[test]
    fn it_knows_when_a_head_has_begun() {
        let mut scanner = HeadScanner::new();
        assert_eq!(scanner.feed(b"\r\n"), Scan::More);
        assert!(!scanner.is_within());
        assert_eq!(scanner.feed(b"G"), Scan::More);
        assert!(scanner.is_within());
        assert_eq!(scanner.feed(b"ET / HTTP/1.1\r\n"), Scan::More);
        assert!(scanner.is_within());
    }

    #[test]
    fn endless_lines_are_bounded() {
        let mut scanner = HeadScanner::new();
        for _ in 0..100 {
            assert_eq!(scanner.feed(&[b'a'; 8192]), Scan::More);
        }
        assert!(scanner.partial.len() <= LONGEST_LINE);
        let Scan::Complete { used: 4, flags, .. } = scanner.feed(b"\r\n\r\n") else { panic!("no end") };
        assert!(flags.contains(Flags::TOO_LONG));
    }

    fn head() -> impl Strategy<Value = Vec<u8>> {
        let line = prop_oneof![
            "[A-Za-z-]{1,20}: [ -~]{0,30}",
            "(Content-Length|Transfer-Encoding) ?:( |\t)?(chunked|[0-9]{0,3})",
            "[ -~\t\r\u{0}\u{7f}]{1,20}",
        ];
        let end = prop::sample::select(vec!["\r\n", "\r\n", "\r\n", "\n"]);
        let lines = proptest::collection::vec((line, end), 0..8);
        ("(\r\n)?", "GET /[a-z#]{0,5} HTTP/1\\.1", lines).prop_map(|(blank, first, lines)| {
            let lines: String = lines.into_iter().map(|(line, end)| line + end).collect();
            format!("{blank}{first}\r\n{lines}\r\nrest").into_bytes()
        })
    }

    proptest! {
        #[test]
        fn pieces_give_what_the_whole_gives(head in head(), cuts in proptest::collection::vec(1..12usize, 1..40)) {
            let whole = HeadScanner::new().feed(&head);
            let mut scanner = HeadScanner::new();
            let (mut at, mut cuts) = (0, cuts.into_iter().cycle());
            let pieces = loop {
                let end = (at + cuts.next().unwrap_or(1)).min(head.len());
                match scanner.feed(&head[at..end]) {
                    Scan::More if end < head.len() => at = end,
                    Scan::More => break Scan::More,
                    Scan::Complete { used, flags, body } => break Scan::Complete { used: at + used, flags, body },
                }
            };
            prop_assert_eq!(pieces, whole);
        }

        #[test]
        fn an_unflagged_head_ends_where_the_front_says(head in head()) {
            let mut slots = [httparse::EMPTY_HEADER; 32];
            let mut request = httparse::Request::new(&mut slots);
            let parsed = request.parse(&head);
            if let (Ok(httparse::Status::Complete(length)), Scan::Complete { used, flags, body }) =
                (parsed, HeadScanner::new().feed(&head))
            {
                prop_assert_eq!(used, length);
                let named = |name: &str| {
                    let same = |header: &&httparse::Header<'_>| header.name.eq_ignore_ascii_case(name);
                    request.headers.iter().filter(same).collect::<Vec<_>>()
                };
                let (lengths, encodings) = (named("content-length"), named("transfer-encoding"));
                if flags.is_empty() {
                    prop_assert!(lengths.len() + encodings.len() <= 1);
                    prop_assert_eq!(body == Body::Chunked, encodings.len() == 1);
                } else if lengths.len() + encodings.len() > 1 {
                    prop_assert!(flags.0 & 0b11111 != 0);
                }
            }
        }

        #[test]
        fn any_bytes_are_taken(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Scan::Complete { used, .. } = HeadScanner::new().feed(&bytes) {
                prop_assert!(used <= bytes.len());
            }
        }
    }
}
