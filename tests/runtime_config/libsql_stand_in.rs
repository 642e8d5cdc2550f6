//! A stand-in for a libSQL server: Hrana 3 over a SQLite database in memory.
//! Streams live until they are closed.

use std::collections::BTreeMap;

use anyhow::Result;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use integration_tests::stand_in::{Answer, Asked, StandIn};
use rusqlite::types::{Value as Datum, ValueRef};
use rusqlite::{Connection, params_from_iter};
use serde_json::{Value, json};

use crate::SECRET;

const DATABASE: &str = "file:stand-in?mode=memory&cache=shared";

pub(crate) fn start() -> Result<StandIn> {
    // The database lives as long as this connection.
    let keeper = Connection::open(DATABASE)?;
    let mut streams = BTreeMap::new();
    let mut count = 0;
    StandIn::start(move |asked| {
        let _ = &keeper;
        answer(asked, &mut streams, &mut count)
    })
}

fn answer(asked: &Asked, streams: &mut BTreeMap<String, Connection>, count: &mut u32) -> Answer {
    if asked.header("authorization") != format!("Bearer {SECRET}") {
        return Answer::json(401, &json!({}));
    }
    if (asked.method.as_str(), asked.target.as_str()) != ("POST", "/v3/pipeline") {
        return Answer::json(404, &json!({}));
    }
    let pipeline = asked.json();
    let stream = match pipeline["baton"].as_str() {
        None => Connection::open(DATABASE).ok(),
        Some(baton) => streams.remove(baton),
    };
    let Some(mut stream) = stream else { return Answer::json(400, &json!({})) };
    let mut open = true;
    let requests = pipeline["requests"].as_array().cloned().unwrap_or_default();
    let results: Vec<Value> = requests
        .iter()
        .map(|request| match request["type"].as_str() {
            Some("execute") => match execute(&mut stream, &request["stmt"]) {
                Ok(result) => ok(json!({ "type": "execute", "result": result })),
                Err(error) => json!({ "type": "error",
                    "error": { "message": error.to_string(), "code": "SQLITE_UNKNOWN" } }),
            },
            Some("get_autocommit") => ok(json!({ "type": "get_autocommit",
                "is_autocommit": stream.is_autocommit() })),
            _ => {
                open = false;
                ok(json!({ "type": "close" }))
            }
        })
        .collect();
    let baton = open.then(|| {
        *count += 1;
        streams.insert(count.to_string(), stream);
        count.to_string()
    });
    Answer::json(200, &json!({ "baton": baton, "base_url": null, "results": results }))
}

fn ok(response: Value) -> Value {
    json!({ "type": "ok", "response": response })
}

fn execute(connection: &mut Connection, statement: &Value) -> rusqlite::Result<Value> {
    let sql = statement["sql"].as_str().unwrap_or_default();
    let arguments: Vec<Datum> =
        statement["args"].as_array().into_iter().flatten().map(datum).collect();
    let mut prepared = connection.prepare(sql)?;
    let columns: Vec<Value> = prepared.column_names().map(|name| json!({ "name": name })).collect();
    let mut rows = prepared.query(params_from_iter(arguments))?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let values: rusqlite::Result<Vec<Value>> =
            (0..columns.len()).map(|index| row.get_ref(index).map(shown)).collect();
        found.push(values?);
    }
    drop(rows);
    drop(prepared);
    Ok(json!({
        "cols": columns,
        "rows": found,
        "affected_row_count": connection.changes(),
        "last_insert_rowid": connection.last_insert_rowid().to_string(),
    }))
}

fn datum(value: &Value) -> Datum {
    let text = value["value"].as_str().unwrap_or_default();
    match value["type"].as_str() {
        Some("integer") => Datum::Integer(text.parse().unwrap_or_default()),
        Some("float") => Datum::Real(value["value"].as_f64().unwrap_or_default()),
        Some("text") => Datum::Text(text.to_owned()),
        Some("blob") => {
            let text = value["base64"].as_str().unwrap_or_default();
            Datum::Blob(STANDARD_NO_PAD.decode(text).unwrap_or_default())
        }
        _ => Datum::Null,
    }
}

fn shown(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => json!({ "type": "null" }),
        ValueRef::Integer(number) => json!({ "type": "integer", "value": number.to_string() }),
        ValueRef::Real(number) => json!({ "type": "float", "value": number }),
        ValueRef::Text(text) => {
            json!({ "type": "text", "value": String::from_utf8_lossy(text) })
        }
        ValueRef::Blob(bytes) => {
            json!({ "type": "blob", "base64": STANDARD_NO_PAD.encode(bytes) })
        }
    }
}
