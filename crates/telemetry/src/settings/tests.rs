use super::*;

fn read(pairs: &[(&str, &str)]) -> Result<TelemetrySettings, EnvironmentError> {
    let environment =
        pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
    TelemetrySettings::from_environment(&environment)
}

fn resource_of(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318");
    let settings = read(&[pairs, &[endpoint]].concat()).unwrap();
    let text = |value: opentelemetry_proto::tonic::common::v1::AnyValue| format!("{value:?}");
    let attributes = settings.resource.attributes.into_iter();
    attributes.map(|pair| (pair.key, pair.value.map(text).unwrap_or_default())).collect()
}

#[test]
fn nothing_is_told_unless_it_is_asked_for() {
    for pairs in [
        &[][..],
        &[("OTEL_EXPORTER_OTLP_ENDPOINT", ""), ("SPINLET_METRICS_LISTEN_ADDR", "")],
        &[("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"), ("OTEL_SERVICE_NAME", "x")],
        &[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318"), ("OTEL_SDK_DISABLED", "TRUE")],
    ] {
        let settings = read(pairs).unwrap();
        assert!(!settings.exports() && settings.listen.is_none(), "{pairs:?}");
    }
}

#[test]
fn one_endpoint_serves_all_signals_below_its_path() {
    let settings = read(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318/base/")]).unwrap();
    let endpoints = [settings.traces, settings.metrics, settings.logs].map(|exporter| {
        let exporter = exporter.unwrap();
        assert_eq!(exporter.protocol, Protocol::HttpProtobuf);
        exporter.endpoint.to_string()
    });
    let expected =
        ["traces", "metrics", "logs"].map(|name| format!("http://c:4318/base/v1/{name}"));
    assert_eq!(endpoints, expected);
    let settings = read(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "https://c")]).unwrap();
    assert_eq!(settings.logs.unwrap().endpoint, "https://c/v1/logs");
}

#[test]
fn what_is_said_for_one_signal_wins() {
    let settings = read(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://all:4317/ignored"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=all,b=all"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "1500"),
        ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "http://logs:4318/exactly/here"),
        ("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", "http/protobuf"),
        ("OTEL_EXPORTER_OTLP_LOGS_HEADERS", "b=logs"),
        ("OTEL_EXPORTER_OTLP_LOGS_TIMEOUT", "7"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
        ("OTEL_EXPORTER_OTLP_LOGS_COMPRESSION", "none"),
        ("OTEL_EXPORTER_OTLP_LOGS_CERTIFICATE", "/nonexistent.pem"),
        ("OTEL_BLRP_SCHEDULE_DELAY", "20"),
    ])
    .unwrap();
    let (traces, logs) = (settings.traces.unwrap(), settings.logs.unwrap());
    assert_eq!(traces.protocol, Protocol::Grpc);
    assert_eq!(traces.timeout, Duration::from_millis(1500));
    assert_eq!(traces.headers["b"], "all");
    assert_eq!(traces.endpoint.authority().unwrap(), "all:4317");
    assert_eq!(traces.compression, Compression::Gzip);
    assert!(traces.trust().is_ok());
    assert_eq!(logs.compression, Compression::None);
    let refused = http_client::chain(&logs.trust().unwrap_err());
    for part in ["OTEL_EXPORTER_OTLP_LOGS_CERTIFICATE", "/nonexistent.pem"] {
        assert!(refused.contains(part), "{refused}");
    }
    assert_eq!(logs.protocol, Protocol::HttpProtobuf);
    assert_eq!(logs.endpoint, "http://logs:4318/exactly/here");
    assert_eq!(
        (&logs.headers["a"], &logs.headers["b"]),
        (&"all".parse().unwrap(), &"logs".parse().unwrap())
    );
    assert_eq!((logs.timeout, logs.delay), (Duration::from_millis(7), Duration::from_millis(20)));
    let only = read(&[("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://m:1/x")]).unwrap();
    assert!(only.traces.is_none() && only.logs.is_none());
    assert_eq!(only.metrics.unwrap().endpoint, "http://m:1/x");
}

#[test]
fn every_value_that_cannot_be_used_is_reported_at_once() {
    let wrong = [
        ("SPINLET_METRICS_LISTEN_ADDR", "9090"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "udp"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "hunter2"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd"),
        ("OTEL_EXPORTER_OTLP_LOGS_COMPRESSION", "snappy"),
        ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/key.pem"),
        ("OTEL_EXPORTER_OTLP_METRICS_CLIENT_CERTIFICATE", "/c.pem"),
        ("OTEL_BSP_SCHEDULE_DELAY", "0"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "-1"),
        ("OTEL_SDK_DISABLED", "perhaps"),
    ];
    let text = read(&wrong).unwrap_err().to_string();
    for (name, _) in wrong {
        assert!(text.contains(name), "{name} in {text}");
    }
    assert!(!text.contains("hunter2"), "{text}");
    let wrong = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318"),
        ("OTEL_TRACES_SAMPLER", "sometimes"),
        ("OTEL_TRACES_SAMPLER_ARG", "2"),
        ("OTEL_RESOURCE_ATTRIBUTES", "alone"),
    ];
    let text = read(&wrong).unwrap_err().to_string();
    for (name, _) in &wrong[1..] {
        assert!(text.contains(name), "{name} in {text}");
    }
}

#[test]
fn the_name_of_the_service_has_its_order() {
    let is = |pairs: &[(&str, &str)], expected: &str| {
        let found = resource_of(pairs);
        assert!(found["service.name"].contains(&format!("{expected:?}")), "{found:?}");
        found
    };
    let attributes = ("OTEL_RESOURCE_ATTRIBUTES", "service.name=attribute,zone=a%20b");
    is(&[], "spin");
    let found = is(&[attributes], "attribute");
    assert!(found["zone"].contains("\"a b\""), "{found:?}");
    is(&[attributes, ("OTEL_SERVICE_NAME", "own")], "own");
}
