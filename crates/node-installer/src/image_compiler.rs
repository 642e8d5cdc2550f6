//! The process that compiles apps as their images are pulled: the shim that was
//! installed, run as the node's own program.

use std::path::Path;
use std::time::Duration;

use tokio::process::Command;

/// The namespace in which a kubelet has its images.
const NAMESPACE: &str = "k8s.io";
/// How long to wait before one that ended is started again.
const RESTART: Duration = Duration::from_secs(10);

/// Runs `shim` behind the words of `prefix`, again whenever it ends; never ends.
/// Without it apps are compiled when their first pod starts, so that its failure
/// is no failure of the node.
///
/// # Cancel safety
/// Dropping the future kills the process.
pub(crate) async fn keep_running(prefix: &[String], shim: &Path, socket: &Path) {
    loop {
        tracing::info!("compiling apps as their images are pulled");
        let reason = match run(prefix, shim, socket).await {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        };
        tracing::warn!(reason, "apps are not compiled as they are pulled; trying again");
        tokio::time::sleep(RESTART).await;
    }
}

async fn run(
    prefix: &[String],
    shim: &Path,
    socket: &Path,
) -> std::io::Result<std::process::ExitStatus> {
    let mut words = prefix.iter().map(AsRef::as_ref).chain([shim.as_os_str()]);
    let mut command = Command::new(words.next().unwrap_or(shim.as_os_str()));
    command.args(words).arg("compile-images").arg(socket).arg(NAMESPACE).kill_on_drop(true);
    command.spawn()?.wait().await
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[tokio::test]
    async fn the_shim_is_told_what_to_do_and_its_end_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let shim = folder.path().join("shim");
        fs_err::write(&shim, "#!/bin/sh\necho \"$@\" > \"$0.told\"\nexit 3\n").unwrap();
        fs_err::set_permissions(&shim, PermissionsExt::from_mode(0o700)).unwrap();
        let prefix = ["/usr/bin/env".to_owned()];
        let status = run(&prefix, &shim, Path::new("/run/c.sock")).await.unwrap();
        assert_eq!(status.code(), Some(3));
        let told = fs_err::read_to_string(folder.path().join("shim.told")).unwrap();
        assert_eq!(told, "compile-images /run/c.sock k8s.io\n");
    }
}
