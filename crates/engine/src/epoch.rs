//! The clock that interrupts guests.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;
use std::{io, thread};

use wasmtime::{Engine, EngineWeak};

/// How long one epoch lasts: the precision of every deadline on guest code.
pub const TICK: Duration = Duration::from_millis(10);

/// How many epochs cover `duration`: at least one, and never less time than
/// asked for.
pub fn ticks(duration: Duration) -> u64 {
    // One more, since the epoch in progress may end at any moment.
    let whole = duration.as_nanos().div_ceil(TICK.as_nanos());
    u64::try_from(whole).unwrap_or(u64::MAX / 4).saturating_add(1)
}

/// Advances an engine's epoch every [`TICK`] while guests run.
///
/// One thread per ticker; it sleeps without waking while nothing runs, so an
/// idle app costs no processor time. The thread ends when the ticker is dropped.
#[derive(Debug)]
pub struct EpochTicker {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    running: AtomicUsize,
    ended: Mutex<bool>,
    changed: Condvar,
}

impl EpochTicker {
    /// Starts the ticker of `engine`.
    ///
    /// # Errors
    /// Fails when the system cannot start a thread.
    pub fn start(engine: &Engine) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let (in_thread, engine) = (Arc::clone(&shared), engine.weak());
        thread::Builder::new()
            .name("epoch".to_owned())
            .stack_size(64 << 10)
            .spawn(move || in_thread.tick(&engine))?;
        Ok(Self { shared })
    }

    /// Keeps the epoch advancing until the returned value is dropped. Cheap: one
    /// atomic operation unless it is the first.
    pub fn running(&self) -> Running {
        let shared = Arc::clone(&self.shared);
        if shared.running.fetch_add(1, Ordering::SeqCst) == 0 {
            // The lock orders this before or after the thread's own look at the
            // count, so that it cannot fall asleep in between.
            drop(shared.ended.lock().unwrap_or_else(PoisonError::into_inner));
            shared.changed.notify_one();
        }
        Running { shared }
    }
}

impl Drop for EpochTicker {
    fn drop(&mut self) {
        *self.shared.ended.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.shared.changed.notify_one();
    }
}

/// While this lives, deadlines pass. See [`EpochTicker::running`].
#[derive(Debug)]
pub struct Running {
    shared: Arc<Shared>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shared.running.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Shared {
    fn tick(&self, engine: &EngineWeak) {
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            ended = self
                .changed
                .wait_while(ended, |ended| !*ended && self.running.load(Ordering::SeqCst) == 0)
                .unwrap_or_else(PoisonError::into_inner);
            if *ended {
                return;
            }
            drop(ended);
            thread::sleep(TICK);
            let Some(engine) = engine.upgrade() else { return };
            engine.increment_epoch();
            ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_rounded_up() {
        assert_eq!(ticks(Duration::ZERO), 1);
        assert_eq!(ticks(Duration::from_millis(1)), 2);
        assert_eq!(ticks(Duration::from_millis(100)), 11);
        assert!(ticks(Duration::MAX) > 1 << 40);
    }

    #[cfg(feature = "compile")]
    mod with_guests {
        use std::time::Instant;

        use wasmtime::{Instance, Module, Store};

        use super::*;

        /// Runs a guest that never ends by itself; how long the deadline of one
        /// epoch took to stop it, `patience` at most.
        fn stopped_after(engine: &Engine, patience: Duration) -> Duration {
            let endless = wat::parse_str("(module (func (export \"run\") (loop br 0)))").unwrap();
            let module = Module::new(engine, endless).unwrap();
            let mut store = Store::new(engine, ());
            let instance = Instance::new(&mut store, &module, &[]).unwrap();
            let run = instance.get_typed_func::<(), ()>(&mut store, "run").unwrap();
            store.set_epoch_deadline(1);
            let started = Instant::now();
            let stopper = engine.clone();
            let stop = thread::spawn(move || {
                thread::sleep(patience);
                stopper.increment_epoch();
            });
            run.call(&mut store, ()).unwrap_err();
            let elapsed = started.elapsed();
            stop.join().unwrap();
            elapsed
        }

        #[test]
        fn a_guest_is_interrupted_while_something_runs_and_the_clock_rests_otherwise() {
            let engine = Engine::new(&crate::config().unwrap()).unwrap();
            let ticker = EpochTicker::start(&engine).unwrap();
            let patience = Duration::from_millis(500);
            assert!(stopped_after(&engine, patience) >= patience);
            let running = ticker.running();
            assert!(stopped_after(&engine, patience) < patience);
            drop(running);
            thread::sleep(5 * TICK);
            assert!(stopped_after(&engine, patience) >= patience);
        }
    }
}
