//! Where the time of a start went, for people and tools that look into a bundle.

use std::ffi::OsString;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use containerd_task::Bundle;
use control::Phase;
use process_setup::Environment;
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

/// File in the bundle with the phases of the container's start.
const FILE: &str = "phases.json";
/// Variable that tells the daemon when `start` began.
const BEGUN: &str = "SPINLET_SHIM_BEGUN";

/// A moment on the clock that all processes of a machine share, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Clock(u64);

impl Clock {
    /// This moment.
    pub(crate) fn now() -> Self {
        let time = clock_gettime(ClockId::Monotonic);
        let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
        let micros = u64::try_from(time.tv_nsec / 1000).unwrap_or_default();
        Self(seconds.saturating_mul(1_000_000).saturating_add(micros))
    }

    /// The moment as an environment variable for the daemon.
    pub(crate) fn to_variable(self) -> (OsString, OsString) {
        (BEGUN.into(), self.0.to_string().into())
    }

    /// The moment that `start` told; none if it was not told.
    pub(crate) fn from_variable(environment: &Environment) -> Option<Self> {
        environment.text(BEGUN)?.parse().ok().map(Self)
    }

    fn micros_since(self) -> u64 {
        Self::now().0.saturating_sub(self.0)
    }
}

/// The phase from the beginning of `start` until the daemon serves.
pub(crate) fn shim_phase(begun: Clock) -> Phase {
    phase("shim", begun.micros_since())
}

/// A phase that began at `begun` and ends now.
pub(crate) fn phase_since(name: &str, begun: Instant) -> Phase {
    phase(name, u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX))
}

fn phase(name: &str, micros: u64) -> Phase {
    Phase { name: name.to_owned(), micros }
}

/// The phases of one container's start, written to its bundle as they end.
///
/// `shim`, `create` and `start` are the shim's own measurements; `create` and
/// `start` contain the runtime's steps, which come before them in the list.
#[derive(Debug)]
pub(crate) struct Record {
    bundle: Bundle,
    phases: Mutex<Vec<Phase>>,
}

#[derive(Serialize)]
struct Document<'a> {
    phases: &'a [Phase],
}

impl Record {
    /// An empty record for a bundle.
    pub(crate) fn new(bundle: Bundle) -> Self {
        Self { bundle, phases: Mutex::default() }
    }

    /// Adds phases and writes them all.
    pub(crate) fn add(&self, phases: impl IntoIterator<Item = Phase>) {
        let mut all = self.phases.lock().unwrap_or_else(PoisonError::into_inner);
        all.extend(phases);
        let written = serde_json::to_vec(&Document { phases: &all })
            .map_err(std::io::Error::from)
            .and_then(|document| self.bundle.write(FILE, &document));
        if let Err(error) = written {
            tracing::warn!(%error, "phases cannot be recorded");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_are_written_whole_in_their_order() {
        let folder = tempfile::tempdir().unwrap();
        let record = Record::new(Bundle::new(folder.path()));
        record.add([phase("shim", 1), phase("create", 2)]);
        record.add([phase("start", 3)]);
        let text = fs_err::read_to_string(folder.path().join(FILE)).unwrap();
        assert_eq!(
            text,
            r#"{"phases":[{"name":"shim","micros":1},{"name":"create","micros":2},{"name":"start","micros":3}]}"#
        );
    }

    #[test]
    fn the_beginning_of_start_reaches_the_daemon() {
        let begun = Clock::now();
        let environment: Environment = [begun.to_variable()].into_iter().collect();
        assert_eq!(Clock::from_variable(&environment), Some(begun));
        assert!(shim_phase(begun).micros < 60_000_000);
    }
}
