//! Hands the messages of Redis channels to components: the `redis` trigger.
//!
//! - Components export `fermyon:spin/inbound-redis` or `spin:redis/inbound-redis`
//!   of version 3. Every message is handled in an instance of its own, those of
//!   one trigger in their order.
//! - There is one connection per address; `rediss://` is one over TLS, where the
//!   server's certificate must be one of an authority of the platform or of
//!   Mozilla's. Lost ones are made again, with growing
//!   waits; a server that went away without a word is noticed within a minute.
//! - The app is ready when all channels are subscribed to. A server that does not
//!   answer then is waited for, 15 s at most.
//! - Redis keeps no message for those who are not connected, so messages of the
//!   time in between are lost; so are those that come while
//!   [`trigger::QUEUE`] others wait, which is logged.
//! - Asked to stop, it takes no message any more and finishes those it has.

mod config;
mod guest;
mod server;

use std::collections::BTreeMap;
use std::sync::Arc;

use app::{LockedApp, Problems};
use async_trait::async_trait;
use bytes::Bytes;
use futures::future::{join_all, try_join_all};
use tokio_util::sync::CancellationToken;
use trigger::{
    AppParts, Ended, Lanes, MessageSettings, Ready, Serving, ShutdownSignal, Surroundings, Trigger,
    TriggerError, TriggerType, drained,
};

use config::{Subscription, TRIGGER_TYPE};
use guest::Guest;
use server::{CannotSubscribe, Server};

/// The triggers that messages of Redis channels set off.
#[derive(Debug)]
pub struct RedisTriggers {
    settings: MessageSettings,
}

impl RedisTriggers {
    /// As the environment says.
    ///
    /// # Errors
    /// Every variable that cannot be used.
    pub fn configure(surroundings: &Surroundings<'_>) -> Result<Box<dyn TriggerType>, Problems> {
        let settings = MessageSettings::from_environment(surroundings.environment)?;
        Ok(Box::new(Self { settings }))
    }
}

#[async_trait]
impl TriggerType for RedisTriggers {
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
        let mut servers: BTreeMap<String, Vec<(Subscription, Guest)>> = BTreeMap::new();
        for configured in config::read(parts.app, problems) {
            let subscription = config::expand(&configured, parts).await;
            let guest = parts.link(&configured.component).and_then(|linked| {
                Guest::of(&linked, self.settings)
                    .map_err(|error| format!("component {:?} {error}", configured.component))
            });
            match (subscription, guest) {
                (Ok(subscription), Ok(guest)) => {
                    let address = subscription.address.clone();
                    servers.entry(address).or_default().push((subscription, guest));
                }
                (subscription, guest) => {
                    problems.extend(subscription.err().into_iter().chain(guest.err()));
                }
            }
        }
        Some(Box::new(Subscriber { settings: self.settings, servers }))
    }
}

/// What is subscribed to, by address.
struct Subscriber {
    settings: MessageSettings,
    servers: BTreeMap<String, Vec<(Subscription, Guest)>>,
}

#[async_trait]
impl Trigger for Subscriber {
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

impl Subscriber {
    async fn serve(self, ready: Ready, draining: CancellationToken) -> Result<(), CannotSubscribe> {
        let mut lanes = Lanes::new(self.settings);
        let mut routes = Vec::new();
        let mut servers = Vec::new();
        for subscriptions in self.servers.into_values() {
            servers.extend(server(subscriptions, &mut lanes, &mut routes));
        }
        let connecting = try_join_all(servers.iter().map(Server::first_connection));
        let connections = tokio::select! {
            connections = connecting => connections?,
            () = draining.cancelled() => return Ok(()),
        };
        ready.tell(Serving { addresses: Vec::new(), routes });
        let mut receiving = Vec::new();
        for (server, connection) in servers.iter().zip(connections) {
            receiving.push(server.receive(connection, draining.clone()));
        }
        join_all(receiving).await;
        drop(servers);
        lanes.finished().await;
        Ok(())
    }
}

/// The server of subscriptions that have their address in common, each with a
/// lane of its own.
fn server(
    subscriptions: Vec<(Subscription, Guest)>,
    lanes: &mut Lanes,
    routes: &mut Vec<(String, String)>,
) -> Option<Server> {
    let Subscription { client, tls, .. } = &subscriptions.first()?.0;
    let mut server = Server::new(client.clone(), tls.clone());
    for (subscription, guest) in subscriptions {
        let Subscription { component, channel, .. } = subscription;
        routes.push((component, format!("Redis channel {channel} on {}", server.name())));
        let guest = Arc::new((guest, channel.clone()));
        let lane = lanes.lane(move |payload: Bytes| {
            let guest = Arc::clone(&guest);
            async move {
                let (guest, channel) = &*guest;
                guest.handle(channel, payload).await;
            }
        });
        server.add(channel, lane);
    }
    Some(server)
}
