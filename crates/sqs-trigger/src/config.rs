//! SQS triggers as they stand in an app.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use app::{LockedApp, Problems};
use aws_client::{AwsClient, CredentialsSource};
use serde::Deserialize;
use trigger::{Configured, triggers};
use url::{Host, Url};

/// The name of this trigger type.
pub(crate) const TRIGGER_TYPE: &str = "sqs";
/// Most messages that SQS gives at a time.
const MOST_MESSAGES: u16 = 10;
const DEFAULT_IDLE_WAIT: u64 = 2;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    queue_url: String,
    max_messages: Option<u16>,
    idle_wait_seconds: Option<u64>,
    #[serde(default)]
    system_attributes: Vec<String>,
    #[serde(default)]
    message_attributes: Vec<String>,
}

/// One trigger.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) queue_url: String,
    pub(crate) region: String,
    /// How many at a time.
    pub(crate) max_messages: u16,
    /// How long to wait for messages when there are none.
    pub(crate) idle_wait: Duration,
    /// Names of attributes that guests are told.
    pub(crate) system_attributes: Vec<String>,
    pub(crate) message_attributes: Vec<String>,
}

/// All SQS triggers of `app`; what is wrong with them goes to `problems`.
pub(crate) fn read(
    app: &LockedApp,
    environment: &BTreeMap<String, String>,
    problems: &mut Problems,
) -> Vec<Configured<Config>> {
    let mut read = Vec::new();
    for Configured { id, component, config } in triggers::<Table>(app, TRIGGER_TYPE, problems) {
        let max_messages = config.max_messages.unwrap_or(MOST_MESSAGES);
        if !(1..=MOST_MESSAGES).contains(&max_messages) {
            problems.push(format!(
                "max_messages of sqs trigger {id:?} is {max_messages}, expected 1 to \
                 {MOST_MESSAGES}: SQS gives no more at a time"
            ));
        }
        match region(&config.queue_url, environment) {
            Ok(region) => read.push(Configured {
                id,
                component,
                config: Config {
                    queue_url: config.queue_url,
                    region,
                    max_messages,
                    idle_wait: Duration::from_secs(
                        config.idle_wait_seconds.unwrap_or(DEFAULT_IDLE_WAIT),
                    ),
                    system_attributes: config.system_attributes,
                    message_attributes: config.message_attributes,
                },
            }),
            Err(problem) => problems.push(format!("the queue_url of sqs trigger {id:?} {problem}")),
        }
    }
    read
}

/// The region of a queue: that in its URL, else that of the environment.
fn region(queue_url: &str, environment: &BTreeMap<String, String>) -> Result<String, String> {
    let get = |name: &str| environment.get(name).filter(|value| !value.is_empty());
    let url = Url::parse(queue_url).map_err(|error| format!("is no URL: {error}"))?;
    let host = match url.host() {
        Some(Host::Domain(domain)) => domain.to_owned(),
        Some(address) => address.to_string(),
        None => return Err("has no host".to_owned()),
    };
    if let Some(region) = region_of_host(&host) {
        return Ok(region.to_owned());
    }
    if get("AWS_ENDPOINT_URL_SQS").or_else(|| get("AWS_ENDPOINT_URL")).is_none() {
        return Err(format!(
            "names the host {host:?}, which is not SQS: set AWS_ENDPOINT_URL_SQS if it is another \
             service that speaks its protocol"
        ));
    }
    let region = get("AWS_REGION").or_else(|| get("AWS_DEFAULT_REGION"));
    region.cloned().ok_or_else(|| "names no region: set AWS_REGION".to_owned())
}

/// The region in `sqs.REGION.amazonaws.com`, or in the older form with the parts
/// the other way round.
fn region_of_host(host: &str) -> Option<&str> {
    let name = host.strip_suffix(".amazonaws.com").or(host.strip_suffix(".amazonaws.com.cn"))?;
    name.strip_prefix("sqs.").or_else(|| name.strip_suffix(".queue")).filter(|r| !r.contains('.'))
}

/// A client for each region.
pub(crate) struct Aws<'a> {
    environment: &'a BTreeMap<String, String>,
    clients: BTreeMap<String, Arc<AwsClient>>,
}

impl<'a> Aws<'a> {
    pub(crate) fn new(environment: &'a BTreeMap<String, String>) -> Self {
        Self { environment, clients: BTreeMap::new() }
    }

    pub(crate) fn client(&mut self, region: &str) -> Arc<AwsClient> {
        let client = self.clients.entry(region.to_owned()).or_insert_with(|| {
            let credentials = CredentialsSource::from_environment(self.environment);
            Arc::new(AwsClient::new("sqs", region, credentials, self.environment))
        });
        Arc::clone(client)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const URL: &str = "https://sqs.eu-west-1.amazonaws.com/123/orders";

    fn read_from(config: Value, pairs: &[(&str, &str)]) -> (Vec<Config>, String) {
        let component = json!({"id": "c", "metadata": {},
            "source": {"content_type": "application/wasm", "source": "file:///c.wasm"}});
        let app = json!({"spin_lock_version": 0, "metadata": {"name": "a"},
            "components": [component],
            "triggers": [{"id": "t", "trigger_type": "sqs", "trigger_config": config}]});
        let app = LockedApp::from_json(app.to_string().as_bytes()).unwrap();
        let environment =
            pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        let mut problems = Problems::default();
        let read = read(&app, &environment, &mut problems);
        (read.into_iter().map(|configured| configured.config).collect(), problems.to_string())
    }

    #[test]
    fn what_is_left_out_has_the_defaults_of_spin() {
        let (read, problems) = read_from(json!({"component": "c", "queue_url": URL}), &[]);
        let [config] = &read[..] else { panic!("{problems}") };
        assert_eq!((config.max_messages, config.idle_wait), (10, Duration::from_secs(2)));
        assert_eq!(config.region, "eu-west-1");
        assert!(config.system_attributes.is_empty() && config.message_attributes.is_empty());
    }

    #[test]
    fn the_region_is_in_the_url_or_the_environment() {
        let nothing = BTreeMap::new();
        for (url, expected) in [
            (URL, "eu-west-1"),
            ("https://us-east-2.queue.amazonaws.com/1/q", "us-east-2"),
            ("https://sqs.cn-north-1.amazonaws.com.cn/1/q", "cn-north-1"),
        ] {
            assert_eq!(region(url, &nothing).as_deref(), Ok(expected), "{url}");
        }
        let other = "http://localhost:4566/1/q";
        let endpoint = ("AWS_ENDPOINT_URL".to_owned(), other.to_owned());
        let place = ("AWS_REGION".to_owned(), "eu-north-1".to_owned());
        assert!(region(other, &nothing).unwrap_err().contains("AWS_ENDPOINT_URL_SQS"));
        let some = BTreeMap::from([endpoint.clone()]);
        assert!(region(other, &some).unwrap_err().contains("AWS_REGION"));
        let all = BTreeMap::from([endpoint, place]);
        assert_eq!(region(other, &all).as_deref(), Ok("eu-north-1"));
    }

    #[test]
    fn everything_wrong_is_said() {
        for (config, expected) in [
            (json!({"component": "c"}), "queue_url"),
            (json!({"component": "c", "queue_url": "orders"}), "is no URL"),
            (json!({"component": "c", "queue_url": URL, "max_messages": 11}), "1 to 10"),
            (json!({"component": "c", "queue_url": URL, "max_messages": 0}), "1 to 10"),
            (json!({"component": "c", "queue_url": URL, "wait": 1}), "unknown field `wait`"),
        ] {
            let (_, problems) = read_from(config.clone(), &[]);
            assert!(
                problems.contains(expected) && problems.contains("\"t\""),
                "{config}: {problems}"
            );
        }
    }
}
