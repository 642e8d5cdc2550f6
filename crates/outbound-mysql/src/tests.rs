//! A real server: values, errors, reuse, and linking every version of the
//! interface.

use std::sync::Arc;

use outbound_hosts::AllowedHosts;
use outbound_network::{ComponentNetwork, Limit, OutboundNetwork};
use test_servers::MariaDb;
use wasmtime::component::{Component, Linker};
use wasmtime::{Config, Engine};
use wit_component::{ComponentEncoder, StringEncoding, dummy_module, embed_component_metadata};
use wit_parser::{LiftLowerAbi, ManglingAndAbi, Resolve};

use super::*;
use crate::interface::{DbDataType, DbValue, ParameterValue};

fn component(allowed: &[&str]) -> Arc<ComponentMysql> {
    let shared = Arc::new(OutboundNetwork::default());
    let allowed = Arc::new(AllowedHosts::parse(allowed, &[]).unwrap());
    let network = Arc::new(ComponentNetwork::new("shop", shared, allowed, |_| {}));
    Arc::new(ComponentMysql::new(network, Arc::new(Connections::new(Limit::unlimited()))))
}

async fn one(connection: &Connection, query: &str) -> DbValue {
    let (_, mut rows) = connection.query(query, vec![]).await.unwrap();
    rows.remove(0).remove(0)
}

/// Lets a connection that was given back arrive.
async fn settle() {
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
}

const TABLE: &str = "CREATE TABLE t (
    i8 TINYINT, i16 SMALLINT, i24 MEDIUMINT, i32 INT, i64 BIGINT,
    u8 TINYINT UNSIGNED, u16 SMALLINT UNSIGNED, u32 INT UNSIGNED, u64 BIGINT UNSIGNED,
    f32 FLOAT, f64 DOUBLE, s VARCHAR(20) CHARACTER SET utf8mb4, t TEXT CHARACTER SET utf8mb4,
    b VARBINARY(20), l BLOB, d DECIMAL(5, 2), y BOOLEAN)";

#[tokio::test]
async fn every_type_of_value_comes_back() {
    use ParameterValue as P;
    let server = MariaDb::start().unwrap();
    let component = component(&["mysql://127.0.0.1:*"]);
    let connection = component.connect(&server.address()).await.unwrap();
    connection.execute(TABLE, vec![]).await.unwrap();
    let row = vec![
        P::Int8(-128),
        P::Int16(-32_768),
        P::Int32(-8_388_608),
        P::Int32(i32::MIN),
        P::Int64(i64::MIN),
        P::Uint8(255),
        P::Uint16(65_535),
        P::Uint32(u32::MAX),
        P::Uint64(u64::MAX),
        P::Floating32(0.5),
        P::Floating64(0.25),
        P::Str("größer".into()),
        P::Str("länger".into()),
        P::Binary(vec![0, 255]),
        P::Binary(vec![1]),
        P::Str("1.25".into()),
        P::Boolean(true),
    ];
    let marks = vec!["?"; row.len()].join(", ");
    connection.execute(&format!("INSERT INTO t VALUES ({marks})"), row).await.unwrap();
    let (columns, rows) = connection.query("SELECT * FROM t", vec![]).await.unwrap();
    let values = format!("{:?}", rows[0]).replace("DbValue::", "");
    for expected in [
        "Int8(-128), Int16(-32768), Int32(-8388608), Int32(-2147483648)",
        "Int64(-9223372036854775808), Uint8(255), Uint16(65535), Uint32(4294967295)",
        "Uint64(18446744073709551615), Floating32(0.5), Floating64(0.25)",
        "Str(\"größer\"), Str(\"länger\"), Binary([0, 255]), Binary([1]), Unsupported, Int8(1)",
    ] {
        assert!(values.contains(expected), "{values}");
    }
    assert!(matches!(columns[11].data_type, DbDataType::Str) && columns[11].name == "s");
    let nulls = connection.query("SELECT NULL, i8 FROM t WHERE i8 = ?", vec![P::Int32(-128)]);
    let (_, rows) = nulls.await.unwrap();
    assert!(matches!(rows[0][..], [DbValue::DbNull, DbValue::Int8(-128)]), "{rows:?}");
}

#[tokio::test]
async fn the_rows_of_a_query_have_a_limit_in_the_words_of_spin() {
    let server = MariaDb::start().unwrap();
    let component = component(&["mysql://127.0.0.1:*"]);
    let connection = component.connect(&server.address()).await.unwrap();
    let large = "SELECT REPEAT('y', 1048576) FROM seq_1_to_129";
    let is_said = |error: &Error| {
        matches!(error, Error::Other(text)
            if text.contains("query result exceeds limit of 134217728 bytes"))
    };
    let error = connection.query(large, vec![]).await.unwrap_err();
    assert!(is_said(&error), "{error:?}");
    let mut streamed = connection.stream(large.to_owned(), vec![]).await.unwrap();
    while streamed.rows.recv().await.is_some() {}
    let error = streamed.outcome.await.unwrap().unwrap_err();
    assert!(is_said(&error), "{error:?}");
    connection.query("SELECT 1", vec![]).await.unwrap();
}

#[tokio::test]
async fn every_error_has_its_own_variant() {
    let server = MariaDb::start().unwrap();
    let denied = component(&["mysql://127.0.0.1"]).connect(&server.address()).await.unwrap_err();
    let shown = server.address().replace(&format!(":{}@", MariaDb::PASSWORD), "@");
    let expected = format!("address {shown} is not permitted");
    assert!(matches!(&denied, Error::ConnectionFailed(text) if *text == expected), "{denied:?}");
    let component = component(&["mysql://*:*"]);
    for address in ["nonsense", "mysql:///shop", "mysql://u@127.0.0.1:1/shop"] {
        let error = component.connect(address).await.unwrap_err();
        assert!(matches!(error, Error::ConnectionFailed(_)), "{address}: {error:?}");
    }
    let wrong = server.address().replace(MariaDb::PASSWORD, "secret");
    let error = component.connect(&wrong).await.unwrap_err();
    assert!(
        matches!(&error, Error::ConnectionFailed(text)
            if text.contains("Access denied") && !text.contains("secret")),
        "{error:?}"
    );
    let secure = format!("{}?ssl-mode=REQUIRED", server.address());
    let error = component.connect(&secure).await.unwrap_err();
    assert!(matches!(error, Error::ConnectionFailed(_)), "{error:?}");
    let connection = component.connect(&server.address()).await.unwrap();
    let error = connection.query("SELECT * FROM nobody", vec![]).await.unwrap_err();
    assert!(matches!(&error, Error::QueryFailed(text) if text.contains("nobody")), "{error:?}");
    let error = connection.execute("SELECT ?", vec![]).await.unwrap_err();
    assert!(matches!(error, Error::BadParameter(_)), "{error:?}");
    let connection = component.connect(&server.address()).await.unwrap();
    assert!(matches!(one(&connection, "SELECT 7").await, DbValue::Int32(7)));
}

#[tokio::test]
async fn a_session_is_reset_before_it_is_used_again() {
    let server = MariaDb::start().unwrap();
    let component = component(&["mysql://127.0.0.1:*"]);
    let first = component.connect(&server.address()).await.unwrap();
    let id = format!("{:?}", one(&first, "SELECT CONNECTION_ID()").await);
    first.execute("SET @secret = 42", vec![]).await.unwrap();
    drop(first);
    settle().await;
    let second = component.connect(&server.address()).await.unwrap();
    assert_eq!(format!("{:?}", one(&second, "SELECT CONNECTION_ID()").await), id);
    assert!(matches!(one(&second, "SELECT @secret").await, DbValue::DbNull));
    let rows = "WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 1000) \
                SELECT i FROM n";
    let mut streamed = second.stream(rows.to_owned(), vec![]).await.unwrap();
    let mut count = 0;
    while streamed.rows.recv().await.is_some() {
        count += 1;
    }
    assert_eq!(count, 1000);
    streamed.outcome.await.unwrap().unwrap();
    let endless = "SELECT a.seq FROM seq_1_to_1000000 AS a, seq_1_to_1000000 AS b";
    let streamed = second.stream(endless.to_owned(), vec![]).await.unwrap();
    drop((streamed, second));
    settle().await;
    let third = component.connect(&server.address()).await.unwrap();
    assert_ne!(format!("{:?}", one(&third, "SELECT CONNECTION_ID()").await), id);
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
    for wit in [
        include_str!("../wit/unversioned.wit"),
        include_str!("../wit/version-2.wit"),
        include_str!("../wit/version-3.wit"),
    ] {
        linker.instantiate_pre(&importer(&engine, wit)).unwrap();
    }
}
