use super::*;

fn engine() -> Engine {
    Engine::new(&engine::config().unwrap()).unwrap()
}

fn pre_instantiate(wat: &str) -> Result<(), String> {
    let engine = engine();
    let component = Component::new(&engine, wat::parse_str(wat).unwrap()).unwrap();
    Linking::standard().pre_instantiate(&engine, "c", &component).map(drop).map_err(|error| {
        let source = std::error::Error::source(&error).map(ToString::to_string);
        format!("{error}: {}", source.unwrap_or_default())
    })
}

#[test]
fn platform_interfaces_nobody_provides_are_stubbed() {
    pre_instantiate(
        r#"(component
            (import "fermyon:spin/wagons@2.0.0" (instance
                (export "pull" (func (param "engine" string) (result string)))
            ))
            (import "wasi:blobstore/container@0.2.0-draft" (instance
                (export "bucket" (type $b (sub resource)))
                (export "open" (func (param "id" string) (result (own $b))))
            ))
        )"#,
    )
    .unwrap();
}

#[test]
fn a_provided_interface_is_not_stubbed_beside_a_missing_one() {
    // With a wrong type the import must fail rather than become a stub.
    let error = pre_instantiate(
        r#"(component
            (import "fermyon:spin/variables@2.0.0" (instance
                (export "get" (func (param "name" u32) (result string)))
            ))
            (import "spin:redis/redis@3.0.0" (instance
                (export "publish" (func async (param "channel" string)))
            ))
        )"#,
    )
    .unwrap_err();
    assert!(error.contains("fermyon:spin/variables"), "{error}");
}

#[test]
fn any_other_unknown_import_is_an_error_that_names_it() {
    let error = pre_instantiate(
        r#"(component (import "acme:thing/x@1.0.0" (instance (export "f" (func)))))"#,
    )
    .unwrap_err();
    assert!(error.contains("acme:thing/x@1.0.0") && error.contains("\"c\""), "{error}");
    let error = pre_instantiate(
        r#"(component (import "wasi:cli/nonsense@0.2.0" (instance (export "f" (func)))))"#,
    )
    .unwrap_err();
    assert!(error.contains("wasi:cli/nonsense"), "{error}");
}

#[test]
fn wasi_of_both_generations_can_be_imported_at_once() {
    pre_instantiate(
        r#"(component
            (import "wasi:clocks/monotonic-clock@0.2.3" (instance (export "now" (func (result u64)))))
            (import "wasi:clocks/monotonic-clock@0.3.0" (instance (export "now" (func (result u64)))))
        )"#,
    )
    .unwrap();
}

#[test]
fn versions_serve_their_compatibility_track() {
    for (provided, import, expected) in [
        ("a:b/c@2.0.0", "a:b/c@2.0.0", true),
        ("a:b/c@2.1.0", "a:b/c@2.0.0", true),
        ("a:b/c@2.0.0", "a:b/c@3.0.0", false),
        ("a:b/c@0.2.6", "a:b/c@0.2.0", true),
        ("a:b/c@0.2.6", "a:b/c@0.3.0", false),
        ("a:b/c@0.2.0-draft", "a:b/c@0.2.0", false),
        ("a:b/c@0.2.0-draft", "a:b/c@0.2.0-draft", true),
        ("a:b/c", "a:b/c@1.0.0", false),
        ("a:b/c", "a:b/c", true),
    ] {
        assert_eq!(serves(provided, import), expected, "{provided} for {import}");
    }
}

#[test]
fn every_version_of_wasi_config_is_linked() {
    for interface in [
        "wasi:config/store@0.2.0-draft-2024-09-27",
        "wasi:config/store@0.2.0-rc.1",
        "wasi:config/runtime@0.2.0-draft",
    ] {
        let component = |result: &str| {
            format!(
                r#"(component
                    (type $i (instance
                        (type $e (variant (case "upstream" string) (case "io" string)))
                        (export "error" (type $error (eq $e)))
                        (export "get" (func (param "key" string)
                            (result (result {result} (error $error)))))
                    ))
                    (import "{interface}" (instance (type $i)))
                )"#
            )
        };
        pre_instantiate(&component("(option string)")).unwrap();
        // It is the host's own, and no stub that takes any type.
        assert!(pre_instantiate(&component("u32")).is_err(), "{interface}");
    }
}
