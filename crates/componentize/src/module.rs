//! What a core module tells about how it was built.

use wasmparser::{BinaryReaderError, KnownCustom, Parser, Payload};

use crate::ComponentizeError;

/// First version of clang whose wasi-libc does not let a command's allocator
/// overwrite its own data.
const FIRST_SAFE_CLANG: [u32; 3] = [15, 0, 7];

/// The adapter that a module needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wrapping {
    Reactor,
    Command,
    /// The reactor adapter, after [`crate::legacy::modernize`].
    Legacy {
        /// Whether its `_start` prepares it for its handler. In modules of TinyGo
        /// it sets up the heap and the variables of packages, and runs an empty
        /// `main`; in all others it may end the instance, and their handlers do
        /// without it.
        start_initializes: bool,
    },
}

/// The parts of a module that decide how it is wrapped.
#[derive(Debug, Default)]
pub(crate) struct Module {
    /// Versions of wit-bindgen that took part.
    bindgen: Vec<String>,
    clang: Option<String>,
    /// Languages that parts of it were written in.
    languages: Vec<String>,
    has_component_type: bool,
    has_start: bool,
    /// How many of TinyGo's allocation functions it exports.
    allocation_exports: usize,
    /// Exports what wit-bindgen makes a module export; in a module without any
    /// other sign of it, a version that left none.
    has_bindgen_export: bool,
}

impl Module {
    /// Reads `source` from end to end.
    pub(crate) fn read(source: &[u8]) -> Result<Self, BinaryReaderError> {
        let mut module = Self::default();
        for payload in Parser::new(0).parse_all(source) {
            match payload? {
                Payload::CustomSection(section) if section.name().starts_with("component-type") => {
                    module.has_component_type = true;
                }
                Payload::CustomSection(section) => {
                    if let KnownCustom::Producers(producers) = section.as_known() {
                        module.read_producers(producers)?;
                    }
                }
                Payload::ExportSection(exports) => {
                    for export in exports {
                        module.read_export(export?.name);
                    }
                }
                _ => {}
            }
        }
        Ok(module)
    }

    fn read_producers(
        &mut self,
        producers: wasmparser::ProducersSectionReader<'_>,
    ) -> Result<(), BinaryReaderError> {
        for field in producers {
            let field = field?;
            for tool in field.values {
                let tool = tool?;
                match (field.name, tool.name) {
                    ("language", language) => self.languages.push(language.to_owned()),
                    ("processed-by", "clang") => self.clang = Some(tool.version.to_owned()),
                    ("processed-by", name) if name.starts_with("wit-bindgen") => {
                        self.bindgen.push(tool.version.to_owned());
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }

    fn read_export(&mut self, name: &str) {
        match name {
            "_start" => self.has_start = true,
            "malloc" | "calloc" | "realloc" | "free" => self.allocation_exports += 1,
            "cabi_realloc"
            | "canonical_abi_realloc"
            | "handle-http-request"
            | "handle-redis-message" => self.has_bindgen_export = true,
            _ => {}
        }
    }

    /// The adapter this module needs.
    pub(crate) fn wrapping(&self) -> Result<Wrapping, ComponentizeError> {
        for version in &self.bindgen {
            let [major, minor, _] = numbers(version);
            if major != 0 || minor < 5 {
                let version = version.clone();
                return Err(ComponentizeError::BindgenVersion { version });
            }
        }
        if !self.bindgen.is_empty() || self.has_component_type {
            return Ok(Wrapping::Reactor);
        }
        // TinyGo's modules of that generation export `_start` as well.
        if self.has_bindgen_export {
            return Ok(Wrapping::Legacy { start_initializes: self.is_of_tinygo() });
        }
        if !self.has_start {
            return Err(ComponentizeError::NoEntryPoint);
        }
        match &self.clang {
            Some(clang) if numbers(clang) < FIRST_SAFE_CLANG => {
                Err(ComponentizeError::WasiLibcBug { clang: clang.clone() })
            }
            _ => Ok(Wrapping::Command),
        }
    }

    fn is_of_tinygo(&self) -> bool {
        self.languages.iter().any(|language| language == "Go") || self.allocation_exports == 4
    }
}

/// The first three numbers of a version such as `16.0.4 (https://…)` or `0.24`;
/// what is missing or no number counts as zero.
fn numbers(version: &str) -> [u32; 3] {
    let number = version.split([' ', '-', '+']).next().unwrap_or_default();
    let mut parts = number.split('.').map(|part| part.parse().unwrap_or_default());
    std::array::from_fn(|_| parts.next().unwrap_or_default())
}
