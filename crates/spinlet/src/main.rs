//! spinlet
fn main() {}
