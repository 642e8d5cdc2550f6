//! Running a program of the node as the node would.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Context as _, bail};
use fs_err as fs;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::os::fd::AsFd as _;

/// The namespaces of the node that its service manager is reached through. The
/// mount namespace is last: `/proc` is the container's until then.
const NAMESPACES: [(&str, LinkNameSpaceType); 4] = [
    ("ipc", LinkNameSpaceType::InterProcessCommunication),
    ("uts", LinkNameSpaceType::HostNameAndNISDomainName),
    ("net", LinkNameSpaceType::Network),
    ("mnt", LinkNameSpaceType::Mount),
];

/// Becomes a program of the node. Returns only when that fails.
pub(crate) fn exec(words: &[String]) -> anyhow::Result<()> {
    let (program, arguments) = words.split_first().context("no program is named")?;
    let files = NAMESPACES.map(|(name, kind)| {
        let path = format!("/proc/1/ns/{name}");
        fs::File::open(&path).map(|file| (path, file, kind))
    });
    for file in files {
        let (path, file, kind) = file.context("the node's processes are not visible: hostPID")?;
        move_into_link_name_space(file.as_fd(), Some(kind))
            .with_context(|| format!("cannot enter {path}: the container must be privileged"))?;
    }
    // The container has no search path of its own.
    let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let mut command = Command::new(program);
    let error = command.args(arguments).current_dir("/").env("PATH", path).exec();
    bail!("cannot run {program} on the node: {error}")
}
