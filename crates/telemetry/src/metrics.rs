//! What is counted. docs/telemetry.md has the names.
//!
//! One set of numbers serves both readers: Prometheus text shows all of them, OTLP
//! those that Spin has too. Labels have few values: components, routes and status
//! codes of one app.

mod family;
pub(crate) mod otlp;
mod permits;
mod series;

use std::sync::Arc;
use std::time::Duration;

use crate::export::Counts;

pub(crate) use family::{Family, Kind, Names};
pub use permits::Permits;
pub(crate) use series::{Counter, Gauge, Histogram};

/// Seconds.
const LATENCY: &[f64] =
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
/// Seconds.
const CPU: &[f64] =
    &[0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];
/// Bytes: from 256 KiB to 4 GiB.
const MEMORY: &[f64] = &[
    262_144.0,
    1_048_576.0,
    2_097_152.0,
    4_194_304.0,
    8_388_608.0,
    16_777_216.0,
    33_554_432.0,
    67_108_864.0,
    134_217_728.0,
    268_435_456.0,
    1_073_741_824.0,
    4_294_967_296.0,
];

const ANSWERED: &str = "Requests that are being answered.";

/// Everything that is counted.
#[derive(Debug)]
pub struct Metrics {
    /// The app's name.
    app: String,
    requests: Family<Counter>,
    durations: Family<Histogram>,
    in_flight: Family<Gauge>,
    failures: Family<Counter>,
    inferences: Family<Counter>,
    permits: Permits,
    cpu: Family<Histogram>,
    memory_on_init: Family<Histogram>,
    memory: Family<Histogram>,
    instances: Family<Gauge>,
    instance_memory: Family<Gauge>,
    draining: Family<Gauge>,
    first_tier: Family<Gauge>,
    dropped: Vec<(&'static str, Arc<Counts>)>,
}

/// A request that is being answered, until this is dropped.
#[derive(Debug)]
pub struct InFlight(Arc<Gauge>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.add(-1);
    }
}

impl Metrics {
    pub(crate) fn new(app: String, dropped: Vec<(&'static str, Arc<Counts>)>) -> Self {
        let spin =
            |prometheus, otlp, unit, help| Names { prometheus, otlp: Some(otlp), unit, help };
        let own = |prometheus, help| Names { prometheus, otlp: None, unit: "", help };
        let gauge = |prometheus, labels, help| Family::gauge(own(prometheus, help), labels);
        let component = &["component_id"];
        Self {
            app,
            requests: Family::counter(
                spin("spinlet_requests_total", "spin.request_count", "", "Calls of components."),
                &["trigger_type", "app_id", "component_id"],
            ),
            durations: Family::histogram(
                own(
                    "spinlet_http_request_duration_seconds",
                    "Time from the head of a request to the end of its response.",
                ),
                &["component_id", "route", "status"],
                LATENCY,
            ),
            in_flight: gauge("spinlet_http_requests_in_flight", &[], ANSWERED),
            failures: Family::counter(
                own("spinlet_guest_failures_total", "Calls of components that failed."),
                &["component_id", "reason"],
            ),
            inferences: Family::counter(
                spin(
                    "spinlet_llm_inferences_total",
                    "spin.llm_infer",
                    "",
                    "Texts that language models were to generate.",
                ),
                &["model_name"],
            ),
            permits: Permits::new(),
            cpu: Family::histogram(
                spin(
                    "spinlet_component_cpu_seconds",
                    "spin.component_cpu_time",
                    "s",
                    "Processor time of an instance.",
                ),
                component,
                CPU,
            ),
            memory_on_init: Family::histogram(
                spin(
                    "spinlet_component_memory_on_init_bytes",
                    "spin.component_memory_used_on_init",
                    "By",
                    "Memory of an instance when it was made.",
                ),
                component,
                MEMORY,
            ),
            memory: Family::histogram(
                spin(
                    "spinlet_component_memory_bytes",
                    "spin.component_memory_used",
                    "By",
                    "Memory of an instance at its end.",
                ),
                component,
                MEMORY,
            ),
            instances: gauge("spinlet_instances", &[], "Instances that exist."),
            instance_memory: gauge(
                "spinlet_instance_memory_bytes",
                &[],
                "Memory of instances that exist.",
            ),
            draining: gauge("spinlet_draining", &[], "Whether the app was asked to stop."),
            first_tier: gauge(
                "spinlet_component_first_tier",
                component,
                "Whether new instances run on code of the first tier.",
            ),
            dropped,
        }
    }

    /// Counts a call of a component.
    pub fn called(&self, trigger: &str, component: &str) {
        self.requests.with(&[trigger, &self.app, component]).add(1);
    }

    /// Counts an HTTP request as one in flight.
    pub fn http_begins(&self) -> InFlight {
        let gauge = self.in_flight.with(&[]);
        gauge.add(1);
        InFlight(gauge)
    }

    /// Counts a response that has ended. `route` and `component` are empty when
    /// there are none.
    pub fn http_ended(&self, component: &str, route: &str, status: u16, took: Duration) {
        let status = status.to_string();
        self.durations.with(&[component, route, &status]).observe(took.as_secs_f64());
    }

    /// Counts a call that failed; `reason` is one of few words.
    pub fn failed(&self, component: &str, reason: &str) {
        self.failures.with(&[component, reason]).add(1);
    }

    pub(crate) fn infers(&self, model: &str) {
        self.inferences.with(&[model]).add(1);
    }

    /// What limits of connections permitted.
    pub fn permits(&self) -> &Permits {
        &self.permits
    }

    /// Says that the app was asked to stop.
    pub fn drains(&self) {
        self.draining.with(&[]).set(1);
    }

    /// Says whether new instances of `component` run on code of the first tier; to be
    /// called only for one that did when it began.
    pub fn first_tier(&self, component: &str, is: bool) {
        self.first_tier.with(&[component]).set(is.into());
    }

    pub(crate) fn instance_begins(&self) {
        self.instances.with(&[]).add(1);
    }

    /// The memory of all instances, in bytes.
    pub(crate) fn instance_memory(&self) -> Arc<Gauge> {
        self.instance_memory.with(&[])
    }

    pub(crate) fn instance_made(&self, component: &str, memory: u64) {
        self.memory_on_init.with(&[component]).observe(memory as f64);
    }

    pub(crate) fn instance_ends(&self, component: &str, memory: u64, cpu: Duration) {
        self.instances.with(&[]).add(-1);
        self.memory.with(&[component]).observe(memory as f64);
        self.cpu.with(&[component]).observe(cpu.as_secs_f64());
    }

    /// Shows all of them to `reader`, as they are now.
    pub(crate) fn show(&self, reader: &mut dyn Reader) {
        for counters in [&self.requests, &self.failures, &self.inferences] {
            counters.show(reader);
        }
        self.permits.show(reader);
        for histograms in [&self.durations, &self.cpu, &self.memory_on_init, &self.memory] {
            histograms.show(reader);
        }
        let instances = [&self.in_flight, &self.instances, &self.instance_memory];
        for gauges in instances.into_iter().chain([&self.draining, &self.first_tier]) {
            gauges.show(reader);
        }
        let names = Names {
            prometheus: "spinlet_telemetry_dropped_total",
            otlp: None,
            unit: "",
            help: "Spans, log records and sets of metrics that did not reach their collector.",
        };
        let dropped = Family::counter(names, &["signal"]);
        for (signal, counts) in &self.dropped {
            dropped.with(&[signal]).add(counts.total());
        }
        dropped.show(reader);
    }
}

/// Who reads numbers.
pub(crate) trait Reader {
    /// What the numbers that follow are.
    fn family(&mut self, names: &Names, kind: Kind);

    /// A counter or gauge.
    fn number(&mut self, labels: &[(&'static str, &str)], value: i64);

    /// A histogram: upper bounds, how many in each bucket (one more than bounds),
    /// and their sum.
    fn histogram(
        &mut self,
        labels: &[(&'static str, &str)],
        bounds: &[f64],
        counts: &[u64],
        sum: f64,
    );
}
