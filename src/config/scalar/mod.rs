//! The words of the grammar: values that are written as one scalar and checked as soon as they are read.
//!
//! Each is a newtype with its own messages, so a bad one is told where it stands. What values mean
//! together is checked later, in `resolve`.

/// Gives a newtype over text its serde and JSON Schema sides, from `FromStr` and `Display`.
///
/// The error of `FromStr` has a title in its first line and help in the further ones.
macro_rules! text_scalar {
    ($type:ident, $what:literal, number: $number:expr, $($key:literal: $value:tt),*) => {
        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Text;
                impl serde::de::Visitor<'_> for Text {
                    type Value = $type;

                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str($what)
                    }

                    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<$type, E> {
                        text.parse().map_err(E::custom)
                    }

                    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<$type, E> {
                        let retry: Option<fn(u64) -> String> = $number;
                        match retry {
                            Some(text) => self.visit_str(&text(number)),
                            None => {
                                Err(E::invalid_type(serde::de::Unexpected::Unsigned(number), &self))
                            }
                        }
                    }
                }
                deserializer.deserialize_str(Text)
            }
        }

        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        #[cfg(test)]
        impl schemars::JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "description": $what, $($key: $value),* })
            }
        }
    };
}

/// Gives a newtype over a whole number its serde and JSON Schema sides, from `TryFrom<u64>`.
macro_rules! number_scalar {
    ($type:ident, $what:literal, $($key:literal: $value:tt),*) => {
        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Number;
                impl serde::de::Visitor<'_> for Number {
                    type Value = $type;

                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str($what)
                    }

                    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<$type, E> {
                        $type::try_from(number).map_err(E::custom)
                    }
                }
                deserializer.deserialize_u64(Number)
            }
        }

        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_u64(self.number())
            }
        }

        #[cfg(test)]
        impl schemars::JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "integer", "description": $what, $($key: $value),* })
            }
        }
    };
}

pub mod acme;
pub mod address;
pub mod home;
pub mod name;
pub mod quantity;
pub mod web;
