//! Language models for guests: `fermyon:spin/llm`, without a version and 2.0.0.
//!
//! Models are run by a server that the configuration names ([`RemoteModels`]); in
//! this process none can be run. A component uses the models it declares.
//!
//! - [`ComponentModels`]: what one component may use; [`add_to_linker`] is told how
//!   to find it in the store of wasmtime.

mod interface;
mod remote;

use std::sync::Arc;

pub use interface::{Llm, PROVIDES, add_to_linker};
pub use remote::{Protocol, RemoteModels, TIMEOUT};

use telemetry::{Calls, Instance};

/// The models that one component may use.
#[derive(Debug, Clone, Default)]
pub struct ComponentModels {
    names: Arc<[String]>,
    server: Option<Arc<RemoteModels>>,
    told: Option<Arc<Instance>>,
    calls: Calls,
}

impl ComponentModels {
    /// The models with these names, run by `server`; without one every use is an
    /// error that says so.
    pub fn new(names: &[String], server: Option<Arc<RemoteModels>>) -> Self {
        Self { names: names.into(), server, told: None, calls: Calls::default() }
    }

    /// Those of one instance; what it does with them is `told`.
    #[must_use]
    pub fn telling(self, told: Option<&Arc<Instance>>) -> Self {
        Self { told: told.cloned(), calls: Calls::of(told, ("gen_ai.system", "spin")), ..self }
    }

    /// Who runs `model` for the component.
    fn server(&self, model: &str) -> Result<&RemoteModels, ModelError> {
        if !self.names.iter().any(|name| name == model) {
            return Err(ModelError::AccessDenied { model: model.to_owned() });
        }
        self.server.as_deref().ok_or(ModelError::NoServer)
    }

    pub(crate) async fn infer(
        &self,
        model: &str,
        prompt: String,
        parameters: Option<Parameters>,
    ) -> Result<Inference, ModelError> {
        let server = self.server(model)?;
        if let Some(told) = &self.told {
            told.infers(model);
        }
        let span = self.calls.begin("spin_llm.infer");
        let parameters = parameters.unwrap_or_default();
        let inferred = server.infer(model, prompt, parameters, span.context()).await;
        inferred.inspect_err(|error| span.failed(error))
    }

    pub(crate) async fn embed(
        &self,
        model: &str,
        texts: Vec<String>,
    ) -> Result<Embeddings, ModelError> {
        let server = self.server(model)?;
        let span = self.calls.begin("spin_llm.generate_embeddings");
        let embedded = server.embed(model, texts, span.context()).await;
        embedded.inspect_err(|error| span.failed(error))
    }
}

/// How text is generated.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Parameters {
    /// Tokens to generate at most.
    pub max_tokens: u32,
    /// How much repetition is avoided.
    pub repeat_penalty: f32,
    /// Tokens among which repetition is avoided.
    pub repeat_penalty_last_n_token_count: u32,
    /// Randomness.
    pub temperature: f32,
    /// Tokens to choose from.
    pub top_k: u32,
    /// The probability of the tokens to choose from, together.
    pub top_p: f32,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            max_tokens: 100,
            repeat_penalty: 1.1,
            repeat_penalty_last_n_token_count: 64,
            temperature: 0.8,
            top_k: 40,
            top_p: 0.9,
        }
    }
}

/// Generated text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inference {
    /// The text.
    pub text: String,
    /// Tokens in the prompt.
    pub prompt_tokens: u32,
    /// Tokens in the text.
    pub generated_tokens: u32,
}

/// Texts as vectors.
#[derive(Debug, Clone, PartialEq)]
pub struct Embeddings {
    /// One vector per text.
    pub vectors: Vec<Vec<f32>>,
    /// Tokens in the texts.
    pub prompt_tokens: u32,
}

/// A model was not run. No error contains the server's token.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The component does not declare the model.
    #[error(
        "The component does not have access to use '{model}'. To give the component access, add \
         '{model}' to the 'ai_models' key for the component in your spin.toml manifest"
    )]
    AccessDenied {
        /// The model.
        model: String,
    },
    /// Nobody runs models.
    #[error(
        "Local LLM operations are not supported in this version of Spin. Name a server under \
         [llm_compute] in the runtime configuration."
    )]
    NoServer,
    /// The server does not have the model.
    #[error("the server does not have this model")]
    NotSupported,
    /// The server did not do it.
    #[error("the server that runs models: {text}")]
    Server {
        /// What happened.
        text: String,
    },
}

#[cfg(test)]
mod tests;
