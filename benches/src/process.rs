//! Programs that are measured: they begin inside the control group.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use container::cgroup::Cgroup;
use container::spawn::{Child, Exit, PidNamespace, Program, spawn};

/// A process that is killed with the value if it has not ended.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    log: PathBuf,
    ended: Option<Exit>,
}

impl Process {
    /// Starts a program in a control group; its output is appended to `log`.
    pub(crate) fn start(
        program: &Path,
        arguments: &[String],
        environment: &[(String, String)],
        group: &Cgroup,
        log: &Path,
    ) -> Result<Self> {
        let output = fs_err::OpenOptions::new().create(true).append(true).open(log)?.into_parts().0;
        let null = fs_err::File::open("/dev/null")?;
        let own = std::iter::once(program.display().to_string());
        let child = spawn(Program {
            path: program.to_owned(),
            arguments: own.chain(arguments.iter().cloned()).collect(),
            environment: environment.to_vec(),
            descriptors: vec![
                (null.into_parts().0.into(), 0),
                (output.try_clone()?.into(), 1),
                (output.into(), 2),
            ],
            entrance: Some(group.entrance()?),
            pid_namespace: PidNamespace::Inherit,
        })?;
        Ok(Self { child, log: log.to_owned(), ended: None })
    }

    /// Process id.
    pub(crate) fn pid(&self) -> i32 {
        self.child.pid()
    }

    /// Waits for its end; kills it at the deadline.
    pub(crate) fn wait(&mut self, deadline: Duration) -> Result<Exit> {
        let end = Instant::now() + deadline;
        loop {
            if let Some(exit) = self.ended()? {
                return Ok(exit);
            }
            if Instant::now() > end {
                self.child.kill(9)?;
                self.ended = Some(self.child.wait()?);
                anyhow::bail!("it did not end within {deadline:?}: {}", self.output());
            }
            std::thread::sleep(Duration::from_micros(500));
        }
    }

    /// How it has ended, if it has.
    pub(crate) fn ended(&mut self) -> Result<Option<Exit>> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait()?;
        }
        Ok(self.ended)
    }

    /// Waits for its end, which must be a success.
    pub(crate) fn succeed(&mut self, deadline: Duration) -> Result<()> {
        let exit = self.wait(deadline)?;
        ensure!(exit == Exit::Code(0), "{}", self.output());
        Ok(())
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: i32) -> Result<()> {
        Ok(self.child.kill(signal)?)
    }

    /// The end of what it has written.
    pub(crate) fn output(&self) -> String {
        let bytes = fs_err::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().rev().take(5).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("; ")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.ended.is_none() && self.child.kill(9).is_ok() {
            let _ = self.child.wait();
        }
    }
}

/// Runs a program to its end and returns what it writes on standard output.
pub(crate) fn output_of(program: &Path, arguments: &[&str]) -> Result<String> {
    let output = std::process::Command::new(program)
        .args(arguments)
        .output()
        .with_context(|| format!("cannot run {}", program.display()))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{} {arguments:?}: {}", program.display(), errors.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A program of PATH, also where that lacks the `sbin` folders.
pub(crate) fn find(name: impl AsRef<OsStr>) -> Option<PathBuf> {
    search_path().into_iter().map(|folder| folder.join(name.as_ref())).find(|file| file.is_file())
}

/// The folders of PATH and the `sbin` folders.
pub(crate) fn search_path() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(system).collect()
}
