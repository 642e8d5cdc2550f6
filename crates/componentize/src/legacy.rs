//! Modules of Spin's first generation: wit-bindgen 0.2, before there were
//! components.
//!
//! What that wit-bindgen generated for a type is what the canonical ABI of the
//! component model became: the same flattening of parameters and results, the
//! same layouts in memory, the same arguments of the allocation function. Only
//! the names differ. Therefore nothing is translated when a call is made: the
//! module's imports and exports are given their names of today once, and a
//! component type is added that says what they are.

mod constructors;

use std::borrow::Cow;
use std::collections::BTreeSet;

use wasm_encoder::reencode::{Reencode as _, RoundtripReencoder};
use wasm_encoder::{ExportKind, ExportSection, ImportSection, RawSection};
use wasmparser::{Export, ExportSectionReader, Import, ImportSectionReader, Parser, Payload};
use wit_component::{StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use crate::ComponentizeError;
use constructors::Initialization;

/// The interfaces under their names of today.
const WIT: &str = include_str!("../wit/legacy.wit");
/// The module that WASI preview 1 is imported from.
const WASI: &str = "wasi_snapshot_preview1";

/// One import module of that generation.
struct LegacyImport {
    module: &'static str,
    /// The interface it became.
    interface: &'static str,
    /// Its functions that were called something else then: old name, new name.
    renamed: Option<(&'static str, &'static str)>,
}

const IMPORTS: [LegacyImport; 8] = [
    LegacyImport {
        module: "wasi-outbound-http",
        interface: "http",
        renamed: Some(("request", "send-request")),
    },
    LegacyImport { module: "spin-config", interface: "config", renamed: None },
    LegacyImport { module: "outbound-redis", interface: "redis", renamed: None },
    LegacyImport { module: "outbound-pg", interface: "postgres", renamed: None },
    LegacyImport { module: "outbound-mysql", interface: "mysql", renamed: None },
    LegacyImport { module: "key-value", interface: "key-value", renamed: None },
    LegacyImport { module: "sqlite", interface: "sqlite", renamed: None },
    LegacyImport { module: "llm", interface: "llm", renamed: None },
];

/// The handlers of that generation: export, interface and function of today.
const HANDLERS: [(&str, &str, &str); 2] = [
    ("handle-http-request", "inbound-http", "handle-request"),
    ("handle-redis-message", "inbound-redis", "handle-message"),
];

/// Gives `source` the names and the component type of today, and exports what is
/// to be run first as `_initialize`: with `start_initializes` its `_start`.
///
/// # Errors
/// [`ComponentizeError`] when it imports what no Spin release had, or exports no
/// handler.
pub(crate) fn modernize(
    source: &[u8],
    start_initializes: bool,
) -> Result<Vec<u8>, ComponentizeError> {
    let malformed = ComponentizeError::Malformed;
    let initialization = Initialization::of(source, start_initializes).map_err(malformed)?;
    let mut renaming = Renaming::default();
    let mut module = wasm_encoder::Module::new();
    for payload in Parser::new(0).parse_all(source) {
        let payload = payload.map_err(malformed)?;
        let section = payload.as_section();
        match payload {
            Payload::ImportSection(section) => {
                module.section(&renaming.imports(section)?);
            }
            Payload::ExportSection(section) => {
                let mut exports = renaming.exports(section)?;
                if let Some(function) = initialization.function {
                    exports.export("_initialize", ExportKind::Func, function);
                }
                module.section(&exports);
            }
            Payload::CodeSectionStart { range, .. } => {
                let code = source.get(range).unwrap_or_default();
                module.section(&initialization.code(code).map_err(malformed)?);
            }
            _ => {
                if let Some((id, range)) = section {
                    let data = source.get(range).unwrap_or_default();
                    module.section(&RawSection { id, data });
                }
            }
        }
    }
    let mut module = module.finish();
    renaming.embed_world(&mut module)?;
    Ok(module)
}

/// What was renamed so far.
#[derive(Default)]
struct Renaming {
    /// Whether the allocation function was seen.
    allocates: bool,
    /// Interfaces of [`WIT`] that the module imports.
    imported: BTreeSet<&'static str>,
    /// Those it exports.
    exported: BTreeSet<&'static str>,
}

impl Renaming {
    fn imports(
        &mut self,
        section: ImportSectionReader<'_>,
    ) -> Result<ImportSection, ComponentizeError> {
        let mut imports = ImportSection::new();
        for import in section.into_imports() {
            let import = import.map_err(ComponentizeError::Malformed)?;
            let ty = RoundtripReencoder.entity_type(import.ty).map_err(encode)?;
            if import.module == WASI {
                imports.import(import.module, import.name, ty);
                continue;
            }
            let legacy = IMPORTS
                .iter()
                .find(|legacy| legacy.module == import.module)
                .ok_or_else(|| unknown(&import))?;
            let name = match legacy.renamed {
                Some((old, new)) if old == import.name => new,
                _ => import.name,
            };
            imports.import(&format!("fermyon:spin/{}", legacy.interface), name, ty);
            self.imported.insert(legacy.interface);
        }
        Ok(imports)
    }

    fn exports(
        &mut self,
        section: ExportSectionReader<'_>,
    ) -> Result<ExportSection, ComponentizeError> {
        let mut exports = ExportSection::new();
        for export in section {
            let export = export.map_err(ComponentizeError::Malformed)?;
            if let Some(name) = self.name_of(&export) {
                let kind = RoundtripReencoder.export_kind(export.kind).map_err(encode)?;
                exports.export(&name, kind, export.index);
            }
        }
        Ok(exports)
    }

    /// The name an export has today; none if nobody would use it.
    fn name_of(&mut self, export: &Export<'_>) -> Option<Cow<'static, str>> {
        match export.name {
            "memory" => Some("memory".into()),
            "_initialize" => Some("_initialize".into()),
            "canonical_abi_realloc" | "cabi_realloc" => {
                let first = !std::mem::replace(&mut self.allocates, true);
                first.then_some("cabi_realloc".into())
            }
            name => {
                let (_, interface, function) = HANDLERS.iter().find(|(old, ..)| *old == name)?;
                self.exported.insert(interface);
                Some(format!("fermyon:spin/{interface}#{function}").into())
            }
        }
    }

    /// Adds the component type to the renamed `module`.
    fn embed_world(&self, module: &mut Vec<u8>) -> Result<(), ComponentizeError> {
        if self.exported.is_empty() {
            return Err(ComponentizeError::NoLegacyHandler);
        }
        let imports = self.imported.iter().map(|interface| format!("import {interface};"));
        let exports = self.exported.iter().map(|interface| format!("export {interface};"));
        let items: String = imports.chain(exports).collect();
        let wit = format!("{WIT}\nworld legacy {{ {items} }}");
        let mut resolve = Resolve::default();
        let package = resolve.push_str("legacy.wit", &wit).map_err(encode)?;
        let world = resolve.select_world(&[package], None).map_err(encode)?;
        embed_component_metadata(module, &resolve, world, StringEncoding::UTF8).map_err(encode)
    }
}

fn encode(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ComponentizeError {
    ComponentizeError::Encode(error.into())
}

fn unknown(import: &Import<'_>) -> ComponentizeError {
    ComponentizeError::UnknownLegacyImport {
        module: import.module.to_owned(),
        name: import.name.to_owned(),
    }
}

#[cfg(test)]
mod tests;
