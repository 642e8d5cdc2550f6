//! Release candidates of WASI 0.3 that the release kept as they were.
//!
//! Between the candidate of 2026-03-15, which Spin 4.0 hosts, and 0.3.0 nothing
//! changed but the version in the names of the interfaces. Hosts match versions
//! with a suffix exactly, so the names that a component imports and exports get a
//! version of 0.3 here. The candidates before it had other signatures and stay
//! as they are.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ops::Range;

use wasm_encoder::{Encode as _, RawSection};
use wasmparser::{
    BinaryReader, BinaryReaderError, ComponentExternName, FromReader, Parser, Payload,
    SectionLimited,
};

/// The end of the names of the candidate that became the release.
const CANDIDATE: &str = "@0.3.0-rc-2026-03-15";

/// Gives what `component` imports and exports of the candidate the names of a
/// release of WASI 0.3: of 0.3.0, or of the first compatible version that it
/// does not name beside the candidate.
///
/// # Errors
/// `component` is truncated or damaged.
pub(crate) fn adopt(component: Cow<'_, [u8]>) -> Result<Cow<'_, [u8]>, BinaryReaderError> {
    let names = names(&component)?;
    let candidates: BTreeSet<&str> =
        names.iter().filter_map(|name| name.strip_suffix(CANDIDATE)).collect();
    if candidates.is_empty() {
        return Ok(component);
    }
    let free = |patch: &usize| {
        !candidates.iter().any(|name| names.contains(format!("{name}@0.3.{patch}").as_str()))
    };
    // Of more numbers than names, one is free.
    let version = format!("@0.3.{}", (0..=names.len()).find(free).unwrap_or_default());
    renamed(&component, &version).map(Cow::Owned)
}

/// The names of everything that `component` imports and exports itself.
fn names(component: &[u8]) -> Result<BTreeSet<&str>, BinaryReaderError> {
    let mut names = BTreeSet::new();
    each_section(component, |payload, _| {
        match payload {
            Payload::ComponentImportSection(section) => {
                for import in section.clone() {
                    names.insert(import?.name.name);
                }
            }
            Payload::ComponentExportSection(section) => {
                for export in section.clone() {
                    names.insert(export?.name.name);
                }
            }
            _ => {}
        }
        Ok(())
    })?;
    Ok(names)
}

/// Copies `component` with `version` in the place of [`CANDIDATE`].
fn renamed(component: &[u8], version: &str) -> Result<Vec<u8>, BinaryReaderError> {
    let mut copy = wasm_encoder::Component::new();
    each_section(component, |payload, whole| {
        let (id, range) = whole;
        let mut data = Cow::Borrowed(component.get(range).unwrap_or_default());
        match payload {
            Payload::ComponentImportSection(section) => {
                data = items(component, section, version)?.into();
            }
            Payload::ComponentExportSection(section) => {
                data = items(component, section, version)?.into();
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
    version: &str,
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
        match name.name.strip_suffix(CANDIDATE) {
            Some(interface) => {
                copy.push(0);
                format!("{interface}{version}").encode(&mut copy);
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
    fn other_candidates_and_other_components_are_left_as_they_are() {
        let text = r#"(component
            (import "wasi:cli/environment@0.3.0-rc-2026-01-06" (instance))
            (import "wasi:random/random@0.2.0" (instance)))"#;
        let component = module(text);
        assert!(matches!(adopt((&component).into()).unwrap(), Cow::Borrowed(_)));
    }
}
