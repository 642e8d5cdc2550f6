//! Who may connect where, reuse, and linking every version of the interface.

use std::sync::Arc;

use outbound_hosts::AllowedHosts;
use outbound_network::{ComponentNetwork, OutboundNetwork};
use test_servers::Redis;
use wasmtime::component::{Component, Linker};
use wasmtime::{Config, Engine};
use wit_component::{ComponentEncoder, StringEncoding, dummy_module, embed_component_metadata};
use wit_parser::{LiftLowerAbi, ManglingAndAbi, Resolve};

use super::*;

fn component(allowed: &[&str], limit: Option<usize>) -> Arc<ComponentRedis> {
    let shared = Arc::new(OutboundNetwork::default());
    let connections = Arc::new(Connections::new(shared.limit("redis", limit)));
    let allowed = Arc::new(AllowedHosts::parse(allowed, &[]).unwrap());
    let network = Arc::new(ComponentNetwork::new("shop", shared, allowed, |_| {}));
    Arc::new(ComponentRedis::new(network, connections))
}

/// An instance that may connect to every Redis server.
pub(crate) fn instance() -> InstanceConnections {
    InstanceConnections::new(component(&["redis://*:*"], None))
}

async fn client_id(connection: &Connection) -> i64 {
    connection.query("client", redis::cmd("CLIENT").arg("ID").clone()).await.unwrap()
}

impl From<i64> for Parameter {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

/// Lets a connection that was given back arrive.
async fn settle() {
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
}

#[tokio::test]
async fn a_connection_is_used_again_unless_something_was_left_in_it() {
    let server = Redis::start().unwrap();
    let component = component(&["redis://127.0.0.1:*"], None);
    let first = component.connect(&server.address()).await.unwrap();
    let first_id = client_id(&first).await;
    let other = component.connect(&server.address()).await.unwrap();
    assert_ne!(client_id(&other).await, first_id, "a connection in use is nobody else's");
    drop((first, other));
    settle().await;
    let again = component.connect(&server.address()).await.unwrap();
    let again_id = client_id(&again).await;
    again.execute("select", vec![1.into()]).await.unwrap();
    again.set("k", b"in database 1").await.unwrap();
    drop(again);
    settle().await;
    for _ in 0..2 {
        let later = component.connect(&server.address()).await.unwrap();
        assert_ne!(client_id(&later).await, again_id);
        assert_eq!(later.get("k").await.unwrap(), None);
    }
}

#[tokio::test]
async fn a_call_that_was_given_up_leaves_no_connection_behind() {
    let server = Redis::start().unwrap();
    let component = component(&["redis://*:*"], None);
    let first = component.connect(&server.address()).await.unwrap();
    let id = client_id(&first).await;
    let wait = first.execute("BLPOP", vec![Parameter::Binary(b"never".to_vec()), 0.into()]);
    let limit = std::time::Duration::from_millis(100);
    assert!(tokio::time::timeout(limit, wait).await.is_err());
    drop(first);
    settle().await;
    let second = component.connect(&server.address()).await.unwrap();
    assert_ne!(client_id(&second).await, id);
}

#[tokio::test]
async fn a_password_is_needed_where_the_server_asks_for_one() {
    let server = Redis::with_password("p/w#d").unwrap();
    let component = component(&["redis://127.0.0.1:*"], None);
    let port = server.port();
    let login = format!("redis://:p/w#d@127.0.0.1:{port}/2");
    component.connect(&login).await.unwrap().set("k", b"v").await.unwrap();
    let wrong = format!("redis://:secret@127.0.0.1:{port}");
    let error = component.connect(&wrong).await.unwrap_err().chain();
    assert!(!error.contains("secret"), "{error}");
    let anonymous = component.connect(&server.address()).await.unwrap();
    let error = anonymous.get("k").await.unwrap_err().chain();
    assert!(error.contains("NOAUTH"), "{error}");
}

#[tokio::test]
async fn the_connections_of_an_instance_are_limited() {
    let server = Redis::start().unwrap();
    let mut instance = instance();
    let mut open = Vec::new();
    for _ in 0..MAX_OPEN {
        open.push(instance.open(&server.address()).await.unwrap());
    }
    let full = instance.open(&server.address()).await.unwrap_err();
    assert!(matches!(full, RedisError::TooManyConnections));
    instance.close(open.pop().unwrap()).unwrap();
    instance.open(&server.address()).await.unwrap();
}

#[tokio::test]
async fn where_a_component_may_not_go_it_gets_nowhere() {
    let server = Redis::start().unwrap();
    for allowed in [&[][..], &["rediss://127.0.0.1:*"], &["redis://127.0.0.1"], &["http://*:*"]] {
        let error = component(allowed, None).connect(&server.address()).await.unwrap_err();
        assert!(matches!(error, RedisError::NotPermitted(_)), "{allowed:?}: {error}");
    }
    let nowhere = component(&["*://*:*"], None).connect("redis://127.0.0.1:1").await.unwrap_err();
    assert!(nowhere.chain().contains("refused"), "{}", nowhere.chain());
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
