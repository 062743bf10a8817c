//! YAML text as a tree whose nodes are numbered, and the way back from a number to the text.
//!
//! yaml_serde tells positions only with errors. So the tree is built by a visitor that counts the nodes
//! in reading order, and a node is found again by reading once more and failing on purpose at its number:
//! the error then carries the position. It knows nothing of what the keys mean.

use std::cell::Cell;
use std::fmt;

use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};

/// The number of a node (or of a key) in reading order. The nodes below it have the numbers that follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place(u32);

impl Place {
    /// The whole file.
    pub const ROOT: Self = Self(0);

    /// The number itself.
    pub(crate) fn number(self) -> u32 {
        self.0
    }

    /// From the number itself.
    pub(crate) fn from_number(number: u32) -> Self {
        Self(number)
    }
}

/// One node.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    /// Where it is.
    pub(crate) place: Place,
    /// One more than the last number below it.
    end: u32,
    /// What it is.
    pub(crate) kind: Kind,
}

/// What a node is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kind {
    /// Nothing, `~` or `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// An integer.
    Int(i128),
    /// Any other number.
    Float(f64),
    /// Text, quoted or not.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// A map, in the order written, keys that are written twice included.
    Map(Vec<(Key, Node)>),
}

/// A key of a map.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Key {
    /// Where it is.
    pub(crate) place: Place,
    /// Its text.
    pub(crate) text: String,
}

impl Node {
    /// Whether `place` is this node or below it.
    pub(crate) fn holds(&self, place: Place) -> bool {
        (self.place.0..self.end).contains(&place.0)
    }

    /// The node at a key of this map.
    pub(crate) fn get(&self, name: &str) -> Option<&Node> {
        let Kind::Map(entries) = &self.kind else { return None };
        entries.iter().find(|(key, _)| key.text == name).map(|(_, node)| node)
    }

    /// The node with this number (a key's number gives its value).
    pub(crate) fn at(&self, place: Place) -> Option<&Node> {
        if self.place == place {
            return Some(self);
        }
        match &self.kind {
            Kind::List(items) => items.iter().find(|item| item.holds(place))?.at(place),
            Kind::Map(entries) => entries.iter().find_map(|(key, node)| {
                if key.place == place { Some(node) } else { node.holds(place).then(|| node.at(place))? }
            }),
            _ => None,
        }
    }

    /// Gives the key at `place` another name, unless its map has that name already.
    pub(crate) fn rename(&mut self, place: Place, name: &str) -> bool {
        match &mut self.kind {
            Kind::List(items) => items.iter_mut().any(|item| item.holds(place) && item.rename(place, name)),
            Kind::Map(entries) => match entries.iter().position(|(key, _)| key.place == place) {
                None => entries.iter_mut().any(|(_, node)| node.holds(place) && node.rename(place, name)),
                Some(_) if entries.iter().any(|(key, _)| key.text == name) => false,
                Some(at) => {
                    entries[at].0.text = name.to_owned();
                    true
                }
            },
            _ => false,
        }
    }

    /// Takes out every key that its map already has, and returns each with the first of its name.
    pub(crate) fn take_duplicates(&mut self) -> Vec<(Key, Place)> {
        let mut found = Vec::new();
        match &mut self.kind {
            Kind::List(items) => items.iter_mut().for_each(|item| found.extend(item.take_duplicates())),
            Kind::Map(entries) => {
                let mut first = std::collections::HashMap::new();
                entries.retain(|(key, _)| match first.get(&key.text) {
                    None => first.insert(key.text.clone(), key.place).is_none(),
                    Some(place) => {
                        found.push((key.clone(), *place));
                        false
                    }
                });
                entries.iter_mut().for_each(|(_, node)| found.extend(node.take_duplicates()));
            }
            _ => {}
        }
        found
    }
}

/// Text that is not YAML, or YAML that no configuration needs.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct SyntaxError {
    /// What the YAML parser says, with its positions.
    pub(crate) message: String,
    /// Offset of the byte where it stopped, if it says.
    pub(crate) at: Option<usize>,
}

/// Reads `text` into a tree. An empty text is [`Kind::Null`].
pub(crate) fn parse(text: &str) -> Result<Node, SyntaxError> {
    read(text, None).map_err(|error| SyntaxError {
        at: error.location().map(|location| location.index()),
        message: error.to_string(),
    })
}

/// The offset of the byte at which the node `place` of this text begins.
pub(crate) fn locate(text: &str, place: Place) -> Option<usize> {
    read(text, Some(place)).err()?.location().map(|location| location.index())
}

fn read(text: &str, stop_at: Option<Place>) -> Result<Node, serde_yaml::Error> {
    let count = Cell::new(0);
    Builder { count: &count, stop_at }.deserialize(serde_yaml::Deserializer::from_str(text))
}

/// More nodes than any honest file has; aliases could make billions (a "billion laughs" file).
const MOST_NODES: u32 = 200_000;

/// Builds nodes, or fails at one of them.
#[derive(Clone, Copy)]
struct Builder<'a> {
    count: &'a Cell<u32>,
    stop_at: Option<Place>,
}

impl Builder<'_> {
    /// The next number. Called inside the visitor, where an error is given this node's position.
    fn number<E: de::Error>(&self) -> Result<Place, E> {
        let place = Place(self.count.get());
        if Some(place) == self.stop_at {
            return Err(E::custom("this is the node that was looked for"));
        }
        if place.0 == MOST_NODES {
            return Err(E::custom(format_args!("more than {MOST_NODES} values in one file")));
        }
        self.count.set(place.0 + 1);
        Ok(place)
    }

    fn scalar<E: de::Error>(self, kind: Kind) -> Result<Node, E> {
        self.number().map(|place| Node { place, end: place.0 + 1, kind })
    }
}

impl<'de> DeserializeSeed<'de> for Builder<'_> {
    type Value = Node;

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Builder<'_> {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("plain YAML")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Node, E> {
        self.scalar(Kind::Null)
    }

    fn visit_none<E: de::Error>(self) -> Result<Node, E> {
        self.scalar(Kind::Null)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Node, E> {
        self.scalar(Kind::Bool(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Node, E> {
        self.scalar(Kind::Int(value.into()))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Node, E> {
        self.scalar(Kind::Int(value.into()))
    }

    fn visit_i128<E: de::Error>(self, value: i128) -> Result<Node, E> {
        self.scalar(Kind::Int(value))
    }

    fn visit_u128<E: de::Error>(self, value: u128) -> Result<Node, E> {
        self.scalar(i128::try_from(value).map_or(Kind::Float(value as f64), Kind::Int))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Node, E> {
        self.scalar(Kind::Float(value))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Node, E> {
        self.scalar(Kind::Text(value.to_owned()))
    }

    fn visit_enum<A: de::EnumAccess<'de>>(self, _: A) -> Result<Node, A::Error> {
        Err(de::Error::custom("a YAML tag (`!name`) has no meaning here"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let place = self.number()?;
        let mut items = Vec::new();
        while let Some(item) = access.next_element_seed(self)? {
            items.push(item);
        }
        Ok(Node { place, end: self.count.get(), kind: Kind::List(items) })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let place = self.number()?;
        let mut entries = Vec::new();
        while let Some(key) = access.next_key_seed(KeyBuilder(self))? {
            entries.push((key, access.next_value_seed(self)?));
        }
        Ok(Node { place, end: self.count.get(), kind: Kind::Map(entries) })
    }
}

/// Builds keys: scalars alone.
struct KeyBuilder<'a>(Builder<'a>);

impl<'de> DeserializeSeed<'de> for KeyBuilder<'_> {
    type Value = Key;

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<Key, D::Error> {
        let node = self.0.deserialize(deserializer)?;
        let text = match node.kind {
            Kind::Text(text) => text,
            Kind::Int(number) => number.to_string(),
            Kind::Float(number) => number.to_string(),
            Kind::Bool(flag) => flag.to_string(),
            Kind::Null => String::from("~"),
            Kind::List(_) | Kind::Map(_) => return Err(de::Error::custom("a key must be one word")),
        };
        Ok(Key { place: node.place, text })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_node_is_found_again() {
        let text = "z: []\na: 1\nb: [ x, { c: yes, \"d\": ~ } ]\ne:\n  - f\n  - g: 2.5\n";
        let tree = parse(text).unwrap();
        let tokens: Vec<&str> = (0..tree.end)
            .map(|number| &text[locate(text, Place(number)).unwrap()..])
            .map(|rest| rest.split([' ', '\n', ',', ':']).next().unwrap())
            .collect();
        let all = [
            "z", "z", "[]", "a", "1", "b", "[", "x", "{", "c", "yes", "\"d\"", "~", "e", "-", "f", "g", "g",
            "2.5",
        ];
        assert_eq!(tokens, all);
        assert_eq!(locate(text, Place(tree.end)), None);
    }

    #[test]
    fn duplicates_are_taken_out_with_the_first_kept() {
        let mut tree = parse("a: 1\nb: { c: 1, c: 2 }\na: 3\n").unwrap();
        let found = tree.take_duplicates();
        assert_eq!(found.iter().map(|(key, _)| key.text.as_str()).collect::<Vec<_>>(), ["a", "c"]);
        assert_eq!(tree.get("a").map(|node| &node.kind), Some(&Kind::Int(1)));
        assert!(tree.take_duplicates().is_empty());
    }

    #[test]
    fn a_key_is_renamed_unless_the_name_is_taken() {
        let mut tree = parse("a: 1\nb: [ { c: 1 } ]\n").unwrap();
        let Kind::Map(entries) = &tree.kind else { panic!("a map") };
        let (a, b) = (entries[0].0.place, entries[1].0.place);
        assert!(!tree.rename(a, "b") && tree.rename(a, "x") && tree.rename(b, "y"));
        assert!(tree.get("x").is_some() && tree.get("y").is_some() && tree.get("a").is_none());
        assert!(!tree.rename(Place::ROOT, "z"));
    }

    #[test]
    fn a_tree_of_aliases_is_refused() {
        let mut text = String::from("a: &a [x,x,x,x,x,x,x,x,x]\n");
        for (this, before) in ('b'..='j').zip('a'..) {
            text +=
                &format!("{this}: &{this} [*{before},*{before},*{before},*{before},*{before},*{before}]\n");
        }
        assert!(parse(&text).is_err());
        assert!(parse("a: &a [ *a ]").is_err());
    }

    #[test]
    fn an_empty_text_is_null() {
        for text in ["", "\n", "# nothing\n", "---\n"] {
            assert_eq!(parse(text).unwrap().kind, Kind::Null, "{text:?}");
        }
    }
}
