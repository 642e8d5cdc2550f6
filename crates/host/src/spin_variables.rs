//! The component's variables for Spin guests: `fermyon:spin/variables@2.0.0`, the
//! older `fermyon:spin/config`, and the asynchronous `spin:variables@3.0.0`.

use std::sync::Arc;

use app::template::check_variable_name;
use variables::VariableError;
use wasmtime::component::{Accessor, HasSelf, Linker};

use crate::{ComponentContext, InstanceState};

mod version_3 {
    wasmtime::component::bindgen!({
        inline: r#"
            package spin:variables@3.0.0;

            interface variables {
                variant error {
                    invalid-name(string),
                    undefined(string),
                    provider(string),
                    other(string),
                }
                get: async func(name: string) -> result<string, error>;
            }

            world imports {
                import variables;
            }
        "#,
        imports: { default: async },
    });
}

mod version_2 {
    wasmtime::component::bindgen!({
        inline: r#"
            package fermyon:spin@2.0.0;

            interface variables {
                variant error {
                    invalid-name(string),
                    undefined(string),
                    provider(string),
                    other(string),
                }
                get: func(name: string) -> result<string, error>;
            }

            world imports {
                import variables;
            }
        "#,
        imports: { default: async },
    });
}

mod legacy {
    wasmtime::component::bindgen!({
        inline: r#"
            package fermyon:spin;

            interface config {
                variant error {
                    provider(string),
                    invalid-key(string),
                    invalid-schema(string),
                    other(string),
                }
                get-config: func(key: string) -> result<string, error>;
            }

            world imports {
                import config;
            }
        "#,
        imports: { default: async },
    });
}

use legacy::fermyon::spin::config;
use version_2::fermyon::spin::variables as variables_2;
use version_3::spin::variables::variables as variables_3;

pub(crate) const PROVIDES: &[&str] =
    &["spin:variables/variables@3.0.0", "fermyon:spin/variables@2.0.0", "fermyon:spin/config"];

pub(crate) fn link(linker: &mut Linker<InstanceState>) -> wasmtime::Result<()> {
    variables_3::add_to_linker::<_, HasSelf<_>>(linker, |state: &mut InstanceState| state)?;
    variables_2::add_to_linker::<_, HasSelf<_>>(linker, |state: &mut InstanceState| state)?;
    config::add_to_linker::<_, HasSelf<_>>(linker, |state: &mut InstanceState| state)
}

/// The component of an instance, taken out of it: a provider may take its time.
struct Own(Arc<ComponentContext>);

/// Why a component has no value for a name.
enum Lookup {
    InvalidName(String),
    Undefined(String),
    Provider(String),
}

impl Own {
    fn of(state: &InstanceState) -> Self {
        Self(Arc::clone(&state.outbound.component))
    }

    async fn get(&self, name: &str) -> Result<String, Lookup> {
        check_variable_name(name).map_err(|error| Lookup::InvalidName(error.to_string()))?;
        let found = self.0.variables().get(name).await;
        found.map_err(|error| Lookup::Provider(self.failed(name, &error)))?.ok_or_else(|| {
            Lookup::Undefined(format!("no variable {name:?} in component {:?}", self.0.id()))
        })
    }

    /// The text for the guest; an operator finds the same in the log.
    fn failed(&self, name: &str, error: &VariableError) -> String {
        let text = http_client::chain(error);
        if let Some(suppressed) = self.0.denials.permit() {
            tracing::warn!(component = self.0.id(), variable = name, suppressed, "{text}");
        }
        text
    }
}

impl variables_3::Host for InstanceState {}

impl<T: Send> variables_3::HostWithStore<T> for HasSelf<InstanceState> {
    async fn get(accessor: &Accessor<T, Self>, name: String) -> Result<String, variables_3::Error> {
        let own = accessor.with(|mut access| Own::of(access.get()));
        own.get(&name).await.map_err(|error| match error {
            Lookup::InvalidName(text) => variables_3::Error::InvalidName(text),
            Lookup::Undefined(text) => variables_3::Error::Undefined(text),
            Lookup::Provider(text) => variables_3::Error::Provider(text),
        })
    }
}

impl variables_2::Host for InstanceState {
    async fn get(&mut self, name: String) -> Result<String, variables_2::Error> {
        Own::of(self).get(&name).await.map_err(|error| match error {
            Lookup::InvalidName(text) => variables_2::Error::InvalidName(text),
            Lookup::Undefined(text) => variables_2::Error::Undefined(text),
            Lookup::Provider(text) => variables_2::Error::Provider(text),
        })
    }
}

impl config::Host for InstanceState {
    async fn get_config(&mut self, key: String) -> Result<String, config::Error> {
        Own::of(self).get(&key).await.map_err(|error| match error {
            Lookup::InvalidName(text) => config::Error::InvalidKey(text),
            // The older interface has no other word for what is not defined.
            Lookup::Undefined(text) | Lookup::Provider(text) => config::Error::Provider(text),
        })
    }
}
