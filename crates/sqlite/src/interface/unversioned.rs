//! `fermyon:spin/sqlite` without a version: connections are numbers.

use wasmtime::component::{Linker, Resource};

use super::convert::conversions;
use crate::{InstanceConnections, OpenConnection, Sqlite};

mod bindings {
    wasmtime::component::bindgen!({
        path: "wit/unversioned.wit",
        imports: { default: async },
    });
}

use bindings::fermyon::spin::sqlite::{self, Error, QueryResult, Value};

conversions!(bindings::fermyon::spin::sqlite);

pub(super) fn add_to_linker<T: Send + 'static>(
    linker: &mut Linker<T>,
    connections: fn(&mut T) -> &mut InstanceConnections,
) -> wasmtime::Result<()> {
    sqlite::add_to_linker::<_, Sqlite>(linker, connections)
}

impl sqlite::Host for InstanceConnections {
    async fn open(&mut self, database: String) -> Result<u32, Error> {
        Ok(InstanceConnections::open(self, &database).await?.rep())
    }

    async fn execute(
        &mut self,
        connection: u32,
        statement: String,
        parameters: Vec<Value>,
    ) -> Result<QueryResult, Error> {
        let connection = self
            .connection(&Resource::new_borrow(connection))
            .map_err(|_| Error::InvalidConnection)?;
        Ok(connection.execute(statement, ours(parameters)).await?.into())
    }

    async fn close(&mut self, connection: u32) {
        // Closing what is not open has no way to fail in this interface.
        let _ = InstanceConnections::close(self, Resource::<OpenConnection>::new_own(connection));
    }
}

#[cfg(test)]
mod tests {
    use super::sqlite::Host;
    use super::*;
    use crate::MAX_OPEN;
    use crate::tests::instance;

    #[tokio::test]
    async fn rows_come_back() {
        let mut connections = instance();
        let connection = Host::open(&mut connections, "default".into()).await.unwrap();
        let parameters = vec![Value::Text("x".into()), Value::Null];
        let result =
            connections.execute(connection, "SELECT ? AS a, ?".into(), parameters).await.unwrap();
        assert_eq!(result.columns[0], "a");
        assert!(
            matches!(&result.rows[0].values[..], [Value::Text(text), Value::Null] if text == "x")
        );
    }

    #[tokio::test]
    async fn every_error_has_its_own_variant() {
        let mut connections = instance();
        let denied = Host::open(&mut connections, "other".into()).await;
        assert!(matches!(denied, Err(Error::AccessDenied)));
        let connection = Host::open(&mut connections, "default".into()).await.unwrap();
        let wrong = connections.execute(connection, "nonsense".into(), vec![]).await;
        assert!(matches!(wrong, Err(Error::Io(text)) if text.contains("syntax error")));
        Host::close(&mut connections, connection).await;
        Host::close(&mut connections, 1234).await;
        for closed in [connection, 1234] {
            let invalid = connections.execute(closed, "SELECT 1".into(), vec![]).await;
            assert!(matches!(invalid, Err(Error::InvalidConnection)));
        }
        for _ in 0..MAX_OPEN {
            Host::open(&mut connections, "default".into()).await.unwrap();
        }
        let full = Host::open(&mut connections, "default".into()).await;
        assert!(matches!(full, Err(Error::DatabaseFull)));
    }
}
