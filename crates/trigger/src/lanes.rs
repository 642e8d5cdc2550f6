//! Messages on their way to guests.

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::MessageSettings;

/// Messages that wait in one lane.
pub const QUEUE: usize = 1024;

/// Where the messages of each trigger wait and are handled, in the order in which
/// they came; those of different triggers do not wait for each other.
///
/// When this is dropped, guests are stopped and messages forgotten.
#[derive(Debug)]
pub struct Lanes {
    tasks: JoinSet<()>,
    concurrency: usize,
}

/// The end of a lane at which messages are put in. Clones put in the same lane;
/// the lane ends when all are dropped and all messages are handled.
#[derive(Debug)]
pub struct Lane<M> {
    messages: mpsc::Sender<M>,
}

impl<M> Clone for Lane<M> {
    fn clone(&self) -> Self {
        Self { messages: self.messages.clone() }
    }
}

impl Lanes {
    /// No lanes yet.
    pub fn new(settings: MessageSettings) -> Self {
        Self { tasks: JoinSet::new(), concurrency: settings.concurrency }
    }

    /// A lane whose messages `handle` handles, as many at a time as the settings
    /// say. To be called on a tokio runtime.
    pub fn lane<M, F>(&mut self, handle: impl Fn(M) -> F + Send + 'static) -> Lane<M>
    where
        M: Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let (messages, waiting) = mpsc::channel(QUEUE);
        self.tasks.spawn(handle_all(waiting, self.concurrency, handle));
        Lane { messages }
    }

    /// Waits until all lanes have ended.
    ///
    /// Cancel safe.
    pub async fn finished(&mut self) {
        while self.tasks.join_next().await.is_some() {}
    }
}

impl<M> Lane<M> {
    /// Puts in a message; waits while [`QUEUE`] others wait.
    ///
    /// Cancel safety: a message whose future is dropped is not put in.
    pub async fn put(&self, message: M) {
        // A lane ends before only when everything is cut.
        let _ = self.messages.send(message).await;
    }

    /// Puts in a message unless [`QUEUE`] others wait; whether it was.
    pub fn offer(&self, message: M) -> bool {
        self.messages.try_send(message).is_ok()
    }
}

async fn handle_all<M, F>(
    mut waiting: mpsc::Receiver<M>,
    concurrency: usize,
    handle: impl Fn(M) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let mut running = JoinSet::new();
    while let Some(message) = waiting.recv().await {
        while running.len() >= concurrency {
            running.join_next().await;
        }
        running.spawn(handle(message));
    }
    while running.join_next().await.is_some() {}
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use tokio::time::Instant;

    use super::*;

    fn lanes(concurrency: usize) -> Lanes {
        Lanes::new(MessageSettings { concurrency, ..MessageSettings::default() })
    }

    #[tokio::test(start_paused = true)]
    async fn messages_are_handled_in_order_and_all_of_them() {
        let mut lanes = lanes(1);
        let handled = Arc::new(Mutex::new(Vec::new()));
        let record = Arc::clone(&handled);
        let lane = lanes.lane(move |n: u64| {
            let record = Arc::clone(&record);
            async move {
                tokio::time::sleep(Duration::from_millis(100 - n)).await;
                record.lock().unwrap().push(n);
            }
        });
        for n in 0..20 {
            lane.put(n).await;
        }
        drop(lane);
        lanes.finished().await;
        assert_eq!(*handled.lock().unwrap(), (0..20).collect::<Vec<_>>());
    }

    #[tokio::test(start_paused = true)]
    async fn as_many_as_allowed_are_handled_at_a_time() {
        for (concurrency, seconds) in [(1, 8), (4, 2), (8, 1)] {
            let mut lanes = lanes(concurrency);
            let lane = lanes.lane(|()| tokio::time::sleep(Duration::from_secs(1)));
            let begun = Instant::now();
            for () in [(); 8] {
                lane.put(()).await;
            }
            drop(lane);
            lanes.finished().await;
            assert_eq!(begun.elapsed().as_secs(), seconds, "{concurrency} at a time");
        }
    }

    #[tokio::test]
    async fn a_full_lane_takes_no_offer() {
        let mut lanes = lanes(1);
        let lane = lanes.lane(|()| std::future::pending());
        tokio::task::yield_now().await;
        let taken = (0..QUEUE + 10).filter(|_| lane.offer(())).count();
        assert_eq!(taken, QUEUE);
    }

    #[tokio::test]
    async fn a_handler_that_panics_does_not_end_its_lane() {
        let mut lanes = lanes(1);
        let (sender, mut received) = mpsc::unbounded_channel();
        let lane = lanes.lane(move |fails: bool| {
            let sender = sender.clone();
            async move {
                assert!(!fails, "on purpose");
                sender.send(()).unwrap();
            }
        });
        lane.put(true).await;
        lane.put(false).await;
        assert!(received.recv().await.is_some());
    }
}
