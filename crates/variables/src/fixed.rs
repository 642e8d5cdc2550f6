//! Values from files.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// Values cannot be read from a file or folder.
#[derive(Debug, thiserror::Error)]
pub enum StaticError {
    /// It cannot be read; the reason names it.
    #[error("cannot read values of variables")]
    Read(#[source] io::Error),
    /// It is neither a table of strings in TOML nor an object of strings in JSON.
    /// Its text is not repeated: it may be secret.
    #[error("{} is not a TOML table or JSON object of strings", path.display())]
    Form {
        /// The file.
        path: PathBuf,
    },
}

/// The values in a file: a TOML table of strings, with the ending `.json` a JSON
/// object of strings. Of a folder every file whose name is a variable's gives its
/// content, without a line end at its end.
///
/// # Errors
///
/// The file or folder cannot be read or has another form.
pub fn read_static(path: &Path) -> Result<BTreeMap<String, String>, StaticError> {
    if path.is_dir() {
        return read_folder(path).map_err(StaticError::Read);
    }
    let text = fs_err::read_to_string(path).map_err(StaticError::Read)?;
    let is_json = path.extension().is_some_and(|extension| extension == "json");
    let values =
        if is_json { serde_json::from_str(&text).ok() } else { toml::from_str(&text).ok() };
    values.ok_or_else(|| StaticError::Form { path: path.to_owned() })
}

fn read_folder(folder: &Path) -> io::Result<BTreeMap<String, String>> {
    let mut values = BTreeMap::new();
    for entry in fs_err::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        // A mounted Secret has entries of the kubelet beside its keys.
        if app::template::check_variable_name(&name).is_ok() && entry.path().is_file() {
            let text = fs_err::read_to_string(entry.path())?;
            let text = text.strip_suffix('\n').unwrap_or(&text);
            values.insert(name, text.to_owned());
        }
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_both_forms_and_folders_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(&path, text).unwrap();
            path
        };
        let toml = write("values.toml", "a = \"1\"\nb = \"2\"");
        let json = write("values.json", r#"{"a": "1", "b": "2"}"#);
        write("secret/a", "1\n");
        write("secret/..data", "not a variable");
        let secret = write("secret/b", "2").with_file_name("");
        for path in [toml, json, secret] {
            let values = read_static(&path).unwrap();
            assert_eq!((values["a"].as_str(), values["b"].as_str()), ("1", "2"), "{path:?}");
            assert_eq!(values.len(), 2);
        }
    }

    #[test]
    fn what_is_not_understood_is_named_and_not_repeated() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("values.toml");
        assert!(read_static(&path).is_err());
        fs_err::write(&path, "password: hunter2").unwrap();
        let error = read_static(&path).unwrap_err().to_string();
        assert!(error.contains("values.toml") && !error.contains("hunter2"), "{error}");
    }
}
