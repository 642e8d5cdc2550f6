//! Metrics as Prometheus text (version 0.0.4 of the exposition format), for
//! whoever asks at `/metrics`.

mod server;
mod text;

pub use server::{ListenError, MetricsServer};
pub(crate) use text::render;
