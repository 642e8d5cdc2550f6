//! `spin:mysql/mysql@3.0.0`: every function is async, rows are a stream. Its types
//! are those the rest of this crate works with.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::sync::mpsc;
use wasmtime::StoreContextMut;
use wasmtime::component::{
    Accessor, Destination, FutureReader, Linker, Resource, StreamProducer, StreamReader,
    StreamResult, VecBuffer,
};

use crate::client::interrupted;
use crate::{Connection, InstanceConnections, OpenConnection, OutboundMysql};

mod bindings {
    #![expect(missing_docs, reason = "generated; the interface is Spin's")]

    wasmtime::component::bindgen!({
        path: "wit/version-3.wit",
        imports: { default: async | trappable },
        with: { "spin:mysql/mysql.connection": crate::OpenConnection },
    });
}

use bindings::spin::mysql::mysql;
pub use bindings::spin::mysql::mysql::Error;
pub(crate) use bindings::spin::mysql::mysql::{Column, DbDataType, DbValue, ParameterValue, Row};

pub(super) fn add_to_linker<T: Send + 'static>(
    linker: &mut Linker<T>,
    connections: fn(&mut T) -> &mut InstanceConnections,
) -> wasmtime::Result<()> {
    mysql::add_to_linker::<_, OutboundMysql>(linker, connections)
}

type Answer<R> = wasmtime::Result<Result<R, Error>>;
type Streamed = (Vec<Column>, StreamReader<Row>, FutureReader<Result<(), Error>>);

/// The connection behind `resource`, to be used without holding on to the
/// instance.
fn connection<T>(
    accessor: &Accessor<T, OutboundMysql>,
    resource: &Resource<OpenConnection>,
) -> wasmtime::Result<Connection> {
    accessor.with(|mut access| Ok(access.get().connection(resource)?))
}

async fn open<T>(
    accessor: &Accessor<T, OutboundMysql>,
    address: &str,
) -> Result<Resource<OpenConnection>, Error> {
    let opening = accessor.with(|mut access| access.get().opening())?;
    let connection = opening.connect(address).await?;
    accessor.with(|mut access| access.get().keep(connection))
}

/// The rows that a query sends, as a stream of the guest.
struct Rows(mpsc::Receiver<Row>);

impl<D> StreamProducer<D> for Rows {
    type Item = Row;
    type Buffer = VecBuffer<Row>;

    fn poll_produce<'a>(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        _: StoreContextMut<'a, D>,
        mut destination: Destination<'a, Row, VecBuffer<Row>>,
        finish: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        let limit = self.0.max_capacity();
        let mut rows = Vec::new();
        match self.0.poll_recv_many(cx, &mut rows, limit) {
            Poll::Ready(0) => Poll::Ready(Ok(StreamResult::Dropped)),
            Poll::Ready(_) => {
                destination.set_buffer(rows.into());
                Poll::Ready(Ok(StreamResult::Completed))
            }
            Poll::Pending if finish => Poll::Ready(Ok(StreamResult::Cancelled)),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl mysql::Host for InstanceConnections {}

impl mysql::HostConnection for InstanceConnections {
    async fn drop(&mut self, connection: Resource<OpenConnection>) -> wasmtime::Result<()> {
        Ok(self.close(connection)?)
    }
}

impl<T: Send> mysql::HostConnectionWithStore<T> for OutboundMysql {
    async fn open(
        accessor: &Accessor<T, Self>,
        address: String,
    ) -> Answer<Resource<OpenConnection>> {
        Ok(open(accessor, &address).await)
    }

    async fn query(
        accessor: &Accessor<T, Self>,
        resource: Resource<OpenConnection>,
        statement: String,
        parameters: Vec<ParameterValue>,
    ) -> Answer<Streamed> {
        let connection = connection(accessor, &resource)?;
        let rows = match connection.stream(statement, parameters).await {
            Ok(rows) => rows,
            Err(error) => return Ok(Err(error)),
        };
        accessor.with(|mut access| {
            let stream = StreamReader::new(&mut access, Rows(rows.rows))?;
            let outcome = FutureReader::new(&mut access, async move {
                wasmtime::error::Ok(rows.outcome.await.unwrap_or_else(|_| Err(interrupted())))
            })?;
            Ok(Ok((rows.columns, stream, outcome)))
        })
    }

    async fn execute(
        accessor: &Accessor<T, Self>,
        resource: Resource<OpenConnection>,
        statement: String,
        parameters: Vec<ParameterValue>,
    ) -> Answer<()> {
        let connection = connection(accessor, &resource)?;
        Ok(connection.execute(&statement, parameters).await)
    }
}
