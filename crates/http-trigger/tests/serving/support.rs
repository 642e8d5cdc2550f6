//! Servers with small guests, and clients for them.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a failure here is a failed test")]

use std::collections::BTreeMap;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use app::LockedApp;
use bytes::Bytes;
use host::{AppHost, GuestFiles, HostSettings, InstanceState, Linking, Output};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use http_trigger::{HttpApp, HttpSettings, StartError};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use trigger::{AppParts, Ended, LoadedComponent, Replacements, Shutdown};
use wasmtime::Engine;
use wasmtime::component::{Component, InstancePre};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// One engine for all tests; a small pool, so that its limits are met.
pub(crate) static ENGINE: LazyLock<Engine> = LazyLock::new(|| {
    let pool = engine::Pool { instances: 32, calls: 64, ..engine::Pool::default() };
    engine::new_engine(&engine::RuntimeSettings { pool: Some(pool) }).unwrap()
});

/// The guest of `guests/wasi-0.2.wat`.
pub(crate) static GUEST_0_2: LazyLock<Component> = LazyLock::new(|| {
    componentize(include_str!("guests/wasi-0.2.wit"), include_str!("guests/wasi-0.2.wat"))
});

/// The guest of `guests/wasi-0.3.wat`.
pub(crate) static GUEST_0_3: LazyLock<Component> = LazyLock::new(|| {
    componentize(include_str!("guests/wasi-0.3.wit"), include_str!("guests/wasi-0.3.wat"))
});

/// The guest of `guests/spin.wat`.
pub(crate) static GUEST_SPIN: LazyLock<Component> = LazyLock::new(|| {
    componentize(include_str!("guests/spin.wit"), include_str!("guests/spin.wat"))
});

/// Code that says `hallo` instead, ready to be instantiated.
pub(crate) fn other_0_2() -> InstancePre<InstanceState> {
    let other = include_str!("guests/wasi-0.2.wat").replacen("\"hello\")", "\"hallo\")", 1);
    linked(&componentize(include_str!("guests/wasi-0.2.wit"), &other))
}

/// Code that counts from 400 instead, ready to be instantiated.
pub(crate) fn other_0_3() -> InstancePre<InstanceState> {
    let other = include_str!("guests/wasi-0.3.wat").replacen("i32.const 200", "i32.const 400", 1);
    linked(&componentize(include_str!("guests/wasi-0.3.wit"), &other))
}

fn linked(component: &Component) -> InstancePre<InstanceState> {
    Linking::standard().pre_instantiate(&ENGINE, "guest", component).unwrap()
}

fn componentize(wit: &str, wat: &str) -> Component {
    let mut resolve = Resolve::default();
    let package = resolve.push_str("guest.wit", wit).unwrap();
    let world = resolve.select_world(&[package], None).unwrap();
    let mut module = wat::parse_str(wat).unwrap();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    let component =
        ComponentEncoder::default().module(&module).unwrap().validate(true).encode().unwrap();
    Component::new(&ENGINE, component).unwrap()
}

/// What an app consists of.
pub(crate) struct TestApp {
    pub(crate) triggers: Vec<Value>,
    /// Ids, components, and their allowed hosts.
    pub(crate) components: Vec<(&'static str, &'static Component, Vec<&'static str>)>,
    pub(crate) settings: HttpSettings,
    pub(crate) max_instance_memory: Option<u64>,
    pub(crate) replacements: Option<Arc<Replacements>>,
}

impl TestApp {
    /// One component on all paths.
    pub(crate) fn of(component: &'static Component) -> Self {
        Self {
            triggers: vec![json!({"component": "guest", "route": "/..."})],
            components: vec![("guest", component, vec![])],
            settings: HttpSettings::default(),
            max_instance_memory: None,
            replacements: None,
        }
    }

    pub(crate) fn settings(mut self, change: impl FnOnce(&mut HttpSettings)) -> Self {
        change(&mut self.settings);
        self
    }

    fn locked(&self) -> LockedApp {
        let triggers: Vec<Value> = self
            .triggers
            .iter()
            .enumerate()
            .map(|(n, config)| {
                json!({"id": format!("t{n}"), "trigger_type": "http", "trigger_config": config})
            })
            .collect();
        let components: Vec<Value> = self
            .components
            .iter()
            .map(|(id, _, hosts)| {
                json!({
                    "id": id,
                    "metadata": {"allowed_outbound_hosts": hosts},
                    "config": {"greeting": "hello {{ who }}"},
                    "source": {"content_type": "application/wasm", "source": "file:///guest.wasm"},
                })
            })
            .collect();
        let document = json!({
            "spin_lock_version": 0,
            "metadata": {"name": "test", "version": "1.2.3"},
            "variables": {"who": {"default": "world"}},
            "triggers": triggers,
            "components": components,
        });
        LockedApp::from_json(document.to_string().as_bytes()).unwrap()
    }

    pub(crate) fn build(self) -> Result<(HttpApp, Captured), StartError> {
        let locked = self.locked();
        let captured = Captured::default();
        let settings = HostSettings {
            max_instance_memory: self.max_instance_memory,
            output: Output::new(Box::new(captured.clone()), Box::new(std::io::sink())),
            ..HostSettings::from_environment(BTreeMap::new())?
        };
        // Nothing is waited for: no provider of variables is remote.
        let host = futures::executor::block_on(AppHost::new(&ENGINE, &locked, settings))?;
        let components = self.components.into_iter().map(|(id, component, _)| {
            let files = GuestFiles::default();
            (id.to_owned(), LoadedComponent { component: component.clone(), files })
        });
        let parts = AppParts {
            app: &locked,
            host: &host,
            linking: &Linking::standard(),
            components: &components.collect(),
            replacements: self.replacements.as_ref(),
        };
        Ok((HttpApp::new(&parts, self.settings)?, captured))
    }

    pub(crate) async fn start(self) -> TestServer {
        let (app, captured) = self.build().unwrap_or_else(|error| panic!("{error}"));
        let bound = app.bind("127.0.0.1:0").await.unwrap();
        let address = *bound.addresses().first().unwrap();
        let (shutdown, signal) = trigger::shutdown();
        let serving = tokio::spawn(bound.serve(signal));
        TestServer { address, shutdown, serving, captured }
    }
}

/// A running server.
pub(crate) struct TestServer {
    pub(crate) address: SocketAddr,
    pub(crate) shutdown: Shutdown,
    pub(crate) serving: JoinHandle<Ended>,
    pub(crate) captured: Captured,
}

/// Text that guests wrote.
#[derive(Clone, Default)]
pub(crate) struct Captured(Arc<Mutex<Vec<u8>>>);

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Captured {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

/// A whole response.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

pub(crate) async fn whole(response: Response<Incoming>) -> Answer {
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Answer { status: parts.status, headers: parts.headers, body }
}

pub(crate) fn request(path: &str) -> Request<Empty<Bytes>> {
    Request::builder().uri(path).header("host", "a.test").body(Empty::new()).unwrap()
}

impl TestServer {
    pub(crate) async fn connect<B>(&self) -> http1::SendRequest<B>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        sender
    }

    pub(crate) async fn connect_http2(&self) -> http2::SendRequest<Empty<Bytes>> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (sender, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        sender
    }

    /// A request over a connection of its own.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        let mut sender = self.connect().await;
        whole(sender.send_request(request(path)).await.unwrap()).await
    }

    /// As `get`, again and again until `wanted` or for five seconds.
    pub(crate) async fn get_until(&self, path: &str, wanted: StatusCode) -> Answer {
        let end = tokio::time::Instant::now() + Duration::from_secs(5);
        loop {
            let answer = self.get(path).await;
            if answer.status == wanted || tokio::time::Instant::now() > end {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Sends `bytes` as they are and gives what comes back until the end.
    pub(crate) async fn raw(&self, bytes: &[u8]) -> String {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        let read = stream.read_to_end(&mut answer);
        // What came before a reset counts, too.
        let _ = tokio::time::timeout(Duration::from_secs(5), read).await.unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }
}
