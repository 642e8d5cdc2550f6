//! Making the containers of a pod: Spin applications and Linux programs.

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use containerd_task::bootstrap::Flags;
use containerd_task::{
    Container, CreateRequest, Error, RootfsMount, Sandbox, SandboxRequest, Workload,
};
use tokio_util::sync::CancellationToken;

use crate::linux_workload::LinuxWorkload;
use crate::native_program::is_native;
use crate::outline::Outline;
use crate::phases::Clock;
use crate::pod_files::PodFiles;
use crate::pod_sandbox;
use crate::settings::Settings;
use crate::spin_container::Refusal;
use crate::spin_workload::SpinWorkload;
use crate::termination_message;

/// Makes every container of a pod.
///
/// What is plainly one of Linux (the container that holds the pod's namespaces, or
/// one whose program is found in its layers) never costs a Spin runtime. Of any
/// other the image says what it is.
pub(crate) struct PodWorkload {
    spin: SpinWorkload,
    linux: LinuxWorkload,
    /// Of a pod whose sandbox the shim has made itself.
    files: OnceLock<PodFiles>,
}

impl PodWorkload {
    /// A workload for the daemon that these flags belong to.
    pub(crate) fn new(
        settings: Settings,
        flags: &Flags,
        begun: Option<Clock>,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            spin: SpinWorkload::new(settings, flags, begun)?,
            linux: LinuxWorkload::new(&flags.namespace),
            files: OnceLock::new(),
        })
    }
}

#[async_trait]
impl Workload for PodWorkload {
    async fn create(
        &self,
        request: CreateRequest,
        cancel: CancellationToken,
    ) -> Result<Arc<dyn Container>, Error> {
        check(&request)?;
        if let Some(files) = self.files.get() {
            files.lay_into(&request.bundle)?;
        }
        let outline = Outline::read(&request.bundle)?;
        if outline.is_sandbox() || is_native(&outline, &request.rootfs) {
            return Ok(Arc::new(self.linux.create(&request, &outline, None).await?));
        }
        refuse_terminal(&request)?;
        let (stdio, hold) = request.stdio.open().await?;
        // For the case that the image is an ordinary one: a reader would take the
        // end of a runtime that was asked in vain for the end of the output.
        let spare = stdio
            .try_clone()
            .map_err(|error| Error::failed("cannot keep the container's streams", &error))?;
        match self.spin.create(&request, stdio, hold, &cancel).await {
            Ok(container) => Ok(Arc::new(container)),
            Err(Refusal::Failed(error)) => {
                termination_message::leave(&request.bundle, &error.to_string());
                Err(error)
            }
            Err(Refusal::NotSpin(hold)) => {
                tracing::info!(id = request.id, "an ordinary image without the program it names");
                let made = self.linux.create(&request, &outline, Some((spare, hold))).await;
                let made = made.map_err(|error| neither(&request.id, &error));
                if let Err(error) = &made {
                    termination_message::leave(&request.bundle, &error.to_string());
                }
                Ok(Arc::new(made?))
            }
        }
    }

    async fn create_sandbox(&self, request: SandboxRequest) -> Result<Arc<dyn Sandbox>, Error> {
        let (sandbox, files) = pod_sandbox::make(&request).await?;
        // A shim has one sandbox in its life.
        self.files.get_or_init(|| files);
        Ok(Arc::new(sandbox))
    }
}

/// The error for an image that is nothing which can be run: most likely an app was to
/// be in it.
fn neither(id: &str, error: &Error) -> Error {
    Error::Failed(format!(
        "the image of container {id} is no Spin app: it has neither the layers of one nor a \
         /spin.toml; push the app with `spinlet push` or `spin registry push`, or copy its \
         spin.toml and what that names into the image. As a program of Linux it does not run \
         either: {error}"
    ))
}

/// Refuses what no container here can have.
fn check(request: &CreateRequest) -> Result<(), Error> {
    let below = |mount: &&RootfsMount| !matches!(mount.target.as_str(), "" | "/");
    match request.rootfs.iter().find(below) {
        Some(mount) => Err(Error::Unimplemented(format!(
            "a root filesystem with a mount at {} is not supported",
            mount.target
        ))),
        None => Ok(()),
    }
}

/// Refuses what Spin containers do not have.
fn refuse_terminal(request: &CreateRequest) -> Result<(), Error> {
    if request.terminal {
        return Err(Error::Unimplemented(format!(
            "container {} asks for a terminal, which Spin applications do not have, and its image \
             has no program of that name; run it without -t (tty: false)",
            request.id
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use containerd_task::StdioPaths;

    use super::*;

    fn request() -> CreateRequest {
        CreateRequest {
            id: "c1".to_owned(),
            bundle: "/bundle".into(),
            rootfs: Vec::new(),
            terminal: false,
            stdio: StdioPaths::default(),
            options: None,
        }
    }

    #[test]
    fn an_image_that_is_nothing_to_run_is_told_with_what_to_do() {
        let text = neither("c1", &Error::Failed("exec: \"/\": is a directory".to_owned()));
        for part in ["c1", "/spin.toml", "`spinlet push`", "is a directory"] {
            assert!(text.to_string().contains(part), "{text}");
        }
    }

    #[test]
    fn a_terminal_is_refused_with_what_to_do() {
        let error = refuse_terminal(&CreateRequest { terminal: true, ..request() }).unwrap_err();
        assert!(matches!(&error, Error::Unimplemented(text) if text.contains("tty: false")));
    }

    #[test]
    fn a_mount_below_the_root_filesystem_is_refused_and_one_at_its_top_is_not() {
        let mount = |target: &str| RootfsMount {
            kind: "bind".to_owned(),
            source: "/a".to_owned(),
            target: target.to_owned(),
            options: Vec::new(),
        };
        check(&CreateRequest { rootfs: vec![mount(""), mount("/")], ..request() }).unwrap();
        let error = check(&CreateRequest { rootfs: vec![mount("/sub")], ..request() }).unwrap_err();
        assert!(error.to_string().contains("/sub"), "{error}");
    }
}
