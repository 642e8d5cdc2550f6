//! `start`: one daemon for each group of containers.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io::{IsTerminal, Read};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use containerd_shim::Flags;
use serde::Deserialize;

use super::BootstrapError;
use super::protocol::{Parameters, answer};
use super::socket::{Claim, address, claim, socket_path};
use crate::bundle::Bundle;

/// Annotations whose value names the group a container belongs to, first match
/// first: one shim serves all containers of a group.
const GROUPS: [&str; 2] = ["io.containerd.runc.v2.group", "io.kubernetes.cri.sandbox-id"];
/// The most that is read from standard input.
const MAX_INPUT: u64 = 10 << 20;

/// What a start takes from its surroundings, read once by the binary.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// `TTRPC_ADDRESS`: containerd's ttrpc socket.
    pub ttrpc_address: String,
    /// `GRPC_ADDRESS`: containerd's gRPC socket, for callers without `-address`.
    pub grpc_address: String,
    /// The daemon's environment, in which `TTRPC_ADDRESS` is set anew. It should
    /// be small; the daemon lives long and starts other programs.
    pub daemon_environment: Vec<(OsString, OsString)>,
}

/// Makes sure that a daemon serves the container whose bundle is the working
/// directory, and returns the bytes that tell containerd where.
///
/// The daemon is this program with the listening socket as its standard input,
/// in the bundle, with nothing else inherited. It is not waited for: the socket
/// takes connections from now on.
///
/// # Errors
/// Fails when the parameters are not for this container, the address is taken
/// by something else, or the daemon cannot be started.
pub fn start(flags: &Flags, surroundings: &Surroundings) -> Result<Vec<u8>, BootstrapError> {
    let parameters = Parameters::read(
        &read_input()?,
        flags,
        &surroundings.ttrpc_address,
        &surroundings.grpc_address,
    )?;
    let bundle = Bundle::new(".");
    let group = group(bundle.path(), &flags.id)?;
    let address =
        address(&parameters.grpc_address, &flags.namespace, &group, parameters.socket_dir.clone());
    // First the record, then the socket: a `delete` must find it also if this
    // process is killed in between.
    bundle.record_address(&address).map_err(BootstrapError::system("record the address"))?;
    if let Claim::Bound(listener) = claim(&address)? {
        spawn(flags, &parameters, &address, listener, &surroundings.daemon_environment)
            .inspect_err(|_| {
                let _ = fs_err::remove_file(socket_path(&address));
            })?;
    }
    answer(parameters.protocol, &address)
}

fn read_input() -> Result<Vec<u8>, BootstrapError> {
    let stdin = std::io::stdin();
    let mut input = Vec::new();
    // Nothing is sent when the program is started by hand.
    if !stdin.is_terminal() {
        stdin
            .lock()
            .take(MAX_INPUT)
            .read_to_end(&mut input)
            .map_err(BootstrapError::system("read parameters from standard input"))?;
    }
    Ok(input)
}

/// The group of the container in `bundle`: its own id unless an annotation
/// names another.
fn group(bundle: &Path, id: &str) -> Result<String, BootstrapError> {
    #[derive(Deserialize)]
    struct Config {
        #[serde(default)]
        annotations: Option<HashMap<String, String>>,
    }

    let text = match fs_err::read(bundle.join("config.json")) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(id.to_owned()),
        Err(error) => return Err(BootstrapError::system("read the bundle")(error)),
    };
    let config: Config = serde_json::from_slice(&text).map_err(BootstrapError::Config)?;
    let annotations = config.annotations.unwrap_or_default();
    let group = GROUPS.iter().find_map(|name| annotations.get(*name)).map_or(id, String::as_str);
    Ok(group.to_owned())
}

fn spawn(
    flags: &Flags,
    parameters: &Parameters,
    address: &str,
    listener: UnixListener,
    environment: &[(OsString, OsString)],
) -> Result<(), BootstrapError> {
    let mut command = Command::new(own_program());
    command
        .arg0(std::env::args_os().next().unwrap_or_else(|| "containerd-shim".into()))
        .args(["-namespace", &flags.namespace, "-id", &flags.id])
        .args(["-address", &parameters.grpc_address, "-socket", address])
        .env_clear()
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .env("TTRPC_ADDRESS", &parameters.ttrpc_address)
        .stdin(Stdio::from(std::os::fd::OwnedFd::from(listener)))
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    if parameters.debug {
        command.arg("-debug");
    }
    let child = command.spawn().map_err(BootstrapError::system("start the shim daemon"))?;
    // The daemon must outlive workloads, containerd the daemon. Where the score
    // cannot be changed, the inherited one is containerd's own and will do.
    let _ = containerd_shim::cgroup::adjust_oom_score(child.id());
    Ok(())
}

/// The file this process runs. After an upgrade has replaced it, the old one is
/// still reachable through `/proc`.
fn own_program() -> PathBuf {
    std::env::current_exe()
        .ok()
        .filter(|path| path.exists())
        .unwrap_or_else(|| PathBuf::from("/proc/self/exe"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group_of(config: &str) -> Result<String, BootstrapError> {
        let folder = tempfile::tempdir().unwrap();
        fs_err::write(folder.path().join("config.json"), config).unwrap();
        group(folder.path(), "own")
    }

    #[test]
    fn containers_of_a_pod_share_a_shim_and_others_have_their_own() {
        let pod = r#"{"annotations":{"io.kubernetes.cri.sandbox-id":"pod"}}"#;
        assert_eq!(group_of(pod).unwrap(), "pod");
        let both = r#"{"annotations":{"io.kubernetes.cri.sandbox-id":"pod",
            "io.containerd.runc.v2.group":"explicit"}}"#;
        assert_eq!(group_of(both).unwrap(), "explicit");
        assert_eq!(group_of("{}").unwrap(), "own");
        assert_eq!(group_of(r#"{"annotations":null}"#).unwrap(), "own");
        assert_eq!(group(Path::new("/nonexistent"), "own").unwrap(), "own");
    }

    #[test]
    fn a_config_that_is_no_json_is_an_error() {
        assert!(matches!(group_of("{"), Err(BootstrapError::Config(_))));
    }
}
