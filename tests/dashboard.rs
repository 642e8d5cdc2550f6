//! The Grafana dashboard and the programs whose metrics it shows.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use fs_err as fs;
use integration_tests::workspace::repository;
use serde_json::Value;

/// Every metric of the dashboard is one that some program of ours writes. Series
/// of histograms carry the histogram's name with an ending.
#[test]
fn every_metric_of_the_dashboard_exists() -> Result<()> {
    let dashboard = fs::read_to_string(repository().join("runtimeclass/grafana-dashboard.json"))?;
    let dashboard: Value = serde_json::from_str(&dashboard)?;
    let mut expressions = Vec::new();
    collect(&dashboard, &["expr", "query"], &mut expressions);
    let words = expressions.iter().flat_map(|text| {
        text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_')
    });
    let prefixes = ["spinlet_", "controller_runtime_", "process_"];
    let named: BTreeSet<_> =
        words.filter(|word| prefixes.iter().any(|prefix| word.starts_with(prefix))).collect();
    ensure!(named.len() >= 5, "the dashboard names {named:?} only");

    let mut sources = String::new();
    for file in files(&repository().join("crates"))? {
        if file.extension().is_some_and(|extension| extension == "rs") {
            sources += &fs::read_to_string(file)?;
        }
    }
    for metric in named {
        let endings = ["_bucket", "_sum", "_count", ""];
        let mut bases = endings.iter().filter_map(|ending| metric.strip_suffix(ending));
        ensure!(
            bases.any(|base| sources.contains(&format!("\"{base}\""))),
            "the dashboard shows {metric}, which nothing writes"
        );
    }
    Ok(())
}

/// The texts under some keys, at any depth.
fn collect(value: &Value, keys: &[&str], found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                match value {
                    Value::String(text) if keys.contains(&key.as_str()) => found.push(text.clone()),
                    other => collect(other, keys, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, keys, found)),
        _ => {}
    }
}

/// Every file below a folder.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                files.push(path);
            }
        }
    }
    Ok(files)
}
