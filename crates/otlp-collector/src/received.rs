//! What a collector remembers.

use std::collections::BTreeMap;

use http::HeaderMap;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::Metric;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;

/// Everything a collector was sent, in its order.
#[derive(Debug, Clone, Default)]
pub struct Received {
    /// The heads of the requests that it took.
    pub requests: Vec<Request>,
    /// Spans.
    pub spans: Vec<Spanned>,
    /// Metrics.
    pub metrics: Vec<Measured>,
    /// Log records.
    pub logs: Vec<Logged>,
}

/// The head of a request.
#[derive(Debug, Clone)]
pub struct Request {
    /// Its path.
    pub path: String,
    /// Its headers.
    pub headers: HeaderMap,
    /// Whether it came over gRPC.
    pub is_grpc: bool,
}

/// A span and who sent it.
#[derive(Debug, Clone)]
pub struct Spanned {
    /// Attributes of the resource.
    pub resource: BTreeMap<String, String>,
    /// Name of the library.
    pub scope: String,
    /// The span.
    pub span: Span,
}

/// A metric and who sent it.
#[derive(Debug, Clone)]
pub struct Measured {
    /// Attributes of the resource.
    pub resource: BTreeMap<String, String>,
    /// Name of the library.
    pub scope: String,
    /// The metric.
    pub metric: Metric,
}

/// A log record and who sent it.
#[derive(Debug, Clone)]
pub struct Logged {
    /// Attributes of the resource.
    pub resource: BTreeMap<String, String>,
    /// Name of the library.
    pub scope: String,
    /// The record.
    pub record: LogRecord,
}

impl Received {
    pub(crate) fn traces(&mut self, request: ExportTraceServiceRequest) {
        for whole in request.resource_spans {
            let resource = attributes_of(whole.resource);
            for scoped in whole.scope_spans {
                let scope = name_of(scoped.scope);
                self.spans.extend(scoped.spans.into_iter().map(|span| Spanned {
                    resource: resource.clone(),
                    scope: scope.clone(),
                    span,
                }));
            }
        }
    }

    pub(crate) fn metrics(&mut self, request: ExportMetricsServiceRequest) {
        for whole in request.resource_metrics {
            let resource = attributes_of(whole.resource);
            for scoped in whole.scope_metrics {
                let scope = name_of(scoped.scope);
                self.metrics.extend(scoped.metrics.into_iter().map(|metric| Measured {
                    resource: resource.clone(),
                    scope: scope.clone(),
                    metric,
                }));
            }
        }
    }

    pub(crate) fn logs(&mut self, request: ExportLogsServiceRequest) {
        for whole in request.resource_logs {
            let resource = attributes_of(whole.resource);
            for scoped in whole.scope_logs {
                let scope = name_of(scoped.scope);
                self.logs.extend(scoped.log_records.into_iter().map(|record| Logged {
                    resource: resource.clone(),
                    scope: scope.clone(),
                    record,
                }));
            }
        }
    }
}

impl Spanned {
    /// Its attributes as texts.
    pub fn attributes(&self) -> BTreeMap<String, String> {
        as_texts(&self.span.attributes)
    }
}

impl Logged {
    /// Its attributes as texts.
    pub fn attributes(&self) -> BTreeMap<String, String> {
        as_texts(&self.record.attributes)
    }

    /// Its body as a text.
    pub fn body(&self) -> String {
        self.record.body.as_ref().map(text_of).unwrap_or_default()
    }
}

fn attributes_of(resource: Option<Resource>) -> BTreeMap<String, String> {
    as_texts(&resource.unwrap_or_default().attributes)
}

fn name_of(scope: Option<InstrumentationScope>) -> String {
    scope.unwrap_or_default().name
}

fn as_texts(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let pair =
        |pair: &KeyValue| (pair.key.clone(), pair.value.as_ref().map(text_of).unwrap_or_default());
    attributes.iter().map(pair).collect()
}

/// A value as a text.
pub fn text_of(value: &AnyValue) -> String {
    match &value.value {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::BoolValue(value)) => value.to_string(),
        Some(Value::IntValue(value)) => value.to_string(),
        Some(Value::DoubleValue(value)) => value.to_string(),
        None => String::new(),
        other => format!("{other:?}"),
    }
}
