//! A stand-in for Azure Cosmos DB: the documents of one container, with what the
//! service checks of a request but for the signature itself.

use std::collections::BTreeMap;

use anyhow::Result;
use integration_tests::stand_in::{Answer, Asked, StandIn};
use serde_json::{Value, json};

/// The key of the account.
pub(crate) const KEY: &str = "aHVudGVyMg==";

const DOCUMENTS: &str = "/dbs/shop/colls/carts/docs";

pub(crate) fn start() -> Result<StandIn> {
    let mut documents = BTreeMap::new();
    let mut version = 0;
    StandIn::start(move |asked| {
        version += 1;
        answer(asked, &mut documents, version)
    })
}

fn answer(asked: &Asked, documents: &mut BTreeMap<String, Value>, version: u32) -> Answer {
    let signed = asked.header("authorization").starts_with("type%3Dmaster%26ver%3D1.0%26sig%3D");
    if !signed || asked.header("x-ms-date").is_empty() || asked.header("x-ms-version").is_empty() {
        return Answer::json(401, &json!({ "code": "Unauthorized" }));
    }
    let Some(rest) = asked.target.strip_prefix(DOCUMENTS) else {
        return Answer::json(404, &json!({ "code": "NotFound" }));
    };
    if asked.header("x-ms-documentdb-isquery") == "true" {
        return page(asked, documents);
    }
    let body = asked.json();
    let id = rest.strip_prefix('/').or_else(|| body["id"].as_str()).unwrap_or_default().to_owned();
    if asked.header("x-ms-documentdb-partitionkey") != format!("[{}]", json!(id)) {
        return Answer::json(400, &json!({ "code": "BadRequest" }));
    }
    let known = documents.get(&id);
    let changed = || {
        let wanted = asked.header("if-match");
        !wanted.is_empty() && known.is_some_and(|known| known["_etag"] != wanted)
    };
    let upsert = asked.header("x-ms-documentdb-is-upsert") == "true";
    match (asked.method.as_str(), known) {
        ("POST", Some(_)) if !upsert => Answer::json(409, &json!({ "code": "Conflict" })),
        ("POST", _) => keep(documents, &id, body, version),
        (_, None) => Answer::json(404, &json!({ "code": "NotFound" })),
        ("GET", Some(known)) => Answer::json(200, known),
        _ if changed() => Answer::json(412, &json!({ "code": "PreconditionFailed" })),
        ("PUT", _) => keep(documents, &id, body, version),
        ("PATCH", Some(known)) => {
            let by = body["operations"][0]["value"].as_i64().unwrap_or_default();
            match known["value"].as_i64() {
                Some(number) => {
                    let sum = json!({ "id": id, "value": number + by });
                    keep(documents, &id, sum, version)
                }
                None => Answer::json(400, &json!({ "code": "BadRequest" })),
            }
        }
        ("DELETE", _) => {
            documents.remove(&id);
            Answer { status: 204, headers: Vec::new(), body: String::new() }
        }
        _ => Answer::json(405, &json!({ "code": "MethodNotAllowed" })),
    }
}

fn keep(
    documents: &mut BTreeMap<String, Value>,
    id: &str,
    mut document: Value,
    version: u32,
) -> Answer {
    document["_etag"] = json!(format!("\"{version}\""));
    documents.insert(id.to_owned(), document.clone());
    Answer::json(200, &document)
}

/// Two documents at a time, so that pages are asked for.
fn page(asked: &Asked, documents: &BTreeMap<String, Value>) -> Answer {
    let start: usize = asked.header("x-ms-continuation").parse().unwrap_or(0);
    let ids: Vec<Value> =
        documents.keys().skip(start).take(2).map(|id| json!({ "id": id })).collect();
    let more = start + 2 < documents.len();
    let headers =
        if more { vec![("x-ms-continuation", (start + 2).to_string())] } else { Vec::new() };
    Answer { status: 200, headers, body: json!({ "Documents": ids }).to_string() }
}
