//! Requests to stop.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::RuntimeError;

/// SIGTERM and SIGINT. From the moment this is made they no longer end the
/// process by themselves, and none is lost: process 1 of a pid namespace would
/// otherwise never see them.
#[derive(Debug)]
pub struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    /// Starts to listen for them.
    ///
    /// # Errors
    /// Fails outside a tokio runtime.
    pub fn install() -> Result<Self, RuntimeError> {
        let install = |kind| {
            signal(kind)
                .map_err(|source| RuntimeError::Process { attempt: "listen for signals", source })
        };
        Ok(Self {
            terminate: install(SignalKind::terminate())?,
            interrupt: install(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next one.
    ///
    /// Cancel safety: a signal that arrives while nobody waits is kept.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
