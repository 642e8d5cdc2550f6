//! What containerd says of itself over the Container Runtime Interface.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use tonic_prost::ProstCodec;

use crate::Version;

/// How long containerd may take for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// The messages, as far as they are used. Field numbers are those of
/// `runtime.v1` of the CRI.
mod wire {
    use std::collections::HashMap;

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct VersionRequest {}
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct VersionResponse {
        #[prost(string, tag = "2")]
        pub(super) runtime_name: String,
        #[prost(string, tag = "3")]
        pub(super) runtime_version: String,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct StatusRequest {
        #[prost(bool, tag = "1")]
        pub(super) verbose: bool,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct StatusResponse {
        #[prost(map = "string, string", tag = "2")]
        pub(super) info: HashMap<String, String>,
        #[prost(message, repeated, tag = "3")]
        pub(super) runtime_handlers: Vec<RuntimeHandler>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct RuntimeHandler {
        #[prost(string, tag = "1")]
        pub(super) name: String,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct ListPodSandboxRequest {}
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct ListPodSandboxResponse {
        #[prost(message, repeated, tag = "1")]
        pub(super) items: Vec<PodSandbox>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct PodSandbox {
        #[prost(message, optional, tag = "2")]
        pub(super) metadata: Option<PodSandboxMetadata>,
        /// 0 is ready.
        #[prost(int32, tag = "3")]
        pub(super) state: i32,
        #[prost(string, tag = "7")]
        pub(super) runtime_handler: String,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct PodSandboxMetadata {
        #[prost(string, tag = "1")]
        pub(super) name: String,
        #[prost(string, tag = "3")]
        pub(super) namespace: String,
    }
}

/// containerd does not answer as it should.
#[derive(Debug, thiserror::Error)]
pub enum CriError {
    /// It cannot be reached.
    #[error("containerd cannot be reached at {address}; is it running?")]
    Connect {
        /// Its socket.
        address: PathBuf,
        /// Why not.
        #[source]
        source: Box<tonic::transport::Error>,
    },
    /// It answers with an error.
    #[error("containerd refuses {method}")]
    Refused {
        /// What was asked.
        method: &'static str,
        /// Its answer.
        #[source]
        source: Box<Status>,
    },
    /// It is something else.
    #[error("the container runtime is {name} {version}, expected containerd 1.7 or newer")]
    NotContainerd {
        /// Its name.
        name: String,
        /// Its version.
        version: String,
    },
}

/// A connection to a node's containerd.
#[derive(Debug, Clone)]
pub struct Cri {
    grpc: Grpc<Channel>,
}

impl Cri {
    /// Connects to a socket of this process's file system.
    ///
    /// # Errors
    /// Fails when nobody listens there.
    pub async fn connect(socket: &Path) -> Result<Self, CriError> {
        let path = socket.to_owned();
        let connector = tower::service_fn(move |_| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        });
        // The authority is not used on a Unix socket, but there must be one.
        let endpoint =
            Endpoint::from_static("http://localhost").connect_timeout(PATIENCE).timeout(PATIENCE);
        let channel = endpoint.connect_with_connector(connector).await.map_err(|source| {
            CriError::Connect { address: socket.to_owned(), source: Box::new(source) }
        })?;
        Ok(Self { grpc: Grpc::new(channel) })
    }

    /// containerd's version.
    ///
    /// # Errors
    /// Fails when it does not answer, or is not containerd 1.7 or newer.
    pub async fn version(&mut self) -> Result<Version, CriError> {
        let answer: wire::VersionResponse =
            self.call("/runtime.v1.RuntimeService/Version", wire::VersionRequest {}).await?;
        let version = Version::parse(&answer.runtime_version);
        let known = version.filter(|version| *version >= Version { major: 1, minor: 7 });
        known.filter(|_| answer.runtime_name == "containerd").ok_or(CriError::NotContainerd {
            name: answer.runtime_name,
            version: answer.runtime_version,
        })
    }

    /// The handlers that containerd knows.
    ///
    /// # Errors
    /// Fails when it does not answer.
    pub async fn handlers(&mut self) -> Result<Vec<String>, CriError> {
        let request = wire::StatusRequest { verbose: true };
        let answer: wire::StatusResponse =
            self.call("/runtime.v1.RuntimeService/Status", request).await?;
        if answer.runtime_handlers.is_empty() {
            return Ok(handlers_of_config(&answer.info));
        }
        let names = answer.runtime_handlers.into_iter().map(|handler| handler.name);
        // The default handler is listed a second time, without a name.
        Ok(names.filter(|name| !name.is_empty()).collect())
    }

    /// The pods that run under one of our handlers, as `namespace/name`.
    ///
    /// # Errors
    /// Fails when containerd does not answer.
    pub async fn our_pods(&mut self) -> Result<Vec<String>, CriError> {
        let answer: wire::ListPodSandboxResponse = self
            .call("/runtime.v1.RuntimeService/ListPodSandbox", wire::ListPodSandboxRequest {})
            .await?;
        let ours = answer.items.into_iter().filter(|pod| {
            pod.state == 0 && crate::HANDLERS.contains(&pod.runtime_handler.as_str())
        });
        let names = ours.map(|pod| {
            let metadata = pod.metadata.unwrap_or_default();
            format!("{}/{}", metadata.namespace, metadata.name)
        });
        Ok(names.collect())
    }

    async fn call<Q, A>(&mut self, method: &'static str, request: Q) -> Result<A, CriError>
    where
        Q: prost::Message + Send + Sync + 'static,
        A: prost::Message + Default + Send + Sync + 'static,
    {
        let refused = |source| CriError::Refused { method, source: Box::new(source) };
        let ready = self.grpc.ready().await;
        ready.map_err(|error| refused(Status::unavailable(error.to_string())))?;
        let codec = ProstCodec::<Q, A>::default();
        let path = PathAndQuery::from_static(method);
        let answer = self.grpc.unary(Request::new(request), path, codec).await;
        Ok(answer.map_err(refused)?.into_inner())
    }
}

/// containerd 1.7 lists its handlers only within its configuration.
fn handlers_of_config(info: &HashMap<String, String>) -> Vec<String> {
    let config = info.get("config").map(String::as_str).unwrap_or_default();
    let config: serde_json::Value = serde_json::from_str(config).unwrap_or_default();
    let runtimes = config.pointer("/containerd/runtimes").and_then(serde_json::Value::as_object);
    runtimes.into_iter().flat_map(serde_json::Map::keys).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handlers_of_an_older_containerd_are_in_its_configuration() {
        let config = r#"{"containerd": {"runtimes": {"runc": {}, "spin": {}}}}"#;
        let info = HashMap::from([("config".to_owned(), config.to_owned())]);
        assert_eq!(handlers_of_config(&info), ["runc", "spin"]);
        assert!(handlers_of_config(&HashMap::new()).is_empty());
    }
}
