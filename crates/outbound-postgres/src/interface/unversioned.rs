//! `fermyon:spin/postgres` without a version: every call names its address.

use wasmtime::component::Linker;

use super::older::{OlderError, errors, values};
use super::{DbDataType, DbValue, Error, ParameterValue, RowSet};
use crate::{InstanceConnections, OutboundPostgres};

mod bindings {
    wasmtime::component::bindgen!({
        path: "wit/unversioned.wit",
        imports: { default: async },
    });
}

use bindings::fermyon::spin::postgres::{self, PgError};
use bindings::fermyon::spin::rdbms_types as types;

values!(types; results: ; parameters: ; refused: Uint8, Uint16, Uint32, Uint64);
errors!(postgres::PgError, OtherError);

pub(super) fn add_to_linker<T: Send + 'static>(
    linker: &mut Linker<T>,
    connections: fn(&mut T) -> &mut InstanceConnections,
) -> wasmtime::Result<()> {
    postgres::add_to_linker::<_, OutboundPostgres>(linker, connections)
}

impl postgres::Host for InstanceConnections {
    async fn query(
        &mut self,
        address: String,
        statement: String,
        parameters: Vec<types::ParameterValue>,
    ) -> Result<types::RowSet, PgError> {
        let connection = self.connect(&address).await?;
        Ok(connection.query(&statement, &ours(parameters)?).await?.into())
    }

    async fn execute(
        &mut self,
        address: String,
        statement: String,
        parameters: Vec<types::ParameterValue>,
    ) -> Result<u64, PgError> {
        let connection = self.connect(&address).await?;
        Ok(connection.execute(&statement, &ours(parameters)?).await?)
    }
}
