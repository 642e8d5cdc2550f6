//! Whether this machine can run Spin apps as a node.

use std::process::ExitCode;

use node_install::{Check, Facts, State};
use serde::Serialize;

use crate::console::{Console, print};
use crate::node::{Node, NodeArguments, indented};

/// What was found out.
#[derive(Debug, Serialize)]
struct Diagnosis {
    /// Whether Spin apps can run here.
    ready: bool,
    facts: Facts,
    checks: Vec<Check>,
    /// Pods that run under the handlers, as `namespace/name`.
    pods: Vec<String>,
}

/// Looks and prints; the code tells whether Spin apps can run here.
pub(super) async fn run(
    arguments: &NodeArguments,
    json: bool,
    console: &Console,
) -> anyhow::Result<ExitCode> {
    let node = Node::new(arguments)?;
    let facts = node.facts().await?;
    let checks = node_install::diagnose(&node.root, &facts);
    let ready = checks.iter().all(|check| check.state != State::Wrong);
    let diagnosis = Diagnosis { ready, facts, checks, pods: node.our_pods().await? };
    let text =
        if json { serde_json::to_string_pretty(&diagnosis)? } else { render(&diagnosis, console) };
    print(&text)?;
    Ok(if ready { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The diagnosis as people read it: one line for each check, the verdict last.
fn render(diagnosis: &Diagnosis, console: &Console) -> String {
    let mut text = format!("{}\n{}", console.bold("Node"), indented(&diagnosis.facts.to_string()));
    text.extend([console.bold("Checks").as_str(), "\n"]);
    for check in &diagnosis.checks {
        let state = match check.state {
            State::Well => "well",
            State::Notable => "note",
            State::Wrong => "WRONG",
        };
        text.extend([format!("  {state:5}  {:13}  {}\n", check.subject, check.finding)]);
    }
    if !diagnosis.pods.is_empty() {
        text.extend([format!("  {} pods run under the handlers\n", diagnosis.pods.len())]);
    }
    text += if diagnosis.ready {
        "\nSpin apps can run on this node.\n"
    } else {
        "\nSpin apps cannot run on this node.\n"
    };
    text
}
