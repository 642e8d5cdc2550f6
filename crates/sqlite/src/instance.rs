//! What one instance has open.

use std::sync::Arc;

use wasmtime::component::{Resource, ResourceTable, ResourceTableError};

use crate::database::{Connection, Database, SqliteError};
use crate::databases::ComponentDatabases;

/// Connections an instance may have open at a time.
pub const MAX_OPEN: usize = 256;

/// What stands before a connection for one instance.
pub type Wrap = Box<dyn Fn(Arc<dyn Connection>) -> Arc<dyn Connection> + Send + Sync>;

/// The connections that one instance has open.
pub struct InstanceConnections {
    component: Arc<ComponentDatabases>,
    wrap: Option<Wrap>,
    table: ResourceTable,
    open: usize,
}

/// An open connection.
pub struct OpenConnection {
    connection: Arc<dyn Connection>,
}

/// A connection cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The component does not declare the label.
    #[error("the component has no access to this database")]
    AccessDenied,
    /// The instance has [`MAX_OPEN`] connections open.
    #[error("the instance has {MAX_OPEN} connections open")]
    TableFull,
    /// The database refuses.
    #[error(transparent)]
    Database(#[from] SqliteError),
}

impl InstanceConnections {
    /// Nothing open yet.
    pub fn new(component: Arc<ComponentDatabases>) -> Self {
        Self { component, wrap: None, table: ResourceTable::new(), open: 0 }
    }

    /// The same, with every connection wrapped when it is kept.
    #[must_use]
    pub fn wrapped(self, wrap: Wrap) -> Self {
        Self { wrap: Some(wrap), ..self }
    }

    /// The database with this label, if the component may open it.
    pub(crate) fn database(&self, label: &str) -> Result<Arc<dyn Database>, OpenError> {
        if self.open >= MAX_OPEN {
            return Err(OpenError::TableFull);
        }
        self.component.get(label).map(Arc::clone).ok_or(OpenError::AccessDenied)
    }

    /// Keeps an open connection.
    pub(crate) fn keep(
        &mut self,
        connection: Arc<dyn Connection>,
    ) -> Result<Resource<OpenConnection>, OpenError> {
        // Others may have been opened while this one was being made.
        if self.open >= MAX_OPEN {
            return Err(OpenError::TableFull);
        }
        let connection = OpenConnection {
            connection: match &self.wrap {
                Some(wrap) => wrap(connection),
                None => connection,
            },
        };
        let resource = self.table.push(connection).map_err(|_| OpenError::TableFull)?;
        self.open += 1;
        Ok(resource)
    }

    pub(crate) async fn open(
        &mut self,
        label: &str,
    ) -> Result<Resource<OpenConnection>, OpenError> {
        let connection = self.database(label)?.connect().await?;
        self.keep(connection)
    }

    pub(crate) fn connection(
        &self,
        connection: &Resource<OpenConnection>,
    ) -> Result<Arc<dyn Connection>, ResourceTableError> {
        Ok(Arc::clone(&self.table.get(connection)?.connection))
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
