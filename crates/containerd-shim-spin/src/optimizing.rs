//! Optimized code for applications that began on code of the first tier.

use std::os::fd::AsFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Component, Path};
use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};
use control::{Channel, FromRuntime, ToRuntime};
use process_setup::chain;
use rustix::fs::OFlags;

use crate::compilers::{Compilers, Tier};
use crate::conversation::FirstTier;
use crate::phases::Record;

/// Has optimized code made for each of `components` and the runtime use it, one after
/// the other. What fails leaves the component on the code it has.
pub(crate) async fn optimize(
    components: Vec<FirstTier>,
    channel: Arc<Channel>,
    compilers: Arc<Compilers>,
    record: Arc<Record>,
) {
    for first_tier in components {
        let component = first_tier.source.component.clone();
        match replace(first_tier, &channel, &compilers).await {
            Ok(()) => {
                record.runs(&component, Tier::Optimized);
                tracing::info!(component, "it runs on optimized code now");
            }
            Err(error) => tracing::warn!(
                component,
                "it goes on with code of the first tier: {}",
                chain(error.as_ref())
            ),
        }
    }
}

/// Has the runtime make new instances of one component from optimized code.
async fn replace(
    first_tier: FirstTier,
    channel: &Channel,
    compilers: &Compilers,
) -> anyhow::Result<()> {
    let FirstTier { source, entry } = first_tier;
    let digest = source.digest.clone();
    let code = match compilers.compile(source, Tier::Optimized).await {
        Ok(()) => open(compilers.cache_dir(), &entry).map_err(|error| chain(error.as_ref())),
        Err(error) => Err(error),
    };
    let (code, error) = match code {
        Ok(code) => (Some(code), None),
        Err(error) => (None, Some(error)),
    };
    let message = ToRuntime::Optimized { digest, error };
    channel.send(&message, code.as_ref().map(|code| code.as_fd())).await?;
    match channel.receive().await?.0 {
        FromRuntime::Replaced { error: None, .. } => Ok(()),
        FromRuntime::Replaced { error: Some(error), .. } => bail!("{error}"),
        _ => bail!("the runtime said something else"),
    }
}

/// Opens an entry of the cache for a process that has no access to it.
fn open(cache_dir: &Path, entry: &Path) -> anyhow::Result<std::fs::File> {
    let named = entry.components().all(|part| matches!(part, Component::Normal(_)));
    ensure!(named, "{} is no entry of the cache", entry.display());
    let path = cache_dir.join(entry);
    std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
        .open(&path)
        .with_context(|| format!("cannot open {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use containerd_task::Bundle;

    use super::*;
    use crate::compilers::Source;

    /// A cache in which the compiler, played by `true`, has already put the code.
    struct Fixture {
        folder: tempfile::TempDir,
        compilers: Arc<Compilers>,
        record: Arc<Record>,
    }

    impl Fixture {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            fs_err::write(folder.path().join("entry"), "code").unwrap();
            let locate = || Ok("/bin/true".into());
            let compilers = Compilers::new(Arc::new(locate), folder.path(), None);
            let record = Arc::new(Record::new(Bundle::new(folder.path())));
            record.runs("hello", Tier::First);
            Self { folder, compilers: Arc::new(compilers), record }
        }

        /// Optimizes a component whose code is at `entry`, for a runtime that answers
        /// with `replaced`; what the runtime got, and the tier that is recorded.
        async fn optimize(&self, entry: &str, replaced: Option<&str>) -> (ToRuntime, String, bool) {
            let (ours, theirs) = control::pair().unwrap();
            let (shim, runtime) = (Channel::new(ours).unwrap(), Channel::new(theirs).unwrap());
            let source = Source {
                digest: "sha256:1".to_owned(),
                component: "hello".to_owned(),
                bytes: tempfile::tempfile().unwrap().into(),
            };
            let components = vec![FirstTier { source, entry: entry.into() }];
            let (compilers, record) = (Arc::clone(&self.compilers), Arc::clone(&self.record));
            let optimizing = optimize(components, Arc::new(shim), compilers, record);
            let other_side = async {
                let (message, code) = runtime.receive::<ToRuntime>().await.unwrap();
                let error = replaced.map(str::to_owned);
                let digest = "sha256:1".to_owned();
                runtime.send(&FromRuntime::Replaced { digest, error }, None).await.unwrap();
                let mut text = String::new();
                if let Some(code) = code {
                    std::fs::File::from(code).read_to_string(&mut text).unwrap();
                }
                (message, text)
            };
            let ((), (message, code)) = tokio::join!(optimizing, other_side);
            let state = fs_err::read_to_string(self.folder.path().join("phases.json")).unwrap();
            (message, code, state.contains("optimized"))
        }
    }

    #[tokio::test]
    async fn the_runtime_gets_the_opened_entry_and_the_record_says_so() {
        let (message, code, optimized) = Fixture::new().optimize("entry", None).await;
        assert_eq!(code, "code");
        assert!(matches!(message, ToRuntime::Optimized { error: None, .. }), "{message:?}");
        assert!(optimized);
    }

    #[tokio::test]
    async fn what_the_runtime_refuses_stays_on_the_first_tier() {
        let (_, _, optimized) = Fixture::new().optimize("entry", Some("no room")).await;
        assert!(!optimized);
    }

    #[tokio::test]
    async fn the_runtime_hears_why_there_is_no_code() {
        let (message, code, optimized) =
            Fixture::new().optimize("missing", Some("there is none")).await;
        let ToRuntime::Optimized { error: Some(error), .. } = message else {
            panic!("{message:?}");
        };
        assert!(error.contains("missing"), "{error}");
        assert!(code.is_empty() && !optimized);
    }

    #[test]
    fn only_what_is_below_the_cache_is_opened() {
        let folder = tempfile::tempdir().unwrap();
        let cache = folder.path().join("cache");
        fs_err::create_dir(&cache).unwrap();
        fs_err::write(cache.join("entry"), "").unwrap();
        fs_err::write(folder.path().join("secret"), "").unwrap();
        fs_err::os::unix::fs::symlink("../secret", cache.join("link")).unwrap();
        assert!(open(&cache, Path::new("entry")).is_ok());
        for entry in ["../secret", "/etc/passwd", "link", "missing"] {
            let error = open(&cache, Path::new(entry)).unwrap_err().to_string();
            assert!(error.contains(entry), "{error}");
        }
    }
}
