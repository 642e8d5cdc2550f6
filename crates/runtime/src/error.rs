//! Why an app cannot be run.

use std::io;
use std::path::PathBuf;

use app::{Problems, RetainError};
use artifact::assets::AssetsError;
use artifact::layout::LayoutError;
use artifact::local::LocalError;
use artifact::{ArtifactError, WasmError};
use container::BundleError;
use container::enter::EnterError;
use content_store::ContentStoreError;
use control::ControlError;
use engine::{CacheError, EngineError, LoadError};
use host::{GuestFilesError, HostError};
use runtime_config::ConfigError;
use telemetry::{CertificateError, ListenError};
use trigger::TriggerError;

/// Why an app cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// This process was not started by a supervisor.
    #[error(
        "no control socket on descriptor {}: this program is started by the shim or by `spinlet up`",
        control::CONTROL_FD
    )]
    NoSupervisor(#[source] io::Error),
    /// The supervisor died or broke the protocol.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The supervisor sent something else than what comes next.
    #[error("the supervisor sent {got} where {expected} comes next")]
    OutOfOrder {
        /// What came.
        got: &'static str,
        /// What was to come.
        expected: &'static str,
    },
    /// Variables of the environment that cannot be used; all of them.
    #[error("the environment cannot be used: {0}")]
    Environment(Problems),
    /// The runtime configuration cannot be read.
    #[error("cannot read the runtime configuration")]
    ReadConfiguration(#[source] io::Error),
    /// The runtime configuration says what cannot be used.
    #[error("the runtime configuration {} cannot be used", path.display())]
    Configuration {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: ConfigError,
    },
    /// Files that the runtime configuration names cannot be used; all of them.
    #[error("the runtime configuration cannot be used: {0}")]
    ConfiguredFiles(Problems),
    /// What guests write cannot be copied where it is to be copied.
    #[error("the folder for logs of guests cannot be used")]
    LogDir(#[source] io::Error),
    /// Signals or threads cannot be had.
    #[error("cannot {attempt}")]
    Process {
        /// What was attempted.
        attempt: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The container's bundle cannot be read.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The container cannot be entered.
    #[error(transparent)]
    Enter(#[from] EnterError),
    /// containerd does not give the image.
    #[error(transparent)]
    ContentStore(#[from] ContentStoreError),
    /// The image layout cannot be read.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The image is a Spin artifact that cannot be used.
    #[error("the image in {} cannot be used", layout.display())]
    Image {
        /// The layout it is in.
        layout: PathBuf,
        /// Why.
        #[source]
        source: ArtifactError,
    },
    /// The local app cannot be loaded.
    #[error(transparent)]
    Local(#[from] LocalError),
    /// The selection of components cannot be run.
    #[error(transparent)]
    Retain(#[from] RetainError),
    /// The app needs what this version does not have; all of it.
    #[error("the app cannot be run by this version: {0}")]
    Unsupported(Problems),
    /// A component's Wasm is damaged.
    #[error("component {component:?} cannot be compiled")]
    Wasm {
        /// Its id.
        component: String,
        /// Why.
        #[source]
        source: WasmError,
    },
    /// Components could not be compiled; all of them.
    #[error("{0}")]
    Compile(Problems),
    /// The compiler said it was done and the cache has nothing.
    #[error("the code of component {component:?} is not in the node's cache after it was compiled")]
    NotCompiled {
        /// Its id.
        component: String,
    },
    /// The node's cache cannot be used.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// The engine cannot be made.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Compiled code cannot be mapped.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A component's files cannot be put on disk.
    #[error(transparent)]
    Assets(#[from] AssetsError),
    /// A component's folders cannot be opened.
    #[error(transparent)]
    GuestFiles(#[from] GuestFilesError),
    /// Variables, allowed hosts or the like are wrong.
    #[error(transparent)]
    Host(#[from] HostError),
    /// Triggers, or the components they start, are wrong; all problems.
    #[error("the app cannot be served: {0}")]
    Triggers(Problems),
    /// The collector of telemetry could not be checked.
    #[error(transparent)]
    Telemetry(#[from] CertificateError),
    /// Metrics cannot be served.
    #[error(transparent)]
    Metrics(#[from] ListenError),
    /// Triggers cannot become ready or go on.
    #[error(transparent)]
    Trigger(#[from] TriggerError),
}
