//! serde's errors, kept as facts until they become findings.
//!
//! serde hands over what it knows (the key, the keys that exist) as arguments; most formats turn that
//! into text at once. Here it is kept, for "did you mean".

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{self, Expected, Unexpected};

use crate::config::problem::Finding;
use crate::config::tree::{Kind, Node, Place};
use crate::config::words;

/// Why a node was not taken.
#[derive(Debug)]
pub(crate) struct Rejection {
    place: Option<Place>,
    what: What,
}

#[derive(Debug)]
enum What {
    UnknownKey {
        key: String,
        known: &'static [&'static str],
    },
    UnknownValue {
        value: String,
        known: &'static [&'static str],
    },
    Missing {
        key: &'static str,
    },
    Type {
        found: String,
        expected: String,
        cure: Option<String>,
    },
    /// The first line is the title, further ones are help.
    Said {
        text: String,
    },
}

impl Rejection {
    fn new(what: What) -> Self {
        Self { place: None, what }
    }

    /// The same at `place`, unless something further in has said where it is.
    pub(crate) fn at(mut self, place: Place) -> Self {
        self.place.get_or_insert(place);
        self
    }

    /// Where it is.
    pub(crate) fn place(&self) -> Place {
        self.place.unwrap_or(Place::ROOT)
    }

    /// The key that was probably meant by an unknown one.
    pub(crate) fn meant(&self) -> Option<&'static str> {
        let What::UnknownKey { key, known } = &self.what else { return None };
        words::nearest(key, known.iter().copied())
    }

    /// What is told of it.
    pub(crate) fn finding(self) -> Finding {
        let place = self.place();
        self.what.finding(place)
    }

    /// Whether it is only there because something below was left out.
    pub(crate) fn follows_from(&self, tree: &Node, left_out: &BTreeSet<Place>) -> bool {
        let What::Missing { key } = self.what else { return false };
        let node = self.place.and_then(|place| tree.at(place));
        let Some(Kind::Map(entries)) = node.map(|node| &node.kind) else { return false };
        entries.iter().any(|(written, value)| written.text == key && left_out.contains(&value.place))
    }
}

impl What {
    fn finding(self, place: Place) -> Finding {
        match self {
            Self::UnknownKey { key, known } => {
                let finding = Finding::error(place, format!("unknown key `{key}`"));
                match words::nearest(&key, known.iter().copied()) {
                    Some(name) => finding.label(format!("did you mean `{name}`?")),
                    None => finding.label("no such key here"),
                }
                .help(format!("the keys here are {}", words::listed(known)))
            }
            Self::UnknownValue { value, known } => {
                let finding = Finding::error(place, format!("unknown value `{value}`"));
                match words::nearest(&value, known.iter().copied()) {
                    Some(name) => finding.label(format!("did you mean `{name}`?")),
                    None => finding,
                }
                .help(format!("one of {}", words::listed(known)))
            }
            Self::Missing { key } => {
                Finding::error(place, format!("the key `{key}` is missing")).label(format!("needs `{key}`"))
            }
            Self::Type { found, expected, cure } => {
                let finding = Finding::error(place, format!("expected {expected}, found {found}"))
                    .label(format!("expected {expected}"));
                cure.into_iter().fold(finding, Finding::help)
            }
            Self::Said { text } => {
                let mut lines = text.lines();
                let finding = Finding::error(place, lines.next().unwrap_or_default());
                lines.fold(finding, Finding::help)
            }
        }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.what)
    }
}

impl std::error::Error for Rejection {}

impl de::Error for Rejection {
    fn custom<T: fmt::Display>(text: T) -> Self {
        Self::new(What::Said { text: text.to_string() })
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let expected = words::expected(&expected.to_string());
        let cure = words::cure(&found, &expected);
        Self::new(What::Type { found: words::found(&found), expected, cure })
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn unknown_variant(value: &str, known: &'static [&'static str]) -> Self {
        Self::new(What::UnknownValue { value: value.to_owned(), known })
    }

    fn unknown_field(key: &str, known: &'static [&'static str]) -> Self {
        Self::new(What::UnknownKey { key: key.to_owned(), known })
    }

    fn missing_field(key: &'static str) -> Self {
        Self::new(What::Missing { key })
    }
}
