//! Numbers in the form of OTLP.

use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint,
    ResourceMetrics, ScopeMetrics, Sum,
};

use super::{Kind, Metrics, Names, Reader};
use crate::attributes::{attribute, now, own_scope};

/// What `metrics` has for OTLP, since `started`; none when there is nothing yet.
pub(crate) fn collect(metrics: &Metrics, started: u64) -> Option<ResourceMetrics> {
    let mut collected = Collected { metrics: Vec::new(), wanted: false, started, now: now() };
    metrics.show(&mut collected);
    let mut metrics = collected.metrics;
    metrics.retain(has_points);
    if metrics.is_empty() {
        return None;
    }
    let scope = ScopeMetrics { scope: Some(own_scope()), metrics, ..ScopeMetrics::default() };
    Some(ResourceMetrics { scope_metrics: vec![scope], ..ResourceMetrics::default() })
}

struct Collected {
    metrics: Vec<Metric>,
    /// The family that is read is exported.
    wanted: bool,
    started: u64,
    now: u64,
}

fn has_points(metric: &Metric) -> bool {
    match &metric.data {
        Some(Data::Sum(sum)) => !sum.data_points.is_empty(),
        Some(Data::Gauge(gauge)) => !gauge.data_points.is_empty(),
        Some(Data::Histogram(histogram)) => !histogram.data_points.is_empty(),
        _ => false,
    }
}

fn attributes(labels: &[(&'static str, &str)]) -> Vec<KeyValue> {
    labels.iter().map(|&(key, value)| attribute(key, value)).collect()
}

impl Collected {
    /// The family that is read.
    fn data(&mut self) -> Option<&mut Data> {
        if !self.wanted {
            return None;
        }
        self.metrics.last_mut()?.data.as_mut()
    }
}

impl Reader for Collected {
    fn family(&mut self, names: &Names, kind: Kind) {
        self.wanted = names.otlp.is_some();
        let Some(name) = names.otlp else { return };
        let cumulative = AggregationTemporality::Cumulative.into();
        let data = match kind {
            Kind::Counter => Data::Sum(Sum {
                aggregation_temporality: cumulative,
                is_monotonic: true,
                data_points: Vec::new(),
            }),
            Kind::Gauge => Data::Gauge(Gauge::default()),
            Kind::Histogram => Data::Histogram(Histogram {
                aggregation_temporality: cumulative,
                data_points: Vec::new(),
            }),
        };
        self.metrics.push(Metric {
            name: name.to_owned(),
            description: names.help.to_owned(),
            unit: names.unit.to_owned(),
            data: Some(data),
            ..Metric::default()
        });
    }

    fn number(&mut self, labels: &[(&'static str, &str)], value: i64) {
        let point = NumberDataPoint {
            attributes: attributes(labels),
            start_time_unix_nano: self.started,
            time_unix_nano: self.now,
            value: Some(Value::AsInt(value)),
            ..NumberDataPoint::default()
        };
        match self.data() {
            Some(Data::Sum(sum)) => sum.data_points.push(point),
            Some(Data::Gauge(gauge)) => gauge.data_points.push(point),
            _ => {}
        }
    }

    fn histogram(
        &mut self,
        labels: &[(&'static str, &str)],
        bounds: &[f64],
        counts: &[u64],
        sum: f64,
    ) {
        let point = HistogramDataPoint {
            attributes: attributes(labels),
            start_time_unix_nano: self.started,
            time_unix_nano: self.now,
            count: counts.iter().sum(),
            sum: Some(sum),
            bucket_counts: counts.to_vec(),
            explicit_bounds: bounds.to_vec(),
            ..HistogramDataPoint::default()
        };
        if let Some(Data::Histogram(histogram)) = self.data() {
            histogram.data_points.push(point);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn only_what_spin_has_too_is_exported_and_nothing_that_is_empty() {
        let metrics = Metrics::new("the-app".to_owned(), Vec::new());
        assert_eq!(collect(&metrics, 0), None);
        metrics.http_ended("c", "/", 200, Duration::from_millis(1));
        assert_eq!(collect(&metrics, 0), None);
        metrics.called("http", "c");
        metrics.called("http", "c");
        metrics.instance_made("c", 65536);
        let collected = collect(&metrics, 7).unwrap();
        let found = &collected.scope_metrics[0].metrics;
        let names: Vec<&str> = found.iter().map(|metric| metric.name.as_str()).collect();
        assert_eq!(names, ["spin.request_count", "spin.component_memory_used_on_init"]);
        let Some(Data::Sum(sum)) = &found[0].data else { panic!("{found:?}") };
        let point = &sum.data_points[0];
        assert_eq!((point.value, point.start_time_unix_nano), (Some(Value::AsInt(2)), 7));
        let keys: Vec<&str> = point.attributes.iter().map(|pair| pair.key.as_str()).collect();
        assert_eq!(keys, ["trigger_type", "app_id", "component_id"]);
        let Some(Data::Histogram(histogram)) = &found[1].data else { panic!("{found:?}") };
        let point = &histogram.data_points[0];
        assert_eq!((point.count, point.sum, found[1].unit.as_str()), (1, Some(65536.0), "By"));
        assert_eq!(point.bucket_counts.len(), point.explicit_bounds.len() + 1);
    }
}
