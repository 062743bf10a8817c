//! What is wrong with a configuration, and how it is shown: one block a problem, with the line and a caret.
//!
//! It decides nothing; the checks make [`Finding`]s, which `load` turns into located [`Problem`]s.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};

use crate::config::source::Source;
use crate::config::tree::{self, Place};

/// How bad a problem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The configuration can't be used.
    Error,
    /// It can be used, and is probably not what was meant.
    Warning,
}

/// A problem as a check makes it: at a node of the tree.
#[derive(Debug, Clone)]
pub(crate) struct Finding {
    severity: Severity,
    place: Place,
    title: String,
    label: String,
    help: Vec<String>,
    also: Option<(Place, String)>,
}

impl Finding {
    /// An error at `place`.
    pub(crate) fn error(place: Place, title: impl Into<String>) -> Self {
        Self::new(Severity::Error, place, title.into())
    }

    /// A warning at `place`.
    pub(crate) fn warning(place: Place, title: impl Into<String>) -> Self {
        Self::new(Severity::Warning, place, title.into())
    }

    fn new(severity: Severity, place: Place, title: String) -> Self {
        Self { severity, place, title, label: String::new(), help: Vec::new(), also: None }
    }

    /// The same with another title.
    pub(crate) fn titled(mut self, title: impl Into<String>) -> Self {
        self.title = title.into();
        self
    }

    /// Words beside the caret.
    pub(crate) fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// A line below: the cure.
    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help.push(help.into());
        self
    }

    /// A second place that is shown too.
    pub(crate) fn also(mut self, place: Place, label: impl Into<String>) -> Self {
        self.also = Some((place, label.into()));
        self
    }

    /// Where it is.
    pub(crate) fn place(&self) -> Place {
        self.place
    }

    /// Whether it says the same of the same place.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        (self.place, self.severity, &self.title) == (other.place, other.severity, &other.title)
    }

    /// How bad it is.
    pub(crate) fn severity(&self) -> Severity {
        self.severity
    }

    /// Finds the places in the text.
    pub(crate) fn locate(self, source: &Arc<Source>) -> Problem {
        let span = |place| Some(source.token(tree::locate(&source.text, place)?));
        Problem {
            source: Arc::clone(source),
            severity: self.severity,
            span: if self.place == Place::ROOT { None } else { span(self.place) },
            also: self.also.and_then(|(place, label)| Some((span(place)?, label))),
            title: self.title,
            label: self.label,
            help: self.help,
        }
    }
}

/// One problem, located. `Display` is one line; [`Problem::render`] shows the text around it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file.
    pub source: Arc<Source>,
    /// How bad it is.
    pub severity: Severity,
    /// Bytes of the file's text that are marked; `None`: it is about the file as a whole.
    pub span: Option<Range<usize>>,
    /// What is wrong, in one line.
    pub title: String,
    /// Words beside the caret; may be empty.
    pub label: String,
    /// The cure, one line each.
    pub help: Vec<String>,
    /// A second marked range and its words.
    pub also: Option<(Range<usize>, String)>,
}

impl Problem {
    /// The problem with its line and caret, ending in a newline.
    pub fn render(&self, colour: bool) -> String {
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let title = printable(&self.title);
        let label = printable(&self.label);
        let help: Vec<String> = self.help.iter().map(|line| printable(line)).collect();
        let also = self.also.as_ref().map(|(range, label)| (range.clone(), printable(label)));
        let title = level.primary_title(title.as_str());
        let group: Group<'_> = match &self.span {
            None => title.element(Origin::path(self.source.name.as_str())),
            Some(span) => {
                let mut primary = AnnotationKind::Primary.span(span.clone());
                if !label.is_empty() {
                    primary = primary.label(label.as_str());
                }
                let second = also
                    .as_ref()
                    .map(|(range, label)| AnnotationKind::Context.span(range.clone()).label(label.as_str()));
                title.element(
                    Snippet::source(self.source.text.as_str())
                        .path(self.source.name.as_str())
                        .annotation(primary)
                        .annotations(second),
                )
            }
        };
        let group = help.iter().fold(group, |group, line| group.element(Level::HELP.message(line.as_str())));
        renderer.render(&[group]) + "\n"
    }

    /// Line and column, from 1, if it is at one.
    pub fn line_column(&self) -> Option<(usize, usize)> {
        self.span.as_ref().map(|span| self.source.line_column(span.start))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.source.name)?;
        if let Some((line, column)) = self.line_column() {
            write!(f, ":{line}:{column}")?;
        }
        write!(f, ": {}", printable(&self.title))?;
        for more in std::iter::once(&self.label).chain(&self.help).filter(|more| !more.is_empty()) {
            write!(f, "; {}", printable(more))?;
        }
        Ok(())
    }
}

/// All that is wrong with a configuration that can't be used, warnings included, in the file's order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// At least one of them is an error.
    pub problems: Vec<Problem>,
}

/// More than anybody reads at once.
const MOST_SHOWN: usize = 50;

impl Report {
    /// Every problem with its line and caret, and the count.
    pub fn render(&self, colour: bool) -> String {
        let shown = self.problems.iter().take(MOST_SHOWN);
        let mut text: String = shown.map(|problem| problem.render(colour) + "\n").collect();
        if let Some(more @ 1..) = self.problems.len().checked_sub(MOST_SHOWN) {
            text += &format!("... and {more} more\n\n");
        }
        text + &self.summary() + "\n"
    }

    fn summary(&self) -> String {
        let errors = self.problems.iter().filter(|problem| problem.severity == Severity::Error).count();
        let name = self.problems.first().map_or("", |problem| problem.source.name.as_str());
        let count = |number: usize, word: &str| match number {
            1 => format!("1 {word}"),
            _ => format!("{number} {word}s"),
        };
        let warnings = match self.problems.len() - errors {
            0 => String::new(),
            more => format!(" and {}", count(more, "warning")),
        };
        format!("{name}: {}{warnings}", count(errors, "error"))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.summary())?;
        self.problems.iter().take(MOST_SHOWN).try_for_each(|problem| write!(f, "\n{problem}"))
    }
}

impl std::error::Error for Report {}

/// Text of the file inside a message: control characters would write on the operator's terminal.
fn printable(text: &str) -> String {
    text.chars().map(|ch| if ch.is_control() { ' ' } else { ch }).collect()
}

#[cfg(test)]
mod tests {
    use crate::config::load;

    #[test]
    fn one_line_has_the_place_and_the_cure() {
        let report = load("matrixx: {}\n", "porchd.yaml").expect_err("unknown key");
        let line = report.problems[0].to_string();
        assert!(
            line.starts_with("porchd.yaml:1:1: unknown key `matrixx`; did you mean `matrix`?; "),
            "{line}"
        );
    }

    #[test]
    fn what_a_file_says_does_not_write_on_the_terminal() {
        for text in ["\"\\u001b[31mx\": 1\n", "\u{1b}[31mx: 1\n", "x: \u{1b}[31m\n", "threads: \"\\e[31m\"\n"]
        {
            let report = load(text, "porchd.yaml").expect_err("unknown key");
            assert!(!report.render(false).contains('\u{1b}'), "{}", report.render(false));
            assert!(!report.to_string().contains('\u{1b}'), "{report}");
        }
    }
}
