//! Calling components with messages.

use bytes::Bytes;
use trigger::{Export, Handler, HandlerError, LinkedComponent, MessageSettings, chain};
use wasmtime::component::{ComponentType, Lift};

use crate::config::TRIGGER_TYPE;

/// The function of either interface.
const FUNCTION: &str = "handle-message";
/// The interface of Spin 1 to 4.
const SPIN: &str = "fermyon:spin/inbound-redis";

type Message = (Vec<u8>,);

/// A component by the interface it exports.
pub(crate) enum Guest {
    Spin(Handler<Message, (Result<(), SpinError>,)>),
    Version3(Handler<Message, (Result<(), Error>,)>),
}

/// Why a guest did not handle a message, as `fermyon:spin` has it.
#[derive(Debug, Clone, Copy, ComponentType, Lift, thiserror::Error)]
#[component(enum)]
#[repr(u8)]
#[expect(dead_code, reason = "made by guests")]
pub(crate) enum SpinError {
    #[component(name = "success")]
    #[error("success")]
    Success,
    #[component(name = "error")]
    #[error("error")]
    Error,
}

/// Why a guest did not handle a message, as `spin:redis@3` has it.
#[derive(Debug, Clone, ComponentType, Lift, thiserror::Error)]
#[component(variant)]
pub(crate) enum Error {
    #[component(name = "invalid-address")]
    #[error("invalid address")]
    InvalidAddress,
    #[component(name = "too-many-connections")]
    #[error("too many connections")]
    TooManyConnections,
    #[component(name = "type-error")]
    #[error("type error")]
    WrongType,
    #[component(name = "other")]
    #[error("{0}")]
    Other(String),
}

impl Guest {
    /// The guest that a component is; the error completes "component … ".
    pub(crate) fn of(linked: &LinkedComponent, settings: MessageSettings) -> Result<Self, String> {
        let exports = linked.exports();
        let version_3 = exports.iter().find(|name| name.starts_with("spin:redis/inbound-redis@3."));
        let spin = exports.iter().find(|name| *name == SPIN);
        let export = |interface| Export { interface: Some(interface), function: FUNCTION };
        let unusable = |error: HandlerError| chain(&error);
        match (spin, version_3) {
            (Some(spin), None) => Handler::of(TRIGGER_TYPE, linked, export(spin), settings)
                .map(Self::Spin)
                .map_err(unusable),
            (None, Some(version_3)) => {
                Handler::of(TRIGGER_TYPE, linked, export(version_3), settings)
                    .map(Self::Version3)
                    .map_err(unusable)
            }
            (None, None) => Err(format!(
                "exports no handler of Redis messages: expected {SPIN} or \
                 spin:redis/inbound-redis@3.0.0"
            )),
            (Some(_), Some(_)) => Err("exports several handlers of Redis messages".to_owned()),
        }
    }

    /// Has a new instance handle a message of `channel`.
    pub(crate) async fn handle(&self, channel: &str, payload: Bytes) {
        let message = (Vec::from(payload),);
        match self {
            Self::Spin(handler) => handler.handle(channel, message).await,
            Self::Version3(handler) => handler.handle(channel, message).await,
        };
    }
}
