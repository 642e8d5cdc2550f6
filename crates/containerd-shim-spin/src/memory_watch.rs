//! Kills for want of memory: told when they happen, and what is left of them when
//! the container has ended; each once.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use container::cgroup::{Cgroup, OomWatch};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::sleep;

/// The kernel tells that it is going to kill before it counts the kill.
const COUNTED: Duration = Duration::from_millis(20);
/// How often the count is looked at after such a word.
const LOOKS: u32 = 10;

/// A cgroup's out-of-memory kills. Without a memory controller there are none.
#[derive(Debug)]
pub(crate) struct MemoryWatch {
    watching: Option<Watching>,
}

#[derive(Debug)]
struct Watching {
    watch: Mutex<OomWatch>,
    /// The watch's own descriptor once more.
    told: AsyncFd<OwnedFd>,
}

impl MemoryWatch {
    /// Watches a cgroup from now on; must be called on a tokio runtime.
    pub(crate) fn new(cgroup: Option<&Cgroup>) -> Self {
        let watching = cgroup.and_then(|cgroup| {
            Watching::new(cgroup)
                .inspect_err(|error| tracing::debug!(%error, "out-of-memory kills are not seen"))
                .ok()
        });
        Self { watching }
    }

    /// Resolves after a kill.
    pub(crate) async fn killed(&self) {
        let Some(watching) = &self.watching else { return std::future::pending().await };
        loop {
            // Fails only with the event loop itself.
            let Ok(mut told) = watching.told.readable().await else {
                return std::future::pending().await;
            };
            told.clear_ready();
            for _ in 0..LOOKS {
                if watching.new_kills() {
                    return;
                }
                sleep(COUNTED).await;
            }
        }
    }

    /// Whether there was a kill that [`MemoryWatch::killed`] has not told.
    pub(crate) fn untold(&self) -> bool {
        self.watching.as_ref().is_some_and(Watching::new_kills)
    }
}

impl Watching {
    fn new(cgroup: &Cgroup) -> anyhow::Result<Self> {
        let watch = cgroup.watch_oom()?;
        let descriptor = watch.as_fd().try_clone_to_owned()?;
        #[expect(
            deprecated,
            reason = "the descriptor is owned, so that this is sound; the \
                                       replacement is the same, but unsafe for the sake of others"
        )]
        let told = AsyncFd::with_interest(descriptor, Interest::READABLE)?;
        Ok(Self { watch: Mutex::new(watch), told })
    }

    fn new_kills(&self) -> bool {
        let mut watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        watch.new_kills().is_ok_and(|kills| kills > 0)
    }
}
