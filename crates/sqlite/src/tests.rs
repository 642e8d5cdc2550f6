//! Labels, limits, and linking every version of the interface.

use wasmtime::component::{Component, Linker};
use wasmtime::{Config, Engine};
use wit_component::{ComponentEncoder, StringEncoding, dummy_module, embed_component_metadata};
use wit_parser::{LiftLowerAbi, ManglingAndAbi, Resolve};

use super::*;

/// An instance of a component that may open the database `default`.
pub(crate) fn instance() -> InstanceConnections {
    let databases = Databases::with_default(Location::Memory);
    InstanceConnections::new(databases.of_component("c", &["default".to_owned()]).unwrap())
}

#[test]
fn every_label_without_a_database_is_reported() {
    let databases = Databases::with_default(Location::Memory);
    let labels = ["default", "other", "third"].map(str::to_owned);
    let unknown = databases.of_component("shop", &labels).unwrap_err();
    assert_eq!(
        unknown.iter().map(|unknown| &unknown.label).collect::<Vec<_>>(),
        ["other", "third"]
    );
    let text = unknown[0].to_string();
    assert!(text.starts_with(r#"unknown sqlite_databases label "other" for component "shop""#));
}

#[tokio::test]
async fn a_component_opens_only_what_it_declares() {
    let databases = Databases::with_default(Location::Memory);
    let mut instance = InstanceConnections::new(databases.of_component("c", &[]).unwrap());
    for label in ["default", "nonsense"] {
        let error = instance.open(label).await.unwrap_err();
        assert!(matches!(error, OpenError::AccessDenied), "{label}: {error}");
    }
}

#[tokio::test]
async fn an_instance_has_a_limited_number_of_connections_open() {
    let mut instance = instance();
    let mut open = Vec::new();
    for _ in 0..MAX_OPEN {
        open.push(instance.open("default").await.unwrap());
    }
    assert!(matches!(instance.open("default").await, Err(OpenError::TableFull)));
    instance.close(open.pop().unwrap()).unwrap();
    instance.open("default").await.unwrap();
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
    let newest = include_str!("../wit/version-3.wit");
    // Version 3.0.0 had none of the async twins.
    let oldest: String = newest
        .lines()
        .filter(|line| !line.contains("async"))
        .map(|line| line.replace("@3.1.0", "@3.0.0") + "\n")
        .collect();
    for wit in [
        include_str!("../wit/unversioned.wit"),
        include_str!("../wit/version-2.wit"),
        newest,
        oldest.as_str(),
    ] {
        linker.instantiate_pre(&importer(&engine, wit)).unwrap();
    }
}

#[test]
fn what_is_provided_is_what_is_linked() {
    let engine = engine();
    for name in PROVIDES {
        let mut linker: Linker<InstanceConnections> = Linker::new(&engine);
        for function in ["open", "[static]connection.open"] {
            linker.instance(name).unwrap().func_wrap(function, |_, (): ()| Ok(())).unwrap();
        }
        assert!(add_to_linker(&mut linker, |connections| connections).is_err(), "{name}");
    }
}
