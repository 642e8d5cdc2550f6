//! One queue.

use std::sync::Arc;
use std::time::Duration;

use aws_client::{AwsClient, AwsError};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use trigger::{Attempts, chain};

use crate::config::Config;
use crate::message::Received;

/// How long messages are ours when the queue does not say.
const DEFAULT_LEASE: Duration = Duration::from_secs(30);
/// The longest wait for messages that SQS has.
const LONGEST_POLL: Duration = Duration::from_secs(20);
/// How often a message is tried to be deleted.
const DELETIONS: u32 = 4;
/// The wait between two attempts.
const PAUSE: Duration = Duration::from_millis(500);

/// What SQS says to those who may not, in either of its protocols.
const DENIED: [&str; 2] = ["AccessDenied", "AccessDeniedException"];

/// A queue of SQS.
pub(crate) struct Queue {
    client: Arc<AwsClient>,
    url: String,
    /// What messages are asked for with, but how many.
    request: Value,
}

/// A call of SQS without a result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum QueueError {
    #[error(transparent)]
    Aws(#[from] AwsError),
    #[error("the answer is not what SQS says")]
    Answer(#[from] serde_json::Error),
}

/// The app cannot start for want of a queue.
#[derive(Debug, thiserror::Error)]
#[error("cannot receive messages of the SQS queue {url}")]
pub(crate) struct CannotReceive {
    url: String,
    source: Option<QueueError>,
}

impl Queue {
    pub(crate) fn new(client: Arc<AwsClient>, config: &Config) -> Self {
        let request = json!({
            "QueueUrl": config.queue_url,
            "WaitTimeSeconds": poll_time(config.idle_wait).as_secs(),
            "MessageSystemAttributeNames": config.system_attributes,
            "MessageAttributeNames": config.message_attributes,
        });
        Self { client, url: config.queue_url.clone(), request }
    }

    /// Its URL.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Its name: the end of its URL.
    pub(crate) fn name(&self) -> &str {
        self.url.rsplit('/').next().unwrap_or_default()
    }

    /// Waits until it answers: how long its messages are ours.
    pub(crate) async fn first_answer(&self) -> Result<Duration, CannotReceive> {
        let answered = Attempts::default().until_ready(|| self.lease()).await;
        answered.map_err(|source| CannotReceive { url: self.url.clone(), source })
    }

    async fn lease(&self) -> Result<Duration, QueueError> {
        let input = json!({ "QueueUrl": self.url, "AttributeNames": ["VisibilityTimeout"] });
        let answer: Value = match self.call("GetQueueAttributes", &input).await {
            Ok(answer) => answer,
            // Not everybody who may receive may ask.
            Err(QueueError::Aws(error)) if DENIED.iter().any(|code| error.is(code)) => {
                tracing::warn!(
                    queue = self.url,
                    "the queue does not tell its visibility timeout, {} s is assumed: {error}",
                    DEFAULT_LEASE.as_secs()
                );
                Value::Null
            }
            Err(error) => return Err(error),
        };
        let told = answer.pointer("/Attributes/VisibilityTimeout").and_then(Value::as_str);
        let seconds = told.and_then(|text| text.parse().ok());
        Ok(seconds.map_or(DEFAULT_LEASE, Duration::from_secs))
    }

    /// Receives up to `most` messages; waits for the first a while.
    pub(crate) async fn receive(&self, most: usize) -> Result<Received, QueueError> {
        let mut input = self.request.clone();
        if let Some(input) = input.as_object_mut() {
            input.insert("MaxNumberOfMessages".to_owned(), most.into());
        }
        self.call("ReceiveMessage", &input).await
    }

    /// Keeps a message for another `lease`.
    pub(crate) async fn renew(&self, receipt: &str, lease: Duration) -> Result<(), QueueError> {
        let input = json!({
            "QueueUrl": self.url,
            "ReceiptHandle": receipt,
            "VisibilityTimeout": lease.as_secs(),
        });
        self.call("ChangeMessageVisibility", &input).await.map(|_: Value| ())
    }

    /// Deletes a message. One that cannot be deleted comes again, which is logged.
    pub(crate) async fn delete(&self, id: &str, receipt: &str) {
        let input = json!({ "QueueUrl": self.url, "ReceiptHandle": receipt });
        let mut left = DELETIONS;
        loop {
            let deleted: Result<Value, _> = self.call("DeleteMessage", &input).await;
            left -= 1;
            match deleted {
                Ok(_) => return,
                Err(_) if left > 0 => tokio::time::sleep(PAUSE).await,
                Err(error) => {
                    let error = chain(&error);
                    tracing::error!(queue = self.url, "message {id} cannot be deleted: {error}");
                    return;
                }
            }
        }
    }

    async fn call<T: DeserializeOwned>(
        &self,
        operation: &str,
        input: &Value,
    ) -> Result<T, QueueError> {
        let answer = self.client.call(&format!("AmazonSQS.{operation}"), "1.0", input).await?;
        Ok(serde_json::from_value(answer)?)
    }
}

/// How long one poll waits: a second at least, so that an empty queue is not asked
/// without pause.
pub(crate) fn poll_time(idle_wait: Duration) -> Duration {
    idle_wait.clamp(Duration::from_secs(1), LONGEST_POLL)
}
