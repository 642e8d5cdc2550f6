//! Composes a component with what its app says it depends on.
//!
//! - Dependencies satisfy imports of the component, chosen by name.
//! - Middleware handles HTTP requests first and imports the handler behind it.
//!
//! Both are other people's code: unless they inherit a capability of the
//! component, what they import of it is answered by a component of our own that
//! has nothing to give. Everything else that any part imports becomes an import
//! of the whole, each interface once.

mod capability;
mod deny;
mod graph;

use app::Composition;

use graph::Graph;

/// The interface that middleware imports and exports.
const HANDLER: &str = "wasi:http/handler@0.3.0";

/// Why parts do not fit together.
#[derive(Debug, thiserror::Error)]
pub enum CompositionError {
    /// A recipe without a part that it names.
    #[error("the composition lacks its part {0}")]
    MissingPart(usize),
    /// A part is not a component that can be composed.
    #[error("{part} cannot be composed")]
    Part {
        /// Which one.
        part: String,
        /// What is wrong with it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A dependency that the component does not import.
    #[error("dependency {name:?} satisfies none of the component's imports: {}", list(imports))]
    Unused {
        /// The name of the dependency.
        name: String,
        /// What the component imports.
        imports: Vec<String>,
    },
    /// Two dependencies for one import.
    #[error("dependencies {first:?} and {second:?} both satisfy the import {import:?}")]
    Conflict {
        /// The import.
        import: String,
        /// The dependency that came first.
        first: String,
        /// The other one.
        second: String,
    },
    /// A dependency or a middleware without the export that is needed.
    #[error("{part} does not export {export:?}; it exports {}", list(exports))]
    NoExport {
        /// Which part.
        part: String,
        /// What is needed.
        export: String,
        /// What there is.
        exports: Vec<String>,
    },
    /// A middleware without anything to pass requests on to.
    #[error("{part} does not import {HANDLER}: requests would end there")]
    NoHandlerImport {
        /// Which part.
        part: String,
    },
    /// The type of an export is not that of the import.
    #[error("{part} does not fit the import {import:?}")]
    Mismatch {
        /// Which part.
        part: String,
        /// The import.
        import: String,
        /// The difference.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The parts fit one by one and not together.
    #[error("the parts cannot be composed")]
    Whole(#[source] Box<dyn std::error::Error + Send + Sync>),
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
}

/// Composes `parts`, components in the order of [`Composition::parts`].
///
/// # Errors
/// [`CompositionError`] names the part that does not fit.
pub fn compose<P: AsRef<[u8]>>(
    composition: &Composition,
    parts: &[P],
) -> Result<Vec<u8>, CompositionError> {
    let part = |position: usize| {
        parts.get(position).map(AsRef::as_ref).ok_or(CompositionError::MissingPart(position))
    };
    let mut graph = Graph::default();
    let mut outermost = graph.add("the component".to_owned(), part(0)?)?;
    let mut position = 1;
    let mut satisfied = Vec::new();
    for dependency in &composition.dependencies {
        let what = format!("dependency {:?}", dependency.name);
        let plug = graph.add_restricted(what, part(position)?, &dependency.inherit)?;
        graph.plug(&outermost, &plug, dependency, &mut satisfied)?;
        position += 1;
    }
    let middleware = composition.middleware.iter().enumerate().rev();
    for (number, middleware) in middleware {
        let what = format!("middleware {}", number + 1);
        let next = graph.add_restricted(what, part(position + number)?, &middleware.inherit)?;
        graph.chain(&next, &outermost)?;
        outermost = next;
    }
    graph.finish(&outermost)
}

#[cfg(test)]
mod tests;
