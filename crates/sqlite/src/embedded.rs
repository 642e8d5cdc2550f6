//! Databases in this process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use embedded_database::{Location, Opened};
use rusqlite::fallible_iterator::FallibleIterator as _;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Batch, ToSql, params_from_iter};
use tokio::sync::{Mutex, OnceCell};

use crate::database::{Connection, Database, MAX_RESULT, QueryResult, SqliteError, Value};
use crate::guard;

/// Steps of SQLite's machine between two looks at whether anybody still waits;
/// about a hundred microseconds.
const STEPS: i32 = 10_000;

/// A SQLite database in a file or in memory.
///
/// In memory every connection is a database of its own. Statements run on
/// threads that may block, one per connection at a time.
pub struct Embedded {
    database: Arc<embedded_database::Database>,
    /// One connection to the file for as long as this exists: without it the end
    /// of every other connection would be the end of the last one, for which
    /// SQLite moves the whole log into the file.
    anchor: OnceCell<Option<Mutex<rusqlite::Connection>>>,
    guard: fn(&mut rusqlite::Connection) -> rusqlite::Result<()>,
}

impl Embedded {
    /// The database at `location`; nothing is opened before the first
    /// connection.
    pub fn new(location: Location) -> Self {
        Self {
            database: Arc::new(embedded_database::Database::new(location)),
            anchor: OnceCell::new(),
            guard: guard::restrict,
        }
    }

    /// Lets statements attach other files, whatever they are.
    #[must_use]
    pub fn with_attached_files(self) -> Self {
        Self { guard: guard::restrict_but_attach, ..self }
    }

    async fn open(&self) -> Result<Opened, SqliteError> {
        let database = Arc::clone(&self.database);
        blocking(move || database.open().map_err(SqliteError::backend)).await
    }
}

#[async_trait]
impl Database for Embedded {
    async fn connect(&self) -> Result<Arc<dyn Connection>, SqliteError> {
        self.anchor
            .get_or_try_init(|| async {
                let opened = self.open().await?;
                Ok::<_, SqliteError>(opened.in_file.then(|| Mutex::new(opened.connection)))
            })
            .await?;
        let mut connection = self.open().await?.connection;
        (self.guard)(&mut connection)?;
        Ok(Arc::new(EmbeddedConnection { connection: Arc::new(Mutex::new(connection)) }))
    }
}

struct EmbeddedConnection {
    connection: Arc<Mutex<rusqlite::Connection>>,
}

#[async_trait]
impl Connection for EmbeddedConnection {
    async fn execute(
        &self,
        statement: String,
        parameters: Vec<Value>,
    ) -> Result<QueryResult, SqliteError> {
        let mut connection = Arc::clone(&self.connection).lock_owned().await;
        let waiting = Waiting::default();
        let abandoned = Arc::clone(&waiting.abandoned);
        blocking(move || {
            let handler = move || abandoned.load(Ordering::Relaxed);
            connection.progress_handler(STEPS, Some(handler))?;
            run(&connection, &statement, &parameters)
        })
        .await
    }

    async fn last_insert_rowid(&self) -> i64 {
        self.connection.lock().await.last_insert_rowid()
    }

    async fn changes(&self) -> u64 {
        self.connection.lock().await.changes()
    }
}

/// Somebody waits for a statement until this is dropped.
#[derive(Default)]
struct Waiting {
    abandoned: Arc<AtomicBool>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.abandoned.store(true, Ordering::Relaxed);
    }
}

async fn blocking<R: Send + 'static>(
    action: impl FnOnce() -> Result<R, SqliteError> + Send + 'static,
) -> Result<R, SqliteError> {
    tokio::task::spawn_blocking(action).await.map_err(SqliteError::backend)?
}

/// Runs the first statement of a text, and no other, as Spin does.
fn run(
    connection: &rusqlite::Connection,
    text: &str,
    parameters: &[Value],
) -> Result<QueryResult, SqliteError> {
    match connection.prepare_cached(text) {
        Err(rusqlite::Error::MultipleStatement) => {
            tracing::warn!("of several statements in one call only the first is run");
            let first = Batch::new(connection, text).next()?;
            let mut first = first.ok_or(rusqlite::Error::InvalidQuery)?;
            query(&mut first, parameters)
        }
        statement => query(&mut *statement?, parameters),
    }
}

fn query(
    statement: &mut rusqlite::Statement<'_>,
    parameters: &[Value],
) -> Result<QueryResult, SqliteError> {
    let columns: Vec<String> = statement.column_names().map(str::to_owned).collect();
    let width = columns.len();
    let mut size = 0_usize;
    let mut result = QueryResult { columns, rows: Vec::new() };
    let mut rows = statement.query(params_from_iter(parameters))?;
    while let Some(row) = rows.next()? {
        let mut values = Vec::with_capacity(width);
        for column in 0..width {
            let value = read(row.get_ref(column)?)?;
            size = size.saturating_add(bytes(&value));
            values.push(value);
        }
        if size > MAX_RESULT {
            return Err(SqliteError::ResultTooLong);
        }
        result.rows.push(values);
    }
    Ok(result)
}

fn read(value: ValueRef<'_>) -> Result<Value, SqliteError> {
    Ok(match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => Value::Integer(number),
        ValueRef::Real(number) => Value::Real(number),
        ValueRef::Blob(bytes) => Value::Blob(bytes.to_owned()),
        ValueRef::Text(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => Value::Text(text.to_owned()),
            Err(error) => {
                return Err(SqliteError::Statement(format!("a text is not UTF-8: {error}")));
            }
        },
    })
}

/// What a value takes in memory.
fn bytes(value: &Value) -> usize {
    let content = match value {
        Value::Text(text) => text.len(),
        Value::Blob(bytes) => bytes.len(),
        Value::Integer(_) | Value::Real(_) | Value::Null => 0,
    };
    content + size_of::<Value>()
}

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Integer(number) => ValueRef::Integer(*number),
            Self::Real(number) => ValueRef::Real(*number),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Blob(bytes) => ValueRef::Blob(bytes),
            Self::Null => ValueRef::Null,
        }))
    }
}

#[cfg(test)]
mod tests;
