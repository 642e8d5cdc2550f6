//! Connections to MySQL servers and what can be done over them.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mysql_async::prelude::Queryable;
use mysql_async::{ClientIdentity, Conn, OptsBuilder, Params, SslOpts};
use outbound_network::{
    CONNECT_TIMEOUT, ComponentNetwork, ConnectError, Lease, Limit, Permit, Pool, PoolError,
    PoolKey, Reusable, Tls,
};
use telemetry::Calls;
use tokio::sync::{Mutex, mpsc, oneshot};

use crate::MysqlAddress;
use crate::interface::{Column, Error, ParameterValue, Row};
use crate::value::{data_type, decode, encode};

/// Connections one component may have in use to one address at a time.
pub const PER_ADDRESS: usize = 64;
/// Bytes that the rows of one query may have.
pub const MAX_ROWS: usize = 128 << 20;
/// Rows that are kept ready for a guest that reads them one by one.
const ROWS_AHEAD: usize = 64;

/// The connections an app has to MySQL servers.
#[derive(Debug)]
pub struct Connections {
    pool: Pool<Client>,
}

impl Connections {
    /// None yet, and never more than `limit` permits.
    pub fn new(limit: Limit) -> Self {
        Self { pool: Pool::new(PER_ADDRESS, limit) }
    }

    /// A connection to `address`, kept from before or new.
    pub(crate) async fn connect(
        &self,
        network: &ComponentNetwork,
        address: &str,
    ) -> Result<Connection, Error> {
        let server = MysqlAddress::parse(address).map_err(failed)?;
        let permit = network
            .permit("mysql", &server.host, server.port)
            .map_err(|denied| failed(denied.of_address(address)))?;
        let key =
            PoolKey { component: network.component().to_owned(), address: address.to_owned() };
        let connect = async {
            tokio::time::timeout(CONNECT_TIMEOUT, Client::connect(&permit, &server))
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

/// `connection-failed`, with all causes.
fn failed(error: impl std::error::Error) -> Error {
    Error::ConnectionFailed(chain(&error))
}

/// An error with its causes, as one line. The client's own texts repeat theirs.
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
    connection: Arc<Mutex<Conn>>,
    broken: Arc<AtomicBool>,
}

impl Reusable for Client {
    fn is_open(&self) -> bool {
        !self.broken.load(Ordering::Relaxed)
    }

    async fn is_alive(&self) -> bool {
        self.connection.lock().await.ping().await.is_ok()
    }

    async fn reset(&self) -> bool {
        // False: the server is too old to know how.
        matches!(self.connection.lock().await.reset().await, Ok(true))
    }
}

impl Client {
    async fn connect(permit: &Permit, server: &MysqlAddress) -> Result<Self, Error> {
        let addresses = permit.addresses().await.map_err(failed)?;
        let tls = if server.secure { Some(tls_options(permit.tls()).await) } else { None };
        let options = OptsBuilder::from_opts(server.options.clone())
            .ip_or_hostname(permit.host())
            .tcp_port(permit.port())
            .resolved_ips(Some(addresses))
            // Never past the check, over a socket of the file system.
            .prefer_socket(false)
            .socket(None::<String>)
            .ssl_opts(tls);
        let connection = Conn::new(options).await.map_err(failed)?;
        Ok(Self { connection: Arc::new(Mutex::new(connection)), broken: Arc::default() })
    }

    fn query_failed(&self, error: mysql_async::Error) -> Error {
        if error.is_fatal() {
            self.broken.store(true, Ordering::Relaxed);
        }
        match error {
            mysql_async::Error::Server(error) => Error::QueryFailed(error.to_string()),
            mysql_async::Error::Driver(
                error @ mysql_async::DriverError::StmtParamsMismatch { .. },
            ) => Error::BadParameter(error.to_string()),
            error => Error::QueryFailed(chain(&error)),
        }
    }
}

/// What the client, which makes its own TLS, is told about it.
async fn tls_options(tls: &Tls) -> SslOpts {
    let roots = tls.authorities().await;
    let roots = roots.iter().map(|certificate| certificate.to_vec().into()).collect();
    let identity = tls.settings().identity.as_ref().map(|identity| {
        let (certificates, key) = identity.pem();
        ClientIdentity::new(certificates.to_vec().into(), key.to_vec().into())
    });
    SslOpts::default()
        .with_root_certs(roots)
        .with_disable_built_in_roots(!tls.settings().webpki)
        .with_client_identity(identity)
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

    /// Runs a statement that returns no rows.
    pub(crate) async fn execute(
        &self,
        statement: &str,
        parameters: Vec<ParameterValue>,
    ) -> Result<(), Error> {
        let executed = async {
            let call = self.lease.call();
            let result = {
                let mut connection = self.lease.connection.lock().await;
                connection.exec_drop(statement, positional(parameters)).await
            };
            call.finish();
            result.map_err(|error| self.lease.query_failed(error))
        };
        self.calls.call("spin_outbound_mysql.execute", executed).await
    }

    /// Runs a query and reads all its rows.
    pub(crate) async fn query(
        &self,
        statement: &str,
        parameters: Vec<ParameterValue>,
    ) -> Result<(Vec<Column>, Vec<Row>), Error> {
        let mut started = self.stream(statement.to_owned(), parameters).await?;
        let mut rows = Vec::new();
        while let Some(row) = started.rows.recv().await {
            rows.push(row);
        }
        started.outcome.await.unwrap_or_else(|_| Err(interrupted()))?;
        Ok((started.columns, rows))
    }

    /// Runs a query whose rows are read one by one. The connection is theirs
    /// while somebody reads them.
    pub(crate) async fn stream(
        &self,
        statement: String,
        parameters: Vec<ParameterValue>,
    ) -> Result<Incoming, Error> {
        let (described, columns) = oneshot::channel();
        let (sender, rows) = mpsc::channel(ROWS_AHEAD);
        let (finished, outcome) = oneshot::channel();
        let lease = Arc::clone(&self.lease);
        let span = self.calls.begin("spin_outbound_mysql.query");
        tokio::spawn(async move {
            let call = lease.call();
            let forward = forward(&lease, &statement, positional(parameters), described, &sender);
            tokio::select! {
                result = forward => {
                    // These two leave rows unread.
                    if !matches!(result, Err(Error::ValueConversionFailed(_) | Error::Other(_))) {
                        call.finish();
                    }
                    if let Err(error) = &result {
                        span.failed(error);
                    }
                    // Before whoever waits for the end may end the app.
                    drop(span);
                    // Nobody may want to know.
                    let _ = finished.send(result);
                }
                // Whoever read them is gone; what is left of them is not waited for.
                () = sender.closed() => {}
            }
        });
        match columns.await {
            Ok(columns) => Ok(Incoming { columns, rows, outcome }),
            // It failed before there were any.
            Err(_) => Err(match outcome.await {
                Ok(Err(error)) => error,
                Ok(Ok(())) | Err(_) => interrupted(),
            }),
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lease.fmt(f)
    }
}

pub(crate) fn interrupted() -> Error {
    Error::Other("the rows were not read to their end".to_owned())
}

async fn forward(
    client: &Client,
    statement: &str,
    parameters: Params,
    described: oneshot::Sender<Vec<Column>>,
    sender: &mpsc::Sender<Row>,
) -> Result<(), Error> {
    let mut connection = client.connection.lock().await;
    let mut result = connection
        .exec_iter(statement, parameters)
        .await
        .map_err(|error| client.query_failed(error))?;
    let columns: Vec<Column> = result
        .columns_ref()
        .iter()
        .map(|column| Column { name: column.name_str().into_owned(), data_type: data_type(column) })
        .collect();
    // Nobody may wait for them any more; the caller sees that.
    let _ = described.send(columns.clone());
    let mut size = 0_usize;
    while let Some(row) = result.next().await.map_err(|error| client.query_failed(error))? {
        let values = row.unwrap().into_iter().zip(&columns);
        let row = values
            .map(|(value, column)| decode(&column.name, column.data_type, value))
            .collect::<Result<Row, Error>>()?;
        size = size.saturating_add(bytes(&row));
        if size > MAX_ROWS {
            // In the words of Spin, which has the same limit.
            return Err(Error::Other(format!("query result exceeds limit of {MAX_ROWS} bytes")));
        }
        if sender.send(row).await.is_err() {
            return std::future::pending().await;
        }
    }
    Ok(())
}

fn positional(parameters: Vec<ParameterValue>) -> Params {
    if parameters.is_empty() {
        return Params::Empty;
    }
    Params::Positional(parameters.into_iter().map(encode).collect())
}

/// What a row takes in memory.
fn bytes(row: &Row) -> usize {
    use crate::interface::DbValue;
    row.iter()
        .map(|value| {
            size_of::<DbValue>()
                + match value {
                    DbValue::Str(text) => text.len(),
                    DbValue::Binary(bytes) => bytes.len(),
                    _ => 0,
                }
        })
        .sum()
}
