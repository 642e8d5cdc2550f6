//! Typed reading of environment variables, with every problem reported at once.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::str::FromStr;

/// The longest part of a value that is repeated in an error, in characters.
const SHOWN: usize = 100;

/// A set of environment variables: this process's own, or one that was handed
/// over, such as a container's.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    values: BTreeMap<OsString, OsString>,
}

impl Environment {
    /// The environment of this process.
    pub fn of_process() -> Self {
        Self { values: std::env::vars_os().collect() }
    }

    /// The value of `name`, if it is set and is UTF-8.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.raw(name).and_then(OsStr::to_str)
    }

    /// The value of `name` as the operating system has it.
    pub fn raw(&self, name: &str) -> Option<&OsStr> {
        self.values.get(OsStr::new(name)).map(OsString::as_os_str)
    }

    /// Starts reading typed values; end with [`Reader::finish`].
    pub fn reader(&self) -> Reader<'_> {
        Reader { environment: self, problems: Vec::new() }
    }
}

impl From<BTreeMap<String, String>> for Environment {
    fn from(values: BTreeMap<String, String>) -> Self {
        values.into_iter().collect()
    }
}

impl<K: Into<OsString>, V: Into<OsString>> FromIterator<(K, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(values: I) -> Self {
        let values = values.into_iter().map(|(name, value)| (name.into(), value.into()));
        Self { values: values.collect() }
    }
}

/// Reads typed values and remembers every one that could not be used.
///
/// The getters never fail by themselves: a variable that does not parse yields
/// `None` or the default and makes [`Reader::finish`] fail.
#[derive(Debug)]
pub struct Reader<'a> {
    environment: &'a Environment,
    problems: Vec<Problem>,
}

impl<'a> Reader<'a> {
    /// The value of `name` as text; none when it is not set.
    pub fn text(&mut self, name: &str) -> Option<&'a str> {
        let raw = self.environment.raw(name)?;
        let text = raw.to_str();
        if text.is_none() {
            self.refuse(name, &raw.to_string_lossy(), "UTF-8 text");
        }
        text
    }

    /// The value of `name` read by its type's [`FromStr`]; none when it is not
    /// set. `accepted` completes the sentence "expected …".
    pub fn parse<T: FromStr>(&mut self, name: &str, accepted: &str) -> Option<T> {
        self.with(name, accepted, |text| text.parse().ok())
    }

    /// The value of `name` read by `read`; none when it is not set. `accepted`
    /// completes the sentence "expected …".
    pub fn with<T>(
        &mut self,
        name: &str,
        accepted: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let text = self.text(name)?;
        let value = read(text);
        if value.is_none() {
            self.refuse(name, text, accepted);
        }
        value
    }

    /// The value of `name` as a switch: `1` or `true`, `0` or `false`, in any
    /// case; none when it is not set.
    pub fn switch(&mut self, name: &str) -> Option<bool> {
        self.with(name, "`true`, `1`, `false` or `0`", |text| {
            match text.to_ascii_lowercase().as_str() {
                "1" | "true" => Some(true),
                "0" | "false" => Some(false),
                _ => None,
            }
        })
    }

    /// Adds a problem that a check outside this reader has found.
    pub fn refuse(&mut self, name: &str, value: &str, accepted: &str) {
        self.problems.push(Problem {
            name: name.to_owned(),
            value: value.chars().take(SHOWN).collect(),
            accepted: accepted.to_owned(),
        });
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// Fails with every problem found since the reader was made.
    pub fn finish(self) -> Result<(), EnvironmentError> {
        if self.problems.is_empty() {
            return Ok(());
        }
        Err(EnvironmentError { problems: self.problems })
    }
}

/// One variable whose value cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Name of the variable.
    pub name: String,
    /// Its value, cut after 100 characters.
    pub value: String,
    /// What is accepted, completing the sentence "expected …".
    pub accepted: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {:?}, expected {}", self.name, self.value, self.accepted)
    }
}

/// Variables whose values cannot be used: all of them, in the order they were
/// read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvironmentError {
    /// Never empty.
    pub problems: Vec<Problem>,
}

impl fmt::Display for EnvironmentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("; ")?;
            }
            fmt::Display::fmt(problem, f)?;
        }
        Ok(())
    }
}

impl std::error::Error for EnvironmentError {}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt as _;

    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> Environment {
        pairs.iter().copied().collect()
    }

    #[test]
    fn values_that_parse_are_returned_and_absent_ones_are_none() {
        let environment = environment(&[("PORT", "80"), ("QUIET", "True"), ("NAME", "x")]);
        let mut reader = environment.reader();
        assert_eq!(reader.parse::<u16>("PORT", "a port"), Some(80));
        assert_eq!(reader.switch("QUIET"), Some(true));
        assert_eq!(reader.text("NAME"), Some("x"));
        assert_eq!(reader.parse::<u16>("ABSENT", "a port"), None);
        assert_eq!(reader.finish(), Ok(()));
    }

    #[test]
    fn every_problem_is_reported_at_once() {
        let environment = environment(&[("PORT", "eighty"), ("QUIET", "maybe")]);
        let mut reader = environment.reader();
        assert_eq!(reader.parse::<u16>("PORT", "a port number"), None);
        assert_eq!(reader.switch("QUIET"), None);
        assert_eq!(
            reader.finish().unwrap_err().to_string(),
            "PORT is \"eighty\", expected a port number; \
             QUIET is \"maybe\", expected `true`, `1`, `false` or `0`"
        );
    }

    #[test]
    fn a_value_that_is_not_utf_8_is_a_problem_and_not_an_absent_value() {
        let environment: Environment =
            [("PORT", OsString::from_vec(vec![b'8', 0xff]))].into_iter().collect();
        let mut reader = environment.reader();
        assert_eq!(reader.parse::<u16>("PORT", "a port number"), None);
        let error = reader.finish().unwrap_err();
        assert_eq!(error.problems[0].accepted, "UTF-8 text");
    }

    #[test]
    fn a_long_value_is_cut_in_the_message() {
        let environment = environment(&[("PORT", &"9".repeat(5000))]);
        let mut reader = environment.reader();
        reader.parse::<u16>("PORT", "a port number");
        assert!(reader.finish().unwrap_err().to_string().len() < 200);
    }
}
