//! Telling Wasm from native code.

use crate::Blob;
use crate::blob::BlobError;

/// How many bytes tell what a blob is.
const PREFIX_BYTES: usize = 8;

/// A kind of Wasm binary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WasmKind {
    /// A core module.
    Module,
    /// A component.
    Component,
}

/// A blob that is not Wasm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotWasm {
    /// Native code, for example code that wasmtime compiled ahead of time.
    #[error(
        "it is native code, which is never run from an artifact; push the Wasm it was compiled from"
    )]
    NativeCode,
    /// Something else.
    #[error("it does not start like a Wasm binary; push the .wasm file that was built")]
    Unknown,
    /// A binary of an unknown version.
    #[error("it is a Wasm binary of an unknown version")]
    Version,
}

/// What kind of Wasm a binary is, by its first bytes.
///
/// # Errors
///
/// [`NotWasm`] when it is none; everything that an operating system or wasmtime
/// would map as machine code is [`NotWasm::NativeCode`].
pub fn kind(prefix: &[u8]) -> Result<WasmKind, NotWasm> {
    const NATIVE: [&[u8]; 7] = [
        b"\x7fELF",
        b"MZ",
        b"\xfe\xed\xfa\xce",
        b"\xfe\xed\xfa\xcf",
        b"\xce\xfa\xed\xfe",
        b"\xcf\xfa\xed\xfe",
        b"\xca\xfe\xba\xbe",
    ];
    if NATIVE.iter().any(|magic| prefix.starts_with(magic)) {
        return Err(NotWasm::NativeCode);
    }
    match prefix.strip_prefix(b"\0asm").and_then(|version| version.get(..4)) {
        Some([1, 0, 0, 0]) => Ok(WasmKind::Module),
        Some([_, 0, 1, 0]) => Ok(WasmKind::Component),
        Some(_) => Err(NotWasm::Version),
        None => Err(NotWasm::Unknown),
    }
}

/// What kind of Wasm a blob is; only its first bytes are read.
///
/// # Errors
///
/// The outer error when the blob cannot be read, the inner one when it is not
/// Wasm.
pub fn kind_of(blob: &Blob) -> Result<Result<WasmKind, NotWasm>, BlobError> {
    Ok(kind(&blob.peek(PREFIX_BYTES)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_components_and_others_are_told_apart() {
        assert_eq!(kind(b"\0asm\x01\0\0\0rest"), Ok(WasmKind::Module));
        assert_eq!(kind(b"\0asm\x0d\0\x01\0"), Ok(WasmKind::Component));
        assert_eq!(kind(b"\0asm\x02\0\0\0"), Err(NotWasm::Version));
        assert_eq!(kind(b"\x7fELF\x02\x01\x01\xc8"), Err(NotWasm::NativeCode));
        for other in [&b""[..], b"\0asm", b"\0as", b"#!/bin/sh", b"(module)"] {
            assert_eq!(kind(other), Err(NotWasm::Unknown));
        }
    }
}
