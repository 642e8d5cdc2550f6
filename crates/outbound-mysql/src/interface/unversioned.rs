//! `fermyon:spin/mysql` without a version: every call names its address.

use wasmtime::component::Linker;

use super::older::{errors, values};
use super::{Column, DbDataType, DbValue, Error, ParameterValue, Row};
use crate::{InstanceConnections, OutboundMysql};

mod bindings {
    wasmtime::component::bindgen!({
        path: "wit/unversioned.wit",
        imports: { default: async },
    });
}

use bindings::fermyon::spin::mysql::{self, MysqlError};
use bindings::fermyon::spin::rdbms_types as types;

values!(types);
errors!(mysql::MysqlError, OtherError);

pub(super) fn add_to_linker<T: Send + 'static>(
    linker: &mut Linker<T>,
    connections: fn(&mut T) -> &mut InstanceConnections,
) -> wasmtime::Result<()> {
    mysql::add_to_linker::<_, OutboundMysql>(linker, connections)
}

impl mysql::Host for InstanceConnections {
    async fn query(
        &mut self,
        address: String,
        statement: String,
        parameters: Vec<types::ParameterValue>,
    ) -> Result<types::RowSet, MysqlError> {
        let connection = self.connect(&address).await?;
        Ok(connection.query(&statement, ours(parameters)).await?.into())
    }

    async fn execute(
        &mut self,
        address: String,
        statement: String,
        parameters: Vec<types::ParameterValue>,
    ) -> Result<(), MysqlError> {
        let connection = self.connect(&address).await?;
        Ok(connection.execute(&statement, ours(parameters)).await?)
    }
}
