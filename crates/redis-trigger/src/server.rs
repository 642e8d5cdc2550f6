//! One Redis server and the channels that are subscribed to there.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{FutureExt, StreamExt};
use host::LogLimit;
use outbound_network::{ConnectError, Tls};
use redis::aio::{PubSub, PubSubSink};
use redis::{Client, ConnectionAddr, Msg, RedisError};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use trigger::{Attempts, Backoff, Lane, chain};

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often a silent connection is tried.
const PROBE: Duration = Duration::from_secs(30);

/// One server; its triggers' lanes by channel.
pub(crate) struct Server {
    client: Client,
    tls: Option<Arc<Tls>>,
    name: String,
    channels: BTreeMap<String, Vec<Lane<Bytes>>>,
    drops: LogLimit,
}

/// Why a server cannot be used, or no longer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Lost {
    #[error("{0}")]
    Redis(#[from] RedisError),
    #[error("{0}")]
    Connect(std::io::Error),
    #[error("{}", chain(.0))]
    Tls(ConnectError),
    #[error("TLS needs a host to connect to")]
    NoHost,
    #[error("it did not answer within {PATIENCE:?}")]
    Silent,
    #[error("it closed the connection")]
    Closed,
}

/// The app cannot start for want of a server.
#[derive(Debug, thiserror::Error)]
#[error("cannot subscribe to channels of the Redis server {server}")]
pub(crate) struct CannotSubscribe {
    server: String,
    source: Lost,
}

impl Server {
    pub(crate) fn new(client: Client, tls: Option<Arc<Tls>>) -> Self {
        let name = client.get_connection_info().addr().to_string();
        Self { client, tls, name, channels: BTreeMap::new(), drops: LogLimit::default() }
    }

    /// Its host and port.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Puts messages of `channel` in `lane`.
    pub(crate) fn add(&mut self, channel: String, lane: Lane<Bytes>) {
        self.channels.entry(channel).or_default().push(lane);
    }

    /// Connects and subscribes to all channels; waits for a server that is about
    /// to come.
    pub(crate) async fn first_connection(&self) -> Result<PubSub, CannotSubscribe> {
        Attempts::default().until_ready(|| self.connect()).await.map_err(|error| CannotSubscribe {
            server: self.name.clone(),
            source: error.unwrap_or(Lost::Silent),
        })
    }

    async fn connect(&self) -> Result<PubSub, Lost> {
        let subscribed = async {
            let mut connection = match &self.tls {
                None => self.client.get_async_pubsub().await?,
                Some(tls) => self.secured(tls).await?,
            };
            let channels: Vec<&str> = self.channels.keys().map(String::as_str).collect();
            connection.subscribe(channels).await?;
            Ok(connection)
        };
        timeout(PATIENCE, subscribed).await.unwrap_or(Err(Lost::Silent))
    }

    /// A connection over TLS.
    async fn secured(&self, tls: &Tls) -> Result<PubSub, Lost> {
        let info = self.client.get_connection_info();
        let ConnectionAddr::Tcp(host, port) = info.addr() else { return Err(Lost::NoHost) };
        let stream = TcpStream::connect((host.as_str(), *port)).await.map_err(Lost::Connect)?;
        let stream = tls.secure(host, stream).await.map_err(Lost::Tls)?;
        Ok(PubSub::new(info.redis_settings(), stream).await?)
    }

    /// Puts messages in their lanes until `draining`; connects again when the
    /// connection is lost.
    pub(crate) async fn receive(&self, mut connection: PubSub, draining: CancellationToken) {
        let mut backoff = Backoff::default();
        loop {
            let since = Instant::now();
            let Some(lost) = self.deliver(connection, &draining).await else { return };
            tracing::warn!(server = self.name, "the connection to Redis is lost: {lost}");
            backoff.lost_after(since);
            let connecting = self.connect_again(&mut backoff);
            let Some(again) = draining.run_until_cancelled(connecting).await else { return };
            tracing::warn!(server = self.name, "connected to Redis again");
            connection = again;
        }
    }

    async fn connect_again(&self, backoff: &mut Backoff) -> PubSub {
        loop {
            sleep(backoff.next_wait()).await;
            match self.connect().await {
                Ok(connection) => return connection,
                Err(error) => {
                    tracing::warn!(server = self.name, "cannot connect to Redis: {error}");
                }
            }
        }
    }

    /// Puts messages in their lanes; returns why the connection is lost, none when
    /// `draining`.
    async fn deliver(&self, connection: PubSub, draining: &CancellationToken) -> Option<Lost> {
        let (mut sink, mut messages) = connection.split();
        let mut probing = std::pin::pin!(probe(&mut sink));
        loop {
            tokio::select! {
                message = messages.next() => match message {
                    Some(message) => self.hand_over(&message),
                    None => return Some(Lost::Closed),
                },
                Err(lost) = &mut probing => return Some(lost),
                () = draining.cancelled() => break,
            }
        }
        // What has arrived counts as taken.
        while let Some(Some(message)) = messages.next().now_or_never() {
            self.hand_over(&message);
        }
        None
    }

    fn hand_over(&self, message: &Msg) {
        let channel = message.get_channel_name();
        let payload = Bytes::copy_from_slice(message.get_payload_bytes());
        for lane in self.channels.get(channel).into_iter().flatten() {
            if !lane.offer(payload.clone())
                && let Some(suppressed) = self.drops.permit()
            {
                tracing::warn!(
                    channel,
                    suppressed,
                    "a message is dropped: {} others wait for their guest",
                    trigger::QUEUE
                );
            }
        }
    }
}

/// Asks the server for a sign of life from time to time; ends when there is none.
async fn probe(sink: &mut PubSubSink) -> Result<Infallible, Lost> {
    loop {
        sleep(PROBE).await;
        let answered = timeout(PATIENCE, sink.ping_message::<redis::Value>("")).await;
        answered.map_err(|_| Lost::Silent)??;
    }
}
