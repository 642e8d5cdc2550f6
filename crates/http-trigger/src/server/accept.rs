//! Errors of `accept`: none of them ends the server.

use std::io;
use std::time::Duration;

use host::LogLimit;

/// What an error of `accept` is about.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum AcceptError {
    /// The connection that was to be accepted: the next one may be fine.
    Connection,
    /// The process or the system: trying again at once would fail again.
    Resources,
}

impl AcceptError {
    pub(super) fn of(error: &io::Error) -> Self {
        use io::ErrorKind::{
            ConnectionAborted, ConnectionRefused, ConnectionReset, HostUnreachable, Interrupted,
            NetworkDown, NetworkUnreachable, PermissionDenied, TimedOut,
        };
        match error.kind() {
            // accept(2): on Linux these are errors of the new connection, a
            // firewall's refusal included.
            ConnectionAborted | ConnectionRefused | ConnectionReset | HostUnreachable
            | Interrupted | NetworkDown | NetworkUnreachable | PermissionDenied | TimedOut => {
                Self::Connection
            }
            // Too many files, no memory, no buffers; and what nobody knows.
            _ => Self::Resources,
        }
    }
}

/// Waits longer with each error in a row.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    errors: u32,
    log: LogLimit,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(10);
    const LONGEST: Duration = Duration::from_millis(100);

    pub(super) fn reset(&mut self) {
        self.errors = 0;
    }

    pub(super) async fn wait(&mut self, error: &io::Error) {
        if let Some(suppressed) = self.log.permit() {
            tracing::error!(%error, suppressed, "cannot accept a connection; trying again");
        }
        tokio::time::sleep(self.next()).await;
    }

    fn next(&mut self) -> Duration {
        let wait = Self::FIRST.saturating_mul(1 << self.errors.min(8)).min(Self::LONGEST);
        self.errors = self.errors.saturating_add(1);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_one_connection_and_of_the_system_are_told_apart() {
        // ECONNABORTED, EPERM, EINTR
        for code in [103, 1, 4] {
            let error = io::Error::from_raw_os_error(code);
            assert_eq!(AcceptError::of(&error), AcceptError::Connection, "{error}");
        }
        // EMFILE, ENFILE, ENOBUFS, ENOMEM
        for code in [24, 23, 105, 12] {
            let error = io::Error::from_raw_os_error(code);
            assert_eq!(AcceptError::of(&error), AcceptError::Resources, "{error}");
        }
    }

    #[test]
    fn waiting_grows_to_a_limit_and_starts_again() {
        let mut backoff = Backoff::default();
        let waits: Vec<_> = (0..6).map(|_| backoff.next().as_millis()).collect();
        assert_eq!(waits, [10, 20, 40, 80, 100, 100]);
        backoff.reset();
        assert_eq!(backoff.next().as_millis(), 10);
    }
}
