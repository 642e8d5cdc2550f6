//! Waiting between attempts.

use std::time::Duration;

use tokio::time::Instant;

/// The first wait, at most.
const FIRST: Duration = Duration::from_millis(200);
/// The longest wait.
const LONGEST: Duration = Duration::from_secs(10);
/// How long triggers try to become ready before the app's start fails.
const START: Duration = Duration::from_secs(15);

/// Waits that double from 200 ms to 10 s, each cut by up to a half at random, so
/// that the replicas of an app do not all come back at the same moment.
#[derive(Debug)]
pub struct Backoff {
    next: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { next: FIRST }
    }
}

impl Backoff {
    /// How long to wait now.
    pub fn next_wait(&mut self) -> Duration {
        let whole = self.next;
        self.next = (whole * 2).min(LONGEST);
        whole.mul_f64(0.5 + fastrand::f64() / 2.0)
    }

    /// A connection that was made at `since` is lost: one that lasted starts the
    /// waits from the beginning, one that was lost at once does not.
    pub fn lost_after(&mut self, since: Instant) {
        if since.elapsed() >= LONGEST {
            *self = Self::default();
        }
    }
}

/// Attempts to become ready: a server that starts together with the app is
/// waited for, a wrong address is reported before a start is given up.
#[derive(Debug)]
pub struct Attempts {
    deadline: Instant,
    backoff: Backoff,
}

impl Default for Attempts {
    fn default() -> Self {
        Self { deadline: Instant::now() + START, backoff: Backoff::default() }
    }
}

impl Attempts {
    /// Runs `attempt` until it succeeds, for 15 s; then its last error counts. An
    /// attempt under way at that moment is given a last second.
    ///
    /// Cancel safe if `attempt` is.
    ///
    /// # Errors
    /// The last error of `attempt`, or none when no attempt came to an end.
    pub async fn until_ready<T, E, F>(
        mut self,
        mut attempt: impl FnMut() -> F,
    ) -> Result<T, Option<E>>
    where
        F: Future<Output = Result<T, E>>,
    {
        let mut last = None;
        loop {
            let end = self.deadline + Duration::from_secs(1);
            match tokio::time::timeout_at(end, attempt()).await {
                Ok(Ok(ready)) => return Ok(ready),
                Ok(Err(error)) => last = Some(error),
                Err(_) => return Err(last),
            }
            let next = Instant::now() + self.backoff.next_wait();
            if next >= self.deadline {
                return Err(last);
            }
            tokio::time::sleep_until(next).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_bound_and_are_never_the_whole_nor_less_than_half() {
        let mut backoff = Backoff::default();
        let mut whole = FIRST;
        for _ in 0..20 {
            let wait = backoff.next_wait();
            assert!(wait >= whole / 2 && wait <= whole, "{wait:?} of {whole:?}");
            whole = (whole * 2).min(LONGEST);
        }
        assert_eq!(whole, LONGEST);
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_connection_that_lasted_starts_the_waits_anew() {
        let mut backoff = Backoff::default();
        for _ in 0..10 {
            backoff.next_wait();
        }
        let since = Instant::now();
        backoff.lost_after(since);
        assert!(backoff.next_wait() >= LONGEST / 2);
        tokio::time::advance(LONGEST).await;
        backoff.lost_after(since);
        assert!(backoff.next_wait() <= FIRST);
    }

    #[tokio::test(start_paused = true)]
    async fn attempts_go_on_until_one_succeeds() {
        let mut left = 3;
        let result = Attempts::default()
            .until_ready(|| {
                left -= 1;
                std::future::ready(if left == 0 { Ok(()) } else { Err(left) })
            })
            .await;
        assert_eq!(result, Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn attempts_end_in_time_with_the_last_error() {
        let begun = Instant::now();
        let result = Attempts::default().until_ready(|| async { Err::<(), _>("refused") }).await;
        assert_eq!(result, Err(Some("refused")));
        assert!(begun.elapsed() <= START);
        let hangs = std::future::pending::<Result<(), ()>>;
        assert_eq!(Attempts::default().until_ready(hangs).await, Err(None));
    }
}
