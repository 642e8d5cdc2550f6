//! The spinlet command line.
//!
//! Parse, read the environment, run one command, exit with its code. Every
//! command has its own file; what they share is named after what it is.

mod arguments;
mod bench;
mod compile;
mod compiler;
mod console;
mod doctor;
mod environment;
mod images;
mod inspect;
mod install;
mod layout_tar;
mod local_app;
mod node;
mod pull;
mod push;
mod registry_arguments;
mod subject;
mod uninstall;
mod up;
mod version;

use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;

use crate::arguments::{Arguments, Command};
use crate::console::Console;
use crate::environment::Environment;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments) {
        Ok(code) => code,
        Err(error) => {
            console::error(&process_setup::chain(error.as_ref()));
            process_setup::ExitCode::Failure.into()
        }
    }
}

fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let environment = Environment::of_process()?;
    if let Some(filter) = &environment.log_filter {
        process_setup::start_logging(filter, process_setup::LogFormat::Text)?;
    }
    let console = Console::new(arguments.quiet, &environment);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the event loop")?;
    let code = runtime.block_on(async {
        match arguments.command {
            Command::Up(up) => return up::run(up, &environment, &console).await,
            Command::Doctor(doctor) => return doctor::run(doctor, &environment, &console).await,
            Command::Push(push) => push::run(push, &environment, &console).await,
            Command::Pull(pull) => pull::run(pull, &environment, &console).await,
            Command::Inspect(inspect) => inspect::run(inspect, &environment, &console).await,
            Command::Compile(compile) => compile::run(compile, &environment, &console).await,
            Command::Install(install) => install::run(install, &console).await,
            Command::Uninstall(uninstall) => uninstall::run(uninstall, &console).await,
            Command::Bench(bench) => bench::run(&bench, &environment),
            Command::Version => version::run(),
        }
        .map(|()| ExitCode::SUCCESS)
    });
    // A credential helper or a name lookup may still hold a blocking thread.
    runtime.shutdown_background();
    code
}
