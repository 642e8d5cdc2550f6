//! Hands the messages of MQTT topics to components: the `mqtt` trigger.
//!
//! - Components export `handle-message` of the world `spin:mqtt-trigger`,
//!   asynchronous or not. Every message is handled in an instance of its own,
//!   those of one trigger in their order.
//! - Each trigger has a connection of its own. Lost ones are made again, with
//!   growing waits. Sessions are clean: the broker keeps nothing for them.
//! - A message of quality of service 1 or 2 is acknowledged after it was handled,
//!   well or not. Of quality 0, messages that come while [`trigger::QUEUE`] others
//!   wait are lost, which is logged.
//! - The app is ready when all topics are subscribed to. A broker that does not
//!   answer then is waited for, 15 s at most.
//! - Asked to stop, it takes no message any more and finishes those it has.
//!
//! Over TLS a broker's certificate must be one of an authority of the platform or
//! of Mozilla's.

mod config;
mod session;

use std::sync::Arc;

use app::{LockedApp, Problems};
use async_trait::async_trait;
use futures::future::{join_all, try_join_all};
use tokio_util::sync::CancellationToken;
use trigger::{
    AppParts, Configured, Ended, Export, Handler, MessageSettings, Ready, Serving, ShutdownSignal,
    Surroundings, Trigger, TriggerError, TriggerType, chain, drained,
};
use wasmtime::component::{ComponentType, Lift, Lower};

use config::{Config, Subscription, TRIGGER_TYPE};
use session::{CannotSubscribe, Session};

/// The triggers that messages of MQTT topics set off.
#[derive(Debug)]
pub struct MqttTriggers {
    settings: MessageSettings,
}

/// What a component is told beside the message.
#[derive(Debug, Clone, ComponentType, Lower, Lift)]
#[component(record)]
pub(crate) struct Metadata {
    topic: String,
}

/// Why a component did not handle a message.
#[derive(Debug, Clone, ComponentType, Lower, Lift, thiserror::Error)]
#[component(variant)]
pub(crate) enum Error {
    #[component(name = "other")]
    #[error("{0}")]
    Other(String),
}

/// A component that handles messages.
pub(crate) type Guest = Handler<(Vec<u8>, Metadata), (Result<(), Error>,)>;

impl MqttTriggers {
    /// As the environment says.
    ///
    /// # Errors
    /// Every variable that cannot be used.
    pub fn configure(surroundings: &Surroundings<'_>) -> Result<Box<dyn TriggerType>, Problems> {
        let settings = MessageSettings::from_environment(surroundings.environment)?;
        Ok(Box::new(Self { settings }))
    }

    async fn subscriber(
        &self,
        configured: &Configured<Config>,
        parts: &AppParts<'_>,
    ) -> Result<(Subscription, Arc<Guest>), String> {
        let subscription = config::expand(configured, parts).await?;
        let component = &configured.component;
        let export = Export { interface: None, function: "handle-message" };
        let guest = Guest::of(TRIGGER_TYPE, &parts.link(component)?, export, self.settings)
            .map_err(|error| format!("component {component:?} {}", chain(&error)))?;
        Ok((subscription, Arc::new(guest)))
    }
}

#[async_trait]
impl TriggerType for MqttTriggers {
    fn name(&self) -> &'static str {
        TRIGGER_TYPE
    }

    fn check(&self, app: &LockedApp, problems: &mut Problems) {
        config::read(app, problems);
    }

    async fn prepare(
        self: Box<Self>,
        parts: &AppParts<'_>,
        problems: &mut Problems,
    ) -> Option<Box<dyn Trigger>> {
        let mut subscribers = Vec::new();
        for configured in config::read(parts.app, problems) {
            match self.subscriber(&configured, parts).await {
                Ok(subscriber) => subscribers.push(subscriber),
                Err(problem) => problems.push(problem),
            }
        }
        Some(Box::new(Subscribers { settings: self.settings, subscribers }))
    }
}

/// All triggers of an app.
struct Subscribers {
    settings: MessageSettings,
    subscribers: Vec<(Subscription, Arc<Guest>)>,
}

#[async_trait]
impl Trigger for Subscribers {
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

impl Subscribers {
    async fn serve(self, ready: Ready, draining: CancellationToken) -> Result<(), CannotSubscribe> {
        let connecting =
            self.subscribers.iter().map(|(subscription, _)| Session::first(subscription));
        let sessions = tokio::select! {
            sessions = try_join_all(connecting) => sessions?,
            () = draining.cancelled() => return Ok(()),
        };
        let routes = self.subscribers.iter().map(|(subscription, _)| {
            let Subscription { component, topic, broker, .. } = subscription;
            (component.clone(), format!("MQTT topic {topic} on {broker}"))
        });
        ready.tell(Serving { addresses: Vec::new(), routes: routes.collect() });
        let mut receiving = Vec::new();
        for ((subscription, guest), session) in self.subscribers.iter().zip(sessions) {
            let receiver = session::Receiver {
                subscription,
                guest: Arc::clone(guest),
                settings: self.settings,
                draining: draining.clone(),
            };
            receiving.push(receiver.run(session));
        }
        join_all(receiving).await;
        Ok(())
    }
}
