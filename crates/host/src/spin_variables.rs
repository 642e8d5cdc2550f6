//! `fermyon:spin/variables@2.0.0` and the older `fermyon:spin/config`: the
//! component's variables.

use app::template::check_variable_name;
use wasmtime::component::{HasSelf, Linker};

use crate::InstanceState;

mod current {
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
    });
}

use current::fermyon::spin::variables;
use legacy::fermyon::spin::config;

pub(crate) const PROVIDES: &[&str] = &["fermyon:spin/variables@2.0.0", "fermyon:spin/config"];

pub(crate) fn link(linker: &mut Linker<InstanceState>) -> wasmtime::Result<()> {
    variables::add_to_linker::<_, HasSelf<_>>(linker, |state: &mut InstanceState| state)?;
    config::add_to_linker::<_, HasSelf<_>>(linker, |state: &mut InstanceState| state)
}

/// Why a component has no value for a name.
enum Lookup {
    InvalidName(String),
    Undefined(String),
}

fn lookup(state: &InstanceState, name: &str) -> Result<String, Lookup> {
    check_variable_name(name).map_err(|error| Lookup::InvalidName(error.to_string()))?;
    let component = state.component();
    component.variables().get(name).map(str::to_owned).ok_or_else(|| {
        Lookup::Undefined(format!("no variable {name:?} in component {:?}", component.id()))
    })
}

impl variables::Host for InstanceState {
    fn get(&mut self, name: String) -> Result<String, variables::Error> {
        lookup(self, &name).map_err(|error| match error {
            Lookup::InvalidName(text) => variables::Error::InvalidName(text),
            Lookup::Undefined(text) => variables::Error::Undefined(text),
        })
    }
}

impl config::Host for InstanceState {
    fn get_config(&mut self, key: String) -> Result<String, config::Error> {
        lookup(self, &key).map_err(|error| match error {
            Lookup::InvalidName(text) => config::Error::InvalidKey(text),
            Lookup::Undefined(text) => config::Error::Provider(text),
        })
    }
}
