//! `spinlet install`: this machine's containerd runs Spin apps from then on.

use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use clap::Args;
use node_install::{Facts, HANDLERS, Installed, Plan, SHIM, Write};
use serde::Serialize;

use crate::console::{Console, print};
use crate::node::{Node, NodeArguments, indented, require_root};

const EXAMPLES: &str = "\
Examples:
  spinlet install --dry-run                      facts and plan, nothing else
  sudo spinlet install
  sudo spinlet install --restart 'rc-service k3s restart'
  spinlet install --dry-run --json | jq .plan

The shim that lies beside spinlet is installed. containerd is restarted only if the
handlers are new to it; pods keep running. If it does not come back with them, all
is put back as it was. `spinlet uninstall` takes everything back.";

/// Arguments of `spinlet install`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct InstallArguments {
    /// The shim to install; by default the one beside spinlet
    #[arg(long, value_name = "PATH")]
    shim: Option<PathBuf>,

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
#[serde(rename_all = "camelCase")]
struct Report<'a> {
    facts: &'a Facts,
    plan: &'a Plan,
    /// None in a dry run.
    installed: Option<Installed>,
}

/// Looks, plans, and unless told otherwise does it.
pub(crate) async fn run(arguments: InstallArguments, console: &Console) -> anyhow::Result<()> {
    if !arguments.dry_run {
        require_root("install")?;
    }
    let shim = shim(arguments.shim)?;
    let node = Node::new(&arguments.node)?;
    let facts = node.facts().await?;
    let plan = node_install::plan(&facts)?;
    if !arguments.json {
        print(&format!("{}\n{}", console.bold("Facts"), indented(&facts.to_string())))?;
        print(&format!("{} for {plan}\n{}", console.bold("Plan"), changes(&plan, &facts)))?;
    }
    let installed =
        if arguments.dry_run { None } else { Some(apply(&node, plan.clone(), shim).await?) };
    if arguments.json {
        let report = Report { facts: &facts, plan: &plan, installed };
        print(&serde_json::to_string_pretty(&report)?)?;
    } else if installed.is_some() {
        let handlers = HANDLERS.join(", ");
        print(&format!("Done: containerd knows the handlers {handlers}."))?;
    }
    Ok(())
}

/// The shim's own file, which has to be there before anything is changed.
fn shim(given: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    let path = match given {
        Some(path) => path,
        None => std::env::current_exe()
            .context("cannot tell this program's own file")?
            .with_file_name(SHIM),
    };
    ensure!(path.is_file(), "there is no shim at {}; name it with --shim", path.display());
    Ok(path)
}

async fn apply(node: &Node, plan: Plan, shim: PathBuf) -> anyhow::Result<Installed> {
    let (root, mut containerd) = (node.root.clone(), node.containerd());
    let done = tokio::task::spawn_blocking(move || {
        node_install::install(&root, &plan, &shim, &mut containerd)
    });
    Ok(done.await??)
}

/// The lines that each file gets.
fn changes(plan: &Plan, facts: &Facts) -> String {
    let files = facts.drop_ins.iter().chain([&facts.source]);
    let files: Vec<_> = files.collect();
    let change = |write: &Write| {
        let before = files.iter().find(|file| file.path == write.path);
        let before = before.and_then(|file| file.text.as_deref()).unwrap_or_default();
        let lines = new_lines(before, &write.text).join("\n    + ");
        format!("\n  {}\n    + {lines}\n", write.path.display())
    };
    plan.writes.iter().map(change).collect()
}

/// The lines between what two texts begin and end with alike.
fn new_lines<'a>(before: &str, after: &'a str) -> Vec<&'a str> {
    let (before, after): (Vec<_>, Vec<_>) = (before.lines().collect(), after.lines().collect());
    let alike = before.iter().zip(&after).take_while(|(before, after)| before == after).count();
    let rest = before.len().min(after.len()) - alike;
    let backwards = before.iter().rev().zip(after.iter().rev()).take(rest);
    let end = after.len() - backwards.take_while(|(before, after)| before == after).count();
    after.get(alike..end).unwrap_or_default().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_new_is_shown() {
        assert_eq!(new_lines("a\nb\n", "a\nx\ny\nb\n"), ["x", "y"]);
        assert_eq!(new_lines("", "x\n"), ["x"]);
        assert_eq!(new_lines("a\na\n", "a\na\na\n"), ["a"]);
        assert!(new_lines("a\n", "a\n").is_empty());
    }

    #[test]
    fn a_shim_that_is_not_there_is_named() {
        let error = shim(Some("/nowhere/shim".into())).unwrap_err().to_string();
        assert!(error.contains("/nowhere/shim") && error.contains("--shim"), "{error}");
    }
}
