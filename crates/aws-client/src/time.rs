//! Times as signatures write them.

use std::time::{SystemTime, UNIX_EPOCH};

/// A second in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(u64);

impl Timestamp {
    /// Now, by the clock of the system.
    pub fn now() -> Self {
        Self(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
    }

    /// A second counted from 1970.
    pub fn from_unix(seconds: u64) -> Self {
        Self(seconds)
    }

    /// Reads `2015-08-30T12:36:00Z`; fractions of a second are dropped.
    pub fn parse(text: &str) -> Option<Self> {
        let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
        let number = |text: &str| text.parse::<u64>().ok();
        let mut date = date.splitn(3, '-').map(number);
        let (year, month, day) = (date.next()??, date.next()??, date.next()??);
        let mut time = time.split('.').next()?.splitn(3, ':').map(number);
        let (hour, minute, second) = (time.next()??, time.next()??, time.next()??);
        if year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
            return None;
        }
        Some(Self(days(year, month, day) * 86400 + hour * 3600 + minute * 60 + second))
    }

    /// The difference to an earlier one, in seconds; 0 if it is later.
    pub fn seconds_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// `20150830`.
    pub(crate) fn date(self) -> String {
        let (year, month, day) = civil(self.0 / 86400);
        format!("{year:04}{month:02}{day:02}")
    }

    /// `20150830T123600Z`.
    pub(crate) fn basic(self) -> String {
        let second = self.0 % 86400;
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        format!("{}T{hour:02}{minute:02}{second:02}Z", self.date())
    }
}

/// Days since 1970-01-01. Years are counted from March, so that a leap day comes
/// last.
fn days(year: u64, month: u64, day: u64) -> u64 {
    let year = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    year * 365 + year / 4 - year / 100 + year / 400 + day_of_year - 719_468
}

/// The inverse of [`days`].
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_and_read() {
        for (text, seconds, basic) in [
            ("1970-01-01T00:00:00Z", 0, "19700101T000000Z"),
            ("2015-08-30T12:36:00Z", 1_440_938_160, "20150830T123600Z"),
            ("2024-02-29T23:59:59.123Z", 1_709_251_199, "20240229T235959Z"),
            ("2100-03-01T00:00:00Z", 4_107_542_400, "21000301T000000Z"),
        ] {
            let time = Timestamp::parse(text).unwrap();
            assert_eq!((time, time.basic().as_str()), (Timestamp(seconds), basic));
        }
        for text in ["", "2015-08-30", "2015-13-01T00:00:00Z", "x-08-30T12:36:00Z"] {
            assert_eq!(Timestamp::parse(text), None, "{text}");
        }
    }
}
