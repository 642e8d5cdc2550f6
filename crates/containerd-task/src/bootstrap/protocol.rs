//! The two forms of the bootstrap protocol: flags and environment (up to
//! containerd 2.2) and a message on standard input (from 2.3 on).

use containerd_shim::Flags;
use containerd_shim_protos::TASK_API_VERSION;
use containerd_shim_protos::bootstrap_api::{BootstrapParams, BootstrapResult, LogLevel};
use containerd_shim_protos::protobuf::Message;

use super::BootstrapError;

/// How the caller wants its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    /// The bare address. It means version 2 over ttrpc to every containerd; the
    /// JSON form would be refused by 1.6 whatever it says and by 1.7 with
    /// version 3, and callers up to 2.2 cannot be told apart.
    Legacy,
    /// A `BootstrapResult` message.
    Message,
}

/// What a start needs to know, however it was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Parameters {
    pub(super) protocol: Protocol,
    pub(super) ttrpc_address: String,
    pub(super) grpc_address: String,
    pub(super) socket_dir: Option<String>,
    pub(super) debug: bool,
}

impl Parameters {
    /// Reads what arrived on standard input; `ttrpc_address` and `grpc_address`
    /// are those of the environment.
    ///
    /// Older callers send nothing or the runtime options as an `Any`, which has
    /// the same first two fields as the new message (strings), so the message is
    /// only believed if it names this very container.
    pub(super) fn read(
        input: &[u8],
        flags: &Flags,
        ttrpc_address: &str,
        grpc_address: &str,
    ) -> Result<Self, BootstrapError> {
        let message = BootstrapParams::parse_from_bytes(input).unwrap_or_default();
        if message.instance_id == flags.id && message.namespace == flags.namespace {
            return Ok(Self::from_message(message, flags));
        }
        let is_any = BootstrapParams {
            instance_id: message.instance_id.clone(),
            namespace: message.namespace.clone(),
            ..BootstrapParams::default()
        } == message;
        if !is_any {
            return Err(BootstrapError::Parameters(format!(
                "they are for {}/{}, the command line is for {}/{}",
                message.namespace, message.instance_id, flags.namespace, flags.id
            )));
        }
        let grpc_address =
            if flags.address.is_empty() { grpc_address } else { flags.address.as_str() };
        Ok(Self {
            protocol: Protocol::Legacy,
            ttrpc_address: ttrpc_address.to_owned(),
            grpc_address: grpc_address.to_owned(),
            socket_dir: None,
            debug: flags.debug,
        })
    }

    fn from_message(message: BootstrapParams, flags: &Flags) -> Self {
        let debug = message.log_level.value() <= LogLevel::LOG_LEVEL_DEBUG as i32;
        Self {
            protocol: Protocol::Message,
            ttrpc_address: message.containerd_ttrpc_address,
            grpc_address: message.containerd_grpc_address,
            socket_dir: message.socket_dir.filter(|folder| !folder.is_empty()),
            debug: debug || flags.debug,
        }
    }
}

/// The bytes for standard output that tell `address`. A bare address has no
/// line end: several releases do not trim it.
pub(super) fn answer(protocol: Protocol, address: &str) -> Result<Vec<u8>, BootstrapError> {
    match protocol {
        Protocol::Legacy => Ok(address.as_bytes().to_vec()),
        Protocol::Message => BootstrapResult {
            version: TASK_API_VERSION,
            address: address.to_owned(),
            protocol: "ttrpc".to_owned(),
            ..BootstrapResult::default()
        }
        .write_to_bytes()
        .map_err(BootstrapError::Encode),
    }
}

#[cfg(test)]
mod tests {
    use containerd_shim_protos::protobuf::EnumOrUnknown;
    use containerd_shim_protos::protobuf::well_known_types::any::Any;

    use super::*;

    fn flags() -> Flags {
        Flags {
            id: "c1".to_owned(),
            namespace: "k8s.io".to_owned(),
            address: "/run/c.sock".to_owned(),
            ..Flags::default()
        }
    }

    fn read(input: &[u8]) -> Result<Parameters, BootstrapError> {
        Parameters::read(input, &flags(), "/env.ttrpc", "/env.sock")
    }

    fn message() -> BootstrapParams {
        BootstrapParams {
            instance_id: "c1".to_owned(),
            namespace: "k8s.io".to_owned(),
            containerd_ttrpc_address: "/message.ttrpc".to_owned(),
            containerd_grpc_address: "/message.sock".to_owned(),
            ..BootstrapParams::default()
        }
    }

    #[test]
    fn an_old_caller_gets_the_bare_address_without_a_line_end() {
        let options = Any {
            type_url: "runtimeoptions.v1.Options".to_owned(),
            value: b"\x0a\x01x".to_vec(),
            ..Any::default()
        };
        for input in [Vec::new(), options.write_to_bytes().unwrap(), b"\xff\xff".to_vec()] {
            let parameters = read(&input).unwrap();
            assert_eq!(parameters.protocol, Protocol::Legacy);
            assert_eq!(parameters.ttrpc_address, "/env.ttrpc");
            assert_eq!(parameters.grpc_address, "/run/c.sock");
        }
        assert_eq!(answer(Protocol::Legacy, "unix:///s/a").unwrap(), b"unix:///s/a");
    }

    #[test]
    fn a_caller_that_sent_parameters_gets_a_message_of_version_3() {
        let sent = BootstrapParams {
            log_level: EnumOrUnknown::new(LogLevel::LOG_LEVEL_DEBUG),
            socket_dir: Some("/sockets".to_owned()),
            ..message()
        };
        let parameters = read(&sent.write_to_bytes().unwrap()).unwrap();
        assert_eq!(parameters.protocol, Protocol::Message);
        assert_eq!(parameters.ttrpc_address, "/message.ttrpc");
        assert_eq!(parameters.grpc_address, "/message.sock");
        assert_eq!(parameters.socket_dir.as_deref(), Some("/sockets"));
        assert!(parameters.debug);
        let bytes = answer(Protocol::Message, "unix:///s/a").unwrap();
        let result = BootstrapResult::parse_from_bytes(&bytes).unwrap();
        assert_eq!((result.version, result.protocol.as_str()), (3, "ttrpc"));
        assert_eq!(result.address, "unix:///s/a");
    }

    #[test]
    fn parameters_for_another_container_are_refused() {
        let sent = BootstrapParams { instance_id: "other".to_owned(), ..message() };
        let error = read(&sent.write_to_bytes().unwrap()).unwrap_err();
        assert!(error.to_string().contains("k8s.io/other"), "{error}");
    }
}
