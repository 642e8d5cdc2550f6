//! The environment that configures an app: the only place where it is read.
//!
//! | variable | value | default |
//! |---|---|---|
//! | `SPIN_COMPONENTS_TO_RETAIN` | ids separated by commas; none keeps all | all |
//! | `SPIN_MAX_INSTANCE_MEMORY` | bytes | as much as the container |
//! | `SPIN_VARIABLE_<NAME>`, `<NAME>` | value of an application variable | its default |
//! | `RUNTIME_CONFIG_FILE` | the app's `runtime-config.toml` | `/runtime-config.toml` of a container |
//! | `SPINLET_APP_STATE_DIR` | an absolute path: where the app keeps its default store and database | see [`crate::state_dir`] |
//! | `SPIN_LOG_DIR` | a folder that the output of guests is copied to | the runtime configuration's `log_dir` |
//! | `SPINLET_DRAIN_TIMEOUT` | how long requests in flight may take after SIGTERM | `25s` |
//! | `SPINLET_WORKER_THREADS` | 1 to 512 | processors the container may use, at most 8 |
//! | `SPIN_HTTP_LISTEN_ADDR`, `SPINLET_REQUEST_TIMEOUT`, … | see the types in [`crate::triggers`] | |
//! | `OTEL_…`, `SPINLET_METRICS_LISTEN_ADDR`, … | see [`TelemetrySettings`] | nothing is told |
//! | `SPINLET_LOG_FORMAT` | `text` or `json` | `text` |
//! | `RUST_LOG` | a level, or `target=level` separated by commas | `warn` |
//!
//! Empty values count as not set. A value that cannot be used is an error that
//! names the variable; all are reported at once. `RUST_LOG` is the exception: a
//! filter that is not understood is reported in the log and replaced by the
//! default, because an image may well carry one for a program that is not run.

use std::path::PathBuf;
use std::time::Duration;

use app::Problems;
use host::HostSettings;
use http_trigger::ACCESS_TARGET;
use process_setup::{Environment, LogFormat, check_log_filter};
use telemetry::TelemetrySettings;
use trigger::{Surroundings, TriggerType, parse_duration};

use crate::{RuntimeError, triggers};

/// Shorter than the 30 s after which a kubelet kills by default.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(25);
/// More threads bring little and cost memory on large nodes.
const MOST_WORKERS: usize = 8;
const LOG_FILTER: &str = "warn";

/// Everything that the environment says.
pub struct Settings {
    /// Which components to keep; none for all.
    pub retain: Option<String>,
    /// Where the app keeps what it stores.
    pub state_dir: Option<PathBuf>,
    /// Where copies of what guests write go.
    pub log_dir: Option<PathBuf>,
    /// How long what is in flight may take to finish.
    pub drain_timeout: Duration,
    /// Threads that serve.
    pub workers: usize,
    /// Filter of log lines.
    pub log_filter: String,
    /// Whether [`Self::log_filter`] is not the one asked for, and why.
    pub log_problem: Option<String>,
    /// Form of log lines.
    pub log_format: LogFormat,
    /// The types of triggers that can be served.
    pub triggers: Vec<Box<dyn TriggerType>>,
    /// To whom the app tells about itself.
    pub telemetry: TelemetrySettings,
    /// Settings of the host.
    pub host: HostSettings,
}

impl Settings {
    /// Reads what surrounds an app. `processors` is how many this process may use.
    ///
    /// # Errors
    /// [`RuntimeError::Environment`] with every variable that cannot be used.
    pub fn read(surroundings: &Surroundings<'_>, processors: usize) -> Result<Self, RuntimeError> {
        let environment = surroundings.environment;
        let mut problems = Problems::default();
        let given = environment.iter().filter(|(_, value)| !value.is_empty());
        let given: Environment = given.collect();
        let mut reader = given.reader();
        let retain = reader.text("SPIN_COMPONENTS_TO_RETAIN").map(str::to_owned);
        let state_dir = reader.with("SPINLET_APP_STATE_DIR", "an absolute path", |text| {
            Some(PathBuf::from(text)).filter(|path| path.is_absolute())
        });
        let log_dir = reader.text("SPIN_LOG_DIR").map(PathBuf::from);
        let drain_timeout = reader.with(
            "SPINLET_DRAIN_TIMEOUT",
            "a duration such as `30s`, `500ms` or `2m`",
            parse_duration,
        );
        let workers = reader.with("SPINLET_WORKER_THREADS", "a number from 1 to 512", |text| {
            text.parse().ok().filter(|number| (1..=512).contains(number))
        });
        let log_format =
            reader.with("SPINLET_LOG_FORMAT", "`text` or `json`", |text| text.parse().ok());
        let (log_filter, log_problem) = log_filter(given.text("RUST_LOG"));
        if let Err(error) = reader.finish() {
            problems.extend(error.problems.iter().map(ToString::to_string));
        }
        let triggers = triggers::configure(surroundings)
            .map_err(|found| problems.extend(found.iter().map(ToString::to_string)));
        let host = HostSettings::from_environment(environment.clone())
            .map_err(|error| problems.push(process_setup::chain(&error)));
        let telemetry = TelemetrySettings::from_environment(environment)
            .map_err(|error| problems.extend(error.problems.iter().map(ToString::to_string)));
        let (Ok(triggers), Ok(telemetry), Ok(host), true) =
            (triggers, telemetry, host, problems.is_empty())
        else {
            return Err(RuntimeError::Environment(problems));
        };
        Ok(Self {
            retain,
            state_dir,
            log_dir,
            drain_timeout: drain_timeout.unwrap_or(DRAIN_TIMEOUT),
            workers: workers.unwrap_or_else(|| processors.clamp(1, MOST_WORKERS)),
            log_filter,
            log_problem,
            log_format: log_format.unwrap_or_default(),
            triggers,
            telemetry,
            host,
        })
    }
}

/// The filter to use, and what is wrong with the one asked for. The access log
/// has a switch of its own and is not to be silenced by a level for everything.
fn log_filter(asked: Option<&str>) -> (String, Option<String>) {
    let with_access = |filter: &str| format!("{ACCESS_TARGET}=info,{filter}");
    let default = with_access(LOG_FILTER);
    match asked {
        None => (default, None),
        Some(asked) => {
            let filter = with_access(asked);
            match check_log_filter(&filter) {
                Ok(()) => (filter, None),
                Err(error) => (default, Some(process_setup::chain(&error))),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Settings, RuntimeError> {
        let environment =
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let surroundings = Surroundings {
            environment: &environment,
            default_listen: "0.0.0.0:80",
            arguments: &[],
        };
        Settings::read(&surroundings, 64)
    }

    #[test]
    fn without_variables_the_defaults_count() {
        let settings = read(&[("SPIN_HTTP_LISTEN_ADDR", ""), ("SPIN_COMPONENTS_TO_RETAIN", "")]);
        let settings = settings.unwrap();
        assert_eq!(settings.retain, None);
        assert_eq!(settings.drain_timeout, Duration::from_secs(25));
        assert_eq!(settings.workers, 8, "of 64 processors");
        assert_eq!(settings.log_filter, "access=info,warn");
    }

    #[test]
    fn every_variable_is_read() {
        let settings = read(&[
            ("SPIN_COMPONENTS_TO_RETAIN", "a,b"),
            ("SPIN_MAX_INSTANCE_MEMORY", "1000000"),
            ("SPINLET_APP_STATE_DIR", "/state"),
            ("SPIN_LOG_DIR", "logs"),
            ("SPINLET_DRAIN_TIMEOUT", "5s"),
            ("SPINLET_WORKER_THREADS", "3"),
            ("SPINLET_LOG_FORMAT", "json"),
            ("RUST_LOG", "debug"),
        ])
        .unwrap();
        assert_eq!(settings.retain.as_deref(), Some("a,b"));
        assert_eq!(settings.host.max_instance_memory, Some(1_000_000));
        assert_eq!(settings.state_dir, Some(PathBuf::from("/state")));
        assert_eq!(settings.log_dir, Some(PathBuf::from("logs")));
        assert_eq!(settings.drain_timeout, Duration::from_secs(5));
        assert_eq!(settings.workers, 3);
        assert_eq!(settings.log_format, LogFormat::Json);
        assert_eq!(settings.log_filter, "access=info,debug");
    }

    #[test]
    fn every_value_that_cannot_be_used_is_reported_at_once() {
        let names = [
            "SPIN_HTTP_LISTEN_ADDR",
            "SPIN_MAX_INSTANCE_MEMORY",
            "SPINLET_APP_STATE_DIR",
            "SPINLET_DRAIN_TIMEOUT",
            "SPINLET_WORKER_THREADS",
            "SPINLET_LOG_FORMAT",
            "SPINLET_REQUEST_TIMEOUT",
            "SPINLET_METRICS_LISTEN_ADDR",
            "OTEL_EXPORTER_OTLP_ENDPOINT",
        ];
        let pairs = names.map(|name| (name, "nonsense"));
        let error = read(&pairs).err().unwrap().to_string();
        for name in names {
            assert!(error.contains(name), "{name} in {error}");
        }
    }

    #[test]
    fn a_log_filter_that_is_not_understood_is_replaced_and_told() {
        let settings = read(&[("RUST_LOG", "my_app=loud")]).unwrap();
        assert_eq!(settings.log_filter, "access=info,warn");
        assert!(settings.log_problem.unwrap().contains("my_app=loud"));
    }
}
