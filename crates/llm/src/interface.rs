//! The interface, in both of its versions, which have the same functions.

use wasmtime::component::{HasData, Linker};

use crate::{ComponentModels, ModelError, Parameters};

/// The interfaces that [`add_to_linker`] adds.
pub const PROVIDES: &[&str] = &["fermyon:spin/llm", "fermyon:spin/llm@2.0.0"];

/// What the functions in a linker work on: [`ComponentModels`].
pub struct Llm;

impl HasData for Llm {
    type Data<'a> = &'a mut ComponentModels;
}

/// Adds every interface in [`PROVIDES`]; `models` finds what the component may
/// use.
///
/// # Errors
///
/// Fails when `linker` has one of them already.
pub fn add_to_linker<T: Send + 'static>(
    linker: &mut Linker<T>,
    models: fn(&mut T) -> &mut ComponentModels,
) -> wasmtime::Result<()> {
    unversioned::llm::add_to_linker::<_, Llm>(linker, models)?;
    version_2::llm::add_to_linker::<_, Llm>(linker, models)
}

/// One version: the module of its bindings and their source.
macro_rules! version {
    ($module:ident, $path:literal) => {
        mod $module {
            wasmtime::component::bindgen!({
                path: $path,
                imports: { default: async },
            });

            pub(super) use fermyon::spin::llm;

            use super::{ComponentModels, ModelError, Parameters};

            impl From<ModelError> for llm::Error {
                fn from(error: ModelError) -> Self {
                    match error {
                        ModelError::AccessDenied { .. } => Self::InvalidInput(error.to_string()),
                        ModelError::NotSupported => Self::ModelNotSupported,
                        ModelError::NoServer | ModelError::Server { .. } => {
                            Self::RuntimeError(error.to_string())
                        }
                    }
                }
            }

            impl From<llm::InferencingParams> for Parameters {
                fn from(given: llm::InferencingParams) -> Self {
                    Self {
                        max_tokens: given.max_tokens,
                        repeat_penalty: given.repeat_penalty,
                        repeat_penalty_last_n_token_count: given.repeat_penalty_last_n_token_count,
                        temperature: given.temperature,
                        top_k: given.top_k,
                        top_p: given.top_p,
                    }
                }
            }

            impl llm::Host for ComponentModels {
                async fn infer(
                    &mut self,
                    model: String,
                    prompt: String,
                    params: Option<llm::InferencingParams>,
                ) -> Result<llm::InferencingResult, llm::Error> {
                    let given = params.map(Parameters::from);
                    let inference = ComponentModels::infer(self, &model, prompt, given).await?;
                    Ok(llm::InferencingResult {
                        text: inference.text,
                        usage: llm::InferencingUsage {
                            prompt_token_count: inference.prompt_tokens,
                            generated_token_count: inference.generated_tokens,
                        },
                    })
                }

                async fn generate_embeddings(
                    &mut self,
                    model: String,
                    text: Vec<String>,
                ) -> Result<llm::EmbeddingsResult, llm::Error> {
                    let made = self.embed(&model, text).await?;
                    Ok(llm::EmbeddingsResult {
                        embeddings: made.vectors,
                        usage: llm::EmbeddingsUsage { prompt_token_count: made.prompt_tokens },
                    })
                }
            }
        }
    };
}

version!(unversioned, "wit/unversioned.wit");
version!(version_2, "wit/version-2.wit");
