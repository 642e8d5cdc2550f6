//! containerd-shim-spin-v2
fn main() {}
