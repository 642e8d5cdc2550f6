//! `spinlet uninstall`: this machine is as it was before `spinlet install`.

use anyhow::ensure;
use clap::Args;
use node_install::{Facts, Removal};
use serde::Serialize;

use crate::console::{Console, print};
use crate::node::{Node, NodeArguments, indented, require_root};

const EXAMPLES: &str = "\
Examples:
  spinlet uninstall --dry-run
  sudo spinlet uninstall

Files that nobody changed since the installation are byte for byte what they were;
from others only our part is taken out. Pods that run under the handlers have to be
deleted first. The compiled code of the node's cache goes, too.";

/// Arguments of `spinlet uninstall`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct UninstallArguments {
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,

    /// Print JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    node: NodeArguments,
}

/// What is printed as JSON.
#[derive(Debug, Serialize)]
struct Report<'a> {
    facts: &'a Facts,
    plan: &'a Removal,
    removed: bool,
}

/// Looks, plans, and unless told otherwise does it.
pub(crate) async fn run(arguments: UninstallArguments, console: &Console) -> anyhow::Result<()> {
    if !arguments.dry_run {
        require_root("uninstall")?;
    }
    let node = Node::new(&arguments.node)?;
    let facts = node.facts().await?;
    let plan = Removal::plan(&node.root, &facts)?;
    if !arguments.json {
        print(&format!("{}\n{}", console.bold("Facts"), indented(&facts.to_string())))?;
        print(&format!("{}\n{plan}\n", console.bold("Plan")))?;
    }
    if !arguments.dry_run {
        let pods = node.our_pods().await?;
        ensure!(
            pods.is_empty(),
            "these pods still run under the handlers; delete them first: {}",
            pods.join(", ")
        );
        apply(&node, plan.clone()).await?;
    }
    if arguments.json {
        let report = Report { facts: &facts, plan: &plan, removed: !arguments.dry_run };
        print(&serde_json::to_string_pretty(&report)?)?;
    } else if !arguments.dry_run {
        print("Done: the node is as it was before the installation.")?;
    }
    Ok(())
}

async fn apply(node: &Node, plan: Removal) -> anyhow::Result<()> {
    let (root, mut containerd) = (node.root.clone(), node.containerd());
    let done =
        tokio::task::spawn_blocking(move || node_install::uninstall(&root, &plan, &mut containerd));
    Ok(done.await??)
}
