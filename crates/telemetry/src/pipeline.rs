//! From those who tell to those who read.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::ResourceMetrics;
use opentelemetry_proto::tonic::trace::v1 as proto;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::attributes::now;
use crate::export::{self, Client, Counts, Exporter, Queue, Scoped, Signal};
use crate::instance::Instance;
use crate::metrics::otlp;
use crate::sampler::Sampler;
use crate::settings::{CertificateError, ExporterSettings};
use crate::{ListenError, Metrics, MetricsServer, Span, SpanContext, SpanKind, TelemetrySettings};

/// What an app tells about itself, and whether it does. Clones tell the same. The
/// default is switched off.
#[derive(Clone, Default)]
pub struct Telemetry(Option<Arc<Inner>>);

pub(crate) struct Inner {
    spans: Option<Arc<Spans>>,
    pub(crate) logs: Option<Logs>,
    /// Metrics on their way to a collector.
    exported: Option<Queue<ResourceMetrics>>,
    /// What is counted, if anybody reads it.
    pub(crate) metrics: Option<Arc<Metrics>>,
    pub(crate) lines_are_events: bool,
    settings: TelemetrySettings,
    /// When counting began.
    started: u64,
    finishing: CancellationToken,
    tasks: TaskTracker,
}

/// Spans on their way to a collector.
pub(crate) struct Spans {
    queue: Queue<Scoped<proto::Span>>,
    pub(crate) sampler: Sampler,
}

/// Log records on their way to a collector.
pub(crate) struct Logs(Queue<Scoped<LogRecord>>);

/// Metrics of a guest were not taken.
#[derive(Debug, thiserror::Error)]
#[error("too much waits to be exported")]
pub struct GuestMetricsError;

impl Spans {
    pub(crate) fn tell(&self, scope: InstrumentationScope, span: proto::Span) {
        let size = export::size_of(&span);
        self.queue.offer(Scoped { scope, record: span }, size);
    }
}

impl Logs {
    pub(crate) fn tell(&self, scope: InstrumentationScope, record: LogRecord) {
        let size = export::size_of(&record);
        self.0.offer(Scoped { scope, record }, size);
    }
}

impl Telemetry {
    /// Begins to export what `settings` say, on the tokio runtime it is called on:
    /// one task for each signal, which connects when it has something to send.
    ///
    /// # Errors
    /// The first file of certificates that cannot be used.
    pub fn start(settings: TelemetrySettings) -> Result<Self, CertificateError> {
        if !settings.exports() && settings.listen.is_none() {
            return Ok(Self::default());
        }
        let mut starting = Starting { settings, ..Starting::default() };
        let traces = starting.settings.traces.clone();
        let spans = traces.map(|to| starting.exporter::<export::Spans>(to)).transpose()?;
        let logs = starting.settings.logs.clone();
        let logs = logs.map(|to| starting.exporter::<export::LogRecords>(to)).transpose()?;
        let to = starting.settings.metrics.clone();
        let period = to.as_ref().map(|to| to.delay);
        // What guests export is not held back; ours has its period.
        let to = to.map(|to| ExporterSettings { delay: Duration::ZERO, ..to });
        let exported =
            to.map(|to| starting.exporter::<export::ResourceMetricsSignal>(to)).transpose()?;
        let Starting { settings, finishing, tasks, dropped } = starting;
        let counts = exported.is_some() || settings.listen.is_some();
        let metrics = counts.then(|| Arc::new(Metrics::new(settings.app.clone(), dropped)));
        let sampler = settings.sampler;
        let inner = Arc::new(Inner {
            lines_are_events: settings.lines_are_events && spans.is_some(),
            spans: spans.map(|queue| Arc::new(Spans { queue, sampler })),
            logs: logs.map(Logs),
            exported,
            metrics,
            settings,
            started: now(),
            finishing,
            tasks,
        });
        if let Some(period) = period {
            inner.tasks.spawn(collect_every(Arc::clone(&inner), period));
        }
        Ok(Self(Some(inner)))
    }

    /// Begins a span: in the trace of `parent`, or in a new one.
    pub fn span(
        &self,
        kind: SpanKind,
        name: &dyn fmt::Display,
        parent: Option<&SpanContext>,
    ) -> Span {
        self.0.as_ref().map(|inner| inner.span(kind, name, parent)).unwrap_or_default()
    }

    /// Whether spans are told to anybody.
    pub fn traces(&self) -> bool {
        self.0.as_ref().is_some_and(|inner| inner.traces())
    }

    /// What is counted; none when nobody reads it.
    pub fn metrics(&self) -> Option<&Arc<Metrics>> {
        self.0.as_ref()?.metrics.as_ref()
    }

    /// A new instance of `component`; none when nothing is told of any.
    pub fn instance(&self, component: &str) -> Option<Arc<Instance>> {
        Some(Arc::new(Instance::new(self.0.as_ref()?, component)))
    }

    /// Tells a span of a guest, which has ended.
    pub fn guest_span(&self, scope: InstrumentationScope, span: proto::Span) {
        if let Some(spans) = self.0.as_ref().and_then(|inner| inner.spans.as_ref()) {
            spans.tell(scope, span);
        }
    }

    /// Tells a log record of a guest.
    pub fn guest_log(&self, scope: InstrumentationScope, record: LogRecord) {
        if let Some(logs) = self.0.as_ref().and_then(|inner| inner.logs.as_ref()) {
            logs.tell(scope, record);
        }
    }

    /// Tells metrics of a guest.
    ///
    /// # Errors
    /// Too many others wait.
    pub fn guest_metrics(&self, metrics: ResourceMetrics) -> Result<(), GuestMetricsError> {
        match self.0.as_ref().and_then(|inner| inner.exported.as_ref()) {
            Some(queue) => {
                let size = export::size_of(&metrics);
                if queue.offer(metrics, size) { Ok(()) } else { Err(GuestMetricsError) }
            }
            None => Ok(()),
        }
    }

    /// Listens where the settings want Prometheus text; none when they do not.
    ///
    /// # Errors
    /// The address cannot be had.
    pub async fn listen(&self) -> Result<Option<MetricsServer>, ListenError> {
        let Some(inner) = &self.0 else { return Ok(None) };
        let (Some(address), Some(metrics)) = (inner.settings.listen, &inner.metrics) else {
            return Ok(None);
        };
        MetricsServer::bind(address, Arc::clone(metrics)).await.map(Some)
    }

    /// Sends what waits, for `limit` at most; nothing is told afterwards.
    pub async fn finish(&self, limit: Duration) {
        let Some(inner) = &self.0 else { return };
        inner.collect();
        inner.finishing.cancel();
        inner.tasks.close();
        if tokio::time::timeout(limit, inner.tasks.wait()).await.is_err() {
            tracing::warn!("not all telemetry was exported: there was no more time");
        }
    }
}

impl Inner {
    pub(crate) fn span(
        &self,
        kind: SpanKind,
        name: &dyn fmt::Display,
        parent: Option<&SpanContext>,
    ) -> Span {
        match &self.spans {
            Some(spans) => Span::begin(spans, kind, name, parent),
            None => Span::default(),
        }
    }

    pub(crate) fn traces(&self) -> bool {
        self.spans.is_some()
    }

    /// Puts what is counted, as it is now, on its way.
    fn collect(&self) {
        let (Some(queue), Some(metrics)) = (&self.exported, &self.metrics) else { return };
        if let Some(collected) = otlp::collect(metrics, self.started) {
            let size = export::size_of(&collected);
            queue.offer(collected, size);
        }
    }
}

async fn collect_every(inner: Arc<Inner>, period: Duration) {
    let mut times = interval(period);
    times.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first is now.
    times.tick().await;
    while inner.finishing.run_until_cancelled(times.tick()).await.is_some() {
        inner.collect();
    }
}

/// Exporters that are being started.
#[derive(Default)]
struct Starting {
    settings: TelemetrySettings,
    finishing: CancellationToken,
    tasks: TaskTracker,
    dropped: Vec<(&'static str, Arc<Counts>)>,
}

impl Starting {
    fn exporter<S: Signal>(
        &mut self,
        to: ExporterSettings,
    ) -> Result<Queue<S::Item>, CertificateError> {
        let trust = to.trust()?;
        let (queue, waiting) = export::queue();
        self.dropped.push((S::NAME, Arc::clone(queue.counts())));
        let exporter = Exporter::<S> {
            waiting,
            delay: to.delay,
            client: Client::new(to, trust),
            resource: self.settings.resource.clone(),
            finishing: self.finishing.clone(),
        };
        self.tasks.spawn(exporter.run());
        Ok(queue)
    }
}
