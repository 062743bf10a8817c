//! The tree as a serde deserializer: nodes that are to be left out are not there.
//!
//! It adds to every error the place where it happened, and hands places to [`At`](crate::config::decode::At).

use std::collections::BTreeSet;
use std::slice;

use serde::de::value::StrDeserializer;
use serde::de::{self, DeserializeSeed, Expected, IntoDeserializer, Unexpected, Visitor};

use crate::config::rejection::Rejection;
use crate::config::tree::{Key, Kind, Node, Place};
use crate::config::words;

/// The name by which `At` asks for a place beside the value.
pub(crate) const AT: &str = "porchd::At";

/// A node as serde sees it.
#[derive(Clone, Copy)]
pub(crate) struct NodeDeserializer<'a> {
    node: &'a Node,
    left_out: &'a BTreeSet<Place>,
}

impl<'a> NodeDeserializer<'a> {
    /// A deserializer of `node` in which the nodes `left_out` do not exist.
    pub(crate) fn new(node: &'a Node, left_out: &'a BTreeSet<Place>) -> Self {
        Self { node, left_out }
    }

    fn visit<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Rejection> {
        match &self.node.kind {
            Kind::Null => visitor.visit_unit(),
            Kind::Bool(value) => visitor.visit_bool(*value),
            Kind::Int(value) => visit_int(*value, visitor),
            Kind::Float(value) => visitor.visit_f64(*value),
            Kind::Text(value) => visitor.visit_str(value),
            Kind::List(items) => self.visit_list(items, visitor),
            Kind::Map(entries) => self.visit_map(entries, visitor),
        }
    }

    fn visit_list<'de, V: Visitor<'de>>(self, items: &[Node], visitor: V) -> Result<V::Value, Rejection> {
        visitor
            .visit_seq(Items { items: items.iter(), left_out: self.left_out })
            .map_err(|wrong: Rejection| wrong.at(self.node.place))
    }

    fn visit_map<'de, V: Visitor<'de>>(
        self,
        entries: &[(Key, Node)],
        visitor: V,
    ) -> Result<V::Value, Rejection> {
        visitor
            .visit_map(Entries { entries: entries.iter(), value: None, left_out: self.left_out })
            .map_err(|wrong: Rejection| wrong.at(self.node.place))
    }

    fn unsigned(&self) -> Option<u64> {
        let Kind::Int(value) = self.node.kind else { return None };
        u64::try_from(value).ok()
    }

    /// What a visitor says of a kind that it has no method for: once here, not once per visitor.
    fn refusal(&self, expected: &dyn Expected) -> Rejection {
        let wrong = match &self.node.kind {
            Kind::Int(value) => match (u64::try_from(*value), i64::try_from(*value)) {
                (Ok(value), _) => de::Error::invalid_type(Unexpected::Unsigned(value), expected),
                (_, Ok(value)) => de::Error::invalid_type(Unexpected::Signed(value), expected),
                _ => de::Error::invalid_type(
                    Unexpected::Other(&format!("integer `{value}` as i128")),
                    expected,
                ),
            },
            other => de::Error::invalid_type(unexpected(other), expected),
        };
        Rejection::at(wrong, self.node.place)
    }
}

impl<'de> de::Deserializer<'de> for NodeDeserializer<'_> {
    type Error = Rejection;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Rejection> {
        self.visit(visitor).map_err(|wrong| wrong.at(self.node.place))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Rejection> {
        // A key with nothing after it is as good as not written.
        if self.node.kind == Kind::Null { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Rejection> {
        if name != AT {
            return visitor.visit_newtype_struct(self);
        }
        visitor
            .visit_seq(PlaceAndValue { place: Some(self.node.place), value: Some(self) })
            .map_err(|wrong| wrong.at(self.node.place))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Rejection> {
        // serde would take a list for a struct, field by field.
        match &self.node.kind {
            Kind::Map(entries) => self.visit_map(entries, visitor),
            _ => Err(self.refusal(&visitor)),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Rejection> {
        match &self.node.kind {
            Kind::Map(entries) => self.visit_map(entries, visitor),
            // A free-form map may be left empty.
            Kind::Null => visitor.visit_unit().map_err(|wrong: Rejection| wrong.at(self.node.place)),
            _ => Err(self.refusal(&visitor)),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Rejection> {
        match &self.node.kind {
            Kind::List(items) => self.visit_list(items, visitor),
            _ => Err(self.refusal(&visitor)),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Rejection> {
        match (&self.node.kind, self.unsigned()) {
            (Kind::Text(text), _) => visitor.visit_str(text),
            (_, Some(number)) => visitor.visit_u64(number),
            _ => return Err(self.refusal(&visitor)),
        }
        .map_err(|wrong: Rejection| wrong.at(self.node.place))
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Rejection> {
        self.deserialize_str(visitor)
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Rejection> {
        match self.node.kind {
            Kind::Int(value) => visit_int(value, visitor).map_err(|wrong| wrong.at(self.node.place)),
            _ => Err(self.refusal(&visitor)),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        known: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Rejection> {
        match &self.node.kind {
            Kind::Text(text) => visitor.visit_enum(StrDeserializer::new(text)),
            _ => {
                let expected = format!("one of {}", words::listed(known));
                Err(de::Error::invalid_type(unexpected(&self.node.kind), &expected.as_str()))
            }
        }
        .map_err(|wrong: Rejection| wrong.at(self.node.place))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u128 f32 f64 char bytes byte_buf unit unit_struct tuple
        tuple_struct identifier ignored_any
    }
}

fn visit_int<'de, V: Visitor<'de>>(value: i128, visitor: V) -> Result<V::Value, Rejection> {
    match (u64::try_from(value), i64::try_from(value)) {
        (Ok(value), _) => visitor.visit_u64(value),
        (_, Ok(value)) => visitor.visit_i64(value),
        _ => visitor.visit_i128(value),
    }
}

fn unexpected(kind: &Kind) -> Unexpected<'_> {
    match kind {
        Kind::Null => Unexpected::Unit,
        Kind::Bool(value) => Unexpected::Bool(*value),
        Kind::Int(value) => u64::try_from(*value).map_or(Unexpected::Other("a number"), Unexpected::Unsigned),
        Kind::Float(value) => Unexpected::Float(*value),
        Kind::Text(value) => Unexpected::Str(value),
        Kind::List(_) => Unexpected::Seq,
        Kind::Map(_) => Unexpected::Map,
    }
}

impl<'de> IntoDeserializer<'de, Rejection> for NodeDeserializer<'_> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

/// The two elements that [`At`] reads.
struct PlaceAndValue<V> {
    place: Option<Place>,
    value: Option<V>,
}

impl<'de, V: IntoDeserializer<'de, Rejection>> de::SeqAccess<'de> for PlaceAndValue<V> {
    type Error = Rejection;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Rejection> {
        match (self.place.take(), self.value.take()) {
            (Some(place), value) => {
                self.value = value;
                seed.deserialize(place.number().into_deserializer()).map(Some)
            }
            (None, Some(value)) => seed.deserialize(value.into_deserializer()).map(Some),
            (None, None) => Ok(None),
        }
    }
}

/// The elements of a list.
struct Items<'a> {
    items: slice::Iter<'a, Node>,
    left_out: &'a BTreeSet<Place>,
}

impl<'de> de::SeqAccess<'de> for Items<'_> {
    type Error = Rejection;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Rejection> {
        let left_out = self.left_out;
        let Some(node) = self.items.find(|node| !left_out.contains(&node.place)) else { return Ok(None) };
        seed.deserialize(NodeDeserializer { node, left_out }).map(Some)
    }
}

/// The entries of a map.
struct Entries<'a> {
    entries: slice::Iter<'a, (Key, Node)>,
    value: Option<&'a Node>,
    left_out: &'a BTreeSet<Place>,
}

impl<'a> Entries<'a> {
    fn next(&mut self) -> Option<&'a Key> {
        let kept = |(key, node): &&(Key, Node)| {
            ![key.place, node.place].iter().any(|place| self.left_out.contains(place))
        };
        let (key, value) = self.entries.find(kept)?;
        self.value = Some(value);
        Some(key)
    }
}

impl<'de> de::MapAccess<'de> for Entries<'_> {
    type Error = Rejection;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Rejection> {
        let Some(key) = self.next() else { return Ok(None) };
        seed.deserialize(KeyDeserializer(key)).map(Some).map_err(|wrong| wrong.at(key.place))
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Rejection> {
        let node = self.value.take().ok_or_else(|| de::Error::custom("a value without its key"))?;
        seed.deserialize(NodeDeserializer { node, left_out: self.left_out })
            .map_err(|wrong| wrong.at(node.place))
    }
}

/// A key as serde sees it: text.
struct KeyDeserializer<'a>(&'a Key);

impl<'de> de::Deserializer<'de> for KeyDeserializer<'_> {
    type Error = Rejection;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Rejection> {
        visitor.visit_str(&self.0.text)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Rejection> {
        if name != AT {
            return visitor.visit_newtype_struct(self);
        }
        visitor.visit_seq(PlaceAndValue { place: Some(self.0.place), value: Some(self.0.text.as_str()) })
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
        unit_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}
