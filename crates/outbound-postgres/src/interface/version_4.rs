//! `spin:postgres/postgres@4.2.0`, which serves 4.0.0 and 4.1.0 as well. Its
//! types are those the rest of this crate works with.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::sync::mpsc;
use wasmtime::StoreContextMut;
use wasmtime::component::{
    Accessor, Destination, FutureReader, Linker, Resource, StreamProducer, StreamReader,
    StreamResult, VecBuffer,
};

use crate::{Builder, Connection, InstanceConnections, OpenConnection, OutboundPostgres};

mod bindings {
    #![expect(missing_docs, reason = "generated; the interface is Spin's")]

    wasmtime::component::bindgen!({
        path: "wit/version-4.wit",
        imports: { default: async | trappable },
        with: {
            "spin:postgres/postgres.connection": crate::OpenConnection,
            "spin:postgres/postgres.connection-builder": crate::Builder,
        },
    });
}

use bindings::spin::postgres::postgres;
pub use bindings::spin::postgres::postgres::Error;
pub(crate) use bindings::spin::postgres::postgres::{
    Column, DbDataType, DbError, DbValue, Interval, ParameterValue, QueryError, RangeBoundKind,
    Row, RowSet,
};

pub(super) fn add_to_linker<T: Send + 'static>(
    linker: &mut Linker<T>,
    connections: fn(&mut T) -> &mut InstanceConnections,
) -> wasmtime::Result<()> {
    postgres::add_to_linker::<_, OutboundPostgres>(linker, connections)
}

type Answer<R> = wasmtime::Result<Result<R, Error>>;
type Streamed = (Vec<Column>, StreamReader<Row>, FutureReader<Result<(), Error>>);

/// The connection behind `resource`, to be used without holding on to the
/// instance.
fn connection<T>(
    accessor: &Accessor<T, OutboundPostgres>,
    resource: &Resource<OpenConnection>,
) -> wasmtime::Result<Connection> {
    accessor.with(|mut access| Ok(access.get().connection(resource)?))
}

async fn open<T>(
    accessor: &Accessor<T, OutboundPostgres>,
    builder: &Builder,
) -> Result<Resource<OpenConnection>, Error> {
    let opening = accessor.with(|mut access| access.get().opening())?;
    let connection = opening.build(builder).await?;
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

impl postgres::Host for InstanceConnections {}

impl postgres::HostConnectionBuilder for InstanceConnections {
    async fn new(&mut self, address: String) -> wasmtime::Result<Resource<Builder>> {
        Ok(self.keep_builder(Builder::new(address))?)
    }

    async fn set_ca_root(&mut self, builder: Resource<Builder>, certificate: String) -> Answer<()> {
        Ok(self.builder(&builder)?.trust(&certificate))
    }

    async fn build(&mut self, builder: Resource<Builder>) -> Answer<Resource<OpenConnection>> {
        let builder = self.builder(&builder)?.clone();
        let opening = match self.opening() {
            Ok(opening) => opening,
            Err(error) => return Ok(Err(error)),
        };
        let connection = opening.build(&builder).await;
        Ok(connection.and_then(|connection| self.keep(connection)))
    }

    async fn drop(&mut self, builder: Resource<Builder>) -> wasmtime::Result<()> {
        Ok(self.drop_builder(builder)?)
    }
}

impl<T: Send> postgres::HostConnectionBuilderWithStore<T> for OutboundPostgres {
    async fn build_async(
        accessor: &Accessor<T, Self>,
        builder: Resource<Builder>,
    ) -> Answer<Resource<OpenConnection>> {
        let builder = accessor.with(|mut access| access.get().builder(&builder).cloned())?;
        Ok(open(accessor, &builder).await)
    }
}

impl postgres::HostConnection for InstanceConnections {
    async fn open(&mut self, address: String) -> Answer<Resource<OpenConnection>> {
        Ok(InstanceConnections::open(self, &address).await)
    }

    async fn query(
        &mut self,
        connection: Resource<OpenConnection>,
        statement: String,
        parameters: Vec<ParameterValue>,
    ) -> Answer<RowSet> {
        Ok(self.connection(&connection)?.query(&statement, &parameters).await)
    }

    async fn execute(
        &mut self,
        connection: Resource<OpenConnection>,
        statement: String,
        parameters: Vec<ParameterValue>,
    ) -> Answer<u64> {
        Ok(self.connection(&connection)?.execute(&statement, &parameters).await)
    }

    async fn drop(&mut self, connection: Resource<OpenConnection>) -> wasmtime::Result<()> {
        Ok(self.close(connection)?)
    }
}

impl<T: Send> postgres::HostConnectionWithStore<T> for OutboundPostgres {
    async fn open_async(
        accessor: &Accessor<T, Self>,
        address: String,
    ) -> Answer<Resource<OpenConnection>> {
        Ok(open(accessor, &Builder::new(address)).await)
    }

    async fn query_async(
        accessor: &Accessor<T, Self>,
        resource: Resource<OpenConnection>,
        statement: String,
        parameters: Vec<ParameterValue>,
    ) -> Answer<Streamed> {
        let connection = connection(accessor, &resource)?;
        let rows = match connection.stream(&statement, &parameters).await {
            Ok(rows) => rows,
            Err(error) => return Ok(Err(error)),
        };
        accessor.with(|mut access| {
            let stream = StreamReader::new(&mut access, Rows(rows.rows))?;
            let outcome = FutureReader::new(&mut access, async move {
                let gone = || Error::Other("the rows were not read to their end".to_owned());
                wasmtime::error::Ok(rows.outcome.await.unwrap_or_else(|_| Err(gone())))
            })?;
            Ok(Ok((rows.columns, stream, outcome)))
        })
    }

    async fn execute_async(
        accessor: &Accessor<T, Self>,
        resource: Resource<OpenConnection>,
        statement: String,
        parameters: Vec<ParameterValue>,
    ) -> Answer<u64> {
        let connection = connection(accessor, &resource)?;
        Ok(connection.execute(&statement, &parameters).await)
    }
}
