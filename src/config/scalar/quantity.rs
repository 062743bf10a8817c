//! Durations, sizes and counts.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A duration: `500ms`, `30s`, `5m`, `12h`, `90d`. Zero is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Time(pub Duration);

/// A duration that is not zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeout(pub Duration);

/// Text that is not a duration.
#[derive(Debug, thiserror::Error)]
pub enum TimeError {
    /// No number, or no unit.
    #[error("\"{text}\" is not a duration\n{}", unit_help(text))]
    Format {
        /// What was written.
        text: String,
    },
    /// More than anybody waits.
    #[error("\"{0}\" is longer than a hundred years")]
    TooLong(String),
    /// Zero where that would fail everything at once.
    #[error("this time must be longer than zero\nwith zero it would be over before it begins")]
    Zero,
}

fn unit_help(text: &str) -> String {
    match text.trim() {
        number if !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) => {
            format!("it needs a unit: {number}s, {number}m or {number}ms")
        }
        _ => String::from("write a number and a unit: 500ms, 30s, 5m, 12h, 90d"),
    }
}

/// Units, the longest first; each is a multiple of all that follow.
const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// A hundred years in milliseconds: far beyond any timer, far below any overflow.
const MOST_MILLIS: u64 = 100 * 365 * 86_400_000;

impl FromStr for Time {
    type Err = TimeError;

    fn from_str(text: &str) -> Result<Self, TimeError> {
        let format = || TimeError::Format { text: text.to_owned() };
        let digits = text.find(|ch: char| !ch.is_ascii_digit()).ok_or_else(format)?;
        let (number, unit) = text.split_at(digits);
        let (_, millis) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(format)?;
        if number.is_empty() {
            return Err(format());
        }
        let total = number.parse::<u64>().ok().and_then(|number| number.checked_mul(*millis));
        match total.filter(|total| *total <= MOST_MILLIS) {
            Some(total) => Ok(Self(Duration::from_millis(total))),
            None => Err(TimeError::TooLong(text.to_owned())),
        }
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        let fits = |(_, unit): &&(&str, u64)| millis >= *unit && millis.is_multiple_of(*unit);
        match UNITS.iter().find(fits) {
            Some((name, unit)) => write!(f, "{}{name}", millis / unit),
            None => f.write_str("0s"),
        }
    }
}

impl FromStr for Timeout {
    type Err = TimeError;

    fn from_str(text: &str) -> Result<Self, TimeError> {
        match text.parse::<Time>()?.0 {
            Duration::ZERO => Err(TimeError::Zero),
            time => Ok(Self(time)),
        }
    }
}

impl fmt::Display for Timeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Time(self.0).fmt(f)
    }
}

text_scalar!(Time, "a duration like `30s` or `90d`", number: Some(|number| number.to_string()),
    "pattern": "^[0-9]+(ms|s|m|h|d)$", "examples": ["500ms", "30s", "5m", "90d"]);
text_scalar!(Timeout, "a duration like `30s` or `5m`, longer than zero",
    number: Some(|number| number.to_string()),
    "pattern": "^[0-9]*[1-9][0-9]*(ms|s|m|h|d)$", "examples": ["500ms", "30s", "5m"]);

/// A number of bytes: `50MiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size(pub u64);

/// Text that is not a size.
#[derive(Debug, thiserror::Error)]
pub enum SizeError {
    /// No number, or no unit that is known.
    #[error("\"{text}\" is not a size\n{}", size_help(text))]
    Format {
        /// What was written.
        text: String,
    },
    /// More than 64 bits hold.
    #[error("\"{0}\" is more than any machine holds")]
    TooLarge(String),
}

fn size_help(text: &str) -> String {
    let number = text.trim_end_matches(|ch: char| !ch.is_ascii_digit()).trim_end();
    let plain = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    match text[number.len()..].trim().to_ascii_lowercase().as_str() {
        "" if plain => format!("it needs a unit: {number}B, {number}KiB or {number}MiB"),
        "k" | "kb" | "kib" if plain => format!("did you mean {number}KiB?"),
        "m" | "mb" | "mib" if plain => format!("did you mean {number}MiB?"),
        "g" | "gb" | "gib" if plain => format!("did you mean {number}GiB?"),
        _ => String::from("write a number and a unit: 512B, 64KiB, 50MiB, 2GiB"),
    }
}

/// Units, the largest first.
const SIZES: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

impl FromStr for Size {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, SizeError> {
        let format = || SizeError::Format { text: text.to_owned() };
        let digits = text.find(|ch: char| !ch.is_ascii_digit()).filter(|at| *at > 0).ok_or_else(format)?;
        let (number, unit) = text.split_at(digits);
        let (_, factor) = SIZES.iter().find(|(name, _)| *name == unit).ok_or_else(format)?;
        let total = number.parse::<u64>().ok().and_then(|number| number.checked_mul(*factor));
        total.map(Self).ok_or_else(|| SizeError::TooLarge(text.to_owned()))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = |(_, unit): &&(&str, u64)| self.0 >= *unit && self.0.is_multiple_of(*unit);
        let (name, unit) = SIZES.iter().find(fits).unwrap_or(&("B", 1));
        write!(f, "{}{name}", self.0 / unit)
    }
}

text_scalar!(Size, "a size like `50MiB`", number: Some(|number| number.to_string()),
    "pattern": "^[0-9]+(B|KiB|MiB|GiB)$", "examples": ["64KiB", "50MiB"]);

/// A whole number of at least 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count(pub u32);

/// A number that is no count.
#[derive(Debug, thiserror::Error)]
pub enum CountError {
    /// Zero.
    #[error("this number must be at least 1")]
    Zero,
    /// More than 32 bits hold.
    #[error("this number must be at most {}", u32::MAX)]
    TooLarge,
}

impl TryFrom<u64> for Count {
    type Error = CountError;

    fn try_from(number: u64) -> Result<Self, CountError> {
        match u32::try_from(number) {
            Ok(0) => Err(CountError::Zero),
            Ok(number) => Ok(Self(number)),
            Err(_) => Err(CountError::TooLarge),
        }
    }
}

impl Count {
    fn number(self) -> u64 {
        self.0.into()
    }

    /// As what indexes and lengths are counted in.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

number_scalar!(Count, "a whole number of at least 1", "minimum": 1);

/// How many requests may wait: a whole number of at least 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Places(pub u32);

/// A number that is no number of places.
#[derive(Debug, thiserror::Error)]
pub enum PlacesError {
    /// Zero.
    #[error("this number must be at least 1\nto have nothing wait, write `park: false`")]
    Zero,
    /// More than 32 bits hold.
    #[error("this number must be at most {}", u32::MAX)]
    TooLarge,
}

impl TryFrom<u64> for Places {
    type Error = PlacesError;

    fn try_from(number: u64) -> Result<Self, PlacesError> {
        match u32::try_from(number) {
            Ok(0) => Err(PlacesError::Zero),
            Ok(number) => Ok(Self(number)),
            Err(_) => Err(PlacesError::TooLarge),
        }
    }
}

impl Places {
    fn number(self) -> u64 {
        self.0.into()
    }
}

number_scalar!(Places, "a whole number of at least 1", "minimum": 1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_number_and_a_unit() {
        for (text, millis) in [
            ("500ms", Some(500)),
            ("30s", Some(30_000)),
            ("5m", Some(300_000)),
            ("0s", Some(0)),
            ("90d", Some(7_776_000_000)),
            ("30", None),
            ("s", None),
            ("", None),
            ("-5s", None),
            ("5 s", None),
            ("1.5s", None),
            ("5M", None),
            ("99999999999999999999d", None),
        ] {
            let parsed = text.parse::<Time>().ok().map(|time| time.0.as_millis());
            assert_eq!(parsed, millis, "{text}");
        }
        assert!("0s".parse::<Timeout>().is_err());
    }

    #[test]
    fn a_wrong_unit_of_size_is_guessed() {
        let told = "50MB".parse::<Size>().unwrap_err().to_string();
        assert_eq!(told, "\"50MB\" is not a size\ndid you mean 50MiB?");
    }

    proptest::proptest! {
        #[test]
        fn quantities_survive_being_written(number in 0_u64..1_000_000_000) {
            let time = Time(Duration::from_millis(number));
            proptest::prop_assert_eq!(time.to_string().parse::<Time>().unwrap(), time);
            let size = Size(number);
            proptest::prop_assert_eq!(size.to_string().parse::<Size>().unwrap(), size);
        }

        #[test]
        fn any_text_is_answered(text in ".{0,20}") {
            let _ = text.parse::<Timeout>().map_err(|error| error.to_string());
            let _ = text.parse::<Size>().map_err(|error| error.to_string());
        }
    }
}
