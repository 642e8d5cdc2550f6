//! `spinlet version`.

use crate::console::print;

/// Prints the version.
pub(crate) fn run() -> anyhow::Result<()> {
    print(concat!("spinlet ", env!("CARGO_PKG_VERSION")))?;
    Ok(())
}
