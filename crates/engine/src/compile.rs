//! Compiling components.

use wasmtime::Engine;

use crate::{EngineError, NativeCode, config};

/// Why a component cannot be compiled.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// No engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The source is not a component that this engine supports.
    #[error("component cannot be compiled")]
    Component(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Compiles a component, binary format, for this machine; all processors work
/// on it.
///
/// # Errors
/// Fails when `source` is not a valid component or uses a proposal that
/// [`config`] does not enable; wasmtime's explanation is the source.
pub fn compile(source: &[u8]) -> Result<NativeCode, CompileError> {
    let engine = Engine::new(&config()?).map_err(EngineError::new)?;
    let code = engine
        .precompile_component(source)
        .map_err(|error| CompileError::Component(error.into()))?;
    Ok(NativeCode::from_compiler(code))
}
