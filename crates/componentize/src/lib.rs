//! Turns what Spin apps consist of into components.
//!
//! Since its version 2, Spin runs components only; apps built for
//! `wasm32-wasip1` are core modules that are wrapped on the way. Which way
//! depends on the tools that built the module, as the custom sections
//! `producers` and `component-type` tell.

mod candidates;
mod legacy;
mod module;

use std::borrow::Cow;

use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER,
    WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
};
use wasmparser::{BinaryReaderError, Parser};
use wit_component::ComponentEncoder;

use module::{Module, Wrapping};

/// Why bytes cannot be used as a component.
#[derive(Debug, thiserror::Error)]
pub enum ComponentizeError {
    /// Nothing there.
    #[error("the file is empty")]
    Empty,
    /// Not WebAssembly in its binary format.
    #[error("not a WebAssembly binary: expected it to begin with `\\0asm`")]
    NotWasm,
    /// Machine code, precompiled Wasm included. It would run outside the
    /// sandbox, so it is never accepted from outside.
    #[error(
        "native code ({0}) is refused: expected WebAssembly, which this node compiles by itself"
    )]
    NativeCode(&'static str),
    /// Truncated or damaged.
    #[error("not a valid WebAssembly binary")]
    Malformed(#[source] BinaryReaderError),
    /// A wit-bindgen that no adapter exists for.
    #[error(
        "cannot adapt modules created with wit-bindgen {version}: expected 0.5 or newer and below \
         1.0; build the app with a current SDK"
    )]
    BindgenVersion {
        /// The version as the module states it.
        version: String,
    },
    /// A module of Spin's first generation that wants something else, too.
    #[error(
        "imports {name:?} from {module:?}, which no release of Spin provided to modules of its \
         first generation (wit-bindgen before 0.5)"
    )]
    UnknownLegacyImport {
        /// The module it imports from.
        module: String,
        /// What it imports.
        name: String,
    },
    /// A module of Spin's first generation that no trigger could call.
    #[error(
        "the module of the first generation of Spin SDKs (wit-bindgen before 0.5) exports no \
         handler: expected `handle-http-request` or `handle-redis-message`"
    )]
    NoLegacyHandler,
    /// A command whose C library corrupts memory.
    #[error(
        "built with clang {clang}, whose wasi-libc corrupts memory in command modules (wasi-libc \
         issue 377): build it with wasi-sdk 19 or newer (clang 15.0.7)"
    )]
    WasiLibcBug {
        /// The version of clang as the module states it.
        clang: String,
    },
    /// Neither a command nor built against an interface.
    #[error(
        "the module can do nothing: expected a component, a module built with a Spin SDK, or a \
         command that exports `_start`"
    )]
    NoEntryPoint,
    /// The module and the interface that it claims do not fit.
    #[error("module cannot be made into a component")]
    Encode(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Returns `source` itself if it is a component that names no release candidate
/// of WASI 0.3 that became the release; such names are replaced. Of a core module
/// a component is made:
///
/// - built with wit-bindgen 0.5 to 0.x, or carrying a component type: wrapped
///   with the reactor adapter from preview 1 to WASI 0.2;
/// - built with an older wit-bindgen, as those of the Rust SDK up to 1.4 and of
///   the TinyGo SDK: the same, after its imports and exports got the names of the
///   unversioned `fermyon:spin` interfaces;
/// - a command (exports `_start`, no sign of wit-bindgen): wrapped with the
///   command adapter; the component exports `wasi:cli/run`.
///
/// A component that is returned unchanged has been read from end to end but not
/// validated; the compiler does that.
///
/// # Errors
/// Fails with the reason, in words for the app's author, on anything else.
pub fn componentize(source: &[u8]) -> Result<Cow<'_, [u8]>, ComponentizeError> {
    check_magic(source)?;
    if Parser::is_component(source) {
        if let Some(error) = Parser::new(0).parse_all(source).find_map(Result::err) {
            return Err(ComponentizeError::Malformed(error));
        }
        return candidates::adopt(source.into()).map_err(ComponentizeError::Malformed);
    }
    let component = wrap(source)?;
    candidates::adopt(component.into()).map_err(ComponentizeError::Malformed)
}

/// Wraps a core module as it needs.
fn wrap(source: &[u8]) -> Result<Vec<u8>, ComponentizeError> {
    let module = Module::read(source).map_err(ComponentizeError::Malformed)?;
    let (module, adapter) = match module.wrapping()? {
        Wrapping::Reactor => (Cow::Borrowed(source), WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER),
        Wrapping::Command => (Cow::Borrowed(source), WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER),
        Wrapping::Legacy { start_initializes } => {
            let modern = legacy::modernize(source, start_initializes)?;
            (Cow::Owned(modern), WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER)
        }
    };
    ComponentEncoder::default()
        .validate(true)
        .module(&module)
        .and_then(|encoder| encoder.adapter(WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, adapter))
        .and_then(|mut encoder| encoder.encode())
        .map_err(|error| ComponentizeError::Encode(error.into()))
}

fn check_magic(source: &[u8]) -> Result<(), ComponentizeError> {
    match source {
        [] => Err(ComponentizeError::Empty),
        [0, b'a', b's', b'm', ..] => Ok(()),
        // wasmtime's own precompiled files are ELF files, too.
        [0x7f, b'E', b'L', b'F', ..] => Err(ComponentizeError::NativeCode("ELF")),
        [b'M', b'Z', ..] => Err(ComponentizeError::NativeCode("PE")),
        [0xcf | 0xce, 0xfa, 0xed, 0xfe, ..] => Err(ComponentizeError::NativeCode("Mach-O")),
        _ => Err(ComponentizeError::NotWasm),
    }
}

#[cfg(test)]
mod tests;
