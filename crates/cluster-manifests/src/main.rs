//! Writes `runtimeclass/`: every object once, as separate files, as one file, as
//! a kustomization and as a Helm chart, all from the same description.
//!
//! `cluster-manifests` writes into the repository; `--check` only compares, and
//! fails when a file is not what it would write.

mod bundle;
mod objects;
mod yaml;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Parser;
use fs_err as fs;

/// Writes the manifests of a cluster.
#[derive(Debug, Parser)]
struct Arguments {
    /// Only compare.
    #[arg(long)]
    check: bool,
    /// The registry, with the path in it, that the images are pulled from.
    #[arg(long, default_value = bundle::REGISTRY)]
    registry: String,
    /// The folder to write.
    #[arg(default_value = "runtimeclass")]
    folder: PathBuf,
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    for (path, text) in bundle::files(&arguments.registry)? {
        let path = arguments.folder.join(path);
        if arguments.check {
            check(&path, &text)?;
        } else {
            let folder = path.parent().context("a file without a folder")?;
            fs::create_dir_all(folder)?;
            fs::write(&path, text)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn check(path: &Path, text: &str) -> anyhow::Result<()> {
    if fs::read_to_string(path)? != text {
        bail!("{} is not up to date; run `cargo run -p cluster-manifests`", path.display());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_in_the_repository_are_those_that_would_be_written() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../runtimeclass");
        for (path, text) in bundle::files(bundle::REGISTRY).unwrap() {
            check(&folder.join(path), &text).unwrap();
        }
    }
}
