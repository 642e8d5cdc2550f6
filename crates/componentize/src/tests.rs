use wasmparser::{Payload, Validator, WasmFeatures};
use wit_component::{StringEncoding, dummy_module, embed_component_metadata};
use wit_parser::{ManglingAndAbi, Resolve};

use super::*;

pub(crate) fn module(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap()
}

/// Adds a `producers` section that says who processed the module.
pub(crate) fn processed_by(mut module: Vec<u8>, tool: &str, version: &str) -> Vec<u8> {
    let mut field = wasm_encoder::ProducersField::new();
    field.value(tool, version);
    let mut producers = wasm_encoder::ProducersSection::new();
    producers.field("processed-by", &field);
    let mut section = Vec::new();
    wasm_encoder::Encode::encode(&producers, &mut section);
    module.push(0);
    module.extend(section);
    module
}

/// A module that implements a small world, with the world's type embedded.
fn built_against_a_world() -> Vec<u8> {
    let mut resolve = Resolve::default();
    let package = resolve
        .push_str(
            "world.wit",
            "package test:greeter;
             interface names { name: func(id: u32) -> string; }
             interface greeting { greet: func(who: string) -> string; }
             world greeter { import names; export greeting; }",
        )
        .unwrap();
    let world = resolve.select_world(&[package], None).unwrap();
    let mut module = dummy_module(&resolve, world, ManglingAndAbi::Standard32);
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    module
}

/// Names that a component imports and exports.
pub(crate) fn interface(component: &[u8]) -> (Vec<String>, Vec<String>) {
    Validator::new_with_features(WasmFeatures::all()).validate_all(component).unwrap();
    let (mut imports, mut exports) = (Vec::new(), Vec::new());
    let mut depth = 0;
    for payload in Parser::new(0).parse_all(component) {
        match payload.unwrap() {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth -= 1,
            Payload::ComponentImportSection(section) if depth == 0 => {
                imports
                    .extend(section.into_iter().map(|import| import.unwrap().name.name.to_owned()));
            }
            Payload::ComponentExportSection(section) if depth == 0 => {
                exports
                    .extend(section.into_iter().map(|export| export.unwrap().name.name.to_owned()));
            }
            _ => {}
        }
    }
    (imports, exports)
}

const COMMAND: &str = r#"(module
    (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
    (memory (export "memory") 1)
    (func (export "_start") (call $exit (i32.const 3))))"#;

#[test]
fn a_component_is_returned_unchanged() {
    let component = module("(component (core module (func)))");
    assert!(matches!(componentize(&component).unwrap(), Cow::Borrowed(same) if same == component));
}

#[test]
fn a_module_with_a_component_type_gets_its_worlds_interface() {
    let source = built_against_a_world();
    let (imports, exports) = interface(&componentize(&source).unwrap());
    assert!(imports.contains(&"test:greeter/names".to_owned()), "{imports:?}");
    assert_eq!(exports, ["test:greeter/greeting"]);
}

#[test]
fn a_supported_wit_bindgen_is_accepted() {
    for version in ["0.5.0", "0.13.1", "0.24.0 (some hash)", "0.57.1"] {
        let module = processed_by(built_against_a_world(), "wit-bindgen-rust", version);
        let (_, exports) = interface(&componentize(&module).unwrap());
        assert_eq!(exports, ["test:greeter/greeting"], "{version}");
    }
}

#[test]
fn other_versions_of_wit_bindgen_are_refused_by_version() {
    for version in ["0.2.0", "0.4.9", "1.0.0", "2.3", "unknown"] {
        let module = processed_by(built_against_a_world(), "wit-bindgen-c", version);
        let error = componentize(&module).unwrap_err();
        assert!(
            matches!(&error, ComponentizeError::BindgenVersion { version: told } if told == version),
            "{error}"
        );
    }
}

#[test]
fn a_command_gets_the_run_export_and_preview_1_becomes_wasi_0_2() {
    let source = module(COMMAND);
    let (imports, exports) = interface(&componentize(&source).unwrap());
    assert!(imports.iter().any(|import| import.starts_with("wasi:cli/exit@0.2.")), "{imports:?}");
    assert!(exports.iter().all(|export| export.starts_with("wasi:cli/run@0.2.")), "{exports:?}");
    assert_eq!(exports.len(), 1);
}

#[test]
fn a_command_with_the_wasi_libc_bug_is_refused() {
    for version in ["14.0.6", "15.0.6 (https://github.com/llvm/llvm-project abc)"] {
        let error = componentize(&processed_by(module(COMMAND), "clang", version)).unwrap_err();
        assert!(matches!(error, ComponentizeError::WasiLibcBug { .. }), "{error}");
    }
    for version in ["15.0.7", "16.0.0", "21.1.4-wasi-sdk (https://example.test abc)"] {
        componentize(&processed_by(module(COMMAND), "clang", version)).unwrap();
    }
}

#[test]
fn a_module_without_an_entry_point_is_refused() {
    let error = componentize(&module(r#"(module (func (export "add")))"#)).unwrap_err();
    assert!(matches!(error, ComponentizeError::NoEntryPoint));
}

#[test]
fn a_module_that_does_not_fit_its_component_type_is_refused_with_the_reason() {
    let full = built_against_a_world();
    let types = Parser::new(0)
        .parse_all(&full)
        .find_map(|payload| match payload.unwrap() {
            Payload::CustomSection(section) if section.name() == "component-type" => {
                Some(section.data().to_vec())
            }
            _ => None,
        })
        .unwrap();
    let mut other = module(r#"(module (memory (export "memory") 1))"#);
    let section =
        wasm_encoder::CustomSection { name: "component-type".into(), data: (&types).into() };
    other.push(0);
    wasm_encoder::Encode::encode(&section, &mut other);
    let error = componentize(&other).unwrap_err();
    assert!(matches!(error, ComponentizeError::Encode(_)), "{error}");
}

#[test]
fn what_is_not_webassembly_is_refused_by_kind() {
    assert!(matches!(componentize(b""), Err(ComponentizeError::Empty)));
    assert!(matches!(componentize(b"(component)"), Err(ComponentizeError::NotWasm)));
    assert!(matches!(componentize(b"\0as"), Err(ComponentizeError::NotWasm)));
    for native in [&b"\x7fELF\x02"[..], b"MZ\x90", b"\xcf\xfa\xed\xfe\x07"] {
        assert!(matches!(componentize(native), Err(ComponentizeError::NativeCode(_))));
    }
}

#[test]
fn truncation_anywhere_is_an_error_and_never_a_panic() {
    for whole in [
        module("(component (core module (func)) (type (func)))"),
        module(COMMAND),
        built_against_a_world(),
    ] {
        for length in 0..whole.len() {
            let truncated = &whole[..length];
            // Between two sections a module ends validly, but without its end.
            if let Ok(component) = componentize(truncated) {
                Validator::new_with_features(WasmFeatures::all()).validate_all(&component).unwrap();
            }
        }
        let mut reversed = whole.clone();
        reversed.reverse();
        componentize(&reversed).unwrap_err();
    }
}
