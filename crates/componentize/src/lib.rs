//! Turns what Spin apps consist of into components.
//!
//! Since its version 2, Spin runs components only; apps built for
//! `wasm32-wasip1` are core modules that are wrapped on the way. Which way
//! depends on the tools that built the module, as the custom sections
//! `producers` and `component-type` tell.

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
    /// A module of Spin's first generation.
    #[error(
        "cannot adapt a module of the first generation of Spin SDKs (wit-bindgen before 0.5): the \
         adapter for its interfaces is not part of this version; build the app with an SDK of \
         version 1.2 or newer"
    )]
    LegacyBindgen,
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

/// Returns `source` itself if it is a component, and the component made of it if
/// it is a core module:
///
/// - built with wit-bindgen 0.5 to 0.x, or carrying a component type: wrapped
///   with the reactor adapter from preview 1 to WASI 0.2;
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
        return match Parser::new(0).parse_all(source).find_map(Result::err) {
            Some(error) => Err(ComponentizeError::Malformed(error)),
            None => Ok(Cow::Borrowed(source)),
        };
    }
    let module = Module::read(source).map_err(ComponentizeError::Malformed)?;
    let adapter = match module.wrapping()? {
        Wrapping::Reactor => WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
        Wrapping::Command => WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER,
    };
    ComponentEncoder::default()
        .validate(true)
        .module(source)
        .and_then(|encoder| encoder.adapter(WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, adapter))
        .and_then(|mut encoder| encoder.encode())
        .map(Cow::Owned)
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
