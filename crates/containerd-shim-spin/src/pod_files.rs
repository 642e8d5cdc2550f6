//! The files that the containers of a pod share. With a sandbox of the shim's own,
//! containerd leaves them to it, and the configurations of the containers say
//! nothing of them.

use std::path::{Path, PathBuf};

use containerd_task::{Bundle, Error};
use rustix::mount::{MountFlags, mount};
use serde_json::{Value, json};

use crate::pod_configuration::{Kind, PodConfiguration};

/// Size of the shared memory, as containerd has it.
const SHARED_MEMORY: &std::ffi::CStr = c"mode=1777,size=67108864";
const RESOLVER: &str = "resolv.conf";

/// The files of one pod, in the folder of its sandbox.
#[derive(Debug, Clone)]
pub(crate) struct PodFiles {
    folder: PathBuf,
    /// Whether shared memory is the pod's own.
    shared_memory: bool,
}

impl PodFiles {
    /// Makes the files. What was made before a failure stays; it is below the folder.
    pub(crate) fn make(folder: &Path, pod: &PodConfiguration) -> std::io::Result<Self> {
        let files =
            Self { folder: folder.to_owned(), shared_memory: !pod.has_the_nodes(Kind::Ipc) };
        let hostname = if pod.hostname.is_empty() {
            fs_err::read_to_string("/proc/sys/kernel/hostname")?.trim().to_owned()
        } else {
            pod.hostname.clone()
        };
        fs_err::write(folder.join("hostname"), format!("{hostname}\n"))?;
        copy("/etc/hosts", &folder.join("hosts"))?;
        match &pod.dns {
            Some(dns) => fs_err::write(folder.join(RESOLVER), dns.file())?,
            None => copy("/etc/resolv.conf", &folder.join(RESOLVER))?,
        }
        let place = files.shared_memory();
        fs_err::create_dir_all(&place)?;
        if files.shared_memory {
            let flags = MountFlags::NOEXEC | MountFlags::NOSUID | MountFlags::NODEV;
            mount("shm", &place, "tmpfs", flags, SHARED_MEMORY)?;
        }
        Ok(files)
    }

    /// Where containerd, too, takes mounts away when it removes the folder: the root
    /// filesystem of the sandbox, whose process needs none.
    fn shared_memory(&self) -> PathBuf {
        self.folder.join("rootfs")
    }

    /// Adds the files to the configuration of a container of the pod, where it does
    /// not have its own.
    ///
    /// # Errors
    /// When the configuration cannot be read or written.
    pub(crate) fn lay_into(&self, container: &Path) -> Result<(), Error> {
        let path = container.join("config.json");
        let what = || format!("cannot complete the container's configuration {}", path.display());
        let completed = fs_err::read(&path).and_then(|bytes| {
            let mut configuration: Value = serde_json::from_slice(&bytes)?;
            self.complete(&mut configuration);
            let bytes = serde_json::to_vec(&configuration)?;
            Bundle::new(container).write("config.json", &bytes)
        });
        completed.map_err(|error| Error::failed(what(), &error))
    }

    fn complete(&self, configuration: &mut Value) {
        let read_only = configuration.pointer("/root/readonly").and_then(Value::as_bool);
        let access = if read_only == Some(true) { "ro" } else { "rw" };
        let Some(configuration) = configuration.as_object_mut() else { return };
        let mounts = configuration.entry("mounts").or_insert_with(|| json!([]));
        let Some(mounts) = mounts.as_array_mut() else { return };
        let is_at = |mount: &Value, place: &str| mount["destination"] == place;
        let bind = |destination: &str, source: &Path, access: &str| {
            let options = ["rbind", "rprivate", access];
            json!({ "destination": destination, "type": "bind", "source": source, "options": options })
        };
        for name in ["hostname", "hosts", RESOLVER] {
            let place = format!("/etc/{name}");
            if !mounts.iter().any(|mount| is_at(mount, &place)) {
                mounts.push(bind(&place, &self.folder.join(name), access));
            }
        }
        // What every container gets unless there is a pod's: memory of its own.
        let own = |mount: &Value| is_at(mount, "/dev/shm") && mount["type"] == "tmpfs";
        if self.shared_memory && !mounts.iter().any(|mount| is_at(mount, "/dev/shm") && !own(mount))
        {
            mounts.retain(|mount| !own(mount));
            mounts.push(bind("/dev/shm", &self.shared_memory(), "rw"));
        }
    }
}

/// Copies a file of the node; one that the node does not have is empty.
fn copy(from: &str, to: &Path) -> std::io::Result<()> {
    let text = match fs_err::read(from) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        read => read?,
    };
    fs_err::write(to, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn completed(shared_memory: bool, configuration: Value) -> Vec<(String, Value)> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        fs_err::write(&path, configuration.to_string()).unwrap();
        let files = PodFiles { folder: "/pod".into(), shared_memory };
        files.lay_into(folder.path()).unwrap();
        let completed: Value = serde_json::from_slice(&fs_err::read(path).unwrap()).unwrap();
        let mounts = completed["mounts"].as_array().unwrap().iter();
        let named = |mount: &Value| mount["destination"].as_str().unwrap().to_owned();
        mounts.map(|mount| (named(mount), mount.clone())).collect()
    }

    #[test]
    fn a_container_gets_the_files_of_its_pod_and_its_shared_memory() {
        let shm = json!({ "destination": "/dev/shm", "type": "tmpfs", "source": "shm" });
        let mounts = completed(true, json!({ "mounts": [shm] }));
        let places: Vec<&str> = mounts.iter().map(|(place, _)| place.as_str()).collect();
        assert_eq!(places, ["/etc/hostname", "/etc/hosts", "/etc/resolv.conf", "/dev/shm"]);
        assert_eq!(mounts[3].1["source"], "/pod/rootfs");
    }

    #[test]
    fn what_a_container_has_of_its_own_stays() {
        let own = |place: &str| json!({ "destination": place, "type": "bind", "source": "/own" });
        let mounts = completed(true, json!({ "mounts": [own("/etc/hosts"), own("/dev/shm")] }));
        let kept = mounts.iter().filter(|(_, mount)| mount["source"] == "/own").count();
        assert_eq!((kept, mounts.len()), (2, 4));
    }

    #[test]
    fn the_nodes_shared_memory_is_left_to_the_container() {
        let mounts = completed(false, json!({}));
        assert!(mounts.iter().all(|(place, _)| place != "/dev/shm"));
    }

    #[test]
    fn a_read_only_root_has_read_only_files() {
        let mounts = completed(true, json!({ "root": { "readonly": true } }));
        assert!(mounts[0].1["options"].as_array().unwrap().contains(&json!("ro")));
    }
}
