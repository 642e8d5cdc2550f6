//! HTTP triggers as they stand in an app.

use std::collections::BTreeMap;

use app::{LockedApp, LockedTrigger, Problems};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::Deserialize;

/// The name of this trigger type.
pub(crate) const TRIGGER_TYPE: &str = "http";

/// One HTTP trigger.
#[derive(Debug)]
pub(crate) struct HttpTrigger {
    pub(crate) target: Target,
    /// None: private, reached by service chaining only.
    pub(crate) route: Option<String>,
}

/// Who answers.
#[derive(Debug)]
pub(crate) enum Target {
    Component { id: String, executor: Executor },
    Static(StaticResponse),
}

/// How a component is run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Executor {
    /// As its exports say.
    #[default]
    Http,
    /// As a program.
    Wagi(Wagi),
}

/// How a program is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wagi {
    /// Its arguments, with `${SCRIPT_NAME}` and `${ARGS}` in them.
    pub(crate) argv: String,
}

/// A response that needs no guest.
#[derive(Debug, Clone)]
pub(crate) struct StaticResponse {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    component: Option<String>,
    static_response: Option<StaticConfig>,
    route: RouteConfig,
    executor: Option<ExecutorConfig>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "a route is a string or { private = true }")]
enum RouteConfig {
    Path(String),
    Private(PrivateConfig),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PrivateConfig {
    private: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StaticConfig {
    status_code: Option<u16>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    body: Option<String>,
}

/// `wasip3-unstable` was required by some Spin versions and refused by others;
/// exports say enough.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
enum ExecutorConfig {
    #[serde(alias = "spin", alias = "wasip3-unstable")]
    Http,
    Wagi {
        #[serde(default = "default_argv")]
        argv: String,
        entrypoint: Option<String>,
    },
}

fn default_argv() -> String {
    "${SCRIPT_NAME} ${ARGS}".to_owned()
}

/// The prefix of all routes: `base` of the app's HTTP settings.
pub(crate) fn base(app: &LockedApp, problems: &mut Problems) -> String {
    let settings = app.trigger_settings(TRIGGER_TYPE).unwrap_or_default();
    match settings.get("base") {
        None => "/".to_owned(),
        Some(serde_json::Value::String(base)) if base.starts_with('/') => base.clone(),
        Some(other) => {
            problems.push(format!("the app's HTTP `base` is {other}, not a path such as \"/\""));
            "/".to_owned()
        }
    }
}

/// All HTTP triggers of `app`; what is wrong with them goes to `problems`.
pub(crate) fn triggers(app: &LockedApp, problems: &mut Problems) -> Vec<HttpTrigger> {
    app.triggers_of(TRIGGER_TYPE)
        .filter_map(|trigger| match read(trigger) {
            Ok(read) => Some(read),
            Err(problem) => {
                problems.push(format!("HTTP trigger {:?} {problem}", trigger.id));
                None
            }
        })
        .collect()
}

fn read(trigger: &LockedTrigger) -> Result<HttpTrigger, String> {
    let config: Config = trigger.config().map_err(|error| {
        let source = std::error::Error::source(&error).map(ToString::to_string);
        format!("is not valid: {}", source.unwrap_or_default())
    })?;
    let route = match config.route {
        RouteConfig::Path(path) => Some(path),
        RouteConfig::Private(PrivateConfig { private: true }) => None,
        RouteConfig::Private(_) => {
            return Err("has a route `{ private = false }`: write a path instead".to_owned());
        }
    };
    let executor = match config.executor {
        Some(ExecutorConfig::Wagi { entrypoint: Some(other), .. }) if other != "_start" => {
            return Err(format!("has the entrypoint {other:?}: only \"_start\" can be called"));
        }
        Some(ExecutorConfig::Wagi { argv, .. }) => Executor::Wagi(Wagi { argv }),
        Some(ExecutorConfig::Http) | None => Executor::Http,
    };
    let target = match (config.component, config.static_response) {
        (Some(id), None) => Target::Component { id, executor },
        (None, Some(response)) => Target::Static(fixed(response)?),
        (Some(_), Some(_)) => {
            return Err("has both `component` and `static_response`: keep one".to_owned());
        }
        (None, None) => return Err("has neither `component` nor `static_response`".to_owned()),
    };
    Ok(HttpTrigger { target, route })
}

fn fixed(config: StaticConfig) -> Result<StaticResponse, String> {
    let code = config.status_code.unwrap_or(200);
    let status = StatusCode::from_u16(code)
        .ok()
        .filter(|status| !status.is_informational())
        .ok_or_else(|| format!("has the static status code {code}, which is none"))?;
    let mut headers = HeaderMap::new();
    for (name, value) in config.headers {
        let wrong = || format!("has a static header {name:?} that HTTP does not allow");
        let key = HeaderName::try_from(&name).map_err(|_| wrong())?;
        headers.insert(key, HeaderValue::try_from(value).map_err(|_| wrong())?);
    }
    Ok(StaticResponse { status, headers, body: config.body.unwrap_or_default().into() })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read_json(config: Value) -> Result<HttpTrigger, String> {
        read(&LockedTrigger {
            id: "t".to_owned(),
            trigger_type: "http".to_owned(),
            trigger_config: config,
        })
    }

    #[test]
    fn every_spelling_of_a_trigger_is_understood() {
        for executor in [
            json!(null),
            json!({"type": "http"}),
            json!({"type": "spin"}),
            json!({"type": "wasip3-unstable"}),
        ] {
            let trigger =
                read_json(json!({"component": "c", "route": "/x", "executor": executor})).unwrap();
            assert_eq!(trigger.route.as_deref(), Some("/x"));
            assert!(matches!(
                trigger.target,
                Target::Component { id, executor: Executor::Http } if id == "c"
            ));
        }
        let wagi = json!({"type": "wagi", "argv": "${ARGS}"});
        let trigger = read_json(json!({"component": "c", "route": "/x", "executor": wagi}));
        assert!(matches!(
            trigger.unwrap().target,
            Target::Component { executor: Executor::Wagi(Wagi { argv }), .. } if argv == "${ARGS}"
        ));
        let private = read_json(json!({"component": "c", "route": {"private": true}})).unwrap();
        assert_eq!(private.route, None);
    }

    #[test]
    fn a_static_response_has_defaults() {
        let Target::Static(response) =
            read_json(json!({"static_response": {}, "route": "/"})).unwrap().target
        else {
            panic!("no static response");
        };
        assert_eq!((response.status, response.body.len()), (StatusCode::OK, 0));
        let full = json!({"status_code": 418, "headers": {"X-A": "b"}, "body": "tea"});
        let Target::Static(response) =
            read_json(json!({"static_response": full, "route": "/"})).unwrap().target
        else {
            panic!("no static response");
        };
        assert_eq!(response.status, StatusCode::IM_A_TEAPOT);
        assert_eq!(response.headers["x-a"], "b");
        assert_eq!(response.body, "tea");
    }

    #[test]
    fn wrong_triggers_are_explained() {
        for (config, expected) in [
            (json!({"route": "/"}), "neither"),
            (json!({"component": "c", "static_response": {}, "route": "/"}), "both"),
            (json!({"component": "c"}), "route"),
            (json!({"component": "c", "route": 1}), "a string or { private = true }"),
            (json!({"component": "c", "route": {"private": false}}), "private = false"),
            (json!({"component": "c", "route": "/", "extra": 1}), "extra"),
            (json!({"component": "c", "route": "/", "executor": {"type": "x"}}), "unknown variant"),
            (
                json!({"component": "c", "route": "/",
                    "executor": {"type": "wagi", "entrypoint": "main"}}),
                "entrypoint \"main\"",
            ),
            (json!({"static_response": {"status_code": 99}, "route": "/"}), "status code 99"),
            (json!({"static_response": {"status_code": 101}, "route": "/"}), "status code 101"),
            (json!({"static_response": {"headers": {"a b": "c"}}, "route": "/"}), "\"a b\""),
            (json!({"static_response": {"bdy": "c"}, "route": "/"}), "bdy"),
        ] {
            let error = read_json(config.clone()).unwrap_err();
            assert!(error.contains(expected), "{config}: {error}");
        }
    }
}
