//! What release candidates of WASI 0.3 have in common with the release.
//!
//! Between the candidate of 2026-03-15, which Spin 4.0 hosts, and 0.3.0 nothing
//! changed but the version in the names of the interfaces; of the two before it,
//! which Spin 3.5 and 3.6 hosted, some interfaces did not change either. Hosts
//! match versions with a suffix exactly, so these interfaces get a version of 0.3
//! here wherever a component imports or exports them. All others keep their names.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ops::Range;

use wasm_encoder::{Encode as _, RawSection};
use wasmparser::{
    BinaryReader, BinaryReaderError, ComponentExternName, FromReader, Parser, Payload,
    SectionLimited,
};

/// A release candidate.
struct Candidate {
    /// The end of the names of its interfaces.
    suffix: &'static str,
    /// How the names begin of what components import and has not changed since.
    imports: &'static [&'static str],
    /// The same of what they export.
    exports: &'static [&'static str],
}

const CANDIDATES: [Candidate; 3] = [
    Candidate {
        suffix: "@0.3.0-rc-2025-09-16",
        imports: &[
            "wasi:cli/environment",
            "wasi:cli/exit",
            "wasi:cli/stdin",
            "wasi:cli/terminal-",
            "wasi:cli/types",
            "wasi:clocks/monotonic-clock",
            "wasi:random/",
        ],
        exports: &["wasi:cli/run", "wasi:http/handler"],
    },
    Candidate {
        suffix: "@0.3.0-rc-2026-01-06",
        imports: &[
            "wasi:cli/environment",
            "wasi:cli/exit",
            "wasi:cli/stdin",
            "wasi:cli/terminal-",
            "wasi:cli/types",
            "wasi:clocks/",
            "wasi:random/",
        ],
        exports: &["wasi:cli/run", "wasi:http/handler"],
    },
    Candidate { suffix: "@0.3.0-rc-2026-03-15", imports: &[""], exports: &[""] },
];

/// Whether a component imports something or exports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Direction {
    Import,
    Export,
}

impl Candidate {
    /// The name without its version of an interface that has not changed since.
    fn unchanged<'a>(&self, direction: Direction, name: &'a str) -> Option<&'a str> {
        let interface = name.strip_suffix(self.suffix)?;
        let unchanged = match direction {
            Direction::Import => self.imports,
            Direction::Export => self.exports,
        };
        unchanged.iter().any(|start| interface.starts_with(start)).then_some(interface)
    }
}

/// For each candidate the version that its unchanged interfaces get.
struct Releases([String; CANDIDATES.len()]);

impl Releases {
    /// Versions with which no two of `names` become one: 0.3.0, or the first
    /// compatible version that is not named beside the candidate.
    fn beside(names: &BTreeSet<(Direction, &str)>) -> Self {
        let mut taken: BTreeSet<String> = names.iter().map(|(_, name)| (*name).into()).collect();
        Self(CANDIDATES.each_ref().map(|candidate| {
            let interfaces: BTreeSet<&str> = names
                .iter()
                .filter_map(|(direction, name)| candidate.unchanged(*direction, name))
                .collect();
            let at = |version: &str| -> BTreeSet<String> {
                interfaces.iter().map(|name| format!("{name}{version}")).collect()
            };
            let mut versions = (0..=taken.len()).map(|patch| format!("@0.3.{patch}"));
            // Of more numbers than names, one is free.
            let free = versions.find(|version| at(version).is_disjoint(&taken));
            let version = free.unwrap_or_default();
            taken.extend(at(&version));
            version
        }))
    }

    /// The name that an import or export gets, if it gets another one.
    fn rename(&self, direction: Direction, name: &str) -> Option<String> {
        let mut releases = CANDIDATES.iter().zip(&self.0);
        releases.find_map(|(candidate, version)| {
            let interface = candidate.unchanged(direction, name)?;
            Some(format!("{interface}{version}"))
        })
    }
}

/// Gives what `component` imports and exports of candidates, and has not changed
/// since, the names of a release of WASI 0.3.
///
/// # Errors
/// `component` is truncated or damaged.
pub(crate) fn adopt(component: Cow<'_, [u8]>) -> Result<Cow<'_, [u8]>, BinaryReaderError> {
    let names = names(&component)?;
    let releases = Releases::beside(&names);
    if names.iter().all(|(direction, name)| releases.rename(*direction, name).is_none()) {
        return Ok(component);
    }
    renamed(&component, &releases).map(Cow::Owned)
}

/// The names of everything that `component` imports and exports itself.
fn names(component: &[u8]) -> Result<BTreeSet<(Direction, &str)>, BinaryReaderError> {
    let mut names = BTreeSet::new();
    each_section(component, |payload, _| {
        match payload {
            Payload::ComponentImportSection(section) => {
                for import in section.clone() {
                    names.insert((Direction::Import, import?.name.name));
                }
            }
            Payload::ComponentExportSection(section) => {
                for export in section.clone() {
                    names.insert((Direction::Export, export?.name.name));
                }
            }
            _ => {}
        }
        Ok(())
    })?;
    Ok(names)
}

/// Copies `component` with the names of `releases`.
fn renamed(component: &[u8], releases: &Releases) -> Result<Vec<u8>, BinaryReaderError> {
    let mut copy = wasm_encoder::Component::new();
    each_section(component, |payload, whole| {
        let (id, range) = whole;
        let mut data = Cow::Borrowed(component.get(range).unwrap_or_default());
        match payload {
            Payload::ComponentImportSection(section) => {
                let rename = |name: &str| releases.rename(Direction::Import, name);
                data = items(component, section, rename)?.into();
            }
            Payload::ComponentExportSection(section) => {
                let rename = |name: &str| releases.rename(Direction::Export, name);
                data = items(component, section, rename)?.into();
            }
            _ => {}
        }
        copy.section(&RawSection { id, data: &data });
        Ok(())
    })?;
    Ok(copy.finish())
}

/// Calls `visit` with every section of the component itself, its id and where
/// its content is; what is nested in it is one section.
fn each_section<'a>(
    component: &'a [u8],
    mut visit: impl FnMut(&Payload<'a>, (u8, Range<usize>)) -> Result<(), BinaryReaderError>,
) -> Result<(), BinaryReaderError> {
    let mut depth = 0_u32;
    for payload in Parser::new(0).parse_all(component) {
        let payload = payload?;
        let section = if depth == 0 { payload.as_section() } else { None };
        match &payload {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            _ => {}
        }
        if let Some(section) = section {
            visit(&payload, section)?;
        }
    }
    Ok(())
}

/// The content of a section of imports or exports, each of which begins with its
/// name, with the new names.
fn items<'a, T: FromReader<'a>>(
    component: &'a [u8],
    section: &SectionLimited<'a, T>,
    rename: impl Fn(&str) -> Option<String>,
) -> Result<Vec<u8>, BinaryReaderError> {
    let starts: Vec<usize> = section
        .clone()
        .into_iter_with_offsets()
        .map(|item| item.map(|(start, _)| start))
        .collect::<Result<_, _>>()?;
    let ends = starts.iter().copied().skip(1).chain([section.range().end]);
    let mut copy = Vec::new();
    section.count().encode(&mut copy);
    for (start, end) in starts.iter().copied().zip(ends) {
        let item = component.get(start..end).unwrap_or_default();
        let mut reader = BinaryReader::new(item, start);
        let name: ComponentExternName<'_> = reader.read()?;
        match rename(name.name) {
            Some(renamed) => {
                copy.push(0);
                renamed.encode(&mut copy);
                copy.extend(item.get(reader.current_position()..).unwrap_or_default());
            }
            None => copy.extend(item),
        }
    }
    Ok(copy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{interface, module};

    fn adopted(text: &str) -> (Vec<String>, Vec<String>) {
        interface(&adopt(module(text).into()).unwrap())
    }

    #[test]
    fn imports_and_exports_of_the_candidate_get_the_names_of_the_release() {
        let (imports, exports) = adopted(
            r#"(component
                (import "wasi:clocks/types@0.3.0-rc-2026-03-15" (instance $types
                    (type $u64 u64)
                    (export "duration" (type (eq $u64)))))
                (alias export $types "duration" (type $duration))
                (import "wasi:clocks/monotonic-clock@0.3.0-rc-2026-03-15" (instance
                    (export "duration" (type (eq $duration)))
                    (export "now" (func (result u64)))))
                (import "wasi:cli/environment@0.2.0" (instance))
                (component $nested
                    (import "wasi:cli/environment@0.3.0-rc-2026-03-15" (instance)))
                (core module $m (func (export "f")))
                (core instance $c (instantiate $m))
                (func $f (canon lift (core func $c "f")))
                (instance $i (export "handle" (func $f)))
                (export "wasi:http/handler@0.3.0-rc-2026-03-15" (instance $i)))"#,
        );
        assert_eq!(
            imports,
            [
                "wasi:clocks/types@0.3.0",
                "wasi:clocks/monotonic-clock@0.3.0",
                "wasi:cli/environment@0.2.0"
            ]
        );
        assert_eq!(exports, ["wasi:http/handler@0.3.0"]);
    }

    #[test]
    fn a_component_that_knows_the_release_too_keeps_both_apart() {
        let (imports, _) = adopted(
            r#"(component
                (import "wasi:cli/environment@0.3.0" (instance))
                (import "wasi:cli/environment@0.3.0-rc-2026-03-15" (instance))
                (import "wasi:random/random@0.3.0-rc-2026-03-15" (instance)))"#,
        );
        assert_eq!(
            imports,
            [
                "wasi:cli/environment@0.3.0",
                "wasi:cli/environment@0.3.1",
                "wasi:random/random@0.3.1"
            ]
        );
    }

    #[test]
    fn of_earlier_candidates_only_what_has_not_changed_gets_other_names() {
        let (imports, exports) = adopted(
            r#"(component
                (import "wasi:cli/environment@0.3.0-rc-2026-01-06" (instance))
                (import "wasi:cli/environment@0.3.0-rc-2026-03-15" (instance))
                (import "wasi:cli/stdout@0.3.0-rc-2026-01-06" (instance))
                (import "wasi:http/handler@0.3.0-rc-2026-01-06" (instance))
                (import "wasi:clocks/wall-clock@0.3.0-rc-2025-09-16" (instance))
                (instance $i)
                (export "wasi:http/handler@0.3.0-rc-2026-01-06" (instance $i)))"#,
        );
        assert_eq!(
            imports,
            [
                "wasi:cli/environment@0.3.0",
                "wasi:cli/environment@0.3.1",
                "wasi:cli/stdout@0.3.0-rc-2026-01-06",
                "wasi:http/handler@0.3.0-rc-2026-01-06",
                "wasi:clocks/wall-clock@0.3.0-rc-2025-09-16"
            ]
        );
        assert_eq!(exports, ["wasi:http/handler@0.3.0"]);
    }

    #[test]
    fn other_components_are_left_as_they_are() {
        let text = r#"(component
            (import "wasi:cli/stdout@0.3.0-rc-2026-01-06" (instance))
            (import "wasi:random/random@0.2.0" (instance)))"#;
        let component = module(text);
        assert!(matches!(adopt((&component).into()).unwrap(), Cow::Borrowed(_)));
    }
}
