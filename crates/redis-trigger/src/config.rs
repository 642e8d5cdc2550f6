//! Redis triggers as they stand in an app.

use std::sync::Arc;

use app::{LockedApp, Problems, Template};
use outbound_network::Tls;
use redis::Client;
use serde::Deserialize;
use trigger::{AppParts, Configured, check_template, settings, triggers};

/// The name of this trigger type.
pub(crate) const TRIGGER_TYPE: &str = "redis";

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct AppSettings {
    address: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    channel: String,
    address: Option<String>,
}

/// One trigger; both texts may have variables in them.
#[derive(Debug)]
pub(crate) struct Config {
    channel: String,
    address: String,
}

/// One trigger with its variables replaced.
pub(crate) struct Subscription {
    pub(crate) component: String,
    pub(crate) channel: String,
    /// May carry a password; not to be shown.
    pub(crate) address: String,
    pub(crate) client: Client,
    /// What secures the connection, if anything.
    pub(crate) tls: Option<Arc<Tls>>,
}

/// All Redis triggers of `app`; what is wrong with them goes to `problems`.
pub(crate) fn read(app: &LockedApp, problems: &mut Problems) -> Vec<Configured<Config>> {
    let common: AppSettings = settings(app, TRIGGER_TYPE, problems);
    let mut read = Vec::new();
    for Configured { id, component, config } in triggers::<Table>(app, TRIGGER_TYPE, problems) {
        let Some(address) = config.address.or_else(|| common.address.clone()) else {
            problems.push(format!(
                "redis trigger {id:?} has no address: set `address` there, or for all redis \
                 triggers in [application.trigger.redis]"
            ));
            continue;
        };
        check_template(app, &address, &address_of(&id), problems);
        check_template(app, &config.channel, &channel_of(&id), problems);
        if Template::parse(&address).is_ok_and(|template| template.is_literal())
            && let Err(problem) = client(&id, &address)
        {
            problems.push(problem);
        }
        if config.channel.is_empty() {
            problems.push(format!("{} is empty", channel_of(&id)));
        }
        let config = Config { channel: config.channel, address };
        read.push(Configured { id, component, config });
    }
    read
}

/// A trigger with its variables replaced.
///
/// # Errors
/// A sentence that names the trigger.
pub(crate) async fn expand(
    trigger: &Configured<Config>,
    parts: &AppParts<'_>,
) -> Result<Subscription, String> {
    let Configured { id, component, config } = trigger;
    let address = parts.expand(&config.address, &address_of(id)).await?;
    let channel = parts.expand(&config.channel, &channel_of(id)).await?;
    let client = client(id, &address)?;
    let tls = is_secure(&address).then(|| Arc::clone(parts.host.network().tls()));
    Ok(Subscription { component: component.clone(), channel, address, client, tls })
}

fn address_of(id: &str) -> String {
    format!("the address of redis trigger {id:?}")
}

fn channel_of(id: &str) -> String {
    format!("the channel of redis trigger {id:?}")
}

/// Whether `address` asks for TLS.
fn is_secure(address: &str) -> bool {
    address.starts_with(SECURE)
}

/// How an address begins that asks for TLS.
const SECURE: &str = "rediss://";

/// A client for `address`, which is not connected yet; TLS is not its business. The
/// address is not repeated in the error: it may carry a password.
fn client(id: &str, address: &str) -> Result<Client, String> {
    let plain = address.strip_prefix(SECURE).map(|rest| format!("redis://{rest}"));
    Client::open(plain.as_deref().unwrap_or(address)).map_err(|error| {
        format!(
            "{} cannot be used: {error}; expected redis://HOST:PORT, or rediss://HOST:PORT for TLS",
            address_of(id)
        )
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
            "metadata": {"name": "a", "triggers": {"redis": settings}}, "components": [component],
            "triggers": [{"id": "t", "trigger_type": "redis", "trigger_config": config}]});
        let app = LockedApp::from_json(app.to_string().as_bytes()).unwrap();
        let mut problems = Problems::default();
        read(&app, &mut problems);
        problems.to_string()
    }

    #[test]
    fn the_address_is_the_triggers_or_the_apps() {
        let address = json!({"address": "redis://{{ host }}:6379"});
        assert_eq!(problems_of(address, json!({"component": "c", "channel": "x"})), "");
        for address in ["redis://localhost", "rediss://localhost:6380/1"] {
            let own = json!({"component": "c", "channel": "x", "address": address});
            assert_eq!(problems_of(json!({}), own), "", "{address}");
        }
    }

    #[test]
    fn everything_wrong_is_said() {
        for (settings, config, expected) in [
            (json!({}), json!({"component": "c", "channel": "x"}), "has no address"),
            (json!({"address": "nowhere"}), json!({"component": "c", "channel": "x"}), "\"t\""),
            (json!({"adress": "x"}), json!({"component": "c", "channel": "x"}), "adress"),
            (json!({"address": "redis://h"}), json!({"component": "c"}), "channel"),
            (json!({"address": "redis://h"}), json!({"component": "c", "channel": ""}), "is empty"),
            (
                json!({"address": "redis://h"}),
                json!({"component": "c", "channel": "{{ nobody }}"}),
                "does not declare",
            ),
        ] {
            let found = problems_of(settings.clone(), config.clone());
            assert!(found.contains(expected), "{settings} {config}: {found}");
        }
    }

    #[test]
    fn a_password_is_not_repeated() {
        let found = problems_of(
            json!({"address": "redis://:hunter2@host:notaport"}),
            json!({"component": "c", "channel": "x"}),
        );
        assert!(found.contains("cannot be used") && !found.contains("hunter2"), "{found}");
    }
}
