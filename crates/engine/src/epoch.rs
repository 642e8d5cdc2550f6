//! The clock that interrupts guests.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;
use std::{io, thread};

use wasmtime::{Engine, EngineWeak};

/// How long one epoch lasts: the precision of every deadline on guest code.
pub const TICK: Duration = Duration::from_millis(10);

/// How long nothing must have run until an engine counts as idle.
const IDLE: Duration = Duration::from_secs(5);

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
/// idle app costs no processor time. It wakes once more when nothing has run for
/// five seconds, for what is to be done then. The thread ends when the ticker is
/// dropped.
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
    /// Starts the ticker of `engine`. `when_idle` is called on its thread after each
    /// time in which something ran.
    ///
    /// # Errors
    /// Fails when the system cannot start a thread.
    pub fn start(engine: &Engine, when_idle: fn()) -> io::Result<Self> {
        Self::start_with(engine, when_idle, IDLE)
    }

    fn start_with(engine: &Engine, when_idle: fn(), idle: Duration) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let (in_thread, engine) = (Arc::clone(&shared), engine.weak());
        thread::Builder::new()
            .name("epoch".to_owned())
            .stack_size(64 << 10)
            .spawn(move || in_thread.tick(&engine, when_idle, idle))?;
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

/// What a ticker's thread has to do.
enum Next {
    /// Advance the epoch.
    Running,
    /// What is to be done when nothing runs any more.
    Idle,
    /// Nothing, ever again.
    Ended,
}

impl Shared {
    fn tick(&self, engine: &EngineWeak, when_idle: fn(), idle: Duration) {
        let mut has_run = false;
        loop {
            match self.next(has_run.then_some(idle)) {
                Next::Ended => return,
                Next::Idle => {
                    when_idle();
                    has_run = false;
                }
                Next::Running => {
                    has_run = true;
                    thread::sleep(TICK);
                    let Some(engine) = engine.upgrade() else { return };
                    engine.increment_epoch();
                }
            }
        }
    }

    /// Waits until something runs, or until nothing has for as long as `idle` says.
    fn next(&self, idle: Option<Duration>) -> Next {
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let rests = |ended: &mut bool| !*ended && self.running.load(Ordering::SeqCst) == 0;
        let (ended, is_idle) = if let Some(idle) = idle {
            let waited = self.changed.wait_timeout_while(ended, idle, rests);
            let (ended, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            (ended, timeout.timed_out())
        } else {
            let waited = self.changed.wait_while(ended, rests);
            (waited.unwrap_or_else(PoisonError::into_inner), false)
        };
        match (*ended, is_idle) {
            (true, _) => Next::Ended,
            (false, true) => Next::Idle,
            (false, false) => Next::Running,
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

    #[test]
    fn a_ticker_says_once_that_nothing_runs_any_more() {
        static CALLS: AtomicUsize = AtomicUsize::new(0);
        let engine = Engine::new(&crate::config().unwrap()).unwrap();
        let when_idle = || {
            CALLS.fetch_add(1, Ordering::SeqCst);
        };
        let ticker = EpochTicker::start_with(&engine, when_idle, TICK).unwrap();
        let calls_after = |ticks| {
            thread::sleep(ticks * TICK);
            CALLS.load(Ordering::SeqCst)
        };
        assert_eq!(calls_after(5), 0, "nothing has run yet");
        let running = ticker.running();
        assert_eq!(calls_after(5), 0, "something runs");
        drop(running);
        assert_eq!(calls_after(30), 1);
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
            let ticker = EpochTicker::start(&engine, || ()).unwrap();
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
