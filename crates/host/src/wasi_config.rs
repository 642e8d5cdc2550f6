//! The component's variables as `wasi:config`, in every version that guests were
//! built for.

use wasmtime::component::{HasSelf, Linker};

use crate::InstanceState;

/// One version: the module of its bindings, and its interface in there.
macro_rules! version {
    ($module:ident, $package:literal, $interface:ident) => {
        mod $module {
            wasmtime::component::bindgen!({
                inline: $package,
                imports: { default: async },
            });

            pub(super) use wasi::config::$interface as interface;

            impl interface::Host for crate::InstanceState {
                async fn get(&mut self, key: String) -> Result<Option<String>, interface::Error> {
                    let variables = self.component().variables().clone();
                    variables.get(&key).await.map_err(|error| failed(&error))
                }

                async fn get_all(&mut self) -> Result<Vec<(String, String)>, interface::Error> {
                    let variables = self.component().variables().clone();
                    variables.all().await.map_err(|error| failed(&error))
                }
            }

            fn failed(error: &variables::VariableError) -> interface::Error {
                interface::Error::Upstream(http_client::chain(error))
            }
        }
    };
}

version!(
    store_2024_09_27,
    r#"
        package wasi:config@0.2.0-draft-2024-09-27;

        interface store {
            variant error { upstream(string), io(string) }
            get: func(key: string) -> result<option<string>, error>;
            get-all: func() -> result<list<tuple<string, string>>, error>;
        }

        world imports { import store; }
    "#,
    store
);

version!(
    store_rc_1,
    r#"
        package wasi:config@0.2.0-rc.1;

        interface store {
            variant error { upstream(string), io(string) }
            get: func(key: string) -> result<option<string>, error>;
            get-all: func() -> result<list<tuple<string, string>>, error>;
        }

        world imports { import store; }
    "#,
    store
);

version!(
    runtime_draft,
    r#"
        package wasi:config@0.2.0-draft;

        interface runtime {
            variant error { upstream(string), io(string) }
            get: func(key: string) -> result<option<string>, error>;
            get-all: func() -> result<list<tuple<string, string>>, error>;
        }

        world imports { import runtime; }
    "#,
    runtime
);

pub(crate) const PROVIDES: &[&str] = &[
    "wasi:config/store@0.2.0-draft-2024-09-27",
    "wasi:config/store@0.2.0-rc.1",
    "wasi:config/runtime@0.2.0-draft",
];

pub(crate) fn link(linker: &mut Linker<InstanceState>) -> wasmtime::Result<()> {
    fn state(state: &mut InstanceState) -> &mut InstanceState {
        state
    }
    store_2024_09_27::interface::add_to_linker::<_, HasSelf<_>>(linker, state)?;
    store_rc_1::interface::add_to_linker::<_, HasSelf<_>>(linker, state)?;
    runtime_draft::interface::add_to_linker::<_, HasSelf<_>>(linker, state)
}
