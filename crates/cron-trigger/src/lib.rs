//! Starts components at the times of cron expressions: the `cron` trigger.
//!
//! - A `cron_expression` has six fields, or seven with years: seconds, minutes,
//!   hours, days of the month, months, days of the week (0 and 7 are Sunday).
//!   Days of the month and of the week must both match. Times are in UTC.
//! - Components export `handle-cron-event` of the world
//!   `fermyon:spin-cron/spin-cron`, asynchronous or not.
//! - A time that comes while an earlier one is still handled is handled beside
//!   it; [`MOST_AT_A_TIME`] at a time, others are left out, which is logged. Times
//!   that pass while the app does not run, or the machine sleeps, are left out.
//! - Asked to stop, it starts nothing any more and finishes what it has started.

use std::sync::Arc;
use std::time::Duration;

use app::{LockedApp, Problems};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use futures::future::join_all;
use serde::Deserialize;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use trigger::{
    AppParts, Configured, Ended, Export, Handler, MessageSettings, Ready, Serving, ShutdownSignal,
    Surroundings, Trigger, TriggerError, TriggerType, chain, drained, triggers,
};
use wasmtime::component::{ComponentType, Lift, Lower};

/// The name of this trigger type.
const TRIGGER_TYPE: &str = "cron";
/// Times of one trigger that are handled at the same time.
pub const MOST_AT_A_TIME: usize = 64;
/// How long a wait may be before the clock is read again: it may be set.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);

/// The triggers that start components at certain times.
#[derive(Debug)]
pub struct CronTriggers {
    settings: MessageSettings,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    cron_expression: String,
}

/// What a component is told.
#[derive(Debug, Clone, Copy, ComponentType, Lower, Lift)]
#[component(record)]
struct Metadata {
    /// Seconds since 1970.
    timestamp: u64,
}

/// Why a component did not handle a time.
#[derive(Debug, Clone, ComponentType, Lower, Lift, thiserror::Error)]
#[component(variant)]
enum Error {
    #[component(name = "other")]
    #[error("{0}")]
    Other(String),
}

type Guest = Handler<(Metadata,), (Result<(), Error>,)>;

impl CronTriggers {
    /// As the environment says.
    ///
    /// # Errors
    /// Every variable that cannot be used.
    pub fn configure(surroundings: &Surroundings<'_>) -> Result<Box<dyn TriggerType>, Problems> {
        let settings = MessageSettings::from_environment(surroundings.environment)?;
        Ok(Box::new(Self { settings }))
    }
}

/// All cron triggers of `app`; what is wrong with them goes to `problems`.
fn read(app: &LockedApp, problems: &mut Problems) -> Vec<Configured<Cron>> {
    let mut read = Vec::new();
    for Configured { id, component, config } in triggers::<Table>(app, TRIGGER_TYPE, problems) {
        match parse(&config.cron_expression) {
            Ok(cron) => read.push(Configured { id, component, config: cron }),
            Err(error) => problems.push(format!(
                "the cron_expression {:?} of cron trigger {id:?} is not valid: {error}",
                config.cron_expression
            )),
        }
    }
    read
}

fn parse(expression: &str) -> Result<Cron, croner::errors::CronError> {
    CronParser::builder()
        .seconds(Seconds::Required)
        .year(Year::Optional)
        .dom_and_dow(true)
        .build()
        .parse(expression)
}

#[async_trait]
impl TriggerType for CronTriggers {
    fn name(&self) -> &'static str {
        TRIGGER_TYPE
    }

    fn check(&self, app: &LockedApp, problems: &mut Problems) {
        read(app, problems);
    }

    async fn prepare(
        self: Box<Self>,
        parts: &AppParts<'_>,
        problems: &mut Problems,
    ) -> Option<Box<dyn Trigger>> {
        let mut timers = Vec::new();
        for Configured { component, config, .. } in read(parts.app, problems) {
            let export = Export { interface: None, function: "handle-cron-event" };
            let guest = parts.link(&component).and_then(|linked| {
                Guest::of(TRIGGER_TYPE, &linked, export, self.settings)
                    .map_err(|error| format!("component {component:?} {}", chain(&error)))
            });
            match guest {
                Ok(guest) => timers.push(Timer { component, cron: config, guest: Arc::new(guest) }),
                Err(problem) => problems.push(problem),
            }
        }
        Some(Box::new(Timers(timers)))
    }
}

/// All triggers of an app.
struct Timers(Vec<Timer>);

/// One trigger.
struct Timer {
    component: String,
    cron: Cron,
    guest: Arc<Guest>,
}

#[async_trait]
impl Trigger for Timers {
    async fn run(
        self: Box<Self>,
        ready: Ready,
        stop: ShutdownSignal,
    ) -> Result<Ended, TriggerError> {
        let routes = self
            .0
            .iter()
            .map(|timer| (timer.component.clone(), format!("at the times {}", timer.cron.pattern)));
        ready.tell(Serving { addresses: Vec::new(), routes: routes.collect() });
        let draining = CancellationToken::new();
        let mut timers = Vec::new();
        for timer in self.0 {
            timers.push(timer.run(draining.clone()));
        }
        let serving = async {
            join_all(timers).await;
            Ok(())
        };
        drained(serving, &draining, stop).await
    }
}

impl Timer {
    /// Starts the component at its times until `draining`, and waits for what it
    /// has started.
    async fn run(self, draining: CancellationToken) {
        let mut running = JoinSet::new();
        let mut after = Utc::now();
        while let Ok(next) = self.cron.find_next_occurrence(&after, false) {
            tokio::select! {
                () = until(next) => self.start(&mut running),
                () = draining.cancelled() => break,
            }
            while running.try_join_next().is_some() {}
            // Times that have passed meanwhile are left out.
            after = next.max(Utc::now());
        }
        draining.cancelled().await;
        while running.join_next().await.is_some() {}
    }

    fn start(&self, running: &mut JoinSet<()>) {
        if running.len() >= MOST_AT_A_TIME {
            tracing::warn!(
                component = self.component,
                "a time is left out: {MOST_AT_A_TIME} earlier ones are still handled"
            );
            return;
        }
        let guest = Arc::clone(&self.guest);
        let timestamp = u64::try_from(Utc::now().timestamp()).unwrap_or_default();
        running.spawn(async move {
            guest.handle(TRIGGER_TYPE, (Metadata { timestamp },)).await;
        });
    }
}

/// Waits until a moment of the wall clock.
async fn until(moment: DateTime<Utc>) {
    loop {
        let Ok(left) = (moment - Utc::now()).to_std() else { return };
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left.min(LONGEST_SLEEP)).await;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn next(expression: &str, after: &str) -> String {
        let after: DateTime<Utc> = after.parse().unwrap();
        let next = parse(expression).unwrap().find_next_occurrence(&after, false).unwrap();
        next.format("%Y-%m-%d %H:%M:%S").to_string()
    }

    #[test]
    fn expressions_have_seconds_and_are_in_utc() {
        for (expression, after, expected) in [
            ("*/10 * * * * *", "2026-01-01T00:00:03Z", "2026-01-01 00:00:10"),
            ("0 30 9 * * *", "2026-01-01T09:30:00Z", "2026-01-02 09:30:00"),
            ("0 0 0 1 JAN *", "2026-01-01T00:00:00Z", "2027-01-01 00:00:00"),
            ("0 0 0 * * SUN", "2026-01-01T00:00:00Z", "2026-01-04 00:00:00"),
            ("0 0 0 * * 0", "2026-01-01T00:00:00Z", "2026-01-04 00:00:00"),
            ("0 0 0 * * 7", "2026-01-01T00:00:00Z", "2026-01-04 00:00:00"),
            // Both days must match: the next 13th that is a Friday.
            ("0 0 0 13 * FRI", "2026-04-01T00:00:00Z", "2026-11-13 00:00:00"),
            ("0 0 0 1 1 * 2030", "2026-01-01T00:00:00Z", "2030-01-01 00:00:00"),
        ] {
            assert_eq!(next(expression, after), expected, "{expression}");
        }
    }

    #[test]
    fn what_is_no_expression_is_named() {
        for expression in ["", "* * * * *", "61 * * * * *", "* * * * * * * *", "every day"] {
            let component = json!({"id": "c", "metadata": {},
                "source": {"content_type": "application/wasm", "source": "file:///c.wasm"}});
            let config = json!({"component": "c", "cron_expression": expression});
            let app = json!({"spin_lock_version": 0, "metadata": {"name": "a"},
                "components": [component],
                "triggers": [{"id": "t", "trigger_type": "cron", "trigger_config": config}]});
            let app = LockedApp::from_json(app.to_string().as_bytes()).unwrap();
            let mut problems = Problems::default();
            read(&app, &mut problems);
            let text = problems.to_string();
            assert!(text.contains("\"t\" is not valid"), "{expression}: {text}");
        }
    }
}
