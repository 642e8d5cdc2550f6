//! Connections to brokers.

use std::sync::Arc;
use std::time::Duration;

use host::LogLimit;
use outbound_network::ConnectError;
use rumqttc::{
    AsyncClient, ClientError, ConnectionError, Event, EventLoop, Packet, Publish,
    SubscribeReasonCode, TlsConfiguration, Transport,
};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use trigger::{Attempts, Backoff, Lane, Lanes, MessageSettings};

use crate::config::Subscription;
use crate::{Guest, Metadata};

/// How long a broker may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Requests that wait to be sent; acknowledgements mostly.
const REQUESTS: usize = 64;

/// A connection that is subscribed to its trigger's topic.
pub(crate) struct Session {
    client: AsyncClient,
    events: EventLoop,
}

/// Why a broker cannot be used, or no longer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Lost {
    #[error("{0}")]
    Connection(Box<ConnectionError>),
    #[error("{0}")]
    Tls(ConnectError),
    #[error("the topic is not one that can be subscribed to")]
    Topic(#[from] ClientError),
    #[error("the broker refuses the subscription")]
    Refused,
    #[error("the broker did not answer within {PATIENCE:?}")]
    Silent,
}

impl From<ConnectionError> for Lost {
    fn from(error: ConnectionError) -> Self {
        Self::Connection(Box::new(error))
    }
}

/// The app cannot start for want of a broker.
#[derive(Debug, thiserror::Error)]
#[error("cannot subscribe to the MQTT topic {topic:?} on {broker}")]
pub(crate) struct CannotSubscribe {
    topic: String,
    broker: String,
    source: Lost,
}

impl Session {
    /// The first connection; waits for a broker that is about to come.
    pub(crate) async fn first(subscription: &Subscription) -> Result<Self, CannotSubscribe> {
        let connected = Attempts::default().until_ready(|| Self::connect(subscription)).await;
        connected.map_err(|error| CannotSubscribe {
            topic: subscription.topic.clone(),
            broker: subscription.broker.clone(),
            source: error.unwrap_or(Lost::Silent),
        })
    }

    async fn connect(subscription: &Subscription) -> Result<Self, Lost> {
        let mut options = subscription.options.clone();
        if let Some(tls) = &subscription.tls {
            let config = tls.config().await.map_err(Lost::Tls)?;
            options.set_transport(Transport::Tls(TlsConfiguration::Rustls(config)));
        }
        let (client, events) = AsyncClient::new(options, REQUESTS);
        client.subscribe(&subscription.topic, subscription.qos).await?;
        let mut session = Self { client, events };
        timeout(PATIENCE, session.subscribed()).await.unwrap_or(Err(Lost::Silent))?;
        Ok(session)
    }

    /// Waits for the broker's word.
    async fn subscribed(&mut self) -> Result<(), Lost> {
        loop {
            if let Event::Incoming(Packet::SubAck(answer)) = self.events.poll().await? {
                let refused = answer.return_codes.contains(&SubscribeReasonCode::Failure);
                return if refused { Err(Lost::Refused) } else { Ok(()) };
            }
        }
    }
}

/// What takes the messages of one trigger.
pub(crate) struct Receiver<'a> {
    pub(crate) subscription: &'a Subscription,
    pub(crate) guest: Arc<Guest>,
    pub(crate) settings: MessageSettings,
    pub(crate) draining: CancellationToken,
}

/// A message and who is told that it was handled.
struct Message {
    client: AsyncClient,
    publish: Publish,
}

impl Receiver<'_> {
    /// Has messages handled until draining, then finishes those it has; connects
    /// again when the connection is lost.
    pub(crate) async fn run(self, mut session: Session) {
        let mut lanes = Lanes::new(self.settings);
        let guest = Arc::clone(&self.guest);
        let lane = lanes.lane(move |message: Message| handle(Arc::clone(&guest), message));
        let mut backoff = Backoff::default();
        loop {
            let since = Instant::now();
            let Some(lost) = self.deliver(&mut session, &lane).await else { break };
            tracing::warn!(
                broker = self.subscription.broker,
                "the connection to MQTT is lost: {lost}"
            );
            backoff.lost_after(since);
            let connecting = self.connect_again(&mut backoff);
            let Some(again) = self.draining.run_until_cancelled(connecting).await else { break };
            tracing::warn!(broker = self.subscription.broker, "connected to MQTT again");
            session = again;
        }
        drop(lane);
        self.finish(session, lanes).await;
    }

    async fn connect_again(&self, backoff: &mut Backoff) -> Session {
        loop {
            sleep(backoff.next_wait()).await;
            match Session::connect(self.subscription).await {
                Ok(session) => return session,
                Err(error) => {
                    let broker = &self.subscription.broker;
                    tracing::warn!(broker, "cannot connect to MQTT: {error}");
                }
            }
        }
    }

    /// Puts messages in their lane; returns why the connection is lost, none when
    /// draining.
    async fn deliver(&self, session: &mut Session, lane: &Lane<Message>) -> Option<Lost> {
        let drops = LogLimit::default();
        loop {
            let event = tokio::select! {
                event = session.events.poll() => event,
                () = self.draining.cancelled() => return None,
            };
            match event {
                Ok(Event::Incoming(Packet::Publish(publish))) => {
                    let client = session.client.clone();
                    if !lane.offer(Message { client, publish })
                        && let Some(suppressed) = drops.permit()
                    {
                        let topic = &self.subscription.topic;
                        tracing::warn!(
                            topic,
                            suppressed,
                            "a message is dropped: {} others wait for their guest",
                            trigger::QUEUE
                        );
                    }
                }
                Ok(_) => {}
                Err(error) => return Some(error.into()),
            }
        }
    }

    /// Waits for the guests, and meanwhile sends what they acknowledge.
    async fn finish(&self, session: Session, mut lanes: Lanes) {
        let Session { client, mut events } = session;
        let handled = async {
            lanes.finished().await;
            // Behind the last acknowledgement; the connection ends with it.
            let _ = client.disconnect().await;
        };
        let sending = async move { while events.poll().await.is_ok() {} };
        // A connection that is lost now is not made again, but the guests finish.
        tokio::join!(handled, sending);
    }
}

/// Has the guest handle a message, and says so to the broker.
async fn handle(guest: Arc<Guest>, message: Message) {
    let Message { client, publish } = message;
    let metadata = Metadata { topic: publish.topic.clone() };
    guest.handle(&publish.topic, (publish.payload.to_vec(), metadata)).await;
    // A connection that is lost has nobody to be told.
    let _ = client.ack(&publish).await;
}
