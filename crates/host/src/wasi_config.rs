//! `wasi:config/store@0.2.0-draft-2024-09-27`: the component's variables.

use wasmtime::component::{HasSelf, Linker};

use crate::InstanceState;

mod bindings {
    wasmtime::component::bindgen!({
        inline: r#"
            package wasi:config@0.2.0-draft-2024-09-27;

            interface store {
                variant error {
                    upstream(string),
                    io(string),
                }
                get: func(key: string) -> result<option<string>, error>;
                get-all: func() -> result<list<tuple<string, string>>, error>;
            }

            world imports {
                import store;
            }
        "#,
    });
}

use bindings::wasi::config::store;

pub(crate) const PROVIDES: &[&str] = &["wasi:config/store@0.2.0-draft-2024-09-27"];

pub(crate) fn link(linker: &mut Linker<InstanceState>) -> wasmtime::Result<()> {
    store::add_to_linker::<_, HasSelf<_>>(linker, |state: &mut InstanceState| state)
}

impl store::Host for InstanceState {
    fn get(&mut self, key: String) -> Result<Option<String>, store::Error> {
        Ok(self.component().variables().get(&key).map(str::to_owned))
    }

    fn get_all(&mut self) -> Result<Vec<(String, String)>, store::Error> {
        let all = self.component().variables().iter();
        Ok(all.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }
}
