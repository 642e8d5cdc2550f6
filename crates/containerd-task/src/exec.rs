//! Another process in a task's container: its life cycle and its events.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::SystemTime;

use containerd_shim_protos::api::{DeleteResponse, StateResponse};
use containerd_shim_protos::events::task::{TaskExecAdded, TaskExecStarted, TaskExit};
use containerd_shim_protos::protobuf::MessageField;

use crate::error::Error;
use crate::events::Publisher;
use crate::lifecycle::{Event, Lifecycle, SharedLifecycle, State};
use crate::task::{describe, timestamp};
use crate::workload::{ExecProcess, ExecRequest, Exit};

/// Exit status of a process that could not be started.
const NOT_STARTED: u32 = 255;

/// A process that containerd has added to a task.
pub(crate) struct Exec {
    container_id: String,
    request: ExecRequest,
    process: Arc<dyn ExecProcess>,
    publisher: Arc<Publisher>,
    /// 0 until it is started.
    pid: AtomicU32,
    life: SharedLifecycle,
}

impl Exec {
    /// Publishes that a process was added.
    pub(crate) fn new(
        container_id: &str,
        request: ExecRequest,
        process: Arc<dyn ExecProcess>,
        publisher: Arc<Publisher>,
    ) -> Arc<Self> {
        let subject = format!("process {} of task {container_id}", request.id);
        let (lifecycle, events) = Lifecycle::created(subject);
        let exec = Self {
            container_id: container_id.to_owned(),
            request,
            process,
            publisher,
            pid: AtomicU32::new(0),
            life: SharedLifecycle::new(lifecycle),
        };
        for event in events {
            exec.publish(event);
        }
        Arc::new(exec)
    }

    pub(crate) fn id(&self) -> &str {
        &self.request.id
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid.load(Ordering::Relaxed)
    }

    /// Whether a start has begun.
    pub(crate) fn is_started(&self) -> bool {
        self.life.state() != State::Created
    }

    /// Starts the process and from then on watches for its end.
    pub(crate) async fn start(self: Arc<Self>) -> Result<u32, Error> {
        self.life.lock().begin_start()?;
        match self.process.start().await {
            Ok(pid) => {
                self.pid.store(pid, Ordering::Relaxed);
                self.transition(Lifecycle::started);
                tokio::spawn(self.watch());
                Ok(pid)
            }
            Err(error) => {
                self.transition(|lifecycle| lifecycle.never_ran(exit(NOT_STARTED)));
                Err(error)
            }
        }
    }

    async fn watch(self: Arc<Self>) {
        let exit = self.process.wait().await;
        self.transition(|lifecycle| lifecycle.exited(exit));
    }

    /// Sends a signal to the process, which must have been started.
    pub(crate) async fn kill(&self, signal: u32) -> Result<(), Error> {
        if matches!(self.life.state(), State::Created | State::Starting { .. }) {
            let message = format!("process {} is not started and takes no signal", self.id());
            return Err(Error::FailedPrecondition(message));
        }
        self.life.lock().check_alive()?;
        self.process.kill(signal).await
    }

    /// Waits for the end of the process.
    pub(crate) async fn ended(&self) -> Exit {
        self.life.ended().await
    }

    pub(crate) fn close_stdin(&self) {
        self.process.close_stdin();
    }

    pub(crate) async fn resize(&self, columns: u16, rows: u16) -> Result<(), Error> {
        self.process.resize(columns, rows).await
    }

    /// Lets go of a process that has ended or was never started.
    pub(crate) async fn delete(&self) -> Result<DeleteResponse, Error> {
        if self.life.state() == State::Created {
            self.transition(|lifecycle| lifecycle.never_ran(exit(0)));
        }
        let exit = self.life.lock().begin_delete()?;
        self.process.delete().await;
        Ok(DeleteResponse {
            pid: self.pid(),
            exit_status: exit.status,
            exited_at: MessageField::some(timestamp(exit.at)),
            ..DeleteResponse::default()
        })
    }

    /// The answer to a State request.
    pub(crate) fn describe(&self) -> StateResponse {
        StateResponse {
            id: self.id().to_owned(),
            exec_id: self.id().to_owned(),
            pid: self.pid(),
            ..describe(self.life.state(), &self.request.stdio, self.request.terminal)
        }
    }

    fn transition(&self, step: impl FnOnce(&mut Lifecycle) -> Vec<Event>) {
        self.life.transition(step, |event| self.publish(event));
    }

    fn publish(&self, event: Event) {
        let (container_id, exec_id) = (self.container_id.clone(), self.id().to_owned());
        match event {
            Event::Create => self.publisher.publish(TaskExecAdded {
                container_id,
                exec_id,
                ..TaskExecAdded::default()
            }),
            Event::Start => self.publisher.publish(TaskExecStarted {
                container_id,
                exec_id,
                pid: self.pid(),
                ..TaskExecStarted::default()
            }),
            Event::Exit(exit) => self.publisher.publish(TaskExit {
                container_id,
                id: exec_id,
                pid: self.pid(),
                exit_status: exit.status,
                exited_at: MessageField::some(timestamp(exit.at)),
                ..TaskExit::default()
            }),
            // Not told of a process that was added.
            Event::Paused | Event::Resumed | Event::OutOfMemory | Event::Delete(_) => {}
        }
    }
}

fn exit(status: u32) -> Exit {
    Exit { status, at: SystemTime::now(), out_of_memory: false }
}
