//! `fermyon:spin/sqlite@2.0.0`.

use wasmtime::component::{Linker, Resource};

use super::convert::conversions;
use crate::{InstanceConnections, OpenConnection, Sqlite};

mod bindings {
    wasmtime::component::bindgen!({
        path: "wit/version-2.wit",
        imports: { default: async | trappable },
        with: { "fermyon:spin/sqlite.connection": crate::OpenConnection },
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

impl sqlite::Host for InstanceConnections {}

impl sqlite::HostConnection for InstanceConnections {
    async fn open(
        &mut self,
        database: String,
    ) -> wasmtime::Result<Result<Resource<OpenConnection>, Error>> {
        Ok(InstanceConnections::open(self, &database).await.map_err(Error::from))
    }

    async fn execute(
        &mut self,
        connection: Resource<OpenConnection>,
        statement: String,
        parameters: Vec<Value>,
    ) -> wasmtime::Result<Result<QueryResult, Error>> {
        let connection = self.connection(&connection)?;
        let result = connection.execute(statement, ours(parameters)).await;
        Ok(result.map(QueryResult::from).map_err(Error::from))
    }

    async fn drop(&mut self, connection: Resource<OpenConnection>) -> wasmtime::Result<()> {
        Ok(self.close(connection)?)
    }
}

#[cfg(test)]
mod tests {
    use super::sqlite::HostConnection;
    use super::*;
    use crate::tests::instance;

    #[tokio::test]
    async fn rows_come_back_and_errors_have_their_own_variant() {
        let mut connections = instance();
        let denied = HostConnection::open(&mut connections, "other".into()).await.unwrap();
        assert!(matches!(denied, Err(Error::AccessDenied)));
        let opened = HostConnection::open(&mut connections, "default".into()).await.unwrap();
        let rep = opened.unwrap().rep();
        let connection = || Resource::<OpenConnection>::new_borrow(rep);
        let parameters = vec![Value::Blob(vec![1]), Value::Real(0.5)];
        let result =
            connections.execute(connection(), "SELECT ?, ?".into(), parameters).await.unwrap();
        let rows = result.unwrap().rows;
        assert!(matches!(
            &rows[0].values[..],
            [Value::Blob(bytes), Value::Real(number)] if bytes == &[1] && *number > 0.4
        ));
        let wrong = connections.execute(connection(), "nonsense".into(), vec![]).await.unwrap();
        assert!(matches!(wrong, Err(Error::Io(text)) if text.contains("syntax error")));
        for sql in ["CREATE TABLE t (a)", "PRAGMA max_page_count = 4"] {
            connections.execute(connection(), sql.into(), vec![]).await.unwrap().unwrap();
        }
        let sql = "INSERT INTO t VALUES (zeroblob(1000000))";
        let full = connections.execute(connection(), sql.into(), vec![]).await.unwrap();
        assert!(matches!(full, Err(Error::DatabaseFull)));
        HostConnection::drop(&mut connections, Resource::new_own(rep)).await.unwrap();
        assert!(connections.execute(connection(), "SELECT 1".into(), vec![]).await.is_err());
    }
}
