//! Where the programs, the guests and the tools are. The scripts know; this
//! module asks them, so that there is one place for each path.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::process::output_of;

/// The root of the clone.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("/")).to_owned()
}

/// The folder with the distributable `containerd-shim-spin-v2` and `spinlet`.
///
/// # Errors
/// Fails when they are not built, with the command that builds them.
pub fn programs() -> Result<PathBuf> {
    locate("build", &["--locate"])
}

/// The folder of a built guest: its `spin.toml` and what that names.
///
/// # Errors
/// Fails when it is not built, with the command that builds it.
pub fn guest(name: &str) -> Result<PathBuf> {
    locate("build-guests", &["--locate", name])
}

/// The folder of a tool: `containerd-1.7`, `containerd-2.1` or `containerd-2` with `containerd`
/// and `ctr`, or `cri-tools` with `crictl` and `critest`.
///
/// # Errors
/// Fails when it is not installed, with the command that installs it.
pub fn tool(name: &str) -> Result<PathBuf> {
    locate("prerequisites", &["--locate", name])
}

/// The folder with the layers of the Linux images that tests of pods use.
///
/// # Errors
/// Fails when they are not built, with the command that builds them.
pub fn images() -> Result<PathBuf> {
    locate("build-images", &["--locate"])
}

fn locate(script: &str, arguments: &[&str]) -> Result<PathBuf> {
    let mut command = Command::new(repository().join("scripts").join(script));
    let text = output_of(command.args(arguments), Duration::from_secs(20))?;
    Ok(PathBuf::from(text.trim_end()))
}

/// Fails unless this process is root.
///
/// # Errors
/// Says how to run the tests as root.
pub fn require_root() -> Result<()> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "containerd needs root: run the tests as root, for example with `sudo -E scripts/test`"
    );
    Ok(())
}

/// Path of a program of the system, also where PATH lacks the `sbin` folders.
///
/// # Errors
/// Fails with the command that installs what is missing.
pub fn system_program(name: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|candidate| candidate.is_file())
        .with_context(|| format!("{name} is not installed; run scripts/prerequisites"))
}
