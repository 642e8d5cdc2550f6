//! What a Wasm file imports.

use std::collections::BTreeSet;

use wasmparser::{BinaryReaderError, Parser, Payload};

/// The module that core modules of the preview 1 era import WASI from.
const PREVIEW_1: &str = "wasi_snapshot_preview1";

/// The interfaces that a component imports, or the modules that a core module
/// imports from, WASI preview 1 apart, which every node has.
///
/// # Errors
/// The file is damaged.
pub(super) fn imports(wasm: &[u8]) -> Result<BTreeSet<String>, BinaryReaderError> {
    let mut names = BTreeSet::new();
    let mut depth = 0_u32;
    for payload in Parser::new(0).parse_all(wasm) {
        match payload? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section {
                    names.insert(import?.name.name.to_owned());
                }
            }
            Payload::ImportSection(section) if depth == 0 => {
                for import in section.into_imports() {
                    names.insert(import?.module.to_owned());
                }
            }
            _ => {}
        }
    }
    names.remove(PREVIEW_1);
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Vec<String> {
        imports(&wat::parse_str(text).unwrap()).unwrap().into_iter().collect()
    }

    #[test]
    fn only_what_the_file_itself_imports_is_listed() {
        let component = r#"(component
            (import "wasi:io/poll@0.2.0" (instance))
            (component (import "inner" (instance)))
            (core module (import "env" "f" (func))))"#;
        assert_eq!(of(component), ["wasi:io/poll@0.2.0"]);
        let module = r#"(module
            (import "wasi_snapshot_preview1" "random_get" (func))
            (import "key-value" "open" (func)) (import "key-value" "get" (func)))"#;
        assert_eq!(of(module), ["key-value"]);
        assert!(imports(b"\0asm\x01\0\0\0\x01").is_err());
    }
}
