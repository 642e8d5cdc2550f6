//! `spinlet up`: serve an app on this machine.

mod banner;
mod jobs;
mod listen;
mod stop;
mod supervisor;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use control::{AppSource, RunSpec};

use crate::arguments::KeyValue;
use crate::compiler::Compiler;
use crate::console::Console;
use crate::environment::Environment;
use crate::registry_arguments::RegistryArguments;
use crate::subject::{self, Subject};
use crate::{images, local_app};

use listen::Listen;
use supervisor::Supervisor;

const LISTEN_VARIABLE: &str = "SPIN_HTTP_LISTEN_ADDR";
const DEFAULT_LISTEN: &str = "127.0.0.1:3000";
pub(crate) const RUNTIME_CONFIG_VARIABLE: &str = "RUNTIME_CONFIG_FILE";
const LOG_DIR_VARIABLE: &str = "SPIN_LOG_DIR";
const RUNTIME: &str = "spinlet-runtime";

const EXAMPLES: &str = "\
Examples:
  spinlet up                                     the app in this folder
  spinlet up examples/hello-rust                 the app in that folder
  spinlet up hello.wasm                          a single component, on every path
  spinlet up ghcr.io/me/hello:v1                 an app from a registry
  spinlet up . --listen 0.0.0.0:8080             for other machines, on another port
  spinlet up . --variable greeting=Hi            with a value for a variable of the app
  spinlet up . --runtime-config-file config.toml with stores, databases and providers of its own
  spinlet up . --log-dir logs                    with copies of its output in logs/ID_stdout.txt, …
  spinlet up . -- --verbose                      with an argument for its command trigger

Ctrl-C finishes the requests in flight, a second Ctrl-C cuts them off.";

/// Arguments of `spinlet up`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct UpArguments {
    /// Folder with a spin.toml, a spin.toml, a .wasm file, an OCI image layout
    /// (folder or .tar), or an image reference
    #[arg(value_name = "PATH|REFERENCE", default_value = ".")]
    app: String,

    /// Address to serve on: IP:PORT, or just a port of this machine
    /// [default: 127.0.0.1:3000]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<Listen>,

    /// Set a variable of the environment that configures the app; may be repeated
    #[arg(long, short, value_name = "KEY=VALUE")]
    env: Vec<KeyValue>,

    /// Set a variable of the app; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    variable: Vec<KeyValue>,

    /// The runtime-config.toml of the app
    #[arg(long, value_name = "FILE")]
    runtime_config_file: Option<PathBuf>,

    /// Folder that the output of components is copied to
    #[arg(long, short = 'L', value_name = "FOLDER")]
    log_dir: Option<PathBuf>,

    #[command(flatten)]
    registry: RegistryArguments,

    /// Arguments of the program that a command trigger runs
    #[arg(last = true, value_name = "ARGUMENT")]
    arguments: Vec<String>,
}

/// Serves until a signal or the end of the app; the code is the runtime's.
pub(crate) async fn run(
    arguments: UpArguments,
    environment: &Environment,
    console: &Console,
) -> anyhow::Result<ExitCode> {
    let mut variables = app_environment(&arguments.env, &arguments.variable, environment)?;
    use_runtime_config(arguments.runtime_config_file.as_deref(), &mut variables)?;
    if let Some(path) = &arguments.log_dir {
        let absolute = std::path::absolute(path)
            .with_context(|| format!("cannot use {} as a path", path.display()))?;
        variables.insert(LOG_DIR_VARIABLE.to_owned(), absolute.display().to_string());
    }
    if let Some(listen) = &arguments.listen {
        variables.insert(LISTEN_VARIABLE.to_owned(), listen.to_string());
    }
    let subject = subject::decide(&arguments.app)?;
    let runtime = payload::locate(&environment.state_dir, RUNTIME)
        .with_context(|| format!("cannot find {RUNTIME}"))?;
    let compiler = Compiler::locate(environment)?;
    let app = source(subject, &arguments.registry, environment, console).await?;
    local_app::check_variables(&app, &arguments.variable)?;
    let spec = RunSpec {
        id: arguments.app.clone(),
        app,
        cache_dir: compiler.cache().to_owned(),
        first_tier: compiler.makes_first_tier(),
        environment: variables,
        args: arguments.arguments,
        default_listen: DEFAULT_LISTEN.to_owned(),
        sandbox: None,
    };
    Supervisor::start(&runtime, compiler, console)?.supervise(spec).await
}

/// Has an app use the runtime configuration at `path`, if there is one.
pub(crate) fn use_runtime_config(
    path: Option<&Path>,
    variables: &mut BTreeMap<String, String>,
) -> anyhow::Result<()> {
    let Some(path) = path else { return Ok(()) };
    let absolute = std::path::absolute(path)
        .with_context(|| format!("cannot use {} as a path", path.display()))?;
    // The runtime reads it after the app was pulled and compiled.
    fs_err::File::open(&absolute).context("cannot read the runtime configuration")?;
    variables.insert(RUNTIME_CONFIG_VARIABLE.to_owned(), absolute.display().to_string());
    Ok(())
}

/// Loads an app as [`run`] does, without serving it: none if it could be served,
/// else why not.
pub(crate) async fn check(
    app: AppSource,
    mut variables: BTreeMap<String, String>,
    environment: &Environment,
    console: &Console,
) -> anyhow::Result<Option<String>> {
    // Nobody will connect, so a port that is taken is no obstacle.
    variables.insert(LISTEN_VARIABLE.to_owned(), "127.0.0.1:0".to_owned());
    let runtime = payload::locate(&environment.state_dir, RUNTIME)
        .with_context(|| format!("cannot find {RUNTIME}"))?;
    let compiler = Compiler::locate(environment)?;
    let spec = RunSpec {
        id: "doctor".to_owned(),
        app,
        cache_dir: compiler.cache().to_owned(),
        first_tier: compiler.makes_first_tier(),
        environment: variables,
        args: Vec::new(),
        default_listen: DEFAULT_LISTEN.to_owned(),
        sandbox: None,
    };
    Supervisor::start(&runtime, compiler, console)?.check(spec).await
}

/// Where the runtime finds an app; an image is pulled first.
pub(crate) async fn source(
    subject: Subject,
    registry: &RegistryArguments,
    environment: &Environment,
    console: &Console,
) -> anyhow::Result<AppSource> {
    Ok(match subject {
        Subject::Manifest(path) => {
            local_app::check_built(&path)?;
            AppSource::Manifest(path)
        }
        Subject::Wasm(path) => AppSource::Wasm(path),
        Subject::Layout(path) => AppSource::Layout(path),
        Subject::Reference(reference) => {
            let (layout, _) = images::pull(&reference, registry, environment, console).await?;
            AppSource::Layout(layout)
        }
    })
}

/// What configures the app: our own environment, then the arguments.
pub(crate) fn app_environment(
    env: &[KeyValue],
    variable: &[KeyValue],
    environment: &Environment,
) -> anyhow::Result<BTreeMap<String, String>> {
    let mut variables = environment.all.clone();
    for KeyValue { key, value } in env {
        variables.insert(key.clone(), value.clone());
    }
    for KeyValue { key, value } in variable {
        app::template::check_variable_name(key)?;
        variables.insert(format!("SPIN_VARIABLE_{}", key.to_ascii_uppercase()), value.clone());
    }
    Ok(variables)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::arguments::{Arguments, Command};

    fn up(arguments: &[&str]) -> UpArguments {
        let arguments = ["spinlet", "up"].iter().chain(arguments);
        match Arguments::try_parse_from(arguments).unwrap().command {
            Command::Up(up) => up,
            other => panic!("{other:?}"),
        }
    }

    fn environment(pairs: &[(&str, &str)]) -> Environment {
        Environment {
            state_dir: "/s".into(),
            docker_config: None,
            proxy: registry::Proxy::default(),
            log_filter: None,
            first_tier: false,
            no_color: false,
            all: pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        }
    }

    #[test]
    fn arguments_win_over_the_environment() {
        let up = up(&[".", "--env", "A=2", "--variable", "api_key=x"]);
        let environment = environment(&[("A", "1"), ("B", "1")]);
        let variables = app_environment(&up.env, &up.variable, &environment).unwrap();
        assert_eq!(variables["A"], "2");
        assert_eq!(variables["B"], "1");
        assert_eq!(variables["SPIN_VARIABLE_API_KEY"], "x");
    }

    #[test]
    fn the_folder_one_is_in_is_the_default() {
        assert_eq!(up(&[]).app, ".");
    }

    #[test]
    fn what_follows_two_dashes_is_the_programs() {
        let arguments = up(&["app", "--", "--listen", "x"]);
        assert_eq!((arguments.app.as_str(), arguments.listen), ("app", None));
        assert_eq!(arguments.arguments, ["--listen", "x"]);
    }

    #[test]
    fn a_name_that_no_variable_can_have_is_refused() {
        let up = up(&[".", "--variable", "Not-A-Name=x"]);
        assert!(app_environment(&up.env, &up.variable, &environment(&[])).is_err());
    }
}
