//! The text.

use std::fmt::Write as _;

use crate::metrics::{Kind, Metrics, Names, Reader};

/// All of `metrics`, as they are now.
pub(crate) fn render(metrics: &Metrics) -> String {
    let mut text = Text::default();
    metrics.show(&mut text);
    process(&mut text);
    text.text
}

/// What is known about the process.
fn process(text: &mut Text) {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let seconds = time.tv_sec as f64 + time.tv_nsec as f64 / 1e9;
    text.head("process_cpu_seconds_total", "Processor time of the process.", Kind::Counter);
    text.sample("", &[], &[], seconds);
    text.head("spinlet_build_info", "The version that runs.", Kind::Gauge);
    text.sample("", &[("version", env!("CARGO_PKG_VERSION"))], &[], 1.0);
}

#[derive(Default)]
struct Text {
    text: String,
    /// The family that is written.
    name: &'static str,
}

type Label<'a> = (&'static str, &'a str);

impl Text {
    fn head(&mut self, name: &'static str, help: &str, kind: Kind) {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        self.name = name;
        // Writing to a string does not fail.
        let _ = write!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    fn sample(&mut self, suffix: &str, labels: &[Label<'_>], more: &[Label<'_>], value: f64) {
        self.text.push_str(self.name);
        self.text.push_str(suffix);
        let mut separator = '{';
        for (name, value) in labels.iter().chain(more) {
            self.text.push(separator);
            self.text.push_str(name);
            self.text.push_str("=\"");
            self.escaped(value);
            self.text.push('"');
            separator = ',';
        }
        if separator == ',' {
            self.text.push('}');
        }
        let _ = writeln!(self.text, " {value}");
    }

    fn escaped(&mut self, value: &str) {
        for character in value.chars() {
            match character {
                '\\' => self.text.push_str("\\\\"),
                '"' => self.text.push_str("\\\""),
                '\n' => self.text.push_str("\\n"),
                other => self.text.push(other),
            }
        }
    }
}

impl Reader for Text {
    fn family(&mut self, names: &Names, kind: Kind) {
        self.head(names.prometheus, names.help, kind);
    }

    fn number(&mut self, labels: &[Label<'_>], value: i64) {
        self.sample("", labels, &[], value as f64);
    }

    fn histogram(&mut self, labels: &[Label<'_>], bounds: &[f64], counts: &[u64], sum: f64) {
        let mut total = 0;
        let limits = bounds.iter().map(ToString::to_string).chain(["+Inf".to_owned()]);
        for (limit, count) in limits.zip(counts) {
            total += count;
            self.sample("_bucket", labels, &[("le", &limit)], total as f64);
        }
        self.sample("_sum", labels, &[], sum);
        self.sample("_count", labels, &[], total as f64);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn all_numbers_are_shown_with_their_labels() {
        let metrics = Metrics::new("an-app".to_owned(), Vec::new());
        metrics.called("redis", "a \"quoted\\\n one");
        metrics.http_ended("c", "/a/...", 404, Duration::from_micros(700));
        metrics.http_ended("c", "/a/...", 404, Duration::from_secs(99));
        let in_flight = metrics.http_begins();
        let text = render(&metrics);
        for line in [
            "# TYPE spinlet_requests_total counter",
            r#"spinlet_requests_total{trigger_type="redis",app_id="an-app",component_id="a \"quoted\\\n one"} 1"#,
            "# TYPE spinlet_http_request_duration_seconds histogram",
            r#"spinlet_http_request_duration_seconds_bucket{component_id="c",route="/a/...",status="404",le="0.0005"} 0"#,
            r#"spinlet_http_request_duration_seconds_bucket{component_id="c",route="/a/...",status="404",le="0.001"} 1"#,
            r#"spinlet_http_request_duration_seconds_bucket{component_id="c",route="/a/...",status="404",le="+Inf"} 2"#,
            r#"spinlet_http_request_duration_seconds_count{component_id="c",route="/a/...",status="404"} 2"#,
            "spinlet_http_requests_in_flight 1",
            "spinlet_draining 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
        drop(in_flight);
        metrics.drains();
        let text = render(&metrics);
        assert!(text.contains("\nspinlet_http_requests_in_flight 0\n"), "{text}");
        assert!(text.contains("\nspinlet_draining 1\n"), "{text}");
    }

    #[test]
    fn the_document_names_everything_that_is_shown() {
        let document = include_str!("../../../../docs/telemetry.md");
        let text = render(&Metrics::new(String::new(), Vec::new()));
        let names = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
        let missing: Vec<&str> =
            names.filter(|name| !document.contains(&format!("`{name}`"))).collect();
        assert!(missing.is_empty(), "docs/telemetry.md lacks {missing:?}");
    }
}
