//! The filesystem's own options as mount(2) takes them: one page of text at most.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

/// The most that the kernel reads, with the end of the text.
const PAGE: usize = 4096;
/// An overlay's list of layers, separated by colons.
const LAYERS: &str = "lowerdir";

/// The options as one text. When that is too long, which only a list of layers
/// makes it, the layers are named through a descriptor of the folder that has them
/// all; it must stay open until they are mounted.
pub(super) fn mount_data(
    options: &[(String, Option<String>)],
) -> Result<(String, Option<OwnedFd>), Errno> {
    let plain = joined(options);
    let layers =
        options.iter().find(|(key, _)| key == LAYERS).and_then(|(_, value)| value.as_ref());
    match layers {
        Some(layers) if plain.len() >= PAGE => {
            let Some(ancestor) = common_ancestor(layers) else { return Ok((plain, None)) };
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let folder = rustix::fs::openat(CWD, &ancestor, flags, Mode::empty())?;
            let through = format!("/proc/self/fd/{}", folder.as_raw_fd());
            Ok((joined(&renamed(options, &ancestor, &through)), Some(folder)))
        }
        _ => Ok((plain, None)),
    }
}

fn joined(options: &[(String, Option<String>)]) -> String {
    let option = |(key, value): &(String, Option<String>)| match value {
        Some(value) => format!("{key}={value}"),
        None => key.clone(),
    };
    options.iter().map(option).collect::<Vec<_>>().join(",")
}

/// The deepest folder that every layer is below, if there are layers and it is not `/`.
pub(super) fn folder_of_layers(options: &[(String, Option<String>)]) -> Option<PathBuf> {
    options.iter().find(|(key, _)| key == LAYERS)?.1.as_deref().and_then(common_ancestor)
}

/// The deepest folder that every layer is below.
fn common_ancestor(layers: &str) -> Option<PathBuf> {
    let mut layers = layers.split(':').map(Path::new);
    let mut ancestor = layers.next()?.parent()?;
    for layer in layers {
        while !layer.starts_with(ancestor) {
            ancestor = ancestor.parent()?;
        }
    }
    (ancestor != Path::new("/")).then(|| ancestor.to_owned())
}

/// The options with the layers' paths below `ancestor` starting with `name`.
pub(super) fn renamed(
    options: &[(String, Option<String>)],
    ancestor: &Path,
    name: &str,
) -> Vec<(String, Option<String>)> {
    let ancestor = ancestor.display().to_string();
    let rename = |layer: &str| match layer.strip_prefix(ancestor.as_str()) {
        Some(rest) => format!("{name}{rest}"),
        None => layer.to_owned(),
    };
    let rename_all = |(key, value): &(String, Option<String>)| {
        let value = value.as_ref().map(|value| match key.as_str() {
            LAYERS => value.split(':').map(rename).collect::<Vec<_>>().join(":"),
            _ => value.clone(),
        });
        (key.clone(), value)
    };
    options.iter().map(rename_all).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn overlay(layers: &[String]) -> Vec<(String, Option<String>)> {
        vec![
            ("index".to_owned(), Some("off".to_owned())),
            ("userxattr".to_owned(), None),
            (LAYERS.to_owned(), Some(layers.join(":"))),
        ]
    }

    #[test]
    fn a_short_list_of_layers_is_given_as_it_is() {
        let (data, folder) =
            mount_data(&overlay(&["/a/1/fs".to_owned(), "/a/2/fs".to_owned()])).unwrap();
        assert_eq!(data, "index=off,userxattr,lowerdir=/a/1/fs:/a/2/fs");
        assert!(folder.is_none());
    }

    #[test]
    fn a_list_longer_than_a_page_goes_through_the_folder_of_all_layers() {
        let folder = tempfile::tempdir().unwrap();
        let snapshots = folder.path().join("a-name-long-enough-for-a-page/snapshots");
        fs_err::create_dir_all(&snapshots).unwrap();
        let layers: Vec<String> = (0..120)
            .map(|n| snapshots.join(n.to_string()).join("fs").display().to_string())
            .collect();
        let (data, folder) = mount_data(&overlay(&layers)).unwrap();
        let through = format!("/proc/self/fd/{}", folder.as_ref().unwrap().as_raw_fd());
        assert!(data.len() < PAGE, "{}", data.len());
        assert!(
            data.starts_with(&format!("index=off,userxattr,lowerdir={through}/0/fs:")),
            "{data}"
        );
        assert!(data.ends_with(&format!("{through}/119/fs")), "{data}");
    }

    #[test]
    fn layers_that_share_no_folder_stay_as_they_are() {
        assert_eq!(common_ancestor("/a/1:/b/2"), None);
        assert_eq!(common_ancestor("/a/b/1/fs:/a/c/2/fs"), Some(PathBuf::from("/a")));
    }
}
