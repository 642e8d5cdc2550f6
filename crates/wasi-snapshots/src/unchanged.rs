//! Interfaces, and parts of interfaces, that are today what they were in both
//! snapshots. The types are compared by shape, so today's types serve here.

pub(crate) mod cli;
pub(crate) mod clocks;
pub(crate) mod filesystem;
pub(crate) mod http;
pub(crate) mod io;
pub(crate) mod random;
pub(crate) mod sockets;
