//! Uses key-value stores and SQLite databases as the query string of a request
//! says, over `spin:key-value@3.0.0` and `spin:sqlite@3.1.0`, which are async.

use http_body_util::BodyExt as _;
use spin_sdk::http::{IntoResponse, Request, Response};
use spin_sdk::http_service;
use spin_sdk::key_value::{self, Store};
use spin_sdk::sqlite::{self, Connection, Value};

#[http_service]
async fn handle(request: Request) -> spin_sdk::http::Result<impl IntoResponse> {
    let uri = request.uri().clone();
    let query = uri.query().unwrap_or_default();
    let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let result = match uri.path() {
        "/get" => get(query).await,
        "/set" => set(query).await,
        "/delete" => delete(query).await,
        "/exists" => exists(query).await,
        "/keys" => keys(query).await,
        "/open-many" => open_many(query).await,
        "/sql" => sql(query, &String::from_utf8_lossy(&body)).await,
        "/sql/open-many" => connect_many(query).await,
        other => Err(format!("no such behaviour: {other}")),
    };
    let (status, text) = match result {
        Ok(text) => (200, text),
        Err(text) => (500, text),
    };
    Ok(Response::builder().status(status).body(text).expect("a valid response"))
}

fn parameter<'q>(query: &'q str, name: &str) -> &'q str {
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.find(|(key, _)| *key == name).map_or("", |pair| pair.1)
}

fn number(query: &str, name: &str) -> i64 {
    parameter(query, name).parse().unwrap_or(0)
}

/// The label in the query string; `default` without one.
fn label(query: &str) -> &str {
    match parameter(query, "label") {
        "" => "default",
        label => label,
    }
}

fn key_value(error: key_value::Error) -> String {
    format!("{error:?}")
}

async fn open(query: &str) -> Result<Store, String> {
    Store::open(label(query)).await.map_err(key_value)
}

async fn get(query: &str) -> Result<String, String> {
    let value = open(query).await?.get(parameter(query, "key")).await.map_err(key_value)?;
    Ok(value.map_or("none".to_owned(), |value| String::from_utf8_lossy(&value).into_owned()))
}

async fn set(query: &str) -> Result<String, String> {
    let value = parameter(query, "value");
    open(query).await?.set(parameter(query, "key"), value).await.map_err(key_value)?;
    Ok("set".to_owned())
}

async fn delete(query: &str) -> Result<String, String> {
    open(query).await?.delete(parameter(query, "key")).await.map_err(key_value)?;
    Ok("deleted".to_owned())
}

async fn exists(query: &str) -> Result<String, String> {
    let found = open(query).await?.exists(parameter(query, "key")).await;
    found.map(|found| found.to_string()).map_err(key_value)
}

async fn keys(query: &str) -> Result<String, String> {
    let mut keys = open(query).await?.get_keys().await.collect().await.map_err(key_value)?;
    keys.sort();
    Ok(keys.join(","))
}

async fn open_many(query: &str) -> Result<String, String> {
    let mut stores = Vec::new();
    for _ in 0..number(query, "count") {
        stores.push(open(query).await?);
    }
    Ok(stores.len().to_string())
}

/// Runs the statement in the body, or each of several separated by `;`, over one
/// connection; the rows of the last one.
async fn sql(query: &str, statements: &str) -> Result<String, String> {
    let connection = Connection::open(label(query)).await.map_err(database)?;
    let mut lines = String::new();
    for statement in statements.split(';') {
        let result = connection.execute(statement, []).await.map_err(database)?;
        lines = result.columns().join(",") + "\n";
        for row in result.collect().await.map_err(database)? {
            lines += &row.values.iter().map(shown).collect::<Vec<_>>().join(",");
            lines += "\n";
        }
    }
    Ok(lines)
}

fn database(error: sqlite::Error) -> String {
    format!("{error:?}")
}

fn shown(value: &Value) -> String {
    match value {
        Value::Integer(number) => number.to_string(),
        Value::Real(number) => number.to_string(),
        Value::Text(text) => text.clone(),
        Value::Blob(bytes) => format!("{} bytes", bytes.len()),
        Value::Null => "null".to_owned(),
    }
}

async fn connect_many(query: &str) -> Result<String, String> {
    let mut connections = Vec::new();
    for _ in 0..number(query, "count") {
        connections.push(Connection::open(label(query)).await.map_err(database)?);
    }
    Ok(connections.len().to_string())
}
