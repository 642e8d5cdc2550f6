//! The folders that instances of a component see.

use std::path::{Path, PathBuf};

use wasmtime_wasi::filesystem::WasiFilesystemCtx;
use wasmtime_wasi::{FsPerms, WasiCtx};

/// The folders that instances of one component see, read-only.
///
/// They are opened once, when this is made. It may therefore be made while the
/// folders have paths and be used when they no longer have any: after the process
/// has entered a container.
#[derive(Clone, Default)]
pub struct GuestFiles {
    context: WasiFilesystemCtx,
}

/// A folder cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot open the folder {} for guests", path.display())]
pub struct GuestFilesError {
    path: PathBuf,
    source: Box<dyn std::error::Error + Send + Sync>,
}

impl GuestFiles {
    /// Opens folders, each given with the path at which guests see it.
    ///
    /// # Errors
    ///
    /// Names the folder that cannot be opened.
    pub fn open<'a>(
        folders: impl IntoIterator<Item = (&'a Path, &'a str)>,
    ) -> Result<Self, GuestFilesError> {
        let mut builder = WasiCtx::builder();
        for (path, guest) in folders {
            builder
                .preopened_dir(path, guest, FsPerms::ReadOnly)
                .map_err(|error| GuestFilesError { path: path.to_owned(), source: error.into() })?;
        }
        Ok(Self { context: builder.build().filesystem().clone() })
    }

    /// Gives an instance its view.
    pub(crate) fn give_to(&self, context: &mut WasiCtx) {
        *context.filesystem() = self.context.clone();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_cannot_be_opened_is_named() {
        let error = GuestFiles::open([(Path::new("/nonexistent/assets"), "/")]).err().unwrap();
        assert_eq!(error.to_string(), "cannot open the folder /nonexistent/assets for guests");
    }

    #[test]
    fn folders_are_opened_once_and_need_no_path_afterwards() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("assets");
        fs_err::create_dir(&path).unwrap();
        let files = GuestFiles::open([(path.as_path(), "/")]).unwrap();
        fs_err::remove_dir(&path).unwrap();
        files.give_to(&mut WasiCtx::builder().build());
    }
}
