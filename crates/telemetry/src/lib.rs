//! What an app tells about itself: traces, metrics and logs over OTLP, metrics as
//! Prometheus text.
//!
//! [`Telemetry`] is the seam: triggers and the host begin spans, count, and hand
//! over lines of guests there, and know nothing of where it goes.
//!
//! Guarantees:
//! - Switched off, which it is unless the environment asks for it
//!   ([`TelemetrySettings`]), it costs a look at an option: no thread, task, client
//!   or allocation.
//! - Nobody waits for it. What is told goes into a bounded queue per signal, which
//!   a task of its own empties; what finds the queue full, and what a collector
//!   does not take, is dropped and counted.
//! - [`Telemetry::finish`] sends what waits, within a limit of time.
//!
//! Names and attributes of spans and of metrics whose names begin with `spin.` are
//! Spin's. Context travels as W3C Trace Context.

mod attributes;
mod calls;
mod context;
mod export;
mod instance;
mod logs;
mod metrics;
mod pipeline;
mod prometheus;
mod sampler;
mod settings;
mod span;

pub use calls::Calls;
pub use context::SpanContext;
pub use instance::{Instance, Measured};
pub use logs::Stream;
pub use metrics::{InFlight, Metrics, Permits};
pub use opentelemetry_proto::tonic as proto;
pub use pipeline::{GuestMetricsError, Telemetry};
pub use prometheus::{ListenError, MetricsServer};
pub use settings::{CertificateError, TelemetrySettings};
pub use span::{Span, SpanHandle, SpanKind};
