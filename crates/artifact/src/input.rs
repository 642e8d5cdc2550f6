//! What the compiler is handed for a component.

use std::fs::File;
use std::io::{self, Seek as _, Write as _};

use app::composition::{ComposedDependency, ComposedMiddleware, Part};
use app::{Composition, Digest, LockedComponent};
use rustix::fs::MemfdFlags;

use crate::artifact::{ComponentContent, WasmError};
use crate::blob::Blob;

/// The role in which a trigger composes components with another.
const MIDDLEWARE: &str = "middleware";

/// What the compiler is handed for a component: its Wasm, or a bundle of it and
/// of what is to be composed into it.
#[derive(Debug)]
pub struct CompilerInput<'a> {
    content: &'a ComponentContent,
    bundle: Option<(Composition, Vec<&'a Blob>)>,
}

impl ComponentContent {
    /// What the compiler is handed for this component, which is described by
    /// `component`.
    pub fn compiler_input(&self, component: &LockedComponent) -> CompilerInput<'_> {
        let (mut parts, mut dependencies, mut middleware) = (Vec::new(), Vec::new(), Vec::new());
        // Whoever read the app made sure that there is content for each.
        for (name, dependency) in &component.dependencies {
            let Some(blob) = self.dependencies.get(name) else { continue };
            parts.push(blob);
            dependencies.push(ComposedDependency {
                name: name.clone(),
                part: part(blob),
                export: dependency.export.clone(),
                inherit: dependency.inherit.clone(),
            });
        }
        let locked = component.trigger_dependencies.get(MIDDLEWARE).into_iter().flatten();
        let blobs = self.trigger_dependencies.get(MIDDLEWARE).into_iter().flatten();
        for (dependency, blob) in locked.zip(blobs) {
            parts.push(blob);
            let (part, inherit) = (part(blob), dependency.inherit.clone());
            middleware.push(ComposedMiddleware { part, inherit });
        }
        if parts.is_empty() {
            return CompilerInput { content: self, bundle: None };
        }
        let composition = Composition { component: part(&self.wasm), dependencies, middleware };
        parts.insert(0, &self.wasm);
        CompilerInput { content: self, bundle: Some((composition, parts)) }
    }
}

fn part(blob: &Blob) -> Part {
    Part { digest: blob.digest(), size: blob.size() }
}

impl CompilerInput<'_> {
    /// What compiled code is stored under.
    pub fn digest(&self) -> Digest {
        match &self.bundle {
            Some((composition, _)) => composition.digest(),
            None => self.content.wasm.digest(),
        }
    }

    /// How many bytes of Wasm it has.
    pub fn size(&self) -> u64 {
        match &self.bundle {
            Some((composition, _)) => composition.parts().map(|part| part.size).sum(),
            None => self.content.wasm.size(),
        }
    }

    /// It as a file at offset 0, verified.
    ///
    /// # Errors
    ///
    /// [`WasmError`].
    pub fn open(&self) -> Result<File, WasmError> {
        let Some((composition, parts)) = &self.bundle else { return self.content.open_wasm() };
        let mut file = memory().map_err(WasmError::Bundle)?;
        file.write_all(&composition.header()).map_err(WasmError::Bundle)?;
        for part in parts {
            part.copy_to(&mut file)?;
        }
        file.rewind().map_err(WasmError::Bundle)?;
        Ok(file)
    }
}

fn memory() -> io::Result<File> {
    Ok(File::from(rustix::fs::memfd_create("bundle", MemfdFlags::CLOEXEC)?))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::Read as _;

    use app::{Inherit, LockedDependency};

    use super::*;
    use crate::wasm::WasmKind;

    fn content(
        dependency: Option<&str>,
        middleware: &[&str],
    ) -> (LockedComponent, ComponentContent) {
        let mut component = LockedComponent { id: "c".to_owned(), ..LockedComponent::default() };
        let mut content = ComponentContent {
            wasm: Blob::from_bytes(&b"\0asm\x0d\0\x01\0"[..]),
            kind: WasmKind::Component,
            dependencies: BTreeMap::new(),
            trigger_dependencies: BTreeMap::new(),
            files: Vec::new(),
            mounts: Vec::new(),
        };
        if let Some(bytes) = dependency {
            let dependency =
                LockedDependency { export: Some("x".to_owned()), ..Default::default() };
            component.dependencies.insert("a:b".to_owned(), dependency);
            content.dependencies.insert("a:b".to_owned(), Blob::from_bytes(bytes.as_bytes()));
        }
        for bytes in middleware {
            let locked = LockedDependency { inherit: Inherit::All, ..Default::default() };
            component.trigger_dependencies.entry(MIDDLEWARE.to_owned()).or_default().push(locked);
            let blobs = content.trigger_dependencies.entry(MIDDLEWARE.to_owned()).or_default();
            blobs.push(Blob::from_bytes(bytes.as_bytes()));
        }
        (component, content)
    }

    #[test]
    fn a_component_alone_is_handed_over_as_it_is() {
        let (component, content) = content(None, &[]);
        let input = content.compiler_input(&component);
        assert_eq!((input.digest(), input.size()), (content.wasm.digest(), 8));
        let mut bytes = Vec::new();
        input.open().unwrap().read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, b"\0asm\x0d\0\x01\0");
    }

    #[test]
    fn what_is_to_be_composed_is_one_bundle_with_a_digest_of_its_own() {
        let (component, content) = content(Some("dependency"), &["outer", "inner"]);
        let input = content.compiler_input(&component);
        let mut bytes = Vec::new();
        input.open().unwrap().read_to_end(&mut bytes).unwrap();
        let (composition, parts) = Composition::read(&bytes).unwrap().unwrap();
        assert_eq!(parts[1..], [&b"dependency"[..], b"outer", b"inner"]);
        assert_eq!(composition.digest(), input.digest());
        assert_ne!(input.digest(), content.wasm.digest());
        assert_eq!(composition.dependencies[0].export.as_deref(), Some("x"));
        assert_eq!(composition.middleware[0].inherit, Inherit::All);
    }
}
