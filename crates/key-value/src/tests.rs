//! Labels, and linking every version of the interface.

use wasmtime::component::{Component, Linker};
use wasmtime::{Config, Engine};
use wit_component::{ComponentEncoder, StringEncoding, dummy_module, embed_component_metadata};
use wit_parser::{LiftLowerAbi, ManglingAndAbi, Resolve};

use super::*;

/// Stores with the label `default` and a component that may open it.
pub(crate) fn instance() -> InstanceStores {
    let stores = Stores::with_default(Location::Memory);
    InstanceStores::new(stores.of_component("c", &["default".to_owned()]).unwrap())
}

#[test]
fn every_label_without_a_store_is_reported() {
    let mut stores = Stores::with_default(Location::Memory);
    stores.add_sqlite("mine", Location::Memory);
    let labels = ["default", "other", "mine", "third"].map(str::to_owned);
    let unknown = stores.of_component("shop", &labels).unwrap_err();
    assert_eq!(
        unknown.iter().map(|unknown| &unknown.label).collect::<Vec<_>>(),
        ["other", "third"]
    );
    let text = unknown[0].to_string();
    assert!(text.starts_with(r#"unknown key_value_stores label "other" for component "shop""#));
}

#[tokio::test]
async fn a_store_in_memory_is_one_for_all_instances() {
    let stores = Stores::with_default(Location::Memory);
    let of = |component: &str| {
        let opened = stores.of_component(component, &["default".to_owned()]).unwrap();
        InstanceStores::new(opened)
    };
    let (mut one, mut two) = (of("a"), of("b"));
    let (first, second) = (one.open("default").unwrap(), two.open("default").unwrap());
    one.store(&first).unwrap().set("k".into(), vec![1]).await.unwrap();
    assert_eq!(two.store(&second).unwrap().get("k".into()).await.unwrap(), Some(vec![1]));
}

#[tokio::test]
async fn labels_at_the_same_place_share_one_database_without_sharing_keys() {
    let mut stores = Stores::with_default(Location::Memory);
    stores.add_sqlite("mine", Location::Memory);
    let component = stores.of_component("c", &["default".into(), "mine".into()]).unwrap();
    let (one, two) = (component.get("default").unwrap(), component.get("mine").unwrap());
    one.set("k".into(), vec![1]).await.unwrap();
    assert_eq!(two.get("k".into()).await.unwrap(), None);
    assert!(component.get("other").is_none());
}

#[test]
fn a_component_opens_only_what_it_declares() {
    let stores = Stores::with_default(Location::Memory);
    let mut instance = InstanceStores::new(stores.of_component("c", &[]).unwrap());
    assert_eq!(instance.open("default").unwrap_err(), OpenError::AccessDenied);
    assert_eq!(instance.open("nonsense").unwrap_err(), OpenError::AccessDenied);
}

#[test]
fn an_instance_has_a_limited_number_of_stores_open() {
    let mut instance = instance();
    let mut open: Vec<_> = (0..MAX_OPEN).map(|_| instance.open("default").unwrap()).collect();
    assert_eq!(instance.open("default").unwrap_err(), OpenError::TableFull);
    instance.close(open.pop().unwrap()).unwrap();
    instance.open("default").unwrap();
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
    let mut linker: Linker<InstanceStores> = Linker::new(&engine);
    add_to_linker(&mut linker, |stores| stores).unwrap();
    for wit in [
        include_str!("../wit/unversioned.wit"),
        include_str!("../wit/version-2.wit"),
        include_str!("../wit/version-3.wit"),
        include_str!("../wit/wasi.wit"),
    ] {
        linker.instantiate_pre(&importer(&engine, wit)).unwrap();
    }
}

#[test]
fn what_is_provided_is_what_is_linked() {
    let engine = engine();
    for name in PROVIDES {
        let mut linker: Linker<InstanceStores> = Linker::new(&engine);
        linker.instance(name).unwrap().func_wrap("open", |_, (): ()| Ok(())).unwrap();
        linker.instance(name).unwrap().func_wrap("increment", |_, (): ()| Ok(())).unwrap();
        linker.instance(name).unwrap().func_wrap("get-many", |_, (): ()| Ok(())).unwrap();
        linker.instance(name).unwrap().func_wrap("[method]store.get", |_, (): ()| Ok(())).unwrap();
        assert!(add_to_linker(&mut linker, |stores| stores).is_err(), "{name}");
    }
}
