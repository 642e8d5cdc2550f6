//! Compiling components.

use std::sync::Arc;

use wasmtime::{Engine, OptLevel, RegallocAlgorithm};

use crate::{EngineError, Functions, NativeCode, Tier, config};

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
/// on it. What `functions` has is not compiled again, what it lacks is added to
/// it; the code is the same with and without.
///
/// # Errors
/// Fails when `source` is not a valid component or uses a proposal that
/// [`config`] does not enable; wasmtime's explanation is the source.
pub fn compile(
    source: &[u8],
    tier: Tier,
    functions: Option<&Arc<Functions>>,
) -> Result<NativeCode, CompileError> {
    let mut config = config()?;
    if tier == Tier::First {
        config
            .cranelift_opt_level(OptLevel::None)
            .cranelift_regalloc_algorithm(RegallocAlgorithm::SinglePass);
    }
    if let Some(functions) = functions {
        let store = Arc::clone(functions);
        config.enable_incremental_compilation(store).map_err(EngineError::new)?;
    }
    let engine = Engine::new(&config).map_err(EngineError::new)?;
    let code = engine
        .precompile_component(source)
        .map_err(|error| CompileError::Component(error.into()))?;
    Ok(NativeCode::from_compiler(code))
}
