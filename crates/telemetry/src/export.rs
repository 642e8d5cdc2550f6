//! From a queue to a collector.
//!
//! Each signal has a queue and a task. The task gathers what is told until there
//! is enough or it has waited long enough, and sends it. What a collector does not
//! take for now is sent again a few times, while the queue fills.

mod client;
mod grpc;
mod queue;
mod signals;

use std::time::Duration;

use opentelemetry_proto::tonic::resource::v1::Resource;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;

pub(crate) use client::{Client, ExportError};
pub(crate) use queue::{Counts, Queue, Waiting, queue, size_of};
pub(crate) use signals::{LogRecords, ResourceMetricsSignal, Scoped, Signal, Spans};

/// Items of one request.
const BATCH: usize = 512;
/// How often a request is sent again.
const RETRIES: u32 = 3;
/// The wait before it is sent again; doubled each time.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// How often it is said that nothing can be sent.
const SAID_EVERY: Duration = Duration::from_mins(1);

/// Sends what is told of one signal.
pub(crate) struct Exporter<S: Signal> {
    pub(crate) waiting: Waiting<S::Item>,
    pub(crate) client: Client,
    pub(crate) resource: Resource,
    /// How long what is told may wait.
    pub(crate) delay: Duration,
    /// Cancelled when everything that waits is to be sent at once.
    pub(crate) finishing: CancellationToken,
}

impl<S: Signal> Exporter<S> {
    /// Sends until it is to finish, and then what still waits.
    pub(crate) async fn run(mut self) {
        let mut last_said = None;
        while let Some(batch) = self.next_batch().await {
            self.export(batch, &mut last_said).await;
        }
    }

    /// The next items to send together; none when there will be no more.
    async fn next_batch(&mut self) -> Option<Vec<S::Item>> {
        let first = tokio::select! {
            first = self.waiting.next() => first,
            () = self.finishing.cancelled() => self.waiting.next_of_rest(),
        }?;
        let deadline = Instant::now() + self.delay;
        let mut batch = vec![first];
        while batch.len() < BATCH {
            let next = tokio::select! {
                next = timeout_at(deadline, self.waiting.next()) => next.ok().flatten(),
                () = self.finishing.cancelled() => self.waiting.next_of_rest(),
            };
            let Some(next) = next else { break };
            batch.push(next);
        }
        Some(batch)
    }

    async fn export(&self, batch: Vec<S::Item>, last_said: &mut Option<Instant>) {
        let count = batch.len() as u64;
        let request = S::request(&self.resource, batch);
        let mut wait = FIRST_WAIT;
        let mut sent = self.client.send::<S>(request.clone()).await;
        for _ in 0..RETRIES {
            let Err(error) = &sent else { break };
            let again = error.is_temporary()
                && self.finishing.run_until_cancelled(sleep(wait)).await.is_some();
            if !again {
                break;
            }
            wait *= 2;
            sent = self.client.send::<S>(request.clone()).await;
        }
        match sent {
            Ok(rejected) => self.waiting.counts().dropped(rejected),
            Err(error) => {
                self.waiting.counts().dropped(count);
                if last_said.is_none_or(|said: Instant| said.elapsed() >= SAID_EVERY) {
                    *last_said = Some(Instant::now());
                    tracing::warn!(
                        dropped = self.waiting.counts().total(),
                        "cannot export {}: {}",
                        S::NAME,
                        http_client::chain(&error)
                    );
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
