//! What a database and a connection to it can do.

use std::sync::Arc;

use async_trait::async_trait;

/// Bytes that the rows of one statement, and a single value, may have.
pub const MAX_RESULT: usize = 128 << 20;

/// A database.
#[async_trait]
pub trait Database: Send + Sync + 'static {
    /// A new connection.
    async fn connect(&self) -> Result<Arc<dyn Connection>, SqliteError>;
}

/// A connection to a database. Statements run one after the other, in the order
/// of the calls.
#[async_trait]
pub trait Connection: Send + Sync + 'static {
    /// Runs one statement with its parameters, all its rows read.
    ///
    /// Dropping the call interrupts the statement: it is done or not done.
    async fn execute(
        &self,
        statement: String,
        parameters: Vec<Value>,
    ) -> Result<QueryResult, SqliteError>;

    /// The rowid of the last row inserted over this connection; 0: none yet.
    async fn last_insert_rowid(&self) -> i64;

    /// Rows changed by the last statement that could change some.
    async fn changes(&self) -> u64;
}

/// A value in a row, or of a parameter.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A number without fraction.
    Integer(i64),
    /// A number with one.
    Real(f64),
    /// UTF-8.
    Text(String),
    /// Bytes.
    Blob(Vec<u8>),
    /// No value.
    Null,
}

/// The rows a statement returned.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct QueryResult {
    /// The names of the columns.
    pub columns: Vec<String>,
    /// The rows, each with one value per column.
    pub rows: Vec<Vec<Value>>,
}

/// A statement, or opening a connection, failed.
#[derive(Debug, thiserror::Error)]
pub enum SqliteError {
    /// There is no room left.
    #[error("the database is full")]
    Full,
    /// The result is too long; in the words of Spin, which has the same limit.
    #[error("query result exceeds limit of {MAX_RESULT} bytes")]
    ResultTooLong,
    /// The backend says why in words a guest can use.
    #[error("{0}")]
    Statement(String),
    /// The backend failed.
    #[error("the database failed")]
    Backend(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl SqliteError {
    /// What a backend says.
    pub fn backend(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Backend(Box::new(error))
    }

    /// The error with its causes, as one line.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut next = std::error::Error::source(self);
        while let Some(error) = next {
            text.push_str(": ");
            text.push_str(&error.to_string());
            next = error.source();
        }
        text
    }
}

impl From<rusqlite::Error> for SqliteError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DiskFull) => Self::Full,
            // SQLite's own words, as guests know them from everywhere.
            _ => Self::Statement(error.to_string()),
        }
    }
}
