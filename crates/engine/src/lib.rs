//! The one wasmtime configuration, the node cache of compiled code, and limits
