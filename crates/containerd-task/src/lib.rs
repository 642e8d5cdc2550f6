//! containerd's Task service for any kind of container, without knowledge of
//! what runs inside.
//!
//! A shim hands a [`Workload`] to a [`TaskService`]; the service owns everything
//! containerd relies on: the life cycle and its error codes, the order of
//! events, exit statuses that outlive the process, stdio, and the bootstrap
//! protocol of every containerd from 1.7 on. It follows containerd's
//! `runtime-v2` documentation; what that leaves open is done as the runc shim
//! does it.
//!
//! - [`bootstrap`]: the command line (`start`, `delete`, `-info`, `-v`) and the
//!   socket.
//! - [`TaskService`] and [`serve`]: the daemon.
//! - [`Workload`], [`Container`] and [`ExecProcess`]: what a shim implements; with
//!   [`Sandbox`] also what holds a pod together, for containerd's Sandbox service.
//! - [`StdioPaths`] and [`Terminal`]: standard streams as containerd names them.
//! - [`Process`]: a child that is waited for through its pidfd by one owner, and
//!   [`Adoption`] for one that another program has started.

pub mod bootstrap;
mod bundle;
mod creation;
mod error;
mod events;
mod exec;
mod lifecycle;
mod process;
mod sandbox;
mod sandbox_service;
mod server;
mod service;
mod stdio;
mod task;
mod workload;

pub use bundle::{Bundle, InitProcess};
pub use containerd_shim_protos::protobuf;
pub use containerd_shim_protos::protobuf::well_known_types::any::Any;
pub use containerd_shim_protos::shim::oci as runc_options;
pub use containerd_shim_protos::{cgroups, cgroups_v2};
pub use error::Error;
pub use events::Publisher;
pub use process::{Adoption, Process, sweep_orphans};
pub use server::{ServeError, serve};
pub use service::TaskService;
pub use stdio::{Stdio, StdioHold, StdioPaths, Terminal};
pub use workload::{
    Container, CreateRequest, ExecProcess, ExecRequest, Exit, RootfsMount, Sandbox, SandboxRequest,
    Workload,
};
