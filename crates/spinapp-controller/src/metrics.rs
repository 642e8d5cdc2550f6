//! Counters in the text format of Prometheus.
//!
//! The names of reconciliation metrics are those of controller-runtime, so that
//! dashboards for the spin-operator show this controller too.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the histogram of durations, in seconds.
const BOUNDS: [f64; 8] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 10.0];
const CONTROLLERS: [&str; 2] = ["spinapp", "spinappexecutor"];

/// Everything that is counted.
#[derive(Default)]
pub(crate) struct Metrics {
    controllers: [Reconciliations; CONTROLLERS.len()],
    leads: AtomicBool,
}

#[derive(Default)]
struct Reconciliations {
    successes: AtomicU64,
    errors: AtomicU64,
    micros: AtomicU64,
    /// How many took at most each of [`BOUNDS`].
    within: [AtomicU64; BOUNDS.len()],
}

/// How many apps there are, by what their status says.
#[derive(Default, Clone, Copy)]
pub(crate) struct Apps {
    pub(crate) ready: usize,
    pub(crate) not_ready: usize,
}

impl Metrics {
    /// Counts one reconciliation of a controller.
    pub(crate) fn reconciled(&self, controller: &str, took: Duration, succeeded: bool) {
        let named = CONTROLLERS.iter().zip(&self.controllers);
        let Some((_, counts)) = named.into_iter().find(|(name, _)| **name == controller) else {
            return;
        };
        let result = if succeeded { &counts.successes } else { &counts.errors };
        result.fetch_add(1, Ordering::Relaxed);
        counts.micros.fetch_add(took.as_micros() as u64, Ordering::Relaxed);
        for (bound, within) in BOUNDS.iter().zip(&counts.within) {
            if took.as_secs_f64() <= *bound {
                within.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Says that this process leads now.
    pub(crate) fn lead(&self) {
        self.leads.store(true, Ordering::Relaxed);
    }

    /// The text that Prometheus reads.
    pub(crate) fn render(&self, apps: Apps) -> String {
        let mut text = String::new();
        counter(&mut text, "controller_runtime_reconcile_total", "Reconciliations by result.");
        for (name, counts) in CONTROLLERS.iter().zip(&self.controllers) {
            for (result, count) in [("success", &counts.successes), ("error", &counts.errors)] {
                let count = count.load(Ordering::Relaxed);
                line(
                    &mut text,
                    "controller_runtime_reconcile_total",
                    &format!("controller=\"{name}\",result=\"{result}\""),
                    count,
                );
            }
        }
        counter(&mut text, "controller_runtime_reconcile_errors_total", "Failed reconciliations.");
        for (name, counts) in CONTROLLERS.iter().zip(&self.controllers) {
            let label = format!("controller=\"{name}\"");
            let count = counts.errors.load(Ordering::Relaxed);
            line(&mut text, "controller_runtime_reconcile_errors_total", &label, count);
        }
        self.render_durations(&mut text);
        head(&mut text, "spinlet_apps", "SpinApps by whether they take traffic.", "gauge");
        line(&mut text, "spinlet_apps", "ready=\"true\"", apps.ready);
        line(&mut text, "spinlet_apps", "ready=\"false\"", apps.not_ready);
        head(
            &mut text,
            "spinlet_controller_leader",
            "Whether this process is the one that works.",
            "gauge",
        );
        let leads = u8::from(self.leads.load(Ordering::Relaxed));
        let _ = writeln!(text, "spinlet_controller_leader {leads}");
        text
    }

    fn render_durations(&self, text: &mut String) {
        const NAME: &str = "controller_runtime_reconcile_time_seconds";
        head(text, NAME, "How long reconciliations take.", "histogram");
        for (name, counts) in CONTROLLERS.iter().zip(&self.controllers) {
            let total =
                counts.successes.load(Ordering::Relaxed) + counts.errors.load(Ordering::Relaxed);
            for (bound, within) in BOUNDS.iter().zip(&counts.within) {
                let label = format!("controller=\"{name}\",le=\"{bound}\"");
                let within = within.load(Ordering::Relaxed);
                line(text, &format!("{NAME}_bucket"), &label, within);
            }
            let label = format!("controller=\"{name}\",le=\"+Inf\"");
            line(text, &format!("{NAME}_bucket"), &label, total);
            let label = format!("controller=\"{name}\"");
            let seconds = counts.micros.load(Ordering::Relaxed) as f64 / 1e6;
            line(text, &format!("{NAME}_sum"), &label, seconds);
            line(text, &format!("{NAME}_count"), &label, total);
        }
    }
}

fn counter(text: &mut String, name: &str, help: &str) {
    head(text, name, help, "counter");
}

fn head(text: &mut String, name: &str, help: &str, kind: &str) {
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn line(text: &mut String, name: &str, labels: &str, value: impl std::fmt::Display) {
    let _ = writeln!(text, "{name}{{{labels}}} {value}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reconciliations_are_counted_by_controller_and_result() {
        let metrics = Metrics::default();
        metrics.reconciled("spinapp", Duration::from_millis(7), true);
        metrics.reconciled("spinapp", Duration::from_secs(20), false);
        let text = metrics.render(Apps { ready: 3, not_ready: 1 });
        for expected in [
            "controller_runtime_reconcile_total{controller=\"spinapp\",result=\"success\"} 1",
            "controller_runtime_reconcile_total{controller=\"spinapp\",result=\"error\"} 1",
            "controller_runtime_reconcile_errors_total{controller=\"spinappexecutor\"} 0",
            "controller_runtime_reconcile_time_seconds_bucket{controller=\"spinapp\",le=\"0.01\"} 1",
            "controller_runtime_reconcile_time_seconds_bucket{controller=\"spinapp\",le=\"+Inf\"} 2",
            "controller_runtime_reconcile_time_seconds_count{controller=\"spinapp\"} 2",
            "spinlet_apps{ready=\"true\"} 3",
            "spinlet_controller_leader 0",
        ] {
            assert!(text.lines().any(|line| line == expected), "{expected} is missing in\n{text}");
        }
    }

    /// The dashboard's other metrics are those of apps; they are compared in
    /// `tests/dashboard.rs`.
    #[test]
    fn the_dashboard_shows_nothing_of_the_controller_that_is_not_there() {
        let dashboard = include_str!("../../../runtimeclass/grafana-dashboard.json");
        let text = Metrics::default().render(Apps::default());
        let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
        let of_controller = |word: &&str| {
            ["controller_runtime_", "spinlet_apps", "spinlet_controller_"]
                .iter()
                .any(|prefix| word.starts_with(prefix))
        };
        let mut compared = 0;
        for name in dashboard.split(|letter| !is_part(letter)).filter(of_controller) {
            let exists = text
                .lines()
                .any(|line| line.strip_prefix(name).is_some_and(|rest| !rest.starts_with(is_part)));
            assert!(exists, "the dashboard shows {name}, which is not in\n{text}");
            compared += 1;
        }
        assert!(compared >= 5, "the dashboard shows {compared} metrics of the controller");
    }
}
