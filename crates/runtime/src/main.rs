//! spinlet-runtime
fn main() {}
