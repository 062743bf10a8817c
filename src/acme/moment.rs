//! Wall-clock time as people and JSON read it: RFC 3339, UTC, whole seconds.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A wall-clock time, cut to the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(u64);

impl Moment {
    /// The moment of `time`; what is before 1970 is 1970.
    pub fn of(time: SystemTime) -> Self {
        Self(time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs().min(LATEST))
    }

    /// As the system counts it.
    pub fn time(self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(self.0)
    }

    /// What RFC 3339 text says, with any offset; at most the last moment of the year 9999.
    pub fn parse(text: &str) -> Option<Self> {
        let parsed = OffsetDateTime::parse(text, &Rfc3339).ok()?;
        Some(Self(u64::try_from(parsed.unix_timestamp()).unwrap_or(0).min(LATEST)))
    }

    /// Later by `span`, at most the last moment of the year 9999.
    pub fn after(self, span: Duration) -> Self {
        Self(self.0.saturating_add(span.as_secs()).min(LATEST))
    }

    /// Earlier by `span`, at least 1970.
    pub fn before(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(span.as_secs()))
    }

    /// The time from `earlier` to this; zero if that is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_secs(self.0.saturating_sub(earlier.0))
    }
}

/// 9999-12-31T23:59:59Z: what RFC 3339 can still say.
const LATEST: u64 = 253_402_300_799;

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = i64::try_from(self.0).unwrap_or(i64::MAX);
        let text = OffsetDateTime::from_unix_timestamp(seconds).ok().and_then(|at| at.format(&Rfc3339).ok());
        f.write_str(text.as_deref().unwrap_or("9999-12-31T23:59:59Z"))
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom(format!("`{text}` is no RFC 3339 time")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_read_back_the_same() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2026-11-23T15:04:05Z", 1_795_446_245),
            ("9999-12-31T23:59:59Z", LATEST),
        ] {
            assert_eq!(Moment::parse(text), Some(Moment(seconds)), "{text}");
            assert_eq!(Moment(seconds).to_string(), text);
        }
        assert_eq!(Moment::parse("2026-11-23T16:04:05.9+01:00"), Moment::parse("2026-11-23T15:04:05Z"));
        assert_eq!(Moment::parse("yesterday"), None);
        // An offset leads beyond what can be written.
        assert_eq!(Moment::parse("9999-12-31T23:59:59-01:00"), Some(Moment(LATEST)));
        assert_eq!(Moment::parse("0000-01-01T00:00:00+01:00"), Some(Moment(0)));
    }

    #[test]
    fn spans_end_at_the_calendars_ends() {
        let day = Duration::from_secs(86_400);
        assert_eq!(Moment(LATEST).after(day), Moment(LATEST));
        assert_eq!(Moment(5).before(day), Moment(0));
        assert_eq!(Moment(5).since(Moment(9)), Duration::ZERO);
        assert_eq!(Moment::of(UNIX_EPOCH + day).since(Moment(400)), day - Duration::from_secs(400));
    }
}
