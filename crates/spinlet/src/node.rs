//! The machine that this process runs on, as a node of a cluster: what `install`,
//! `uninstall` and `doctor --node` have in common.

use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use clap::Args;
use node_install::{Cri, Distribution, Facts, Root, Service, ServiceManager};

/// Arguments of every command that deals with the node.
#[derive(Debug, Args)]
pub(crate) struct NodeArguments {
    /// containerd's socket, where it is not at the usual place of the distribution
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,

    /// Command that restarts containerd, where no service of systemd does
    #[arg(long, value_name = "COMMAND")]
    restart: Option<String>,
}

/// This machine.
pub(crate) struct Node {
    pub(crate) root: Root,
    socket: PathBuf,
    service: Option<Service>,
}

impl Node {
    pub(crate) fn new(arguments: &NodeArguments) -> anyhow::Result<Self> {
        let root = Root::new("/");
        let usual = || Distribution::of(&root).socket().into();
        let socket = arguments.socket.clone().unwrap_or_else(usual);
        let service = arguments.restart.as_deref().map(command).transpose()?;
        Ok(Self { root, socket, service })
    }

    /// Everything that a plan depends on.
    pub(crate) async fn facts(&self) -> anyhow::Result<Facts> {
        let facts = Facts::gather(&self.root, &self.socket).await;
        let mut facts = facts.context("this machine cannot be looked at as a node")?;
        if self.service.is_some() {
            facts.service.clone_from(&self.service);
        }
        Ok(facts)
    }

    /// The pods that run under our handlers, as `namespace/name`.
    pub(crate) async fn our_pods(&self) -> anyhow::Result<Vec<String>> {
        Ok(Cri::connect(&self.socket).await?.our_pods().await?)
    }

    /// What restarts containerd here.
    pub(crate) fn containerd(&self) -> ServiceManager {
        ServiceManager { prefix: Vec::new(), socket: self.socket.clone() }
    }
}

fn command(text: &str) -> anyhow::Result<Service> {
    let words: Vec<_> = text.split_whitespace().map(str::to_owned).collect();
    ensure!(!words.is_empty(), "`--restart` needs a command, such as `rc-service k3s restart`");
    Ok(Service::Command(words))
}

/// Fails where what is about to be changed belongs to root.
pub(crate) fn require_root(command: &str) -> anyhow::Result<()> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "`spinlet {command}` changes the node's containerd; run it as root, or with --dry-run to \
         see what it would do"
    );
    Ok(())
}

/// Lines with something in front of each.
pub(crate) fn indented(text: &str) -> String {
    format!("  {}\n", text.trim_end().replace('\n', "\n  "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_split_into_words_and_not_empty() {
        let Service::Command(words) = command(" rc-service  k3s restart ").unwrap() else {
            panic!("not a command");
        };
        assert_eq!(words, ["rc-service", "k3s", "restart"]);
        assert!(command("  ").is_err());
    }
}
