//! One trigger while it runs.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use trigger::{Backoff, chain};

use crate::config::Config;
use crate::guest::{Action, Guest};
use crate::message::Delivery;
use crate::queue::{Queue, QueueError, poll_time};

/// One trigger.
pub(crate) struct Receiver {
    pub(crate) component: String,
    pub(crate) queue: Arc<Queue>,
    pub(crate) guest: Arc<Guest>,
    pub(crate) config: Config,
}

impl Receiver {
    /// Has messages handled until `draining`, and finishes those it has. They are
    /// ours for `lease`.
    pub(crate) async fn run(&self, lease: Duration, draining: &CancellationToken) {
        let most = usize::from(self.config.max_messages);
        let mut handling = JoinSet::new();
        let mut backoff = Backoff::default();
        while !draining.is_cancelled() {
            while handling.len() >= most {
                handling.join_next().await;
            }
            while handling.try_join_next().is_some() {}
            let since = Instant::now();
            match self.queue.receive(most - handling.len()).await {
                Ok(received) => {
                    let none = received.messages.is_empty();
                    for delivery in received.messages {
                        let (queue, guest) = (Arc::clone(&self.queue), Arc::clone(&self.guest));
                        handling.spawn(handle(queue, guest, delivery, lease));
                    }
                    backoff = Backoff::default();
                    if none {
                        self.idle(draining).await;
                    }
                }
                Err(error) => self.lost(&error, &mut backoff, since, draining).await,
            }
        }
        while handling.join_next().await.is_some() {}
    }

    /// What is left to wait of an idle time that is longer than a poll.
    async fn idle(&self, draining: &CancellationToken) {
        let left = self.config.idle_wait.saturating_sub(poll_time(self.config.idle_wait));
        draining.run_until_cancelled(sleep(left)).await;
    }

    async fn lost(
        &self,
        error: &QueueError,
        backoff: &mut Backoff,
        since: Instant,
        draining: &CancellationToken,
    ) {
        let queue = self.queue.url();
        tracing::warn!(queue, "cannot receive messages: {}", chain(error));
        backoff.lost_after(since);
        draining.run_until_cancelled(sleep(backoff.next_wait())).await;
    }
}

/// Has the guest handle a message, which stays ours meanwhile.
async fn handle(queue: Arc<Queue>, guest: Arc<Guest>, delivery: Delivery, lease: Duration) {
    let receipt = &delivery.receipt_handle;
    let action = tokio::select! {
        action = guest.handle(queue.name(), delivery.message()) => action,
        never = hold(&queue, &delivery, lease) => match never {},
    };
    if action == Some(Action::Delete) {
        queue.delete(delivery.id(), receipt).await;
    }
}

/// Renews the lease of a message when half of it is over, again and again.
async fn hold(queue: &Queue, delivery: &Delivery, lease: Duration) -> Infallible {
    loop {
        sleep((lease / 2).max(Duration::from_secs(1))).await;
        if let Err(error) = queue.renew(&delivery.receipt_handle, lease).await {
            let (id, error) = (delivery.id(), chain(&error));
            tracing::warn!(queue = queue.url(), "message {id} may come again: {error}");
        }
    }
}
