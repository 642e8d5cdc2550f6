//! What can go wrong with a cgroup.

use std::path::PathBuf;

/// What can go wrong with a cgroup.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// `/proc` cannot be read.
    #[error("cannot find out how control groups are mounted")]
    Layout(#[source] std::io::Error),
    /// No hierarchy is mounted.
    #[error("no control group hierarchy is mounted")]
    NotMounted,
    /// `linux.cgroupsPath` is no path below the root.
    #[error("{0:?} is not a path of a cgroup")]
    InvalidPath(String),
    /// A process is in no cgroup of its own.
    #[error("process {0} is in no control group of its own")]
    NotItsOwn(u32),
    /// The folder cannot be made.
    #[error("cannot create a cgroup")]
    Create(#[source] std::io::Error),
    /// Processes of something else are in it.
    #[error("the cgroup {} has processes in it already", .0.display())]
    Populated(PathBuf),
    /// A limit for a controller that this machine does not have.
    #[error("cannot set {file}: the {controller} controller is not available")]
    NoController {
        /// Name of the controller.
        controller: String,
        /// The file that would have been written.
        file: String,
    },
    /// A control file refused a value.
    #[error("cannot write {value:?} to {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What was written.
        value: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A control file cannot be opened or read.
    #[error("cannot read a cgroup")]
    Read(#[source] std::io::Error),
    /// The list of processes cannot be read.
    #[error("cannot read {}", path.display())]
    ReadProcesses {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The spec asks for what this crate cannot set.
    #[error("{0} cannot be set for a Spin container")]
    Unsupported(String),
    /// Out-of-memory events are not to be had.
    #[error("cannot watch {} for out-of-memory events", path.display())]
    Watch {
        /// The cgroup.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The processes did not stop within the time allowed.
    #[error("the processes in {} did not freeze", .0.display())]
    NotFrozen(PathBuf),
    /// Processes are left although all were killed.
    #[error("{left} processes are left in {} after all were killed", path.display())]
    NotKilled {
        /// The cgroup.
        path: PathBuf,
        /// How many.
        left: usize,
    },
    /// The folder cannot be removed.
    #[error("cannot remove {}", path.display())]
    Remove {
        /// The cgroup in one hierarchy.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}
