//! MQTT triggers as they stand in an app.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use app::{LockedApp, Problems, Template};
use outbound_network::Tls;
use rumqttc::{MqttOptions, QoS};
use serde::Deserialize;
use trigger::{AppParts, Configured, check_template, settings, triggers};
use url::Url;

/// The name of this trigger type.
pub(crate) const TRIGGER_TYPE: &str = "mqtt";
/// The largest packet of the protocol.
const MAX_PACKET: usize = 256 * 1024 * 1024;

/// What all triggers have in common; texts may have variables in them.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct AppSettings {
    address: Option<String>,
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
    keep_alive_interval: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    topic: String,
    qos: String,
}

/// One trigger; texts may have variables in them.
pub(crate) struct Config {
    topic: String,
    qos: QoS,
    address: String,
    username: String,
    password: String,
    keep_alive: Duration,
}

/// One trigger with its variables replaced.
pub(crate) struct Subscription {
    pub(crate) component: String,
    pub(crate) topic: String,
    pub(crate) qos: QoS,
    /// Host and port of the broker.
    pub(crate) broker: String,
    /// Carries the password; not to be shown.
    pub(crate) options: MqttOptions,
    /// What secures the connection, if anything.
    pub(crate) tls: Option<Arc<Tls>>,
}

/// Where a broker is.
#[derive(Debug, PartialEq, Eq)]
struct Broker {
    host: String,
    port: u16,
    secure: bool,
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.topic, self.broker)
    }
}

/// All MQTT triggers of `app`; what is wrong with them goes to `problems`.
pub(crate) fn read(app: &LockedApp, problems: &mut Problems) -> Vec<Configured<Config>> {
    let common: AppSettings = settings(app, TRIGGER_TYPE, problems);
    let tables = triggers::<Table>(app, TRIGGER_TYPE, problems);
    let Some(address) = &common.address else {
        problems.push("mqtt triggers need `address` in [application.trigger.mqtt]");
        return Vec::new();
    };
    check_common(app, &common, address, problems);
    let keep_alive = keep_alive(common.keep_alive_interval.as_deref()).unwrap_or_else(|value| {
        problems.push(format!(
            "`keep_alive_interval` of mqtt triggers is {value:?}, expected a number of seconds"
        ));
        Duration::ZERO
    });
    let mut read = Vec::new();
    for Configured { id, component, config: Table { topic, qos } } in tables {
        check_template(app, &topic, &topic_of(&id), problems);
        if topic.is_empty() {
            problems.push(format!("{} is empty", topic_of(&id)));
        }
        let Some(qos) = quality(&qos) else {
            problems.push(format!(
                "the qos of mqtt trigger {id:?} is {qos:?}, expected \"0\", \"1\" or \"2\""
            ));
            continue;
        };
        let config = Config {
            topic,
            qos,
            address: address.clone(),
            username: common.username.clone(),
            password: common.password.clone(),
            keep_alive,
        };
        read.push(Configured { id, component, config });
    }
    read
}

fn check_common(app: &LockedApp, common: &AppSettings, address: &str, problems: &mut Problems) {
    for (name, text) in
        [("address", address), ("username", &common.username), ("password", &common.password)]
    {
        check_template(app, text, &format!("`{name}` of mqtt triggers"), problems);
    }
    if Template::parse(address).is_ok_and(|template| template.is_literal())
        && let Err(problem) = broker(address)
    {
        problems.push(problem);
    }
}

fn topic_of(id: &str) -> String {
    format!("the topic of mqtt trigger {id:?}")
}

fn quality(text: &str) -> Option<QoS> {
    Some(match text {
        "0" => QoS::AtMostOnce,
        "1" => QoS::AtLeastOnce,
        "2" => QoS::ExactlyOnce,
        _ => return None,
    })
}

/// Seconds between signs of life, 0 for none.
fn keep_alive(text: Option<&str>) -> Result<Duration, &str> {
    let text = text.unwrap_or("30");
    let seconds: u16 = text.parse().map_err(|_| text)?;
    Ok(Duration::from_secs(seconds.into()))
}

/// The broker at an address, which is not repeated in the error: it may carry a
/// password.
fn broker(address: &str) -> Result<Broker, String> {
    let wrong = |what: &str| {
        format!(
            "the address of mqtt triggers {what}; expected mqtt://HOST:PORT, or mqtts://HOST:PORT \
             for TLS"
        )
    };
    let url = Url::parse(address).map_err(|error| wrong(&format!("is not valid: {error}")))?;
    let (secure, default_port) = match url.scheme() {
        "mqtt" | "tcp" => (false, 1883),
        "mqtts" | "ssl" => (true, 8883),
        other => return Err(wrong(&format!("has the scheme {other:?}"))),
    };
    let host =
        url.host_str().filter(|host| !host.is_empty()).ok_or_else(|| wrong("has no host"))?;
    let host = host.trim_matches(['[', ']']).to_owned();
    Ok(Broker { host, port: url.port().unwrap_or(default_port), secure })
}

/// A trigger with its variables replaced.
///
/// # Errors
/// A sentence that names what is wrong.
pub(crate) async fn expand(
    trigger: &Configured<Config>,
    parts: &AppParts<'_>,
) -> Result<Subscription, String> {
    let Configured { id, component, config } = trigger;
    let address = parts.expand(&config.address, "`address` of mqtt triggers").await?;
    let Broker { host, port, secure } = broker(&address)?;
    let username = parts.expand(&config.username, "`username` of mqtt triggers").await?;
    let password = parts.expand(&config.password, "`password` of mqtt triggers").await?;
    // A name of our own: two connections with the same end each other.
    let mut options =
        MqttOptions::new(format!("spinlet-{:016x}", fastrand::u64(..)), host.clone(), port);
    options
        .set_keep_alive(config.keep_alive)
        .set_manual_acks(true)
        .set_clean_session(true)
        .set_max_packet_size(MAX_PACKET, MAX_PACKET);
    if !username.is_empty() || !password.is_empty() {
        options.set_credentials(username, password);
    }
    Ok(Subscription {
        component: component.clone(),
        topic: parts.expand(&config.topic, &topic_of(id)).await?,
        qos: config.qos,
        broker: format!("{host}:{port}"),
        options,
        tls: secure.then(|| Arc::clone(parts.host.network().tls())),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn problems_of(settings: Value, config: Value) -> String {
        let component = json!({"id": "c", "metadata": {},
            "source": {"content_type": "application/wasm", "source": "file:///c.wasm"}});
        let app = json!({"spin_lock_version": 0, "variables": {"host": {"default": "x"}},
            "metadata": {"name": "a", "triggers": {"mqtt": settings}}, "components": [component],
            "triggers": [{"id": "t", "trigger_type": "mqtt", "trigger_config": config}]});
        let app = LockedApp::from_json(app.to_string().as_bytes()).unwrap();
        let mut problems = Problems::default();
        read(&app, &mut problems);
        problems.to_string()
    }

    #[test]
    fn a_whole_trigger_has_no_problem() {
        let settings = json!({"address": "mqtt://{{ host }}:1883", "username": "", "password": "",
            "keep_alive_interval": "30"});
        let trigger = json!({"component": "c", "topic": "a/+", "qos": "1"});
        assert_eq!(problems_of(settings, trigger), "");
    }

    #[test]
    fn everything_wrong_is_said() {
        let good = json!({"component": "c", "topic": "x", "qos": "0"});
        for (settings, config, expected) in [
            (json!({}), good.clone(), "need `address`"),
            (json!({"address": "nowhere"}), good.clone(), "mqtt://HOST:PORT"),
            (json!({"address": "http://h"}), good.clone(), "scheme \"http\""),
            (json!({"address": "mqtt://h", "keep_alive_interval": "soon"}), good, "\"soon\""),
            (
                json!({"address": "mqtt://h"}),
                json!({"component": "c", "topic": "x", "qos": "3"}),
                "qos of mqtt trigger \"t\"",
            ),
            (
                json!({"address": "mqtt://h"}),
                json!({"component": "c", "topic": "", "qos": "0"}),
                "is empty",
            ),
        ] {
            let found = problems_of(settings.clone(), config.clone());
            assert!(found.contains(expected), "{settings} {config}: {found}");
        }
    }

    #[test]
    fn addresses_of_either_scheme_have_a_port() {
        for (address, host, port, secure) in [
            ("mqtt://h", "h", 1883, false),
            ("tcp://h:1", "h", 1, false),
            ("mqtt://[::1]:1", "::1", 1, false),
            ("mqtts://h", "h", 8883, true),
            ("ssl://h:1", "h", 1, true),
        ] {
            let expected = Broker { host: host.to_owned(), port, secure };
            assert_eq!(broker(address).unwrap(), expected, "{address}");
        }
        assert!(!broker("http://u:hunter2@h").unwrap_err().contains("hunter2"));
    }
}
