//! Calling components with messages.

use trigger::{Export, Handler, LinkedComponent, MessageSettings, chain};
use wasmtime::component::{ComponentType, Lift, Lower};

use crate::config::TRIGGER_TYPE;

/// What a guest is told.
#[derive(Debug, Clone, PartialEq, Eq, ComponentType, Lower, Lift)]
#[component(record)]
pub(crate) struct Message {
    pub(crate) id: Option<String>,
    #[component(name = "message-attributes")]
    pub(crate) attributes: Vec<MessageAttribute>,
    pub(crate) body: Option<String>,
}

/// An attribute of a message.
#[derive(Debug, Clone, PartialEq, Eq, ComponentType, Lower, Lift)]
#[component(record)]
pub(crate) struct MessageAttribute {
    pub(crate) name: String,
    #[component(name = "data-type")]
    pub(crate) data_type: Option<String>,
    pub(crate) value: AttributeValue,
}

#[derive(Debug, Clone, PartialEq, Eq, ComponentType, Lower, Lift)]
#[component(variant)]
pub(crate) enum AttributeValue {
    #[component(name = "str")]
    Str(String),
    #[component(name = "binary")]
    Binary(Vec<u8>),
}

/// What is to become of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ComponentType, Lift)]
#[component(enum)]
#[repr(u8)]
#[expect(dead_code, reason = "made by guests")]
pub(crate) enum Action {
    #[component(name = "delete")]
    Delete,
    #[component(name = "leave")]
    Leave,
}

/// Why a guest did not handle a message.
#[derive(Debug, Clone, ComponentType, Lift, thiserror::Error)]
#[component(variant)]
pub(crate) enum Error {
    #[component(name = "other")]
    #[error("{0}")]
    Other(String),
}

/// A component that handles messages.
pub(crate) struct Guest(Handler<(Message,), (Result<Action, Error>,)>);

impl Guest {
    /// The guest that a component is; the error completes "component … ".
    pub(crate) fn of(linked: &LinkedComponent, settings: MessageSettings) -> Result<Self, String> {
        let export = Export { interface: None, function: "handle-queue-message" };
        let handler = Handler::of(TRIGGER_TYPE, linked, export, settings);
        handler.map(Self).map_err(|error| chain(&error))
    }

    /// Has a new instance handle a message of `queue`; none when it fails.
    pub(crate) async fn handle(&self, queue: &str, message: Message) -> Option<Action> {
        self.0.handle(queue, (message,)).await
    }
}
