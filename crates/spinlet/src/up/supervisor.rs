//! The runtime process and our side of the control socket.

use std::fs::File;
use std::io::IsTerminal;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ExitCode, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use command_fds::{CommandFdExt, FdMapping};
use control::{CONTROL_FD, Channel, ControlError, FromRuntime, RunSpec, ToRuntime};
use process_setup::ALLOCATOR;
use rustix::process::{Pid, Signal};
use tokio::process::{Child, Command};
use tokio::time::Instant;

use super::banner::banner;
use super::jobs::{self, Job, Jobs};
use super::stop::StopSignals;
use crate::compiler::Compiler;
use crate::console::{self, Console};

/// How long a runtime that has nothing left to finish may take to end.
const PATIENCE: Duration = Duration::from_secs(2);

const NOT_SPIN: &str = "the image is an ordinary one, not a Spin app; make one of the app with \
                        `spinlet push`, and name that";

/// What an app is loaded for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Serve,
    Check,
}

/// A runtime process under our care.
pub(super) struct Supervisor<'a> {
    child: Child,
    channel: Channel,
    /// The control socket has nothing more to say.
    deaf: bool,
    jobs: Jobs<'a>,
    /// What waits until the app listens.
    later: Vec<Job>,
    console: &'a Console,
    /// The app serves, so there may be requests to finish.
    listening: bool,
    /// Whether the app is to be started once it could be.
    purpose: Purpose,
    /// Everything is there to start the app.
    ready: bool,
    /// Why the runtime fails, as it says.
    failure: Option<String>,
    /// How often we were asked to stop.
    stops: u32,
    /// When the runtime is killed.
    deadline: Option<Instant>,
}

impl<'a> Supervisor<'a> {
    /// Starts the runtime in a process group of its own: the terminal's Ctrl-C
    /// reaches us only, and we pass on what is meant for the runtime.
    pub(super) fn start(
        runtime: &Path,
        compiler: Compiler,
        console: &'a Console,
    ) -> anyhow::Result<Self> {
        let (ours, theirs) = control::pair()?;
        let child = Command::new(runtime)
            .envs([ALLOCATOR])
            .stdin(input())
            .process_group(0)
            .kill_on_drop(true)
            .fd_mappings(vec![FdMapping { parent_fd: theirs, child_fd: CONTROL_FD }])?
            .spawn()
            .with_context(|| format!("cannot run {}", runtime.display()))?;
        Ok(Self {
            child,
            channel: Channel::new(ours)?,
            deaf: false,
            jobs: Jobs::new(compiler, console),
            later: Vec::new(),
            console,
            listening: false,
            purpose: Purpose::Serve,
            ready: false,
            failure: None,
            stops: 0,
            deadline: None,
        })
    }

    /// Runs the app to its end; the code is the runtime's.
    pub(super) async fn supervise(mut self, spec: RunSpec) -> anyhow::Result<ExitCode> {
        let status = self.run(spec).await?;
        Ok(self.exit(status))
    }

    /// Does everything that comes before an app is served, and no more: none if it
    /// could be served, else why not.
    pub(super) async fn check(mut self, spec: RunSpec) -> anyhow::Result<Option<String>> {
        self.purpose = Purpose::Check;
        let status = self.run(spec).await?;
        if self.stops > 0 {
            bail!("stopped before everything was looked at");
        }
        Ok(match self.failure {
            Some(failure) => Some(failure),
            None if self.ready => None,
            None => Some(format!("the runtime ended unexpectedly ({status})")),
        })
    }

    async fn run(&mut self, spec: RunSpec) -> anyhow::Result<ExitStatus> {
        let mut stop = StopSignals::new()?;
        self.send(ToRuntime::Run(Box::new(spec))).await?;
        let status = loop {
            tokio::select! {
                status = self.child.wait() => break status?,
                () = stop.next() => self.stop(),
                () = elapsed(self.deadline) => {
                    self.deadline = None;
                    self.signal(Signal::KILL);
                }
                (message, code) = self.jobs.next() => {
                    self.send_with(message, code.as_ref()).await?;
                }
                message = self.channel.receive(), if !self.deaf => match message {
                    Ok((message, descriptor)) => self.handle(message, descriptor).await?,
                    // The end of the process follows, and tells more.
                    Err(ControlError::Closed) => self.deaf = true,
                    Err(error) => return Err(error.into()),
                },
            }
        };
        self.jobs.cancel();
        self.last_words().await;
        Ok(status)
    }

    async fn handle(
        &mut self,
        message: FromRuntime,
        descriptor: Option<OwnedFd>,
    ) -> anyhow::Result<()> {
        match message {
            FromRuntime::Compile { digest, component, size } => {
                let Some(source) = descriptor.map(File::from) else {
                    bail!("the runtime sent nothing to compile for component {component}");
                };
                let purpose = jobs::Purpose::Start;
                self.jobs.push(Job { digest, component, size, source, purpose });
            }
            FromRuntime::Optimize { digest, component, size, entry } => {
                let Some(source) = descriptor.map(File::from) else {
                    bail!("the runtime sent nothing to optimize for component {component}");
                };
                let purpose = jobs::Purpose::Replacement { entry };
                self.later.push(Job { digest, component, size, source, purpose });
            }
            FromRuntime::Replaced { error: None, .. } => {}
            FromRuntime::Replaced { error: Some(error), .. } => {
                let text = format!("The app goes on with code of the first tier: {error}");
                self.console.note(&text);
            }
            FromRuntime::Created { .. } if self.purpose == Purpose::Check => {
                self.ready = true;
                self.deadline = Some(Instant::now() + PATIENCE);
                self.signal(Signal::TERM);
            }
            FromRuntime::Created { .. } => self.send(ToRuntime::Start).await?,
            FromRuntime::Listening { addresses, routes, .. } => {
                self.listening = true;
                if !self.console.is_quiet() {
                    console::print(&banner(&addresses, &routes, self.console))?;
                }
                self.later.drain(..).for_each(|job| self.jobs.push(job));
            }
            FromRuntime::NotSpin => self.fail(NOT_SPIN),
            FromRuntime::Failed { message } => self.fail(&message),
        }
        Ok(())
    }

    /// A runtime that has just ended may have said why before.
    async fn last_words(&mut self) {
        while let Ok((message, _)) = self.channel.receive().await {
            match message {
                FromRuntime::Failed { message } => self.fail(&message),
                FromRuntime::NotSpin => self.fail(NOT_SPIN),
                _ => {}
            }
        }
    }

    fn fail(&mut self, message: &str) {
        let lower = message.to_lowercase();
        let in_use = lower.contains("address already in use") || lower.contains("address in use");
        let hint = if in_use { "; choose another port with --listen" } else { "" };
        if self.purpose == Purpose::Serve {
            console::error(&format!("{message}{hint}"));
        }
        self.failure = Some(message.to_owned());
    }

    async fn send(&self, message: ToRuntime) -> anyhow::Result<()> {
        self.send_with(message, None).await
    }

    async fn send_with(&self, message: ToRuntime, code: Option<&File>) -> anyhow::Result<()> {
        match self.channel.send(&message, code.map(AsFd::as_fd)).await {
            // The end of the process follows, and tells more.
            Ok(()) | Err(ControlError::Closed) => Ok(()),
            Err(error) => Err(error).context("cannot instruct the runtime"),
        }
    }

    /// The first request drains, the second cuts. What then still lives, or has
    /// nothing to drain, is killed a little later.
    fn stop(&mut self) {
        self.stops += 1;
        self.jobs.cancel();
        if self.stops == 1 && self.listening {
            self.console.note("Stopping; Ctrl-C again cuts off requests in flight");
        } else {
            self.deadline = Some(Instant::now() + PATIENCE);
        }
        self.signal(Signal::TERM);
    }

    fn signal(&self, signal: Signal) {
        let pid = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // The process may have ended a moment ago.
            let _ = rustix::process::kill_process(pid, signal);
        }
    }

    fn exit(&self, status: ExitStatus) -> ExitCode {
        let expected = self.failure.is_some() || self.stops > 0;
        let (code, how) = match (status.code(), status.signal()) {
            (Some(code), _) => (u8::try_from(code).unwrap_or(1), format!("ended with code {code}")),
            (None, Some(signal)) => (
                128_u8.saturating_add(u8::try_from(signal).unwrap_or(0)),
                format!("was ended by signal {signal}"),
            ),
            (None, None) => (1, "ended".to_owned()),
        };
        if code != 0 && !expected {
            console::error(&format!("the runtime {how}"));
        }
        ExitCode::from(code)
    }
}

/// What a program of the app may read. Not a terminal: the runtime is in the
/// background there and would be stopped.
fn input() -> Stdio {
    if std::io::stdin().is_terminal() { Stdio::null() } else { Stdio::inherit() }
}

async fn elapsed(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use control::AppSource;

    use super::*;
    use crate::console::tests::silent;

    async fn run(runtime: &str) -> anyhow::Result<ExitCode> {
        let console = silent();
        let spec = RunSpec {
            id: "test".to_owned(),
            app: AppSource::Manifest("/nonexistent/spin.toml".into()),
            cache_dir: "/nonexistent".into(),
            first_tier: false,
            environment: BTreeMap::new(),
            args: Vec::new(),
            default_listen: "127.0.0.1:0".to_owned(),
            sandbox: None,
        };
        let compiler = Compiler::played_by("/bin/false");
        Supervisor::start(Path::new(runtime), compiler, &console)?.supervise(spec).await
    }

    #[tokio::test]
    async fn the_exit_code_is_the_runtimes() {
        for (runtime, code) in [("/bin/true", 0), ("/bin/false", 1)] {
            let found = run(runtime).await.unwrap();
            assert_eq!(format!("{found:?}"), format!("{:?}", ExitCode::from(code)));
        }
    }

    #[tokio::test]
    async fn a_runtime_that_cannot_be_run_is_named() {
        let error = run("/no/such/runtime").await.unwrap_err().to_string();
        assert_eq!(error, "cannot run /no/such/runtime");
    }
}
