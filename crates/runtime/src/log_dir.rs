//! Where copies of what guests write go.

use std::path::{Path, PathBuf};

use host::Output;
use runtime_config::Folder;

use crate::RuntimeError;

/// `output`, copied to the folder that the environment asks for, otherwise to the one
/// of the runtime configuration, if it has one. The folder is made.
///
/// # Errors
///
/// It cannot be made, or nothing can be written there.
pub fn copied(
    output: Output,
    asked: Option<PathBuf>,
    configured: Option<&Folder>,
) -> Result<Output, RuntimeError> {
    let Some(folder) = choose(asked, configured) else { return Ok(output) };
    prepare(&folder).map_err(RuntimeError::LogDir)?;
    Ok(output.copied_to(folder))
}

fn choose(asked: Option<PathBuf>, configured: Option<&Folder>) -> Option<PathBuf> {
    asked.or_else(|| match configured {
        Some(Folder::At(folder)) => Some(folder.clone()),
        Some(Folder::Nowhere) | None => None,
    })
}

/// Makes the folder, and sees that a file can be made there.
fn prepare(folder: &Path) -> std::io::Result<()> {
    fs_err::create_dir_all(folder)?;
    let probe = folder.join(format!(".writable-{}", std::process::id()));
    fs_err::File::create(&probe)?;
    fs_err::remove_file(probe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_wins_and_nowhere_is_nowhere() {
        let at = |path: &str| Folder::At(path.into());
        assert_eq!(choose(Some("/a".into()), Some(&at("/b"))), Some("/a".into()));
        assert_eq!(choose(None, Some(&at("/b"))), Some("/b".into()));
        assert_eq!(choose(None, Some(&Folder::Nowhere)), None);
        assert_eq!(choose(None, None), None);
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let place = tempfile::tempdir().unwrap();
        fs_err::write(place.path().join("file"), "").unwrap();
        let folder = place.path().join("file/logs");
        let output = Output::new(Box::new(std::io::sink()), Box::new(std::io::sink()));
        let error = copied(output, Some(folder.clone()), None).err().unwrap();
        let text = process_setup::chain(&error);
        assert!(text.contains(&folder.display().to_string()), "{text}");
    }
}
