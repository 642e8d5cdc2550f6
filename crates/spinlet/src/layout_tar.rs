//! An OCI image layout in one tar file.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::Path;

use registry::Pulled;

/// Writes the image that was just pulled into `layout` to a tar file. The same
/// image always gives the same bytes; the file appears whole or not at all.
pub(crate) fn write(layout: &Path, pulled: &Pulled, file: &Path) -> anyhow::Result<()> {
    let folder = match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    fs_err::create_dir_all(folder)?;
    let mut temporary = tempfile::Builder::new()
        .prefix(".incoming-")
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
        .tempfile_in(folder)?;
    archive(layout, pulled, &mut temporary)?;
    temporary.persist(file)?;
    Ok(())
}

fn archive(layout: &Path, pulled: &Pulled, output: &mut impl Write) -> io::Result<()> {
    let blobs: BTreeSet<String> = std::iter::once(&pulled.manifest.config)
        .chain(&pulled.manifest.layers)
        .chain([&pulled.descriptor])
        .map(|blob| format!("blobs/sha256/{}", blob.digest.to_hex()))
        .collect();
    let mut tar = tar::Builder::new(output);
    let documents = ["oci-layout".to_owned(), "index.json".to_owned()];
    for name in documents.into_iter().chain(blobs) {
        let mut content = fs_err::File::open(layout.join(&name))?;
        let mut header = tar::Header::new_ustar();
        header.set_size(content.metadata()?.len());
        header.set_mode(0o644);
        header.set_mtime(0);
        tar.append_data(&mut header, &name, &mut content)?;
    }
    tar.into_inner()?.flush()
}

#[cfg(test)]
mod tests {
    use artifact::layout::{Layout, LayoutWriter};
    use artifact::pack::{Options, pack};

    use super::*;

    #[test]
    fn the_tar_file_holds_the_image_and_is_always_the_same() {
        let root = tempfile::tempdir().unwrap();
        let wasm = root.path().join("hello.wasm");
        fs_err::write(&wasm, b"\0asm\x0d\0\x01\0").unwrap();
        let app = artifact::local::load_wasm(&wasm).unwrap();
        let packed = pack(&app, &Options::default()).unwrap();
        let layout = root.path().join("layout");
        let writer = LayoutWriter::create(&layout).unwrap();
        for (_, blob) in &packed.blobs {
            writer.add(blob).unwrap();
        }
        let json = packed.manifest_json.read_verified(u64::MAX).unwrap();
        writer.finish(Some("hello:v1"), &json).unwrap();
        let digest = packed.manifest_json.digest();
        let pulled = Pulled {
            descriptor: artifact::Descriptor::new("m", digest, json.len() as u64),
            manifest: packed.manifest,
            registry: "r".into(),
            transferred: 0,
        };
        let files = ["one.tar", "two/two.tar"].map(|name| root.path().join(name));
        for file in &files {
            write(&layout, &pulled, file).unwrap();
            let layout = Layout::open(file).unwrap();
            assert_eq!(layout.image(Some("hello:v1")).unwrap().digest, digest);
        }
        let [one, two] = files.map(|file| fs_err::read(file).unwrap());
        assert_eq!(one, two);
    }
}
