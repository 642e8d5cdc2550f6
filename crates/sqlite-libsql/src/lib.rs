//! SQLite databases of a libSQL server, over Hrana 3 by HTTP.
//!
//! A statement outside a transaction is one request that leaves nothing behind.
//! `BEGIN` and `SAVEPOINT` open a stream at the server, which the statements after
//! them use until the transaction ends; a stream that nobody uses ends with its
//! transaction at the server after some seconds.

mod wire;

use std::sync::Arc;

use async_trait::async_trait;
use http::{Request, StatusCode};
use http_client::{Bytes, HttpClient, HttpError, secret_header};
use runtime_config::{Secret, SecretError};
use sqlite::{Connection, Database, QueryResult, SqliteError, Value};
use tokio::sync::Mutex;

use wire::{Answer, Asked, Executed, Outcome, Pipeline, Response};

/// A database of a libSQL server.
#[derive(Debug, Clone)]
pub struct LibSql {
    server: Arc<Server>,
}

#[derive(Debug)]
struct Server {
    client: HttpClient,
    url: String,
    token: Secret,
}

/// A connection: what the server keeps of it between statements.
struct Remote {
    server: Arc<Server>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Of a transaction.
    stream: Option<Stream>,
    last_insert_rowid: i64,
    changes: u64,
}

struct Stream {
    baton: String,
    /// Where the server wants its further requests, if not at its usual place.
    base_url: Option<String>,
}

/// A request without an answer. No error contains the token.
#[derive(Debug, thiserror::Error)]
enum ServerError {
    #[error("there is no token for the database server")]
    Token(#[from] SecretError),
    #[error("the token has a character that no header may have")]
    TokenForm,
    #[error("the URL of the database server cannot be used")]
    Url(#[source] http::Error),
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error("the database server answers with the status {status}")]
    Status { status: StatusCode },
    #[error("the answer of the database server is not understood")]
    Form(#[source] serde_json::Error),
    #[error("the answer of the database server has other parts than the request")]
    Parts,
}

impl LibSql {
    /// The database at `url`, `http://` or `https://`. Nothing is connected.
    pub fn new(url: &str, token: Secret) -> Self {
        let url = url.trim_end_matches('/').to_owned();
        Self { server: Arc::new(Server { client: HttpClient::new(), url, token }) }
    }
}

#[async_trait]
impl Database for LibSql {
    /// Asks the server for nothing: a database that is not there is an error of
    /// the first statement.
    async fn connect(&self) -> Result<Arc<dyn Connection>, SqliteError> {
        let server = Arc::clone(&self.server);
        Ok(Arc::new(Remote { server, state: Mutex::default() }))
    }
}

#[async_trait]
impl Connection for Remote {
    async fn execute(
        &self,
        statement: String,
        parameters: Vec<Value>,
    ) -> Result<QueryResult, SqliteError> {
        let mut state = self.state.lock().await;
        let stream = state.stream.take();
        let executed = if stream.is_none() && !begins_transaction(&statement) {
            self.alone(statement, parameters).await?
        } else {
            let (executed, stream) = self.in_stream(stream, statement, parameters).await?;
            state.stream = stream;
            executed?
        };
        state.changes = executed.affected_row_count;
        if let Some(rowid) = &executed.last_insert_rowid {
            state.last_insert_rowid = rowid.parse().unwrap_or(0);
        }
        executed.into_result()
    }

    async fn last_insert_rowid(&self) -> i64 {
        self.state.lock().await.last_insert_rowid
    }

    async fn changes(&self) -> u64 {
        self.state.lock().await.changes
    }
}

impl Remote {
    async fn alone(
        &self,
        statement: String,
        parameters: Vec<Value>,
    ) -> Result<Executed, SqliteError> {
        let requests = vec![Asked::execute(statement, parameters), Asked::Close];
        let answer = self.server.send(None, requests).await?;
        match answer.results.into_iter().next() {
            Some(outcome) => executed(outcome),
            None => Err(SqliteError::backend(ServerError::Parts)),
        }
    }

    /// The stream that comes back is none when its transaction has ended.
    async fn in_stream(
        &self,
        stream: Option<Stream>,
        statement: String,
        parameters: Vec<Value>,
    ) -> Result<(Result<Executed, SqliteError>, Option<Stream>), SqliteError> {
        let requests = vec![Asked::execute(statement, parameters), Asked::GetAutocommit];
        let Answer { baton, base_url, results } =
            self.server.send(stream.as_ref(), requests).await?;
        let mut results = results.into_iter();
        let (Some(first), Some(second)) = (results.next(), results.next()) else {
            return Err(SqliteError::backend(ServerError::Parts));
        };
        let base_url = base_url.or(stream.and_then(|stream| stream.base_url));
        let stream = baton.map(|baton| Stream { baton, base_url });
        let ended = matches!(
            second,
            Outcome::Ok { response: Response::GetAutocommit { is_autocommit: true } }
        );
        if !ended {
            return Ok((executed(first), stream));
        }
        if let Some(stream) = &stream {
            // What was asked for is done; a stream left open ends by itself.
            let _ = self.server.send(Some(stream), vec![Asked::Close]).await;
        }
        Ok((executed(first), None))
    }
}

fn executed(outcome: Outcome) -> Result<Executed, SqliteError> {
    match outcome {
        Outcome::Ok { response: Response::Execute { result } } => Ok(result),
        Outcome::Ok { .. } => Err(SqliteError::backend(ServerError::Parts)),
        Outcome::Error { error } if error.code.as_deref() == Some("SQLITE_FULL") => {
            Err(SqliteError::Full)
        }
        Outcome::Error { error } => Err(SqliteError::Statement(error.message)),
    }
}

impl Server {
    async fn send(
        &self,
        stream: Option<&Stream>,
        requests: Vec<Asked>,
    ) -> Result<Answer, SqliteError> {
        self.try_send(stream, requests).await.map_err(SqliteError::backend)
    }

    async fn try_send(
        &self,
        stream: Option<&Stream>,
        requests: Vec<Asked>,
    ) -> Result<Answer, ServerError> {
        let url = stream.and_then(|stream| stream.base_url.as_deref()).unwrap_or(&self.url);
        let baton = stream.map(|stream| stream.baton.as_str());
        let pipeline = serde_json::to_vec(&Pipeline { baton, requests });
        let token = secret_header(&format!("Bearer {}", self.token.reveal()?));
        let request = Request::post(format!("{}/v3/pipeline", url.trim_end_matches('/')))
            .header("content-type", "application/json")
            .header("authorization", token.ok_or(ServerError::TokenForm)?)
            .body(Bytes::from(pipeline.map_err(ServerError::Form)?))
            .map_err(ServerError::Url)?;
        let response = self.client.send(request).await?;
        if !response.status().is_success() {
            return Err(ServerError::Status { status: response.status() });
        }
        serde_json::from_slice(response.body()).map_err(ServerError::Form)
    }
}

/// Whether the first word of a statement opens a transaction.
fn begins_transaction(statement: &str) -> bool {
    let mut rest = statement.trim_start();
    loop {
        let after_comment = if let Some(comment) = rest.strip_prefix("--") {
            comment.split_once('\n').map(|(_, rest)| rest)
        } else if let Some(comment) = rest.strip_prefix("/*") {
            comment.split_once("*/").map(|(_, rest)| rest)
        } else {
            break;
        };
        rest = after_comment.unwrap_or_default().trim_start();
    }
    let word = rest.split(|letter: char| !letter.is_ascii_alphabetic()).next().unwrap_or_default();
    ["begin", "savepoint"].iter().any(|begin| begin.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_is_recognised_by_its_first_word() {
        for statement in ["BEGIN", " begin immediate", "-- c\n/* d */ SAVEPOINT x", "BEGIN;"] {
            assert!(begins_transaction(statement), "{statement}");
        }
        for statement in ["SELECT 'begin'", "", "-- begin", "/* begin", "beginning"] {
            assert!(!begins_transaction(statement), "{statement}");
        }
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_an_error_of_the_statement() {
        let token = Secret::Inline("hunter2".to_owned());
        let connection = LibSql::new("http://127.0.0.1:1", token).connect().await.unwrap();
        let error = connection.execute("SELECT 1".to_owned(), Vec::new()).await.unwrap_err();
        let text = error.chain();
        assert!(text.contains("refused") && !text.contains("hunter2"), "{text}");
    }
}
