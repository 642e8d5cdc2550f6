//! The messages between a supervisor (the shim or the command line) and the
//! runtime process it started.
//!
//! Transport: one `SOCK_SEQPACKET` Unix socket pair; the runtime inherits its
//! end as file descriptor [`CONTROL_FD`]. Every packet is one JSON message of at
//! most [`MAX_PACKET`] bytes; packets of [`FromRuntime::Compile`],
//! [`FromRuntime::Optimize`] and [`ToRuntime::Optimized`] carry one file descriptor
//! (`SCM_RIGHTS`). Either side treats the end of the stream as the
//! death of the other.
//!
//! Order: `Run` → any number of (`Compile` → `Compiled`) → any number of `Optimize` →
//! `Created` → `Start` → `Listening` → for each `Optimize` one `Optimized` →
//! `Replaced`. `Failed` may take the place of any answer up to `Listening` and is the
//! last packet.
//!
//! A supervisor opens a file for the runtime only where a message says so that comes
//! before `Created`: until then no guest has run, and what the runtime says is its own.

mod channel;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use channel::{Channel, ControlError, MAX_PACKET, pair};

/// The descriptor number on which a runtime process finds its control socket.
pub const CONTROL_FD: i32 = 3;

/// From the supervisor to the runtime.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToRuntime {
    /// The first message: what to run. The runtime resolves the app, has it
    /// compiled, enters its container and answers [`FromRuntime::Created`].
    Run(Box<RunSpec>),
    /// The answer to [`FromRuntime::Compile`].
    Compiled {
        /// The digest that was asked for, `sha256:<hex>`.
        digest: String,
        /// Why the cache still lacks it; none on success.
        error: Option<String>,
    },
    /// Bind the listeners and serve; answered by [`FromRuntime::Listening`].
    Start,
    /// The answer to [`FromRuntime::Optimize`], some time after
    /// [`FromRuntime::Listening`]. On success the packet carries a descriptor open for
    /// reading on the entry of the node cache.
    Optimized {
        /// The digest that was asked for, `sha256:<hex>`.
        digest: String,
        /// Why there is no optimized code; none on success.
        error: Option<String>,
    },
}

/// From the runtime to the supervisor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FromRuntime {
    /// The node cache lacks code for this component. The packet carries a
    /// descriptor open for reading at offset 0 on the verified source bytes.
    Compile {
        /// Digest of the source bytes, `sha256:<hex>`.
        digest: String,
        /// Component id, for messages.
        component: String,
        /// Size of the source in bytes.
        size: u64,
    },
    /// A component runs on code of the first tier: optimized code is wanted once the
    /// app listens. The packet carries a descriptor as that of [`Self::Compile`]
    /// does.
    Optimize {
        /// Digest of the source bytes, `sha256:<hex>`.
        digest: String,
        /// Component id, for messages.
        component: String,
        /// Size of the source in bytes.
        size: u64,
        /// Where the entry will be, relative to the node cache.
        entry: PathBuf,
    },
    /// The answer to [`ToRuntime::Optimized`] that brought code.
    Replaced {
        /// The digest that was asked for, `sha256:<hex>`.
        digest: String,
        /// Why new instances are still made from the code of the first tier; none on
        /// success.
        error: Option<String>,
    },
    /// Everything is loaded and the container has been entered.
    Created {
        /// How long each step took, in order.
        phases: Vec<Phase>,
    },
    /// Every trigger of the app is ready to serve.
    Listening {
        /// Addresses with an open listener, `ip:port`.
        addresses: Vec<String>,
        /// Routes, as shown to a person: `(component, route)`.
        routes: Vec<(String, String)>,
        /// How long each step since `Start` took, in order.
        phases: Vec<Phase>,
    },
    /// The image is an ordinary one, not a Spin app.
    NotSpin,
    /// The app cannot be run. The runtime exits with code 1 after this.
    Failed {
        /// One readable sentence: the whole chain of causes.
        message: String,
    },
}

/// One measured step of a start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Phase {
    /// Name of the step, of the runtime: `engine`, `artifact`, `compile`, `load`,
    /// `sandbox`, `assemble`, `listen`; a supervisor may add its own.
    pub name: String,
    /// Wall time in microseconds.
    pub micros: u64,
}

/// What a runtime process is asked to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunSpec {
    /// Name for logs and telemetry: the container id, or the app's path.
    pub id: String,
    /// Where the app is.
    pub app: AppSource,
    /// The node cache of compiled code; absolute.
    pub cache_dir: PathBuf,
    /// Whether what the cache lacks may start on code of the first tier: a choice
    /// of the node, not of the app.
    pub first_tier: bool,
    /// The environment that configures the app: the container's, or the
    /// command line's. The runtime reads no other environment.
    pub environment: BTreeMap<String, String>,
    /// Arguments of the container, for command triggers.
    pub args: Vec<String>,
    /// Used when `SPIN_HTTP_LISTEN_ADDR` is absent, for example `0.0.0.0:80`.
    pub default_listen: String,
    /// The container to enter; none means: serve as the process stands.
    pub sandbox: Option<Sandbox>,
}

/// Where the runtime finds an app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AppSource {
    /// The image of a container known to containerd, or `/spin.toml` in its
    /// root filesystem.
    Containerd {
        /// Path of containerd's gRPC socket.
        address: PathBuf,
        /// containerd namespace.
        namespace: String,
        /// Container id.
        container: String,
        /// containerd's root directory if it is known, for reading blobs
        /// straight from its content store.
        root: Option<PathBuf>,
    },
    /// An OCI image layout: a folder or a tar file.
    Layout(PathBuf),
    /// A `spin.toml`.
    Manifest(PathBuf),
    /// A single `.wasm` file, served on every path.
    Wasm(PathBuf),
}

/// The container a runtime process enters before it serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sandbox {
    /// The OCI bundle; its `config.json` tells namespaces, mounts, privileges.
    pub bundle: PathBuf,
    /// Mounts that make the root filesystem, bottom first; made in the
    /// container's own mount namespace only.
    pub rootfs: Vec<RootfsMount>,
}

/// One mount of a root filesystem, as containerd hands it over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootfsMount {
    /// Filesystem type, for example `overlay` or `bind`.
    pub kind: String,
    /// Source device or folder.
    pub source: String,
    /// Mount options in the form of `mount -o`.
    pub options: Vec<String>,
}
