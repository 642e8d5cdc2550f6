//! When the constructors of the C library run.
//!
//! A module without `_initialize` was linked as a command: its linker made every
//! export run the constructors first. They ask WASI for environment and folders,
//! which a component may not do in the middle of an allocation for its host.
//! Therefore they are run once, in a new instance, and no export runs them again.

use std::collections::{BTreeMap, BTreeSet};

use wasm_encoder::CodeSection;
use wasmparser::{
    BinaryReader, BinaryReaderError, CodeSectionReader, ExternalKind, FunctionBody, Operator,
    Parser, Payload, TypeRef,
};

/// The exports that the host or its glue calls.
const CALLED: [&str; 5] = [
    "canonical_abi_realloc",
    "cabi_realloc",
    "canonical_abi_free",
    "handle-http-request",
    "handle-redis-message",
];

/// What runs first in an instance, and what runs without its constructors.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Initialization {
    /// The function to be run once in a new instance.
    pub(super) function: Option<u32>,
    /// Functions whose first call, that of the constructors, is left out; by
    /// their position among the functions that the module defines.
    without_constructors: BTreeSet<u32>,
}

/// The parts of a module that tell.
#[derive(Default)]
struct Functions {
    /// Of each type, whether it has neither parameters nor results.
    plain_types: Vec<bool>,
    /// The type of each function, the imported ones first.
    types: Vec<u32>,
    imported: u32,
    exports: BTreeMap<String, u32>,
    /// Of each defined function, what it calls as its first instruction.
    first_calls: Vec<Option<u32>>,
}

impl Initialization {
    /// How the module is initialized. `start` tells that its `_start` does it.
    pub(super) fn of(source: &[u8], start: bool) -> Result<Self, BinaryReaderError> {
        let functions = Functions::read(source)?;
        if functions.exports.contains_key("_initialize") {
            return Ok(Self::default());
        }
        let called: BTreeSet<u32> =
            CALLED.iter().filter_map(|name| functions.exports.get(*name).copied()).collect();
        let start = functions.exports.get("_start").copied().filter(|_| start);
        let wrapped = called.iter().copied().chain(start);
        let constructors = functions.constructors_of(wrapped);
        let without_constructors = match constructors {
            Some(_) => called.iter().map(|index| index - functions.imported).collect(),
            None => BTreeSet::new(),
        };
        Ok(Self { function: start.or(constructors), without_constructors })
    }

    /// A code section without the calls that are left out.
    pub(super) fn code(&self, section: &[u8]) -> Result<CodeSection, BinaryReaderError> {
        let mut code = CodeSection::new();
        for (position, body) in (0..).zip(CodeSectionReader::new(BinaryReader::new(section, 0))?) {
            let body = body?;
            let whole = body.as_bytes();
            if self.without_constructors.contains(&position) {
                let (call, rest) = first_instruction(&body)?;
                let locals = whole.get(..call).unwrap_or_default();
                code.raw(&[locals, whole.get(rest..).unwrap_or_default()].concat());
            } else {
                code.raw(whole);
            }
        }
        Ok(code)
    }
}

impl Functions {
    fn read(source: &[u8]) -> Result<Self, BinaryReaderError> {
        let mut functions = Self::default();
        for payload in Parser::new(0).parse_all(source) {
            match payload? {
                Payload::TypeSection(types) => {
                    for ty in types.into_iter_err_on_gc_types() {
                        let ty = ty?;
                        let plain = ty.params().is_empty() && ty.results().is_empty();
                        functions.plain_types.push(plain);
                    }
                }
                Payload::ImportSection(imports) => {
                    for import in imports.into_imports() {
                        if let TypeRef::Func(ty) = import?.ty {
                            functions.types.push(ty);
                            functions.imported += 1;
                        }
                    }
                }
                Payload::FunctionSection(types) => {
                    for ty in types {
                        functions.types.push(ty?);
                    }
                }
                Payload::ExportSection(exports) => {
                    for export in exports {
                        let export = export?;
                        if export.kind == ExternalKind::Func {
                            functions.exports.insert(export.name.to_owned(), export.index);
                        }
                    }
                }
                Payload::CodeSectionEntry(body) => {
                    let first = match body.get_operators_reader()?.read()? {
                        Operator::Call { function_index } => Some(function_index),
                        _ => None,
                    };
                    functions.first_calls.push(first);
                }
                _ => {}
            }
        }
        Ok(functions)
    }

    /// What every one of the `wrapped` functions calls first, if it is the same
    /// function without parameters and results.
    fn constructors_of(&self, wrapped: impl Iterator<Item = u32>) -> Option<u32> {
        let mut firsts = wrapped.map(|index| {
            let defined = index.checked_sub(self.imported)?;
            self.first_calls.get(usize::try_from(defined).ok()?).copied().flatten()
        });
        let constructors = firsts.next()??;
        let same = firsts.all(|first| first == Some(constructors));
        let ty = self.types.get(usize::try_from(constructors).ok()?)?;
        let plain = self.plain_types.get(usize::try_from(*ty).ok()?)?;
        (same && *plain).then_some(constructors)
    }
}

/// Where the first instruction of a function begins and ends in its body.
fn first_instruction(body: &FunctionBody<'_>) -> Result<(usize, usize), BinaryReaderError> {
    let mut operators = body.get_operators_reader()?;
    let start = operators.original_position();
    operators.read()?;
    let offset = body.range().start;
    Ok((start - offset, operators.original_position() - offset))
}
