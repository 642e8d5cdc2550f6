//! Serves a Spin app over HTTP: routing, calling guests, draining.
//!
//! [`HttpTriggers`] is the trigger type. In order, each step complete before the
//! next:
//!
//! 1. [`HttpApp::new`] checks everything that can be checked.
//! 2. [`HttpApp::bind`] listens; clients can connect from here on.
//! 3. [`BoundServer::serve`] answers until [`trigger::Shutdown`] says otherwise.
//!
//! Guarantees:
//! - A guest that computes without end slows others down at most by its share:
//!   it yields every [`engine::TICK`]. Health is answered meanwhile.
//! - A guest ends when its client goes away, when it takes longer than
//!   [`HttpSettings::request_timeout`], and when the server ends.
//! - Bodies are streamed in both directions; a slow reader slows the writer.
//!   Only `fermyon:spin/inbound-http` has bodies whole, by its nature.
//! - No error of a client, a guest or `accept` ends the server.
//!
//! Differences from Spin, all on the safe side: a request without a usable host
//! is answered with 400 instead of a closed connection; `spin-*` headers sent by
//! a client are replaced, not doubled; a guest over its time is answered with
//! 504, a full server with 503 and `Retry-After`; `CONNECT` with 405.

mod app;
mod asker;
mod body;
mod error;
mod guest;
mod record;
mod request;
mod reserved;
pub mod routes;
mod server;
mod settings;
mod trigger_config;
mod trigger_type;

pub use app::HttpApp;
pub use error::{BindError, StartError};
pub use guest::HandlerError;
pub use record::ACCESS_TARGET;
pub use reserved::ReservedAddress;
pub use server::BoundServer;
pub use settings::{HttpSettings, InstanceReuse};
pub use trigger_type::HttpTriggers;
