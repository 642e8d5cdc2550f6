//! What the environment says of telemetry.

mod lists;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::uri::{PathAndQuery, Scheme};
use http::{HeaderMap, Uri};
use http_client::{Trust, TrustError};
use opentelemetry_proto::tonic::resource::v1::Resource;
use process_setup::{Environment, EnvironmentError, Reader};

use crate::attributes::attribute;
use crate::sampler::Sampler;

/// What `service.name` is when nobody says.
const SERVICE: &str = "spin";
/// What the app is called when nobody says.
const UNKNOWN_APP: &str = "unknown";

/// What is told to whom.
///
/// | variable | value | default |
/// |---|---|---|
/// | `OTEL_EXPORTER_OTLP_ENDPOINT` | URL of a collector, for all signals | nothing is exported |
/// | `OTEL_EXPORTER_OTLP_<SIGNAL>_ENDPOINT` | the same for `TRACES`, `METRICS` or `LOGS`; the whole URL | the one for all, with `/v1/traces`, … |
/// | `OTEL_EXPORTER_OTLP[_<SIGNAL>]_PROTOCOL` | `http/protobuf` or `grpc` | `http/protobuf` |
/// | `OTEL_EXPORTER_OTLP[_<SIGNAL>]_HEADERS` | `name=value`, separated by commas, percent-encoded | none |
/// | `OTEL_EXPORTER_OTLP[_<SIGNAL>]_TIMEOUT` | milliseconds one export may take | 10000 |
/// | `OTEL_EXPORTER_OTLP[_<SIGNAL>]_COMPRESSION` | `gzip` or `none` | `none` |
/// | `OTEL_EXPORTER_OTLP[_<SIGNAL>]_CERTIFICATE` | a PEM file: who must have signed the collector's certificate | whom the system trusts |
/// | `OTEL_SDK_DISABLED` | `true` exports nothing | `false` |
/// | `OTEL_SERVICE_NAME` | the attribute `service.name` | that of the next, `spin` |
/// | `OTEL_RESOURCE_ATTRIBUTES` | `key=value`, separated by commas, percent-encoded | none |
/// | `OTEL_TRACES_SAMPLER`, `OTEL_TRACES_SAMPLER_ARG` | a sampler of the specification but `jaeger_remote`; a ratio | `parentbased_always_on` |
/// | `OTEL_BSP_SCHEDULE_DELAY`, `OTEL_BLRP_SCHEDULE_DELAY` | milliseconds until spans, log records are sent | 5000, 1000 |
/// | `OTEL_METRIC_EXPORT_INTERVAL` | milliseconds between exports of metrics | 60000 |
/// | `SPIN_DISABLE_LOG_TO_TRACING` | anything: lines of guests are no events of spans | they are |
/// | `SPINLET_METRICS_LISTEN_ADDR` | `IP:PORT` to serve Prometheus text on | not served |
///
/// Empty values count as not set.
#[derive(Debug, Clone, Default)]
pub struct TelemetrySettings {
    pub(crate) traces: Option<ExporterSettings>,
    pub(crate) metrics: Option<ExporterSettings>,
    pub(crate) logs: Option<ExporterSettings>,
    pub(crate) sampler: Sampler,
    pub(crate) resource: Resource,
    /// Lines of guests are events of spans, too.
    pub(crate) lines_are_events: bool,
    pub(crate) listen: Option<SocketAddr>,
    /// The app's name in metrics.
    pub(crate) app: String,
}

/// Where one signal goes.
#[derive(Debug, Clone)]
pub(crate) struct ExporterSettings {
    pub(crate) protocol: Protocol,
    pub(crate) endpoint: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) compression: Compression,
    /// The variable that names a file of certificates, and the file; it is read when
    /// exporting starts, in the container.
    pub(crate) certificate: Option<(String, PathBuf)>,
    /// How long an export may take.
    pub(crate) timeout: Duration,
    /// How long what is told may wait before it is sent; for metrics, the time
    /// between two exports.
    pub(crate) delay: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    HttpProtobuf,
    Grpc,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    None,
    Gzip,
}

/// The certificates that a collector must prove itself by cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{variable} cannot be used")]
pub struct CertificateError {
    variable: String,
    source: TrustError,
}

impl ExporterSettings {
    /// Whom the exporter trusts.
    pub(crate) fn trust(&self) -> Result<Trust, CertificateError> {
        match &self.certificate {
            None => Ok(Trust::System),
            Some((variable, path)) => Trust::only(path)
                .map_err(|source| CertificateError { variable: variable.clone(), source }),
        }
    }
}

/// One kind of what is told.
#[derive(Debug, Clone, Copy)]
struct Signal {
    /// In names of variables.
    name: &'static str,
    path: &'static str,
    delay: &'static str,
    default_delay: u64,
}

const TRACES: Signal = Signal {
    name: "TRACES",
    path: "/v1/traces",
    delay: "OTEL_BSP_SCHEDULE_DELAY",
    default_delay: 5000,
};
const METRICS: Signal = Signal {
    name: "METRICS",
    path: "/v1/metrics",
    delay: "OTEL_METRIC_EXPORT_INTERVAL",
    default_delay: 60_000,
};
const LOGS: Signal = Signal {
    name: "LOGS",
    path: "/v1/logs",
    delay: "OTEL_BLRP_SCHEDULE_DELAY",
    default_delay: 1000,
};

impl TelemetrySettings {
    /// Reads the environment of an app.
    ///
    /// # Errors
    /// Every variable whose value cannot be used; values of headers, which may be
    /// secret, are not repeated.
    pub fn from_environment(
        environment: &BTreeMap<String, String>,
    ) -> Result<Self, EnvironmentError> {
        let given = environment.iter().filter(|(_, value)| !value.is_empty());
        let given: Environment = given.collect();
        let mut reader = given.reader();
        let listen = reader
            .parse("SPINLET_METRICS_LISTEN_ADDR", "an address and a port such as `0.0.0.0:9090`");
        let app = reader.text("HOSTNAME").unwrap_or(UNKNOWN_APP).to_owned();
        let disabled = reader.switch("OTEL_SDK_DISABLED").unwrap_or_default();
        let mut settings = Self { listen, app, ..Self::default() };
        if !disabled {
            settings.traces = exporter(TRACES, &mut reader);
            settings.metrics = exporter(METRICS, &mut reader);
            settings.logs = exporter(LOGS, &mut reader);
        }
        if settings.exports() {
            settings.sampler = sampler(&mut reader);
            settings.resource = resource(&mut reader);
            settings.lines_are_events = reader.text("SPIN_DISABLE_LOG_TO_TRACING").is_none();
        }
        reader.finish()?;
        Ok(settings)
    }

    /// Whether anything is sent anywhere.
    pub(crate) fn exports(&self) -> bool {
        self.traces.is_some() || self.metrics.is_some() || self.logs.is_some()
    }
}

/// Where `signal` goes; none when it goes nowhere or cannot.
fn exporter(signal: Signal, reader: &mut Reader<'_>) -> Option<ExporterSettings> {
    let general = |suffix: &str| format!("OTEL_EXPORTER_OTLP_{suffix}");
    let own = |suffix: &str| general(&format!("{}_{suffix}", signal.name));
    let own_endpoint = own("ENDPOINT");
    let is_own = reader.text(&own_endpoint).is_some();
    let endpoint_name = if is_own { own_endpoint } else { general("ENDPOINT") };
    reader.text(&endpoint_name)?;
    // Either says it for this signal.
    let protocol = {
        let name = first_set(reader, own("PROTOCOL"), general("PROTOCOL"));
        reader.with(&name, "`http/protobuf` or `grpc`", |text| match text {
            "http/protobuf" => Some(Protocol::HttpProtobuf),
            "grpc" => Some(Protocol::Grpc),
            _ => None,
        })
    };
    let protocol = protocol.unwrap_or(Protocol::HttpProtobuf);
    let path = match protocol {
        Protocol::HttpProtobuf if is_own => None,
        Protocol::HttpProtobuf => Some(signal.path),
        Protocol::Grpc => Some(""),
    };
    let endpoint = reader
        .with(&endpoint_name, "a URL such as `http://collector:4318`", |text| endpoint(text, path));
    let mut headers = HeaderMap::new();
    for name in [general("HEADERS"), own("HEADERS")] {
        // Those for one signal win.
        match reader.text(&name).map(lists::headers) {
            Some(Some(found)) => {
                for (name, value) in found {
                    headers.insert(name, value);
                }
            }
            Some(None) => {
                let accepted = "`name=value` pairs separated by commas, percent-encoded";
                reader.refuse(&name, "not shown", accepted);
            }
            None => {}
        }
    }
    let timeout = first_set(reader, own("TIMEOUT"), general("TIMEOUT"));
    let timeout = milliseconds(reader, &timeout).unwrap_or(Duration::from_secs(10));
    let compression = first_set(reader, own("COMPRESSION"), general("COMPRESSION"));
    let compression = reader.with(&compression, "`gzip` or `none`", |text| match text {
        "gzip" => Some(Compression::Gzip),
        "none" => Some(Compression::None),
        _ => None,
    });
    let certificate = first_set(reader, own("CERTIFICATE"), general("CERTIFICATE"));
    let certificate = reader.text(&certificate).map(PathBuf::from).map(|path| (certificate, path));
    for suffix in ["CLIENT_CERTIFICATE", "CLIENT_KEY"] {
        let name = first_set(reader, own(suffix), general(suffix));
        reader.with(&name, "nothing: collectors are shown no certificate", |_| None::<()>);
    }
    let delay = milliseconds(reader, signal.delay);
    let delay = delay.unwrap_or(Duration::from_millis(signal.default_delay));
    Some(ExporterSettings {
        protocol,
        endpoint: endpoint?,
        headers,
        compression: compression.unwrap_or(Compression::None),
        certificate,
        timeout,
        delay,
    })
}

fn first_set(reader: &mut Reader<'_>, own: String, general: String) -> String {
    if reader.text(&own).is_some() { own } else { general }
}

fn milliseconds(reader: &mut Reader<'_>, name: &str) -> Option<Duration> {
    reader.with(name, "milliseconds greater than zero", |text| {
        text.parse().ok().filter(|&number| number > 0).map(Duration::from_millis)
    })
}

/// The URL `text` with `path` behind its own.
fn endpoint(text: &str, path: Option<&str>) -> Option<Uri> {
    let uri: Uri = text.parse().ok()?;
    let is_http = uri.scheme().is_some_and(|s| *s == Scheme::HTTP || *s == Scheme::HTTPS);
    if !is_http || uri.host().is_none_or(str::is_empty) {
        return None;
    }
    let Some(path) = path else { return Some(uri) };
    let whole = format!("{}{path}", uri.path().trim_end_matches('/'));
    let mut parts = uri.into_parts();
    parts.path_and_query =
        Some(PathAndQuery::try_from(format!("/{}", whole.trim_start_matches('/'))).ok()?);
    Uri::from_parts(parts).ok()
}

fn sampler(reader: &mut Reader<'_>) -> Sampler {
    let ratio = reader.with("OTEL_TRACES_SAMPLER_ARG", "a number from 0 to 1", |text| {
        text.parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio))
    });
    let accepted =
        "`always_on`, `always_off` or `traceidratio`, also with `parentbased_` before it";
    reader
        .with("OTEL_TRACES_SAMPLER", accepted, |name| Sampler::parse(name, ratio))
        .unwrap_or_default()
}

/// Who tells.
fn resource(reader: &mut Reader<'_>) -> Resource {
    let accepted = "`key=value` pairs separated by commas, percent-encoded";
    let mut attributes: BTreeMap<String, String> = reader
        .with("OTEL_RESOURCE_ATTRIBUTES", accepted, lists::pairs)
        .unwrap_or_default()
        .into_iter()
        .collect();
    if let Some(name) = reader.text("OTEL_SERVICE_NAME") {
        attributes.insert("service.name".to_owned(), name.to_owned());
    }
    for (key, default) in [
        ("service.name", SERVICE),
        ("service.version", env!("CARGO_PKG_VERSION")),
        ("telemetry.sdk.language", "rust"),
        ("telemetry.sdk.name", "spinlet"),
        ("telemetry.sdk.version", env!("CARGO_PKG_VERSION")),
    ] {
        attributes.entry(key.to_owned()).or_insert_with(|| default.to_owned());
    }
    let attributes = attributes.iter().map(|(key, value)| attribute(key, value)).collect();
    Resource { attributes, ..Resource::default() }
}

#[cfg(test)]
mod tests;
