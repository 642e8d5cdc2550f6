//! Why a Spin container did not start, left where a kubelet looks for it: the file
//! that it has mounted at the container's `terminationMessagePath`.
//!
//! The path itself is not told to a runtime. The file is known by its place on the
//! host, `…/pods/POD/containers/CONTAINER/` and eight hexadecimal digits, or by the
//! usual path in the container.

use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, ftruncate, openat};
use serde::Deserialize;

/// Where the file is in a container that does not name another place.
const USUAL: &str = "/dev/termination-log";
/// The most that a kubelet reads.
const LIMIT: usize = 4096;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Configuration {
    mounts: Option<Vec<Mount>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Mount {
    destination: PathBuf,
    source: PathBuf,
    options: Option<Vec<String>>,
}

/// Leaves a message for the container of a bundle. Does nothing where no kubelet has
/// mounted a file for it.
pub(crate) fn leave(bundle: &Path, message: &str) {
    let configuration = fs_err::read(bundle.join("config.json"))
        .ok()
        .and_then(|text| serde_json::from_slice::<Configuration>(&text).ok())
        .unwrap_or_default();
    let mounts = configuration.mounts.unwrap_or_default();
    let Some(mount) = mounts.iter().find(|mount| mount.is_for_messages()) else { return };
    if let Err(error) = write(&mount.source, shortened(message)) {
        tracing::warn!(%error, "the termination message cannot be written");
    }
}

impl Mount {
    fn is_for_messages(&self) -> bool {
        // What the container itself may not write is not written for it.
        let read_only = self.options.iter().flatten().any(|option| option == "ro");
        !read_only && (self.destination == Path::new(USUAL) || is_of_kubelet(&self.source))
    }
}

fn is_of_kubelet(source: &Path) -> bool {
    let mut parts = source.iter().rev().filter_map(|part| part.to_str());
    let file = parts.next().is_some_and(|name| {
        name.len() == 8 && name.chars().all(|letter| letter.is_ascii_hexdigit())
    });
    let (_container, containers, _pod, pods) =
        (parts.next(), parts.next(), parts.next(), parts.next());
    file && containers == Some("containers") && pods == Some("pods")
}

/// The beginning of a message, whole characters only.
fn shortened(message: &str) -> &str {
    message.get(..message.floor_char_boundary(LIMIT)).unwrap_or(message)
}

/// Writes to a regular file that is there; a link is not followed.
fn write(path: &Path, message: &str) -> std::io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = openat(CWD, path, flags, Mode::empty())?;
    if FileType::from_raw_mode(fstat(&file)?.st_mode) != FileType::RegularFile {
        return Err(std::io::Error::other(format!("{} is no regular file", path.display())));
    }
    ftruncate(&file, 0)?;
    rustix::io::write(&file, message.as_bytes())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A folder with a kubelet's file and a bundle that mounts it.
    fn mounted(options: &[&str]) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("pods/123/containers/app");
        fs_err::create_dir_all(&place).unwrap();
        let file = place.join("0a1b2c3d");
        fs_err::write(&file, "an older and longer message").unwrap();
        let mounts = json!({ "mounts": [
            { "destination": "/etc/hosts", "source": "/var/lib/kubelet/pods/123/etc-hosts" },
            { "destination": "/tmp/reason", "source": file, "options": options },
        ]});
        fs_err::write(folder.path().join("config.json"), mounts.to_string()).unwrap();
        (folder, file)
    }

    #[test]
    fn a_message_replaces_what_the_file_held_wherever_it_is_mounted() {
        let (folder, file) = mounted(&["rbind", "rw"]);
        leave(folder.path(), "port 80 is taken");
        assert_eq!(fs_err::read_to_string(file).unwrap(), "port 80 is taken");
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let (folder, file) = mounted(&["rw"]);
        leave(folder.path(), &"ä".repeat(3000));
        assert_eq!(fs_err::read_to_string(&file).unwrap(), "ä".repeat(2048));
        leave(folder.path(), &format!("a{}", "ä".repeat(3000)));
        assert_eq!(fs_err::read(file).unwrap().len(), 4095);
    }

    #[test]
    fn what_the_container_may_not_write_a_link_and_no_mount_at_all_are_left_alone() {
        let (folder, file) = mounted(&["rbind", "ro"]);
        leave(folder.path(), "x");
        assert!(fs_err::read_to_string(file).unwrap().contains("older"));

        let (folder, file) = mounted(&["rw"]);
        let precious = folder.path().join("precious");
        fs_err::write(&precious, "precious").unwrap();
        fs_err::remove_file(&file).unwrap();
        std::os::unix::fs::symlink(&precious, &file).unwrap();
        leave(folder.path(), "x");
        assert_eq!(fs_err::read_to_string(precious).unwrap(), "precious");

        leave(Path::new("/nonexistent"), "x");
    }

    #[test]
    fn only_a_kubelets_file_is_known_by_its_place() {
        assert!(is_of_kubelet(Path::new("/var/lib/kubelet/pods/u/containers/c/0a1b2c3d")));
        for other in [
            "/var/lib/kubelet/pods/u/containers/c/data",
            "/var/lib/kubelet/pods/u/volumes/c/0a1b2c3d",
            "/0a1b2c3d",
        ] {
            assert!(!is_of_kubelet(Path::new(other)), "{other}");
        }
    }
}
