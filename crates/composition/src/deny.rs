//! Components that answer for a capability and give nothing.

use std::collections::BTreeSet;

use app::Inherit;
use wasm_encoder::reencode::{Reencode as _, RoundtripReencoder};
use wasm_encoder::{CodeSection, Function, MemorySection, MemoryType, RawSection};
use wasmparser::{ExternalKind, Parser, Payload, TypeRef};
use wit_component::{ComponentEncoder, StringEncoding, dummy_module, embed_component_metadata};
use wit_parser::decoding::{DecodedWasm, decode};
use wit_parser::{
    LiftLowerAbi, ManglingAndAbi, Resolve, Type, TypeDefKind, WorldId, WorldItem, WorldKey,
};

use crate::capability::is_denied;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

const ABI: ManglingAndAbi = ManglingAndAbi::Legacy(LiftLowerAbi::Sync);

/// A component, and what it exports.
pub(crate) struct Denial {
    pub(crate) component: Vec<u8>,
    pub(crate) exports: Vec<String>,
}

/// What answers for everything that `component` imports and must not have. None
/// if there is nothing.
///
/// A function without parameters that returns a list or an option returns an
/// empty one, so that a library that looks at its environment or folders finds
/// none; every other function traps.
///
/// # Errors
/// The interfaces of `component` cannot be read.
pub(crate) fn denial(component: &[u8], inherit: &Inherit) -> Result<Option<Denial>, BoxError> {
    let DecodedWasm::Component(mut resolve, world) = decode(component)? else {
        return Err("it is a package of interfaces".into());
    };
    let exports = denied(&resolve, world, inherit);
    if exports.is_empty() {
        return Ok(None);
    }
    let items: String = exports.iter().flat_map(|name| ["export ", name, ";"]).collect();
    let wit = format!("package spinlet:denial; world denial {{ {items} }}");
    let package = resolve.push_str("denial.wit", &wit)?;
    let world = resolve.select_world(&[package], None)?;
    let empty = empty_functions(&resolve, world);
    let mut module = answering(&dummy_module(&resolve, world, ABI), &empty)?;
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)?;
    let component = ComponentEncoder::default().validate(true).module(&module)?.encode()?;
    Ok(Some(Denial { component, exports }))
}

/// The names of the interfaces that `world` imports and must not have.
fn denied(resolve: &Resolve, world: WorldId, inherit: &Inherit) -> Vec<String> {
    let Some(world) = resolve.worlds.get(world) else { return Vec::new() };
    let interfaces = world.imports.iter().filter_map(|(key, item)| match (key, item) {
        (WorldKey::Interface(id), WorldItem::Interface { .. }) => resolve.id_of(*id),
        _ => None,
    });
    interfaces.filter(|name| is_denied(name, inherit)).collect()
}

/// The core exports of the functions that have an empty answer.
fn empty_functions(resolve: &Resolve, world: WorldId) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let items = resolve.worlds.get(world).map(|world| world.exports.iter());
    for (key, item) in items.into_iter().flatten() {
        let WorldItem::Interface { id, .. } = item else { continue };
        let Some(interface) = resolve.interfaces.get(*id) else { continue };
        for function in interface.functions.values() {
            let result = function.result.as_ref();
            if function.params.is_empty() && result.is_some_and(|ty| can_be_empty(resolve, ty)) {
                names.insert(format!("{}#{}", resolve.name_world_key(key), function.name));
            }
        }
    }
    names
}

fn can_be_empty(resolve: &Resolve, ty: &Type) -> bool {
    let Type::Id(id) = ty else { return false };
    match resolve.types.get(*id).map(|ty| &ty.kind) {
        Some(TypeDefKind::List(_) | TypeDefKind::Option(_)) => true,
        Some(TypeDefKind::Type(ty)) => can_be_empty(resolve, ty),
        _ => false,
    }
}

/// Gives the functions exported as `empty` a result of zeros, which is what their
/// memory holds, and leaves every other one a trap.
fn answering(dummy: &[u8], empty: &BTreeSet<String>) -> Result<Vec<u8>, BoxError> {
    let mut module = wasm_encoder::Module::new();
    let mut code = CodeSection::new();
    let (mut imported, mut empty_indices, mut next) = (0_u32, BTreeSet::new(), 0_u32);
    let mut bodies = 0;
    for payload in Parser::new(0).parse_all(dummy) {
        let payload = payload?;
        match &payload {
            Payload::MemorySection(_) => {
                let mut memory = MemorySection::new();
                let (minimum, maximum) = (1, Some(1));
                memory.memory(MemoryType {
                    minimum,
                    maximum,
                    memory64: false,
                    shared: false,
                    page_size_log2: None,
                });
                module.section(&memory);
                continue;
            }
            Payload::ImportSection(imports) => {
                for import in imports.clone().into_imports() {
                    imported += u32::from(matches!(import?.ty, TypeRef::Func(_)));
                }
            }
            Payload::ExportSection(exports) => {
                for export in exports.clone() {
                    let export = export?;
                    if export.kind == ExternalKind::Func && empty.contains(export.name) {
                        empty_indices.insert(export.index);
                    }
                }
            }
            Payload::CodeSectionStart { count, .. } => {
                (bodies, next) = (*count, imported);
                continue;
            }
            Payload::CodeSectionEntry(body) => {
                if empty_indices.contains(&next) {
                    let mut function = Function::new([]);
                    function.instructions().i32_const(0).end();
                    code.function(&function);
                } else {
                    RoundtripReencoder.parse_function_body(&mut code, body.clone())?;
                }
                next += 1;
                if next == imported + bodies {
                    module.section(&code);
                }
                continue;
            }
            _ => {}
        }
        if let Some((id, range)) = payload.as_section() {
            module.section(&RawSection { id, data: dummy.get(range).unwrap_or_default() });
        }
    }
    Ok(module.finish())
}
