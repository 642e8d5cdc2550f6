//! `fermyon:spin/mysql@2.0.0`: the types it shares with PostgreSQL.

use wasmtime::component::{Linker, Resource};

use super::older::{errors, values};
use super::{Column, DbDataType, DbValue, Error, ParameterValue, Row};
use crate::{InstanceConnections, OpenConnection, OutboundMysql};

mod bindings {
    wasmtime::component::bindgen!({
        path: "wit/version-2.wit",
        imports: { default: async | trappable },
        with: { "fermyon:spin/mysql.connection": crate::OpenConnection },
    });
}

use bindings::fermyon::spin::mysql;
use bindings::fermyon::spin::rdbms_types as types;

values!(types);
errors!(types::Error, Other);

pub(super) fn add_to_linker<T: Send + 'static>(
    linker: &mut Linker<T>,
    connections: fn(&mut T) -> &mut InstanceConnections,
) -> wasmtime::Result<()> {
    mysql::add_to_linker::<_, OutboundMysql>(linker, connections)
}

type Answer<R> = wasmtime::Result<Result<R, types::Error>>;

impl mysql::Host for InstanceConnections {}

impl mysql::HostConnection for InstanceConnections {
    async fn open(&mut self, address: String) -> Answer<Resource<OpenConnection>> {
        Ok(InstanceConnections::open(self, &address).await.map_err(Into::into))
    }

    async fn query(
        &mut self,
        connection: Resource<OpenConnection>,
        statement: String,
        parameters: Vec<types::ParameterValue>,
    ) -> Answer<types::RowSet> {
        let connection = self.connection(&connection)?;
        let rows = connection.query(&statement, ours(parameters)).await;
        Ok(rows.map(Into::into).map_err(Into::into))
    }

    async fn execute(
        &mut self,
        connection: Resource<OpenConnection>,
        statement: String,
        parameters: Vec<types::ParameterValue>,
    ) -> Answer<()> {
        let connection = self.connection(&connection)?;
        Ok(connection.execute(&statement, ours(parameters)).await.map_err(Into::into))
    }

    async fn drop(&mut self, connection: Resource<OpenConnection>) -> wasmtime::Result<()> {
        Ok(self.close(connection)?)
    }
}
