//! Apps on this machine.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, bail};
use app::manifest::{Component, Manifest, Source};
use artifact::layout::Layout;
use artifact::{Artifact, assemble, local};
use control::AppSource;

use crate::arguments::KeyValue;
use crate::subject::Subject;

/// Loads an app with what its components are made of, which may be downloaded.
pub(crate) fn load(subject: &Subject) -> anyhow::Result<Artifact> {
    match subject {
        Subject::Manifest(path) => {
            check_built(path)?;
            Ok(local::load(path, Some(&wasm_download::fetch))?)
        }
        Subject::Wasm(path) => Ok(local::load_wasm(path)?),
        Subject::Layout(path) => load_layout(path),
        Subject::Reference(reference) => bail!("there is no file or folder `{reference}`"),
    }
}

/// Loads the only app of an OCI image layout.
pub(crate) fn load_layout(path: &Path) -> anyhow::Result<Artifact> {
    let layout = Layout::open(path)?;
    let image = layout.image(None)?;
    assemble(&image, &layout)?
        .with_context(|| format!("{} holds an ordinary image, not a Spin app", path.display()))
}

/// Tells how to build components whose Wasm is not there yet.
pub(crate) fn check_built(manifest: &Path) -> anyhow::Result<()> {
    let text = fs_err::read(manifest)?;
    let parsed = Manifest::parse(&text)
        .with_context(|| format!("the manifest {} is not valid", manifest.display()))?;
    let folder = manifest.parent().unwrap_or(Path::new("."));
    let missing: Vec<String> = parsed
        .components
        .iter()
        .filter_map(|(id, component)| missing(folder, id, component))
        .collect();
    if missing.is_empty() { Ok(()) } else { bail!("{}", missing.join("; ")) }
}

/// Refuses values for variables that the app does not have: most likely their
/// names are misspelt.
pub(crate) fn check_variables(source: &AppSource, given: &[KeyValue]) -> anyhow::Result<()> {
    if given.is_empty() {
        return Ok(());
    }
    let variables = match source {
        AppSource::Manifest(path) => Manifest::parse(&fs_err::read(path)?)?.variables,
        AppSource::Layout(path) => load_layout(path)?.app.variables,
        AppSource::Wasm(_) | AppSource::Containerd { .. } => BTreeMap::new(),
    };
    let unknown: Vec<&str> = given
        .iter()
        .map(|variable| variable.key.as_str())
        .filter(|name| !variables.contains_key(*name))
        .collect();
    if unknown.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = variables.keys().map(String::as_str).collect();
    let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    bail!("the app has no variable {}; it has: {names}", unknown.join(", "))
}

fn missing(folder: &Path, id: &str, component: &Component) -> Option<String> {
    let Source::Path(source) = &component.source else { return None };
    let path = folder.join(source);
    if path.exists() {
        return None;
    }
    let field = |name: &str| component.build.as_ref().and_then(|build| build.get(name));
    let command = field("command").map(|command| match command {
        serde_json::Value::Array(commands) => {
            commands.iter().filter_map(|command| command.as_str()).collect::<Vec<_>>().join(" && ")
        }
        command => command.as_str().unwrap_or_default().to_owned(),
    });
    let workdir = field("workdir").and_then(|workdir| workdir.as_str()).unwrap_or(".");
    let folder = folder.join(workdir);
    Some(match command.filter(|command| !command.is_empty()) {
        Some(command) => format!(
            "component {id} is not built yet, {} does not exist: run `{command}` in {}",
            path.display(),
            folder.components().as_path().display()
        ),
        None => format!(
            "the Wasm of component {id} does not exist: put it at {}, or mend its `source`",
            path.display()
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<(), String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("spin.toml");
        fs_err::write(folder.path().join("there.wasm"), b"\0asm").unwrap();
        fs_err::write(&path, text).unwrap();
        check_built(&path).map_err(|error| format!("{error:#}"))
    }

    fn manifest(source: &str, build: &str) -> String {
        format!(
            "spin_manifest_version = 2\n[application]\nname = \"x\"\n\
             [[trigger.http]]\nroute = \"/...\"\ncomponent = \"hello\"\n\
             [component.hello]\nsource = \"{source}\"\n{build}"
        )
    }

    #[test]
    fn a_built_app_passes() {
        check(&manifest("there.wasm", "")).unwrap();
    }

    #[test]
    fn the_build_command_is_named() {
        let build = "[component.hello.build]\ncommand = \"cargo build\"\nworkdir = \"api\"";
        let error = check(&manifest("out/hello.wasm", build)).unwrap_err();
        assert!(error.contains("component hello is not built yet"), "{error}");
        assert!(error.contains("run `cargo build` in /") && error.ends_with("/api"), "{error}");
    }

    #[test]
    fn without_a_build_command_the_place_is_named() {
        let error = check(&manifest("out/hello.wasm", "")).unwrap_err();
        assert!(error.contains("out/hello.wasm, or mend its `source`"), "{error}");
    }

    #[test]
    fn a_variable_that_the_app_does_not_have_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("spin.toml");
        let variables = "[variables]\ngreeting = { default = \"\" }";
        fs_err::write(&path, manifest("there.wasm", variables)).unwrap();
        let check = |name: &str| {
            let given = KeyValue { key: name.to_owned(), value: String::new() };
            check_variables(&AppSource::Manifest(path.clone()), &[given])
        };
        check("greeting").unwrap();
        let error = check("greting").unwrap_err().to_string();
        assert_eq!(error, "the app has no variable greting; it has: greeting");
    }

    #[test]
    fn a_manifest_that_cannot_be_read_is_named() {
        let error = check("spin_manifest_version = 2\n[application]\n").unwrap_err();
        assert!(error.contains("spin.toml is not valid"), "{error}");
    }
}
