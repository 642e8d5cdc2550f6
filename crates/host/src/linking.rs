//! Which capability serves which import of a component.

use wasmtime::Engine;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, InstancePre, Linker, LinkerInstance, ResourceType};

use crate::{
    InstanceState, language_models, outbound_http, servers, spin_http, spin_variables, storage,
    wasi, wasi_config,
};

/// One capability of the host: a set of interfaces that components may import.
#[derive(Debug, Clone, Copy)]
pub struct Capability {
    /// Its name in messages.
    pub name: &'static str,
    /// Whether `component` imports any of its interfaces: only then it is linked.
    /// None: when the component imports something it `provides`.
    pub used_by: Option<fn(&Component) -> bool>,
    /// Those of its interfaces that belong to the namespaces in
    /// [`is_platform_interface`], with their full names.
    pub provides: &'static [&'static str],
    /// Adds its interfaces.
    pub link: fn(&mut Linker<InstanceState>) -> wasmtime::Result<()>,
}

/// The capabilities that components of an app are linked with.
#[derive(Debug, Clone)]
pub struct Linking {
    capabilities: Vec<Capability>,
}

/// Why a component cannot be linked.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// Two capabilities define the same, or one does not fit the engine.
    #[error("cannot link {capability}")]
    Capability {
        /// Its name.
        capability: &'static str,
        /// wasmtime's explanation.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The component imports what the host does not have.
    #[error("component {component:?} imports what this host does not provide")]
    Imports {
        /// Its id.
        component: String,
        /// wasmtime's explanation, which names the import.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Linking {
    /// WASI 0.2 and 0.3, HTTP, and the variables, stores, databases and servers of
    /// Spin apps.
    pub fn standard() -> Self {
        let wasi =
            |name, used_by, link| Capability { name, used_by: Some(used_by), provides: &[], link };
        let spin = |name, provides, link| Capability { name, used_by: None, provides, link };
        Self {
            capabilities: vec![
                wasi("WASI 0.2", wasi::is_0_2_used_by, wasi::link_0_2),
                wasi("WASI 0.3", wasi::is_0_3_used_by, wasi::link_0_3),
                wasi("wasi:http 0.2", wasi::is_0_2_used_by, outbound_http::link_0_2),
                wasi("wasi:http 0.3", wasi::is_0_3_used_by, outbound_http::link_0_3),
                spin("Spin variables", spin_variables::PROVIDES, spin_variables::link),
                spin("Spin outbound HTTP", spin_http::PROVIDES, spin_http::link),
                spin("wasi:config", wasi_config::PROVIDES, wasi_config::link),
                spin("key-value stores", key_value::PROVIDES, storage::link_key_value),
                spin("SQLite databases", sqlite::PROVIDES, storage::link_sqlite),
                spin("Redis", outbound_redis::PROVIDES, servers::link_redis),
                spin("PostgreSQL", outbound_postgres::PROVIDES, servers::link_postgres),
                spin("MySQL", outbound_mysql::PROVIDES, servers::link_mysql),
                spin("MQTT", outbound_mqtt::PROVIDES, servers::link_mqtt),
                spin("language models", llm::PROVIDES, language_models::link),
            ],
        }
    }

    /// Adds `capability`.
    pub fn add(&mut self, capability: Capability) -> &mut Self {
        self.capabilities.push(capability);
        self
    }

    /// Links `component`, whose id is `id`, ready to be instantiated.
    ///
    /// SDKs of JavaScript and Python import their whole world, used or not.
    /// Therefore interfaces for which [`is_platform_interface`] holds and that no
    /// capability provides are defined to trap when they are called; one warning
    /// lists them.
    ///
    /// # Errors
    ///
    /// [`LinkError::Imports`] for every other import that nothing provides.
    pub fn pre_instantiate(
        &self,
        engine: &Engine,
        id: &str,
        component: &Component,
    ) -> Result<InstancePre<InstanceState>, LinkError> {
        let mut linker = Linker::new(engine);
        for capability in &self.capabilities {
            if capability.is_used_by(component) {
                (capability.link)(&mut linker).map_err(|error| LinkError::Capability {
                    capability: capability.name,
                    source: error.into(),
                })?;
            }
        }
        let imports = |error: wasmtime::Error| LinkError::Imports {
            component: id.to_owned(),
            source: error.into(),
        };
        let missing = self.stub_missing(engine, component, &mut linker).map_err(imports)?;
        if !missing.is_empty() {
            tracing::warn!(
                component = id,
                "these imports are not provided yet and trap when they are called: {}",
                missing.join(", ")
            );
        }
        linker.instantiate_pre(component).map_err(imports)
    }

    /// Defines the platform interfaces nobody provides; their names.
    fn stub_missing(
        &self,
        engine: &Engine,
        component: &Component,
        linker: &mut Linker<InstanceState>,
    ) -> wasmtime::Result<Vec<String>> {
        let mut missing = Vec::new();
        for (name, import) in component.component_type().imports(engine) {
            if !is_platform_interface(name) || self.provides(name) {
                continue;
            }
            if let ComponentItem::ComponentInstance(instance) = import.ty {
                let mut stub = linker.instance(name)?;
                let mut has_functions = false;
                for (member, item) in instance.exports(engine) {
                    stub_member(&mut stub, name, member, &item.ty)?;
                    has_functions |= matches!(item.ty, ComponentItem::ComponentFunc(_));
                }
                // Types alone need nobody to provide them.
                if has_functions {
                    missing.push(name.to_owned());
                }
            }
        }
        Ok(missing)
    }

    fn provides(&self, import: &str) -> bool {
        self.capabilities.iter().any(|capability| capability.serves(import))
    }
}

impl Capability {
    fn is_used_by(&self, component: &Component) -> bool {
        match self.used_by {
            Some(used_by) => used_by(component),
            None => component
                .component_type()
                .imports(component.engine())
                .any(|(import, _)| self.serves(import)),
        }
    }

    fn serves(&self, import: &str) -> bool {
        self.provides.iter().any(|provided| serves(provided, import))
    }
}

fn stub_member(
    stub: &mut LinkerInstance<'_, InstanceState>,
    interface: &str,
    member: &str,
    item: &ComponentItem,
) -> wasmtime::Result<()> {
    let message = format!("{interface}#{member} is not provided by this host yet");
    match item {
        ComponentItem::ComponentFunc(function) if function.async_() => {
            stub.func_new_concurrent(member, move |_, _, _, _| {
                let message = message.clone();
                Box::pin(async move { Err(wasmtime::Error::msg(message)) })
            })
        }
        ComponentItem::ComponentFunc(_) => {
            stub.func_new(member, move |_, _, _, _| Err(wasmtime::Error::msg(message.clone())))
        }
        ComponentItem::Resource(_) => {
            stub.resource(member, ResourceType::host::<Unprovided>(), |_, _| Ok(()))
        }
        _ => Ok(()),
    }
}

/// The type of every resource nobody provides.
struct Unprovided;

/// Whether `import` belongs to the platform that Spin guests are built for,
/// beyond WASI itself: imported by many guests that never call it. The release
/// candidates of WASI 0.3 count too: the Python SDK imports one beside 0.3.0.
pub fn is_platform_interface(import: &str) -> bool {
    const NAMESPACES: [&str; 7] = [
        "fermyon:",
        "spin:",
        "wasi:blobstore/",
        "wasi:config/",
        "wasi:keyvalue/",
        "wasi:logging/",
        "wasi:otel/",
    ];
    NAMESPACES.iter().any(|namespace| import.starts_with(namespace))
        || (import.starts_with("wasi:") && import.contains("@0.3.0-rc-"))
}

/// Whether an interface `provided` by the host serves `import`, as wasmtime sees
/// it: the same name, and a version of the same compatibility track. Versions
/// with a suffix serve only themselves.
fn serves(provided: &str, import: &str) -> bool {
    if provided == import {
        return true;
    }
    let (Some((interface, host)), Some((imported, guest))) =
        (provided.split_once('@'), import.split_once('@'))
    else {
        return false;
    };
    let (Some(host), Some(guest)) = (Version::parse(host), Version::parse(guest)) else {
        return false;
    };
    interface == imported && host.track() == guest.track()
}

struct Version([u64; 3]);

impl Version {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.').map(|part| part.parse().ok());
        let version = Self([parts.next()??, parts.next()??, parts.next()??]);
        parts.next().is_none().then_some(version)
    }

    /// Versions with the same track are compatible.
    fn track(&self) -> [u64; 3] {
        match self.0 {
            [0, 0, patch] => [0, 0, patch],
            [0, minor, _] => [0, minor, 0],
            [major, ..] => [major, 0, 0],
        }
    }
}

#[cfg(test)]
mod tests;
