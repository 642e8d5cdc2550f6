//! `spin:postgres/postgres@3.0.0`: no decimals, ranges, arrays and the like; errors are
//! text.

use wasmtime::component::{Linker, Resource};

use super::older::{OlderError, errors, values};
use super::{DbDataType, DbValue, Error, ParameterValue, RowSet};
use crate::{InstanceConnections, OpenConnection, OutboundPostgres};

mod bindings {
    wasmtime::component::bindgen!({
        path: "wit/version-3.wit",
        imports: { default: async | trappable },
        with: { "spin:postgres/postgres.connection": crate::OpenConnection },
    });
}

use bindings::spin::postgres::postgres::{self, self as types};

values!(types; results: Date, Time, Datetime; parameters: Date, Time, Datetime, Timestamp; refused:);
errors!(types::Error, Other);

pub(super) fn add_to_linker<T: Send + 'static>(
    linker: &mut Linker<T>,
    connections: fn(&mut T) -> &mut InstanceConnections,
) -> wasmtime::Result<()> {
    postgres::add_to_linker::<_, OutboundPostgres>(linker, connections)
}

type Answer<R> = wasmtime::Result<Result<R, types::Error>>;

impl postgres::Host for InstanceConnections {}

impl postgres::HostConnection for InstanceConnections {
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
        let parameters = match ours(parameters) {
            Ok(parameters) => parameters,
            Err(error) => return Ok(Err(error.into())),
        };
        let rows = connection.query(&statement, &parameters).await;
        Ok(rows.map(Into::into).map_err(Into::into))
    }

    async fn execute(
        &mut self,
        connection: Resource<OpenConnection>,
        statement: String,
        parameters: Vec<types::ParameterValue>,
    ) -> Answer<u64> {
        let connection = self.connection(&connection)?;
        let parameters = match ours(parameters) {
            Ok(parameters) => parameters,
            Err(error) => return Ok(Err(error.into())),
        };
        Ok(connection.execute(&statement, &parameters).await.map_err(Into::into))
    }

    async fn drop(&mut self, connection: Resource<OpenConnection>) -> wasmtime::Result<()> {
        Ok(self.close(connection)?)
    }
}
