//! Ctrl-C and SIGTERM end a run between two steps, so that it can clean up.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result};
use tokio::signal::unix::{SignalKind, signal};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Set once the run shall end.
pub(crate) fn flag() -> &'static AtomicBool {
    &INTERRUPTED
}

/// Begins to listen for the signals, on a thread of its own.
pub(crate) fn listen() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let signals = || {
        Ok::<_, std::io::Error>((
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
        ))
    };
    let (mut interrupt, mut terminate) =
        runtime.block_on(async { signals() }).context("cannot handle signals")?;
    std::thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        });
        INTERRUPTED.store(true, Ordering::Relaxed);
    });
    Ok(())
}
