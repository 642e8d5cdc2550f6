//! What is started, as images that containerd imports.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use artifact::layout::{Layout, LayoutWriter};
use artifact::pack::{Options, Packed, pack};
use artifact::{Artifact, assemble, local};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// The registry that exists only in names.
const REGISTRY: &str = "bench.local";

/// An image in a tar file.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    pub(crate) reference: String,
    pub(crate) file: PathBuf,
}

/// The name of an image of the benchmark.
pub(crate) fn reference(name: &str) -> String {
    format!("{REGISTRY}/{name}:1")
}

/// Packs an app; also writes the Wasm of its first component beside it, for
/// peers that take no image.
pub(crate) fn of_app(name: &str, app: &Path, folder: &Path) -> Result<(Image, PathBuf)> {
    let artifact = load(app).with_context(|| format!("cannot read the app {}", app.display()))?;
    let component = artifact.components.values().next().context("the app has no component")?;
    let wasm = folder.join(format!("{name}.wasm"));
    std::io::copy(&mut component.open_wasm()?, &mut fs_err::File::create(&wasm)?)?;
    let packed = if Layout::is_layout(app) {
        Layout::open(app)?.packed(None)?
    } else {
        pack(&artifact, &Options::default())?
    };
    let layout = folder.join(format!("{name}-layout"));
    write_layout(&packed, &reference(name), &layout)?;
    let file = folder.join(format!("{name}.tar"));
    tar_of(&layout, &file)?;
    Ok((Image { reference: reference(name), file }, wasm))
}

fn load(app: &Path) -> Result<Artifact> {
    if Layout::is_layout(app) {
        let layout = Layout::open(app)?;
        let image = layout.image(None)?;
        return assemble(&image, &layout)?.context("this is an ordinary image, not a Spin app");
    }
    let manifest = app.join("spin.toml");
    if manifest.is_file() {
        return Ok(local::load(&manifest, None)?);
    }
    match app.extension().and_then(|extension| extension.to_str()) {
        Some("toml") => Ok(local::load(app, None)?),
        Some("wasm") => Ok(local::load_wasm(app)?),
        _ => bail!("expected a folder with a spin.toml, a .wasm file or an OCI image layout"),
    }
}

fn write_layout(packed: &Packed, reference: &str, folder: &Path) -> Result<()> {
    let writer = LayoutWriter::create(folder)?;
    for (_, blob) in &packed.blobs {
        writer.add(blob)?;
    }
    let manifest = packed.manifest_json.read_verified(u64::MAX)?;
    writer.finish(Some(reference), &manifest)?;
    Ok(())
}

fn tar_of(folder: &Path, file: &Path) -> Result<()> {
    let mut tar = tar::Builder::new(fs_err::File::create(file)?);
    tar.append_dir_all(".", folder)?;
    tar.finish()?;
    Ok(())
}

/// An ordinary image with nothing but one static program in it.
pub(crate) fn of_program(name: &str, program: &Path, folder: &Path) -> Result<Image> {
    ensure!(program.is_file(), "{} does not exist", program.display());
    let layout = folder.join(format!("{name}-layout"));
    let blobs = layout.join("blobs/sha256");
    fs_err::create_dir_all(&blobs)?;
    let store = |bytes: &[u8]| -> Result<String> {
        let digest = hex::encode(Sha256::digest(bytes));
        fs_err::write(blobs.join(&digest), bytes)?;
        Ok(format!("sha256:{digest}"))
    };
    let layer = layer_with(program)?;
    let layer_digest = store(&layer)?;
    let config = json!({
        "architecture": architecture(),
        "os": "linux",
        "config": { "Entrypoint": ["/server"] },
        "rootfs": { "type": "layers", "diff_ids": [layer_digest] },
    })
    .to_string();
    let descriptor = |kind: &str, digest: &str, size: usize| -> Value {
        let media_type = format!("application/vnd.oci.image.{kind}");
        json!({ "mediaType": media_type, "digest": digest, "size": size })
    };
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("config.v1+json", &store(config.as_bytes())?, config.len()),
        "layers": [descriptor("layer.v1.tar", &layer_digest, layer.len())],
    })
    .to_string();
    let mut entry = descriptor("manifest.v1+json", &store(manifest.as_bytes())?, manifest.len());
    let names = json!({
        "io.containerd.image.name": reference(name),
        "org.opencontainers.image.ref.name": "1",
    });
    if let Some(fields) = entry.as_object_mut() {
        fields.insert("annotations".to_owned(), names);
    }
    let index = json!({ "schemaVersion": 2, "manifests": [entry] });
    fs_err::write(layout.join("index.json"), index.to_string())?;
    fs_err::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?;
    let file = folder.join(format!("{name}.tar"));
    tar_of(&layout, &file)?;
    Ok(Image { reference: reference(name), file })
}

fn layer_with(program: &Path) -> Result<Vec<u8>> {
    let mut header = tar::Header::new_ustar();
    let mut content = fs_err::File::open(program)?;
    header.set_size(content.metadata()?.len());
    header.set_mode(0o755);
    header.set_mtime(0);
    let mut tar = tar::Builder::new(Vec::new());
    tar.append_data(&mut header, "server", &mut content)?;
    Ok(tar.into_inner()?)
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_becomes_an_image_whose_digests_fit() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("program");
        fs_err::write(&program, "\u{7f}ELF").unwrap();
        let image = of_program("native", &program, folder.path()).unwrap();
        assert_eq!(image.reference, "bench.local/native:1");
        let layout = Layout::open(&image.file).unwrap();
        let read = layout.image(None).unwrap();
        assert_eq!(read.manifest.layers.len(), 1);
    }
}
