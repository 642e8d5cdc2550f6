//! Hands the messages of SQS queues to components: the `sqs` trigger.
//!
//! - Components export `handle-queue-message` of the world
//!   `fermyon:spin-sqs/spin-sqs` or `spin:sqs/spin-sqs`, asynchronous or not. Each
//!   message is handled in an instance of its own, `max_messages` of a trigger at a
//!   time.
//! - A message that the guest wants deleted is deleted. One that it leaves or fails
//!   at comes again when its visibility timeout is over; while a guest handles it,
//!   it stays invisible.
//! - Queues are polled with long polls of `idle_wait_seconds`, 20 at most, which is
//!   the most that SQS has. A queue that does not answer is asked again, with
//!   growing waits.
//! - The app is ready when all queues have answered. One that does not answer then
//!   is waited for, 15 s at most.
//! - Asked to stop, it finishes the poll under way and the messages it has.
//!
//! Who signs, and where the service is, is what the environment says: see
//! [`aws_client`].

mod config;
mod guest;
mod message;
mod queue;
mod receiver;

use std::collections::BTreeMap;
use std::sync::Arc;

use app::{LockedApp, Problems};
use async_trait::async_trait;
use futures::future::{join_all, try_join_all};
use tokio_util::sync::CancellationToken;
use trigger::{
    AppParts, Ended, MessageSettings, Ready, Serving, ShutdownSignal, Surroundings, Trigger,
    TriggerError, TriggerType, drained,
};

use config::{Aws, TRIGGER_TYPE};
use guest::Guest;
use queue::{CannotReceive, Queue};
use receiver::Receiver;

/// The triggers that messages of SQS queues set off.
#[derive(Debug)]
pub struct SqsTriggers {
    settings: MessageSettings,
    /// What says who signs, and where the service is.
    environment: BTreeMap<String, String>,
}

impl SqsTriggers {
    /// As the environment says.
    ///
    /// # Errors
    /// Every variable that cannot be used.
    pub fn configure(surroundings: &Surroundings<'_>) -> Result<Box<dyn TriggerType>, Problems> {
        let settings = MessageSettings::from_environment(surroundings.environment)?;
        let of_aws = surroundings.environment.iter().filter(|(name, _)| name.starts_with("AWS_"));
        let environment = of_aws.map(|(name, value)| (name.clone(), value.clone())).collect();
        Ok(Box::new(Self { settings, environment }))
    }
}

#[async_trait]
impl TriggerType for SqsTriggers {
    fn name(&self) -> &'static str {
        TRIGGER_TYPE
    }

    fn check(&self, app: &LockedApp, problems: &mut Problems) {
        config::read(app, &self.environment, problems);
    }

    async fn prepare(
        self: Box<Self>,
        parts: &AppParts<'_>,
        problems: &mut Problems,
    ) -> Option<Box<dyn Trigger>> {
        let mut aws = Aws::new(&self.environment);
        let mut receivers = Vec::new();
        for configured in config::read(parts.app, &self.environment, problems) {
            let component = configured.component;
            let guest = parts.link(&component).and_then(|linked| {
                Guest::of(&linked, self.settings)
                    .map_err(|error| format!("component {component:?} {error}"))
            });
            match guest {
                Ok(guest) => {
                    let config = configured.config;
                    let queue = Queue::new(aws.client(&config.region), &config);
                    let (queue, guest) = (Arc::new(queue), Arc::new(guest));
                    receivers.push(Receiver { component, queue, guest, config });
                }
                Err(problem) => problems.push(problem),
            }
        }
        Some(Box::new(Receivers(receivers)))
    }
}

/// All triggers of an app.
struct Receivers(Vec<Receiver>);

#[async_trait]
impl Trigger for Receivers {
    async fn run(
        self: Box<Self>,
        ready: Ready,
        stop: ShutdownSignal,
    ) -> Result<Ended, TriggerError> {
        let draining = CancellationToken::new();
        drained(self.serve(ready, draining.clone()), &draining, stop)
            .await
            .map_err(TriggerError::new)
    }
}

impl Receivers {
    async fn serve(self, ready: Ready, draining: CancellationToken) -> Result<(), CannotReceive> {
        let answering = try_join_all(self.0.iter().map(|receiver| receiver.queue.first_answer()));
        let lease_times = tokio::select! {
            lease_times = answering => lease_times?,
            () = draining.cancelled() => return Ok(()),
        };
        let routes = self.0.iter().map(|receiver| {
            (receiver.component.clone(), format!("SQS queue {}", receiver.config.queue_url))
        });
        ready.tell(Serving { addresses: Vec::new(), routes: routes.collect() });
        let receiving = self.0.iter().zip(lease_times);
        join_all(receiving.map(|(receiver, lease)| receiver.run(lease, &draining))).await;
        Ok(())
    }
}
