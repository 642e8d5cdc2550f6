//! `spin:sqlite/sqlite@3.1.0`, which serves 3.0.0 as well: twins of every function
//! for guests that wait for several things at once, and what the last statement
//! did.
//!
//! The rows of `execute-async` are read before it returns, as those of `execute`;
//! a stream that is not read keeps no lock.

use std::sync::Arc;

use wasmtime::component::{Accessor, FutureReader, Linker, Resource, StreamReader};

use super::convert::conversions;
use crate::{Connection, InstanceConnections, OpenConnection, OpenError, Sqlite};

mod bindings {
    wasmtime::component::bindgen!({
        path: "wit/version-3.wit",
        imports: { default: async | trappable },
        with: { "spin:sqlite/sqlite.connection": crate::OpenConnection },
    });
}

use bindings::spin::sqlite::sqlite::{self, Error, QueryResult, RowResult, Value};

conversions!(bindings::spin::sqlite::sqlite);

pub(super) fn add_to_linker<T: Send + 'static>(
    linker: &mut Linker<T>,
    connections: fn(&mut T) -> &mut InstanceConnections,
) -> wasmtime::Result<()> {
    sqlite::add_to_linker::<_, Sqlite>(linker, connections)
}

type Rows = (Vec<String>, StreamReader<RowResult>, FutureReader<Result<(), Error>>);

/// The connection behind `resource`, to be used without holding on to the
/// instance.
fn connection<T>(
    accessor: &Accessor<T, Sqlite>,
    resource: &Resource<OpenConnection>,
) -> wasmtime::Result<Arc<dyn Connection>> {
    accessor.with(|mut access| Ok(access.get().connection(resource)?))
}

async fn open<T>(
    accessor: &Accessor<T, Sqlite>,
    label: &str,
) -> Result<Resource<OpenConnection>, OpenError> {
    let database = accessor.with(|mut access| access.get().database(label))?;
    let connection = database.connect().await?;
    accessor.with(|mut access| access.get().keep(connection))
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

    async fn last_insert_rowid(
        &mut self,
        connection: Resource<OpenConnection>,
    ) -> wasmtime::Result<i64> {
        Ok(self.connection(&connection)?.last_insert_rowid().await)
    }

    async fn changes(&mut self, connection: Resource<OpenConnection>) -> wasmtime::Result<u64> {
        Ok(self.connection(&connection)?.changes().await)
    }

    async fn drop(&mut self, connection: Resource<OpenConnection>) -> wasmtime::Result<()> {
        Ok(self.close(connection)?)
    }
}

impl<T: Send> sqlite::HostConnectionWithStore<T> for Sqlite {
    async fn open_async(
        accessor: &Accessor<T, Self>,
        database: String,
    ) -> wasmtime::Result<Result<Resource<OpenConnection>, Error>> {
        Ok(open(accessor, &database).await.map_err(Error::from))
    }

    async fn execute_async(
        accessor: &Accessor<T, Self>,
        resource: Resource<OpenConnection>,
        statement: String,
        parameters: Vec<Value>,
    ) -> wasmtime::Result<Result<Rows, Error>> {
        let connection = connection(accessor, &resource)?;
        let result = match connection.execute(statement, ours(parameters)).await {
            Ok(result) => result,
            Err(error) => return Ok(Err(error.into())),
        };
        let rows: Vec<RowResult> = result.rows.into_iter().map(RowResult::from).collect();
        accessor.with(|mut access| {
            let rows = StreamReader::new(&mut access, rows)?;
            let outcome = FutureReader::new(&mut access, async { wasmtime::error::Ok(Ok(())) })?;
            Ok(Ok((result.columns, rows, outcome)))
        })
    }

    async fn last_insert_rowid_async(
        accessor: &Accessor<T, Self>,
        resource: Resource<OpenConnection>,
    ) -> wasmtime::Result<i64> {
        Ok(connection(accessor, &resource)?.last_insert_rowid().await)
    }

    async fn changes_async(
        accessor: &Accessor<T, Self>,
        resource: Resource<OpenConnection>,
    ) -> wasmtime::Result<u64> {
        Ok(connection(accessor, &resource)?.changes().await)
    }
}
