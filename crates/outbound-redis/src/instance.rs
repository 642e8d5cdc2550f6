//! What one component may reach and what one instance has open.

use std::sync::Arc;

use outbound_network::ComponentNetwork;
use telemetry::Calls;
use wasmtime::component::{Resource, ResourceTable, ResourceTableError};

use crate::client::{Connection, Connections};
use crate::error::RedisError;

/// Connections an instance may have open at a time.
pub const MAX_OPEN: usize = 1024;

/// An open connection.
pub type OpenConnection = Arc<Connection>;

/// What one component may reach.
#[derive(Debug)]
pub struct ComponentRedis {
    network: Arc<ComponentNetwork>,
    connections: Arc<Connections>,
}

impl ComponentRedis {
    /// What can be reached over `network`, with the connections of the app.
    pub fn new(network: Arc<ComponentNetwork>, connections: Arc<Connections>) -> Self {
        Self { network, connections }
    }

    /// A connection to the server at `address`.
    ///
    /// # Errors
    ///
    /// See [`RedisError`].
    pub async fn connect(&self, address: &str) -> Result<Connection, RedisError> {
        self.connections.connect(&self.network, address).await
    }
}

/// What makes a connection for an instance, which need not be held meanwhile. Making
/// one takes much room, and waits: it is not a part of the futures of calls.
pub(crate) struct Opening {
    component: Arc<ComponentRedis>,
    calls: Calls,
}

impl Opening {
    pub(crate) async fn connect(&self, address: &str) -> Result<Connection, RedisError> {
        let connecting = Box::pin(self.component.connect(address));
        let connection = self.calls.call("spin_outbound_redis.open_connection", connecting).await?;
        Ok(connection.telling(self.calls.clone()))
    }
}

/// The connections that one instance has open.
pub struct InstanceConnections {
    component: Arc<ComponentRedis>,
    calls: Calls,
    table: ResourceTable,
    open: usize,
}

impl InstanceConnections {
    /// Nothing open yet.
    pub fn new(component: Arc<ComponentRedis>) -> Self {
        Self { component, calls: Calls::default(), table: ResourceTable::new(), open: 0 }
    }

    /// The same; what is done over its connections is told to `calls`.
    #[must_use]
    pub fn telling(self, calls: Calls) -> Self {
        Self { calls, ..self }
    }

    /// What makes the next connection, if there is room for it.
    pub(crate) fn opening(&self) -> Result<Opening, RedisError> {
        if self.open >= MAX_OPEN {
            return Err(RedisError::TooManyConnections);
        }
        Ok(Opening { component: Arc::clone(&self.component), calls: self.calls.clone() })
    }

    /// A connection for a single call.
    pub(crate) async fn connect(&mut self, address: &str) -> Result<Connection, RedisError> {
        self.opening()?.connect(address).await
    }

    /// Keeps an open connection.
    pub(crate) fn keep(
        &mut self,
        connection: Connection,
    ) -> Result<Resource<OpenConnection>, RedisError> {
        // Others may have been opened while this one was being made.
        if self.open >= MAX_OPEN {
            return Err(RedisError::TooManyConnections);
        }
        let resource =
            self.table.push(Arc::new(connection)).map_err(|_| RedisError::TooManyConnections)?;
        self.open += 1;
        Ok(resource)
    }

    pub(crate) async fn open(
        &mut self,
        address: &str,
    ) -> Result<Resource<OpenConnection>, RedisError> {
        let connection = self.opening()?.connect(address).await?;
        self.keep(connection)
    }

    pub(crate) fn connection(
        &self,
        connection: &Resource<OpenConnection>,
    ) -> Result<OpenConnection, ResourceTableError> {
        Ok(Arc::clone(self.table.get(connection)?))
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
