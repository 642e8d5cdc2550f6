//! The life cycle of one task as a pure state machine: which requests a state
//! allows, and which events a transition publishes, in their order.
//!
//! Keeping events and states in one place is what makes "create, start, exit,
//! delete, each exactly once, start before exit" hold by construction: whoever
//! makes a transition publishes what it returns while still holding the lock.

use crate::error::Error;
use crate::workload::Exit;

/// What a transition publishes.
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

/// A task's state and the transitions between states.
#[derive(Debug)]
pub(crate) struct Lifecycle {
    id: String,
    state: State,
}

impl Lifecycle {
    /// The life cycle of a task that has just been created.
    pub(crate) fn created(id: &str) -> (Self, Vec<Event>) {
        (Self { id: id.to_owned(), state: State::Created }, vec![Event::Create])
    }

    pub(crate) fn state(&self) -> State {
        self.state
    }

    /// The exit, once it is public.
    pub(crate) fn exit(&self) -> Option<Exit> {
        match self.state {
            State::Stopped(exit) | State::Deleting(exit) => Some(exit),
            _ => None,
        }
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
            State::Stopped(_) | State::Deleting(_) | State::Starting { exit: Some(_) } => {
                Err(Error::NotFound(format!("process of task {} has already finished", self.id)))
            }
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
                Err(Error::NotFound(format!("task {} is being deleted already", self.id)))
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
        Error::FailedPrecondition(format!("task {} {why}", self.id))
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    fn exit(status: u32) -> Exit {
        Exit { status, at: SystemTime::UNIX_EPOCH, out_of_memory: false }
    }

    #[test]
    fn a_whole_life_publishes_create_start_exit_delete_once_each() {
        let (mut life, mut events) = Lifecycle::created("a");
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
        let (mut life, _) = Lifecycle::created("a");
        life.begin_start().unwrap();
        assert_eq!(life.exited(exit(3)), []);
        assert_eq!(life.exit(), None);
        assert_eq!(life.started(), [Event::Start, Event::Exit(exit(3))]);
        assert_eq!(life.exit(), Some(exit(3)));
    }

    #[test]
    fn a_failed_start_publishes_no_start_but_the_exit() {
        let (mut life, _) = Lifecycle::created("a");
        life.begin_start().unwrap();
        life.exited(exit(1));
        assert_eq!(life.start_failed(), [Event::Exit(exit(1))]);

        let (mut life, _) = Lifecycle::created("b");
        life.begin_start().unwrap();
        assert_eq!(life.start_failed(), []);
        assert_eq!(life.exited(exit(1)), [Event::Exit(exit(1))]);
    }

    #[test]
    fn out_of_memory_is_published_before_the_exit() {
        let (mut life, _) = Lifecycle::created("a");
        let exit = Exit { out_of_memory: true, ..exit(137) };
        assert_eq!(life.exited(exit), [Event::OutOfMemory, Event::Exit(exit)]);
    }

    #[test]
    fn a_task_with_a_live_process_cannot_be_deleted() {
        let (mut life, _) = Lifecycle::created("a");
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
        let (mut life, _) = Lifecycle::created("a");
        life.exited(exit(0));
        life.begin_delete().unwrap();
        assert!(matches!(life.begin_delete(), Err(Error::NotFound(_))));
        life.delete_failed();
        life.begin_delete().unwrap();
    }

    #[test]
    fn a_task_starts_once() {
        let (mut life, _) = Lifecycle::created("a");
        life.begin_start().unwrap();
        assert!(matches!(life.begin_start(), Err(Error::FailedPrecondition(_))));
        life.started();
        assert!(matches!(life.begin_start(), Err(Error::FailedPrecondition(_))));
        life.exited(exit(0));
        assert!(matches!(life.begin_start(), Err(Error::FailedPrecondition(_))));
    }

    #[test]
    fn only_a_running_task_is_paused_and_only_a_paused_one_resumed() {
        let (mut life, _) = Lifecycle::created("a");
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
