//! How many instances may exist.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// How long a request from outside waits for an instance.
const WAIT: Duration = Duration::from_secs(10);
/// How long a request from another component does: that one keeps an instance
/// all the while.
const CHAINED_WAIT: Duration = Duration::from_secs(1);

/// Places for instances of all components of an app.
///
/// A quarter is kept for requests between components, so that components which
/// wait for others cannot take the places these need.
#[derive(Debug)]
pub(crate) struct Slots {
    outside: Arc<Semaphore>,
    chained: Arc<Semaphore>,
    /// Told when somebody waits for a place that an idle instance may have.
    pub(crate) wanted: Notify,
}

/// The right to have one instance.
#[derive(Debug)]
pub(crate) struct Slot {
    _permit: OwnedSemaphorePermit,
}

impl Slots {
    pub(crate) fn new(instances: usize) -> Self {
        let chained = (instances / 4).max(1);
        Self {
            outside: Arc::new(Semaphore::new(instances.saturating_sub(chained).max(1))),
            chained: Arc::new(Semaphore::new(chained)),
            wanted: Notify::new(),
        }
    }

    /// Waits for a place; none means that there was none for too long.
    ///
    /// Cancel safe; first come, first served.
    pub(crate) async fn acquire(&self, depth: u32) -> Option<Slot> {
        let (places, wait) =
            if depth == 0 { (&self.outside, WAIT) } else { (&self.chained, CHAINED_WAIT) };
        if let Ok(permit) = Arc::clone(places).try_acquire_owned() {
            return Some(Slot { _permit: permit });
        }
        self.wanted.notify_one();
        let acquired = Arc::clone(places).acquire_owned();
        let permit = tokio::time::timeout(wait, acquired).await.ok()?.ok()?;
        Some(Slot { _permit: permit })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn requests_between_components_have_places_of_their_own() {
        let slots = Slots::new(4);
        let held: Vec<_> =
            [slots.acquire(0).await, slots.acquire(0).await, slots.acquire(0).await].into();
        assert!(held.iter().all(Option::is_some));
        assert!(slots.acquire(0).await.is_none());
        let chained = slots.acquire(1).await;
        assert!(chained.is_some());
        assert!(slots.acquire(2).await.is_none());
        drop(held);
        assert!(slots.acquire(0).await.is_some());
    }
}
