//! spinlet-compiler
fn main() {}
