//! The tree as a serde deserializer: nodes that are to be left out are not there.
//!
//! It adds to every error the place where it happened, and hands places to [`At`](crate::config::decode::At).

use std::collections::BTreeSet;

use serde::de::value::StrDeserializer;
use serde::de::{self, DeserializeSeed, IntoDeserializer, Unexpected, Visitor};

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

    fn keeps(&self, place: Place) -> bool {
        !self.left_out.contains(&place)
    }

    fn visit<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Rejection> {
        match &self.node.kind {
            Kind::Null => visitor.visit_unit(),
            Kind::Bool(value) => visitor.visit_bool(*value),
            Kind::Int(value) => match (u64::try_from(*value), i64::try_from(*value)) {
                (Ok(value), _) => visitor.visit_u64(value),
                (_, Ok(value)) => visitor.visit_i64(value),
                _ => visitor.visit_i128(*value),
            },
            Kind::Float(value) => visitor.visit_f64(*value),
            Kind::Text(value) => visitor.visit_str(value),
            Kind::List(items) => {
                let kept = items.iter().filter(|item| self.keeps(item.place));
                visitor.visit_seq(Items { items: kept, left_out: self.left_out })
            }
            Kind::Map(entries) => {
                let kept =
                    entries.iter().filter(|(key, node)| self.keeps(key.place) && self.keeps(node.place));
                visitor.visit_map(Entries { entries: kept, value: None, left_out: self.left_out })
            }
        }
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
        let wrong = |found| Err(de::Error::invalid_type(found, &visitor));
        match &self.node.kind {
            Kind::List(_) => wrong(Unexpected::Seq).map_err(|wrong: Rejection| wrong.at(self.node.place)),
            _ => self.deserialize_any(visitor),
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
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map identifier ignored_any
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
struct Items<'a, I> {
    items: I,
    left_out: &'a BTreeSet<Place>,
}

impl<'de, 'a, I: Iterator<Item = &'a Node>> de::SeqAccess<'de> for Items<'a, I> {
    type Error = Rejection;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Rejection> {
        let Some(node) = self.items.next() else { return Ok(None) };
        seed.deserialize(NodeDeserializer { node, left_out: self.left_out }).map(Some)
    }
}

/// The entries of a map.
struct Entries<'a, I> {
    entries: I,
    value: Option<&'a Node>,
    left_out: &'a BTreeSet<Place>,
}

impl<'de, 'a, I: Iterator<Item = &'a (Key, Node)>> de::MapAccess<'de> for Entries<'a, I> {
    type Error = Rejection;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Rejection> {
        let Some((key, value)) = self.entries.next() else { return Ok(None) };
        self.value = Some(value);
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
