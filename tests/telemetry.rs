//! What apps tell about themselves: traces, metrics and logs to a collector of our
//! own over both protocols of OTLP, and metrics as Prometheus text.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use fs_err as fs;
use integration_tests::containerd::{Containerd, Version};
use integration_tests::http;
use integration_tests::http_server::HttpServer;
use integration_tests::process::{Running, free_address, wait_until};
use integration_tests::registry::Registry;
use integration_tests::servers::Redis;
use integration_tests::spinlet::{Served, Spinlet};
use integration_tests::stand_in::{Answer, Asked, StandIn};
use integration_tests::workspace::guest;
use otlp_collector::proto::metrics::v1::metric::Data;
use otlp_collector::proto::metrics::v1::number_data_point::Value;
use otlp_collector::proto::trace::v1::span::SpanKind;
use otlp_collector::{Collector, Received, Spanned};
use rustix::process::Signal;
use serde_json::json;
use test_servers::{Authority, Postgres};

const SOON: Duration = Duration::from_secs(30);
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

fn app() -> Result<String> {
    Ok(guest("telemetry")?.display().to_string())
}

fn spinlet(collector: &Collector) -> Result<Spinlet> {
    let endpoint = collector.url();
    Ok(Spinlet::new()?.with_env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint))
}

/// Ends an app as Kubernetes does; everything it had to tell is told then.
fn stop(served: &mut Served) -> Result<()> {
    let process = served.process();
    process.signal(Signal::TERM)?;
    let code = process.wait(SOON)?.code();
    ensure!(code == Some(0), "it ended with {code:?}\n{}", process.output());
    Ok(())
}

fn span<'r>(received: &'r Received, name: &str) -> Result<&'r Spanned> {
    let mut found = received.spans.iter().filter(|span| span.span.name == name);
    let first = found.next().with_context(|| format!("no span {name:?} in {received:#?}"))?;
    ensure!(found.next().is_none(), "several spans {name:?} in {received:#?}");
    Ok(first)
}

fn get(served: &Served, path: &str, headers: &[(&str, &str)]) -> Result<http::Response> {
    http::request(served.address(), "GET", path, headers, b"")
}

/// A server that hands every request to the test.
fn upstream() -> Result<(StandIn, mpsc::Receiver<Asked>)> {
    let (sender, asked) = mpsc::channel();
    let server = StandIn::start(move |request| {
        // The test may have ended.
        let _ = sender.send(request.clone());
        Answer { status: 200, headers: Vec::new(), body: String::new() }
    })?;
    Ok((server, asked))
}

#[test]
fn a_request_its_guest_and_what_that_sends_are_one_trace_over_either_protocol() -> Result<()> {
    for protocol in ["http/protobuf", "grpc"] {
        let collector = Collector::start()?;
        let (upstream, asked) = upstream()?;
        let spinlet = spinlet(&collector)?
            .with_env("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
            .with_env("OTEL_EXPORTER_OTLP_HEADERS", "x-token=a%20secret")
            .with_env("OTEL_RESOURCE_ATTRIBUTES", "service.name=shop,zone=z");
        let mut served = spinlet.up(&app()?, &[])?;
        let parent = format!("00-{TRACE}-{PARENT}-01");
        let headers = [("traceparent", parent.as_str()), ("tracestate", "vendor=1")];
        let path = format!("/guest/fetch?{}", upstream.url());
        assert_eq!(get(&served, &path, &headers)?.status, 200);
        stop(&mut served)?;

        let received = collector.received();
        let request = span(&received, "GET /guest/...")?;
        let call = span(&received, "execute_wasm_component guest")?;
        let fetch = span(&received, "GET")?;
        assert_eq!(hex::encode(&request.span.trace_id), TRACE);
        assert_eq!(hex::encode(&request.span.parent_span_id), PARENT);
        assert_eq!(request.span.trace_state, "vendor=1");
        for (child, parent) in [(call, request), (fetch, call)] {
            assert_eq!(child.span.parent_span_id, parent.span.span_id);
            assert_eq!(child.span.trace_id, parent.span.trace_id);
        }
        let kinds = [request, call, fetch].map(|span| span.span.kind());
        assert_eq!(kinds, [SpanKind::Server, SpanKind::Internal, SpanKind::Client]);
        let attributes = request.attributes();
        for (key, expected) in [
            ("http.request.method", "GET"),
            ("http.route", "/guest/..."),
            ("http.response.status_code", "200"),
            ("url.path", "/guest/fetch"),
            ("url.query", &upstream.url()),
            ("url.scheme", "http"),
            ("network.protocol.name", "http"),
            ("network.peer.address", "127.0.0.1"),
        ] {
            assert_eq!(attributes.get(key).map(String::as_str), Some(expected), "{key}");
        }
        let arrived = asked.recv_timeout(SOON)?;
        let expected = format!("00-{TRACE}-{}-01", hex::encode(&fetch.span.span_id));
        assert_eq!(arrived.header("traceparent"), expected);
        assert_eq!(arrived.header("tracestate"), "vendor=1");
        assert_eq!(request.resource["service.name"], "shop");
        assert_eq!(request.resource["zone"], "z");
        for request in &received.requests {
            assert_eq!(request.is_grpc, protocol == "grpc");
            assert_eq!(request.headers["x-token"], "a secret");
        }
    }
    Ok(())
}

#[test]
fn a_collector_proves_itself_by_the_certificate_that_is_named() -> Result<()> {
    let (authority, stranger) = (Authority::new()?, Authority::new()?);
    let files = authority.issue(&["127.0.0.1"])?;
    for protocol in ["http/protobuf", "grpc"] {
        for (trusted, arrives) in [(&authority, true), (&stranger, false)] {
            let collector = Collector::start_secured(&files.certificate, &files.key)?;
            let certificate = trusted.certificate().display().to_string();
            let spinlet = spinlet(&collector)?
                .with_env("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
                .with_env("OTEL_EXPORTER_OTLP_CERTIFICATE", &certificate);
            let mut served = spinlet.up(&app()?, &[])?;
            get(&served, "/guest/", &[])?;
            stop(&mut served)?;
            let told = !collector.received().spans.is_empty();
            assert_eq!(told, arrives, "{protocol}: {}", served.output());
        }
    }
    Ok(())
}

#[test]
fn exports_are_compressed_when_they_are_to_be() -> Result<()> {
    for (protocol, header) in [("http/protobuf", "content-encoding"), ("grpc", "grpc-encoding")] {
        let collector = Collector::start()?;
        let spinlet = spinlet(&collector)?
            .with_env("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
            .with_env("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
            .with_env("OTEL_EXPORTER_OTLP_LOGS_COMPRESSION", "none");
        let mut served = spinlet.up(&app()?, &[])?;
        get(&served, "/guest/lines", &[])?;
        stop(&mut served)?;
        let received = collector.received();
        span(&received, "GET /guest/...")?;
        assert_eq!(received.logs.len(), 3);
        for request in &received.requests {
            let is_logs = request.path.to_lowercase().contains("logs");
            let encoding = request.headers.get(header).and_then(|value| value.to_str().ok());
            assert_eq!(encoding, (!is_logs).then_some("gzip"), "{protocol} {}", request.path);
        }
    }
    Ok(())
}

#[test]
fn requests_between_components_stay_in_their_trace() -> Result<()> {
    let collector = Collector::start()?;
    let mut served = spinlet(&collector)?.up(&app()?, &[])?;
    // The guest asks its own app.
    let path = "/guest/fetch?http://self.alt/guest/other";
    assert_eq!(get(&served, path, &[])?.status, 200);
    stop(&mut served)?;
    let received = collector.received();
    let fetch = span(&received, "GET")?;
    let calls = received.spans.iter().filter(|span| span.span.name.starts_with("execute_wasm"));
    let inner = calls.filter(|call| call.span.parent_span_id == fetch.span.span_id);
    assert_eq!(inner.count(), 1, "{received:#?}");
    let traces: Vec<_> = received.spans.iter().map(|span| &span.span.trace_id).collect();
    assert!(traces.windows(2).all(|pair| pair[0] == pair[1]), "{received:#?}");
    Ok(())
}

#[test]
fn a_trace_that_its_sender_does_not_record_is_not_recorded_and_travels_on() -> Result<()> {
    let collector = Collector::start()?;
    let (upstream, asked) = upstream()?;
    let mut served = spinlet(&collector)?.up(&app()?, &[])?;
    let parent = format!("00-{TRACE}-{PARENT}-00");
    let path = format!("/guest/fetch?{}", upstream.url());
    get(&served, &path, &[("traceparent", &parent)])?;
    stop(&mut served)?;
    assert!(collector.received().spans.is_empty(), "{:#?}", collector.received());
    let arrived = asked.recv_timeout(SOON)?;
    let sent = arrived.header("traceparent");
    assert!(sent.starts_with(&format!("00-{TRACE}-")) && sent.ends_with("-00"), "{sent}");
    Ok(())
}

#[test]
fn lines_of_guests_are_log_records_and_events_in_the_trace_of_their_request() -> Result<()> {
    let collector = Collector::start()?;
    // Its folder has the output.
    let told = spinlet(&collector)?;
    let mut served = told.up(&app()?, &[])?;
    get(&served, "/guest/lines", &[])?;
    stop(&mut served)?;
    let received = collector.received();
    let call = span(&received, "execute_wasm_component guest")?;
    let mut lines: Vec<(String, String)> = Vec::new();
    for log in &received.logs {
        assert_eq!(log.record.trace_id, call.span.trace_id);
        assert_eq!(log.record.span_id, call.span.span_id);
        let attributes = log.attributes();
        assert_eq!(attributes["component_id"], "guest");
        lines.push((attributes["log.iostream"].clone(), log.body()));
    }
    lines.sort();
    let expected =
        [("stderr", "an error"), ("stderr", "and another without an end"), ("stdout", "a line")];
    let expected = expected.map(|(stream, line)| (stream.to_owned(), line.to_owned()));
    assert_eq!(lines, expected);
    // The output itself is not changed by it.
    let output = served.output();
    assert!(output.contains("a line\n") && output.contains("an error\n"), "{output}");
    assert!(call.span.events.iter().any(|event| event.name == "app log"), "{call:#?}");

    let collector = Collector::start()?;
    let spinlet = spinlet(&collector)?.with_env("SPIN_DISABLE_LOG_TO_TRACING", "1");
    let mut served = spinlet.up(&app()?, &[])?;
    get(&served, "/guest/lines", &[])?;
    stop(&mut served)?;
    let received = collector.received();
    assert!(span(&received, "execute_wasm_component guest")?.span.events.is_empty());
    assert_eq!(received.logs.len(), 3);
    Ok(())
}

#[test]
fn metrics_have_the_names_that_spin_gives_them() -> Result<()> {
    let collector = Collector::start()?;
    let spinlet = spinlet(&collector)?.with_env("OTEL_METRIC_EXPORT_INTERVAL", "100");
    let served = spinlet.with_env("HOSTNAME", "a-pod").up(&app()?, &[])?;
    for _ in 0..3 {
        get(&served, "/guest/", &[])?;
    }
    let metrics = || {
        let received = collector.received();
        let last: BTreeMap<String, _> = received
            .metrics
            .into_iter()
            .map(|measured| (measured.metric.name.clone(), measured.metric))
            .collect();
        let ended = matches!(last.get("spin.component_memory_used").map(|metric| &metric.data),
            Some(Some(Data::Histogram(histogram))) if histogram.data_points[0].count == 3);
        Ok(ended.then_some(last))
    };
    let metrics = wait_until(SOON, metrics)?;
    let Some(Data::Sum(sum)) = &metrics["spin.request_count"].data else {
        anyhow::bail!("{metrics:#?}");
    };
    assert_eq!(sum.data_points[0].value, Some(Value::AsInt(3)));
    let attributes: BTreeMap<_, _> = sum.data_points[0]
        .attributes
        .iter()
        .map(|pair| (pair.key.as_str(), pair.value.as_ref().map(otlp_collector::text_of)))
        .collect();
    let text = |text: &str| Some(text.to_owned());
    let expected = BTreeMap::from([
        ("app_id", text("a-pod")),
        ("component_id", text("guest")),
        ("trigger_type", text("http")),
    ]);
    assert_eq!(attributes, expected);
    for (name, unit, least) in [
        ("spin.component_cpu_time", "s", 0.000_001),
        ("spin.component_memory_used_on_init", "By", 65536.0),
        ("spin.component_memory_used", "By", 65536.0),
    ] {
        let Some(Data::Histogram(histogram)) = &metrics[name].data else {
            anyhow::bail!("{metrics:#?}");
        };
        let point = &histogram.data_points[0];
        assert_eq!((point.count, metrics[name].unit.as_str()), (3, unit), "{name}");
        assert!(point.sum.unwrap_or_default() >= 3.0 * least, "{name}: {point:?}");
    }
    Ok(())
}

#[test]
fn guests_tell_spans_metrics_and_logs_of_their_own() -> Result<()> {
    let collector = Collector::start()?;
    let (upstream, asked) = upstream()?;
    let mut served = spinlet(&collector)?.up(&app()?, &[])?;
    assert_eq!(get(&served, &format!("/guest/otel?{}", upstream.url()), &[])?.status, 200);
    stop(&mut served)?;
    let received = collector.received();
    let call = span(&received, "execute_wasm_component guest")?;
    let own = span(&received, "own work")?;
    assert_eq!(own.scope, "of the guest");
    assert_eq!(own.span.parent_span_id, call.span.span_id);
    assert_eq!(own.span.trace_id, call.span.trace_id);
    assert_eq!(own.attributes()["count"], "7");
    assert_eq!(own.span.status.as_ref().map(|status| status.message.as_str()), Some("on purpose"));
    // What the guest sends meanwhile is a child of its own span.
    let fetch = span(&received, "GET")?;
    assert_eq!(fetch.span.parent_span_id, own.span.span_id);
    let sent = asked.recv_timeout(SOON)?.header("traceparent").to_owned();
    assert!(sent.contains(&hex::encode(&fetch.span.span_id)), "{sent}");
    let log = received.logs.iter().find(|log| log.scope == "of the guest");
    let log = log.with_context(|| format!("{received:#?}"))?;
    assert_eq!((log.body().as_str(), log.record.severity_number), ("careful", 13));
    assert_eq!(log.record.span_id, own.span.span_id);
    let cups = received.metrics.iter().find(|measured| measured.metric.name == "cups");
    let cups = cups.with_context(|| format!("{received:#?}"))?;
    let Some(Data::Sum(sum)) = &cups.metric.data else { anyhow::bail!("{cups:#?}") };
    assert_eq!(sum.data_points[0].value, Some(Value::AsInt(3)));
    assert_eq!(cups.resource["service.name"], "spin");
    Ok(())
}

#[test]
fn guests_that_tell_something_run_when_nobody_listens() -> Result<()> {
    let (upstream, asked) = upstream()?;
    let served = Spinlet::new()?.up(&app()?, &[])?;
    assert_eq!(get(&served, &format!("/guest/otel?{}", upstream.url()), &[])?.status, 200);
    assert_eq!(asked.recv_timeout(SOON)?.header("traceparent"), "");
    Ok(())
}

#[test]
fn messages_of_redis_are_spans_of_consumers() -> Result<()> {
    let (collector, redis) = (Collector::start()?, Redis::start()?);
    let spinlet = spinlet(&collector)?;
    let address = format!("redis_address={}", redis.address());
    let app = guest("redis-version-2")?.display().to_string();
    let mut command = spinlet.command(&["up", &app, "--variable", &address]);
    let mut running = Running::start(&mut command, &spinlet.folder().join("up.log"))?;
    let subscribed = || Ok((redis.publish("orders", "a message")? > 0).then_some(()));
    wait_until(Duration::from_mins(4), subscribed)?;
    let handled = || Ok(running.output().contains("handled a message").then_some(()));
    wait_until(SOON, handled)?;
    running.signal(Signal::TERM)?;
    assert_eq!(running.wait(SOON)?.code(), Some(0), "{}", running.output());
    let received = collector.received();
    let message = span(&received, "orders receive")?;
    assert_eq!(message.span.kind(), SpanKind::Consumer);
    assert_eq!(message.attributes()["messaging.system"], "redis");
    let children = received.spans.iter();
    let mut children = children.filter(|child| child.span.parent_span_id == message.span.span_id);
    let child = children.next().context("the call of the guest is no child of the message")?;
    assert!(child.span.name.starts_with("execute_wasm_component "), "{child:#?}");
    Ok(())
}

#[test]
fn calls_of_stores_databases_and_servers_are_spans_of_the_call_that_makes_them() -> Result<()> {
    let (collector, redis, postgres) = (Collector::start()?, Redis::start()?, Postgres::start()?);
    let told = spinlet(&collector)?;
    let state = format!("SPINLET_APP_STATE_DIR={}", told.state().display());
    let app = guest("stores")?.display().to_string();
    let mut stores = told.up(&app, &["--env", &state])?;
    assert_eq!(get(&stores, "/set?key=k&value=v", &[])?.status, 200);
    http::request(stores.address(), "POST", "/sql", &[], b"SELECT * FROM nobody")?;
    stop(&mut stores)?;
    let mut servers = told.up(&guest("servers")?.display().to_string(), &[])?;
    for (target, body) in [
        ("/redis", format!("{}\nget\nk", redis.address())),
        ("/postgres", format!("{}\n?SELECT 1", postgres.address())),
    ] {
        let answer = http::request(servers.address(), "POST", target, &[], body.as_bytes())?;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    stop(&mut servers)?;
    let received = collector.received();
    for (name, key, system) in [
        ("spin_key_value.set", "db.system", "spin_key_value"),
        ("spin_sqlite.execute", "db.system", "sqlite"),
        ("spin_outbound_redis.open_connection", "db.system", "redis"),
        ("spin_outbound_redis.get", "db.system", "redis"),
        ("spin_outbound_pg.open_connection", "db.system", "postgresql"),
        ("spin_outbound_pg.query", "db.system", "postgresql"),
    ] {
        let found = span(&received, name)?;
        assert_eq!(found.span.kind(), SpanKind::Client, "{name}");
        assert_eq!(found.attributes()[key], system, "{name}");
        let parent = received.spans.iter();
        let mut parent = parent.filter(|span| span.span.span_id == found.span.parent_span_id);
        let parent = parent.next().with_context(|| format!("{name} has no parent"))?;
        assert!(parent.span.name.starts_with("execute_wasm_component "), "{parent:#?}");
    }
    let failed = span(&received, "spin_sqlite.execute")?.span.status.clone();
    let failed = failed.context("a failed statement is told as one")?;
    assert!(failed.message.contains("no such table: nobody"), "{failed:?}");
    Ok(())
}

/// The sums of a metric, by all its labels but the name.
fn sums(collector: &Collector, name: &str) -> BTreeMap<String, i64> {
    let mut sums = BTreeMap::new();
    let received = collector.received();
    for measured in received.metrics.iter().filter(|measured| measured.metric.name == name) {
        let Some(Data::Sum(sum)) = &measured.metric.data else { continue };
        for point in &sum.data_points {
            let labels = point.attributes.iter().map(|pair| {
                let value = pair.value.as_ref().map(otlp_collector::text_of);
                format!("{}={}", pair.key, value.unwrap_or_default())
            });
            if let Some(Value::AsInt(value)) = point.value {
                sums.insert(labels.collect::<Vec<_>>().join(" "), value);
            }
        }
    }
    sums
}

#[test]
fn inferences_and_permits_of_limits_are_counted() -> Result<()> {
    let collector = Collector::start()?;
    let (sender, asked) = mpsc::channel();
    let models = StandIn::start(move |request| {
        // The test may have ended.
        let _ = sender.send(request.clone());
        let usage = json!({ "promptTokenCount": 2, "generatedTokenCount": 3 });
        Answer::json(200, &json!({ "text": "hi", "usage": usage }))
    })?;
    let told = spinlet(&collector)?;
    let config = told.folder().join("runtime-config.toml");
    let llm = format!(
        "[llm_compute]\ntype = 'remote_http'\nurl = '{}'\nauth_token = 'token'",
        models.url()
    );
    fs::write(&config, llm)?;
    let config = config.display().to_string();
    let arguments = ["--runtime-config-file", &config, "--variable", "password=x"];
    let mut served = told.up(&guest("configured")?.display().to_string(), &arguments)?;
    assert_eq!(get(&served, "/infer?model=llama2-chat&prompt=hello", &[])?.status, 200);
    stop(&mut served)?;
    let sums_of = |name| sums(&collector, name);
    let expected = BTreeMap::from([("model_name=llama2-chat".to_owned(), 1)]);
    assert_eq!(sums_of("spin.llm_infer"), expected);
    let infer = span(&collector.received(), "spin_llm.infer")?.span.span_id.clone();
    let sent = asked.recv_timeout(SOON)?.header("traceparent").to_owned();
    assert!(sent.contains(&hex::encode(infer)), "{sent}");

    let upstream = HttpServer::start()?;
    fs::write(&config, "[outbound_http]\nmax_connections = 1")?;
    let arguments = ["--runtime-config-file", &config];
    let mut served = told.up(&guest("outbound")?.display().to_string(), &arguments)?;
    let line = format!("http://127.0.0.1:{}/slow/300", upstream.port());
    let impatient = format!("{line} connect=50");
    // Whichever comes first: an impatient one is behind it.
    for lines in [format!("{line}\n{line}"), format!("{impatient}\n{impatient}")] {
        http::request(served.address(), "POST", "/fetch", &[], lines.as_bytes())?;
    }
    stop(&mut served)?;
    for (name, labels) in [
        ("outbound_connection_permits_acquired", "kind=http waited=false"),
        ("outbound_connection_permits_acquired", "kind=http waited=true"),
        ("outbound_connection_permits_rejected", "kind=http"),
        ("outbound_http.concurrent_connection_permits_acquired", "interface=wasi waited=false"),
        ("outbound_http.concurrent_connection_permits_acquired", "interface=wasi waited=true"),
    ] {
        let found = sums_of(name);
        assert!(found.contains_key(labels), "{name} {labels} is not in {found:?}");
    }
    Ok(())
}

#[test]
fn a_collector_that_does_not_answer_costs_requests_nothing() -> Result<()> {
    // Connections are accepted by the kernel, and nobody ever reads them: an export
    // takes as long as it may, ten seconds.
    let silent = TcpListener::bind("127.0.0.1:0")?;
    let spinlet = Spinlet::new()?
        .with_env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{}", silent.local_addr()?))
        .with_env("OTEL_BSP_SCHEDULE_DELAY", "1")
        .with_env("OTEL_BLRP_SCHEDULE_DELAY", "1");
    let mut served = spinlet.up(&app()?, &[])?;
    get(&served, "/guest/lines", &[])?;
    let begun = Instant::now();
    for _ in 0..100 {
        assert_eq!(get(&served, "/guest/lines", &[])?.status, 200);
    }
    // Ten exports would take longer.
    assert!(begun.elapsed() < Duration::from_secs(100), "{:?}", begun.elapsed());
    let begun = Instant::now();
    stop(&mut served)?;
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    Ok(())
}

/// The value of a line of Prometheus text.
fn number(text: &str, line: &str) -> Option<f64> {
    text.lines().find_map(|found| found.strip_prefix(line)?.strip_prefix(' ')?.parse().ok())
}

#[test]
fn prometheus_reads_requests_latencies_failures_memory_and_draining() -> Result<()> {
    let metrics = free_address()?;
    let spinlet = Spinlet::new()?
        .with_env("SPINLET_METRICS_LISTEN_ADDR", metrics.to_string())
        .with_env("HOSTNAME", "a-pod");
    let mut served = spinlet.up(&app()?, &[])?;
    get(&served, "/guest/", &[])?;
    get(&served, "/guest/panic", &[])?;
    get(&served, "/nowhere", &[])?;
    let response = http::get(metrics, "/metrics")?;
    let kind = response.header("content-type").unwrap_or_default();
    assert_eq!(kind, "text/plain; version=0.0.4; charset=utf-8");
    let text = response.text();
    let app = "app_id=\"a-pod\"";
    let histogram = "spinlet_http_request_duration_seconds_count";
    for (line, expected) in [
        (
            &*format!(
                "spinlet_requests_total{{trigger_type=\"http\",{app},component_id=\"guest\"}}"
            ),
            2.0,
        ),
        (
            &format!("{histogram}{{component_id=\"guest\",route=\"/guest/...\",status=\"200\"}}"),
            1.0,
        ),
        (
            &format!("{histogram}{{component_id=\"guest\",route=\"/guest/...\",status=\"500\"}}"),
            1.0,
        ),
        (&format!("{histogram}{{component_id=\"\",route=\"\",status=\"404\"}}"), 1.0),
        ("spinlet_guest_failures_total{component_id=\"guest\",reason=\"trap\"}", 1.0),
        ("spinlet_component_memory_bytes_count{component_id=\"guest\"}", 2.0),
        ("spinlet_http_requests_in_flight", 0.0),
        ("spinlet_instances", 0.0),
        ("spinlet_instance_memory_bytes", 0.0),
        ("spinlet_draining", 0.0),
    ] {
        assert_eq!(number(&text, line), Some(expected), "{line} in {text}");
    }
    assert_eq!(http::get(metrics, "/")?.status, 404);
    assert_eq!(http::request(metrics, "POST", "/metrics", &[], b"")?.status, 405);

    let address = served.address();
    let slow = std::thread::spawn(move || http::get(address, "/guest/sleep?3000"));
    let busy = || {
        let text = http::get(metrics, "/metrics")?.text();
        Ok((number(&text, "spinlet_http_requests_in_flight") == Some(1.0)).then_some(text))
    };
    let text = wait_until(SOON, busy)?;
    assert_eq!(number(&text, "spinlet_instances"), Some(1.0), "{text}");
    let memory = number(&text, "spinlet_instance_memory_bytes");
    assert!(memory.is_some_and(|bytes| bytes >= 65536.0), "{text}");
    served.process().signal(Signal::TERM)?;
    let drains = || {
        let text = http::get(metrics, "/metrics")?.text();
        Ok((number(&text, "spinlet_draining") == Some(1.0)).then_some(()))
    };
    wait_until(Duration::from_secs(2), drains)?;
    let slow = slow.join().ok().context("the request failed")??;
    assert_eq!(slow.status, 200);
    assert_eq!(served.process().wait(SOON)?.code(), Some(0));
    Ok(())
}

#[test]
fn what_cannot_be_used_is_said_before_anything_listens() -> Result<()> {
    let app = app()?;
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let taken = taken.local_addr()?.to_string();
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318");
    for (variables, expected) in [
        (&[endpoint, ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")][..], &["http/json", "grpc"][..]),
        (&[endpoint, ("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", "udp")], &["LOGS_PROTOCOL is \"udp\""]),
        (
            &[endpoint, ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd")],
            &["OTEL_EXPORTER_OTLP_COMPRESSION is \"zstd\", expected `gzip` or `none`"],
        ),
        (
            &[endpoint, ("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "/dev/null")],
            &["OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "/dev/null has no certificate in PEM"],
        ),
        (
            &[
                ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "nowhere"),
                ("SPINLET_METRICS_LISTEN_ADDR", "1"),
            ],
            &["TRACES_ENDPOINT is \"nowhere\"", "SPINLET_METRICS_LISTEN_ADDR is \"1\""],
        ),
        (
            &[("SPINLET_METRICS_LISTEN_ADDR", &taken)],
            &["cannot listen", "SPINLET_METRICS_LISTEN_ADDR"],
        ),
    ] {
        let listen = free_address()?;
        let mut spinlet = Spinlet::new()?;
        for (name, value) in variables {
            spinlet = spinlet.with_env(name, value);
        }
        let finished = spinlet.finish(&["up", &app, "--listen", &listen.to_string()])?;
        assert_eq!(finished.status.code(), Some(1), "{}", finished.text());
        for text in expected {
            assert!(finished.stderr.contains(text), "{text} in {}", finished.stderr);
        }
    }
    Ok(())
}

#[test]
fn a_task_of_containerd_tells_a_collector_what_it_does() -> Result<()> {
    let (collector, containerd) = (Collector::start()?, Containerd::start(Version::V2)?);
    let registry = Registry::start()?;
    let image = registry.reference("telemetry");
    Spinlet::new()?.run(&["push", &app()?, &image])?;
    containerd.pull(&image)?;
    let endpoint = format!("OTEL_EXPORTER_OTLP_ENDPOINT={}", collector.url());
    let options = ["--env", &endpoint, "--env", "OTEL_SERVICE_NAME=in a container"];
    let address = containerd.run(&image, "told", &options)?;
    assert_eq!(http::get(address, "/guest/lines")?.status, 200);
    assert_eq!(containerd.stop("told", "SIGTERM")?, 0);
    let told = || {
        let received = collector.received();
        let whole = received.spans.len() >= 2 && received.logs.len() >= 3;
        Ok((whole && !received.metrics.is_empty()).then_some(received))
    };
    let received = wait_until(SOON, told)?;
    assert_eq!(span(&received, "GET /guest/...")?.resource["service.name"], "in a container");
    Ok(())
}
