//! Metrics of guests, which they have aggregated themselves.

use telemetry::proto::metrics::v1::exponential_histogram_data_point::Buckets;
use telemetry::proto::metrics::v1::metric::Data;
use telemetry::proto::metrics::v1::{
    AggregationTemporality, Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge,
    Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum,
    exemplar, number_data_point,
};
use telemetry::proto::resource::v1::Resource;

use crate::GuestTelemetry;
use crate::otel::metrics as wit;
use crate::values::{attributes, id, nanoseconds, scope};

impl wit::Host for GuestTelemetry<'_> {
    fn export(&mut self, metrics: wit::ResourceMetrics) -> Result<(), wit::Error> {
        if self.instance.is_none() {
            return Ok(());
        }
        self.telemetry.guest_metrics(complete(metrics)).map_err(|error| error.to_string())
    }
}

fn complete(metrics: wit::ResourceMetrics) -> ResourceMetrics {
    let resource = metrics.resource;
    let attributes = attributes(resource.attributes);
    // A guest that does not say who it is speaks for its app.
    let resource_of_guest = Resource { attributes, ..Resource::default() };
    let resource_of_guest = Some(resource_of_guest).filter(|found| !found.attributes.is_empty());
    let of_scope = |scoped: wit::ScopeMetrics| ScopeMetrics {
        schema_url: scoped.scope.schema_url.clone().unwrap_or_default(),
        scope: Some(scope(scoped.scope)),
        metrics: scoped.metrics.into_iter().map(metric).collect(),
    };
    ResourceMetrics {
        resource: resource_of_guest,
        scope_metrics: metrics.scope_metrics.into_iter().map(of_scope).collect(),
        schema_url: resource.schema_url.unwrap_or_default(),
    }
}

fn metric(metric: wit::Metric) -> Metric {
    use wit::MetricData as Of;
    let data = match metric.data {
        Of::F64Gauge(data) | Of::U64Gauge(data) | Of::S64Gauge(data) => Data::Gauge(gauge(data)),
        Of::F64Sum(data) | Of::U64Sum(data) | Of::S64Sum(data) => Data::Sum(sum(data)),
        Of::F64Histogram(data) | Of::U64Histogram(data) | Of::S64Histogram(data) => {
            Data::Histogram(histogram(data))
        }
        Of::F64ExponentialHistogram(data)
        | Of::U64ExponentialHistogram(data)
        | Of::S64ExponentialHistogram(data) => Data::ExponentialHistogram(exponential(data)),
    };
    Metric {
        name: metric.name,
        description: metric.description,
        unit: metric.unit,
        data: Some(data),
        ..Metric::default()
    }
}

fn gauge(gauge: wit::Gauge) -> Gauge {
    let (start, time) = (gauge.start_time.map(nanoseconds), nanoseconds(gauge.time));
    let point = |point: wit::GaugeDataPoint| NumberDataPoint {
        attributes: attributes(point.attributes),
        start_time_unix_nano: start.unwrap_or_default(),
        time_unix_nano: time,
        exemplars: exemplars(point.exemplars),
        value: Some(number(point.value)),
        ..NumberDataPoint::default()
    };
    Gauge { data_points: gauge.data_points.into_iter().map(point).collect() }
}

fn sum(sum: wit::Sum) -> Sum {
    let (start, time) = (nanoseconds(sum.start_time), nanoseconds(sum.time));
    let point = |point: wit::SumDataPoint| NumberDataPoint {
        attributes: attributes(point.attributes),
        start_time_unix_nano: start,
        time_unix_nano: time,
        exemplars: exemplars(point.exemplars),
        value: Some(number(point.value)),
        ..NumberDataPoint::default()
    };
    Sum {
        data_points: sum.data_points.into_iter().map(point).collect(),
        aggregation_temporality: temporality(sum.temporality).into(),
        is_monotonic: sum.is_monotonic,
    }
}

fn histogram(histogram: wit::Histogram) -> Histogram {
    let (start, time) = (nanoseconds(histogram.start_time), nanoseconds(histogram.time));
    let point = |point: wit::HistogramDataPoint| HistogramDataPoint {
        attributes: attributes(point.attributes),
        start_time_unix_nano: start,
        time_unix_nano: time,
        count: point.count,
        sum: Some(float(point.sum)),
        bucket_counts: point.bucket_counts,
        explicit_bounds: point.bounds,
        exemplars: exemplars(point.exemplars),
        min: point.min.map(float),
        max: point.max.map(float),
        ..HistogramDataPoint::default()
    };
    Histogram {
        data_points: histogram.data_points.into_iter().map(point).collect(),
        aggregation_temporality: temporality(histogram.temporality).into(),
    }
}

fn exponential(histogram: wit::ExponentialHistogram) -> ExponentialHistogram {
    let (start, time) = (nanoseconds(histogram.start_time), nanoseconds(histogram.time));
    let buckets = |bucket: wit::ExponentialBucket| Buckets {
        offset: bucket.offset,
        bucket_counts: bucket.counts,
    };
    let point = |point: wit::ExponentialHistogramDataPoint| ExponentialHistogramDataPoint {
        attributes: attributes(point.attributes),
        start_time_unix_nano: start,
        time_unix_nano: time,
        count: point.count,
        sum: Some(float(point.sum)),
        scale: point.scale.into(),
        zero_count: point.zero_count,
        positive: Some(buckets(point.positive_bucket)),
        negative: Some(buckets(point.negative_bucket)),
        exemplars: exemplars(point.exemplars),
        min: point.min.map(float),
        max: point.max.map(float),
        zero_threshold: point.zero_threshold,
        ..ExponentialHistogramDataPoint::default()
    };
    ExponentialHistogram {
        data_points: histogram.data_points.into_iter().map(point).collect(),
        aggregation_temporality: temporality(histogram.temporality).into(),
    }
}

/// Low memory is what it is for counters and histograms.
fn temporality(temporality: wit::Temporality) -> AggregationTemporality {
    match temporality {
        wit::Temporality::Cumulative => AggregationTemporality::Cumulative,
        wit::Temporality::Delta | wit::Temporality::LowMemory => AggregationTemporality::Delta,
    }
}

fn exemplars(exemplars: Vec<wit::Exemplar>) -> Vec<Exemplar> {
    let exemplar = |exemplar: wit::Exemplar| Exemplar {
        filtered_attributes: attributes(exemplar.filtered_attributes),
        time_unix_nano: nanoseconds(exemplar.time),
        span_id: id::<8>(&exemplar.span_id).map(Vec::from).unwrap_or_default(),
        trace_id: id::<16>(&exemplar.trace_id).map(Vec::from).unwrap_or_default(),
        value: Some(match number(exemplar.value) {
            number_data_point::Value::AsDouble(value) => exemplar::Value::AsDouble(value),
            number_data_point::Value::AsInt(value) => exemplar::Value::AsInt(value),
        }),
    };
    exemplars.into_iter().map(exemplar).collect()
}

/// OTLP has no unsigned numbers: one that does not fit is the greatest.
fn number(number: wit::MetricNumber) -> number_data_point::Value {
    match number {
        wit::MetricNumber::F64(value) => number_data_point::Value::AsDouble(value),
        wit::MetricNumber::S64(value) => number_data_point::Value::AsInt(value),
        wit::MetricNumber::U64(value) => {
            number_data_point::Value::AsInt(i64::try_from(value).unwrap_or(i64::MAX))
        }
    }
}

fn float(number: wit::MetricNumber) -> f64 {
    match number {
        wit::MetricNumber::F64(value) => value,
        wit::MetricNumber::S64(value) => value as f64,
        wit::MetricNumber::U64(value) => value as f64,
    }
}
