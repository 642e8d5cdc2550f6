//! What can be typed.

use clap::{Parser, Subcommand};

/// Run Spin apps, and move them to and from OCI registries.
#[derive(Debug, Parser)]
#[command(
    name = "spinlet",
    version,
    propagate_version = true,
    disable_help_subcommand = true,
    after_help = EXAMPLES
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,

    /// Print nothing but results and errors
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
}

const EXAMPLES: &str = "\
Examples:
  spinlet up .                                   serve the app in this folder
  spinlet push . ghcr.io/me/hello:v1             push it to a registry
  spinlet up ghcr.io/me/hello:v1                 serve it from there
  spinlet inspect ghcr.io/me/hello:v1            what it is made of, what it may use
  sudo spinlet install                           make this node run Spin apps

`spinlet COMMAND --help` tells more about each command.";

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve an app on this machine
    Up(crate::up::UpArguments),
    /// Push an app to a registry
    Push(crate::push::PushArguments),
    /// Pull an app from a registry
    Pull(crate::pull::PullArguments),
    /// Show what an app is made of and what it may use
    Inspect(crate::inspect::InspectArguments),
    /// Say what an app needs, or whether this node can run apps
    Doctor(crate::doctor::DoctorArguments),
    /// Compile an app's components ahead of their first start
    Compile(crate::compile::CompileArguments),
    /// Make this machine's containerd run Spin apps
    Install(crate::install::InstallArguments),
    /// Take back what `install` did
    Uninstall(crate::uninstall::UninstallArguments),
    /// Start apps under several runtimes and compare time and memory
    Bench(crate::bench::BenchArguments),
    /// Print the version
    Version,
}

/// One `KEY=VALUE` argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyValue {
    pub(crate) key: String,
    pub(crate) value: String,
}

impl std::str::FromStr for KeyValue {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('=') {
            Some((key, value)) if !key.is_empty() => {
                Ok(Self { key: key.to_owned(), value: value.to_owned() })
            }
            _ => Err("expected KEY=VALUE".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_value_may_hold_equals_signs_and_a_key_may_not_be_empty() {
        let pair: KeyValue = "a=b=c".parse().unwrap();
        assert_eq!((pair.key.as_str(), pair.value.as_str()), ("a", "b=c"));
        assert!("=b".parse::<KeyValue>().is_err());
        assert!("ab".parse::<KeyValue>().is_err());
    }

    #[test]
    fn every_command_shows_an_example() {
        for command in Arguments::command().get_subcommands() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(
                command.get_name() == "version" || help.contains("Examples:"),
                "{}",
                command.get_name()
            );
        }
    }
}
