//! What containerd runs a shim binary for besides serving: `start`, `delete`,
//! `-info` and `-v`.
//!
//! containerd reads standard output and standard error of `start` together as
//! the answer, so a shim writes the returned bytes to standard output, nothing
//! after them, and to standard error only when it fails.

mod daemon;
mod protocol;
mod socket;
mod start;

use std::ffi::OsString;
use std::time::SystemTime;

pub use containerd_shim::Flags;
use containerd_shim_protos::api::DeleteResponse;
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::protobuf::{Message, MessageField};
use containerd_shim_protos::types::introspection::{RuntimeInfo, RuntimeVersion};

use crate::bundle::Bundle;
use crate::task::timestamp;

pub use daemon::become_daemon;
pub use socket::socket_path;
pub use start::{Surroundings, start};

/// Type of the OCI features structure in `-info` answers.
const FEATURES: &str = "types.containerd.io/opencontainers/runtime-spec/1/features/Features";
/// Exit status reported for a container whose real one is lost: as if killed.
const KILLED: u32 = 137;

/// What the binary was started for.
#[derive(Debug)]
pub enum Invocation {
    /// `-info`: answer with [`runtime_info`].
    Info,
    /// `-v`: print the version.
    Version,
    /// `start`: see [`start`].
    Start(Flags),
    /// `delete`: see [`delete`].
    Delete(Flags),
    /// No action: be the daemon that [`start`] has spawned.
    Serve(Flags),
}

/// Why a bootstrap action failed.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    /// The command line is not containerd's.
    #[error("cannot understand the command line: {0}")]
    CommandLine(String),
    /// The parameters on standard input are for another shim or incomplete.
    #[error("cannot use the bootstrap parameters: {0}")]
    Parameters(String),
    /// A file, socket or process operation failed.
    #[error("cannot {attempt}")]
    System {
        /// What was attempted.
        attempt: String,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// The socket's address belongs to something else.
    #[error("address {path} is taken: {reason}")]
    AddressTaken {
        /// The socket's path.
        path: String,
        /// By what.
        reason: String,
    },
    /// The bundle's `config.json` is not what the OCI runtime specification says.
    #[error("cannot read annotations of the container from config.json")]
    Config(#[source] serde_json::Error),
    /// An answer cannot be encoded.
    #[error("cannot encode the answer")]
    Encode(#[source] containerd_shim_protos::protobuf::Error),
}

impl BootstrapError {
    pub(crate) fn system(attempt: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let attempt = attempt.into();
        move |source| Self::System { attempt, source }
    }
}

impl Invocation {
    /// Reads the command line, without the program's name.
    ///
    /// # Errors
    /// Fails for flags and actions that containerd does not use, and when the
    /// id or namespace is missing where it is needed.
    pub fn parse(arguments: &[OsString]) -> Result<Self, BootstrapError> {
        let flags = containerd_shim::parse(arguments)
            .map_err(|error| BootstrapError::CommandLine(error.to_string()))?;
        if flags.info {
            return Ok(Self::Info);
        }
        if flags.version {
            return Ok(Self::Version);
        }
        if flags.id.is_empty() || flags.namespace.is_empty() {
            let message = "-id and -namespace are required; containerd starts this program";
            return Err(BootstrapError::CommandLine(message.to_owned()));
        }
        match flags.action.as_str() {
            "start" => Ok(Self::Start(flags)),
            "delete" => Ok(Self::Delete(flags)),
            "" => Ok(Self::Serve(flags)),
            other => Err(BootstrapError::CommandLine(format!("unknown action {other}"))),
        }
    }
}

/// The answer to `delete`: takes away what a shim that died has left of one
/// container, from what is on disk alone. Safe to repeat, also when nothing is
/// left or a live shim still serves other containers.
///
/// `reclaim` ends the container's processes and removes its cgroup; it is told
/// the bundle. The rootfs mounts, the socket and the answer are done here, also
/// when it fails.
///
/// # Errors
/// Passes on the failure of `reclaim`, or names what could not be removed.
pub fn delete<E: From<BootstrapError>>(
    flags: &Flags,
    reclaim: impl FnOnce(&Bundle) -> Result<(), E>,
) -> Result<Vec<u8>, E> {
    let folder = if flags.bundle.is_empty() { "." } else { &flags.bundle };
    let bundle = Bundle::new(folder);
    let reclaimed = reclaim(&bundle);
    let unmounted = bundle.unmount_rootfs().map_err(BootstrapError::system("clean the bundle"));
    let removed = bundle.address().map_or(Ok(()), |address| socket::remove_if_dead(&address));
    reclaimed?;
    unmounted?;
    removed?;
    let response = DeleteResponse {
        pid: bundle.init().map_or(0, |init| init.pid),
        exit_status: KILLED,
        exited_at: MessageField::some(timestamp(SystemTime::now())),
        ..DeleteResponse::default()
    };
    Ok(response.write_to_bytes().map_err(BootstrapError::Encode)?)
}

/// The answer to `-info`: the runtime's type, version, and what it supports, as
/// the OCI features structure.
///
/// # Errors
/// Fails only if the message cannot be encoded.
pub fn runtime_info(
    name: &str,
    version: &str,
    features: &serde_json::Value,
) -> Result<Vec<u8>, BootstrapError> {
    let info = RuntimeInfo {
        name: name.to_owned(),
        version: MessageField::some(RuntimeVersion {
            version: version.to_owned(),
            ..RuntimeVersion::default()
        }),
        features: MessageField::some(Any {
            type_url: FEATURES.to_owned(),
            value: features.to_string().into_bytes(),
            ..Any::default()
        }),
        ..RuntimeInfo::default()
    };
    info.write_to_bytes().map_err(BootstrapError::Encode)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Invocation, BootstrapError> {
        Invocation::parse(&arguments.iter().map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn the_actions_of_containerd_are_understood() {
        let flags = ["-namespace", "default", "-address", "/c.sock", "-id", "a"];
        let with = |action: &'static str| [&flags[..], &[action]].concat();
        assert!(matches!(parse(&["-info"]), Ok(Invocation::Info)));
        assert!(matches!(parse(&["-v"]), Ok(Invocation::Version)));
        assert!(matches!(parse(&with("start")), Ok(Invocation::Start(f)) if f.id == "a"));
        assert!(matches!(parse(&with("delete")), Ok(Invocation::Delete(_))));
        assert!(matches!(parse(&flags), Ok(Invocation::Serve(_))));
        assert!(parse(&with("restart")).is_err());
        assert!(parse(&["start"]).is_err(), "an id is required");
        assert!(parse(&["-unknown"]).is_err());
    }

    #[test]
    fn deleting_twice_or_what_never_was_succeeds_with_the_customary_status() {
        let folder = tempfile::tempdir().unwrap();
        for bundle in [folder.path().join("none"), folder.path().to_owned()] {
            let flags = Flags { bundle: bundle.display().to_string(), ..Flags::default() };
            for _ in 0..2 {
                let answer = delete(&flags, |_| Ok::<_, BootstrapError>(())).unwrap();
                let response = DeleteResponse::parse_from_bytes(&answer).unwrap();
                assert_eq!((response.pid, response.exit_status), (0, 137));
            }
        }
    }

    #[test]
    fn the_info_answer_carries_the_features_as_json() {
        let features = serde_json::json!({"ociVersionMax": "1.2.0"});
        let answer = runtime_info("io.containerd.x.v2", "1.0", &features).unwrap();
        let info = RuntimeInfo::parse_from_bytes(&answer).unwrap();
        assert_eq!(info.name, "io.containerd.x.v2");
        assert_eq!(info.features.value, br#"{"ociVersionMax":"1.2.0"}"#);
    }
}
