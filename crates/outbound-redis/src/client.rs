//! Connections to Redis servers and what can be done over them.

use std::fmt;
use std::sync::Arc;

use outbound_network::{
    CONNECT_TIMEOUT, ComponentNetwork, ConnectError, Lease, Limit, Permit, Pool, PoolKey, Reusable,
};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, FromRedisValue, ToRedisArgs, Value};
use telemetry::Calls;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinHandle;

use crate::{RedisAddress, RedisError};

/// Connections one component may have in use to one address at a time.
pub const PER_ADDRESS: usize = 1024;

/// Commands that change what later commands over the same connection mean, or
/// that make the server send without being asked.
const LEAVE_SOMETHING_BEHIND: [&str; 19] = [
    "ASKING",
    "AUTH",
    "CLIENT",
    "DISCARD",
    "EXEC",
    "HELLO",
    "MONITOR",
    "MULTI",
    "PSUBSCRIBE",
    "PSYNC",
    "QUIT",
    "READONLY",
    "READWRITE",
    "RESET",
    "SELECT",
    "SSUBSCRIBE",
    "SUBSCRIBE",
    "SYNC",
    "WATCH",
];

/// An argument of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parameter {
    /// A number, sent as its digits.
    Integer(i64),
    /// Bytes.
    Binary(Vec<u8>),
}

/// One value of what a command answers; arrays are flat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// No value.
    Nil,
    /// A word such as `OK`.
    Status(String),
    /// A number.
    Integer(i64),
    /// Bytes.
    Binary(Vec<u8>),
}

/// The connections an app has to Redis servers.
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
    ) -> Result<Connection, RedisError> {
        let server = RedisAddress::parse(address)?;
        let permit = network.permit(server.scheme, &server.host, server.port)?;
        let key =
            PoolKey { component: network.component().to_owned(), address: address.to_owned() };
        let connect = Client::connect(&permit, &server);
        let lease = self.pool.lease(key, connect).await?;
        Ok(Connection { lease, calls: Calls::default() })
    }
}

/// A handle of a connection.
#[derive(Clone)]
struct Client {
    connection: MultiplexedConnection,
    driver: Arc<Driver>,
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
        !self.driver.0.is_finished()
    }
}

impl Client {
    async fn connect(permit: &Permit, server: &RedisAddress) -> Result<Self, RedisError> {
        let connect = async {
            let stream = permit.connect().await?;
            if server.scheme == "rediss" {
                let stream = permit.tls().secure(permit.host(), stream).await?;
                return Self::log_in(server, stream).await;
            }
            Self::log_in(server, stream).await
        };
        tokio::time::timeout(CONNECT_TIMEOUT, connect)
            .await
            .map_err(|_| RedisError::Connect(ConnectError::Timeout))?
    }

    async fn log_in<S>(server: &RedisAddress, stream: S) -> Result<Self, RedisError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        // Commands may take as long as they like: some wait for others.
        let config = AsyncConnectionConfig::new().set_response_timeout(None);
        let (connection, driver) =
            MultiplexedConnection::new_with_config(&server.login, stream, config).await?;
        Ok(Self { connection, driver: Arc::new(Driver(tokio::spawn(driver))) })
    }
}

/// A connection in use. Commands may run at the same time; the server answers in
/// their order.
pub struct Connection {
    lease: Lease<Client>,
    calls: Calls,
}

impl Connection {
    /// The same connection, whose commands are told to `calls`.
    pub(crate) fn telling(self, calls: Calls) -> Self {
        Self { calls, ..self }
    }

    /// Sends a command; `name` is that of its span.
    pub(crate) async fn query<R: FromRedisValue>(
        &self,
        name: &'static str,
        command: redis::Cmd,
    ) -> Result<R, RedisError> {
        let sent = async {
            let call = self.lease.call();
            let mut connection = self.lease.connection.clone();
            let result = command.query_async(&mut connection).await;
            call.finish();
            result.map_err(RedisError::from)
        };
        self.calls.call(name, sent).await
    }

    pub(crate) async fn publish(&self, channel: &str, payload: &[u8]) -> Result<(), RedisError> {
        self.query("spin_outbound_redis.publish", command("PUBLISH", (channel, payload))).await
    }

    pub(crate) async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, RedisError> {
        self.query("spin_outbound_redis.get", command("GET", key)).await
    }

    pub(crate) async fn set(&self, key: &str, value: &[u8]) -> Result<(), RedisError> {
        self.query("spin_outbound_redis.set", command("SET", (key, value))).await
    }

    pub(crate) async fn incr(&self, key: &str) -> Result<i64, RedisError> {
        let added = self.query("spin_outbound_redis.incr", command("INCR", key)).await;
        added.map_err(|error| match error {
            // The server has no code of its own for it.
            RedisError::Command(text) if text.contains("not an integer") => RedisError::Type,
            error => error,
        })
    }

    pub(crate) async fn del(&self, keys: &[String]) -> Result<u32, RedisError> {
        self.query("spin_outbound_redis.del", command("DEL", keys)).await
    }

    pub(crate) async fn sadd(&self, key: &str, values: &[String]) -> Result<u32, RedisError> {
        self.query("spin_outbound_redis.sadd", command("SADD", (key, values))).await
    }

    pub(crate) async fn smembers(&self, key: &str) -> Result<Vec<String>, RedisError> {
        self.query("spin_outbound_redis.smembers", command("SMEMBERS", key)).await
    }

    pub(crate) async fn srem(&self, key: &str, values: &[String]) -> Result<u32, RedisError> {
        self.query("spin_outbound_redis.srem", command("SREM", (key, values))).await
    }

    pub(crate) async fn execute(
        &self,
        name: &str,
        parameters: Vec<Parameter>,
    ) -> Result<Vec<Reply>, RedisError> {
        if LEAVE_SOMETHING_BEHIND.iter().any(|command| command.eq_ignore_ascii_case(name)) {
            self.lease.spoil();
        }
        let mut command = redis::cmd(name);
        for parameter in parameters {
            match parameter {
                Parameter::Integer(number) => command.arg(number),
                Parameter::Binary(bytes) => command.arg(bytes),
            };
        }
        let mut replies = Vec::new();
        flatten(self.query("spin_outbound_redis.execute", command).await?, &mut replies)?;
        Ok(replies)
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lease.fmt(f)
    }
}

fn command(name: &str, arguments: impl ToRedisArgs) -> redis::Cmd {
    let mut command = redis::cmd(name);
    command.arg(arguments);
    command
}

fn flatten(value: Value, replies: &mut Vec<Reply>) -> Result<(), RedisError> {
    replies.push(match value {
        Value::Nil => Reply::Nil,
        Value::Int(number) => Reply::Integer(number),
        Value::Boolean(truth) => Reply::Integer(truth.into()),
        Value::BulkString(bytes) => Reply::Binary(bytes),
        Value::VerbatimString { text, .. } => Reply::Binary(text.into_bytes()),
        Value::Double(number) => Reply::Binary(number.to_string().into_bytes()),
        Value::SimpleString(text) => Reply::Status(text),
        Value::Okay => Reply::Status("OK".to_owned()),
        Value::Array(values) | Value::Set(values) => {
            return values.into_iter().try_for_each(|value| flatten(value, replies));
        }
        Value::Map(pairs) => {
            return pairs.into_iter().try_for_each(|(key, value)| {
                flatten(key, replies)?;
                flatten(value, replies)
            });
        }
        Value::ServerError(error) => return Err(redis::RedisError::from(error).into()),
        _ => return Err(RedisError::Type),
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flat(value: Value) -> Result<Vec<Reply>, RedisError> {
        let mut replies = Vec::new();
        flatten(value, &mut replies).map(|()| replies)
    }

    #[test]
    fn nested_answers_become_flat() {
        let nested = Value::Array(vec![
            Value::Nil,
            Value::Array(vec![Value::Int(7), Value::BulkString(vec![0, 255])]),
            Value::Okay,
            Value::SimpleString("PONG".to_owned()),
        ]);
        let expected = [
            Reply::Nil,
            Reply::Integer(7),
            Reply::Binary(vec![0, 255]),
            Reply::Status("OK".to_owned()),
            Reply::Status("PONG".to_owned()),
        ];
        assert_eq!(flat(nested).unwrap(), expected);
        assert_eq!(flat(Value::Array(vec![])).unwrap(), []);
    }

    #[test]
    fn answers_of_resp3_have_the_nearest_type() {
        let map = Value::Map(vec![(Value::BulkString(b"k".to_vec()), Value::Double(0.5))]);
        let expected = [Reply::Binary(b"k".to_vec()), Reply::Binary(b"0.5".to_vec())];
        assert_eq!(flat(map).unwrap(), expected);
        let set = Value::Set(vec![Value::Boolean(true), Value::Boolean(false)]);
        assert_eq!(flat(set).unwrap(), [Reply::Integer(1), Reply::Integer(0)]);
    }
}
