//! The graph of instances.

use app::Inherit;
use app::composition::ComposedDependency;
use wac_graph::types::{Package, WorldId, are_semver_compatible};
use wac_graph::{CompositionGraph, EncodeOptions, NodeId};

use crate::deny::denial;
use crate::{CompositionError, HANDLER};

/// An instance in the graph.
pub(crate) struct Part {
    /// What it is, for messages.
    name: String,
    instance: NodeId,
    world: WorldId,
}

/// An import that a dependency satisfies.
pub(crate) struct Satisfied {
    import: String,
    dependency: String,
}

/// Instances and what they pass to each other.
#[derive(Default)]
pub(crate) struct Graph {
    graph: CompositionGraph,
    /// How many packages there are: each has a name of its own.
    packages: usize,
}

impl Graph {
    /// Adds an instance of `component`.
    pub(crate) fn add(&mut self, name: String, component: &[u8]) -> Result<Part, CompositionError> {
        let failed = |source| CompositionError::Part { part: name.clone(), source };
        self.packages += 1;
        let package = format!("part:p{}", self.packages);
        let types = self.graph.types_mut();
        let package = Package::from_bytes(&package, None, component, types)
            .map_err(|error| failed(error.into()))?;
        let package = self.graph.register_package(package).map_err(|error| failed(error.into()))?;
        let world = self.graph[package].ty();
        let instance = self.graph.instantiate(package);
        Ok(Part { name, instance, world })
    }

    /// Adds an instance that has nothing of the component's capabilities but what
    /// it inherits.
    pub(crate) fn add_restricted(
        &mut self,
        name: String,
        component: &[u8],
        inherit: &Inherit,
    ) -> Result<Part, CompositionError> {
        let denial = denial(component, inherit)
            .map_err(|source| CompositionError::Part { part: name.clone(), source })?;
        let part = self.add(name, component)?;
        if let Some(denial) = denial {
            let deny = self.add(format!("the denial for {}", part.name), &denial.component)?;
            for interface in &denial.exports {
                self.connect(&part, interface, &deny, interface)?;
            }
        }
        Ok(part)
    }

    /// Satisfies the imports of `socket` that `dependency` names with the exports
    /// of `plug`.
    pub(crate) fn plug(
        &mut self,
        socket: &Part,
        plug: &Part,
        dependency: &ComposedDependency,
        satisfied: &mut Vec<Satisfied>,
    ) -> Result<(), CompositionError> {
        let imports = self.imports(socket);
        let matching: Vec<&String> =
            imports.iter().filter(|import| selects(&dependency.name, import)).collect();
        if matching.is_empty() {
            return Err(CompositionError::Unused { name: dependency.name.clone(), imports });
        }
        for import in matching {
            if let Some(first) = satisfied.iter().find(|other| other.import == *import) {
                return Err(CompositionError::Conflict {
                    import: import.clone(),
                    first: first.dependency.clone(),
                    second: dependency.name.clone(),
                });
            }
            let export = dependency.export.as_ref().unwrap_or(import);
            self.connect(socket, import, plug, export)?;
            satisfied
                .push(Satisfied { import: import.clone(), dependency: dependency.name.clone() });
        }
        Ok(())
    }

    /// Makes `outer` pass its requests on to `inner`.
    pub(crate) fn chain(&mut self, outer: &Part, inner: &Part) -> Result<(), CompositionError> {
        let import = self
            .imports(outer)
            .into_iter()
            .find(|name| is(name, HANDLER))
            .ok_or_else(|| CompositionError::NoHandlerImport { part: outer.name.clone() })?;
        self.connect(outer, &import, inner, HANDLER)
    }

    /// The whole, which exports what `outermost` exports.
    pub(crate) fn finish(mut self, outermost: &Part) -> Result<Vec<u8>, CompositionError> {
        for name in self.exports(outermost) {
            let export = self
                .graph
                .alias_instance_export(outermost.instance, &name)
                .map_err(|error| CompositionError::Whole(error.into()))?;
            self.graph
                .export(export, &name)
                .map_err(|error| CompositionError::Whole(error.into()))?;
        }
        // The compiler validates it.
        let options = EncodeOptions { validate: false, ..EncodeOptions::default() };
        self.graph.encode(options).map_err(|error| CompositionError::Whole(error.into()))
    }

    /// Passes an export of `plug` to `socket` as its `import`. Of the versions of
    /// an interface, a compatible one will do.
    fn connect(
        &mut self,
        socket: &Part,
        import: &str,
        plug: &Part,
        export: &str,
    ) -> Result<(), CompositionError> {
        let exports = self.exports(plug);
        let export = exports
            .iter()
            .find(|name| *name == export)
            .or_else(|| exports.iter().find(|name| is(name, export)))
            .ok_or_else(|| CompositionError::NoExport {
                part: plug.name.clone(),
                export: export.to_owned(),
                exports: exports.clone(),
            })?;
        let mismatch = |source| CompositionError::Mismatch {
            part: plug.name.clone(),
            import: import.to_owned(),
            source,
        };
        let export = self
            .graph
            .alias_instance_export(plug.instance, export)
            .map_err(|error| mismatch(error.into()))?;
        self.graph
            .set_instantiation_argument(socket.instance, import, export)
            .map_err(|error| mismatch(error.into()))
    }

    fn imports(&self, part: &Part) -> Vec<String> {
        self.graph.types()[part.world].imports.keys().cloned().collect()
    }

    fn exports(&self, part: &Part) -> Vec<String> {
        self.graph.types()[part.world].exports.keys().cloned().collect()
    }
}

/// Whether two names are of the same interface in compatible versions.
fn is(name: &str, other: &str) -> bool {
    are_semver_compatible(name, other)
}

/// Whether a dependency called `name` is for `import`: a plain name for the same
/// one, a package for all of its interfaces, and so on, each as far as it is
/// given.
fn selects(name: &str, import: &str) -> bool {
    if !name.contains(':') {
        return name == import;
    }
    let (wanted, wanted_version) = split(name, '@');
    let (interface, version) = split(import, '@');
    let (wanted_package, wanted_interface) = split(wanted, '/');
    let (package, interface) = split(interface, '/');
    wanted_package == package
        && wanted_interface.is_none_or(|wanted| interface == Some(wanted))
        && wanted_version.is_none_or(|wanted| version == Some(wanted))
}

fn split(text: &str, at: char) -> (&str, Option<&str>) {
    text.split_once(at).map_or((text, None), |(before, after)| (before, Some(after)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_selects_imports_as_far_as_it_goes() {
        for (name, import, expected) in [
            ("plain", "plain", true),
            ("plain", "other", false),
            ("a:b", "a:b/c@1.0.0", true),
            ("a:b", "a:b/c", true),
            ("a:b/c", "a:b/c@1.0.0", true),
            ("a:b/c", "a:b/d@1.0.0", false),
            ("a:b@1.0.0", "a:b/c@1.0.0", true),
            ("a:b/c@1.0.0", "a:b/c@1.0.1", false),
            ("a:b/c@1.0.0", "a:b/c", false),
            ("a:bc", "a:b/c", false),
        ] {
            assert_eq!(selects(name, import), expected, "{name} {import}");
        }
    }
}
