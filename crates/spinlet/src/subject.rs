//! What a command is about: something on this machine or an image reference.

use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use registry::{Reference, parse_reference};

/// What `PATH|REFERENCE` turned out to be. Paths are absolute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Subject {
    /// A `spin.toml`.
    Manifest(PathBuf),
    /// A single Wasm file.
    Wasm(PathBuf),
    /// An OCI image layout, a folder or a tar file.
    Layout(PathBuf),
    /// An image in a registry.
    Reference(Reference),
}

/// Decides what a text means. What exists on this machine comes first; a text
/// that does not is taken for a reference only when it reads like one.
pub(crate) fn decide(text: &str) -> anyhow::Result<Subject> {
    let path = Path::new(text);
    match fs_err::metadata(path) {
        Ok(metadata) => {
            let path = std::path::absolute(path)?;
            if metadata.is_dir() { folder(&path) } else { file(&path) }
        }
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            reference(text)
        }
        // No image reference looks like a path that may not be read.
        Err(_) if reads_like_reference(text) => reference(text),
        Err(error) => Err(error.into()),
    }
}

/// Like [`decide`], where only something on this machine will do.
pub(crate) fn decide_local(text: &str) -> anyhow::Result<Subject> {
    match decide(text) {
        Ok(local @ (Subject::Manifest(_) | Subject::Wasm(_) | Subject::Layout(_))) => Ok(local),
        Err(error) if Path::new(text).exists() => Err(error),
        Ok(Subject::Reference(_)) | Err(_) => bail!("there is no file or folder `{text}`"),
    }
}

fn folder(path: &Path) -> anyhow::Result<Subject> {
    let manifest = path.join("spin.toml");
    if manifest.is_file() {
        return Ok(Subject::Manifest(manifest));
    }
    if path.join("oci-layout").is_file() || path.join("index.json").is_file() {
        return Ok(Subject::Layout(path.to_owned()));
    }
    bail!(
        "folder {} has no spin.toml and is no OCI image layout: name the folder of an app",
        path.display()
    )
}

fn file(path: &Path) -> anyhow::Result<Subject> {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    match extension {
        "toml" => return Ok(Subject::Manifest(path.to_owned())),
        "wasm" => return Ok(Subject::Wasm(path.to_owned())),
        "tar" => return Ok(Subject::Layout(path.to_owned())),
        _ => {}
    }
    if starts_with(path, 0, b"\0asm")? {
        return Ok(Subject::Wasm(path.to_owned()));
    }
    if starts_with(path, 257, b"ustar")? {
        return Ok(Subject::Layout(path.to_owned()));
    }
    bail!(
        "{} is neither a spin.toml, nor a Wasm file, nor the tar file of an OCI image layout",
        path.display()
    )
}

fn starts_with(path: &Path, offset: u64, wanted: &[u8]) -> anyhow::Result<bool> {
    let mut file = fs_err::File::open(path)?;
    file.seek(SeekFrom::Start(offset))?;
    let mut found = Vec::new();
    file.take(wanted.len() as u64).read_to_end(&mut found)?;
    Ok(found == wanted)
}

fn reference(text: &str) -> anyhow::Result<Subject> {
    if !reads_like_reference(text) {
        if reads_like_path(text) {
            bail!("there is no file or folder `{text}`, and it is no image reference");
        }
        bail!(
            "there is no file or folder `{text}`, and it is no image reference, which names its \
             registry or a tag, for example ghcr.io/me/{name}:v1",
            name = text.rsplit('/').find(|name| !name.is_empty()).unwrap_or("app")
        );
    }
    let reference = parse_reference(text)
        .with_context(|| format!("`{text}` is no file or folder on this machine either"));
    Ok(Subject::Reference(reference?))
}

fn reads_like_path(text: &str) -> bool {
    let extension = Path::new(text).extension().and_then(|extension| extension.to_str());
    text.is_empty()
        || text.starts_with(['/', '.', '~'])
        || text.ends_with('/')
        || text.contains(['\\', ' '])
        || matches!(extension, Some("toml" | "wasm" | "tar"))
}

/// A registry, a tag or a digest tells a reference from a mistyped path:
/// `examples/hello` is rather a folder than something on Docker Hub.
fn reads_like_reference(text: &str) -> bool {
    if reads_like_path(text) && !text.contains("://") {
        return false;
    }
    let names_registry = text.split_once('/').is_some_and(|(host, _)| {
        host == "localhost" || host.contains(['.', ':']) || host.starts_with('[')
    });
    names_registry || text.contains([':', '@'])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        format!("{:#}", decide(text).unwrap_err())
    }

    #[test]
    fn a_registry_a_tag_or_a_digest_makes_a_reference() {
        let digest = format!("sha256:{}", "0".repeat(64));
        for text in [
            "ghcr.io/me/app",
            "localhost:5000/app",
            "localhost/app:v1",
            "127.0.0.1:5000/team/app:v1",
            "[::1]:5000/app:v1",
            "me/app:v1",
            &format!("me/app@{digest}"),
        ] {
            assert!(matches!(decide(text), Ok(Subject::Reference(_))), "{text}");
        }
    }

    #[test]
    fn a_mistyped_path_is_not_looked_up_on_docker_hub() {
        for text in ["examples/helo-rust", "hello", "./app", "/no/such/app", "app/spin.toml"] {
            assert!(error(text).contains("no image reference"), "{text}");
        }
        assert!(error("hello").contains("ghcr.io/me/hello:v1"));
        assert!(!error("./hello").contains("ghcr.io"));
    }

    #[test]
    fn a_broken_reference_says_what_is_wrong_with_it() {
        assert!(error("https://ghcr.io/me/app").contains("leave out the part up to `://`"));
        assert!(error("ghcr.io/me/App").contains("lower case"));
    }

    #[test]
    fn a_folder_is_an_app_or_a_layout() {
        let folder = tempfile::tempdir().unwrap();
        let text = folder.path().to_str().unwrap().to_owned();
        assert!(error(&text).contains("has no spin.toml and is no OCI image layout"));
        fs_err::write(folder.path().join("oci-layout"), "{}").unwrap();
        assert!(matches!(decide(&text), Ok(Subject::Layout(path)) if path == folder.path()));
        fs_err::write(folder.path().join("spin.toml"), "").unwrap();
        let manifest = folder.path().join("spin.toml");
        assert!(matches!(decide(&text), Ok(Subject::Manifest(path)) if path == manifest));
    }

    #[test]
    fn a_file_is_known_by_its_name_or_else_by_its_content() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, content: &[u8]| {
            let path = folder.path().join(name);
            fs_err::write(&path, content).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let mut tar = vec![0; 512];
        tar[257..262].copy_from_slice(b"ustar");
        assert!(matches!(decide(&write("my.toml", b"")), Ok(Subject::Manifest(_))));
        assert!(matches!(decide(&write("a.wasm", b"")), Ok(Subject::Wasm(_))));
        assert!(matches!(decide(&write("a.tar", b"")), Ok(Subject::Layout(_))));
        assert!(matches!(decide(&write("plain", b"\0asm\x01\0\0\0")), Ok(Subject::Wasm(_))));
        assert!(matches!(decide(&write("image", &tar)), Ok(Subject::Layout(_))));
        assert!(error(&write("notes.txt", b"hi")).contains("is neither a spin.toml"));
    }

    #[test]
    fn where_a_local_app_is_needed_a_reference_is_a_missing_file() {
        for text in ["ghcr.io/me/app:v1", "hello"] {
            let error = decide_local(text).unwrap_err().to_string();
            assert_eq!(error, format!("there is no file or folder `{text}`"));
        }
    }
}
