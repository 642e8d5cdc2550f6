//! What a component is composed of, and how that travels to the compiler.
//!
//! A *bundle* is one file: the bytes [`MAGIC`], the length of the recipe as a
//! little-endian 32-bit number, the recipe as JSON, and the parts one after
//! another, in the order of [`Composition::parts`]. Compiled code is stored under
//! the digest of the recipe, which names every part by digest: it can be looked up
//! without reading a part.

use serde::{Deserialize, Serialize};

use crate::{Digest, Inherit};

/// What a bundle holds: its recipe, and the content of every part.
pub type Bundle<'a> = (Composition, Vec<&'a [u8]>);

/// The first bytes of a bundle. No Wasm begins like this.
pub const MAGIC: [u8; 8] = *b"\0bundle1";

/// A component with what is to be composed into it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Composition {
    /// The component itself.
    pub component: Part,
    /// What satisfies its imports.
    pub dependencies: Vec<ComposedDependency>,
    /// What its requests pass before it handles them; the first is outermost.
    pub middleware: Vec<ComposedMiddleware>,
}

/// One Wasm file of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// Its digest.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
}

/// What satisfies imports of a component.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ComposedDependency {
    /// Which imports: a plain name, or a package with an optional interface and an
    /// optional version.
    pub name: String,
    /// The component that satisfies them.
    pub part: Part,
    /// Its export that does; none means the one of the same name.
    pub export: Option<String>,
    /// What it may use.
    pub inherit: Inherit,
}

/// A component between a trigger and the component that handles its requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ComposedMiddleware {
    /// The component.
    pub part: Part,
    /// What it may use.
    pub inherit: Inherit,
}

/// Why bytes are not the bundle they claim to be.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// It ends within its recipe or a part.
    #[error("the bundle of a composed component is truncated")]
    Truncated,
    /// There is something behind its last part.
    #[error("the bundle of a composed component has {0} bytes too many")]
    Excess(usize),
    /// Its recipe cannot be read.
    #[error("the bundle of a composed component has no valid recipe")]
    Recipe(#[source] serde_json::Error),
    /// A part is not what the recipe promises.
    #[error("part {expected} of a composed component has the digest {found}")]
    Part {
        /// What was promised.
        expected: Digest,
        /// What it is.
        found: Digest,
    },
}

impl Composition {
    /// The digest of the recipe: equal for equal inputs and no others.
    pub fn digest(&self) -> Digest {
        Digest::of(self.recipe())
    }

    /// The parts in the order of the bundle: the component, the dependencies, the
    /// middleware.
    pub fn parts(&self) -> impl Iterator<Item = &Part> {
        std::iter::once(&self.component)
            .chain(self.dependencies.iter().map(|dependency| &dependency.part))
            .chain(self.middleware.iter().map(|middleware| &middleware.part))
    }

    /// What comes before the parts in a bundle.
    pub fn header(&self) -> Vec<u8> {
        let recipe = self.recipe();
        let length = u32::try_from(recipe.len()).unwrap_or(u32::MAX);
        [&MAGIC[..], &length.to_le_bytes(), &recipe].concat()
    }

    /// Reads a bundle: the recipe, and the content of every part. None if `bytes`
    /// do not begin like one.
    ///
    /// # Errors
    /// [`BundleError`] unless all parts are there and what the recipe promises.
    pub fn read(bytes: &[u8]) -> Result<Option<Bundle<'_>>, BundleError> {
        let Some(rest) = bytes.strip_prefix(&MAGIC) else { return Ok(None) };
        let (length, rest) = rest.split_first_chunk::<4>().ok_or(BundleError::Truncated)?;
        let (recipe, mut rest) = split(rest, u64::from(u32::from_le_bytes(*length)))?;
        let composition: Self = serde_json::from_slice(recipe).map_err(BundleError::Recipe)?;
        let mut parts = Vec::new();
        for part in composition.parts() {
            let content;
            (content, rest) = split(rest, part.size)?;
            let found = Digest::of(content);
            if found != part.digest {
                return Err(BundleError::Part { expected: part.digest, found });
            }
            parts.push(content);
        }
        if !rest.is_empty() {
            return Err(BundleError::Excess(rest.len()));
        }
        Ok(Some((composition, parts)))
    }

    fn recipe(&self) -> Vec<u8> {
        // Strings, numbers and lists of them can always be written.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

fn split(bytes: &[u8], length: u64) -> Result<(&[u8], &[u8]), BundleError> {
    let length = usize::try_from(length).map_err(|_| BundleError::Truncated)?;
    bytes.split_at_checked(length).ok_or(BundleError::Truncated)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(content: &[u8]) -> Part {
        Part { digest: Digest::of(content), size: content.len() as u64 }
    }

    fn composition() -> Composition {
        Composition {
            component: part(b"component"),
            dependencies: vec![ComposedDependency {
                name: "a:b/c".to_owned(),
                part: part(b"dependency"),
                export: None,
                inherit: Inherit::Some(vec!["files".to_owned()]),
            }],
            middleware: vec![ComposedMiddleware { part: part(b""), inherit: Inherit::All }],
        }
    }

    fn bundle() -> Vec<u8> {
        [&composition().header()[..], b"component", b"dependency"].concat()
    }

    #[test]
    fn a_bundle_reads_back_equal() {
        let bundle = bundle();
        let (read, parts) = Composition::read(&bundle).unwrap().unwrap();
        assert_eq!(read, composition());
        assert_eq!(parts, [&b"component"[..], b"dependency", b""]);
        assert!(Composition::read(b"\0asm\x01\0\0\0").unwrap().is_none());
    }

    #[test]
    fn a_bundle_that_is_cut_or_changed_anywhere_is_refused() {
        let whole = bundle();
        for length in MAGIC.len()..whole.len() {
            Composition::read(&whole[..length]).unwrap_err();
        }
        for position in MAGIC.len()..whole.len() {
            let mut changed = whole.clone();
            changed[position] ^= 0x20;
            let same_digest = Composition::read(&changed).is_ok_and(|read| {
                read.is_some_and(|(read, _)| read.digest() == composition().digest())
            });
            assert!(!same_digest, "byte {position}");
        }
        Composition::read(&[&whole[..], b"x"].concat()).unwrap_err();
    }

    #[test]
    fn the_digest_tells_every_input_apart() {
        let one = composition();
        let mut changes = Vec::new();
        for change in [
            |c: &mut Composition| c.component = part(b"other"),
            |c: &mut Composition| c.dependencies[0].inherit = Inherit::default(),
            |c: &mut Composition| c.dependencies[0].export = Some("x".to_owned()),
            |c: &mut Composition| c.middleware.clear(),
        ] {
            let mut other = one.clone();
            change(&mut other);
            changes.push(other.digest());
        }
        assert!(changes.iter().all(|digest| *digest != one.digest()));
        assert_eq!(composition().digest(), one.digest());
    }
}
