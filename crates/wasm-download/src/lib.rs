//! Wasm that a manifest names elsewhere, downloaded anew each time: by URL, or as a
//! package of a registry of the kind that `wkg` uses.
//!
//! Guarantees: what a URL gives has the digest that the manifest promises; what a
//! registry gives has the digest that its manifest promises. Nobody is asked with
//! credentials: packages must be public. Registries on this machine are reached over
//! plain HTTP, all others over TLS.

mod download;
mod oci;
mod package;

use app::manifest::Source;
use artifact::{Blob, BoxError};
use tokio::runtime::Builder;

use download::Download;

/// Fetches the Wasm of `source`. Blocks.
///
/// # Errors
///
/// The source is a file, nobody gives what it names, or something else arrives.
pub fn fetch(source: &Source) -> Result<Blob, BoxError> {
    // The thread that loads the app has a runtime of its own, which must not wait; and
    // it must be alone again before privileges are dropped.
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| -> Result<Blob, BoxError> {
            Builder::new_current_thread().enable_all().build()?.block_on(fetch_now(source))
        });
        thread.join().unwrap_or_else(|_| Err("the download was interrupted".into()))
    })
}

async fn fetch_now(source: &Source) -> Result<Blob, BoxError> {
    let download = Download::new();
    match source {
        Source::Path(_) => Err("a file needs no download".into()),
        Source::Url { url, digest } => {
            let (_, bytes) = download.get(url).await?;
            download::verified(&bytes, *digest).map_err(Into::into)
        }
        Source::Registry { registry, package, version } => {
            Ok(package::fetch(&download, registry.as_deref(), package, version).await?)
        }
    }
}

#[cfg(test)]
mod tests;
