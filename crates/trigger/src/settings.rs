//! How messages are handled.

use std::collections::BTreeMap;
use std::time::Duration;

use app::Problems;

/// How messages are handled, whatever brings them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageSettings {
    /// Messages that one trigger handles at the same time. One, which is what
    /// Spin does, keeps them in order.
    pub concurrency: usize,
    /// How long a guest may take for one message; none: as long as it wants.
    /// Guests over it are stopped.
    pub timeout: Option<Duration>,
}

impl Default for MessageSettings {
    fn default() -> Self {
        Self { concurrency: 1, timeout: None }
    }
}

impl MessageSettings {
    /// The defaults, changed by
    ///
    /// | variable | value |
    /// |---|---|
    /// | `SPINLET_MESSAGE_CONCURRENCY` | 1 to 1000 |
    /// | `SPINLET_MESSAGE_TIMEOUT` | a duration such as `30s`, `500ms`, `2m`; `off` |
    ///
    /// Empty values are ignored.
    ///
    /// # Errors
    /// Every value of another form.
    pub fn from_environment(environment: &BTreeMap<String, String>) -> Result<Self, Problems> {
        let mut settings = Self::default();
        let mut problems = Problems::default();
        let given = |name: &str| environment.get(name).filter(|value| !value.is_empty());
        if let Some(value) = given("SPINLET_MESSAGE_CONCURRENCY") {
            match value.parse() {
                Ok(number @ 1..=1000) => settings.concurrency = number,
                _ => problems.push(format!(
                    "SPINLET_MESSAGE_CONCURRENCY is {value:?}, expected a number from 1 to 1000"
                )),
            }
        }
        if let Some(value) = given("SPINLET_MESSAGE_TIMEOUT").filter(|value| *value != "off") {
            settings.timeout = parse_duration(value).filter(|duration| !duration.is_zero());
            if settings.timeout.is_none() {
                problems.push(format!(
                    "SPINLET_MESSAGE_TIMEOUT is {value:?}, expected a duration such as `30s`, \
                     `500ms` or `2m`, or `off`"
                ));
            }
        }
        problems.into_result(settings)
    }
}

/// Reads `500ms`, `30s`, `2m` or `1h`; a bare number is refused, because nobody
/// can tell its unit.
pub fn parse_duration(value: &str) -> Option<Duration> {
    let digits = value.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = value.split_at_checked(digits)?;
    let number: u32 = number.parse().ok()?;
    let unit = match unit {
        "ms" => Duration::from_millis(1),
        "s" => Duration::from_secs(1),
        "m" => Duration::from_mins(1),
        "h" => Duration::from_hours(1),
        _ => return None,
    };
    Some(unit * number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<MessageSettings, Problems> {
        let environment =
            pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        MessageSettings::from_environment(&environment)
    }

    #[test]
    fn every_variable_is_read() {
        let settings =
            read(&[("SPINLET_MESSAGE_CONCURRENCY", "8"), ("SPINLET_MESSAGE_TIMEOUT", "5s")]);
        let expected = MessageSettings { concurrency: 8, timeout: Some(Duration::from_secs(5)) };
        assert_eq!(settings.unwrap(), expected);
        let default =
            read(&[("SPINLET_MESSAGE_TIMEOUT", "off"), ("SPINLET_MESSAGE_CONCURRENCY", "")]);
        assert_eq!(default.unwrap(), MessageSettings::default());
    }

    #[test]
    fn every_unreadable_value_is_reported() {
        for value in ["0", "many", "1001"] {
            assert!(read(&[("SPINLET_MESSAGE_CONCURRENCY", value)]).is_err(), "{value}");
        }
        let both = read(&[("SPINLET_MESSAGE_CONCURRENCY", "-1"), ("SPINLET_MESSAGE_TIMEOUT", "5")]);
        assert_eq!(both.unwrap_err().iter().count(), 2);
    }

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(parse_duration("1500ms"), Some(Duration::from_millis(1500)));
        assert_eq!(parse_duration("2h"), Some(Duration::from_hours(2)));
        for text in ["", "5", "s", "-1s", "1d", "1.5s"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }
}
