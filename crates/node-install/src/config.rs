//! containerd's configuration, edited as TOML: what is not ours stays as it is
//! written.

use std::path::PathBuf;

use toml_edit::{DocumentMut, Item, Table, TableLike, value};

use crate::HANDLERS;

/// How the handlers are written down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Runtime {
    /// The absolute path of the shim on the node: containerd's own search path is
    /// not depended on.
    pub(crate) program: String,
    /// Whether a list of handlers takes the place of containerd's own, as in 1.7.
    pub(crate) replaces_default: bool,
}

/// containerd's configuration cannot be edited.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeTableError {
    /// Not TOML.
    #[error("it is not valid TOML")]
    Syntax(#[from] toml_edit::TomlError),
    /// A version that is not known.
    #[error("its `version` is {0}, expected a number from 1 to 4")]
    Version(String),
    /// Something else stands where a table has to be.
    #[error("`{0}` is not a table")]
    NotATable(String),
    /// containerd has no CRI plugin, so the kubelet does not use it.
    #[error(
        "the plugin `cri` is disabled by `disabled_plugins`; remove it there, because Kubernetes \
         needs it"
    )]
    CriDisabled,
    /// Somebody else's handler of the same name.
    #[error(
        "it registers the handler `{handler}` for {program} already; remove that installation \
         first"
    )]
    Foreign {
        /// The handler.
        handler: String,
        /// What it starts.
        program: String,
    },
}

/// What containerd runs pods with that ask for nothing else.
const DEFAULT_HANDLER: &str = "runc";

/// The version that a configuration is written in; a file without one is of
/// version 1.
pub(crate) fn version(document: &DocumentMut) -> Result<u8, RuntimeTableError> {
    let Some(item) = document.get("version") else { return Ok(1) };
    let number = item.as_integer().and_then(|number| u8::try_from(number).ok());
    let known = number.filter(|number| (1..=4).contains(number));
    known.ok_or_else(|| RuntimeTableError::Version(item.to_string().trim().to_owned()))
}

/// The plugin whose table holds the runtimes, by the configuration's version.
pub(crate) fn plugin(version: u8) -> &'static str {
    match version {
        1 => "cri",
        2 => "io.containerd.grpc.v1.cri",
        _ => "io.containerd.cri.v1.runtime",
    }
}

/// Reads a configuration and checks that handlers can be added to it.
pub(crate) fn parse(text: &str) -> Result<DocumentMut, RuntimeTableError> {
    let document: DocumentMut = text.parse()?;
    version(&document)?;
    let disabled = document.get("disabled_plugins").and_then(Item::as_array);
    let disabled = disabled.into_iter().flatten().filter_map(|name| name.as_str());
    for name in disabled {
        if name == "cri" || name.starts_with("io.containerd.") && name.contains(".cri") {
            return Err(RuntimeTableError::CriDisabled);
        }
    }
    Ok(document)
}

/// The first folder of which a configuration imports all TOML files.
pub(crate) fn drop_in_folder(document: &DocumentMut) -> Option<PathBuf> {
    let imports = document.get("imports").and_then(Item::as_array);
    let mut patterns = imports.into_iter().flatten().filter_map(|pattern| pattern.as_str());
    patterns.find_map(|pattern| {
        let folder = pattern.strip_suffix("/*.toml")?;
        (folder.starts_with('/') && !folder.contains('*')).then(|| PathBuf::from(folder))
    })
}

/// Adds the handlers, or corrects them. A handler that starts something else is
/// refused: two installations would take each other's turn.
pub(crate) fn add(document: &mut DocumentMut, runtime: &Runtime) -> Result<(), RuntimeTableError> {
    let version = version(document)?;
    for handler in HANDLERS {
        refuse_foreign(document, version, handler, runtime)?;
    }
    let runtimes = runtimes_mut(document, version)?;
    if runtime.replaces_default && runtimes.is_empty() {
        runtimes.insert(DEFAULT_HANDLER, Item::Table(default_runtime()));
    }
    for handler in HANDLERS {
        let entry = runtimes.entry(handler).or_insert_with(|| Item::Table(Table::new()));
        let table = table_of(entry, handler)?;
        table.insert("runtime_type", value("io.containerd.spin.v2"));
        table.insert("runtime_path", value(&runtime.program));
    }
    Ok(())
}

/// The handler that containerd has without a list, as it would have it: without
/// it no other pod would start.
fn default_runtime() -> Table {
    let mut table = Table::new();
    table.insert("runtime_type", value("io.containerd.runc.v2"));
    table
        .decor_mut()
        .set_prefix("\n# containerd's own default, which a list of others replaces.\n");
    table
}

/// Removes the handlers that start a program, and tables that only held them.
pub(crate) fn remove(document: &mut DocumentMut, runtime: &Runtime) {
    let Ok(version) = version(document) else { return };
    for handler in HANDLERS {
        if started_by(document, version, handler).as_ref() == Some(&runtime.program) {
            let path = [&["plugins", plugin(version), "containerd", "runtimes"][..], &[handler]];
            remove_at(document.as_table_mut(), &path.concat());
        }
    }
}

/// Removes what a path leads to, and each table on the way that is empty then.
fn remove_at(table: &mut dyn TableLike, path: &[&str]) {
    let Some((first, rest)) = path.split_first() else { return };
    if rest.is_empty() {
        table.remove(first);
    } else if let Some(inner) = table.get_mut(first).and_then(Item::as_table_like_mut) {
        remove_at(inner, rest);
        if inner.is_empty() {
            table.remove(first);
        }
    }
}

fn refuse_foreign(
    document: &DocumentMut,
    version: u8,
    handler: &str,
    runtime: &Runtime,
) -> Result<(), RuntimeTableError> {
    match started_by(document, version, handler) {
        Some(program) if program != runtime.program => {
            Err(RuntimeTableError::Foreign { handler: handler.to_owned(), program })
        }
        _ => Ok(()),
    }
}

/// What a handler starts: its path, or its type when it has none.
pub(crate) fn started_by(document: &DocumentMut, version: u8, handler: &str) -> Option<String> {
    let path = ["plugins", plugin(version), "containerd", "runtimes", handler];
    let mut table: &dyn TableLike = document.as_table();
    for name in path {
        table = table.get(name)?.as_table_like()?;
    }
    let text = |name: &str| table.get(name).and_then(Item::as_str).map(str::to_owned);
    text("runtime_path").filter(|path| !path.is_empty()).or_else(|| text("runtime_type"))
}

fn runtimes_mut(
    document: &mut DocumentMut,
    version: u8,
) -> Result<&mut dyn TableLike, RuntimeTableError> {
    let mut table: &mut dyn TableLike = document.as_table_mut();
    for name in ["plugins", plugin(version), "containerd", "runtimes"] {
        let implicit = || {
            let mut table = Table::new();
            // Only the tables with something in them get a line of their own.
            table.set_implicit(true);
            Item::Table(table)
        };
        let entry = table.entry(name).or_insert_with(implicit);
        table = table_of(entry, name)?;
    }
    Ok(table)
}

fn table_of<'a>(
    item: &'a mut Item,
    name: &str,
) -> Result<&'a mut dyn TableLike, RuntimeTableError> {
    item.as_table_like_mut().ok_or_else(|| RuntimeTableError::NotATable(name.to_owned()))
}

/// A file of its own with the handlers, in a version.
pub(crate) fn fragment(version: u8, runtime: &Runtime) -> Result<String, RuntimeTableError> {
    let mut document = DocumentMut::new();
    // A file without a version is of version 1.
    if version > 1 {
        document.insert("version", value(i64::from(version)));
    }
    add(&mut document, runtime)?;
    Ok(format!("# Written by spinlet; `spinlet uninstall` removes it.\n{document}"))
}

#[cfg(test)]
mod tests;
