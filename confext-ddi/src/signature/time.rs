//! A moment: seconds since 1970, because nothing here asks a clock.

use std::time::{SystemTime, UNIX_EPOCH};

const SECONDS_PER_DAY: i64 = 86_400;

/// A moment: seconds since 1970-01-01T00:00:00Z, leap seconds not counted.
///
/// ```
/// use confext_ddi::signature::Time;
///
/// assert_eq!(Time::from_unix(0).to_string(), "1970-01-01T00:00:00Z");
/// assert_eq!(Time::from_unix(0).after_days(1).map(Time::as_unix), Some(86_400));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Time(i64);

impl Time {
    /// Takes seconds since 1970.
    #[must_use]
    pub const fn from_unix(seconds: i64) -> Self {
        Self(seconds)
    }

    /// Seconds since 1970.
    #[must_use]
    pub const fn as_unix(self) -> i64 {
        self.0
    }

    /// The moment so many days later, or `None` when it cannot be told.
    #[must_use]
    pub fn after_days(self, days: u32) -> Option<Self> {
        self.0.checked_add(i64::from(days).checked_mul(SECONDS_PER_DAY)?).map(Self)
    }
}

impl From<SystemTime> for Time {
    fn from(time: SystemTime) -> Self {
        let seconds = |duration: std::time::Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
        Self(match time.duration_since(UNIX_EPOCH) {
            Ok(after) => seconds(after),
            Err(before) => seconds(before.duration()).saturating_neg(),
        })
    }
}

/// Year, month and day of a day counted from 1970, in the proleptic Gregorian calendar; `None` far out of range.
///
/// Counts eras of 400 years from March, so that the leap day is a year's last.
fn civil(day: i64) -> Option<(i64, i64, i64)> {
    let shifted = day.checked_add(719_468)?;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let leap_days = of_era.checked_div(1_460)?.checked_sub(of_era.checked_div(36_524)?)?;
    let leap_days = leap_days.checked_add(of_era.checked_div(146_096)?)?;
    let year_of_era = of_era.checked_sub(leap_days)?.checked_div(365)?;
    let before = year_of_era.checked_mul(365)?.checked_add(year_of_era.checked_div(4)?)?;
    let day_of_year = of_era.checked_sub(before.checked_sub(year_of_era.checked_div(100)?)?)?;
    let month = day_of_year.checked_mul(5)?.checked_add(2)?.checked_div(153)?;
    let month_start = month.checked_mul(153)?.checked_add(2)?.checked_div(5)?;
    let day = day_of_year.checked_sub(month_start)?.checked_add(1)?;
    let (month, carry) = if month < 10 { (month.checked_add(3)?, 0) } else { (month.checked_sub(9)?, 1) };
    Some((era.checked_mul(400)?.checked_add(year_of_era)?.checked_add(carry)?, month, day))
}

/// RFC 3339 in UTC, like `2026-11-23T09:30:00Z`.
impl std::fmt::Display for Time {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Some((year, month, day)) = civil(self.0.div_euclid(SECONDS_PER_DAY)) else {
            return write!(f, "{} seconds since 1970", self.0);
        };
        let second = self.0.rem_euclid(SECONDS_PER_DAY);
        let (hour, minute) = (second.div_euclid(3_600), second.div_euclid(60).rem_euclid(60));
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{:02}Z", second.rem_euclid(60))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn known_moments() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (-1, "1969-12-31T23:59:59Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (978_307_199, "2000-12-31T23:59:59Z"),
            (1_709_210_096, "2024-02-29T12:34:56Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (253_402_300_799, "9999-12-31T23:59:59Z"),
            (-62_135_596_800, "0001-01-01T00:00:00Z"),
        ] {
            assert_eq!(Time::from_unix(seconds).to_string(), text);
        }
        for seconds in [i64::MIN, i64::MAX] {
            assert!(!Time::from_unix(seconds).to_string().is_empty());
        }
    }

    #[test]
    fn system_times_convert_both_sides_of_1970() {
        let day = Duration::from_secs(86_400);
        assert_eq!(Time::from(UNIX_EPOCH + day), Time::from_unix(86_400));
        assert_eq!(Time::from(UNIX_EPOCH - day), Time::from_unix(-86_400));
        assert_eq!(Time::from_unix(5).after_days(2), Some(Time::from_unix(172_805)));
        assert_eq!(Time::from_unix(i64::MAX).after_days(1), None);
    }
}
