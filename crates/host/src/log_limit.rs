//! Limits for log lines that a guest or a client can cause.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Lines per [`WINDOW_SECONDS`].
const LINES: u64 = 10;
const WINDOW_SECONDS: u64 = 1;

/// Lets ten lines through per second and counts the rest.
#[derive(Debug)]
pub struct LogLimit {
    start: Instant,
    /// Seconds since `start` in the upper half, lines in that second in the lower.
    window: AtomicU64,
    suppressed: AtomicU64,
}

impl Default for LogLimit {
    fn default() -> Self {
        Self { start: Instant::now(), window: AtomicU64::new(0), suppressed: AtomicU64::new(0) }
    }
}

impl LogLimit {
    /// Whether a line may be written now, and if so how many were not since the
    /// last one.
    pub fn permit(&self) -> Option<u64> {
        let second = self.start.elapsed().as_secs() / WINDOW_SECONDS;
        let update = self.window.try_update(Ordering::Relaxed, Ordering::Relaxed, |window| {
            let lines = if window >> 32 == second { window & 0xffff_ffff } else { 0 };
            (lines < LINES).then_some(second << 32 | (lines + 1))
        });
        if update.is_ok() {
            return Some(self.suppressed.swap(0, Ordering::Relaxed));
        }
        self.suppressed.fetch_add(1, Ordering::Relaxed);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_lines_pass_and_the_rest_is_counted() {
        let limit = LogLimit::default();
        let passed = (0..100).filter(|_| limit.permit().is_some()).count();
        // A second may end in between.
        assert!((10..=20).contains(&passed), "{passed}");
        assert!(limit.suppressed.load(Ordering::Relaxed) >= 80);
    }
}
