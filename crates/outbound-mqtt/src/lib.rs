//! MQTT for guests, who publish.
//!
//! One implementation serves every version of the interface: `fermyon:spin`
//! 2.0.0, `spin:mqtt` 3.0.0. It speaks MQTT 3.1.1.
//!
//! - [`Connections`]: the connections an app has to brokers.
//! - [`ComponentMqtt`]: what one component may reach.
//! - [`InstanceConnections`]: what one instance has open; its data is in the
//!   store of wasmtime, and [`add_to_linker`] is told how to find it there.
//!
//! An address is a URL: `mqtt://host[:port]?client_id=ID`, over TLS with the
//! scheme `mqtts`. It must be granted by `allowed_outbound_hosts` with the scheme
//! it has.
//!
//! A broker lets nobody else have the client id of a connection. Therefore all
//! instances of a component that open the same address with the same credentials
//! share one connection, which is kept for [`IDLE_TIME`] after the last use.
//! Publishing returns when the broker has acknowledged what the quality of
//! service asks for; with "at most once" when it is sent. Limits: [`MAX_OPEN`]
//! connections per instance, [`MAX_PACKET`] bytes per message.

mod address;
mod client;
mod codec;
mod error;
mod instance;
mod interface;
mod session;

pub use address::{AddressError, MqttAddress};
pub use client::{Connection, Connections, Limits};
pub use codec::{MAX_PACKET, QualityOfService};
pub use error::MqttError;
pub use instance::{ComponentMqtt, InstanceConnections, MAX_OPEN, OpenConnection};
pub use interface::{OutboundMqtt, PROVIDES, add_to_linker};
pub use session::IDLE_TIME;

#[cfg(test)]
mod tests;
