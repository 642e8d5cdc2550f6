//! A real server: values, errors, reuse, and linking every version of the
//! interface.

use std::sync::Arc;

use outbound_hosts::AllowedHosts;
use outbound_network::{ComponentNetwork, Limit, OutboundNetwork};
use test_servers::Postgres;
use wasmtime::component::{Component, Linker};
use wasmtime::{Config, Engine};
use wit_component::{ComponentEncoder, StringEncoding, dummy_module, embed_component_metadata};
use wit_parser::{LiftLowerAbi, ManglingAndAbi, Resolve};

use super::*;
use crate::interface::{DbValue, ParameterValue, QueryError};

fn component(allowed: &[&str]) -> Arc<ComponentPostgres> {
    let shared = Arc::new(OutboundNetwork::default());
    let allowed = Arc::new(AllowedHosts::parse(allowed, &[]).unwrap());
    let network = Arc::new(ComponentNetwork::new("shop", shared, allowed, |_| {}));
    Arc::new(ComponentPostgres::new(network, Arc::new(Connections::new(Limit::unlimited()))))
}

async fn backend(connection: &Connection) -> String {
    let rows = connection.query("SELECT pg_backend_pid()", &[]).await.unwrap().rows;
    format!("{rows:?}")
}

/// Lets a connection that was given back arrive.
async fn settle() {
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
}

#[tokio::test]
async fn statements_change_rows_and_queries_read_them() {
    let server = Postgres::start().unwrap();
    let component = component(&["postgres://127.0.0.1:*"]);
    let connection = component.connect(&server.address()).await.unwrap();
    connection.execute("CREATE TABLE t (n int4, s text, d numeric)", &[]).await.unwrap();
    let row = [
        ParameterValue::Int32(1),
        ParameterValue::Str("one".into()),
        ParameterValue::Decimal("1.50".into()),
    ];
    let insert = "INSERT INTO t VALUES ($1, $2, $3), (2, NULL, NULL)";
    assert_eq!(connection.execute(insert, &row).await.unwrap(), 2);
    let none = connection.query("SELECT * FROM t WHERE n > 9", &[]).await.unwrap();
    assert!(none.rows.is_empty() && none.columns.is_empty());
    let all = connection.query("SELECT n, s, d FROM t ORDER BY n", &[]).await.unwrap();
    assert_eq!(all.columns[2].name, "d");
    let first = &all.rows[0];
    assert!(matches!(&first[2], DbValue::Decimal(text) if text == "1.50"), "{first:?}");
    assert!(matches!(all.rows[1][1], DbValue::DbNull));
    let mut streamed = connection.stream("SELECT generate_series(1, 1000)", &[]).await.unwrap();
    let mut count = 0;
    while streamed.rows.recv().await.is_some() {
        count += 1;
    }
    assert_eq!(count, 1000);
    streamed.outcome.await.unwrap().unwrap();
}

#[tokio::test]
async fn every_error_has_its_own_variant() {
    let server = Postgres::start().unwrap();
    let nowhere = component(&["postgres://db.test:1"]);
    for (address, shown) in [
        ("postgres://u:secret@db.test/shop", "postgres://db.test:5432"),
        ("host=db.test user=u password=secret", "postgres://db.test"),
        ("host=db.test port=5432 user=u password=secret", "postgres://db.test:5432"),
        ("postgres://u:secret@db.test:1,db.test:2/shop", "postgres://db.test:2"),
    ] {
        let denied = nowhere.connect(address).await.unwrap_err();
        let expected = format!("address {shown} is not permitted");
        assert!(
            matches!(&denied, Error::ConnectionFailed(text) if *text == expected),
            "{denied:?}"
        );
    }
    let component = component(&["postgres://*:*"]);
    let second_denied = format!("host=127.0.0.1,db.test port={},0 user=u", server.port());
    for address in ["nonsense", "postgres:///db", "postgres://u@127.0.0.1:1/", &second_denied] {
        let error = component.connect(address).await.unwrap_err();
        assert!(matches!(error, Error::ConnectionFailed(_)), "{address}: {error:?}");
    }
    let wrong = server.address().replace(Postgres::PASSWORD, "secret");
    let error = component.connect(&wrong).await.unwrap_err();
    assert!(
        matches!(&error, Error::ConnectionFailed(text)
            if text.contains("authentication failed") && !text.contains("secret")),
        "{error:?}"
    );
    let connection = component.connect(&server.address()).await.unwrap();
    let error = connection.query("SELECT * FROM nobody", &[]).await.unwrap_err();
    let Error::QueryFailed(QueryError::DbError(error)) = error else { panic!("{error:?}") };
    assert_eq!((&*error.code, &*error.severity), ("42P01", "ERROR"));
    assert!(error.as_text.contains("relation \"nobody\" does not exist"), "{error:?}");
    let error = connection.execute("SELECT $1::int4", &[]).await.unwrap_err();
    assert!(matches!(error, Error::BadParameter(_)), "{error:?}");
    let huge = [ParameterValue::Int64(i64::MAX)];
    let error = connection.execute("SELECT $1::int4", &huge).await.unwrap_err();
    assert!(matches!(error, Error::ValueConversionFailed(_)), "{error:?}");
    let failing = "SELECT 1 / (5 - n) FROM generate_series(1, 9) AS n";
    let mut streamed = connection.stream(failing, &[]).await.unwrap();
    let mut count = 0;
    while streamed.rows.recv().await.is_some() {
        count += 1;
    }
    let outcome = streamed.outcome.await.unwrap();
    assert!(matches!(outcome, Err(Error::QueryFailed(_))) && count <= 4, "{count}");
    connection.query("SELECT 1", &[]).await.unwrap();
}

#[tokio::test]
async fn the_rows_of_a_query_have_a_limit_in_the_words_of_spin() {
    let server = Postgres::start().unwrap();
    let component = component(&["postgres://127.0.0.1:*"]);
    let connection = component.connect(&server.address()).await.unwrap();
    let large = "SELECT repeat('y', 1048576) FROM generate_series(1, 129)";
    let is_said = |error: &Error| {
        matches!(error, Error::QueryFailed(QueryError::Text(text))
            if text.contains("query result exceeds limit of 134217728 bytes"))
    };
    let error = connection.query(large, &[]).await.unwrap_err();
    assert!(is_said(&error), "{error:?}");
    let mut streamed = connection.stream(large, &[]).await.unwrap();
    while streamed.rows.recv().await.is_some() {}
    let error = streamed.outcome.await.unwrap().unwrap_err();
    assert!(is_said(&error), "{error:?}");
}

#[tokio::test]
async fn a_session_is_reset_before_it_is_used_again() {
    let server = Postgres::start().unwrap();
    let component = component(&["postgres://127.0.0.1:*"]);
    let first = component.connect(&server.address()).await.unwrap();
    let pid = backend(&first).await;
    for statement in ["SET search_path TO nowhere", "CREATE TEMP TABLE secret (n int)", "BEGIN"] {
        first.execute(statement, &[]).await.unwrap();
    }
    drop(first);
    settle().await;
    let second = component.connect(&server.address()).await.unwrap();
    assert_eq!(backend(&second).await, pid);
    let path = second.query("SHOW search_path", &[]).await.unwrap().rows;
    assert!(!format!("{path:?}").contains("nowhere"));
    assert!(second.query("SELECT * FROM secret", &[]).await.is_err());
    let streamed = second.stream("SELECT generate_series(1, 1000000)", &[]).await.unwrap();
    drop((streamed, second));
    settle().await;
    let third = component.connect(&server.address()).await.unwrap();
    assert_ne!(backend(&third).await, pid, "rows of another one may be on their way");
}

#[tokio::test]
async fn a_server_without_tls_is_refused_where_tls_is_required() {
    let server = Postgres::start().unwrap();
    let component = component(&["postgres://127.0.0.1:*"]);
    let prefer = server.address().replace("sslmode=disable", "sslmode=prefer");
    component.connect(&prefer).await.unwrap();
    let require = server.address().replace("sslmode=disable", "sslmode=require");
    let error = component.connect(&require).await.unwrap_err();
    assert!(matches!(error, Error::ConnectionFailed(_)), "{error:?}");
    assert!(Builder::new(require).trust("no certificate").is_err());
}

fn engine() -> Engine {
    let mut config = Config::new();
    config.wasm_component_model_async(true);
    Engine::new(&config).unwrap()
}

/// A component that imports the whole world in a file of `wit/`.
fn importer(engine: &Engine, wit: &str) -> Component {
    let mut resolve = Resolve::default();
    let package = resolve.push_str("world.wit", wit).unwrap();
    let world = resolve.select_world(&[package], None).unwrap();
    let mangling = ManglingAndAbi::Legacy(LiftLowerAbi::Sync);
    let mut module = dummy_module(&resolve, world, mangling);
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    let mut encoder = ComponentEncoder::default().validate(true).module(&module).unwrap();
    Component::new(engine, encoder.encode().unwrap()).unwrap()
}

#[test]
fn a_component_that_imports_any_version_is_linked() {
    let engine = engine();
    let mut linker: Linker<InstanceConnections> = Linker::new(&engine);
    add_to_linker(&mut linker, |connections| connections).unwrap();
    let newest = include_str!("../wit/version-4.wit");
    // Version 4.0.0 had neither the builder nor the async twins.
    let builder = newest.find("  resource connection-builder").unwrap();
    let connection = newest.find("  resource connection {").unwrap();
    let oldest: String = [&newest[..builder], &newest[connection..]]
        .concat()
        .lines()
        .filter(|line| !line.contains("async"))
        .map(|line| line.replace("@4.2.0", "@4.0.0") + "\n")
        .collect();
    for wit in [
        include_str!("../wit/unversioned.wit"),
        include_str!("../wit/version-2.wit"),
        include_str!("../wit/version-3.wit"),
        newest,
        oldest.as_str(),
    ] {
        linker.instantiate_pre(&importer(&engine, wit)).unwrap();
    }
}
