//! The files of a component: patterns, placements and exclusions.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use app::Problems;
use app::check_file_path;
use app::manifest::{Component, FileMount};
use globset::{Glob, GlobBuilder, GlobSet, GlobSetBuilder};

use super::base::Base;
use crate::artifact::{FileContent, FileEntry, Mount};
use crate::blob::Blob;
use crate::limits;

/// The files and mounts of a component, noting everything that is wrong.
pub(super) fn collect(
    base: &Base,
    component: &Component,
    problems: &mut Problems,
) -> (Vec<FileEntry>, Vec<Mount>) {
    match base {
        Base::Folder(folder) => (copied(folder, component, problems), Vec::new()),
        Base::Rootfs { .. } => (Vec::new(), mounted(base, component, problems)),
    }
}

/// Folders that are mounted as they are.
fn mounted(base: &Base, component: &Component, problems: &mut Problems) -> Vec<Mount> {
    if !component.exclude_files.is_empty() {
        problems.push("`exclude_files` is not supported in a container image");
    }
    let mut mounts = Vec::new();
    for mount in &component.files {
        let (source, destination) = match mount {
            FileMount::Pattern(pattern) => (pattern, pattern),
            FileMount::Placement { source, destination } => (source, destination),
        };
        let guest = format!("/{}", destination.trim_matches('/'));
        if guest != "/"
            && let Err(error) = check_file_path(guest.trim_start_matches('/'))
        {
            problems.push(error.to_string());
            continue;
        }
        match base.folder_inside(source) {
            Ok(host) => mounts.push(Mount { host, guest }),
            Err(error) => problems.push(format!(
                "only folders can be mounted from a container image, as {{ source, destination }}; \
                 {source:?} is not one ({error})"
            )),
        }
    }
    mounts
}

/// Files to be copied.
fn copied(folder: &Path, component: &Component, problems: &mut Problems) -> Vec<FileEntry> {
    let exclude = match exclusions(&component.exclude_files) {
        Ok(exclude) => exclude,
        Err(error) => {
            problems.push(error);
            return Vec::new();
        }
    };
    let mut found = Found { folder, exclude, files: BTreeMap::new(), met: 0 };
    for mount in &component.files {
        let outcome = match mount {
            FileMount::Pattern(pattern) => found.pattern(pattern),
            FileMount::Placement { source, destination } => found.place(source, destination),
        };
        if let Err(problem) = outcome {
            problems.push(problem);
        }
    }
    let mut entries = Vec::with_capacity(found.files.len());
    for (path, file) in found.files {
        match entry(path, &file) {
            Ok(entry) => entries.push(entry),
            Err(problem) => problems.push(problem),
        }
    }
    entries
}

fn entry(path: String, file: &Path) -> Result<FileEntry, String> {
    check_file_path(&path).map_err(|error| error.to_string())?;
    let blob = Blob::edited(file).map_err(|error| error.to_string())?;
    if blob.size() > limits::FILE_BYTES {
        let limit = limits::FILE_BYTES;
        return Err(format!("{} is larger than the {limit} bytes allowed", file.display()));
    }
    Ok(FileEntry { path, digest: blob.digest(), content: FileContent::Blob(blob) })
}

/// Files found so far, by the path at which the guest sees them.
struct Found<'a> {
    folder: &'a Path,
    exclude: GlobSet,
    files: BTreeMap<String, PathBuf>,
    met: usize,
}

impl Found<'_> {
    /// A path or glob pattern; files keep their paths.
    fn pattern(&mut self, pattern: &str) -> Result<(), String> {
        let last = pattern.rsplit('/').next().unwrap_or(pattern);
        if last == "." || last == ".." {
            return Err(format!(
                "file pattern {pattern:?} must not end in {last:?}; use {{ source, destination }} \
                 or a pattern that ends in `**/*`"
            ));
        }
        let clean = clean(pattern);
        let path = self.folder.join(&clean);
        if path.is_file() {
            return self.add(clean, path);
        }
        if path.is_dir() {
            return self.walk(&path, &clean, &mut Vec::new(), &|_| true);
        }
        if !clean.contains(['*', '?', '[']) {
            return Err(format!("file {pattern:?} does not exist and is not a pattern"));
        }
        let matcher = glob(&clean, true).map_err(|error| error.to_string())?.compile_matcher();
        // Only the folder that the pattern's fixed beginning names is searched.
        let fixed: Vec<_> =
            clean.split('/').take_while(|name| !name.contains(['*', '?', '['])).collect();
        let start = fixed.join("/");
        let accepts = |path: &str| matcher.is_match(path);
        self.walk(&self.folder.join(&start), &start, &mut Vec::new(), &accepts)
    }

    /// A file or folder that appears at `destination`.
    fn place(&mut self, source: &str, destination: &str) -> Result<(), String> {
        let path = self.folder.join(source);
        let guest = destination.trim_start_matches('/');
        if path.is_dir() {
            let mut inside = Found {
                folder: &path,
                exclude: GlobSet::empty(),
                files: BTreeMap::new(),
                met: self.met,
            };
            inside.walk(&path, "", &mut Vec::new(), &|_| true)?;
            let (files, met) = (inside.files, inside.met);
            self.met = met;
            let (source, guest) = (clean(source), clean(guest));
            for (relative, file) in files {
                if !self.exclude.is_match(join(&source, &relative)) {
                    self.add(join(&guest, &relative), file)?;
                }
            }
            return Ok(());
        }
        if !path.exists() {
            return Err(format!("file or folder {source:?} does not exist"));
        }
        if guest.is_empty() || guest.ends_with(['/', '.']) {
            return Err(format!(
                "{destination:?} is not a valid destination for the file {source:?}: it must name \
                 a file"
            ));
        }
        self.add(guest.to_owned(), path)
    }

    /// All files below `folder` that `matches` accepts by their path, which starts
    /// with `prefix`. Links to folders are followed, but not round in circles.
    fn walk(
        &mut self,
        folder: &Path,
        prefix: &str,
        above: &mut Vec<(u64, u64)>,
        matches: &dyn Fn(&str) -> bool,
    ) -> Result<(), String> {
        use std::os::unix::fs::MetadataExt;

        if !folder.is_dir() {
            return Ok(());
        }
        let metadata = fs_err::metadata(folder).map_err(|error| error.to_string())?;
        let identity = (metadata.dev(), metadata.ino());
        if above.contains(&identity) {
            return Ok(());
        }
        above.push(identity);
        for entry in fs_err::read_dir(folder).map_err(|error| error.to_string())? {
            let entry = entry.map_err(|error| error.to_string())?;
            self.met += 1;
            if self.met > limits::WALKED_ENTRIES {
                return Err(format!(
                    "{} has more than {} entries below it",
                    self.folder.display(),
                    limits::WALKED_ENTRIES
                ));
            }
            let name = entry.file_name();
            let Some(name) = name.to_str() else {
                return Err(format!("the name of {} is not UTF-8", entry.path().display()));
            };
            let path = join(prefix, name);
            let file = entry.path();
            if file.is_dir() {
                self.walk(&file, &path, above, matches)?;
            } else if file.is_file() && matches(&path) && !self.exclude.is_match(&path) {
                self.add(path, file)?;
            }
        }
        above.pop();
        Ok(())
    }

    fn add(&mut self, path: String, file: PathBuf) -> Result<(), String> {
        if self.files.len() >= limits::FILES {
            return Err(format!("there are more than {} files", limits::FILES));
        }
        self.files.insert(path, file);
        Ok(())
    }
}

/// A path or pattern without `.` and empty names.
fn clean(path: &str) -> String {
    let start = if path.starts_with('/') { "/" } else { "" };
    let names: Vec<_> = path.split('/').filter(|name| !matches!(*name, "" | ".")).collect();
    format!("{start}{}", names.join("/"))
}

fn join(prefix: &str, name: &str) -> String {
    if prefix.is_empty() { name.to_owned() } else { format!("{prefix}/{name}") }
}

/// The files to leave out. Here `*` also matches `/`.
fn exclusions(patterns: &[String]) -> Result<GlobSet, String> {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        let glob = glob(&clean(pattern), false)
            .map_err(|error| format!("exclude_files pattern {error}"))?;
        set.add(glob);
    }
    set.build().map_err(|error| error.to_string())
}

/// A pattern of `*`, `?`, `[…]` and `**`; braces and backslashes are ordinary.
fn glob(pattern: &str, literal_separator: bool) -> Result<Glob, globset::Error> {
    let mut escaped = String::with_capacity(pattern.len());
    let mut in_class = false;
    for character in pattern.chars() {
        match character {
            '{' | '}' if !in_class => escaped.extend(['[', character, ']']),
            other => {
                in_class = other == '[' || (in_class && other != ']');
                escaped.push(other);
            }
        }
    }
    GlobBuilder::new(&escaped).literal_separator(literal_separator).backslash_escape(false).build()
}
