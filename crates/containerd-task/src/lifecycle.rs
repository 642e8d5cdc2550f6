//! The life cycle of one task, or of another process in it, as a pure state
//! machine: which requests a state allows, and which events a transition
//! publishes, in their order.
//!
//! Keeping events and states in one place is what makes "create, start, exit,
//! delete, each exactly once, start before exit" hold by construction: whoever
//! makes a transition publishes what it returns while still holding the lock.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use containerd_shim_protos::api::Status;
use tokio::sync::watch;

use crate::error::Error;
use crate::workload::Exit;

/// What a transition publishes; for a process that was added to a task, `Create`
/// and `Start` have names of their own, and `Delete` is silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// `/tasks/create`
    Create,
    /// `/tasks/start`
    Start,
    /// `/tasks/paused`
    Paused,
    /// `/tasks/resumed`
    Resumed,
    /// `/tasks/oom`
    OutOfMemory,
    /// `/tasks/exit`
    Exit(Exit),
    /// `/tasks/delete`
    Delete(Exit),
}

/// Where a task is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Made, not started.
    Created,
    /// A start is under way; an exit that comes meanwhile is held back, so that
    /// its event follows the start event.
    Starting { exit: Option<Exit> },
    /// Started and ready.
    Running,
    /// Started and frozen.
    Paused,
    /// The first process has ended.
    Stopped(Exit),
    /// A delete is under way.
    Deleting(Exit),
}

impl State {
    /// The exit, once it is public.
    pub(crate) fn exit(self) -> Option<Exit> {
        match self {
            Self::Stopped(exit) | Self::Deleting(exit) => Some(exit),
            _ => None,
        }
    }

    /// The state as containerd names it.
    pub(crate) fn status(self) -> Status {
        match self {
            Self::Created | Self::Starting { .. } => Status::CREATED,
            Self::Running => Status::RUNNING,
            Self::Paused => Status::PAUSED,
            Self::Stopped(_) | Self::Deleting(_) => Status::STOPPED,
        }
    }
}

/// A life cycle that requests and the container's own end change at the same
/// time, and whose end many wait for.
#[derive(Debug)]
pub(crate) struct SharedLifecycle {
    lifecycle: Mutex<Lifecycle>,
    exit: watch::Sender<Option<Exit>>,
}

impl SharedLifecycle {
    pub(crate) fn new(lifecycle: Lifecycle) -> Self {
        Self { lifecycle: Mutex::new(lifecycle), exit: watch::Sender::new(None) }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Lifecycle> {
        self.lifecycle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn state(&self) -> State {
        self.lock().state()
    }

    /// Makes a transition and publishes its events in one step, so that events
    /// are published in the order of the transitions.
    pub(crate) fn transition(
        &self,
        step: impl FnOnce(&mut Lifecycle) -> Vec<Event>,
        publish: impl FnMut(Event),
    ) {
        let mut lifecycle = self.lock();
        step(&mut lifecycle).into_iter().for_each(publish);
        if let Some(exit) = lifecycle.exit() {
            self.exit.send_if_modified(|known| known.replace(exit).is_none());
        }
    }

    /// Waits for the end.
    pub(crate) async fn ended(&self) -> Exit {
        let mut exits = self.exit.subscribe();
        match exits.wait_for(Option::is_some).await.map(|exit| *exit) {
            Ok(Some(exit)) => exit,
            // The sender lives as long as this value.
            _ => Exit { status: 255, at: SystemTime::now(), out_of_memory: false },
        }
    }
}

/// A state and the transitions between states.
#[derive(Debug)]
pub(crate) struct Lifecycle {
    /// Whose life it is, for messages.
    subject: String,
    state: State,
}

impl Lifecycle {
    /// The life cycle of what has just been created: `task c1`.
    pub(crate) fn created(subject: String) -> (Self, Vec<Event>) {
        (Self { subject, state: State::Created }, vec![Event::Create])
    }

    pub(crate) fn state(&self) -> State {
        self.state
    }

    /// The exit, once it is public.
    pub(crate) fn exit(&self) -> Option<Exit> {
        self.state.exit()
    }

    /// A start begins.
    pub(crate) fn begin_start(&mut self) -> Result<(), Error> {
        match self.state {
            State::Created => {
                self.state = State::Starting { exit: None };
                Ok(())
            }
            State::Starting { .. } => Err(self.refuse("is being started already")),
            State::Running | State::Paused => Err(self.refuse("is running already")),
            State::Stopped(_) | State::Deleting(_) => {
                Err(self.refuse("has ended and cannot be started"))
            }
        }
    }

    /// The start has succeeded.
    pub(crate) fn started(&mut self) -> Vec<Event> {
        let State::Starting { exit } = self.state else { return Vec::new() };
        let mut events = vec![Event::Start];
        match exit {
            Some(exit) => events.extend(self.stop(exit)),
            None => self.state = State::Running,
        }
        events
    }

    /// The start has failed. A task whose process still lives counts as created
    /// until the process ends.
    pub(crate) fn start_failed(&mut self) -> Vec<Event> {
        match self.state {
            State::Starting { exit: Some(exit) } => self.stop(exit),
            State::Starting { exit: None } => {
                self.state = State::Created;
                Vec::new()
            }
            _ => Vec::new(),
        }
    }

    /// The first process has ended.
    pub(crate) fn exited(&mut self, exit: Exit) -> Vec<Event> {
        match self.state {
            State::Starting { exit: None } => {
                self.state = State::Starting { exit: Some(exit) };
                Vec::new()
            }
            State::Created | State::Running | State::Paused => self.stop(exit),
            State::Starting { exit: Some(_) } | State::Stopped(_) | State::Deleting(_) => {
                Vec::new()
            }
        }
    }

    fn stop(&mut self, exit: Exit) -> Vec<Event> {
        self.state = State::Stopped(exit);
        if exit.out_of_memory {
            vec![Event::OutOfMemory, Event::Exit(exit)]
        } else {
            vec![Event::Exit(exit)]
        }
    }

    /// The kernel has killed for want of memory.
    pub(crate) fn out_of_memory(&self) -> Vec<Event> {
        if self.exit().is_some() { Vec::new() } else { vec![Event::OutOfMemory] }
    }

    /// It has no process and will never have one: there is nothing to publish.
    pub(crate) fn never_ran(&mut self, exit: Exit) -> Vec<Event> {
        if self.exit().is_none() {
            self.state = State::Stopped(exit);
        }
        Vec::new()
    }

    /// Whether a running task may be paused now.
    pub(crate) fn check_pause(&self) -> Result<(), Error> {
        match self.state {
            State::Running => Ok(()),
            _ => Err(self.refuse("is not running and cannot be paused")),
        }
    }

    /// The task has been paused.
    pub(crate) fn paused(&mut self) -> Vec<Event> {
        if self.state != State::Running {
            return Vec::new();
        }
        self.state = State::Paused;
        vec![Event::Paused]
    }

    /// Whether a paused task may be resumed now.
    pub(crate) fn check_resume(&self) -> Result<(), Error> {
        match self.state {
            State::Paused => Ok(()),
            _ => Err(self.refuse("is not paused and cannot be resumed")),
        }
    }

    /// The task goes on.
    pub(crate) fn resumed(&mut self) -> Vec<Event> {
        if self.state != State::Paused {
            return Vec::new();
        }
        self.state = State::Running;
        vec![Event::Resumed]
    }

    /// Whether a signal can reach the first process.
    pub(crate) fn check_alive(&self) -> Result<(), Error> {
        match self.state {
            State::Stopped(_) | State::Deleting(_) | State::Starting { exit: Some(_) } => Err(
                Error::NotFound(format!("the process of {} has already finished", self.subject)),
            ),
            _ => Ok(()),
        }
    }

    /// A delete begins; only a task that has ended can be deleted.
    pub(crate) fn begin_delete(&mut self) -> Result<Exit, Error> {
        match self.state {
            State::Stopped(exit) => {
                self.state = State::Deleting(exit);
                Ok(exit)
            }
            State::Deleting(_) => {
                Err(Error::NotFound(format!("{} is being deleted already", self.subject)))
            }
            State::Created => Err(self.refuse("has a live process and cannot be deleted")),
            State::Starting { .. } | State::Running | State::Paused => {
                Err(self.refuse("is running and cannot be deleted"))
            }
        }
    }

    /// The delete has failed and may be tried again.
    pub(crate) fn delete_failed(&mut self) {
        if let State::Deleting(exit) = self.state {
            self.state = State::Stopped(exit);
        }
    }

    /// The delete has succeeded.
    pub(crate) fn deleted(&mut self) -> Vec<Event> {
        match self.state {
            State::Deleting(exit) => vec![Event::Delete(exit)],
            _ => Vec::new(),
        }
    }

    fn refuse(&self, why: &str) -> Error {
        Error::FailedPrecondition(format!("{} {why}", self.subject))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn created(id: &str) -> (Lifecycle, Vec<Event>) {
        Lifecycle::created(format!("task {id}"))
    }

    fn exit(status: u32) -> Exit {
        Exit { status, at: SystemTime::UNIX_EPOCH, out_of_memory: false }
    }

    #[test]
    fn a_whole_life_publishes_create_start_exit_delete_once_each() {
        let (mut life, mut events) = created("a");
        life.begin_start().unwrap();
        events.extend(life.started());
        events.extend(life.started());
        events.extend(life.exited(exit(0)));
        events.extend(life.exited(exit(1)));
        life.begin_delete().unwrap();
        events.extend(life.deleted());
        assert_eq!(
            events,
            [Event::Create, Event::Start, Event::Exit(exit(0)), Event::Delete(exit(0))]
        );
    }

    #[test]
    fn an_exit_during_the_start_is_published_after_the_start() {
        let (mut life, _) = created("a");
        life.begin_start().unwrap();
        assert_eq!(life.exited(exit(3)), []);
        assert_eq!(life.exit(), None);
        assert_eq!(life.started(), [Event::Start, Event::Exit(exit(3))]);
        assert_eq!(life.exit(), Some(exit(3)));
    }

    #[test]
    fn a_failed_start_publishes_no_start_but_the_exit() {
        let (mut life, _) = created("a");
        life.begin_start().unwrap();
        life.exited(exit(1));
        assert_eq!(life.start_failed(), [Event::Exit(exit(1))]);

        let (mut life, _) = created("b");
        life.begin_start().unwrap();
        assert_eq!(life.start_failed(), []);
        assert_eq!(life.exited(exit(1)), [Event::Exit(exit(1))]);
    }

    #[test]
    fn out_of_memory_is_published_before_the_exit() {
        let (mut life, _) = created("a");
        let exit = Exit { out_of_memory: true, ..exit(137) };
        assert_eq!(life.exited(exit), [Event::OutOfMemory, Event::Exit(exit)]);
    }

    #[test]
    fn out_of_memory_while_it_runs_is_published_at_once_and_never_after_the_exit() {
        let (mut life, _) = created("a");
        assert_eq!(life.out_of_memory(), [Event::OutOfMemory]);
        life.exited(exit(137));
        assert_eq!(life.out_of_memory(), []);
    }

    #[test]
    fn what_never_ran_can_be_deleted_and_publishes_no_exit() {
        let (mut life, _) = created("a");
        life.begin_start().unwrap();
        assert_eq!(life.never_ran(exit(255)), []);
        assert_eq!(life.begin_delete().unwrap(), exit(255));
    }

    #[test]
    fn a_task_with_a_live_process_cannot_be_deleted() {
        let (mut life, _) = created("a");
        assert!(matches!(life.begin_delete(), Err(Error::FailedPrecondition(_))));
        life.begin_start().unwrap();
        assert!(matches!(life.begin_delete(), Err(Error::FailedPrecondition(_))));
        life.started();
        assert!(matches!(life.begin_delete(), Err(Error::FailedPrecondition(_))));
        life.paused();
        assert!(matches!(life.begin_delete(), Err(Error::FailedPrecondition(_))));
    }

    #[test]
    fn two_deletes_at_once_have_one_winner_and_a_failed_one_can_be_repeated() {
        let (mut life, _) = created("a");
        life.exited(exit(0));
        life.begin_delete().unwrap();
        assert!(matches!(life.begin_delete(), Err(Error::NotFound(_))));
        life.delete_failed();
        life.begin_delete().unwrap();
    }

    #[test]
    fn a_task_starts_once() {
        let (mut life, _) = created("a");
        life.begin_start().unwrap();
        assert!(matches!(life.begin_start(), Err(Error::FailedPrecondition(_))));
        life.started();
        assert!(matches!(life.begin_start(), Err(Error::FailedPrecondition(_))));
        life.exited(exit(0));
        assert!(matches!(life.begin_start(), Err(Error::FailedPrecondition(_))));
    }

    #[test]
    fn only_a_running_task_is_paused_and_only_a_paused_one_resumed() {
        let (mut life, _) = created("a");
        assert!(life.check_pause().is_err());
        life.begin_start().unwrap();
        life.started();
        assert!(life.check_resume().is_err());
        life.check_pause().unwrap();
        assert_eq!(life.paused(), [Event::Paused]);
        life.check_resume().unwrap();
        assert_eq!(life.resumed(), [Event::Resumed]);
        life.exited(exit(0));
        assert_eq!(life.resumed(), []);
        assert!(matches!(life.check_alive(), Err(Error::NotFound(_))));
    }
}
