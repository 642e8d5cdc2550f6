//! Connections to PostgreSQL servers and what can be done over them.

use std::fmt;
use std::pin::pin;
use std::sync::Arc;

use bytes::{BufMut, BytesMut};
use futures::TryStreamExt;
use outbound_network::{
    CONNECT_TIMEOUT, ComponentNetwork, ConnectError, Lease, Limit, NotPermitted, Permit, Pool,
    PoolError, PoolKey, Reusable,
};
use rustls::pki_types::CertificateDer;
use sha2::{Digest, Sha256};
use telemetry::Calls;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_postgres::config::SslMode;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{NoTls, RowStream, Statement};

use crate::PostgresAddress;
use crate::interface::{Column, DbError, DbValue, Error, ParameterValue, QueryError, Row, RowSet};
use crate::tls::Tls;
use crate::value::{data_type, decode, encode};

/// Connections one component may have in use to one address at a time.
pub const PER_ADDRESS: usize = 64;
/// Bytes that the rows of one query may have, as the server sends them.
pub const MAX_ROWS: usize = 128 << 20;
/// Rows that are kept ready for a guest that reads them one by one.
const ROWS_AHEAD: usize = 64;

/// What a session may have been left with goes; prepared statements stay.
const RESET: &str = "ROLLBACK; CLOSE ALL; SET SESSION AUTHORIZATION DEFAULT; RESET ALL; \
                     UNLISTEN *; SELECT pg_advisory_unlock_all(); DISCARD TEMP; DISCARD SEQUENCES";

/// The connections an app has to PostgreSQL servers.
#[derive(Debug)]
pub struct Connections {
    pool: Pool<Client>,
}

impl Connections {
    /// None yet, and never more than `limit` permits.
    pub fn new(limit: Limit) -> Self {
        Self { pool: Pool::new(PER_ADDRESS, limit) }
    }

    /// A connection to the first server of `address` that answers, kept from
    /// before or new. `authorities` sign the certificates of servers besides
    /// those that are known.
    pub(crate) async fn connect(
        &self,
        network: &ComponentNetwork,
        address: &str,
        authorities: &[CertificateDer<'static>],
    ) -> Result<Connection, Error> {
        let server = PostgresAddress::parse(address).map_err(failed)?;
        let mut permits = Vec::new();
        for place in &server.hosts {
            let permit = network.permit("postgres", &place.0, place.1);
            let denied = |denied: NotPermitted| failed(denied.of_address(&server.shown(place)));
            permits.push(permit.map_err(denied)?);
        }
        let key = PoolKey {
            component: network.component().to_owned(),
            address: keyed(address, authorities),
        };
        let connect = async {
            tokio::time::timeout(CONNECT_TIMEOUT, Client::connect(&permits, &server, authorities))
                .await
                .map_err(|_| failed(ConnectError::Timeout))?
        };
        let lease = self.pool.lease(key, connect).await.map_err(|error| match error {
            PoolError::Exhausted => failed(PoolError::<Error>::Exhausted),
            PoolError::Connect(error) => error,
        })?;
        Ok(Connection { lease: Arc::new(lease), calls: Calls::default() })
    }
}

/// An address with what its servers must prove.
fn keyed(address: &str, authorities: &[CertificateDer<'static>]) -> String {
    let mut digest = Sha256::new();
    for authority in authorities {
        digest.update(authority);
    }
    format!("{:x?} {address}", digest.finalize().as_slice())
}

/// `connection-failed`, with all causes.
pub(crate) fn failed(error: impl std::error::Error) -> Error {
    Error::ConnectionFailed(chain(&error))
}

/// An error with its causes, as one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}

/// A handle of a connection.
#[derive(Clone)]
struct Client {
    client: Arc<tokio_postgres::Client>,
    _driver: Arc<Driver>,
}

/// The task that sends and receives.
struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Reusable for Client {
    fn is_open(&self) -> bool {
        !self.client.is_closed()
    }

    async fn reset(&self) -> bool {
        self.client.batch_execute(RESET).await.is_ok()
    }
}

impl Client {
    async fn connect(
        permits: &[Permit],
        server: &PostgresAddress,
        authorities: &[CertificateDer<'static>],
    ) -> Result<Self, Error> {
        let mut failure = Error::ConnectionFailed("the address has no host".to_owned());
        for permit in permits {
            match Self::connect_one(permit, server, authorities).await {
                Ok(client) => return Ok(client),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    async fn connect_one(
        permit: &Permit,
        server: &PostgresAddress,
        authorities: &[CertificateDer<'static>],
    ) -> Result<Self, Error> {
        let stream = permit.connect().await.map_err(failed)?;
        if server.config.get_ssl_mode() == SslMode::Disable {
            let (client, connection) =
                server.config.connect_raw(stream, NoTls).await.map_err(failed)?;
            return Ok(Self::new(client, connection));
        }
        let config = permit.tls().config_also_trusting(authorities).await.map_err(failed)?;
        let tls = Tls { config, host: permit.host().to_owned() };
        let (client, connection) = server.config.connect_raw(stream, tls).await.map_err(failed)?;
        Ok(Self::new(client, connection))
    }

    fn new<S, T>(
        client: tokio_postgres::Client,
        connection: tokio_postgres::Connection<S, T>,
    ) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        // That it ended is seen by whoever uses the client.
        let driver = tokio::spawn(async move {
            let _ = connection.await;
        });
        Self { client: Arc::new(client), _driver: Arc::new(Driver(driver)) }
    }
}

/// A connection in use. Statements run one after the other.
#[derive(Clone)]
pub struct Connection {
    lease: Arc<Lease<Client>>,
    calls: Calls,
}

/// The rows of a query, as they come.
pub(crate) struct Incoming {
    pub(crate) columns: Vec<Column>,
    pub(crate) rows: mpsc::Receiver<Row>,
    /// Whether the query came to its end.
    pub(crate) outcome: oneshot::Receiver<Result<(), Error>>,
}

impl Connection {
    /// The same connection, whose statements are told to `calls`.
    pub(crate) fn telling(self, calls: Calls) -> Self {
        Self { calls, ..self }
    }

    /// Runs a statement that returns no rows; how many it changed.
    pub(crate) async fn execute(
        &self,
        statement: &str,
        parameters: &[ParameterValue],
    ) -> Result<u64, Error> {
        let executed = async {
            let call = self.lease.call();
            let result = async {
                let (statement, parameters) = self.prepare(statement, parameters).await?;
                self.lease.client.execute_raw(&statement, parameters).await.map_err(query_failed)
            };
            let result = result.await;
            call.finish();
            result
        };
        self.calls.call("spin_outbound_pg.execute", executed).await
    }

    /// Runs a query and reads all its rows.
    pub(crate) async fn query(
        &self,
        statement: &str,
        parameters: &[ParameterValue],
    ) -> Result<RowSet, Error> {
        let queried = self.query_all(statement, parameters);
        self.calls.call("spin_outbound_pg.query", queried).await
    }

    async fn query_all(
        &self,
        statement: &str,
        parameters: &[ParameterValue],
    ) -> Result<RowSet, Error> {
        let call = self.lease.call();
        let (columns, rows) = match self.start(statement, parameters).await {
            Ok(started) => started,
            Err(error) => {
                call.finish();
                return Err(error);
            }
        };
        let result = read_all(rows, &columns).await;
        // More rows may be on their way after an error that is not the server's.
        if matches!(result, Ok(_) | Err(Error::QueryFailed(QueryError::DbError(_)))) {
            call.finish();
        }
        let rows = result?;
        // As guests of this interface know it from other hosts.
        let columns = if rows.is_empty() { Vec::new() } else { columns };
        Ok(RowSet { columns, rows })
    }

    /// Runs a query whose rows are read one by one. The connection is theirs
    /// too: it is kept while somebody reads them.
    pub(crate) async fn stream(
        &self,
        statement: &str,
        parameters: &[ParameterValue],
    ) -> Result<Incoming, Error> {
        let call = self.lease.call();
        let span = self.calls.begin("spin_outbound_pg.query");
        let started = self.start(statement, parameters).await;
        call.finish();
        let (columns, stream) = started.inspect_err(|error| span.failed(error))?;
        let (sender, rows) = mpsc::channel(ROWS_AHEAD);
        let (finished, outcome) = oneshot::channel();
        let (connection, described) = (self.clone(), columns.clone());
        tokio::spawn(async move {
            let call = connection.lease.call();
            let forward = forward(stream, &described, &sender);
            tokio::select! {
                result = forward => {
                    match &result {
                        Ok(()) => call.finish(),
                        Err(error) => span.failed(error),
                    }
                    drop(span);
                    // Nobody may want to know.
                    let _ = finished.send(result);
                }
                // Whoever read them is gone; what is left of them is not waited for.
                () = sender.closed() => {}
            }
        });
        Ok(Incoming { columns, rows, outcome })
    }

    async fn start(
        &self,
        statement: &str,
        parameters: &[ParameterValue],
    ) -> Result<(Vec<Column>, RowStream), Error> {
        let (statement, parameters) = self.prepare(statement, parameters).await?;
        let columns = statement
            .columns()
            .iter()
            .map(|column| Column {
                name: column.name().to_owned(),
                data_type: data_type(column.type_()),
            })
            .collect();
        let rows =
            self.lease.client.query_raw(&statement, parameters).await.map_err(query_failed)?;
        Ok((columns, rows))
    }

    async fn prepare(
        &self,
        statement: &str,
        parameters: &[ParameterValue],
    ) -> Result<(Statement, Vec<Encoded>), Error> {
        let statement = self.lease.client.prepare(statement).await.map_err(query_failed)?;
        let needed = statement.params();
        if needed.len() != parameters.len() {
            return Err(Error::BadParameter(format!(
                "the statement needs {} parameters, not {}",
                needed.len(),
                parameters.len()
            )));
        }
        let encoded = needed
            .iter()
            .zip(parameters)
            .enumerate()
            .map(|(index, (of, value))| encode(index + 1, of, value).map(Encoded))
            .collect::<Result<_, _>>()?;
        Ok((statement, encoded))
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lease.fmt(f)
    }
}

async fn read_all(rows: RowStream, columns: &[Column]) -> Result<Vec<Row>, Error> {
    let mut rows = pin!(rows);
    let mut all = Vec::new();
    let mut size = 0_usize;
    while let Some(row) = rows.try_next().await.map_err(query_failed)? {
        count(&row, &mut size)?;
        all.push(converted(&row, columns)?);
    }
    Ok(all)
}

/// Counts what a row has; in the words of Spin, which has the same limit.
fn count(row: &tokio_postgres::Row, size: &mut usize) -> Result<(), Error> {
    *size = size.saturating_add(row.raw_size_bytes());
    if *size <= MAX_ROWS {
        return Ok(());
    }
    let text = format!("query result exceeds limit of {MAX_ROWS} bytes");
    Err(Error::QueryFailed(QueryError::Text(text)))
}

async fn forward(
    rows: RowStream,
    columns: &[Column],
    sender: &mpsc::Sender<Row>,
) -> Result<(), Error> {
    let mut rows = pin!(rows);
    let mut size = 0_usize;
    while let Some(row) = rows.try_next().await.map_err(query_failed)? {
        count(&row, &mut size)?;
        let row = converted(&row, columns)?;
        if sender.send(row).await.is_err() {
            // The reader is gone; the caller sees that, too.
            return std::future::pending().await;
        }
    }
    Ok(())
}

fn converted(row: &tokio_postgres::Row, columns: &[Column]) -> Result<Row, Error> {
    row.columns()
        .iter()
        .zip(columns)
        .enumerate()
        .map(|(index, (column, described))| {
            let raw: Raw<'_> = row.try_get(index).map_err(query_failed)?;
            decode(column.type_(), raw.0).ok_or_else(|| {
                let (name, of) = (&described.name, column.type_().name());
                Error::ValueConversionFailed(format!(
                    "a value of column {name:?}, of type {of}, has no counterpart here"
                ))
            })
        })
        .collect::<Result<Vec<DbValue>, Error>>()
}

/// A parameter in the format of the server.
#[derive(Debug)]
struct Encoded(Option<Vec<u8>>);

impl ToSql for Encoded {
    fn to_sql(
        &self,
        _: &Type,
        buffer: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        let Some(bytes) = &self.0 else { return Ok(IsNull::Yes) };
        buffer.put_slice(bytes);
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        // It was made for the type.
        true
    }

    to_sql_checked!();
}

/// A value in the format of the server.
struct Raw<'a>(Option<&'a [u8]>);

impl<'a> FromSql<'a> for Raw<'a> {
    fn from_sql(
        _: &Type,
        bytes: &'a [u8],
    ) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(Some(bytes)))
    }

    fn from_sql_null(_: &Type) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(None))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

/// `query-failed`, with everything the server says.
fn query_failed(error: tokio_postgres::Error) -> Error {
    let Some(from_server) = error.as_db_error() else {
        return Error::QueryFailed(QueryError::Text(chain(&error)));
    };
    let extras = [
        ("hint", from_server.hint().map(str::to_owned)),
        ("where", from_server.where_().map(str::to_owned)),
        ("schema", from_server.schema().map(str::to_owned)),
        ("table", from_server.table().map(str::to_owned)),
        ("column", from_server.column().map(str::to_owned)),
        ("datatype", from_server.datatype().map(str::to_owned)),
        ("constraint", from_server.constraint().map(str::to_owned)),
        ("file", from_server.file().map(str::to_owned)),
        ("line", from_server.line().map(|line| line.to_string())),
        ("routine", from_server.routine().map(str::to_owned)),
    ];
    Error::QueryFailed(QueryError::DbError(DbError {
        as_text: format!("db error: {from_server}"),
        severity: from_server.severity().to_owned(),
        code: from_server.code().code().to_owned(),
        message: from_server.message().to_owned(),
        detail: from_server.detail().map(str::to_owned),
        extras: extras
            .into_iter()
            .filter_map(|(name, value)| value.map(|value| (name.to_owned(), value)))
            .collect(),
    }))
}
