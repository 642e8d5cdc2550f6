//! One container's steps, each a run of the runtime.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio as Redirection};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use containerd_task::{Adoption, Process, Stdio};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use crate::console::ConsoleSocket;
use crate::options::Options;

/// How long one step may take.
const LIMIT: Duration = Duration::from_mins(2);
/// How long the terminal of a process that runs already may take to arrive.
const TERMINAL: Duration = Duration::from_secs(10);
const SIGKILL: u32 = 9;
/// The most of a runtime's own words that is kept.
const WORDS: usize = 4096;

/// Numbers that make the names of files unique in their bundles.
static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A container that a runtime makes of a bundle. The value is a name: whoever has
/// it can take every step, also another process later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OciContainer {
    options: Options,
    id: String,
    bundle: PathBuf,
}

/// What a new process has as its standard streams.
#[derive(Debug)]
pub enum Io {
    /// These.
    Streams(Stdio),
    /// A new terminal.
    Terminal,
}

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The program cannot be started.
    #[error("cannot run the OCI runtime {}; install it or set BinaryName", program.display())]
    Start {
        /// Its name or path.
        program: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The program says that it failed.
    #[error("OCI runtime {step} failed: {message}")]
    Failed {
        /// What it was to do.
        step: &'static str,
        /// What it said.
        message: String,
    },
    /// The program did not end.
    #[error("OCI runtime {step} did not end within {} seconds", LIMIT.as_secs())]
    TimedOut {
        /// What it was to do.
        step: &'static str,
    },
    /// A file, socket or process of ours failed.
    #[error("cannot {attempt}")]
    System {
        /// What was attempted.
        attempt: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

fn system(attempt: &'static str) -> impl FnOnce(std::io::Error) -> RuntimeError {
    move |source| RuntimeError::System { attempt, source }
}

/// Files in the bundle that belong to one run; removed on drop.
struct Scratch<'a> {
    bundle: &'a Path,
    number: u32,
}

impl Scratch<'_> {
    const KINDS: [&'static str; 3] = ["log", "pid", "json"];

    fn path(&self, kind: &str) -> PathBuf {
        self.bundle.join(self.name(kind))
    }

    fn name(&self, kind: &str) -> String {
        format!("oci-runtime-{}-{}.{kind}", std::process::id(), self.number)
    }
}

impl Drop for Scratch<'_> {
    fn drop(&mut self) {
        for kind in Self::KINDS {
            let _ = fs_err::remove_file(self.path(kind));
        }
    }
}

impl OciContainer {
    /// Names a container.
    pub fn new(options: Options, id: &str, bundle: &Path) -> Self {
        Self { options, id: id.to_owned(), bundle: bundle.to_owned() }
    }

    /// Makes the container; its first process waits to be started. Returns that
    /// process and, if one was asked for, its terminal's controlling side.
    ///
    /// # Errors
    /// After an error something may be left, which [`OciContainer::delete`] with
    /// `force` removes.
    pub async fn create(&self, io: Io) -> Result<(Process, Option<OwnedFd>), RuntimeError> {
        let mut arguments = vec!["--bundle".into(), self.bundle.clone().into()];
        if self.options.no_pivot_root {
            arguments.push("--no-pivot".into());
        }
        if self.options.no_new_keyring {
            arguments.push("--no-new-keyring".into());
        }
        self.start_process("create", arguments, None, io).await
    }

    /// Lets the first process become the container's program.
    ///
    /// # Errors
    /// Says why it could not.
    pub async fn start(&self) -> Result<(), RuntimeError> {
        self.run("start", Vec::new(), None, &self.scratch()).await
    }

    /// Starts another process in the container; `process` is an OCI `Process` in JSON.
    ///
    /// # Errors
    /// Says why it could not; nothing is left then.
    pub async fn exec(
        &self,
        process: &[u8],
        io: Io,
    ) -> Result<(Process, Option<OwnedFd>), RuntimeError> {
        self.start_process("exec", vec!["--detach".into()], Some(process), io).await
    }

    /// Sends a signal to the first process.
    ///
    /// # Errors
    /// Says why it could not.
    pub async fn kill(&self, signal: u32) -> Result<(), RuntimeError> {
        let scratch = self.scratch();
        self.run_with("kill", Vec::new(), vec![signal.to_string().into()], None, &scratch).await
    }

    /// Changes limits; `resources` are OCI `LinuxResources` in JSON.
    ///
    /// # Errors
    /// Says why it could not.
    pub async fn update(&self, resources: &[u8]) -> Result<(), RuntimeError> {
        let scratch = self.scratch();
        let file = scratch.path("json");
        fs_err::write(&file, resources).map_err(system("hand over the limits"))?;
        self.run("update", vec!["--resources".into(), file.into()], None, &scratch).await
    }

    /// Removes the container, whose first process has ended; with `force` whatever
    /// there is of it, also nothing.
    ///
    /// # Errors
    /// Says what stays.
    pub async fn delete(&self, force: bool) -> Result<(), RuntimeError> {
        let arguments = if force { vec!["--force".into()] } else { Vec::new() };
        self.run("delete", arguments, None, &self.scratch()).await
    }

    /// As [`OciContainer::delete`] with `force`, for a process without an event loop.
    /// Nothing limits its time.
    ///
    /// # Errors
    /// Says what stays.
    pub fn delete_now(&self) -> Result<(), RuntimeError> {
        let scratch = self.scratch();
        let status = self
            .command("delete", &scratch)
            .args(["--force", self.id.as_str()])
            .stdin(Redirection::null())
            .stdout(Redirection::null())
            .stderr(Redirection::null())
            .status()
            .map_err(self.unstartable())?;
        if status.success() { Ok(()) } else { Err(failed("delete", &scratch, String::new())) }
    }

    async fn start_process(
        &self,
        step: &'static str,
        mut arguments: Vec<OsString>,
        process: Option<&[u8]>,
        io: Io,
    ) -> Result<(Process, Option<OwnedFd>), RuntimeError> {
        let scratch = self.scratch();
        let pid_file = scratch.path("pid");
        arguments.extend(["--pid-file".into(), pid_file.clone().into()]);
        if let Some(process) = process {
            let file = scratch.path("json");
            fs_err::write(&file, process).map_err(system("hand over the process"))?;
            arguments.extend(["--process".into(), file.into()]);
        }
        let (streams, console) = match io {
            Io::Streams(streams) => (Some(streams), None),
            Io::Terminal => {
                let name = scratch.name("sock");
                let socket = ConsoleSocket::bind(&self.bundle, &name)
                    .map_err(system("make a socket for the terminal"))?;
                // Relative to the bundle: a socket's path is short.
                arguments.extend(["--console-socket".into(), name.into()]);
                (None, Some(socket))
            }
        };
        let adoption = Adoption::begin();
        self.run(step, arguments, streams, &scratch).await?;
        let pid = fs_err::read_to_string(&pid_file)
            .and_then(|text| text.trim().parse().map_err(std::io::Error::other))
            .map_err(system("learn which process was started"))?;
        let process = adoption.adopt(pid).map_err(system("adopt the new process"))?;
        let terminal = match console {
            Some(console) => Some(terminal_of(&console, &process).await?),
            None => None,
        };
        Ok((process, terminal))
    }

    async fn run(
        &self,
        step: &'static str,
        options: Vec<OsString>,
        streams: Option<Stdio>,
        scratch: &Scratch<'_>,
    ) -> Result<(), RuntimeError> {
        self.run_with(step, options, Vec::new(), streams, scratch).await
    }

    /// One run: `runtime --root … STEP OPTIONS ID MORE`.
    async fn run_with(
        &self,
        step: &'static str,
        options: Vec<OsString>,
        more: Vec<OsString>,
        streams: Option<Stdio>,
        scratch: &Scratch<'_>,
    ) -> Result<(), RuntimeError> {
        let mut command = self.command(step, scratch);
        command.args(options).arg(&self.id).args(more);
        match streams {
            Some(Stdio { stdin, stdout, stderr }) => {
                command.stdin(stdin).stdout(stdout).stderr(stderr);
            }
            None => {
                command
                    .stdin(Redirection::null())
                    .stdout(Redirection::null())
                    .stderr(Redirection::piped());
            }
        }
        let (process, mut child) = Process::spawn(&mut command).map_err(self.unstartable())?;
        // The command holds the container's streams, whose end must be seen.
        drop(command);
        let Ok(ended) = timeout(LIMIT, process.wait()).await else {
            let _ = process.signal(SIGKILL);
            let _ = process.wait().await;
            return Err(RuntimeError::TimedOut { step });
        };
        match ended.map_err(system("wait for the OCI runtime"))? {
            (0, _) => Ok(()),
            _ => Err(failed(step, scratch, child.stderr.take().map(words).unwrap_or_default())),
        }
    }

    fn command(&self, step: &str, scratch: &Scratch<'_>) -> Command {
        let mut command = Command::new(&self.options.program);
        command
            .current_dir(&self.bundle)
            .arg("--root")
            .arg(&self.options.root)
            .arg("--log")
            .arg(scratch.path("log"))
            .args(["--log-format", "json"]);
        if self.options.systemd_cgroup {
            command.arg("--systemd-cgroup");
        }
        command.arg(step);
        command
    }

    fn unstartable(&self) -> impl FnOnce(std::io::Error) -> RuntimeError {
        let program = self.options.program.clone();
        move |source| RuntimeError::Start { program, source }
    }

    fn scratch(&self) -> Scratch<'_> {
        Scratch { bundle: &self.bundle, number: NUMBER.fetch_add(1, Ordering::Relaxed) }
    }
}

/// The terminal of a process that was just started; without it the process ends.
async fn terminal_of(console: &ConsoleSocket, process: &Process) -> Result<OwnedFd, RuntimeError> {
    let late = || std::io::Error::from(std::io::ErrorKind::TimedOut);
    let received = timeout(TERMINAL, console.receive()).await.unwrap_or_else(|_| Err(late()));
    match received {
        Ok(terminal) => Ok(terminal),
        Err(error) => {
            let _ = process.signal(SIGKILL);
            let _ = process.wait().await;
            Err(system("receive the terminal from the OCI runtime")(error))
        }
    }
}

/// What a runtime that has ended wrote on its standard error.
fn words(pipe: std::process::ChildStderr) -> String {
    let pipe = OwnedFd::from(pipe);
    // A process that it left behind may hold the other end.
    let flags = fcntl_getfl(&pipe).map(|flags| flags | OFlags::NONBLOCK);
    let mut buffer = vec![0; WORDS];
    let read = flags
        .and_then(|flags| fcntl_setfl(&pipe, flags))
        .and_then(|()| rustix::io::read(&pipe, &mut buffer));
    buffer.truncate(read.unwrap_or(0));
    String::from_utf8_lossy(&buffer).trim().to_owned()
}

/// The error that the runtime has logged at last, or else its other words.
fn failed(step: &'static str, scratch: &Scratch<'_>, words: String) -> RuntimeError {
    let log = fs_err::read_to_string(scratch.path("log")).unwrap_or_default();
    let message = logged_error(&log).unwrap_or(words);
    let message = match message.strip_prefix(&format!("runc {step} failed: ")) {
        Some(rest) => rest.to_owned(),
        None if message.is_empty() => "it does not say why".to_owned(),
        None => message,
    };
    RuntimeError::Failed { step, message }
}

fn logged_error(log: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Line {
        level: String,
        msg: String,
    }
    let lines = log.lines().rev().filter_map(|line| serde_json::from_str::<Line>(line).ok());
    let mut errors = lines.filter(|line| line.level == "error").map(|line| line.msg);
    errors.next().map(|message| message.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// A runtime that is a shell script.
    fn container(folder: &Path, script: &str) -> OciContainer {
        let program = folder.join("runtime");
        fs_err::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs_err::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let options = Options { program, root: "/run/x".into(), ..Options::default() };
        OciContainer::new(options, "c1", folder)
    }

    fn streams() -> Io {
        let null = || OwnedFd::from(fs_err::File::open("/dev/null").unwrap().into_parts().0);
        Io::Streams(Stdio { stdin: null(), stdout: null(), stderr: null() })
    }

    fn files(folder: &Path) -> Vec<String> {
        let name = |entry: std::io::Result<fs_err::DirEntry>| {
            entry.unwrap().file_name().into_string().unwrap()
        };
        let mut names: Vec<String> = fs_err::read_dir(folder).unwrap().map(name).collect();
        names.sort();
        names
    }

    #[tokio::test]
    async fn a_created_process_is_adopted_and_its_status_kept() {
        rustix::process::set_child_subreaper(Some(rustix::process::getpid())).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let script = r#"while [ $# -gt 0 ]; do
                [ "$1" = --pid-file ] && file=$2; last=$1; shift; done
            (sleep 0.1; exit 42) & echo $! > "$file"; [ "$last" = c1 ]"#;
        let (process, terminal) = container(folder.path(), script).create(streams()).await.unwrap();
        assert!(terminal.is_none());
        assert_eq!(process.wait().await.unwrap().0, 42);
        assert_eq!(files(folder.path()), ["runtime"]);
    }

    #[tokio::test]
    async fn the_last_logged_error_is_the_reason() {
        let folder = tempfile::tempdir().unwrap();
        let script = r#"while [ "$1" != --log ]; do shift; done
            echo '{"level":"error","msg":"first"}' > "$2"
            echo '{"level":"error","msg":"runc start failed: no such program"}' >> "$2"
            echo '{"level":"info","msg":"bye"}' >> "$2"
            exit 1"#;
        let error = container(folder.path(), script).start().await.unwrap_err();
        assert_eq!(error.to_string(), "OCI runtime start failed: no such program");
        assert_eq!(files(folder.path()), ["runtime"]);
    }

    #[tokio::test]
    async fn without_a_log_its_words_are_the_reason() {
        let folder = tempfile::tempdir().unwrap();
        let error = container(folder.path(), "echo oops >&2; exit 3").start().await.unwrap_err();
        assert_eq!(error.to_string(), "OCI runtime start failed: oops");
        let error = container(folder.path(), "exit 3").delete(true).await.unwrap_err();
        assert!(error.to_string().contains("does not say"), "{error}");
    }

    #[tokio::test]
    async fn a_runtime_that_is_not_there_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let options = Options { program: "no-such-runtime".into(), ..Options::default() };
        let error = OciContainer::new(options, "c1", folder.path()).start().await.unwrap_err();
        assert!(error.to_string().contains("no-such-runtime"), "{error}");
    }

    #[tokio::test]
    async fn options_come_before_the_id_and_a_signal_after_it() {
        let folder = tempfile::tempdir().unwrap();
        let mut container = container(folder.path(), r#"echo "$@" > called"#);
        container.options.systemd_cgroup = true;
        container.kill(37).await.unwrap();
        let called = fs_err::read_to_string(folder.path().join("called")).unwrap();
        assert!(called.starts_with("--root /run/x --log "), "{called}");
        assert!(
            called.trim().ends_with("--log-format json --systemd-cgroup kill c1 37"),
            "{called}"
        );
        container.update(b"{}").await.unwrap();
        let called = fs_err::read_to_string(folder.path().join("called")).unwrap();
        assert!(called.trim().ends_with(".json c1"), "{called}");
    }
}
