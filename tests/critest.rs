//! The conformance tests of CRI, `critest`, against our handler and, for
//! comparison, runc's. Which cases do not run, and why, is a table in
//! docs/cri.md; a case that does not pass and is not there fails this test.
#![expect(clippy::print_stdout, reason = "what ran is part of the tests' report")]

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use fs_err as fs;
use integration_tests::containerd::Version;
use integration_tests::cri::{Cri, RUNC, SPIN};
use integration_tests::linux_image::push_for_critest;
use integration_tests::process::finish;
use integration_tests::workspace::{repository, tool};
use serde_json::Value;

/// The whole suite on a busy machine.
const SUITE: Duration = Duration::from_mins(15);

/// A row of the table in docs/cri.md.
struct LeftOut {
    /// Part of the full name of the cases.
    name: String,
    /// Whether critest is told to leave it out; otherwise it does so itself.
    by_us: bool,
}

#[test]
fn our_handler_passes_critest_on_containerd_1_7() -> Result<()> {
    passes(Version::V1_7, SPIN)
}

#[test]
fn our_handler_passes_critest_on_containerd_2() -> Result<()> {
    passes(Version::V2, SPIN)
}

#[test]
#[ignore = "says nothing of our handler: to compare, run it with --ignored"]
fn the_handler_of_runc_passes_critest_with_the_same_list() -> Result<()> {
    passes(Version::V1_7, RUNC)?;
    passes(Version::V2, RUNC)
}

fn passes(version: Version, handler: &str) -> Result<()> {
    let left_out = left_out()?;
    let report = run(version, handler, &left_out)?;
    let cases = report.pointer("/0/SpecReports").and_then(Value::as_array).context("no cases")?;
    let (mut passed, mut not_run, mut wrong) = (0, 0, Vec::new());
    for case in cases.iter().filter(|case| text(case, "LeafNodeType") == "It") {
        let (name, state) = (full_name(case), text(case, "State"));
        match state {
            "passed" => passed += 1,
            _ if left_out.iter().any(|row| name.contains(&row.name) && state == "skipped") => {
                not_run += 1;
            }
            _ => wrong.push(format!("{state}: {name}\n{}", why(case))),
        }
    }
    println!("critest, {handler} on containerd {version:?}: {passed} passed, {not_run} left out");
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    ensure!(passed > 80, "only {passed} cases ran");
    Ok(())
}

fn run(version: Version, handler: &str, left_out: &[LeftOut]) -> Result<Value> {
    let cri = Cri::start(version)?;
    push_for_critest(cri.registry())?;
    let folder = cri.containerd().folder();
    let report = folder.join("report.json");
    let socket = format!("unix://{}", folder.join("containerd.sock").display());
    let mut command = Command::new(tool("cri-tools")?.join("critest"));
    command.args(["--runtime-endpoint", &socket, "--runtime-handler", handler]);
    command.arg(format!("--ginkgo.json-report={}", report.display()));
    for row in left_out.iter().filter(|row| row.by_us) {
        command.arg(format!("--ginkgo.skip={}", row.name));
    }
    let before = cri.traces()?;
    let finished = finish(&mut command, SUITE)?;
    let text = fs::read_to_string(&report).with_context(|| finished.text())?;
    cri.nothing_new_since(&before)?;
    serde_json::from_str(&text).context("not a report")
}

/// The rows of the table: name, who leaves it out, why.
fn left_out() -> Result<Vec<LeftOut>> {
    let document = fs::read_to_string(repository().join("docs/cri.md"))?;
    let rows = document.lines().filter(|line| line.starts_with("| `"));
    let row = |line: &str| {
        let mut cells = line.trim_matches('|').split('|').map(str::trim);
        let name = cells.next()?.trim_matches('`').to_owned();
        let by_us = cells.next()? == "we";
        (!cells.next()?.is_empty()).then_some(LeftOut { name, by_us })
    };
    let rows: Vec<LeftOut> =
        rows.map(row).collect::<Option<_>>().context("a row of docs/cri.md lacks a cell")?;
    ensure!(!rows.is_empty(), "docs/cri.md has no table");
    Ok(rows)
}

fn full_name(case: &Value) -> String {
    let above = case.get("ContainerHierarchyTexts").and_then(Value::as_array);
    let mut parts: Vec<&str> = above.into_iter().flatten().filter_map(Value::as_str).collect();
    parts.push(text(case, "LeafNodeText"));
    parts.join(" ")
}

fn why(case: &Value) -> &str {
    case.pointer("/Failure/Message").and_then(Value::as_str).unwrap_or_default()
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}
