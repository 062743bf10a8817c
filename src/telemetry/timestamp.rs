//! Wall-clock time as text, in UTC.
//!
//! UTC alone: local time needs the zone files, which a confined process can't open, libc's reader of them is
//! not safe beside other threads, and lines of several machines are compared more often than read with a clock
//! in hand.

use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// A moment split by the Gregorian calendar, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Civil {
    /// Year, 1970 or later.
    pub year: u64,
    /// 1 to 12.
    pub month: u64,
    /// 1 to 31.
    pub day: u64,
    /// 0 to 23.
    pub hour: u64,
    /// 0 to 59.
    pub minute: u64,
    /// 0 to 59; a leap second is the second before it again.
    pub second: u64,
    /// 0 to 999.
    pub millis: u32,
}

impl Civil {
    /// The calendar's names for `time`; what is before 1970 is shown as 1970.
    pub fn of(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let seconds = since.as_secs();
        let (days, rest) = (seconds / 86_400, seconds % 86_400);
        let (year, month, day) = date(days);
        Self {
            year,
            month,
            day,
            hour: rest / 3600,
            minute: rest / 60 % 60,
            second: rest % 60,
            millis: since.subsec_millis(),
        }
    }
}

/// Year, month and day of a day since 1970-01-01.
///
/// Counted from 0000-03-01 in eras of 400 years, so that the leap day is the last of its year.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

/// Appends `2026-11-23T09:05:07.042Z` (RFC 3339).
pub fn rfc3339(out: &mut Vec<u8>, time: SystemTime) {
    rfc3339_second(out, time);
    let _ = write!(out, ".{:03}Z", Civil::of(time).millis);
}

/// Appends `2026-11-23T09:05:07`: what of RFC 3339 is the same for a whole second.
pub fn rfc3339_second(out: &mut Vec<u8>, time: SystemTime) {
    let t = Civil::of(time);
    // Writing to a Vec can't fail.
    let _ = write!(
        out,
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}",
        t.year, t.month, t.day, t.hour, t.minute, t.second
    );
}

/// Appends `23/Nov/2026:09:05:07 +0000`, as the NCSA formats write it.
pub fn ncsa(out: &mut Vec<u8>, time: SystemTime) {
    let t = Civil::of(time);
    let month = MONTHS[(t.month - 1) as usize % 12];
    let _ =
        write!(out, "{:02}/{month}/{:04}:{:02}:{:02}:{:02} +0000", t.day, t.year, t.hour, t.minute, t.second);
}

/// Appends `2026-11-23 09:05`, for a person.
pub fn minute(out: &mut Vec<u8>, time: SystemTime) {
    let t = Civil::of(time);
    let _ = write!(out, "{:04}-{:02}-{:02} {:02}:{:02}", t.year, t.month, t.day, t.hour, t.minute);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn text(f: fn(&mut Vec<u8>, SystemTime), seconds: u64, millis: u64) -> String {
        let mut out = Vec::new();
        f(&mut out, UNIX_EPOCH + Duration::from_secs(seconds) + Duration::from_millis(millis));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn known_moments_have_their_names() {
        for (seconds, wanted) in [
            (0, "1970-01-01T00:00:00.042Z"),
            (951_782_399, "2000-02-28T23:59:59.042Z"),
            (951_782_400, "2000-02-29T00:00:00.042Z"),
            (951_868_800, "2000-03-01T00:00:00.042Z"),
            (1_709_164_800, "2024-02-29T00:00:00.042Z"),
            (1_735_689_599, "2024-12-31T23:59:59.042Z"),
            (4_107_542_400, "2100-03-01T00:00:00.042Z"),
        ] {
            assert_eq!(text(rfc3339, seconds, 42), wanted);
        }
        assert_eq!(text(ncsa, 971_211_336, 999), "10/Oct/2000:20:55:36 +0000");
        assert_eq!(text(minute, 971_211_336, 0), "2000-10-10 20:55");
    }

    #[test]
    fn days_follow_each_other_without_gap() {
        let mut last = date(0);
        for day in 1..200_000 {
            let (y, m, d) = date(day);
            let next_day = (y, m, d) == (last.0, last.1, last.2 + 1);
            let next_month = d == 1 && last.2 >= 28 && ((y, m) == (last.0, last.1 + 1));
            let next_year = (m, d) == (1, 1) && (last.1, last.2) == (12, 31) && y == last.0 + 1;
            assert!(next_day || next_month || next_year, "{last:?} then {:?}", (y, m, d));
            last = (y, m, d);
        }
    }

    #[test]
    fn before_the_epoch_is_the_epoch() {
        assert_eq!(Civil::of(UNIX_EPOCH - Duration::from_secs(9)), Civil::of(UNIX_EPOCH));
    }
}
