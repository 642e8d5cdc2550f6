//! Uses key-value stores and SQLite databases as the query string of a request
//! says, over `fermyon:spin@2.0.0` and `wasi:keyvalue`.

use spin_sdk::http::{Request, Response};
use spin_sdk::http_component;
use spin_sdk::key_value::{self, Store};
use spin_sdk::sqlite::{self, Connection, Value};
use spin_sdk::wit::wasi::keyvalue::{atomics, batch, store as wasi};

#[http_component]
fn handle(request: Request) -> Response {
    let query = request.query();
    let result = match request.path() {
        "/get" => get(query),
        "/set" => set(query),
        "/delete" => delete(query),
        "/exists" => exists(query),
        "/keys" => keys(query),
        "/open-many" => open_many(query),
        "/wasi/increment" => increment(query),
        "/wasi/swap" => swap(query),
        "/wasi/batch" => many(query),
        "/wasi/keys" => wasi_keys(query),
        "/sql" => sql(query, &String::from_utf8_lossy(request.body())),
        "/sql/open-many" => connect_many(query),
        other => Err(format!("no such behaviour: {other}")),
    };
    let (status, text) = match result {
        Ok(text) => (200, text),
        Err(text) => (500, text),
    };
    Response::new(status, text)
}

fn parameter<'q>(query: &'q str, name: &str) -> &'q str {
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.find(|(key, _)| *key == name).map_or("", |pair| pair.1)
}

fn number(query: &str, name: &str) -> i64 {
    parameter(query, name).parse().unwrap_or(0)
}

/// The label in the query string; `default` without one.
fn label<'q>(query: &'q str) -> &'q str {
    match parameter(query, "label") {
        "" => "default",
        label => label,
    }
}

fn key_value(error: key_value::Error) -> String {
    format!("{error:?}")
}

fn open(query: &str) -> Result<Store, String> {
    Store::open(label(query)).map_err(key_value)
}

fn text(value: Option<Vec<u8>>) -> String {
    value.map_or("none".to_owned(), |value| String::from_utf8_lossy(&value).into_owned())
}

fn get(query: &str) -> Result<String, String> {
    open(query)?.get(parameter(query, "key")).map(text).map_err(key_value)
}

fn set(query: &str) -> Result<String, String> {
    let value = parameter(query, "value").as_bytes();
    open(query)?.set(parameter(query, "key"), value).map_err(key_value)?;
    Ok("set".to_owned())
}

fn delete(query: &str) -> Result<String, String> {
    open(query)?.delete(parameter(query, "key")).map_err(key_value)?;
    Ok("deleted".to_owned())
}

fn exists(query: &str) -> Result<String, String> {
    open(query)?.exists(parameter(query, "key")).map(|found| found.to_string()).map_err(key_value)
}

fn keys(query: &str) -> Result<String, String> {
    let mut keys = open(query)?.get_keys().map_err(key_value)?;
    keys.sort();
    Ok(keys.join(","))
}

fn open_many(query: &str) -> Result<String, String> {
    let mut stores = Vec::new();
    for _ in 0..number(query, "count") {
        stores.push(open(query)?);
    }
    Ok(stores.len().to_string())
}

fn store(error: wasi::Error) -> String {
    format!("{error:?}")
}

fn increment(query: &str) -> Result<String, String> {
    let bucket = wasi::open(label(query)).map_err(store)?;
    let sum = atomics::increment(&bucket, parameter(query, "key"), number(query, "by"));
    sum.map(|sum| sum.to_string()).map_err(store)
}

/// Swaps twice from the same value: the second one must go on from what the first
/// one wrote.
fn swap(query: &str) -> Result<String, String> {
    let bucket = wasi::open(label(query)).map_err(store)?;
    let key = parameter(query, "key");
    let first = atomics::Cas::new(&bucket, key).map_err(store)?;
    let second = atomics::Cas::new(&bucket, key).map_err(store)?;
    let before = text(first.current().map_err(store)?);
    atomics::swap(first, b"first").map_err(|error| format!("{error:?}"))?;
    match atomics::swap(second, b"second") {
        Err(atomics::CasError::CasFailed(again)) => {
            let seen = text(again.current().map_err(store)?);
            atomics::swap(again, b"third").map_err(|error| format!("{error:?}"))?;
            Ok(format!("{before},{seen},{}", text(bucket.get(key).map_err(store)?)))
        }
        other => Err(format!("{other:?}")),
    }
}

fn many(query: &str) -> Result<String, String> {
    let bucket = wasi::open(label(query)).map_err(store)?;
    let entry = |key: &str| (key.to_owned(), key.to_uppercase().into_bytes());
    batch::set_many(&bucket, &[entry("a"), entry("b"), entry("c")]).map_err(store)?;
    batch::delete_many(&bucket, &["b".to_owned()]).map_err(store)?;
    let names = ["a", "b", "c"].map(str::to_owned);
    let values = batch::get_many(&bucket, &names).map_err(store)?;
    Ok(values.into_iter().map(|(key, value)| format!("{key}={}", text(value))).collect::<Vec<_>>().join(","))
}

fn wasi_keys(query: &str) -> Result<String, String> {
    let bucket = wasi::open(label(query)).map_err(store)?;
    let cursor = Some(parameter(query, "cursor")).filter(|cursor| !cursor.is_empty());
    let mut listed = bucket.list_keys(cursor).map_err(store)?.keys;
    listed.sort();
    Ok(listed.join(","))
}

/// Runs the statement in the body, or each of several separated by `;`, over one
/// connection; the rows of the last one.
fn sql(query: &str, statements: &str) -> Result<String, String> {
    let connection = Connection::open(label(query)).map_err(database)?;
    let mut lines = String::new();
    for statement in statements.split(';') {
        let result = connection.execute(statement, &[]).map_err(database)?;
        lines = result.columns.join(",") + "\n";
        for row in &result.rows {
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

fn connect_many(query: &str) -> Result<String, String> {
    let mut connections = Vec::new();
    for _ in 0..number(query, "count") {
        connections.push(Connection::open(label(query)).map_err(database)?);
    }
    Ok(connections.len().to_string())
}
