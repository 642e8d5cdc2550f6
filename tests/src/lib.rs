//! Support for tests that start real processes: containerd, registries, the
//! shim and the command line.
//!
//! Everything a test starts lives in a folder of its own and is gone at the end,
//! also when the test fails. What is missing on the machine fails a test with
//! the command that installs it; nothing is skipped.

pub mod artifact;
pub mod code_cache;
pub mod containerd;
pub mod cri;
pub mod http;
pub mod http_server;
pub mod leak_check;
pub mod linux_image;
pub mod network;
pub mod node_machine;
pub mod process;
pub mod registry;
pub mod servers;
pub mod shim_client;
pub mod spinlet;
pub mod stand_in;
pub mod workspace;
