use app::composition::{ComposedDependency, ComposedMiddleware, Part};
use app::{Digest, Inherit};
use wasmparser::{Parser, Payload, Validator, WasmFeatures};
use wit_component::{ComponentEncoder, StringEncoding, dummy_module, embed_component_metadata};
use wit_parser::{LiftLowerAbi, ManglingAndAbi, Resolve};

use super::*;

const PACKAGES: &str = "
    package wasi:cli@0.2.0 {
        interface environment {
            get-environment: func() -> list<tuple<string, string>>;
            initial-cwd: func() -> option<string>;
        }
    }
    package wasi:cli@0.2.6 {
        interface environment {
            get-environment: func() -> list<tuple<string, string>>;
            get-arguments: func() -> list<string>;
            initial-cwd: func() -> option<string>;
        }
    }
    package wasi:filesystem@0.2.0 {
        interface types { resource descriptor { sync: func(); } }
        interface preopens {
            use types.{descriptor};
            get-directories: func() -> list<tuple<descriptor, string>>;
        }
    }
    package fermyon:spin@2.0.0 {
        interface variables { get: func(name: string) -> result<string, string>; }
    }
    package wasi:http@0.3.0 {
        interface handler { handle: func(path: string) -> u16; }
    }
    package acme:greeter@1.0.0 {
        interface greeting { greet: func() -> string; }
        interface parting { part: func(); }
    }
";

/// A component of a world with these items.
fn component(items: &str) -> Vec<u8> {
    let mut resolve = Resolve::default();
    let text = format!("package test:test; {PACKAGES} world test {{ {items} }}");
    let package = resolve.push_str("test.wit", &text).unwrap();
    let world = resolve.select_world(&[package], Some("test")).unwrap();
    let abi = ManglingAndAbi::Legacy(LiftLowerAbi::Sync);
    let mut module = dummy_module(&resolve, world, abi);
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    ComponentEncoder::default().module(&module).unwrap().encode().unwrap()
}

fn part() -> Part {
    Part { digest: Digest::of(b""), size: 0 }
}

fn depends(names: &[&str], inherit: &Inherit) -> Composition {
    let dependencies = names.iter().map(|name| ComposedDependency {
        name: (*name).to_owned(),
        part: part(),
        export: None,
        inherit: inherit.clone(),
    });
    Composition { component: part(), dependencies: dependencies.collect(), middleware: Vec::new() }
}

/// Names that a component imports and exports.
fn interface(component: &[u8]) -> (Vec<String>, Vec<String>) {
    Validator::new_with_features(WasmFeatures::all()).validate_all(component).unwrap();
    let (mut imports, mut exports, mut depth) = (Vec::new(), Vec::new(), 0);
    for payload in Parser::new(0).parse_all(component) {
        match payload.unwrap() {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth -= 1,
            Payload::ComponentImportSection(section) if depth == 0 => {
                imports.extend(section.into_iter().map(|one| one.unwrap().name.name.to_owned()));
            }
            Payload::ComponentExportSection(section) if depth == 0 => {
                exports.extend(section.into_iter().map(|one| one.unwrap().name.name.to_owned()));
            }
            _ => {}
        }
    }
    (imports, exports)
}

const HANDLES: &str = "export wasi:http/handler@0.3.0;";
const GREETS: &str = "export acme:greeter/greeting@1.0.0;";
const NEEDS: &str = "import acme:greeter/greeting@1.0.0;";

#[test]
fn a_dependency_takes_the_place_of_the_import_it_is_named_after() {
    let parts = [
        component(&format!("{HANDLES} {NEEDS} import fermyon:spin/variables@2.0.0;")),
        component(&format!("{GREETS} export acme:greeter/parting@1.0.0;")),
    ];
    for name in ["acme:greeter", "acme:greeter/greeting", "acme:greeter/greeting@1.0.0"] {
        let composed = compose(&depends(&[name], &Inherit::default()), &parts).unwrap();
        let (imports, exports) = interface(&composed);
        assert_eq!(imports, ["fermyon:spin/variables@2.0.0"], "{name}");
        assert_eq!(exports, ["wasi:http/handler@0.3.0"], "{name}");
    }
}

#[test]
fn a_dependency_has_no_capability_that_it_does_not_inherit() {
    let needs = "import wasi:cli/environment@0.2.0; import wasi:filesystem/preopens@0.2.0;
        import fermyon:spin/variables@2.0.0;";
    let parts = [component(&format!("{HANDLES} {NEEDS}")), component(&format!("{GREETS} {needs}"))];
    let inherits = |inherit: &Inherit| {
        let composed = compose(&depends(&["acme:greeter"], inherit), &parts).unwrap();
        interface(&composed).0
    };
    let types = "wasi:filesystem/types@0.2.0";
    assert_eq!(inherits(&Inherit::default()), [types]);
    let mut some = inherits(&Inherit::Some(vec!["variables".into(), "unknown".into()]));
    some.sort();
    assert_eq!(some, ["fermyon:spin/variables@2.0.0", types]);
    let all = inherits(&Inherit::All);
    assert_eq!(all.len(), 4, "{all:?}");
}

#[test]
fn parts_of_several_minor_versions_of_wasi_import_it_once() {
    let parts = [
        component(&format!("{HANDLES} {NEEDS} import wasi:cli/environment@0.2.0;")),
        component(&format!("{GREETS} import wasi:cli/environment@0.2.6;")),
    ];
    let composed = compose(&depends(&["acme:greeter"], &Inherit::All), &parts).unwrap();
    assert_eq!(interface(&composed).0, ["wasi:cli/environment@0.2.6"]);
    // What the dependency does not inherit is denied in its own version.
    let composed = compose(&depends(&["acme:greeter"], &Inherit::default()), &parts).unwrap();
    assert_eq!(interface(&composed).0, ["wasi:cli/environment@0.2.0"]);
}

#[test]
fn an_export_of_another_name_can_be_chosen() {
    let parts = [
        component("import plain: func(); export run: func();"),
        component("export other: func();"),
    ];
    let mut composition = depends(&["plain"], &Inherit::default());
    composition.dependencies[0].export = Some("other".to_owned());
    let (imports, exports) = interface(&compose(&composition, &parts).unwrap());
    assert!(imports.is_empty(), "{imports:?}");
    assert_eq!(exports, ["run"]);
    composition.dependencies[0].export = Some("none".to_owned());
    let error = compose(&composition, &parts).unwrap_err().to_string();
    assert!(error.contains("\"none\"") && error.contains("other"), "{error}");
}

#[test]
fn what_fits_nothing_or_fits_twice_is_named() {
    let parts = [component(&format!("{HANDLES} {NEEDS}")), component(GREETS), component(GREETS)];
    let error = compose(&depends(&["acme:other"], &Inherit::default()), &parts).unwrap_err();
    assert!(matches!(error, CompositionError::Unused { .. }));
    assert!(error.to_string().contains("acme:greeter/greeting@1.0.0"), "{error}");
    let both = depends(&["acme:greeter", "acme:greeter/greeting"], &Inherit::default());
    let error = compose(&both, &parts).unwrap_err();
    assert!(matches!(error, CompositionError::Conflict { .. }), "{error}");
    let wrong =
        [component(&format!("{HANDLES} {NEEDS}")), component("export acme:greeter/parting@1.0.0;")];
    let error = compose(&depends(&["acme:greeter"], &Inherit::default()), &wrong).unwrap_err();
    assert!(matches!(error, CompositionError::NoExport { .. }), "{error}");
    let other_type = [
        component("import greet: func() -> string; export run: func();"),
        component("export greet: func() -> u32;"),
    ];
    let error = compose(&depends(&["greet"], &Inherit::default()), &other_type).unwrap_err();
    assert!(matches!(error, CompositionError::Mismatch { .. }), "{error}");
    assert!(error.to_string().contains("dependency \"greet\" does not fit the import \"greet\""));
}

#[test]
fn middleware_is_chained_from_the_first_to_the_component() {
    let outer = format!(
        "{HANDLES} import wasi:http/handler@0.3.0; import fermyon:spin/variables@2.0.0;
         import acme:greeter/parting@1.0.0;"
    );
    let inner = format!("{HANDLES} import wasi:http/handler@0.3.0;");
    let parts = [component(&format!("{HANDLES} {NEEDS}")), component(&outer), component(&inner)];
    let middleware = |inherit| ComposedMiddleware { part: part(), inherit };
    let mut composition = depends(&[], &Inherit::default());
    composition.middleware = vec![middleware(Inherit::default()), middleware(Inherit::All)];
    let (mut imports, exports) = interface(&compose(&composition, &parts).unwrap());
    imports.sort();
    assert_eq!(imports, ["acme:greeter/greeting@1.0.0", "acme:greeter/parting@1.0.0"]);
    assert_eq!(exports, ["wasi:http/handler@0.3.0"]);

    let parts = [component(HANDLES), component(HANDLES), component(&inner)];
    let error = compose(&composition, &parts).unwrap_err();
    assert!(matches!(error, CompositionError::NoHandlerImport { .. }), "{error}");
    assert!(error.to_string().contains("middleware 1"), "{error}");
}

#[test]
fn a_part_that_is_missing_or_no_component_is_named() {
    let composition = depends(&["acme:greeter"], &Inherit::default());
    let whole = component(&format!("{HANDLES} {NEEDS}"));
    let error = compose(&composition, &[&whole]).unwrap_err();
    assert!(matches!(error, CompositionError::MissingPart(1)), "{error}");
    let error = compose(&composition, &[&whole[..], b"\0asm\x01\0\0\0"]).unwrap_err();
    assert!(error.to_string().contains("dependency \"acme:greeter\""), "{error}");
}
