//! The guest that answers.

use std::path::{Path, PathBuf};
use std::process::Command;

use wasmtime::{Result, ensure};

/// The component of `examples/hello-rust`, built by `scripts/build-guests`.
///
/// # Errors
/// Fails when it is not built, with the command that builds it.
pub fn hello() -> Result<Vec<u8>> {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut locate = Command::new(repository.join("scripts/build-guests"));
    let output = locate.args(["--locate", "hello-rust"]).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
    let folder = PathBuf::from(String::from_utf8(output.stdout)?.trim_end());
    let module = fs_err::read(folder.join("target/wasm32-wasip1/release/hello_rust.wasm"))?;
    Ok(componentize::componentize(&module)?.into_owned())
}
