//! Log lines on standard error.

use std::str::FromStr;

use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::log_stream::LogStream;
use crate::one_line::OneLine;

/// How a log line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// One readable line per event.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

impl FromStr for LogFormat {
    type Err = LoggingError;

    fn from_str(text: &str) -> Result<Self, LoggingError> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(LoggingError::Format(text.to_owned())),
        }
    }
}

/// Logging could not be started.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// Not a format.
    #[error("log format {0:?} is unknown, expected `text` or `json`")]
    Format(String),
    /// Not a filter.
    #[error(
        "log filter {filter:?} cannot be read, expected a level (error, warn, info, debug, trace, \
         off) or `target=level` pairs separated by commas"
    )]
    Filter {
        /// The filter as given.
        filter: String,
        /// What is wrong with it.
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
    /// Logging has already been started in this process.
    #[error("logging has already been started")]
    Started(#[source] tracing_subscriber::util::TryInitError),
}

/// Writes this process's events to standard error from now on, each as one line:
/// line breaks within an event are written as `\n`. Logging never waits for a
/// reader: while a pipe is full, lines are dropped and counted. `filter` is a level
/// or a list of `target=level` pairs as in `RUST_LOG`, for example
/// `info,runtime=debug`; patterns on spans and fields are not supported.
///
/// # Errors
/// Fails when `filter` cannot be read and when logging was started before.
pub fn start_logging(filter: &str, format: LogFormat) -> Result<(), LoggingError> {
    let targets = targets(filter)?;
    // A line that cannot be written (a closed pipe) is lost; reporting that on the same standard
    // error would panic.
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(false)
        .with_writer(|| LogStream)
        .log_internal_errors(false);
    let registry = tracing_subscriber::registry().with(targets);
    match format {
        LogFormat::Text => registry.with(lines.map_event_format(OneLine)).try_init(),
        LogFormat::Json => registry.with(lines.json().flatten_event(true)).try_init(),
    }
    .map_err(LoggingError::Started)
}

/// Tells whether [`start_logging`] would take a filter, for a process that hands
/// it to another one.
///
/// # Errors
/// Fails when `filter` cannot be read.
pub fn check_log_filter(filter: &str) -> Result<(), LoggingError> {
    targets(filter).map(|_| ())
}

fn targets(filter: &str) -> Result<Targets, LoggingError> {
    filter.parse().map_err(|source| LoggingError::Filter { filter: filter.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unreadable_filter_names_itself() {
        let error = start_logging("info,runtime=loud", LogFormat::Text).unwrap_err();
        assert!(error.to_string().contains("\"info,runtime=loud\""), "{error}");
    }

    #[test]
    fn an_unknown_format_is_refused() {
        assert_eq!("json".parse::<LogFormat>().unwrap(), LogFormat::Json);
        assert!("xml".parse::<LogFormat>().is_err());
    }
}
