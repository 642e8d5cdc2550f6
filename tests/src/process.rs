//! Processes with a deadline, and processes that end with the test.

use std::fmt::Write as _;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use fs_err as fs;
use rustix::process::{Pid, Signal, kill_process};

/// What a finished process left.
#[derive(Debug)]
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote on standard output.
    pub stdout: String,
    /// What it wrote on standard error.
    pub stderr: String,
}

impl Finished {
    /// Standard output and standard error together.
    pub fn text(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

/// Runs a command to its end; kills it at the deadline.
///
/// # Errors
/// Fails when it cannot be started or does not end in time, not by its status.
pub fn finish(command: &mut Command, deadline: Duration) -> Result<Finished> {
    let folder = tempfile::tempdir()?;
    let (stdout, stderr) = (folder.path().join("stdout"), folder.path().join("stderr"));
    let mut child = command
        .stdin(Stdio::null())
        .stdout(fs::File::create(&stdout)?.into_parts().0)
        .stderr(fs::File::create(&stderr)?.into_parts().0)
        .spawn()
        .with_context(|| format!("cannot start {command:?}"))?;
    let end = Instant::now() + deadline;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break Some(status);
        }
        if Instant::now() > end {
            child.kill()?;
            child.wait()?;
            break None;
        }
        thread::sleep(Duration::from_millis(5));
    };
    let read = |path: &Path| fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into());
    let (stdout, stderr): (String, String) = (read(&stdout)?, read(&stderr)?);
    match status {
        Some(status) => Ok(Finished { status, stdout, stderr }),
        None => bail!("{command:?} did not end within {deadline:?}\n{stdout}{stderr}"),
    }
}

/// Runs a command to its end and returns its standard output.
///
/// # Errors
/// Fails when it does not end in time or its status is not 0; the error carries
/// what it wrote.
pub fn output_of(command: &mut Command, deadline: Duration) -> Result<String> {
    let finished = finish(command, deadline)?;
    if !finished.status.success() {
        bail!("{command:?}: {}\n{}", finished.status, finished.text());
    }
    Ok(finished.stdout)
}

/// A process in the background: its output goes to a file, it ends with the
/// value.
#[derive(Debug)]
pub struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    /// Starts the command; both outputs are appended to `log`.
    ///
    /// # Errors
    /// Fails when the log cannot be written or the program not be started.
    pub fn start(command: &mut Command, log: &Path) -> Result<Self> {
        let file = fs::OpenOptions::new().create(true).append(true).open(log)?.into_parts().0;
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("cannot start {command:?}"))?;
        Ok(Self { child, log: log.to_owned() })
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What the process has written so far.
    pub fn output(&self) -> String {
        fs::read(&self.log).map(|b| String::from_utf8_lossy(&b).into_owned()).unwrap_or_default()
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// Fails when the process is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        send_signal(self.pid(), signal)
    }

    /// Its status if it has ended.
    ///
    /// # Errors
    /// Fails when the kernel does not tell.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// Fails when it does not end in time; the error carries what it wrote.
    pub fn wait(&mut self, deadline: Duration) -> Result<ExitStatus> {
        let status = wait_until(deadline, || Ok(self.child.try_wait()?));
        status.with_context(|| format!("process {} still runs\n{}", self.pid(), self.output()))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        // A moment for an orderly end; a process of a test never needs more.
        let _ = send_signal(self.pid(), Signal::TERM);
        if wait_until(Duration::from_secs(5), || Ok(self.child.try_wait()?)).is_err() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Sends a signal to any process.
///
/// # Errors
/// Fails when there is no such process.
pub fn send_signal(pid: u32, signal: Signal) -> Result<()> {
    let target = i32::try_from(pid).ok().and_then(Pid::from_raw).context("not a process id")?;
    kill_process(target, signal).with_context(|| format!("cannot send {signal:?} to {pid}"))
}

/// Asks again every few milliseconds until there is an answer.
///
/// # Errors
/// Fails at the deadline, and at once when asking fails.
pub fn wait_until<T>(deadline: Duration, mut ask: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let end = Instant::now() + deadline;
    loop {
        if let Some(answer) = ask()? {
            return Ok(answer);
        }
        if Instant::now() > end {
            bail!("this did not happen within {deadline:?}");
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// A loopback address that nobody listens on at the moment.
///
/// # Errors
/// Fails when the system gives none.
pub fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}

/// One process as `/proc` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Process id.
    pub pid: u32,
    /// Name of its program's file.
    pub program: String,
    /// Its command line.
    pub command_line: String,
}

/// Every process that was started from, in or for the folder `place`: its
/// program, command line, environment or working directory names it.
pub fn processes_of(place: &Path) -> Vec<Seen> {
    let place = place.to_string_lossy().into_owned();
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(Result::ok)
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|pid: u32| seen(pid, &place))
        .collect()
}

fn seen(pid: u32, place: &str) -> Option<Seen> {
    let proc = PathBuf::from(format!("/proc/{pid}"));
    let text = |name: &str| {
        let bytes = fs::read(proc.join(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).replace('\0', " ")
    };
    let link = |name: &str| {
        fs::read_link(proc.join(name)).map(|p| p.display().to_string()).unwrap_or_default()
    };
    let (program, command_line) = (link("exe"), text("cmdline"));
    let mentions = |text: &str| text.contains(place);
    let ours = mentions(&program)
        || mentions(&command_line)
        || mentions(&text("environ"))
        || mentions(&link("cwd"));
    let name = program.trim_end_matches(" (deleted)").rsplit('/').next().unwrap_or_default();
    ours.then(|| Seen { pid, program: name.to_owned(), command_line })
}

/// A table of processes for an error message.
pub fn describe(processes: &[Seen]) -> String {
    processes.iter().fold(String::new(), |mut text, process| {
        let _ = writeln!(text, "  {} {} {}", process.pid, process.program, process.command_line);
        text
    })
}
