//! The three kinds of what is told, as OTLP has them.

use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::ResourceMetrics;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;

/// One kind of what is told.
pub(crate) trait Signal: Send + 'static {
    /// What is told.
    type Item: Send + 'static;
    /// Many of them, for a collector.
    type Request: Message + Clone + Send + Sync + 'static;
    /// A collector's answer.
    type Response: Message + Default + Send + Sync + 'static;
    /// Its name in messages.
    const NAME: &'static str;
    /// The method of gRPC that takes it.
    const METHOD: &'static str;

    fn request(resource: &Resource, items: Vec<Self::Item>) -> Self::Request;

    /// How many items a collector did not take for good.
    fn rejected(response: &Self::Response) -> i64;
}

/// Something and the library that told it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Scoped<T> {
    pub(crate) scope: InstrumentationScope,
    pub(crate) record: T,
}

/// What libraries told, by library, in the order in which each was first heard.
fn by_scope<T>(items: Vec<Scoped<T>>) -> Vec<(InstrumentationScope, Vec<T>)> {
    let mut scopes: Vec<(InstrumentationScope, Vec<T>)> = Vec::new();
    for Scoped { scope, record } in items {
        match scopes.iter_mut().find(|(known, _)| *known == scope) {
            Some((_, records)) => records.push(record),
            None => scopes.push((scope, vec![record])),
        }
    }
    scopes
}

pub(crate) struct Spans;

impl Signal for Spans {
    type Item = Scoped<Span>;
    type Request = ExportTraceServiceRequest;
    type Response = ExportTraceServiceResponse;
    const NAME: &'static str = "traces";
    const METHOD: &'static str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

    fn request(resource: &Resource, items: Vec<Self::Item>) -> Self::Request {
        let scopes = by_scope(items).into_iter();
        let scope_spans = scopes
            .map(|(scope, spans)| ScopeSpans { scope: Some(scope), spans, ..ScopeSpans::default() })
            .collect();
        let resource = Some(resource.clone());
        let whole = ResourceSpans { resource, scope_spans, ..ResourceSpans::default() };
        ExportTraceServiceRequest { resource_spans: vec![whole] }
    }

    fn rejected(response: &Self::Response) -> i64 {
        response.partial_success.as_ref().map_or(0, |partial| partial.rejected_spans)
    }
}

pub(crate) struct LogRecords;

impl Signal for LogRecords {
    type Item = Scoped<LogRecord>;
    type Request = ExportLogsServiceRequest;
    type Response = ExportLogsServiceResponse;
    const NAME: &'static str = "logs";
    const METHOD: &'static str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";

    fn request(resource: &Resource, items: Vec<Self::Item>) -> Self::Request {
        let scopes = by_scope(items).into_iter();
        let scope_logs = scopes
            .map(|(scope, log_records)| ScopeLogs {
                scope: Some(scope),
                log_records,
                ..ScopeLogs::default()
            })
            .collect();
        let resource = Some(resource.clone());
        let whole = ResourceLogs { resource, scope_logs, ..ResourceLogs::default() };
        ExportLogsServiceRequest { resource_logs: vec![whole] }
    }

    fn rejected(response: &Self::Response) -> i64 {
        response.partial_success.as_ref().map_or(0, |partial| partial.rejected_log_records)
    }
}

/// Metrics are told whole, with who tells them.
pub(crate) struct ResourceMetricsSignal;

impl Signal for ResourceMetricsSignal {
    type Item = ResourceMetrics;
    type Request = ExportMetricsServiceRequest;
    type Response = ExportMetricsServiceResponse;
    const NAME: &'static str = "metrics";
    const METHOD: &'static str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";

    fn request(resource: &Resource, items: Vec<Self::Item>) -> Self::Request {
        let complete = |mut metrics: ResourceMetrics| {
            metrics.resource.get_or_insert_with(|| resource.clone());
            metrics
        };
        ExportMetricsServiceRequest { resource_metrics: items.into_iter().map(complete).collect() }
    }

    fn rejected(response: &Self::Response) -> i64 {
        response.partial_success.as_ref().map_or(0, |partial| partial.rejected_data_points)
    }
}
