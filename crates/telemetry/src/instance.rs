//! What one instance of a component tells.

use std::fmt::Display;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project_lite::pin_project;
use rustix::time::{ClockId, clock_gettime};

use crate::attributes::own_scope;
use crate::logs::Line;
use crate::pipeline::Inner;
use crate::{Span, SpanContext, SpanHandle, SpanKind, Stream};

/// Open spans of a guest that are remembered: more than anybody nests.
const MOST_GUEST_SPANS: usize = 256;

/// What one instance tells: the lines it writes, and what it takes. Its end is when
/// the last owner drops it.
pub struct Instance {
    component: String,
    telemetry: Arc<Inner>,
    span: Mutex<Option<SpanHandle>>,
    /// Spans of its own that are open, in the order in which they began.
    guest_spans: Mutex<Vec<SpanContext>>,
    /// Bytes.
    memory: AtomicU64,
    /// Nanoseconds.
    cpu: AtomicU64,
}

impl Instance {
    pub(crate) fn new(telemetry: &Arc<Inner>, component: &str) -> Self {
        if let Some(metrics) = &telemetry.metrics {
            metrics.instance_begins();
        }
        Self {
            component: component.to_owned(),
            telemetry: Arc::clone(telemetry),
            span: Mutex::default(),
            guest_spans: Mutex::default(),
            memory: AtomicU64::new(0),
            cpu: AtomicU64::new(0),
        }
    }

    /// Says which span it works for now. Of an instance that handles several
    /// requests at a time, it is the one that came last.
    pub fn works_for(&self, span: Option<SpanHandle>) {
        *self.lock() = span;
    }

    /// The span that something it does now belongs to: the last that it began
    /// itself, otherwise the one it works for.
    pub fn span(&self) -> Option<SpanContext> {
        let own = self.guest_spans().last().cloned();
        own.or_else(|| self.outer_span())
    }

    /// The span it works for now.
    pub fn outer_span(&self) -> Option<SpanContext> {
        self.lock().as_ref().map(|span| span.context().clone())
    }

    /// Whether spans are told to anybody.
    pub(crate) fn is_traced(&self) -> bool {
        self.telemetry.traces()
    }

    /// Begins a span of something it does now.
    pub(crate) fn begin(&self, kind: SpanKind, name: &dyn Display) -> Span {
        self.telemetry.span(kind, name, self.span().as_ref())
    }

    /// Counts that it has a language model generate text.
    pub fn infers(&self, model: &str) {
        if let Some(metrics) = &self.telemetry.metrics {
            metrics.infers(model);
        }
    }

    /// Says that it began a span of its own.
    pub fn guest_begins(&self, span: SpanContext) {
        let mut open = self.guest_spans();
        if open.len() < MOST_GUEST_SPANS {
            open.push(span);
        }
    }

    /// Says that a span of its own has ended.
    pub fn guest_ends(&self, span: &SpanContext) {
        self.guest_spans().retain(|open| open.span_id != span.span_id);
    }

    /// Tells lines that it has written; the last may lack its end.
    pub fn wrote(&self, stream: Stream, lines: &[u8]) {
        let Inner { logs, lines_are_events, .. } = &*self.telemetry;
        if logs.is_none() && !lines_are_events {
            return;
        }
        let span = self.lock().clone();
        for bytes in lines.split_inclusive(|&byte| byte == b'\n') {
            let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
            let line = Line::of(bytes.strip_suffix(b"\r").unwrap_or(bytes));
            if let Some(span) = span.as_ref().filter(|_| *lines_are_events) {
                span.event("app log", line.attribute());
            }
            if let Some(logs) = logs {
                let context = span.as_ref().map(SpanHandle::context);
                logs.tell(own_scope(), line.record(&self.component, stream, context));
            }
        }
    }

    /// Counts memory that it was granted.
    pub fn grown(&self, bytes: u64) {
        self.memory.fetch_add(bytes, Ordering::Relaxed);
        if let Some(metrics) = &self.telemetry.metrics {
            metrics.instance_memory().add(bytes as i64);
        }
    }

    /// Says that it is made: all its memory so far is what it begins with.
    pub fn made(&self) {
        if let Some(metrics) = &self.telemetry.metrics {
            metrics.instance_made(&self.component, self.memory.load(Ordering::Relaxed));
        }
    }

    fn guest_spans(&self) -> MutexGuard<'_, Vec<SpanContext>> {
        self.guest_spans.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, Option<SpanHandle>> {
        self.span.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        let Some(metrics) = &self.telemetry.metrics else { return };
        let memory = self.memory.load(Ordering::Relaxed);
        metrics.instance_memory().add(-(memory as i64));
        let cpu = Duration::from_nanos(self.cpu.load(Ordering::Relaxed));
        metrics.instance_ends(&self.component, memory, cpu);
    }
}

impl std::fmt::Debug for Instance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Instance").field("component", &self.component).finish_non_exhaustive()
    }
}

pin_project! {
    /// A future that runs an instance: the processor time it takes, host functions
    /// included, is the instance's.
    pub struct Measured<F> {
        instance: Option<Arc<Instance>>,
        #[pin]
        future: F,
    }
}

impl<F> Measured<F> {
    /// Runs `instance` with `future`; without one, only the latter.
    pub fn new(instance: Option<Arc<Instance>>, future: F) -> Self {
        let measures = |instance: &Arc<Instance>| instance.telemetry.metrics.is_some();
        Self { instance: instance.filter(measures), future }
    }
}

impl<F: Future> Future for Measured<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let Some(instance) = this.instance else { return this.future.poll(cx) };
        let begun = thread_time();
        let polled = this.future.poll(cx);
        let took = thread_time().saturating_sub(begun);
        instance.cpu.fetch_add(took, Ordering::Relaxed);
        polled
    }
}

/// Nanoseconds of processor time that this thread has taken.
fn thread_time() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    (time.tv_sec as u64).saturating_mul(1_000_000_000).saturating_add(time.tv_nsec as u64)
}
