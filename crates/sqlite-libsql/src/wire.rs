//! The messages of Hrana 3.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::{Deserialize, Serialize};
use sqlite::{QueryResult, SqliteError, Value};

/// Written without padding, read with and without.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Requests over one stream, in their order.
#[derive(Serialize)]
pub(crate) struct Pipeline<'a> {
    pub(crate) baton: Option<&'a str>,
    pub(crate) requests: Vec<Asked>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Asked {
    Execute { stmt: Statement },
    GetAutocommit,
    Close,
}

#[derive(Serialize)]
pub(crate) struct Statement {
    sql: String,
    args: Vec<Datum>,
    want_rows: bool,
}

#[derive(Deserialize)]
pub(crate) struct Answer {
    pub(crate) baton: Option<String>,
    pub(crate) base_url: Option<String>,
    pub(crate) results: Vec<Outcome>,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Outcome {
    Ok { response: Response },
    Error { error: Failure },
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Response {
    Execute { result: Executed },
    GetAutocommit { is_autocommit: bool },
    Close,
}

#[derive(Deserialize)]
pub(crate) struct Failure {
    pub(crate) message: String,
    pub(crate) code: Option<String>,
}

#[derive(Deserialize)]
pub(crate) struct Executed {
    cols: Vec<Column>,
    rows: Vec<Vec<Datum>>,
    pub(crate) affected_row_count: u64,
    pub(crate) last_insert_rowid: Option<String>,
}

#[derive(Deserialize)]
struct Column {
    name: Option<String>,
}

/// A value; numbers without fraction are text, because JSON's are not exact.
#[derive(Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Datum {
    Null,
    Integer { value: String },
    Float { value: f64 },
    Text { value: String },
    Blob { base64: String },
}

/// A value of the server that none of its kind can have.
#[derive(Debug, thiserror::Error)]
#[error("the database server sends a {kind} that is none")]
struct NotAValue {
    kind: &'static str,
}

impl Asked {
    pub(crate) fn execute(sql: String, parameters: Vec<Value>) -> Self {
        let args = parameters.into_iter().map(Datum::from).collect();
        Self::Execute { stmt: Statement { sql, args, want_rows: true } }
    }
}

impl Executed {
    pub(crate) fn into_result(self) -> Result<QueryResult, SqliteError> {
        let columns = self.cols.into_iter().map(|column| column.name.unwrap_or_default());
        let row = |row: Vec<Datum>| row.into_iter().map(Datum::into_value).collect();
        Ok(QueryResult {
            columns: columns.collect(),
            rows: self.rows.into_iter().map(row).collect::<Result<_, SqliteError>>()?,
        })
    }
}

impl From<Value> for Datum {
    fn from(value: Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Integer(number) => Self::Integer { value: number.to_string() },
            Value::Real(value) => Self::Float { value },
            Value::Text(value) => Self::Text { value },
            Value::Blob(bytes) => Self::Blob { base64: BASE64.encode(bytes) },
        }
    }
}

impl Datum {
    fn into_value(self) -> Result<Value, SqliteError> {
        let not = |kind| SqliteError::backend(NotAValue { kind });
        Ok(match self {
            Self::Null => Value::Null,
            Self::Integer { value } => {
                Value::Integer(value.parse().map_err(|_| not("whole number"))?)
            }
            Self::Float { value } => Value::Real(value),
            Self::Text { value } => Value::Text(value),
            Self::Blob { base64 } => Value::Blob(BASE64.decode(base64).map_err(|_| not("blob"))?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_value_survives_the_way_there_and_back() {
        let values = vec![
            Value::Null,
            Value::Integer(i64::MIN),
            Value::Real(0.5),
            Value::Text("ü".to_owned()),
            Value::Blob(vec![0, 255, 1, 2]),
        ];
        for value in values {
            let text = serde_json::to_string(&Datum::from(value.clone())).unwrap();
            let back: Datum = serde_json::from_str(&text).unwrap();
            assert_eq!(back.into_value().unwrap(), value, "{text}");
        }
        let padded: Datum = serde_json::from_str(r#"{"type": "blob", "base64": "AQ=="}"#).unwrap();
        assert_eq!(padded.into_value().unwrap(), Value::Blob(vec![1]));
    }

    #[test]
    fn a_request_has_the_form_of_the_protocol() {
        let requests = vec![
            Asked::execute("SELECT ?".to_owned(), vec![Value::Integer(7)]),
            Asked::GetAutocommit,
            Asked::Close,
        ];
        let text = serde_json::to_string(&Pipeline { baton: None, requests }).unwrap();
        assert_eq!(
            text,
            r#"{"baton":null,"requests":[{"type":"execute","stmt":{"sql":"SELECT ?","args":[{"type":"integer","value":"7"}],"want_rows":true}},{"type":"get_autocommit"},{"type":"close"}]}"#
        );
    }

    #[test]
    fn an_answer_is_read_without_what_is_not_needed() {
        let answer: Answer = serde_json::from_str(
            r#"{"baton": null, "base_url": null, "results": [
                {"type": "ok", "response": {"type": "execute", "result": {
                    "cols": [{"name": "a", "decltype": null}],
                    "rows": [[{"type": "integer", "value": "1"}]],
                    "affected_row_count": 0, "last_insert_rowid": null, "query_duration_ms": 0.1}}},
                {"type": "error", "error": {"message": "no such table: x", "code": "SQLITE_UNKNOWN"}},
                {"type": "ok", "response": {"type": "close"}}]}"#,
        )
        .unwrap();
        let mut results = answer.results.into_iter();
        let Some(Outcome::Ok { response: Response::Execute { result } }) = results.next() else {
            panic!()
        };
        let result = result.into_result().unwrap();
        assert_eq!(
            (result.columns, result.rows),
            (vec!["a".into()], vec![vec![Value::Integer(1)]])
        );
        assert!(matches!(results.next(), Some(Outcome::Error { .. })));
    }
}
