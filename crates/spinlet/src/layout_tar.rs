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
