//! Runs a component of an app as a program: the `command` trigger.
//!
//! - The component exports `wasi:cli/run` of WASI 0.2 or 0.3.
//! - Its arguments are the component's id and the arguments of the container or
//!   of the command line; it reads the process's standard input, and what it writes
//!   leaves the process byte for byte, however long its reader takes.
//! - It runs once. Its exit code becomes the app's: 0 when `run` returns well, 1
//!   when it returns an error or the guest fails, what it gave to `exit`
//!   otherwise (255 for what is not 0 to 255). In WASI 0.2, and so for every core
//!   module, that is 0 or 1: other codes become 1 before they reach the host.
//! - When it is asked to stop it may go on until it is done or its time is over.
//! - Of several `command` triggers the first is run, as Spin does it.

use app::{LockedApp, Problems};
use async_trait::async_trait;
use host::{Program, Writes};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;
use trigger::{
    AppParts, Ended, Export, Failure, Handler, MessageSettings, Ready, Serving, ShutdownSignal,
    Surroundings, Trigger, TriggerError, TriggerType, chain, drained, triggers,
};

/// The name of this trigger type.
const TRIGGER_TYPE: &str = "command";
/// What a program says of its success.
type RunResult = (Result<(), ()>,);

/// The triggers that run a component once.
#[derive(Debug)]
pub struct CommandTriggers {
    arguments: Vec<String>,
}

/// A trigger's table; it has only its component.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {}

impl CommandTriggers {
    /// As the arguments say.
    ///
    /// # Errors
    /// None.
    pub fn configure(surroundings: &Surroundings<'_>) -> Result<Box<dyn TriggerType>, Problems> {
        Ok(Box::new(Self { arguments: surroundings.arguments.to_vec() }))
    }
}

#[async_trait]
impl TriggerType for CommandTriggers {
    fn name(&self) -> &'static str {
        TRIGGER_TYPE
    }

    fn check(&self, app: &LockedApp, problems: &mut Problems) {
        triggers::<Config>(app, TRIGGER_TYPE, problems);
    }

    async fn prepare(
        self: Box<Self>,
        parts: &AppParts<'_>,
        problems: &mut Problems,
    ) -> Option<Box<dyn Trigger>> {
        let mut programs = triggers::<Config>(parts.app, TRIGGER_TYPE, problems).into_iter();
        let program = programs.next()?;
        for other in programs {
            tracing::warn!(
                trigger = other.id,
                "only the first command trigger of an app is run, this one is not"
            );
        }
        match command(parts, program.component, self.arguments) {
            Ok(command) => Some(Box::new(command)),
            Err(problem) => {
                problems.push(problem);
                None
            }
        }
    }
}

fn command(
    parts: &AppParts<'_>,
    component: String,
    arguments: Vec<String>,
) -> Result<Command, String> {
    let linked = parts.link(&component)?;
    let exports = linked.exports();
    let interface = exports.iter().find(|name| is_run(name)).ok_or_else(|| {
        format!("component {component:?} is no program: it exports no wasi:cli/run of 0.2 or 0.3")
    })?;
    let export = Export { interface: Some(interface), function: "run" };
    let run = Handler::of(TRIGGER_TYPE, &linked, export, MessageSettings::default())
        .map_err(|error| format!("component {component:?} {}", chain(&error)))?;
    let mut all = vec![component];
    all.extend(arguments);
    Ok(Command { run, arguments: all })
}

/// Whether an export is a program's entry.
fn is_run(export: &str) -> bool {
    export.strip_prefix("wasi:cli/run@").is_some_and(|version| {
        version.starts_with("0.2.") || (version.starts_with("0.3.") && !version.contains('-'))
    })
}

/// A program that is ready to run.
struct Command {
    run: Handler<(), RunResult>,
    arguments: Vec<String>,
}

#[async_trait]
impl Trigger for Command {
    async fn run(
        self: Box<Self>,
        ready: Ready,
        stop: ShutdownSignal,
    ) -> Result<Ended, TriggerError> {
        ready.tell(Serving::default());
        let mut code = 0;
        let running = async {
            code = self.exit_code().await;
            Ok(())
        };
        let ended = drained(running, &CancellationToken::new(), stop).await?;
        Ok(if ended == Ended::Drained { Ended::Exited(code) } else { ended })
    }
}

impl Command {
    /// Runs the program to its end.
    async fn exit_code(&self) -> u8 {
        let program = Program {
            arguments: self.arguments.clone(),
            stdin: Some(Box::new(std::io::stdin())),
            writes: Writes::Bytes,
            ..Program::default()
        };
        let component = self.run.component();
        let store = component.new_program_store(0, program);
        let ended = self.run.call_in(store, None, ()).await;
        component.app().output().written().await;
        match ended {
            Ok((Ok(()),)) => 0,
            Ok((Err(()),)) => 1,
            Err(Failure::Exited(code)) => u8::try_from(code).unwrap_or(u8::MAX),
            Err(failure) => {
                self.run.failed(failure.reason(), &failure);
                1
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_release_of_the_entry_is_known() {
        for name in ["wasi:cli/run@0.2.0", "wasi:cli/run@0.2.6", "wasi:cli/run@0.3.0"] {
            assert!(is_run(name), "{name}");
        }
        for name in ["wasi:cli/run@0.3.0-rc-2026-03-15", "wasi:cli/stdin@0.2.0", "run"] {
            assert!(!is_run(name), "{name}");
        }
    }
}
