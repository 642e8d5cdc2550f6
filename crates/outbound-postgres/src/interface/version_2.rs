//! `fermyon:spin/postgres@2.0.0`: the types it shares with MySQL.

use wasmtime::component::{Linker, Resource};

use super::older::{OlderError, errors, values};
use super::{DbDataType, DbValue, Error, ParameterValue, RowSet};
use crate::{InstanceConnections, OpenConnection, OutboundPostgres};

mod bindings {
    wasmtime::component::bindgen!({
        path: "wit/version-2.wit",
        imports: { default: async | trappable },
        with: { "fermyon:spin/postgres.connection": crate::OpenConnection },
    });
}

use bindings::fermyon::spin::postgres;
use bindings::fermyon::spin::rdbms_types as types;

values!(types; results: ; parameters: ; refused: Uint8, Uint16, Uint32, Uint64);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsigned_parameters_are_refused_as_spin_does() {
        let unsigned = [
            types::ParameterValue::Uint8(1),
            types::ParameterValue::Uint16(1),
            types::ParameterValue::Uint32(1),
            types::ParameterValue::Uint64(1),
        ];
        for parameter in unsigned {
            let refused = ours(vec![types::ParameterValue::Int8(1), parameter]);
            let error = types::Error::from(refused.err().unwrap());
            let expected = "Postgres does not support unsigned integers";
            assert!(matches!(error, types::Error::ValueConversionFailed(text) if text == expected));
        }
    }
}
