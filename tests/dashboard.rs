//! The Grafana dashboard and the metrics of an app. Those of the controller are
//! compared with it in `crates/spinapp-controller`; a Prometheus that evaluates
//! every expression is in `scripts/test-kubernetes`.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use fs_err as fs;
use integration_tests::http;
use integration_tests::process::free_address;
use integration_tests::spinlet::Spinlet;
use integration_tests::workspace::{guest, repository};
use serde_json::Value;

/// What the controller's metrics start with.
const CONTROLLER: [&str; 3] = ["controller_runtime_", "spinlet_apps", "spinlet_controller_"];

#[test]
fn every_metric_of_the_dashboard_is_one_of_an_app_or_of_the_controller() -> Result<()> {
    let dashboard = fs::read_to_string(repository().join("runtimeclass/grafana-dashboard.json"))?;
    let dashboard: Value = serde_json::from_str(&dashboard)?;
    let mut expressions = Vec::new();
    collect(&dashboard, "expr", &mut expressions);
    let words = expressions.iter().flat_map(|text| {
        text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_')
    });
    let prefixes = ["spinlet_", "controller_runtime_", "process_"];
    let named: BTreeSet<_> =
        words.filter(|word| prefixes.iter().any(|prefix| word.starts_with(prefix))).collect();
    let starts = |name: &str| CONTROLLER.iter().any(|prefix| name.starts_with(prefix));
    let (of_controller, of_apps): (Vec<_>, Vec<_>) =
        named.into_iter().partition(|name| starts(name));
    ensure!(of_controller.len() >= 5 && of_apps.len() >= 10, "{of_controller:?} {of_apps:?}");

    let exported = exported()?;
    for metric in of_apps {
        ensure!(exported.contains(metric), "the dashboard shows {metric}, which no app exports");
    }
    Ok(())
}

/// The series of an app, whether they have a value yet or not.
fn exported() -> Result<BTreeSet<String>> {
    let address = free_address()?;
    let spinlet = Spinlet::new()?.with_env("SPINLET_METRICS_LISTEN_ADDR", address.to_string());
    let _served = spinlet.up(&guest("hello-rust")?.display().to_string(), &[])?;
    let text = http::get(address, "/metrics")?.text();
    let mut series = BTreeSet::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').with_context(|| line.to_owned())?;
        if kind == "histogram" {
            series.extend(["_bucket", "_sum", "_count"].map(|ending| format!("{name}{ending}")));
        } else {
            series.insert(name.to_owned());
        }
    }
    Ok(series)
}

/// The texts under a key, at any depth.
fn collect(value: &Value, key: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Value::String(text) if name == key => found.push(text.clone()),
                    other => collect(other, key, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, key, found)),
        _ => {}
    }
}
