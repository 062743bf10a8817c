//! Text that is not YAML: what the parser says, and what was probably meant.

use std::sync::Arc;

use crate::config::problem::{Problem, Severity};
use crate::config::source::Source;
use crate::config::tree::SyntaxError;

/// A located problem for a text that is not YAML.
pub(crate) fn problem(error: &SyntaxError, source: &Arc<Source>) -> Problem {
    // Where the text ends too early, the last thing written is shown rather than the nothing behind it.
    let offset = error.at.map(|offset| offset.min(source.text.trim_end().len()));
    Problem {
        source: Arc::clone(source),
        severity: Severity::Error,
        span: offset.map(|offset| source.token(offset)),
        title: format!("this YAML can't be read: {}", without_positions(&error.message, source)),
        label: String::new(),
        help: offset.and_then(|offset| guess(source, offset)).into_iter().collect(),
        also: None,
    }
}

/// The parser's words; of two positions the first is the caret's, a second one becomes a line number.
fn without_positions(message: &str, source: &Source) -> String {
    if message.contains("more than one document") {
        return String::from("a configuration is one document, and a line `---` begins another");
    }
    let mut parts = message.split(" at line ");
    let mut words = parts.next().unwrap_or_default().to_owned();
    for (at, part) in parts.enumerate() {
        // "12 column 3, while parsing a block mapping"
        let (line, rest) = part.split_once(" column ").unwrap_or((part, ""));
        let rest = rest.trim_start_matches(|ch: char| ch.is_ascii_digit());
        if at > 0 && line.parse::<usize>().is_ok_and(|line| line <= source.text.lines().count()) {
            words += &format!(" that begins at line {line}");
        }
        words += rest;
    }
    words
}

/// What was probably meant, for the slips that YAML makes easy.
fn guess(source: &Source, offset: usize) -> Option<String> {
    let (number, _) = source.line_column(offset);
    let lines: Vec<&str> = source.text.lines().collect();
    // The parser often notices only on the next line.
    let near = lines.get(number.saturating_sub(2)..number.min(lines.len()))?;
    let any = |test: fn(&str) -> bool| near.iter().any(|line| test(line));
    if any(|line| line.trim_start_matches(' ').starts_with('\t')) {
        return Some("indent with spaces: YAML does not take tabs".into());
    }
    if any(|line| line.contains("*.") && !line.contains("\"*.") && !line.contains("'*.")) {
        return Some("a `*` in front has a meaning in YAML; use quotes: \"*.example.com\"".into());
    }
    if any(|line| line.contains("[::") && !line.contains("\"[::") && !line.contains("'[::")) {
        return Some("brackets have a meaning in YAML; use quotes: \"[::]:443\"".into());
    }
    if any(|line| line.matches('"').count() % 2 == 1) {
        return Some("a quotation mark is not closed on its line".into());
    }
    let open = |line: &str| line.matches(['[', '{']).count() > line.matches([']', '}']).count();
    if any(open) {
        return Some("an opening `[` or `{` is not closed, or a comma is missing behind an item".into());
    }
    near.iter()
        .any(|line| line.matches(": ").count() > 1 && !line.contains(['{', '"']))
        .then(|| "a value with `: ` in it needs quotes".into())
}
