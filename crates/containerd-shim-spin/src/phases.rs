//! Where the time of a start went, for people and tools that look into a bundle.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use containerd_task::Bundle;
use control::Phase;
use process_setup::Environment;
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

use crate::compilers::Tier;

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
    document: Mutex<Document>,
}

#[derive(Debug, Default, Serialize)]
struct Document {
    phases: Vec<Phase>,
    /// The tier of the code that new instances run on, for components that began on
    /// the first.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    code: BTreeMap<String, &'static str>,
}

impl Record {
    /// An empty record for a bundle.
    pub(crate) fn new(bundle: Bundle) -> Self {
        Self { bundle, document: Mutex::default() }
    }

    /// Adds phases and writes them all.
    pub(crate) fn add(&self, phases: impl IntoIterator<Item = Phase>) {
        self.change(|document| document.phases.extend(phases));
    }

    /// Says what code new instances of a component run on that began on the first
    /// tier.
    pub(crate) fn runs(&self, component: &str, tier: Tier) {
        self.change(|document| {
            document.code.insert(component.to_owned(), tier.as_str());
        });
    }

    fn change(&self, change: impl FnOnce(&mut Document)) {
        let mut document = self.document.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut document);
        let written = serde_json::to_vec(&*document)
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
    fn the_tier_of_code_is_told_where_there_was_a_first() {
        let folder = tempfile::tempdir().unwrap();
        let record = Record::new(Bundle::new(folder.path()));
        record.runs("hello", Tier::First);
        record.runs("hello", Tier::Optimized);
        let text = fs_err::read_to_string(folder.path().join(FILE)).unwrap();
        assert_eq!(text, r#"{"phases":[],"code":{"hello":"optimized"}}"#);
    }

    #[test]
    fn the_beginning_of_start_reaches_the_daemon() {
        let begun = Clock::now();
        let environment: Environment = [begun.to_variable()].into_iter().collect();
        assert_eq!(Clock::from_variable(&environment), Some(begun));
        assert!(shim_phase(begun).micros < 60_000_000);
    }
}
