//! Sending a failed request again, later and later.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use crate::RegistryError;

/// When and how often a request that failed for a passing reason is sent again.
///
/// The wait doubles from `first` up to `longest`; a random half of it is left
/// away so that many clients do not return at the same moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryPolicy {
    /// How often a request is sent at most; 1 means never again.
    pub attempts: u32,
    /// The wait after the first failure.
    pub first: Duration,
    /// The longest wait.
    pub longest: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { attempts: 5, first: Duration::from_millis(200), longest: Duration::from_secs(5) }
    }
}

impl RetryPolicy {
    /// The wait after so many failures, or none when it is time to give up.
    /// `random` may be any number.
    #[must_use]
    pub fn wait(&self, failures: u32, random: u64) -> Option<Duration> {
        if failures >= self.attempts {
            return None;
        }
        let doublings = failures.saturating_sub(1).min(16);
        let whole = self.first.saturating_mul(1 << doublings).min(self.longest);
        let half = whole / 2;
        let share = (random % 1024) as f64 / 1024.0;
        Some(half + half.mul_f64(share))
    }
}

/// Repeats `attempt` while it fails for a passing reason and the policy allows.
/// `waiting` is told of every failure that is not final.
pub(crate) async fn repeat<T>(
    policy: &RetryPolicy,
    waiting: impl Fn(&RegistryError, Duration),
    mut attempt: impl AsyncFnMut() -> Result<T, RegistryError>,
) -> Result<T, RegistryError> {
    let mut failures = 0;
    loop {
        let error = match attempt().await {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        failures += 1;
        let wait = if error.is_passing() { policy.wait(failures, random()) } else { None };
        let Some(wait) = wait else { return Err(error) };
        waiting(&error, wait);
        tokio::time::sleep(wait).await;
    }
}

/// Good enough for spreading clients: the standard library seeds every
/// `RandomState` differently.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn passing() -> RegistryError {
        RegistryError::Status {
            registry: "r".into(),
            reference: "r/app:v1".into(),
            code: 503,
            message: String::new(),
        }
    }

    fn quick(attempts: u32) -> RetryPolicy {
        RetryPolicy { attempts, first: Duration::from_millis(1), longest: Duration::from_millis(2) }
    }

    #[test]
    fn the_wait_doubles_up_to_the_longest_and_keeps_at_least_half() {
        let policy = RetryPolicy {
            attempts: 10,
            first: Duration::from_millis(100),
            longest: Duration::from_secs(1),
        };
        for (failures, whole) in [(1, 100), (2, 200), (3, 400), (4, 800), (5, 1000), (9, 1000)] {
            let whole = Duration::from_millis(whole);
            for random in [0, 511, 1023, u64::MAX] {
                let wait = policy.wait(failures, random).unwrap();
                assert!(wait >= whole / 2 && wait <= whole, "{failures} {random}: {wait:?}");
            }
        }
        assert_eq!(policy.wait(10, 0), None);
    }

    #[tokio::test]
    async fn a_passing_failure_is_repeated_until_it_works() {
        let calls = Cell::new(0);
        let result = repeat(
            &quick(5),
            |_, _| {},
            async || {
                calls.set(calls.get() + 1);
                if calls.get() < 3 { Err(passing()) } else { Ok("done") }
            },
        )
        .await;
        assert_eq!(result.unwrap(), "done");
        assert_eq!(calls.get(), 3);
    }

    #[tokio::test]
    async fn it_gives_up_after_the_last_attempt() {
        let calls = Cell::new(0);
        let result: Result<(), _> = repeat(
            &quick(3),
            |_, _| {},
            async || {
                calls.set(calls.get() + 1);
                Err(passing())
            },
        )
        .await;
        assert!(result.is_err());
        assert_eq!(calls.get(), 3);
    }

    #[tokio::test]
    async fn a_refusal_is_not_repeated() {
        let calls = Cell::new(0);
        let result: Result<(), _> = repeat(
            &quick(3),
            |_, _| {},
            async || {
                calls.set(calls.get() + 1);
                Err(RegistryError::NotFound { registry: "r".into(), reference: "r/app:v1".into() })
            },
        )
        .await;
        assert!(result.is_err());
        assert_eq!(calls.get(), 1);
    }
}
