use super::*;
use crate::componentize;
use crate::tests::{interface, module, processed_by};

/// Every function that guests of that generation may import, with the signature
/// that wit-bindgen 0.2 declared for it.
const FUNCTIONS: &[(&str, &str, &str)] = &[
    ("wasi-outbound-http", "request", "i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32"),
    ("spin-config", "get-config", "i32 i32 i32"),
    ("outbound-redis", "publish", "i32 i32 i32 i32 i32 i32 i32"),
    ("outbound-redis", "get", "i32 i32 i32 i32 i32"),
    ("outbound-redis", "set", "i32 i32 i32 i32 i32 i32 i32"),
    ("outbound-redis", "incr", "i32 i32 i32 i32 i32"),
    ("outbound-redis", "del", "i32 i32 i32 i32 i32"),
    ("outbound-redis", "sadd", "i32 i32 i32 i32 i32 i32 i32"),
    ("outbound-redis", "smembers", "i32 i32 i32 i32 i32"),
    ("outbound-redis", "srem", "i32 i32 i32 i32 i32 i32 i32"),
    ("outbound-redis", "execute", "i32 i32 i32 i32 i32 i32 i32"),
    ("outbound-pg", "query", "i32 i32 i32 i32 i32 i32 i32"),
    ("outbound-pg", "execute", "i32 i32 i32 i32 i32 i32 i32"),
    ("outbound-mysql", "query", "i32 i32 i32 i32 i32 i32 i32"),
    ("outbound-mysql", "execute", "i32 i32 i32 i32 i32 i32 i32"),
    ("key-value", "open", "i32 i32 i32"),
    ("key-value", "get", "i32 i32 i32 i32"),
    ("key-value", "set", "i32 i32 i32 i32 i32 i32"),
    ("key-value", "delete", "i32 i32 i32 i32"),
    ("key-value", "exists", "i32 i32 i32 i32"),
    ("key-value", "get-keys", "i32 i32"),
    ("key-value", "close", "i32"),
    ("sqlite", "open", "i32 i32 i32"),
    ("sqlite", "execute", "i32 i32 i32 i32 i32 i32"),
    ("sqlite", "close", "i32"),
    ("llm", "infer", "i32 i32 i32 i32 i32 i32 f32 i32 f32 i32 f32 i32"),
    ("llm", "generate-embeddings", "i32 i32 i32 i32 i32"),
];

const HTTP: &str = r#"(func (export "handle-http-request")
    (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32) i32.const 0)"#;
const REDIS: &str =
    r#"(func (export "handle-redis-message") (param i32 i32) (result i32) i32.const 0)"#;
const ALLOCATION: &str = r#"(memory (export "memory") 1)
    (func (export "canonical_abi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 0)
    (func (export "canonical_abi_free") (param i32 i32 i32))"#;

fn guest(imports: &str, rest: &str) -> Vec<u8> {
    module(&format!("(module {imports} {ALLOCATION} {rest})"))
}

/// The core exports of a module after it was renamed.
fn exports(source: &[u8], start_initializes: bool) -> Vec<String> {
    let renamed = modernize(source, start_initializes).unwrap();
    let mut names = Vec::new();
    for payload in Parser::new(0).parse_all(&renamed) {
        if let Payload::ExportSection(section) = payload.unwrap() {
            names.extend(section.into_iter().map(|export| export.unwrap().name.to_owned()));
        }
    }
    names
}

#[test]
fn every_function_of_the_first_generation_fits_the_interface_it_became() {
    for (module, name, parameters) in FUNCTIONS {
        let import = format!(r#"(import "{module}" "{name}" (func (param {parameters})))"#);
        let (imports, _) = interface(&componentize(&guest(&import, HTTP)).unwrap());
        let legacy = IMPORTS.iter().find(|legacy| legacy.module == *module).unwrap();
        let interface = format!("fermyon:spin/{}", legacy.interface);
        assert!(imports.contains(&interface), "{module}#{name}: {imports:?}");
    }
}

#[test]
fn a_module_that_imports_everything_imports_every_interface_once() {
    let imports: Vec<String> = FUNCTIONS
        .iter()
        .map(|(module, name, parameters)| {
            format!(r#"(import "{module}" "{name}" (func (param {parameters})))"#)
        })
        .collect();
    let (imports, exports) = interface(&componentize(&guest(&imports.concat(), HTTP)).unwrap());
    for legacy in &IMPORTS {
        let name = format!("fermyon:spin/{}", legacy.interface);
        assert_eq!(imports.iter().filter(|import| **import == name).count(), 1, "{imports:?}");
    }
    assert_eq!(exports, ["fermyon:spin/inbound-http"]);
}

#[test]
fn both_handlers_become_interfaces() {
    let both = format!("{HTTP} {REDIS}");
    for (handlers, expected) in [
        (HTTP, &["fermyon:spin/inbound-http"][..]),
        (REDIS, &["fermyon:spin/inbound-redis"]),
        (&both, &["fermyon:spin/inbound-http", "fermyon:spin/inbound-redis"]),
    ] {
        let (_, exports) = interface(&componentize(&guest("", handlers)).unwrap());
        assert_eq!(exports, expected);
    }
}

#[test]
fn wasi_of_preview_1_is_adapted_beside_them() {
    let random = r#"(import "wasi_snapshot_preview1" "random_get"
        (func $random (param i32 i32) (result i32)))"#;
    let (imports, _) = interface(&componentize(&guest(random, HTTP)).unwrap());
    assert!(imports.iter().any(|import| import.starts_with("wasi:random/random@0.2.")));
}

#[test]
fn the_start_function_of_tinygo_alone_is_run() {
    let start = format!(r#"(func (export "_start")) {HTTP}"#);
    let plain = guest("", &start);
    let go = processed_by_go(plain.clone());
    let with_heap = guest(
        "",
        &format!(
            r#"{start} (func (export "malloc")) (func (export "calloc"))
               (func (export "realloc")) (func (export "free"))"#
        ),
    );
    let initialize = "_initialize".to_owned();
    for (source, expected) in [(plain, false), (go, true), (with_heap, true)] {
        let wrapping = crate::Module::read(&source).unwrap().wrapping().unwrap();
        assert_eq!(wrapping, crate::Wrapping::Legacy { start_initializes: expected });
        assert_eq!(exports(&source, expected).contains(&initialize), expected);
        componentize(&source).unwrap();
    }
    let initialized = guest("", &format!(r#"(func (export "_initialize")) {start}"#));
    let names = exports(&initialized, true);
    assert_eq!(names.iter().filter(|name| **name == initialize).count(), 1, "{names:?}");
}

fn processed_by_go(module: Vec<u8>) -> Vec<u8> {
    let mut field = wasm_encoder::ProducersField::new();
    field.value("Go", "");
    let mut producers = wasm_encoder::ProducersSection::new();
    producers.field("language", &field);
    let mut with = module;
    with.push(0);
    wasm_encoder::Encode::encode(&producers, &mut with);
    processed_by(with, "clang", "15.0.0")
}

/// A module whose linker made its exports run the constructors.
const COMMAND: &str = r#"(module
    (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
    (memory (export "memory") 1)
    (func $constructors)
    (func $destructors)
    (func (export "canonical_abi_realloc") (param i32 i32 i32 i32) (result i32) (local i64)
        call $constructors
        local.get 0
        call $destructors)
    (func (export "handle-http-request")
        (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
        call $FIRST
        i32.const 0))"#;

#[test]
fn constructors_run_once_in_every_instance_and_no_more_in_exports() {
    let wrapped = module(&COMMAND.replace("$FIRST", "$constructors"));
    let renamed = modernize(&wrapped, false).unwrap();
    let mut calls = Vec::new();
    for payload in Parser::new(0).parse_all(&renamed) {
        if let Payload::CodeSectionEntry(body) = payload.unwrap() {
            for operator in body.get_operators_reader().unwrap() {
                if let wasmparser::Operator::Call { function_index } = operator.unwrap() {
                    calls.push(function_index);
                }
            }
        }
    }
    assert_eq!(calls, [2], "only the destructors");
    let initialization = Initialization::of(&wrapped, false).unwrap();
    assert_eq!(initialization.function, Some(1));
    interface(&componentize(&wrapped).unwrap());
}

#[test]
fn functions_that_do_not_begin_alike_are_left_as_they_are() {
    let other = module(&COMMAND.replace("$FIRST", "$destructors"));
    assert_eq!(Initialization::of(&other, false).unwrap(), Initialization::default());
    let start = r#"(func $a) (func (export "_start"))"#;
    let started = module(
        &COMMAND
            .replace("$FIRST", "$constructors")
            .replace("(func $destructors)", &format!("(func $destructors) {start}")),
    );
    let initialization = Initialization::of(&started, true).unwrap();
    assert_eq!(initialization.function, Some(4));
    interface(&componentize(&started).unwrap());
}

#[test]
fn an_import_no_release_had_is_refused_by_name() {
    for (module, name) in [("env", "now"), ("wasi-cache", "get"), ("fermyon:spin/http", "x")] {
        let import = format!(r#"(import "{module}" "{name}" (func))"#);
        let error = componentize(&guest(&import, HTTP)).unwrap_err().to_string();
        assert!(error.contains(module) && error.contains(name), "{error}");
    }
}

#[test]
fn a_module_without_a_handler_is_refused() {
    let error = componentize(&guest("", "")).unwrap_err();
    assert!(matches!(error, ComponentizeError::NoLegacyHandler), "{error}");
}

#[test]
fn another_signature_is_refused_with_the_function_named() {
    let import = r#"(import "spin-config" "get-config" (func (param i32)))"#;
    let error = componentize(&guest(import, HTTP)).unwrap_err();
    assert!(matches!(error, ComponentizeError::Encode(_)));
    let text = format!("{:?}", std::error::Error::source(&error));
    assert!(text.contains("get-config"), "{text}");
}
