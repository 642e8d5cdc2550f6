//! Writes lines, sends requests, and tells spans, metrics and logs over `wasi:otel`,
//! as the path of a request says.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use spin_sdk::http::{Request, Response};
use spin_sdk::http_component;

mod otel {
    wit_bindgen::generate!({
        path: "wit",
        world: "spinlet:otel/imports",
        generate_all,
    });
}

use otel::wasi::clocks::wall_clock::Datetime;
use otel::wasi::otel::logs::{LogRecord, on_emit};
use otel::wasi::otel::metrics::{
    Metric, MetricData, MetricNumber, ResourceMetrics, ScopeMetrics, Sum, SumDataPoint,
    Temporality, export,
};
use otel::wasi::otel::tracing::{
    SpanContext, SpanData, SpanKind, Status, on_end, on_start, outer_span_context,
};
use otel::wasi::otel::types::{InstrumentationScope, KeyValue, Resource};

#[http_component]
async fn handle(request: Request) -> Response {
    let url = request.query().to_owned();
    match request.path().trim_start_matches("/guest") {
        "/lines" => {
            println!("a line");
            eprint!("an error\nand another without an end");
        }
        "/fetch" => fetch(&url).await,
        "/sleep" => std::thread::sleep(Duration::from_millis(url.parse().unwrap())),
        "/panic" => panic!("asked to panic"),
        "/otel" => tell(&url).await,
        _ => {}
    }
    Response::new(200, "done\n")
}

async fn fetch(url: &str) {
    let _: Response = spin_sdk::http::send(Request::get(url)).await.unwrap();
}

fn now() -> Datetime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Datetime { seconds: since.as_secs(), nanoseconds: since.subsec_nanos() }
}

fn scope() -> InstrumentationScope {
    InstrumentationScope {
        name: "of the guest".to_owned(),
        version: None,
        schema_url: None,
        attributes: Vec::new(),
    }
}

fn attribute(key: &str, value: &str) -> KeyValue {
    KeyValue { key: key.to_owned(), value: value.to_owned() }
}

/// Sends a request from a span of its own, and tells a log record and a metric.
async fn tell(url: &str) {
    let outer = outer_span_context();
    let context = SpanContext { span_id: "00000000000000ab".to_owned(), ..outer.clone() };
    let start_time = now();
    on_start(&context);
    fetch(url).await;
    on_end(&SpanData {
        span_context: context.clone(),
        parent_span_id: outer.span_id,
        span_kind: SpanKind::Internal,
        name: "own work".to_owned(),
        start_time,
        end_time: now(),
        attributes: vec![attribute("count", "7"), attribute("names", "[\"a\", true]")],
        events: Vec::new(),
        links: Vec::new(),
        status: Status::Error("on purpose".to_owned()),
        instrumentation_scope: scope(),
        dropped_attributes: 0,
        dropped_events: 0,
        dropped_links: 0,
    });
    on_emit(&LogRecord {
        timestamp: Some(now()),
        observed_timestamp: None,
        severity_text: Some("WARN".to_owned()),
        severity_number: Some(13),
        body: Some("\"careful\"".to_owned()),
        attributes: None,
        event_name: None,
        resource: None,
        instrumentation_scope: Some(scope()),
        trace_id: Some(context.trace_id.clone()),
        span_id: Some(context.span_id.clone()),
        trace_flags: Some(context.trace_flags),
    });
    let point = SumDataPoint {
        attributes: vec![attribute("kind", "\"of tea\"")],
        value: MetricNumber::U64(3),
        exemplars: Vec::new(),
    };
    let sum = Sum {
        data_points: vec![point],
        start_time,
        time: now(),
        temporality: Temporality::Delta,
        is_monotonic: true,
    };
    let metric = Metric {
        name: "cups".to_owned(),
        description: String::new(),
        unit: "{cup}".to_owned(),
        data: MetricData::U64Sum(sum),
    };
    export(&ResourceMetrics {
        resource: Resource { attributes: Vec::new(), schema_url: None },
        scope_metrics: vec![ScopeMetrics { scope: scope(), metrics: vec![metric] }],
    })
    .unwrap();
}
