//! The shim's own settings, from the environment that containerd was started in.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use process_setup::{Environment, check_log_filter, state_dir};

use crate::OURS;

/// How long an application may take to listen if nothing else is set.
const START_TIMEOUT: Duration = Duration::from_mins(1);

/// What a node's operator can set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    /// Where compiled code and unpacked programs are kept.
    pub(crate) state_dir: PathBuf,
    /// `SPINLET_START_TIMEOUT`: seconds between a task's start and its listening.
    pub(crate) start_timeout: Duration,
    /// `SPINLET_FIRST_TIER`: whether apps without code start on code of the first tier.
    pub(crate) first_tier: bool,
    /// `SPINLET_LOG`: level or `target=level` pairs.
    pub(crate) log_filter: String,
}

impl Settings {
    /// Reads the settings; every variable that does not parse is named.
    pub(crate) fn read(environment: &Environment) -> anyhow::Result<Self> {
        let state_dir = state_dir(environment)?;
        let mut reader = environment.reader();
        let start_timeout = reader
            .with("SPINLET_START_TIMEOUT", "a number of seconds between 1 and 3600", |text| {
                text.parse().ok().filter(|seconds| (1..=3600).contains(seconds))
            })
            .map_or(START_TIMEOUT, Duration::from_secs);
        let first_tier = reader.switch("SPINLET_FIRST_TIER").unwrap_or(false);
        let log_filter = reader.text("SPINLET_LOG").unwrap_or("info").to_owned();
        reader.finish()?;
        check_log_filter(&log_filter)?;
        Ok(Self { state_dir, start_timeout, first_tier, log_filter })
    }
}

/// The variables that concern Spinlet, for the programs that this one starts:
/// all else that containerd was started with is none of their business.
pub(crate) fn ours() -> impl Iterator<Item = (OsString, OsString)> {
    std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with(OURS))
}

/// The variables of the daemon: ours, and where an OCI runtime is looked for.
pub(crate) fn of_daemon() -> impl Iterator<Item = (OsString, OsString)> {
    ours().chain(std::env::vars_os().filter(|(name, _)| name == "PATH"))
}

/// The same as text, as far as it is text.
pub(crate) fn ours_as_text() -> Vec<(String, String)> {
    ours()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_filter_that_cannot_be_read_is_named() {
        let error = format!("{:#}", read(&[("SPINLET_LOG", "info,a=loud")]).unwrap_err());
        assert!(error.contains("info,a=loud"), "{error}");
    }

    fn read(pairs: &[(&str, &str)]) -> anyhow::Result<Settings> {
        let state = [("SPINLET_STATE_DIR", "/state")];
        Settings::read(&state.iter().chain(pairs).copied().collect())
    }

    #[test]
    fn without_variables_the_defaults_count() {
        let settings = read(&[]).unwrap();
        assert_eq!(settings.state_dir, PathBuf::from("/state"));
        assert_eq!(settings.start_timeout, Duration::from_mins(1));
        assert_eq!(settings.log_filter, "info");
        assert!(!settings.first_tier);
    }

    #[test]
    fn the_first_tier_is_a_switch() {
        let first_tier = |text| read(&[("SPINLET_FIRST_TIER", text)]);
        assert!(first_tier("true").unwrap().first_tier);
        assert!(!first_tier("0").unwrap().first_tier);
        for text in ["", "fast", "on"] {
            let error = format!("{:#}", first_tier(text).unwrap_err());
            assert!(error.contains("SPINLET_FIRST_TIER"), "{error}");
        }
    }

    #[test]
    fn a_timeout_is_a_sensible_number_of_seconds() {
        let timeout = |text| read(&[("SPINLET_START_TIMEOUT", text)]);
        assert_eq!(timeout("5").unwrap().start_timeout, Duration::from_secs(5));
        for text in ["0", "-1", "5s", "3601"] {
            let error = format!("{:#}", timeout(text).unwrap_err());
            assert!(error.contains("SPINLET_START_TIMEOUT"), "{error}");
        }
    }
}
