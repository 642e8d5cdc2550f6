//! The app as Spinlet serves it.

use std::collections::BTreeMap;
use std::sync::Arc;

use ::app::LockedApp;
use host::{AppHost, GuestFiles, HostSettings, Linking};
use http_trigger::{HttpApp, HttpSettings};
use serde_json::json;
use trigger::{AppParts, LinkedComponent, LoadedComponent};
use wasmtime::Engine;
use wasmtime::Result;
use wasmtime::component::Component;
use wasmtime::error::Context as _;

use crate::server::Server;

/// An app of one component, loaded.
pub struct Parts {
    app: LockedApp,
    host: Arc<AppHost>,
    linking: Linking,
    components: BTreeMap<String, LoadedComponent>,
}

impl Parts {
    /// Loads it; what guests print goes to the standard output of this process.
    ///
    /// # Errors
    /// Fails when the host refuses the app.
    pub async fn new(engine: &Engine, component: Component) -> Result<Self> {
        let app = LockedApp::from_json(&Self::document())?;
        let settings = HostSettings::from_environment(BTreeMap::new())?;
        let host = AppHost::new(engine, &app, settings).await?;
        let loaded = LoadedComponent { component, files: GuestFiles::default() };
        let components = BTreeMap::from([("hello".to_owned(), loaded)]);
        Ok(Self { app, host, linking: Linking::standard(), components })
    }

    /// The locked app in the form in which an artifact has it.
    pub fn document() -> Vec<u8> {
        let document = json!({
            "spin_lock_version": 0,
            "metadata": { "name": "hello", "version": "1.0.0" },
            "triggers": [{
                "id": "trigger-hello", "trigger_type": "http",
                "trigger_config": { "component": "hello", "route": "/..." },
            }],
            "components": [{
                "id": "hello",
                "source": { "content_type": "application/wasm", "source": "file:///hello.wasm" },
            }],
        });
        document.to_string().into_bytes()
    }

    /// Links the component.
    ///
    /// # Errors
    /// Names the import that nothing provides.
    pub fn link(&self) -> Result<LinkedComponent> {
        self.parts().link("hello").map_err(wasmtime::Error::msg)
    }

    fn parts(&self) -> AppParts<'_> {
        let Self { app, host, linking, components } = self;
        AppParts { app, host, linking, components, replacements: None }
    }
}

/// Serves the component with the HTTP trigger, without a line for each request.
///
/// # Errors
/// Fails when the app cannot be made or nothing can listen.
pub fn spinlet(engine: &Engine, component: &Component) -> Result<Server> {
    let (engine, component) = (engine.clone(), component.clone());
    Server::start("spinlet", |serving| async move {
        let parts = Parts::new(&engine, component).await?;
        let settings = HttpSettings { access_log: false, ..HttpSettings::default() };
        let bound = HttpApp::new(&parts.parts(), settings)?.bind("127.0.0.1:0").await?;
        let address = *bound.addresses().first().context("no address")?;
        let (_shutdown, signal) = trigger::shutdown();
        serving.at(address);
        bound.serve(signal).await;
        Ok(())
    })
}
