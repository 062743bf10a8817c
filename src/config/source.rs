//! The text of a configuration file, and where in it something stands.
//!
//! It knows offsets, lines and how far a YAML token reaches; it knows nothing of what the text means.

use std::ops::Range;

/// A named text. Problems share it, so that each can show its own line.
#[derive(Debug, PartialEq, Eq)]
pub struct Source {
    /// What it is called in messages: the file's path.
    pub name: String,
    /// The whole text.
    pub text: String,
}

impl Source {
    /// Line and column of a byte offset, both from 1; columns count characters.
    pub fn line_column(&self, offset: usize) -> (usize, usize) {
        let before = &self.text[..floor_char_boundary(&self.text, offset)];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }

    /// How far the YAML token that begins at `offset` reaches, on its line.
    ///
    /// A caret is for people: where only a parser could tell (a flow list over several lines, a comma in
    /// a plain scalar) the range is short rather than long.
    pub fn token(&self, offset: usize) -> Range<usize> {
        let start = floor_char_boundary(&self.text, offset);
        let line = self.text[start..].split(['\n', '\r']).next().unwrap_or_default();
        let length = match line.chars().next() {
            Some(quote @ ('"' | '\'')) => quoted(line, quote),
            Some('[' | '{') => bracketed(line),
            Some('\t' | ' ') => 1,
            Some('-') if line[1..].starts_with(' ') || line.len() == 1 => 1,
            Some(_) => plain(line),
            None => 0,
        };
        start..start + length
    }
}

/// The largest character boundary that is not above `offset`.
fn floor_char_boundary(text: &str, offset: usize) -> usize {
    let mut at = offset.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

fn quoted(line: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, ch) in line.char_indices().skip(1) {
        match ch {
            _ if escaped => escaped = false,
            '\\' if quote == '"' => escaped = true,
            _ if ch == quote => return at + 1,
            _ => {}
        }
    }
    line.trim_end().len()
}

fn bracketed(line: &str) -> usize {
    let mut depth = 0_usize;
    for (at, ch) in line.char_indices() {
        match ch {
            '[' | '{' => depth += 1,
            ']' | '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at + 1;
        }
    }
    line.trim_end().len()
}

fn plain(line: &str) -> usize {
    let ends = [": ", " #", ", ", "]", "}"];
    let mut end = ends.iter().filter_map(|mark| line.find(mark)).min().unwrap_or(line.len());
    end = line[..end].trim_end().len();
    let end = line[..end].strip_suffix([':', ',']).map_or(end, str::len);
    // Whatever stands there, one character is always shown.
    end.max(line.chars().next().map_or(0, char::len_utf8))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        Source { name: "t".into(), text: text.into() }
    }

    #[test]
    fn tokens_end_where_a_reader_expects() {
        for (text, token) in [
            ("name: value # why", "name"),
            ("value # why", "value"),
            ("example.com, b ]", "example.com"),
            ("\"a \\\" b\": c", "\"a \\\" b\""),
            ("'a b' ]", "'a b'"),
            ("[ a, [ b ] ] # c", "[ a, [ b ] ]"),
            ("[ a,", "[ a,"),
            ("- item", "-"),
            ("https://example.com/ }", "https://example.com/"),
            ("key:\n  more", "key"),
            ("]", "]"),
            ("", ""),
        ] {
            assert_eq!(&text[source(text).token(0)], token, "{text}");
        }
    }

    #[test]
    fn columns_count_characters() {
        assert_eq!(source("a\nüü: b").line_column("a\nüü".len()), (2, 3));
    }

    proptest::proptest! {
        #[test]
        fn any_offset_gives_a_range_inside_the_text(text in ".{0,60}", at in 0_usize..80) {
            let source = source(&text);
            let range = source.token(at);
            proptest::prop_assert!(source.text.get(range).is_some());
            source.line_column(at);
        }
    }
}
