//! Text in the columns of a terminal: lines that fit, times as people read them, colour where it is wanted.
//!
//! It is given the time and reads nothing but what the terminal is.

use std::io::IsTerminal;
use std::time::Duration;

use crate::acme::moment::Moment;
use crate::cli::running::printable;

/// How loud a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    /// As it should be.
    Good,
    /// To be looked at soon.
    Doubtful,
    /// To be looked at now.
    Bad,
    /// What other lines are below.
    Heading,
}

/// Whether text is coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ink(bool);

impl Ink {
    /// No colour.
    pub(super) const PLAIN: Self = Self(false);

    /// Colour if standard output is a terminal and NO_COLOR is not set (no-color.org).
    pub(super) fn of_terminal() -> Self {
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self(std::io::stdout().is_terminal() && !unwanted)
    }

    /// `lines` in that tone. Colour takes no columns, so it comes last.
    pub(super) fn paint(self, tone: Tone, lines: &str) -> String {
        if !self.0 {
            return lines.to_owned();
        }
        let code = match tone {
            Tone::Good => "32",
            Tone::Doubtful => "33",
            Tone::Bad => "1;31",
            Tone::Heading => "1",
        };
        lines.lines().map(|line| format!("\u{1b}[{code}m{line}\u{1b}[0m\n")).collect()
    }
}

/// At the most `columns` of `text`; what is cut off is shown as one `~`.
pub(super) fn cut(text: &str, columns: usize) -> String {
    let text = printable(text);
    match text.char_indices().nth(columns) {
        None => text,
        Some(_) => text.chars().take(columns.saturating_sub(1)).chain(['~']).collect(),
    }
}

/// A time to come, as a date and from now on.
pub(super) fn coming(at: Moment, now: Moment) -> String {
    if at <= now { String::from("now") } else { format!("{}, in {}", minute(at), span(at.since(now))) }
}

/// To the minute, such as `2026-11-23 15:04 UTC`.
pub(super) fn minute(at: Moment) -> String {
    let text = at.to_string();
    let (day, time) = text.split_once('T').unwrap_or((&text, ""));
    format!("{day} {} UTC", time.get(..5).unwrap_or_default())
}

/// In the largest unit of which there are at least two.
pub(super) fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    let unit = [(86_400, "days"), (3_600, "hours"), (60, "minutes")];
    match unit.into_iter().find(|(length, _)| seconds >= 2 * length) {
        Some((length, name)) => format!("{} {name}", seconds / length),
        None if seconds == 1 => String::from("1 second"),
        None => format!("{seconds} seconds"),
    }
}

/// `text` in lines of at most [`WIDTH`] columns; those after the first begin with `indent` blanks. The
/// first `kept` bytes are not broken. A word that is longer than a line (a URL) stays whole.
pub(super) fn paragraph(text: &str, kept: usize, indent: usize) -> String {
    let text = printable(text).replace('\n', " ");
    let (mut line, rest) = match text.split_at_checked(kept) {
        Some((head, rest)) => (head.to_owned(), rest),
        None => (String::new(), &*text),
    };
    let mut lines = String::new();
    let mut empty = true;
    for word in rest.split_whitespace() {
        if !empty && line.chars().count() + 1 + word.chars().count() > WIDTH {
            lines += &line;
            lines.push('\n');
            line = " ".repeat(indent);
            empty = true;
        }
        if !empty {
            line.push(' ');
        }
        line += word;
        empty = false;
    }
    lines + &line + "\n"
}

/// Columns of a terminal that nobody has widened.
pub(super) const WIDTH: usize = 80;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_is_around_lines_and_only_where_it_is_wanted() {
        assert_eq!(Ink::PLAIN.paint(Tone::Bad, "a\nb\n"), "a\nb\n");
        assert_eq!(Ink(true).paint(Tone::Good, "a\nb\n"), "\u{1b}[32ma\u{1b}[0m\n\u{1b}[32mb\u{1b}[0m\n");
    }

    #[test]
    fn what_is_too_long_is_cut_and_shows_it() {
        assert_eq!(cut("home", 4), "home");
        assert_eq!(cut("homes", 4), "hom~");
    }
}
