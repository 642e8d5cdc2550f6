//! What apps do, as the path says, over the router and the interfaces of the Rust
//! SDK 5: `spin:sqlite@3.0.0` and `spin:postgres@4.0.0` among them.

use anyhow::{Context as _, Result};
use spin_sdk::http::{self, IntoResponse, Params, Request, Response, Router};
use spin_sdk::key_value::Store;
use spin_sdk::sqlite3::Connection;
use spin_sdk::{http_component, pg4, variables};

#[http_component]
async fn handle(request: Request) -> Response {
    let mut router = Router::new();
    router.get("/hello/:planet", hello);
    router.any("/echo", echo);
    router.get("/wild/*", wild);
    router.get("/variable/:name", variable);
    router.post("/kv/:key", set);
    router.get("/kv/:key", get);
    router.get("/store/:label", open);
    router.post("/sql", sql);
    router.post("/postgres-4", postgres);
    router.get_async("/fetch", fetch);
    router.handle_async(request).await
}

fn text(body: impl Into<Vec<u8>>) -> Response {
    Response::new(200, body.into())
}

/// The part of the path with this name.
fn part<'a>(params: &'a Params, name: &str) -> Result<&'a str> {
    params.get(name).with_context(|| format!("no {name} in the path"))
}

fn hello(_: Request, params: Params) -> Result<impl IntoResponse> {
    Ok(text(format!("hello {}", part(&params, "planet")?)))
}

fn echo(request: Request, _: Params) -> Result<impl IntoResponse> {
    let method = request.method().to_string();
    Ok(Response::builder()
        .status(200)
        .header("x-method", method)
        .body(request.into_body())
        .build())
}

fn wild(_: Request, params: Params) -> Result<impl IntoResponse> {
    Ok(text(params.wildcard().unwrap_or_default()))
}

fn variable(_: Request, params: Params) -> Result<impl IntoResponse> {
    Ok(text(variables::get(part(&params, "name")?)?))
}

fn set(request: Request, params: Params) -> Result<impl IntoResponse> {
    let store = Store::open_default()?;
    store.set(part(&params, "key")?, request.body())?;
    Ok(Response::new(201, store.get_keys()?.join(",")))
}

fn get(_: Request, params: Params) -> Result<impl IntoResponse> {
    let value = Store::open_default()?.get(part(&params, "key")?)?;
    Ok(text(value.unwrap_or_else(|| b"none".to_vec())))
}

fn open(_: Request, params: Params) -> Result<impl IntoResponse> {
    Store::open(part(&params, "label")?)?;
    Ok(text("open"))
}

/// Runs a statement; tells its rows, and what the connection says about it.
fn sql(request: Request, _: Params) -> Result<impl IntoResponse> {
    let connection = Connection::open_default()?;
    let result = connection.execute(std::str::from_utf8(request.body())?, &[])?;
    let rows: Vec<_> = result.rows.iter().map(|row| &row.values).collect();
    let (last, changes) = (connection.last_insert_rowid(), connection.changes());
    Ok(text(format!("{:?} {rows:?} last {last}, changed {changes}", result.columns)))
}

/// Lines: address, statement, parameters that are texts. `?` before the
/// statement: it returns rows.
fn postgres(request: Request, _: Params) -> Result<impl IntoResponse> {
    let body = std::str::from_utf8(request.body())?;
    let mut lines = body.lines();
    let connection = pg4::Connection::open(lines.next().unwrap_or_default())
        .map_err(|error| anyhow::anyhow!("{error:?}"))?;
    let statement = lines.next().unwrap_or_default();
    let parameters: Vec<_> = lines.map(|line| pg4::ParameterValue::Str(line.to_owned())).collect();
    let said = match statement.strip_prefix('?') {
        Some(query) => connection
            .query(query, &parameters)
            .map(|set| format!("{:?}\n{:?}", set.columns, set.rows)),
        None => connection.execute(statement, &parameters).map(|changed| changed.to_string()),
    };
    said.map(text).map_err(|error| anyhow::anyhow!("{error:?}"))
}

async fn fetch(request: Request, _: Params) -> Result<impl IntoResponse> {
    let response: Response = http::send(Request::get(request.query())).await?;
    Ok(response)
}
