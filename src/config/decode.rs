//! From the tree to the mirror types by serde, with every error and not only the first.
//!
//! serde stops at an error. So the node that was wrong is left out and the tree is decoded again, until
//! it passes: every round removes one node, and every round's error is kept. What the values mean
//! together is not its business.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Deref;

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, DeserializeOwned, IntoDeserializer, Visitor};
use serde::{Deserialize, Serialize};

use crate::config::deserializer::{AT, NodeDeserializer};
use crate::config::problem::Finding;
use crate::config::tree::{Node, Place};

/// What came of decoding.
pub(crate) struct Decoded<T> {
    /// The value without the wrong nodes; `None` if the root itself is wrong.
    pub(crate) value: Option<T>,
    /// One for each wrong node.
    pub(crate) findings: Vec<Finding>,
    /// The nodes that were left out: what depends on them should not be complained about.
    pub(crate) left_out: BTreeSet<Place>,
}

/// A file with more mistakes than this is another program's file, and every one costs a round.
const MOST_WRONG: usize = 100;

/// Decodes the whole tree, or as much of it as has the first [`MOST_WRONG`] mistakes.
///
/// A key that is only misspelt is renamed in the tree: what is below it is checked too, and nothing that
/// needs it is complained about.
pub(crate) fn decode<T: DeserializeOwned>(tree: &mut Node) -> Decoded<T> {
    let mut decoded = Decoded { value: None, findings: Vec::new(), left_out: BTreeSet::new() };
    loop {
        match T::deserialize(NodeDeserializer::new(tree, &decoded.left_out)) {
            Ok(value) => {
                decoded.value = Some(value);
                return decoded;
            }
            Err(wrong) => {
                let (place, meant) = (wrong.place(), wrong.meant());
                if !wrong.follows_from(tree, &decoded.left_out) {
                    decoded.findings.push(wrong.finding());
                }
                let enough = decoded.findings.len() >= MOST_WRONG;
                if !enough && meant.is_some_and(|name| tree.rename(place, name)) {
                    continue;
                }
                if enough || place == Place::ROOT || !decoded.left_out.insert(place) {
                    return decoded;
                }
            }
        }
    }
}

/// A value and where it was written; what a preset made bears the place of what asked for it.
#[derive(Debug, Clone, Copy)]
pub struct At<T> {
    /// The value.
    pub value: T,
    /// Where.
    pub place: Place,
}

impl<T> At<T> {
    /// A value made on behalf of what stands at `place`.
    pub(crate) fn made(value: T, place: Place) -> Self {
        Self { value, place }
    }
}

impl<T> Deref for At<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: PartialEq> PartialEq for At<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl<T: Serialize> Serialize for At<T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(serializer)
    }
}

#[cfg(test)]
impl<T: schemars::JsonSchema> schemars::JsonSchema for At<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        T::schema_name()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        T::json_schema(generator)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for At<T> {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AtVisitor<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for AtVisitor<T> {
            type Value = At<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value with its place")
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut access: A) -> Result<At<T>, A::Error> {
                let missing = || de::Error::custom("no value and place");
                let place = access.next_element()?.ok_or_else(missing)?;
                let value = access.next_element()?.ok_or_else(missing)?;
                Ok(At { value, place: Place::from_number(place) })
            }
        }
        deserializer.deserialize_newtype_struct(AT, AtVisitor(std::marker::PhantomData))
    }
}

/// Decodes what may be written as a scalar or, with more to say, as a map.
pub(crate) fn scalar_or_map<'de, D, S, M, T>(
    deserializer: D,
    expecting: &'static str,
    scalar: fn(S) -> T,
    map: fn(M) -> T,
) -> Result<T, D::Error>
where
    D: de::Deserializer<'de>,
    S: Deserialize<'de>,
    M: Deserialize<'de>,
{
    deserializer.deserialize_any(ScalarOrMap { expecting, scalar, map })
}

struct ScalarOrMap<S, M, T> {
    expecting: &'static str,
    scalar: fn(S) -> T,
    map: fn(M) -> T,
}

impl<'de, S: Deserialize<'de>, M: Deserialize<'de>, T> Visitor<'de> for ScalarOrMap<S, M, T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expecting)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        S::deserialize(text.into_deserializer()).map(self.scalar)
    }

    fn visit_bool<E: de::Error>(self, flag: bool) -> Result<T, E> {
        S::deserialize(flag.into_deserializer()).map(self.scalar)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
        S::deserialize(number.into_deserializer()).map(self.scalar)
    }

    fn visit_map<A: de::MapAccess<'de>>(self, access: A) -> Result<T, A::Error> {
        M::deserialize(MapAccessDeserializer::new(access)).map(self.map)
    }
}
