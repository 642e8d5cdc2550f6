//! Settings of the HTTP trigger.

use std::collections::BTreeMap;
use std::time::Duration;

use app::Problems;
use trigger::parse_duration;

/// How requests are served. [`Default`] is what a small pod needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpSettings {
    /// How long a guest may take for one request, its whole response included;
    /// none: as long as the client waits. Guests over it are stopped: 504 if
    /// there was no response yet, otherwise the response breaks off.
    pub request_timeout: Option<Duration>,
    /// Requests that are answered at the same time; one more is answered with
    /// 503 and `Retry-After`.
    pub max_requests: usize,
    /// Instances that exist at the same time, a quarter of them for requests
    /// between components. Requests wait for one. Must not be more than the
    /// engine's pool has.
    pub max_instances: usize,
    /// Connections that are open at the same time. At the limit the longest idle
    /// one is closed; if none is idle, new ones wait in the kernel's queue.
    pub max_connections: usize,
    /// How long a client may take to send the head of a request.
    pub header_timeout: Duration,
    /// How long a connection without a request is kept.
    pub idle_timeout: Duration,
    /// How long a body may make no progress in either direction.
    pub stall_timeout: Duration,
    /// How long new connections are still accepted after draining has begun,
    /// for load balancers that learn of it late. Readiness fails meanwhile.
    pub drain_delay: Duration,
    /// Whether each request is logged.
    pub access_log: bool,
    /// How instances of WASI 0.3 components are used again.
    pub reuse: InstanceReuse,
}

/// Bounds for the reuse of an instance; only components of WASI 0.3 are reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InstanceReuse {
    /// Requests one instance handles in its life.
    pub max_uses: usize,
    /// Requests one instance handles at the same time.
    pub max_concurrent: usize,
    /// How long an instance without a request is kept.
    pub idle: Duration,
}

impl Default for InstanceReuse {
    fn default() -> Self {
        Self { max_uses: 128, max_concurrent: 16, idle: Duration::from_secs(1) }
    }
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            request_timeout: None,
            max_requests: 1024,
            max_instances: engine::Pool::default().instances as usize,
            max_connections: 4096,
            header_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(90),
            stall_timeout: Duration::from_mins(1),
            drain_delay: Duration::ZERO,
            access_log: true,
            reuse: InstanceReuse::default(),
        }
    }
}

impl HttpSettings {
    /// The defaults, changed by
    ///
    /// | variable | value |
    /// |---|---|
    /// | `SPINLET_REQUEST_TIMEOUT` | a duration such as `30s`, `500ms`, `2m`; `off` |
    /// | `SPINLET_MAX_REQUESTS` | a number |
    /// | `SPINLET_MAX_CONNECTIONS` | a number |
    /// | `SPINLET_IDLE_TIMEOUT` | a duration |
    /// | `SPINLET_DRAIN_DELAY` | a duration |
    /// | `SPINLET_ACCESS_LOG` | `on` or `off` |
    ///
    /// Empty values are ignored.
    ///
    /// # Errors
    ///
    /// Every value of another form.
    pub fn from_environment(environment: &BTreeMap<String, String>) -> Result<Self, Problems> {
        const DURATION: &str = "a duration such as `30s`, `500ms` or `2m`";
        const COUNT: &str = "a number greater than zero";
        let mut settings = Self::default();
        let mut problems = Problems::default();
        let mut read = |name: &str, set: &mut dyn FnMut(&str) -> Option<()>, expected: &str| {
            if let Some(value) = environment.get(name).filter(|value| !value.is_empty())
                && set(value).is_none()
            {
                problems.push(format!("{name} is {value:?}, expected {expected}"));
            }
        };
        read(
            "SPINLET_REQUEST_TIMEOUT",
            &mut |value| {
                settings.request_timeout =
                    if value == "off" { None } else { Some(positive(value)?) };
                Some(())
            },
            "a duration such as `30s`, `500ms` or `2m`, or `off`",
        );
        read("SPINLET_MAX_REQUESTS", &mut |value| count(value, &mut settings.max_requests), COUNT);
        read(
            "SPINLET_MAX_CONNECTIONS",
            &mut |value| count(value, &mut settings.max_connections),
            COUNT,
        );
        read(
            "SPINLET_IDLE_TIMEOUT",
            &mut |value| {
                settings.idle_timeout = positive(value)?;
                Some(())
            },
            DURATION,
        );
        read(
            "SPINLET_DRAIN_DELAY",
            &mut |value| {
                settings.drain_delay = parse_duration(value)?;
                Some(())
            },
            DURATION,
        );
        read(
            "SPINLET_ACCESS_LOG",
            &mut |value| {
                settings.access_log = match value {
                    "on" => true,
                    "off" => false,
                    _ => return None,
                };
                Some(())
            },
            "`on` or `off`",
        );
        problems.into_result(settings)
    }
}

fn count(value: &str, setting: &mut usize) -> Option<()> {
    // Semaphores count in less than all of `usize`.
    let number = value.parse().ok().filter(|number| (1..=1_000_000).contains(number))?;
    *setting = number;
    Some(())
}

fn positive(value: &str) -> Option<Duration> {
    parse_duration(value).filter(|duration| !duration.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<HttpSettings, Problems> {
        let environment =
            pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        HttpSettings::from_environment(&environment)
    }

    #[test]
    fn nothing_set_gives_the_defaults() {
        assert_eq!(read(&[("SPINLET_MAX_REQUESTS", "")]).unwrap(), HttpSettings::default());
    }

    #[test]
    fn every_variable_is_read() {
        let settings = read(&[
            ("SPINLET_REQUEST_TIMEOUT", "1500ms"),
            ("SPINLET_MAX_REQUESTS", "7"),
            ("SPINLET_MAX_CONNECTIONS", "8"),
            ("SPINLET_IDLE_TIMEOUT", "2m"),
            ("SPINLET_DRAIN_DELAY", "0s"),
            ("SPINLET_ACCESS_LOG", "off"),
        ])
        .unwrap();
        let expected = HttpSettings {
            request_timeout: Some(Duration::from_millis(1500)),
            max_requests: 7,
            max_connections: 8,
            idle_timeout: Duration::from_mins(2),
            access_log: false,
            ..HttpSettings::default()
        };
        assert_eq!(settings, expected);
        assert_eq!(read(&[("SPINLET_REQUEST_TIMEOUT", "off")]).unwrap().request_timeout, None);
    }

    #[test]
    fn every_unreadable_value_is_reported() {
        let problems = read(&[
            ("SPINLET_REQUEST_TIMEOUT", "30"),
            ("SPINLET_MAX_REQUESTS", "0"),
            ("SPINLET_MAX_CONNECTIONS", "many"),
            ("SPINLET_IDLE_TIMEOUT", "0s"),
            ("SPINLET_DRAIN_DELAY", "-1s"),
            ("SPINLET_ACCESS_LOG", "yes"),
        ])
        .unwrap_err();
        assert_eq!(problems.iter().count(), 6, "{problems}");
    }
}
