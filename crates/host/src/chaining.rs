//! Requests that stay inside an app: service chaining and self requests.

use std::pin::Pin;
use std::sync::Arc;

use wasmtime_wasi_http::{Error, WasiBody};

/// How many components may call each other for one request; one more is an error,
/// `loop-detected`.
pub const LONGEST_CHAIN: u32 = 16;

/// Whom a request inside the app is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChainTarget {
    /// A component by id, public or private: `<id>.spin.internal`.
    Component(String),
    /// Whoever the app's routes name: `self.alt`.
    App,
}

/// A response that is being made.
pub type ChainedResponse =
    Pin<Box<dyn Future<Output = Result<http::Response<WasiBody>, Error>> + Send>>;

/// Answers requests inside the app; implemented by the HTTP trigger.
pub trait ChainedHandler: Send + Sync {
    /// Answers `request`; `depth` counts the components that called each other
    /// to get here and is at most [`LONGEST_CHAIN`].
    fn call(
        self: Arc<Self>,
        target: ChainTarget,
        request: http::Request<WasiBody>,
        depth: u32,
    ) -> ChainedResponse;
}
