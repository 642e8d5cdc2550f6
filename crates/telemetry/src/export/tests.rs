use std::collections::BTreeMap;
use std::time::Duration;

use otlp_collector::{Collector, Received};
use tokio::time::{Instant, sleep};

use crate::attributes::own_scope;
use crate::logs::Line;
use crate::{SpanKind, Stream, Telemetry, TelemetrySettings};

const ENOUGH: Duration = Duration::from_secs(20);

fn telemetry(url: &str, pairs: &[(&str, &str)]) -> Telemetry {
    let all = [("OTEL_EXPORTER_OTLP_ENDPOINT", url), ("OTEL_SERVICE_NAME", "tested")];
    let environment: BTreeMap<String, String> =
        all.iter().chain(pairs).map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
    Telemetry::start(TelemetrySettings::from_environment(&environment).unwrap()).unwrap()
}

fn tell(telemetry: &Telemetry) {
    let parent = telemetry.span(SpanKind::Server, &"a request", None);
    parent.number("http.response.status_code", 200);
    let child = telemetry.span(SpanKind::Client, &"GET", parent.context());
    child.failed(&"on purpose");
    let record = Line::of(b"a line").record("c", Stream::Stdout, child.context());
    telemetry.guest_log(own_scope(), record);
    telemetry.metrics().unwrap().called("http", "c");
}

async fn until(collector: &Collector, enough: impl Fn(&Received) -> bool) -> Received {
    let begun = Instant::now();
    loop {
        let received = collector.received();
        if enough(&received) {
            return received;
        }
        assert!(begun.elapsed() < ENOUGH, "{received:#?}");
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn all_signals_arrive_over_either_protocol() {
    for protocol in ["http/protobuf", "grpc"] {
        let collector = Collector::start().unwrap();
        let headers = ("OTEL_EXPORTER_OTLP_HEADERS", "x-key=a%20secret");
        let telemetry =
            telemetry(&collector.url(), &[("OTEL_EXPORTER_OTLP_PROTOCOL", protocol), headers]);
        tell(&telemetry);
        telemetry.finish(ENOUGH).await;
        let received = collector.received();
        let names: Vec<&str> = received.spans.iter().map(|span| &*span.span.name).collect();
        assert_eq!(names, ["GET", "a request"], "{protocol}");
        let [child, parent] = &received.spans[..] else { panic!("{received:#?}") };
        assert_eq!(child.span.parent_span_id, parent.span.span_id);
        assert_eq!(child.span.trace_id, parent.span.trace_id);
        assert_eq!(child.resource["service.name"], "tested");
        assert_eq!(parent.attributes()["http.response.status_code"], "200");
        assert_eq!(received.logs[0].body(), "a line");
        assert_eq!(received.logs[0].record.span_id, child.span.span_id);
        assert_eq!(received.metrics[0].metric.name, "spin.request_count");
        assert_eq!(received.metrics[0].resource["service.name"], "tested");
        for request in &received.requests {
            assert_eq!(request.headers["x-key"], "a secret");
            assert_eq!(request.is_grpc, protocol == "grpc");
        }
    }
}

#[tokio::test]
async fn what_is_told_is_sent_after_its_delay_without_anybody_asking() {
    let collector = Collector::start().unwrap();
    let telemetry = telemetry(
        &collector.url(),
        &[
            ("OTEL_BSP_SCHEDULE_DELAY", "50"),
            ("OTEL_BLRP_SCHEDULE_DELAY", "50"),
            ("OTEL_METRIC_EXPORT_INTERVAL", "50"),
        ],
    );
    tell(&telemetry);
    until(&collector, |received| {
        received.spans.len() == 2 && received.logs.len() == 1 && !received.metrics.is_empty()
    })
    .await;
}

#[tokio::test]
async fn a_collector_that_is_busy_is_asked_again() {
    for protocol in ["http/protobuf", "grpc"] {
        let collector = Collector::start().unwrap();
        collector.refuse(1);
        let telemetry = telemetry(
            &collector.url(),
            &[("OTEL_BLRP_SCHEDULE_DELAY", "1"), ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)],
        );
        let record = Line::of(b"a line").record("c", Stream::Stdout, None);
        telemetry.guest_log(own_scope(), record);
        let received = until(&collector, |received| !received.logs.is_empty()).await;
        assert_eq!(received.logs.len(), 1, "{protocol}");
    }
}

#[tokio::test]
async fn a_collector_that_is_gone_costs_nobody_time_and_what_is_lost_is_counted() {
    for protocol in ["http/protobuf", "grpc"] {
        // Nobody listens there.
        let telemetry = telemetry(
            "http://127.0.0.1:1",
            &[
                ("SPINLET_METRICS_LISTEN_ADDR", "127.0.0.1:0"),
                ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
            ],
        );
        let begun = std::time::Instant::now();
        for _ in 0..10_000 {
            drop(telemetry.span(SpanKind::Server, &"a request", None));
        }
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
        telemetry.finish(ENOUGH).await;
        let text = crate::prometheus::render(telemetry.metrics().unwrap());
        let line = "spinlet_telemetry_dropped_total{signal=\"traces\"} 10000";
        assert!(text.lines().any(|found| found == line), "{protocol}: {text}");
    }
}

#[tokio::test]
async fn finishing_ends_at_its_limit() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    // It accepts connections and never answers.
    let url = format!("http://{}", listener.local_addr().unwrap());
    let telemetry = telemetry(&url, &[]);
    tell(&telemetry);
    let begun = Instant::now();
    telemetry.finish(Duration::from_millis(200)).await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn telemetry_that_is_switched_off_has_nothing() {
    let settings = TelemetrySettings::from_environment(&BTreeMap::new()).unwrap();
    let telemetry = Telemetry::start(settings).unwrap();
    let span = telemetry.span(SpanKind::Server, &"a request", None);
    assert!(span.context().is_none() && span.handle().is_none());
    assert!(telemetry.metrics().is_none() && telemetry.instance("c").is_none());
    telemetry.finish(ENOUGH).await;
}
