//! Compilations that the runtime waits for, one at a time: each of them may use
//! every processor and much memory.

use std::collections::VecDeque;
use std::fs::File;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;

use control::ToRuntime;

use crate::compiler::Compiler;
use crate::console::{Console, bytes};

/// One compilation.
pub(super) struct Job {
    pub(super) digest: String,
    pub(super) component: String,
    pub(super) size: u64,
    pub(super) source: File,
    pub(super) purpose: Purpose,
}

/// What code is compiled for.
pub(super) enum Purpose {
    /// The app starts on it; code of the first tier is enough where the compiler
    /// makes some.
    Start,
    /// The app has started on code of the first tier.
    Replacement {
        /// Where optimized code will be in the cache.
        entry: PathBuf,
    },
}

/// What to tell the runtime, and the code for it.
type Outcome = (ToRuntime, Option<File>);

/// The compilations of one app.
pub(super) struct Jobs<'a> {
    compiler: Compiler,
    console: &'a Console,
    waiting: VecDeque<Job>,
    running: Option<Pin<Box<dyn Future<Output = Outcome> + 'a>>>,
}

impl<'a> Jobs<'a> {
    pub(super) fn new(compiler: Compiler, console: &'a Console) -> Self {
        Self { compiler, console, waiting: VecDeque::new(), running: None }
    }

    pub(super) fn push(&mut self, job: Job) {
        self.waiting.push_back(job);
    }

    /// Ends what runs and forgets what waits.
    pub(super) fn cancel(&mut self) {
        self.waiting.clear();
        self.running = None;
    }

    /// Waits for the end of a compilation; forever when there is none.
    ///
    /// Cancel safety: the compilation goes on.
    pub(super) async fn next(&mut self) -> Outcome {
        if self.running.is_none()
            && let Some(job) = self.waiting.pop_front()
        {
            self.running = Some(Box::pin(run(self.compiler.clone(), self.console, job)));
        }
        let Some(running) = &mut self.running else {
            return std::future::pending().await;
        };
        let outcome = running.await;
        self.running = None;
        outcome
    }
}

async fn run(compiler: Compiler, console: &Console, job: Job) -> Outcome {
    let Job { digest, component, size, source, purpose } = job;
    let what = format!("component {component} ({})", bytes(size));
    let first_tier = matches!(purpose, Purpose::Start) && compiler.makes_first_tier();
    let (doing, done) = match purpose {
        Purpose::Start if first_tier => ("Compiling", "Compiled, to be optimized later,"),
        Purpose::Start => ("Compiling", "Compiled"),
        Purpose::Replacement { .. } => ("Optimizing", "Optimized"),
    };
    let step = console.step(format!("{doing} {what}"));
    let error = match compiler.compile(&digest, &component, source, first_tier).await {
        Ok(_) => {
            step.done(&format!("{done} {what}"));
            None
        }
        Err(reason) => Some(reason),
    };
    match (purpose, error) {
        (Purpose::Start, error) => (ToRuntime::Compiled { digest, error }, None),
        (Purpose::Replacement { .. }, Some(error)) => {
            (ToRuntime::Optimized { digest, error: Some(error) }, None)
        }
        (Purpose::Replacement { entry }, None) => {
            match fs_err::File::open(compiler.cache().join(entry)) {
                Ok(code) => {
                    let code = code.into_file();
                    (ToRuntime::Optimized { digest, error: None }, Some(code))
                }
                Err(error) => {
                    (ToRuntime::Optimized { digest, error: Some(error.to_string()) }, None)
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::console::tests::silent;

    fn job(digest: &str) -> Job {
        Job {
            digest: digest.to_owned(),
            component: "c".to_owned(),
            size: 0,
            source: tempfile::tempfile().unwrap(),
            purpose: Purpose::Start,
        }
    }

    #[tokio::test]
    async fn every_job_is_answered_in_turn_with_its_outcome() {
        let console = silent();
        for (program, fails) in [("/bin/true", false), ("/bin/false", true)] {
            let mut jobs = Jobs::new(Compiler::played_by(program), &console);
            jobs.push(job("one"));
            jobs.push(job("two"));
            for expected in ["one", "two"] {
                let (ToRuntime::Compiled { digest, error }, None) = jobs.next().await else {
                    panic!("another answer");
                };
                assert_eq!((digest.as_str(), error.is_some()), (expected, fails));
            }
        }
    }

    #[tokio::test]
    async fn code_that_is_not_where_it_should_be_is_told() {
        let console = silent();
        let mut jobs = Jobs::new(Compiler::played_by("/bin/true"), &console);
        let purpose = Purpose::Replacement { entry: "missing".into() };
        jobs.push(Job { purpose, ..job("one") });
        let (ToRuntime::Optimized { error: Some(error), .. }, None) = jobs.next().await else {
            panic!("another answer");
        };
        assert!(error.contains("missing"), "{error}");
    }

    #[tokio::test]
    async fn what_was_cancelled_is_not_answered() {
        let console = silent();
        let mut jobs = Jobs::new(Compiler::played_by("/bin/true"), &console);
        jobs.push(job("one"));
        jobs.cancel();
        let waited = tokio::time::timeout(Duration::from_millis(50), jobs.next()).await;
        assert!(waited.is_err());
    }
}
