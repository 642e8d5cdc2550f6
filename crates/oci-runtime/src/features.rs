//! What a runtime says that it supports.

use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::process::Command;
use tokio::time::timeout;

use crate::container::RuntimeError;
use crate::options::Options;

/// How long it may take to say so.
const LIMIT: Duration = Duration::from_secs(5);
const STEP: &str = "features";

impl Options {
    /// The runtime's features structure of the OCI runtime specification.
    ///
    /// Cancel safety: a runtime that is not waited for any more is killed.
    ///
    /// # Errors
    /// When the program cannot be run, does not end within five seconds, or does not
    /// know of features: runc before 1.1.
    pub async fn features(&self) -> Result<Value, RuntimeError> {
        let mut command = Command::new(&self.program);
        command.arg(STEP).stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        let output = timeout(LIMIT, command.output())
            .await
            .map_err(|_| RuntimeError::TimedOut { step: STEP })?
            .map_err(|source| RuntimeError::Start { program: self.program.clone(), source })?;
        if !output.status.success() {
            let message = format!("it ended with {}", output.status);
            return Err(RuntimeError::Failed { step: STEP, message });
        }
        serde_json::from_slice(&output.stdout)
            .map_err(|error| RuntimeError::Failed { step: STEP, message: error.to_string() })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    async fn of(script: &str) -> Result<Value, RuntimeError> {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("runtime");
        fs_err::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        let mode = std::fs::Permissions::from_mode(0o700);
        fs_err::set_permissions(&program, mode).unwrap();
        let options = Options { program, ..Options::default() };
        // A fork of a parallel test may hold the script open for writing for a moment.
        loop {
            match options.features().await {
                Err(RuntimeError::Start { source, .. })
                    if source.kind() == std::io::ErrorKind::ExecutableFileBusy => {}
                result => return result,
            }
        }
    }

    #[tokio::test]
    async fn what_a_runtime_says_is_read_and_one_that_knows_of_no_features_is_an_error() {
        let said = of(r#"[ "$1" = features ] && echo '{"hooks":["prestart"]}'"#).await.unwrap();
        assert_eq!(said, serde_json::json!({ "hooks": ["prestart"] }));
        assert!(matches!(of("exit 1").await, Err(RuntimeError::Failed { .. })));
        assert!(matches!(of("echo no").await, Err(RuntimeError::Failed { .. })));
    }
}
