//! Making a pod's sandbox without a pause container: its files, its cgroup, and a
//! process in its namespaces.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use container::Bundle as OciBundle;
use container::cgroup::{Cgroup, Layout};
use container::spawn::{Program, spawn};
use containerd_task::{Any, Bundle, Error, Exit, Process, Sandbox, SandboxRequest};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;
use tokio::time::timeout;

use crate::container_process::{blocking, clear, pid_namespace};
use crate::metrics::metrics;
use crate::pod_configuration::{Kind, PodConfiguration};
use crate::pod_files::PodFiles;
use crate::pod_holder::{ACTION, READY, REPORT};
use crate::systemd::{self, Scope};

const SIGKILL: u32 = 9;
/// How long entering the namespaces may take.
const ENTERING: Duration = Duration::from_secs(10);
/// Identity of the process that holds the namespaces: that of pause images.
const NOBODY: u32 = 65535;

/// A pod's sandbox.
pub(crate) struct PodSandbox {
    process: Process,
    bundle: Bundle,
    cgroup: Cgroup,
    /// The cgroup of the whole pod.
    pod: Cgroup,
}

/// Makes a sandbox, and the files that the containers of the pod are to have.
pub(crate) async fn make(request: &SandboxRequest) -> Result<(PodSandbox, PodFiles), Error> {
    let pod = PodConfiguration::read(request.options.as_ref())?;
    let bundle = Bundle::new(&request.bundle);
    let made = async {
        let files = write(request, &pod)?;
        let (cgroup, parent) = cgroups(request, &pod)?;
        match hold(&bundle, &cgroup).await {
            Ok(process) => {
                let sandbox = PodSandbox { process, bundle: bundle.clone(), cgroup, pod: parent };
                Ok((sandbox, files))
            }
            Err(error) => {
                if let Err(left) = clear(cgroup).await {
                    tracing::error!(%left, "a sandbox that could not be made leaves something");
                }
                Err(error)
            }
        }
    };
    made.await.inspect_err(|_| {
        if let Err(error) = bundle.unmount_rootfs() {
            tracing::error!(%error, "a sandbox that could not be made leaves a mount");
        }
    })
}

/// Writes everything that the sandbox has in its folder, first the configuration,
/// from which a later `delete` finds the cgroup.
fn write(request: &SandboxRequest, pod: &PodConfiguration) -> Result<PodFiles, Error> {
    let failed = |error: std::io::Error| {
        Error::failed(format!("cannot write the files of sandbox {}", request.id), &error)
    };
    let folder = &request.bundle;
    let configuration = configuration(request, pod).to_string();
    Bundle::new(folder).write("config.json", configuration.as_bytes()).map_err(failed)?;
    PodFiles::make(folder, pod).map_err(failed)
}

/// The sandbox as a container: the namespaces of the pod and nothing else.
fn configuration(request: &SandboxRequest, pod: &PodConfiguration) -> Value {
    let mut namespaces = vec![json!({ "type": "mount" })];
    let mut add = |kind: Kind, namespace: Value| {
        if !pod.has_the_nodes(kind) {
            namespaces.push(namespace);
        }
    };
    add(Kind::Pid, json!({ "type": "pid" }));
    add(Kind::Ipc, json!({ "type": "ipc" }));
    if let Some(network) = &request.network {
        add(Kind::Network, json!({ "type": "network", "path": network }));
        add(Kind::Network, json!({ "type": "uts" }));
    }
    let hostname = if request.network.is_some() { pod.hostname.as_str() } else { "" };
    json!({
        "ociVersion": "1.1.0",
        "process": {
            "cwd": "/",
            "user": { "uid": NOBODY, "gid": NOBODY },
            "args": [ACTION],
            "noNewPrivileges": true,
        },
        "root": { "path": "rootfs", "readonly": true },
        "hostname": hostname,
        "linux": {
            "namespaces": namespaces,
            "cgroupsPath": pod.cgroups_path(&request.id).unwrap_or_default(),
            "resources": { "cpu": { "shares": 2 } },
            "sysctl": pod.sysctls(),
        },
    })
}

/// The cgroup of the sandbox, made anew, and that of the pod.
fn cgroups(request: &SandboxRequest, pod: &PodConfiguration) -> Result<(Cgroup, Cgroup), Error> {
    let failed = |error: &(dyn std::error::Error + 'static)| {
        Error::failed(format!("cannot make the cgroup of sandbox {}", request.id), error)
    };
    let oci = OciBundle::load(&request.bundle).map_err(|error| failed(&error))?;
    let layout = Layout::detect().map_err(|error| failed(&error))?;
    let cgroup = Cgroup::at(
        &layout,
        oci.cgroups_path().filter(|path| !path.as_os_str().is_empty()),
        &request.id,
    )
    .map_err(|error| failed(&error))?;
    let parent = match pod.cgroup_parent() {
        Some(_) => cgroup.parent(),
        None => cgroup.clone(),
    };
    cgroup.create(oci.resources()).map_err(|error| failed(&error))?;
    Ok((cgroup, parent))
}

/// Starts the process that holds the namespaces; it is in them when this returns.
async fn hold(bundle: &Bundle, cgroup: &Cgroup) -> Result<Process, Error> {
    let failed = |error: &(dyn std::error::Error + 'static)| {
        Error::failed("cannot start the process that holds the pod's namespaces", error)
    };
    let oci = OciBundle::load(bundle.path()).map_err(|error| failed(&error))?;
    let (report, theirs) = UnixStream::pair().map_err(|error| failed(&error))?;
    let null = || fs_err::OpenOptions::new().read(true).write(true).open("/dev/null");
    let null = || null().map(|file| OwnedFd::from(file.into_parts().0));
    let mut descriptors = vec![(OwnedFd::from(theirs), REPORT)];
    for number in 0..3 {
        descriptors.push((null().map_err(|error| failed(&error))?, number));
    }
    let folder = bundle.path().display().to_string();
    let child = spawn(Program {
        path: own_program(),
        arguments: vec!["spinlet-pod".to_owned(), ACTION.to_owned(), folder],
        environment: Vec::new(),
        descriptors,
        entrance: Some(cgroup.entrance().map_err(|error| failed(&error))?),
        pid_namespace: pid_namespace(&oci)?,
    })
    .map_err(|error| failed(&error))?;
    let process = child
        .as_fd()
        .try_clone_to_owned()
        .and_then(|pidfd| Process::new(child.pid().unsigned_abs(), pidfd))
        .and_then(|process| bundle.record_init(process.pid()).map(|()| process))
        .map_err(|error| {
            let _ = child.kill(SIGKILL.cast_signed());
            failed(&error)
        })?;
    match entered(report).await {
        Ok(()) => {
            announce(&oci, process.pid()).await;
            Ok(process)
        }
        Err(error) => {
            let _ = process.signal(SIGKILL);
            let _ = timeout(ENTERING, process.wait()).await;
            Err(error)
        }
    }
}

/// Without a pause container systemd would know of nothing in the pod's slice.
async fn announce(oci: &OciBundle, pid: u32) {
    let scope = oci.cgroups_path().and_then(Path::to_str).and_then(Scope::of);
    let Some(scope) = scope.filter(|_| systemd::is_running()) else { return };
    let asked = blocking("ask systemd for a scope", move || scope.announce(pid)).await;
    if let Err(error) = asked {
        tracing::warn!(%error, "limits of this pod end when systemd reloads its configuration");
    }
}

/// Waits for the word that the namespaces are there.
async fn entered(report: UnixStream) -> Result<(), Error> {
    let read = async {
        report.set_nonblocking(true)?;
        let mut said = Vec::new();
        tokio::net::UnixStream::from_std(report)?.read_to_end(&mut said).await?;
        Ok::<_, std::io::Error>(said)
    };
    let what = "the process that holds the pod's namespaces";
    match timeout(ENTERING, read).await {
        Ok(Ok(said)) if said == READY => Ok(()),
        Ok(Ok(said)) if said.is_empty() => Err(Error::Failed(format!("{what} has ended at once"))),
        Ok(Ok(said)) => Err(Error::Failed(format!("{what}: {}", String::from_utf8_lossy(&said)))),
        Ok(Err(error)) => Err(Error::failed(format!("lost {what}"), &error)),
        Err(_) => Err(Error::DeadlineExceeded(format!("{what} does not answer"))),
    }
}

/// The file this process runs, also after an upgrade has replaced it.
fn own_program() -> PathBuf {
    let path = std::env::current_exe().ok().filter(|path| path.exists());
    path.unwrap_or_else(|| Path::new("/proc/self/exe").to_owned())
}

#[async_trait]
impl Sandbox for PodSandbox {
    fn pid(&self) -> u32 {
        self.process.pid()
    }

    fn kill(&self) {
        // One that has ended is what is wanted.
        let _ = self.process.signal(SIGKILL);
    }

    async fn wait(&self) -> Exit {
        let (status, at) = self.process.wait().await.unwrap_or_else(|error| {
            tracing::error!(%error, "the exit status of the sandbox is lost");
            (255, SystemTime::now())
        });
        Exit { status, at, out_of_memory: false }
    }

    fn stats(&self) -> Result<Any, Error> {
        metrics(&self.pod.stats())
    }

    async fn delete(&self) -> Result<(), Error> {
        clear(self.cgroup.clone()).await?;
        let bundle = self.bundle.clone();
        blocking("clean the folder of the sandbox", move || bundle.unmount_rootfs()).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(network: Option<&str>) -> SandboxRequest {
        SandboxRequest {
            id: "s1".to_owned(),
            bundle: "/bundle".into(),
            network: network.map(PathBuf::from),
            options: None,
        }
    }

    fn named() -> PodConfiguration {
        let mut pod = PodConfiguration::default();
        pod.hostname = "h".to_owned();
        pod
    }

    fn kinds(configuration: &Value) -> Vec<&str> {
        let namespaces = configuration.pointer("/linux/namespaces").unwrap().as_array().unwrap();
        namespaces.iter().map(|namespace| namespace["type"].as_str().unwrap()).collect()
    }

    #[test]
    fn a_pod_has_namespaces_of_its_own_and_a_name_in_them() {
        let configuration = configuration(&request(Some("/run/netns/a")), &named());
        assert_eq!(kinds(&configuration), ["mount", "pid", "ipc", "network", "uts"]);
        assert_eq!(configuration["hostname"], "h");
    }

    #[test]
    fn a_pod_in_the_nodes_network_has_the_nodes_name() {
        let configuration = configuration(&request(None), &named());
        assert_eq!(kinds(&configuration), ["mount", "pid", "ipc"]);
        assert_eq!(configuration["hostname"], "");
    }

    #[test]
    fn the_configuration_is_one_that_can_be_entered() {
        let value = configuration(&request(None), &PodConfiguration::default());
        let mut spec: Value = value;
        spec["linux"]["sysctl"] = json!({});
        let bundle = OciBundle::new("/bundle", serde_json::from_value(spec).unwrap());
        container::enter::Container::prepare(bundle, &[]).unwrap();
    }
}
