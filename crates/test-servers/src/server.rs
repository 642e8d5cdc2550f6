//! A process that listens on a port.

use std::ffi::OsStr;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use fs_err as fs;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// A busy machine takes its time.
const START: Duration = Duration::from_mins(2);

/// A server process with its folder.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    port: u16,
    folder: TempDir,
}

impl Server {
    /// Starts what `command` makes from a folder and a port; waits until
    /// something listens there.
    pub(crate) fn start(
        folder: TempDir,
        command: impl FnOnce(&Path, u16) -> Result<Command>,
    ) -> Result<Self> {
        let port = free_port()?;
        let mut command = command(folder.path(), port)?;
        let log = fs::File::create(folder.path().join("log"))?.into_parts().0;
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {command:?}"))?;
        let mut server = Self { child, port, folder };
        server.wait_until(|| TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok())?;
        Ok(server)
    }

    /// Waits until `ready`.
    pub(crate) fn wait_until(&mut self, mut ready: impl FnMut() -> bool) -> Result<()> {
        let end = Instant::now() + START;
        while !ready() {
            let ended = self.child.try_wait()?;
            if ended.is_some() || Instant::now() > end {
                let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
                bail!("the server does not serve ({ended:?}):\n{log}");
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            // PostgreSQL ends all its processes at once on this signal, and the
            // others know it too.
            let _ = kill_process(pid, Signal::QUIT);
        }
        let end = Instant::now() + Duration::from_secs(5);
        while Instant::now() < end {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// A folder that any user may enter.
pub(crate) fn folder(name: &str) -> Result<TempDir> {
    Ok(tempfile::Builder::new().prefix(&format!("spinlet-{name}-")).tempdir()?)
}

/// Path of a program of the distribution, also where PATH lacks its folder.
pub(crate) fn program(name: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    folders.extend(["/usr/sbin", "/usr/bin", "/sbin", "/bin"].map(PathBuf::from));
    // Debian keeps one folder for each version of PostgreSQL.
    if let Ok(versions) = fs::read_dir("/usr/lib/postgresql") {
        folders.extend(versions.filter_map(Result::ok).map(|version| version.path().join("bin")));
    }
    folders
        .iter()
        .map(|folder| folder.join(name))
        .find(|candidate| candidate.is_file())
        .with_context(|| format!("{name} is not installed; run scripts/prerequisites"))
}

/// Runs a program to its end; it must succeed.
pub(crate) fn run<A: AsRef<OsStr>>(program: &Path, arguments: &[A]) -> Result<()> {
    run_command(Command::new(program).args(arguments))
}

/// Runs a command to its end; it must succeed.
pub(crate) fn run_command(command: &mut Command) -> Result<()> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {command:?}"))?;
    ensure!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
