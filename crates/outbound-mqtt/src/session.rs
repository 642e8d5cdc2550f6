//! One connection to a broker: a task that sends what others want published and
//! tells them when the broker has it.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use outbound_network::Share;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use crate::codec::{self, Connect, DISCONNECT, PING, QualityOfService, Received, decode};
use crate::error::MqttError;

/// How long a connection nobody uses is kept.
pub const IDLE_TIME: Duration = Duration::from_mins(1);
/// Messages that wait for being sent.
const QUEUE: usize = 64;

/// A message that is to be published.
pub(crate) struct Message {
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) quality: QualityOfService,
    /// Told when the broker has it.
    pub(crate) done: oneshot::Sender<Result<(), MqttError>>,
}

/// A handle of a connection.
#[derive(Clone)]
pub(crate) struct Session {
    messages: mpsc::Sender<Message>,
    /// One more than there are handles: the task has one, too.
    handles: Arc<()>,
}

impl Session {
    /// Says who connects over `stream` and waits for the broker's answer.
    /// `share` is given back at the end of the connection.
    pub(crate) async fn start<S>(
        mut stream: S,
        connect: Connect<'_>,
        share: Share,
    ) -> Result<Self, MqttError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        stream.write_all(&connect.encode()).await.map_err(closed)?;
        stream.flush().await.map_err(closed)?;
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).await.map_err(closed)?;
        match decode(&answer) {
            Ok(Some((Received::Connected(0), _))) => {}
            Ok(Some((Received::Connected(code), _))) => {
                return Err(MqttError::Refused(reason(code)));
            }
            _ => return Err(malformed()),
        }
        let (sender, messages) = mpsc::channel(QUEUE);
        let handles = Arc::new(());
        let task = Task {
            stream,
            received: Vec::new(),
            pending: HashMap::new(),
            last_number: 0,
            keep_alive: Duration::from_secs(connect.keep_alive.into()),
            handles: Arc::clone(&handles),
        };
        tokio::spawn(async move {
            task.run(messages).await;
            drop(share);
        });
        Ok(Self { messages: sender, handles })
    }

    pub(crate) fn is_open(&self) -> bool {
        !self.messages.is_closed()
    }

    /// Whether anybody but the one who asks and the task has a handle.
    pub(crate) fn is_used(&self) -> bool {
        Arc::strong_count(&self.handles) > 2
    }

    /// Publishes a message; returns when the broker has what `quality` asks for.
    ///
    /// Cancel safe: the message is sent or not.
    pub(crate) async fn publish(
        &self,
        topic: String,
        payload: Vec<u8>,
        quality: QualityOfService,
    ) -> Result<(), MqttError> {
        let (done, outcome) = oneshot::channel();
        let ended = || MqttError::Closed("the broker closed it".to_owned());
        let message = Message { topic, payload, quality, done };
        self.messages.send(message).await.map_err(|_| ended())?;
        outcome.await.unwrap_or_else(|_| Err(ended()))
    }
}

fn closed(error: io::Error) -> MqttError {
    MqttError::Closed(error.to_string())
}

fn malformed() -> MqttError {
    MqttError::Closed("the answer is not one of an MQTT broker".to_owned())
}

fn reason(code: u8) -> &'static str {
    match code {
        1 => "it does not speak MQTT 3.1.1",
        2 => "it does not accept the client id",
        3 => "it is not available",
        4 => "user name or password are wrong",
        5 => "not authorized",
        _ => "for an unknown reason",
    }
}

type Pending = HashMap<u16, (QualityOfService, oneshot::Sender<Result<(), MqttError>>)>;

struct Task<S> {
    stream: S,
    /// What came and is not a whole packet yet.
    received: Vec<u8>,
    /// Messages the broker has not acknowledged, by their number.
    pending: Pending,
    last_number: u16,
    /// Zero: the broker waits as long as it likes.
    keep_alive: Duration,
    handles: Arc<()>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Task<S> {
    async fn run(mut self, mut messages: mpsc::Receiver<Message>) {
        let result = self.serve(&mut messages).await;
        messages.close();
        let error = match result {
            Ok(()) => MqttError::Closed("nobody used it".to_owned()),
            Err(error) => error,
        };
        // Those who wait for nothing any more do not care.
        for (_, done) in self.pending.into_values() {
            let _ = done.send(Err(error.clone()));
        }
        while let Ok(message) = messages.try_recv() {
            let _ = message.done.send(Err(error.clone()));
        }
    }

    /// Until nobody uses the connection for a while, or it breaks.
    async fn serve(&mut self, messages: &mut mpsc::Receiver<Message>) -> Result<(), MqttError> {
        let mut buffer = [0; 1024];
        let mut last_use = Instant::now();
        let mut ping_at = self.next_ping();
        let mut pong_by = None;
        loop {
            let wake = pong_by.unwrap_or(ping_at).min(last_use + IDLE_TIME);
            tokio::select! {
                message = messages.recv() => {
                    let Some(message) = message else { return self.say_goodbye().await };
                    last_use = Instant::now();
                    self.send(message).await?;
                    ping_at = self.next_ping();
                }
                count = self.stream.read(&mut buffer) => {
                    let count = count.map_err(closed)?;
                    if count == 0 {
                        return Err(MqttError::Closed("the broker closed it".to_owned()));
                    }
                    pong_by = None;
                    self.received.extend(buffer.get(..count).unwrap_or_default());
                    self.receive().await?;
                }
                () = sleep_until(wake) => {
                    let now = Instant::now();
                    if pong_by.is_some_and(|limit| limit <= now) {
                        return Err(MqttError::Closed("the broker does not answer".to_owned()));
                    }
                    if now >= last_use + IDLE_TIME {
                        // The one the connections of the app keep, and ours.
                        if self.pending.is_empty() && Arc::strong_count(&self.handles) <= 2 {
                            return self.say_goodbye().await;
                        }
                        last_use = now;
                    }
                    if pong_by.is_none() && now >= ping_at {
                        self.write(&PING).await?;
                        pong_by = Some(now + self.keep_alive);
                        ping_at = self.next_ping();
                    }
                }
            }
        }
    }

    fn next_ping(&self) -> Instant {
        // Early enough to arrive in time; an hour stands for never.
        let interval = if self.keep_alive.is_zero() {
            Duration::from_hours(1)
        } else {
            self.keep_alive * 3 / 4
        };
        Instant::now() + interval
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), MqttError> {
        self.stream.write_all(bytes).await.map_err(closed)?;
        self.stream.flush().await.map_err(closed)
    }

    async fn say_goodbye(&mut self) -> Result<(), MqttError> {
        self.write(&DISCONNECT).await
    }

    async fn send(&mut self, message: Message) -> Result<(), MqttError> {
        let Message { topic, payload, quality, done } = message;
        if quality == QualityOfService::AtMostOnce {
            let sent = self.write(&codec::publish(&topic, &payload, None)).await;
            let _ = done.send(sent.clone());
            return sent;
        }
        let Some(number) = self.free_number() else {
            let _ = done.send(Err(MqttError::NoNumber));
            return Ok(());
        };
        self.pending.insert(number, (quality, done));
        self.write(&codec::publish(&topic, &payload, Some((number, quality)))).await
    }

    /// A number that no message has which the broker has not acknowledged.
    fn free_number(&mut self) -> Option<u16> {
        for _ in 0..u16::MAX {
            self.last_number = self.last_number.checked_add(1).unwrap_or(1);
            if !self.pending.contains_key(&self.last_number) {
                return Some(self.last_number);
            }
        }
        None
    }

    /// Handles every whole packet that was received.
    async fn receive(&mut self) -> Result<(), MqttError> {
        while let Some((received, length)) = decode(&self.received).map_err(|_| malformed())? {
            self.received.drain(..length);
            match received {
                Received::Acknowledged(number) => {
                    self.complete(number, QualityOfService::AtLeastOnce);
                }
                Received::Completed(number) => {
                    self.complete(number, QualityOfService::ExactlyOnce);
                }
                Received::Stored(number) => self.write(&codec::release(number)).await?,
                Received::Pong => {}
                Received::Connected(_) => return Err(malformed()),
            }
        }
        Ok(())
    }

    fn complete(&mut self, number: u16, expected: QualityOfService) {
        if self.pending.get(&number).is_some_and(|(quality, _)| *quality == expected)
            && let Some((_, done)) = self.pending.remove(&number)
        {
            let _ = done.send(Ok(()));
        }
    }
}
