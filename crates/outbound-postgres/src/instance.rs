//! What one component may reach and what one instance has open.

use std::sync::Arc;

use outbound_network::ComponentNetwork;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use telemetry::Calls;
use wasmtime::component::{Resource, ResourceTable, ResourceTableError};

use crate::client::{Connection, Connections};
use crate::interface::Error;

/// Connections an instance may have open at a time.
pub const MAX_OPEN: usize = 1024;

/// An open connection.
pub type OpenConnection = Connection;

/// What a connection will be made of.
#[derive(Debug, Clone)]
pub struct Builder {
    address: String,
    authorities: Vec<CertificateDer<'static>>,
}

impl Builder {
    pub(crate) fn new(address: String) -> Self {
        Self { address, authorities: Vec::new() }
    }

    /// Trusts these certificates, in PEM, besides those that are known.
    pub(crate) fn trust(&mut self, certificates: &str) -> Result<(), Error> {
        let parsed: Result<Vec<_>, _> =
            CertificateDer::pem_slice_iter(certificates.as_bytes()).collect();
        match parsed {
            Ok(authorities) if !authorities.is_empty() => {
                self.authorities = authorities;
                Ok(())
            }
            _ => Err(Error::Other("the CA root is not a certificate in PEM".to_owned())),
        }
    }
}

/// What one component may reach.
#[derive(Debug)]
pub struct ComponentPostgres {
    network: Arc<ComponentNetwork>,
    connections: Arc<Connections>,
}

impl ComponentPostgres {
    /// What can be reached over `network`, with the connections of the app.
    pub fn new(network: Arc<ComponentNetwork>, connections: Arc<Connections>) -> Self {
        Self { network, connections }
    }

    /// A connection to the server at `address`.
    ///
    /// # Errors
    ///
    /// `connection-failed`, with the reason.
    pub async fn connect(&self, address: &str) -> Result<Connection, Error> {
        self.connections.connect(&self.network, address, &[]).await
    }

    pub(crate) async fn build(&self, builder: &Builder) -> Result<Connection, Error> {
        self.connections.connect(&self.network, &builder.address, &builder.authorities).await
    }
}

/// What makes a connection for an instance, which need not be held meanwhile. Making
/// one takes much room, and waits: it is not a part of the futures of calls.
pub(crate) struct Opening {
    component: Arc<ComponentPostgres>,
    calls: Calls,
}

impl Opening {
    pub(crate) async fn connect(&self, address: &str) -> Result<Connection, Error> {
        let connecting = Box::pin(self.component.connect(address));
        let connection = self.calls.call("spin_outbound_pg.open_connection", connecting).await?;
        Ok(connection.telling(self.calls.clone()))
    }

    pub(crate) async fn build(&self, builder: &Builder) -> Result<Connection, Error> {
        let connecting = Box::pin(self.component.build(builder));
        let connection = self.calls.call("spin_outbound_pg.open_connection", connecting).await?;
        Ok(connection.telling(self.calls.clone()))
    }
}

/// The connections that one instance has open.
pub struct InstanceConnections {
    component: Arc<ComponentPostgres>,
    calls: Calls,
    table: ResourceTable,
    open: usize,
}

fn too_many() -> Error {
    Error::ConnectionFailed(format!("the instance has {MAX_OPEN} connections open"))
}

impl InstanceConnections {
    /// Nothing open yet.
    pub fn new(component: Arc<ComponentPostgres>) -> Self {
        Self { component, calls: Calls::default(), table: ResourceTable::new(), open: 0 }
    }

    /// The same; what is done over its connections is told to `calls`.
    #[must_use]
    pub fn telling(self, calls: Calls) -> Self {
        Self { calls, ..self }
    }

    /// What makes the next connection, if there is room for it.
    pub(crate) fn opening(&self) -> Result<Opening, Error> {
        if self.open >= MAX_OPEN {
            return Err(too_many());
        }
        Ok(Opening { component: Arc::clone(&self.component), calls: self.calls.clone() })
    }

    /// A connection for a single call.
    pub(crate) async fn connect(&mut self, address: &str) -> Result<Connection, Error> {
        self.component.connect(address).await
    }

    pub(crate) async fn open(&mut self, address: &str) -> Result<Resource<OpenConnection>, Error> {
        let connection = self.opening()?.connect(address).await?;
        self.keep(connection)
    }

    /// Keeps an open connection.
    pub(crate) fn keep(
        &mut self,
        connection: Connection,
    ) -> Result<Resource<OpenConnection>, Error> {
        // Others may have been opened while this one was being made.
        if self.open >= MAX_OPEN {
            return Err(too_many());
        }
        let resource = self.table.push(connection).map_err(|_| too_many())?;
        self.open += 1;
        Ok(resource)
    }

    pub(crate) fn connection(
        &self,
        connection: &Resource<OpenConnection>,
    ) -> Result<Connection, ResourceTableError> {
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

    pub(crate) fn keep_builder(
        &mut self,
        builder: Builder,
    ) -> Result<Resource<Builder>, ResourceTableError> {
        self.table.push(builder)
    }

    pub(crate) fn builder(
        &mut self,
        builder: &Resource<Builder>,
    ) -> Result<&mut Builder, ResourceTableError> {
        self.table.get_mut(builder)
    }

    pub(crate) fn drop_builder(
        &mut self,
        builder: Resource<Builder>,
    ) -> Result<(), ResourceTableError> {
        self.table.delete(builder).map(drop)
    }
}
