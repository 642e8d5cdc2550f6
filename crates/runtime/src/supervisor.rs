//! The conversation with the supervisor.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::fd::AsFd;
use std::path::PathBuf;

use app::{Digest, Problems};
use artifact::CompilerInput;
use control::{CONTROL_FD, Channel, ControlError, FromRuntime, Phase, RunSpec, ToRuntime};

use crate::RuntimeError;

/// The supervisor at the other end of the control socket.
#[derive(Debug)]
pub struct Supervisor {
    channel: Channel,
}

/// A component that the node's cache lacks, or has no optimized code for.
#[derive(Debug)]
pub(crate) struct Missing {
    pub(crate) digest: Digest,
    /// Id of a component that is made of it, for messages.
    pub(crate) component: String,
    pub(crate) source: File,
    pub(crate) size: u64,
}

impl Missing {
    pub(crate) fn of(component: &str, input: &CompilerInput<'_>) -> Result<Self, RuntimeError> {
        let component = component.to_owned();
        let source = match input.open() {
            Ok(source) => source,
            Err(source) => return Err(RuntimeError::Wasm { component, source }),
        };
        Ok(Self { digest: input.digest(), component, source, size: input.size() })
    }
}

/// What came of a request for optimized code.
#[derive(Debug)]
pub(crate) struct Optimized {
    /// The digest that was asked for.
    pub(crate) digest: String,
    /// The opened entry of the cache, or why there is none.
    pub(crate) code: Result<File, String>,
}

impl Supervisor {
    /// The supervisor that started this process.
    ///
    /// # Errors
    /// [`RuntimeError::NoSupervisor`] when there is none.
    pub fn of_process() -> Result<Self, RuntimeError> {
        let socket = container::spawn::inherited(CONTROL_FD).map_err(RuntimeError::NoSupervisor)?;
        Ok(Self::new(Channel::new(socket)?))
    }

    /// A supervisor at the other end of any channel.
    pub fn new(channel: Channel) -> Self {
        Self { channel }
    }

    /// Waits to be told what to run.
    ///
    /// # Errors
    /// The supervisor is gone or says something else.
    pub async fn run_spec(&self) -> Result<RunSpec, RuntimeError> {
        match self.receive().await? {
            ToRuntime::Run(spec) => Ok(*spec),
            other => Err(out_of_order(&other, "run")),
        }
    }

    /// Has components compiled, all at the same time.
    ///
    /// # Errors
    /// [`RuntimeError::Compile`] with every component that cannot be compiled.
    pub(crate) async fn compile(&self, missing: Vec<Missing>) -> Result<(), RuntimeError> {
        let mut waiting = BTreeSet::new();
        for Missing { digest, component, source, size } in missing {
            let digest = digest.to_string();
            let request = FromRuntime::Compile { digest: digest.clone(), component, size };
            self.channel.send(&request, Some(source.as_fd())).await?;
            waiting.insert(digest);
        }
        let mut problems = Problems::default();
        while !waiting.is_empty() {
            match self.receive().await? {
                ToRuntime::Compiled { digest, error } => {
                    // The compiler's sentence names the component.
                    if waiting.remove(&digest)
                        && let Some(error) = error
                    {
                        problems.push(error);
                    }
                }
                other => return Err(out_of_order(&other, "compiled")),
            }
        }
        problems.into_result(()).map_err(RuntimeError::Compile)
    }

    /// Asks for optimized code, once the app listens, for what runs on code of the
    /// first tier; `entry` is where it will be in the cache.
    ///
    /// # Errors
    /// The supervisor is gone.
    pub(crate) async fn optimize(
        &self,
        component: Missing,
        entry: PathBuf,
    ) -> Result<(), RuntimeError> {
        let Missing { digest, component, source, size } = component;
        let digest = digest.to_string();
        let request = FromRuntime::Optimize { digest, component, size, entry };
        Ok(self.channel.send(&request, Some(source.as_fd())).await?)
    }

    /// Says that everything is loaded and the container is entered, and waits to
    /// be told to start.
    ///
    /// # Errors
    /// The supervisor is gone or says something else.
    pub async fn created(&self, phases: Vec<Phase>) -> Result<(), RuntimeError> {
        self.channel.send(&FromRuntime::Created { phases }, None).await?;
        match self.receive().await? {
            ToRuntime::Start => Ok(()),
            other => Err(out_of_order(&other, "start")),
        }
    }

    /// Says that clients can connect.
    ///
    /// # Errors
    /// The supervisor is gone.
    pub async fn listening(
        &self,
        addresses: Vec<String>,
        routes: Vec<(String, String)>,
        phases: Vec<Phase>,
    ) -> Result<(), RuntimeError> {
        let message = FromRuntime::Listening { addresses, routes, phases };
        Ok(self.channel.send(&message, None).await?)
    }

    /// Says that there is no Spin app.
    ///
    /// # Errors
    /// The supervisor is gone.
    pub async fn not_spin(&self) -> Result<(), RuntimeError> {
        Ok(self.channel.send(&FromRuntime::NotSpin, None).await?)
    }

    /// Says why the app cannot be run. Nobody left to hear it is no error.
    pub async fn failed(&self, message: &str) {
        let message = FromRuntime::Failed { message: message.to_owned() };
        if let Err(error) = self.channel.send(&message, None).await {
            tracing::debug!(%error, "nobody hears why the app cannot be run");
        }
    }

    /// Waits for the next answer to a request for optimized code; none when the
    /// supervisor is gone. Whatever else it says while the app serves has no meaning
    /// any more.
    pub(crate) async fn optimized(&self) -> Option<Optimized> {
        while let Ok((message, descriptor)) = self.channel.receive().await {
            let ToRuntime::Optimized { digest, error } = message else {
                tracing::warn!(message = name_of(&message), "the supervisor said this too late");
                continue;
            };
            let code = match (descriptor, error) {
                (_, Some(error)) => Err(error),
                (Some(descriptor), None) => Ok(File::from(descriptor)),
                (None, None) => Err("the supervisor sent no code".to_owned()),
            };
            return Some(Optimized { digest, code });
        }
        None
    }

    /// Says what became of optimized code. Nobody left to hear it is noticed by
    /// whoever waits for the next.
    pub(crate) async fn replaced(&self, digest: String, error: Option<String>) {
        if let Err(error) = self.channel.send(&FromRuntime::Replaced { digest, error }, None).await
        {
            tracing::debug!(%error, "nobody hears what became of optimized code");
        }
    }

    async fn receive(&self) -> Result<ToRuntime, ControlError> {
        Ok(self.channel.receive().await?.0)
    }
}

fn out_of_order(got: &ToRuntime, expected: &'static str) -> RuntimeError {
    RuntimeError::OutOfOrder { got: name_of(got), expected }
}

fn name_of(message: &ToRuntime) -> &'static str {
    match message {
        ToRuntime::Run(_) => "run",
        ToRuntime::Compiled { .. } => "compiled",
        ToRuntime::Start => "start",
        ToRuntime::Optimized { .. } => "optimized",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Supervisor, Channel) {
        let (ours, theirs) = control::pair().unwrap();
        (Supervisor::new(Channel::new(ours).unwrap()), Channel::new(theirs).unwrap())
    }

    fn missing(component: &str) -> Missing {
        let digest = Digest::of(component.as_bytes());
        let source = tempfile::tempfile().unwrap();
        Missing { digest, component: component.to_owned(), source, size: 0 }
    }

    #[tokio::test]
    async fn all_components_are_asked_for_before_the_first_answer() {
        let (supervisor, other) = pair();
        let answer = async {
            let mut asked = Vec::new();
            for _ in 0..2 {
                let (message, source) = other.receive::<FromRuntime>().await.unwrap();
                let FromRuntime::Compile { digest, .. } = message else { panic!("{message:?}") };
                assert!(source.is_some());
                asked.push(digest);
            }
            for digest in asked.into_iter().rev() {
                other.send(&ToRuntime::Compiled { digest, error: None }, None).await.unwrap();
            }
        };
        let asking = supervisor.compile(vec![missing("a"), missing("b")]);
        tokio::join!(async { asking.await.unwrap() }, answer);
    }

    #[tokio::test]
    async fn every_component_that_cannot_be_compiled_is_named() {
        let (supervisor, other) = pair();
        for name in ["a", "b"] {
            let digest = Digest::of(name.as_bytes()).to_string();
            let error = Some(format!("component {name:?} cannot be compiled: it is broken"));
            other.send(&ToRuntime::Compiled { digest, error }, None).await.unwrap();
        }
        let error = supervisor.compile(vec![missing("a"), missing("b")]).await.unwrap_err();
        let text = error.to_string();
        assert!(text.contains("component \"a\" cannot be compiled: it is broken"), "{text}");
        assert!(text.contains("component \"b\""), "{text}");
    }

    #[tokio::test]
    async fn a_message_out_of_order_is_an_error_that_says_which() {
        let (supervisor, other) = pair();
        other.send(&ToRuntime::Start, None).await.unwrap();
        let error = supervisor.run_spec().await.unwrap_err();
        assert_eq!(error.to_string(), "the supervisor sent start where run comes next");
    }

    #[tokio::test]
    async fn optimized_code_is_a_file_or_a_reason() {
        let (supervisor, other) = pair();
        let say = async |error: Option<&str>, code: Option<&File>| {
            let error = error.map(str::to_owned);
            let message = ToRuntime::Optimized { digest: "sha256:00".to_owned(), error };
            other.send(&message, code.map(AsFd::as_fd)).await.unwrap();
            supervisor.optimized().await.unwrap().code
        };
        let file = tempfile::tempfile().unwrap();
        assert!(say(None, Some(&file)).await.is_ok());
        assert_eq!(say(Some("broken"), None).await.unwrap_err(), "broken");
        assert!(say(None, None).await.unwrap_err().contains("no code"));
    }

    #[tokio::test]
    async fn the_death_of_the_supervisor_is_noticed() {
        let (supervisor, other) = pair();
        other.send(&ToRuntime::Start, None).await.unwrap();
        drop(other);
        assert!(supervisor.optimized().await.is_none());
    }
}
