//! What one component may reach and what one instance has open.

use std::sync::Arc;

use outbound_network::ComponentNetwork;
use telemetry::Calls;
use wasmtime::component::{Resource, ResourceTable, ResourceTableError};

use crate::client::{Connection, Connections, Opening};
use crate::error::MqttError;

/// Connections an instance may have open at a time.
pub const MAX_OPEN: usize = 1024;

/// An open connection.
pub type OpenConnection = Connection;

/// What one component may reach.
#[derive(Debug)]
pub struct ComponentMqtt {
    network: Arc<ComponentNetwork>,
    connections: Arc<Connections>,
}

impl ComponentMqtt {
    /// What can be reached over `network`, with the connections of the app.
    pub fn new(network: Arc<ComponentNetwork>, connections: Arc<Connections>) -> Self {
        Self { network, connections }
    }

    /// A connection to the broker at `address`, with the seconds after which it
    /// is told that the connection is alive.
    ///
    /// # Errors
    ///
    /// See [`MqttError`].
    pub async fn connect(
        &self,
        address: String,
        user: String,
        password: String,
        keep_alive: u64,
    ) -> Result<Connection, MqttError> {
        let component = self.network.component().to_owned();
        let opening = Opening { component, address, user, password, keep_alive };
        self.connections.connect(&self.network, opening).await
    }
}

/// What makes a connection for an instance, which need not be held meanwhile. Making
/// one takes much room, and waits: it is not a part of the futures of calls.
pub(crate) struct Opener {
    component: Arc<ComponentMqtt>,
    calls: Calls,
}

impl Opener {
    pub(crate) async fn connect(
        &self,
        address: String,
        user: String,
        password: String,
        keep_alive: u64,
    ) -> Result<Connection, MqttError> {
        let connecting = Box::pin(self.component.connect(address, user, password, keep_alive));
        let connection = self.calls.call("spin_outbound_mqtt.open_connection", connecting).await?;
        Ok(connection.telling(self.calls.clone()))
    }
}

/// The connections that one instance has open.
pub struct InstanceConnections {
    component: Arc<ComponentMqtt>,
    calls: Calls,
    table: ResourceTable,
    open: usize,
}

impl InstanceConnections {
    /// Nothing open yet.
    pub fn new(component: Arc<ComponentMqtt>) -> Self {
        Self { component, calls: Calls::default(), table: ResourceTable::new(), open: 0 }
    }

    /// The same; what is done over its connections is told to `calls`.
    #[must_use]
    pub fn telling(self, calls: Calls) -> Self {
        Self { calls, ..self }
    }

    /// What makes the next connection, if there is room for it.
    pub(crate) fn opening(&self) -> Result<Opener, MqttError> {
        if self.open >= MAX_OPEN {
            return Err(MqttError::TooManyConnections);
        }
        Ok(Opener { component: Arc::clone(&self.component), calls: self.calls.clone() })
    }

    /// Keeps an open connection.
    pub(crate) fn keep(
        &mut self,
        connection: Connection,
    ) -> Result<Resource<OpenConnection>, MqttError> {
        // Others may have been opened while this one was being made.
        if self.open >= MAX_OPEN {
            return Err(MqttError::TooManyConnections);
        }
        let resource = self.table.push(connection).map_err(|_| MqttError::TooManyConnections)?;
        self.open += 1;
        Ok(resource)
    }

    pub(crate) fn connection(
        &self,
        connection: &Resource<OpenConnection>,
    ) -> Result<OpenConnection, ResourceTableError> {
        self.table.get(connection).cloned()
    }

    pub(crate) fn close(
        &mut self,
        connection: Resource<OpenConnection>,
    ) -> Result<(), ResourceTableError> {
        self.table.delete(connection)?;
        self.open -= 1;
        Ok(())
    }
}
