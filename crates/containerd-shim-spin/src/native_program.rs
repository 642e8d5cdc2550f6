//! Whether a container's program is one of Linux, which decides without asking
//! containerd that the container is no Spin application.

use std::io::Read as _;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use containerd_task::RootfsMount;
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, openat, openat2};

use crate::outline::Outline;

/// Looks for the container's program in the layers of its root filesystem, without
/// mounting it. `false` also when it is not found for sure: then the image says
/// what the container is.
pub(crate) fn is_native(outline: &Outline, rootfs: &[RootfsMount]) -> bool {
    let programs = outline.programs();
    // The command of every Spin container under Kubernetes, which is no program.
    if programs.iter().all(|program| program == Path::new("/")) {
        return false;
    }
    let layers = layers(outline, rootfs);
    programs.iter().any(|program| layers.iter().any(|layer| starts_natively(layer, program)))
}

/// The folders that make the root filesystem, topmost first; none if that cannot be
/// told.
fn layers(outline: &Outline, rootfs: &[RootfsMount]) -> Vec<PathBuf> {
    match rootfs {
        [] => outline
            .root()
            .into_iter()
            .filter(|path| path.is_absolute())
            .map(Path::to_owned)
            .collect(),
        [mount] if matches!(mount.kind.as_str(), "bind" | "rbind") => {
            vec![PathBuf::from(&mount.source)]
        }
        [mount] if mount.kind == "overlay" => {
            // The upper layer is empty when a container is created.
            let options = mount.options.iter();
            let lists = options.filter_map(|option| option.strip_prefix("lowerdir="));
            lists.flat_map(|list| list.split(':')).map(PathBuf::from).collect()
        }
        _ => Vec::new(),
    }
}

/// Whether a layer has a regular file at this path that is a program or a script.
fn starts_natively(layer: &Path, program: &Path) -> bool {
    let mut start = [0; 4];
    let read =
        open_regular(layer, program).and_then(|file| std::fs::File::from(file).read(&mut start));
    match read {
        Ok(4) => start == *b"\x7fELF" || start.starts_with(b"#!"),
        Ok(count) => start.get(..count).is_some_and(|start| start.starts_with(b"#!")),
        Err(_) => false,
    }
}

/// Nothing but a regular file is ever opened: to open a device node has effects.
fn open_regular(layer: &Path, path: &Path) -> std::io::Result<OwnedFd> {
    let folder =
        openat(CWD, layer, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let beneath = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let place = openat2(&folder, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), beneath)?;
    if FileType::from_raw_mode(fstat(&place)?.st_mode) != FileType::RegularFile {
        return Err(std::io::ErrorKind::InvalidInput.into());
    }
    let again = format!("/proc/self/fd/{}", place.as_raw_fd());
    Ok(openat(CWD, again, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use serde_json::json;

    use super::*;

    fn layer(files: &[(&str, &[u8])]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in files {
            let path = folder.path().join(name);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, content).unwrap();
        }
        folder
    }

    fn overlay(layers: &[&tempfile::TempDir]) -> RootfsMount {
        let layers: Vec<_> = layers.iter().map(|layer| layer.path().to_str().unwrap()).collect();
        RootfsMount {
            kind: "overlay".to_owned(),
            source: "overlay".to_owned(),
            target: String::new(),
            options: vec!["index=off".to_owned(), format!("lowerdir={}", layers.join(":"))],
        }
    }

    fn bind(layer: &tempfile::TempDir) -> RootfsMount {
        RootfsMount {
            kind: "bind".to_owned(),
            source: layer.path().display().to_string(),
            target: String::new(),
            options: vec!["rbind".to_owned()],
        }
    }

    fn outline(program: &str) -> Outline {
        serde_json::from_value(json!({"process": {"args": [program], "cwd": "/"}})).unwrap()
    }

    #[test]
    fn a_program_or_script_in_any_layer_is_native() {
        let base = layer(&[("bin/busybox", b"\x7fELF\x02"), ("usr/bin/tool", b"#!/bin/sh\n")]);
        symlink("/bin/busybox", base.path().join("bin/sh")).unwrap();
        let top = layer(&[("app/server", b"\x7fELF\x02")]);
        for program in ["/bin/busybox", "sh", "tool", "/app/server", "app/server"] {
            assert!(is_native(&outline(program), &[overlay(&[&top, &base])]), "{program}");
        }
        assert!(is_native(&outline("sh"), &[bind(&base)]));
    }

    #[test]
    fn wasm_a_folder_a_missing_file_and_an_unknown_filesystem_are_not() {
        let layer = layer(&[("app.wasm", b"\0asm\x01\0\0\0"), ("bin/sh", b"\x7fELF"), ("a", b"#")]);
        for program in ["/", "", "/app.wasm", "/bin", "/missing", "/a"] {
            assert!(!is_native(&outline(program), &[bind(&layer)]), "{program}");
        }
        let unknown = RootfsMount { kind: "erofs".to_owned(), ..bind(&layer) };
        assert!(!is_native(&outline("/bin/sh"), &[unknown]));
        assert!(!is_native(&Outline::default(), &[bind(&layer)]));
    }

    #[test]
    fn neither_a_link_that_leads_out_nor_a_pipe_is_followed() {
        let layer = layer(&[("bin/x", b"")]);
        let path = layer.path().join("bin/out");
        symlink("../../../../../../bin/sh", path).unwrap();
        assert!(!is_native(&outline("/bin/out"), &[bind(&layer)]));
        let pipe = layer.path().join("bin/pipe");
        rustix::fs::mknodat(CWD, pipe, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        assert!(!is_native(&outline("/bin/pipe"), &[bind(&layer)]));
    }
}
