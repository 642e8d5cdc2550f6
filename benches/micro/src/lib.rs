//! An app in this process, served by the HTTP trigger and by nothing but
//! wasmtime-wasi-http: what the benchmarks of this package compare and take apart.

mod app;
mod bare;
mod guest;
mod server;

pub use app::{Parts, spinlet};
pub use bare::bare;
pub use guest::hello;
pub use server::{Client, Server};
