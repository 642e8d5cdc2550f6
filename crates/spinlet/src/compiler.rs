//! Running the compiler, which is a program of its own.

use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use anyhow::Context;
use serde::Deserialize;
use tokio::process::Command;

use crate::environment::Environment;

const PROGRAM: &str = "spinlet-compiler";

/// The part of the compiler's report that is of interest here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct Compiled {
    /// The cache had the code already.
    pub(crate) cached: bool,
    /// The code took the place of code of the first tier.
    pub(crate) replaced_first_tier: bool,
}

/// The compiler and the cache it fills.
#[derive(Debug, Clone)]
pub(crate) struct Compiler {
    program: PathBuf,
    cache: PathBuf,
    first_tier: bool,
}

impl Compiler {
    /// Finds the compiler and makes the cache folder.
    pub(crate) fn locate(environment: &Environment) -> anyhow::Result<Self> {
        let program = payload::locate(&environment.state_dir, PROGRAM)
            .with_context(|| format!("cannot find {PROGRAM}"))?;
        let cache = environment.cache_dir();
        fs_err::create_dir_all(&cache)?;
        Ok(Self { program, cache, first_tier: environment.first_tier })
    }

    /// A compiler played by another program.
    #[cfg(test)]
    pub(crate) fn played_by(program: &str) -> Self {
        Self { program: program.into(), cache: "/nonexistent".into(), first_tier: false }
    }

    /// Whether apps may start on code of the first tier.
    pub(crate) fn makes_first_tier(&self) -> bool {
        self.first_tier
    }

    pub(crate) fn cache(&self) -> &Path {
        &self.cache
    }

    /// Compiles the Wasm in a file, which is read from where it stands, into the
    /// cache; to code of the first tier if that is enough. The error is one sentence.
    ///
    /// Cancel safety: dropping the future ends the compiler; the cache is written
    /// atomically.
    pub(crate) async fn compile(
        &self,
        digest: &str,
        component: &str,
        source: File,
        first_tier: bool,
    ) -> Result<Compiled, String> {
        let mut command = Command::new(&self.program);
        command.arg("--cache").arg(&self.cache);
        command.args(["--tier", if first_tier { "first" } else { "optimized" }]);
        let output = run(command, digest, component, source).await?;
        Ok(serde_json::from_slice(&output).unwrap_or_default())
    }

    /// The component that a bundle in a file describes, composed; the error is one
    /// sentence.
    ///
    /// Cancel safety: dropping the future ends the compiler.
    pub(crate) async fn compose(
        &self,
        digest: &str,
        component: &str,
        source: File,
    ) -> Result<Vec<u8>, String> {
        let mut command = Command::new(&self.program);
        command.args(["--compose", "true"]);
        run(command, digest, component, source).await
    }
}

/// What the compiler writes on its standard output when it succeeds.
async fn run(
    mut command: Command,
    digest: &str,
    component: &str,
    source: File,
) -> Result<Vec<u8>, String> {
    let program = command.as_std().get_program().display().to_string();
    let output = command
        .args(["--digest", digest, "--component", component])
        .stdin(source)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // The terminal's Ctrl-C is for us; we end the compiler if need be.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("cannot run {program}: {error}"))?
        .wait_with_output()
        .await
        .map_err(|error| format!("cannot wait for {PROGRAM}: {error}"))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    Err(reason(output.status, &String::from_utf8_lossy(&output.stderr)))
}

/// By contract the compiler's last line says why it failed.
fn reason(status: ExitStatus, stderr: &str) -> String {
    if let Some(signal) = status.signal() {
        let hint = if signal == 9 { ", perhaps for want of memory" } else { "" };
        return format!("{PROGRAM} was ended by signal {signal}{hint}");
    }
    match stderr.lines().rev().find(|line| !line.trim().is_empty()) {
        Some(line) => {
            let line = line.trim();
            line.strip_prefix("Error: ").unwrap_or(line).to_owned()
        }
        None => format!("{PROGRAM} failed ({status})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_is_the_reason() {
        let failed = ExitStatus::from_raw(1 << 8);
        assert_eq!(reason(failed, "warning: x\nError: not Wasm\n\n"), "not Wasm");
        assert!(reason(failed, "").contains("exit status: 1"));
    }

    async fn compile(program: &str) -> Result<Compiled, String> {
        let source = tempfile::tempfile().unwrap();
        Compiler::played_by(program).compile("sha256:00", "c", source, false).await
    }

    #[tokio::test]
    async fn the_exit_code_tells_success_from_failure() {
        assert_eq!(compile("/bin/true").await, Ok(Compiled::default()));
        assert!(compile("/bin/false").await.unwrap_err().contains("exit status: 1"));
    }

    #[tokio::test]
    async fn a_compiler_that_cannot_be_run_is_named() {
        let error = compile("/no/such/compiler").await.unwrap_err();
        assert!(error.contains("cannot run /no/such/compiler"), "{error}");
    }

    #[test]
    fn a_kill_hints_at_memory() {
        assert!(reason(ExitStatus::from_raw(9), "").contains("want of memory"));
        assert!(!reason(ExitStatus::from_raw(11), "").contains("memory"));
    }
}
