use std::collections::BTreeMap;

use app::LockedApp;
use host::{AppHost, GuestFiles, HostSettings, Linking};
use serde_json::json;
use wasmtime::component::Component;

use super::*;
use crate::{AppParts, LoadedComponent, Replacements};

/// `same` gives its parameter back, `trap` traps, `loop` never ends.
const GUEST: &str = r#"(component
    (core module $m
        (func (export "same") (param i32) (result i32) local.get 0)
        (func (export "trap") (param i32) (result i32) unreachable)
        (func (export "loop") (param i32) (result i32) (loop $l (br $l)) unreachable))
    (core instance $c (instantiate $m))
    (func $same (param "x" u32) (result u32) (canon lift (core func $c "same")))
    (func (export "same") (param "x" u32) (result u32) (canon lift (core func $c "same")))
    (func (export "trap") (param "x" u32) (result u32) (canon lift (core func $c "trap")))
    (func (export "loop") (param "x" u32) (result u32) (canon lift (core func $c "loop")))
    (instance $i (export "same" (func $same)))
    (export "test:guest/functions@1.0.0" (instance $i))
)"#;

async fn linked() -> LinkedComponent {
    let engine = wasmtime::Engine::new(&engine::config().unwrap()).unwrap();
    linked_in(&engine, GUEST, None).await
}

async fn linked_in(
    engine: &wasmtime::Engine,
    guest: &str,
    replacements: Option<&Arc<Replacements>>,
) -> LinkedComponent {
    let component = Component::new(engine, wat::parse_str(guest).unwrap()).unwrap();
    let app = json!({"spin_lock_version": 0, "metadata": {"name": "a"}, "triggers": [],
        "components": [{"id": "c", "metadata": {},
            "source": {"content_type": "application/wasm", "source": "file:///c.wasm"}}]});
    let app = LockedApp::from_json(app.to_string().as_bytes()).unwrap();
    let settings = HostSettings::from_environment(BTreeMap::new()).unwrap();
    let host = AppHost::new(engine, &app, settings).await.unwrap();
    let loaded = LoadedComponent { component, files: GuestFiles::default() };
    let parts = AppParts {
        app: &app,
        host: &host,
        linking: &Linking::standard(),
        components: &BTreeMap::from([("c".to_owned(), loaded)]),
        replacements,
    };
    parts.link("c").unwrap()
}

fn export(function: &str) -> Export<'_> {
    Export { interface: None, function }
}

async fn handler(function: &str, timeout: Option<Duration>) -> Handler<(u32,), (u32,)> {
    let settings = MessageSettings { timeout, ..MessageSettings::default() };
    Handler::of("test", &linked().await, export(function), settings).unwrap()
}

#[tokio::test]
async fn functions_of_components_and_of_interfaces_are_called() {
    assert_eq!(handler("same", None).await.call(None, (7,)).await.unwrap(), (7,));
    let inside = Export { interface: Some("test:guest/functions@1.0.0"), function: "same" };
    let handler: Handler<(u32,), (u32,)> =
        Handler::of("test", &linked().await, inside, MessageSettings::default()).unwrap();
    assert_eq!(handler.call(None, (8,)).await.unwrap(), (8,));
}

#[tokio::test]
async fn calls_go_to_the_code_that_took_the_place_of_the_first() {
    let engine = wasmtime::Engine::new(&engine::config().unwrap()).unwrap();
    let replacements = Arc::<Replacements>::default();
    let linked = linked_in(&engine, GUEST, Some(&replacements)).await;
    let settings = MessageSettings::default();
    let handler: Handler<(u32,), (u32,)> =
        Handler::of("test", &linked, export("same"), settings).unwrap();
    assert_eq!(handler.call(None, (7,)).await.unwrap(), (7,));
    // Other code, so that it can be told which of the two is called.
    let other = GUEST.replace("local.get 0)", "(i32.add (local.get 0) (i32.const 1)))");
    let other = linked_in(&engine, &other, None).await;
    assert_eq!(replacements.replace("c", &other.pre), Ok(1));
    assert_eq!(replacements.replace("another", &other.pre), Ok(0));
    assert_eq!(handler.call(None, (7,)).await.unwrap(), (8,));

    let without = linked_in(&engine, &GUEST.replace("\"same\"", "\"other\""), None).await;
    let error = replacements.replace("c", &without.pre).unwrap_err();
    assert_eq!(error, "component \"c\" does not export same");
    assert_eq!(handler.call(None, (7,)).await.unwrap(), (8,));
}

#[tokio::test]
async fn a_function_that_is_missing_or_different_is_found_before_it_is_called() {
    type Text = Handler<(String,), (u32,)>;
    let settings = MessageSettings::default();
    let error = Text::of("test", &linked().await, export("other"), settings).err().unwrap();
    assert_eq!(error.to_string(), "does not export other");
    let error = Text::of("test", &linked().await, export("same"), settings).err().unwrap();
    assert!(matches!(error, HandlerError::Signature { .. }), "{error}");
}

#[tokio::test]
async fn a_guest_that_traps_or_takes_too_long_fails_its_call() {
    let trapped = handler("trap", None).await.call(None, (1,)).await.unwrap_err();
    assert!(matches!(trapped, Failure::Trap(_)), "{trapped}");
    let limit = Duration::from_millis(50);
    let late = handler("loop", Some(limit)).await.call(None, (1,)).await.unwrap_err();
    assert!(matches!(late, Failure::Timeout(_)), "{late}");
}
