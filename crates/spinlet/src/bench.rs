//! `spinlet bench`: hands over to the benchmark, a program of its own.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::Context;
use clap::Args;

use crate::environment::Environment;

const EXAMPLES: &str = "\
Examples:
  spinlet bench rust=examples/hello-rust          beside runc, a shim that does nothing, `spinlet up`
  spinlet bench --help                            everything it can do";

/// Arguments of `spinlet bench`; the benchmark reads them itself, also `--help`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, disable_help_flag = true, disable_version_flag = true)]
pub(crate) struct BenchArguments {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
    arguments: Vec<OsString>,
}

/// Replaces this process by the benchmark.
pub(crate) fn run(arguments: &BenchArguments, environment: &Environment) -> anyhow::Result<()> {
    let program = |name| payload::locate(&environment.state_dir, name);
    let benchmark = program("spinlet-bench")
        .context("there is no benchmark to run; scripts/build makes a spinlet that carries it")?;
    let error = Command::new(&benchmark)
        .arg("--spinlet")
        .arg(std::env::current_exe()?)
        .arg("--noop-shim")
        .arg(program("containerd-shim-noop-v1")?)
        .arg("--native-server")
        .arg(program("native-server")?)
        .args(&arguments.arguments)
        .exec();
    Err(error).with_context(|| format!("cannot run {}", benchmark.display()))
}
