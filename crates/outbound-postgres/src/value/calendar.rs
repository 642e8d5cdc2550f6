//! Dates and times: the server counts from the first of January 2000.

/// Days from 1970-01-01 to 2000-01-01.
const EPOCH_DAYS: i64 = 10_957;
const MICROS_PER_SECOND: i64 = 1_000_000;
const MICROS_PER_DAY: i64 = 86_400 * MICROS_PER_SECOND;

/// Year, month and day.
pub(super) type Date = (i32, u8, u8);
/// Hour, minute, second and nanosecond.
pub(super) type Time = (u8, u8, u8, u32);

/// Days since 2000-01-01, if there is such a day.
pub(super) fn days_from_date((year, month, day): Date) -> Option<i32> {
    if !(1..=12).contains(&month) || day == 0 || day > days_in_month(year, month) {
        return None;
    }
    // Years begin in March, so the day a leap year has more is its last one.
    let (month, day) = (i64::from(month), i64::from(day));
    let year = i64::from(year) - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    i32::try_from(era * 146_097 + day_of_era - 719_468 - EPOCH_DAYS).ok()
}

/// The date so many days after 2000-01-01.
pub(super) fn date_from_days(days: i64) -> Option<Date> {
    let days = days + EPOCH_DAYS + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    Some((i32::try_from(year).ok()?, u8::try_from(month).ok()?, u8::try_from(day).ok()?))
}

fn days_in_month(year: i32, month: u8) -> u8 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Microseconds since midnight, if there is such a time.
pub(super) fn micros_from_time((hour, minute, second, nanosecond): Time) -> Option<i64> {
    if hour > 23 || minute > 59 || second > 59 || nanosecond > 999_999_999 {
        return None;
    }
    let seconds = i64::from(hour) * 3600 + i64::from(minute) * 60 + i64::from(second);
    Some(seconds * MICROS_PER_SECOND + i64::from(nanosecond / 1000))
}

/// The time so many microseconds after midnight.
pub(super) fn time_from_micros(micros: i64) -> Option<Time> {
    let seconds = micros.div_euclid(MICROS_PER_SECOND);
    let hour = u8::try_from(seconds / 3600).ok()?;
    let (minute, second) = ((seconds / 60 % 60) as u8, (seconds % 60) as u8);
    Some((hour, minute, second, micros.rem_euclid(MICROS_PER_SECOND) as u32 * 1000))
}

/// Microseconds since 2000-01-01 00:00; what is less than one is cut off on the side
/// of that day, as by Spin.
pub(super) fn micros_from_datetime(date: Date, time: Time) -> Option<i64> {
    let micros = i64::from(days_from_date(date)?)
        .checked_mul(MICROS_PER_DAY)?
        .checked_add(micros_from_time(time)?)?;
    let is_cut = micros < 0 && !time.3.is_multiple_of(1000);
    Some(micros + i64::from(is_cut))
}

/// Date and time so many microseconds after 2000-01-01 00:00.
pub(super) fn datetime_from_micros(micros: i64) -> Option<(Date, Time)> {
    let date = date_from_days(micros.div_euclid(MICROS_PER_DAY))?;
    Some((date, time_from_micros(micros.rem_euclid(MICROS_PER_DAY))?))
}

/// Microseconds since 2000-01-01 00:00 of a Unix time.
pub(super) fn micros_from_unix(seconds: i64) -> Option<i64> {
    seconds.checked_sub(EPOCH_DAYS * 86_400)?.checked_mul(MICROS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_counted_from_the_year_2000() {
        for (date, days) in [
            ((2000, 1, 1), 0),
            ((1999, 12, 31), -1),
            ((2000, 2, 29), 59),
            ((2000, 3, 1), 60),
            ((1970, 1, 1), -10_957),
            ((2024, 2, 29), 8825),
            ((-4712, 1, 1), -2_451_507),
        ] {
            assert_eq!(days_from_date(date), Some(days), "{date:?}");
            assert_eq!(date_from_days(days.into()), Some(date), "{days}");
        }
        for days in (-3_000_000..3_000_000).step_by(997) {
            assert_eq!(days_from_date(date_from_days(days).unwrap()), Some(days as i32));
        }
    }

    #[test]
    fn there_are_no_other_dates_and_times() {
        for date in [(2023, 2, 29), (1900, 2, 29), (2000, 0, 1), (2000, 13, 1), (2000, 4, 31)] {
            assert_eq!(days_from_date(date), None, "{date:?}");
        }
        for time in [(24, 0, 0, 0), (0, 60, 0, 0), (0, 0, 60, 0), (0, 0, 0, 1_000_000_000)] {
            assert_eq!(micros_from_time(time), None, "{time:?}");
        }
    }

    #[test]
    fn times_have_microseconds() {
        let (date, time) = ((1999, 12, 31), (23, 59, 59, 999_999_000));
        assert_eq!(micros_from_datetime(date, time), Some(-1));
        assert_eq!(datetime_from_micros(-1), Some((date, time)));
        let between = |date, nanoseconds| micros_from_datetime(date, (23, 59, 58, nanoseconds));
        assert_eq!(between(date, 4), Some(-1_999_999));
        assert_eq!(between((2000, 1, 1), 4), Some(86_398_000_000));
        assert_eq!(micros_from_unix(946_684_801), Some(1_000_000));
    }
}
