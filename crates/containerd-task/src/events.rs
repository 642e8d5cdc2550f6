//! The events publisher: a bounded queue and one worker that forwards to
//! containerd in order.

use std::path::PathBuf;
use std::time::Duration;

use containerd_shim::event::Event;
use containerd_shim::util::{convert_to_any, timestamp};
use containerd_shim_protos::protobuf::MessageField;
use containerd_shim_protos::shim::event::Envelope;
use containerd_shim_protos::shim::events::ForwardRequest;
use containerd_shim_protos::shim_async::{Client, EventsClient};
use containerd_shim_protos::ttrpc::asynchronous::transport::Socket;
use containerd_shim_protos::ttrpc::context;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};

/// Events that wait while containerd is away; containerd's own publisher keeps
/// as many.
const QUEUE: usize = 2048;
/// How long one attempt may take.
const ATTEMPT: Duration = Duration::from_secs(5);
/// How often an event is offered to a containerd that can be reached.
const ATTEMPTS: u32 = 5;
/// Pause before connecting again, doubled up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Publishes task events to containerd.
///
/// Publishing never waits. Events reach containerd in the order in which they
/// were published. While containerd is away they are kept, up to 2,048; one
/// that containerd was reached with but did not take in five attempts is
/// dropped with a warning.
#[derive(Debug)]
pub struct Publisher {
    namespace: String,
    queue: mpsc::Sender<Item>,
}

#[derive(Debug)]
enum Item {
    Event(Box<Envelope>),
    Flush(oneshot::Sender<()>),
}

impl Publisher {
    /// A publisher for one containerd namespace; `address` is containerd's
    /// ttrpc socket, with or without `unix://`. An empty address drops every
    /// event.
    ///
    /// Must be called on a tokio runtime; the worker ends with the publisher.
    pub fn new(address: &str, namespace: &str) -> Self {
        let (queue, items) = mpsc::channel(QUEUE);
        if address.is_empty() {
            tracing::warn!("containerd gave no ttrpc address, events are not published");
        } else {
            let path = address.strip_prefix("unix://").unwrap_or(address);
            tokio::spawn(Forwarder { path: PathBuf::from(path), client: None }.run(items));
        }
        Self { namespace: namespace.to_owned(), queue }
    }

    /// Queues one event.
    pub(crate) fn publish<E: Event>(&self, event: E) {
        let topic = event.topic();
        let envelope = match self.envelope(Box::new(event)) {
            Ok(envelope) => envelope,
            Err(error) => {
                tracing::error!(topic, %error, "event cannot be encoded");
                return;
            }
        };
        match self.queue.try_send(Item::Event(Box::new(envelope))) {
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => {}
            Err(mpsc::error::TrySendError::Full(_)) => {
                tracing::error!(topic, "event dropped: {QUEUE} events are waiting for containerd");
            }
        }
    }

    fn envelope<E: Event>(&self, event: Box<E>) -> Result<Envelope, containerd_shim::Error> {
        Ok(Envelope {
            timestamp: MessageField::some(timestamp()?),
            namespace: self.namespace.clone(),
            topic: event.topic(),
            event: MessageField::some(convert_to_any(event)?),
            ..Envelope::default()
        })
    }

    /// Waits until everything queued so far has been forwarded or dropped, at
    /// most for `limit`.
    pub async fn flush(&self, limit: Duration) {
        let (done, forwarded) = oneshot::channel();
        let flushed = async {
            if self.queue.send(Item::Flush(done)).await.is_ok() {
                let _ = forwarded.await;
            }
        };
        if timeout(limit, flushed).await.is_err() {
            tracing::warn!("some events did not reach containerd before the shim ended");
        }
    }
}

struct Forwarder {
    path: PathBuf,
    client: Option<EventsClient>,
}

impl Forwarder {
    async fn run(mut self, mut items: mpsc::Receiver<Item>) {
        while let Some(item) = items.recv().await {
            match item {
                Item::Event(envelope) => self.forward(*envelope).await,
                Item::Flush(done) => {
                    let _ = done.send(());
                }
            }
        }
    }

    async fn forward(&mut self, envelope: Envelope) {
        let topic = envelope.topic.clone();
        let request =
            ForwardRequest { envelope: MessageField::some(envelope), ..ForwardRequest::default() };
        for attempt in 1..=ATTEMPTS {
            let client = self.connected().await;
            match client.forward(context::with_duration(ATTEMPT), &request).await {
                Ok(_) => return,
                Err(error) => {
                    tracing::warn!(topic, attempt, %error, "event was not taken by containerd");
                    self.client = None;
                    sleep(FIRST_PAUSE.saturating_mul(attempt)).await;
                }
            }
        }
        tracing::error!(topic, "event dropped after {ATTEMPTS} attempts");
    }

    /// The client, connected anew if need be, however long that takes:
    /// containerd may be restarting, and nothing is lost while the queue holds.
    async fn connected(&mut self) -> EventsClient {
        let mut pause = FIRST_PAUSE;
        loop {
            if let Some(client) = &self.client {
                return client.clone();
            }
            if let Ok(Ok(stream)) = timeout(ATTEMPT, UnixStream::connect(&self.path)).await {
                let client = Client::new(Socket::new(stream));
                self.client = Some(EventsClient::new(client));
            } else {
                sleep(pause).await;
                pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
            }
        }
    }
}
