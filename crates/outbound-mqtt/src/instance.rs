//! What one component may reach and what one instance has open.

use std::sync::Arc;

use outbound_network::ComponentNetwork;
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

/// The connections that one instance has open.
pub struct InstanceConnections {
    component: Arc<ComponentMqtt>,
    table: ResourceTable,
    open: usize,
}

impl InstanceConnections {
    /// Nothing open yet.
    pub fn new(component: Arc<ComponentMqtt>) -> Self {
        Self { component, table: ResourceTable::new(), open: 0 }
    }

    /// What makes the next connection, if there is room for it.
    pub(crate) fn component(&self) -> Result<Arc<ComponentMqtt>, MqttError> {
        if self.open >= MAX_OPEN {
            return Err(MqttError::TooManyConnections);
        }
        Ok(Arc::clone(&self.component))
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
