//! Images that have been pulled: one OCI image layout per reference, below
//! `<state dir>/images`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use registry::{Pulled, Reference};

use crate::console::Console;
use crate::environment::Environment;
use crate::registry_arguments::RegistryArguments;

/// Unfinished files older than this belong to no running pull.
const ABANDONED: Duration = Duration::from_hours(24);

/// Pulls a reference, or what has changed of it, and tells its layout.
pub(crate) async fn pull(
    reference: &Reference,
    arguments: &RegistryArguments,
    environment: &Environment,
    console: &Console,
) -> anyhow::Result<(PathBuf, Pulled)> {
    let layout = folder(&environment.state_dir, reference);
    prepare(&layout)?;
    match pull_into(reference, &layout, arguments, environment, console).await {
        Ok(pulled) => {
            remove_unused(&layout, &pulled);
            Ok((layout, pulled))
        }
        Err(error) => {
            // Nothing was transferred: a mistyped reference leaves nothing behind.
            if !layout.join("blobs").exists() {
                let _ = fs_err::remove_dir_all(&layout);
            }
            Err(error)
        }
    }
}

/// Makes an empty layout of a new folder: whole blobs of a pull that breaks off
/// then stay for the next attempt.
fn prepare(layout: &Path) -> anyhow::Result<()> {
    let index = layout.join("index.json");
    if !index.exists() {
        fs_err::create_dir_all(layout)?;
        fs_err::write(layout.join("oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        fs_err::write(index, br#"{"schemaVersion":2,"manifests":[]}"#)?;
    }
    Ok(())
}

/// Pulls a reference into a folder.
pub(crate) async fn pull_into(
    reference: &Reference,
    layout: &Path,
    arguments: &RegistryArguments,
    environment: &Environment,
    console: &Console,
) -> anyhow::Result<Pulled> {
    let registry = arguments.registry(environment)?;
    let transfer = console.transfer(format!("Pulling {reference}"));
    let pulled = registry.pull(reference, layout, &|event| transfer.observe(event)).await?;
    transfer.done(&format!("Pulled {reference}"), pulled.transferred);
    Ok(pulled)
}

/// The layout of a reference. An `@` occurs in no repository name, so that the
/// layout of one reference never lies inside that of another.
fn folder(state_dir: &Path, reference: &Reference) -> PathBuf {
    let version = reference.digest().or(reference.tag()).unwrap_or("latest");
    state_dir
        .join("images")
        .join(reference.registry())
        .join(format!("{}@{version}", reference.repository()))
}

/// Removes blobs of what the tag named earlier. What cannot be removed stays.
fn remove_unused(layout: &Path, pulled: &Pulled) {
    let used: BTreeSet<String> = std::iter::once(&pulled.manifest.config)
        .chain(&pulled.manifest.layers)
        .chain([&pulled.descriptor])
        .map(|blob| blob.digest.to_hex())
        .collect();
    let Ok(entries) = fs_err::read_dir(layout.join("blobs/sha256")) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let removable =
            if name.starts_with('.') { is_abandoned(&entry.path()) } else { !used.contains(&name) };
        if removable {
            let _ = fs_err::remove_file(entry.path());
        }
    }
}

fn is_abandoned(path: &Path) -> bool {
    fs_err::metadata(path)
        .and_then(|metadata| metadata.modified())
        .ok()
        .and_then(|modified| SystemTime::now().duration_since(modified).ok())
        .is_some_and(|age| age > ABANDONED)
}

#[cfg(test)]
mod tests {
    use artifact::{Descriptor, ImageManifest};
    use registry::parse_reference;

    use super::*;

    #[test]
    fn every_reference_has_a_folder_of_its_own() {
        let folder = |text: &str| folder(Path::new("/s"), &parse_reference(text).unwrap());
        assert_eq!(
            folder("localhost:5000/me/app:v1"),
            Path::new("/s/images/localhost:5000/me/app@v1")
        );
        let digest = format!("sha256:{}", "0".repeat(64));
        assert_eq!(
            folder(&format!("ghcr.io/app:v1@{digest}")),
            PathBuf::from(format!("/s/images/ghcr.io/app@{digest}"))
        );
        assert!(!folder("r.io/a/b:blobs").starts_with(folder("r.io/a:b")));
    }

    #[test]
    fn blobs_that_nothing_names_are_removed_and_unfinished_ones_kept() {
        let layout = tempfile::tempdir().unwrap();
        let blobs = layout.path().join("blobs/sha256");
        fs_err::create_dir_all(&blobs).unwrap();
        let describe = |text: &str| Descriptor::new("x", app::Digest::of(text), 1);
        let (manifest, config, old) = (describe("m"), describe("c"), describe("o"));
        for blob in [&manifest, &config, &old] {
            fs_err::write(blobs.join(blob.digest.to_hex()), "x").unwrap();
        }
        fs_err::write(blobs.join(".partial-1"), "x").unwrap();
        let pulled = Pulled {
            descriptor: manifest.clone(),
            manifest: ImageManifest {
                schema_version: 2,
                media_type: None,
                artifact_type: None,
                config: config.clone(),
                layers: Vec::new(),
                annotations: std::collections::BTreeMap::new(),
            },
            registry: "r".into(),
            transferred: 0,
        };
        remove_unused(layout.path(), &pulled);
        let there = |name: &str| blobs.join(name).exists();
        assert!(there(&manifest.digest.to_hex()) && there(&config.digest.to_hex()));
        assert!(there(".partial-1") && !there(&old.digest.to_hex()));
    }
}
