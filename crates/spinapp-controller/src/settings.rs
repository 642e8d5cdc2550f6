//! What the environment says.

use std::net::SocketAddr;

use process_setup::{Environment, EnvironmentError, LogFormat};

/// How many apps are reconciled at the same time unless the environment says
/// otherwise.
const CONCURRENCY: u16 = 8;

/// The environment, read and checked.
#[derive(Debug)]
pub(crate) struct Settings {
    /// The namespace of this process.
    pub(crate) namespace: String,
    /// What tells this process from others that want to lead.
    pub(crate) identity: String,
    /// Where metrics and health are served.
    pub(crate) listen: SocketAddr,
    /// How many apps are reconciled at the same time.
    pub(crate) concurrency: u16,
    pub(crate) log_filter: String,
    pub(crate) log_format: LogFormat,
}

impl Settings {
    /// Reads the environment.
    ///
    /// # Errors
    /// Fails with every variable that does not parse.
    pub(crate) fn read(environment: &Environment) -> Result<Self, EnvironmentError> {
        let mut reader = environment.reader();
        let namespace = reader.text("POD_NAMESPACE").unwrap_or("spinlet").to_owned();
        let identity = reader
            .text("POD_NAME")
            .map_or_else(|| format!("process-{}", std::process::id()), str::to_owned);
        let listen = reader.parse("SPINLET_LISTEN", "an address such as 0.0.0.0:8080");
        let concurrency = reader.with("SPINLET_CONCURRENCY", "a number from 1 to 1000", |text| {
            text.parse().ok().filter(|number| (1..=1000).contains(number))
        });
        let log_format = reader.parse("SPINLET_LOG_FORMAT", "`text` or `json`");
        let log_filter = reader.with("SPINLET_LOG", "a level such as `info`", |filter| {
            process_setup::check_log_filter(filter).ok().map(|()| filter.to_owned())
        });
        reader.finish()?;
        Ok(Self {
            namespace,
            identity,
            listen: listen.unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 8080))),
            concurrency: concurrency.unwrap_or(CONCURRENCY),
            log_filter: log_filter.unwrap_or_else(|| "info".to_owned()),
            log_format: log_format.unwrap_or(LogFormat::Text),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_has_a_default() {
        let settings = Settings::read(&Environment::default()).unwrap();
        assert_eq!(settings.namespace, "spinlet");
        assert_eq!(settings.listen.port(), 8080);
        assert_eq!(settings.concurrency, 8);
    }

    #[test]
    fn every_variable_that_does_not_parse_is_named() {
        let pairs = [("SPINLET_LISTEN", "8080"), ("SPINLET_CONCURRENCY", "0")];
        let error = Settings::read(&pairs.into_iter().collect()).unwrap_err().to_string();
        assert!(error.contains("SPINLET_LISTEN") && error.contains("SPINLET_CONCURRENCY"));
    }
}
