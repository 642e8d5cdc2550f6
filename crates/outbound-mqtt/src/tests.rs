//! A real broker: every quality of service, errors, sharing, and linking every
//! version of the interface.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::Duration;

use outbound_hosts::AllowedHosts;
use outbound_network::{ComponentNetwork, OutboundNetwork};
use test_servers::Mosquitto;
use tokio::net::TcpListener;
use wasmtime::component::{Component, Linker};
use wasmtime::{Config, Engine};
use wit_component::{ComponentEncoder, StringEncoding, dummy_module, embed_component_metadata};
use wit_parser::{LiftLowerAbi, ManglingAndAbi, Resolve};

use super::*;

fn component(allowed: &[&str], limit: Option<usize>, payload: Option<usize>) -> Arc<ComponentMqtt> {
    let shared = Arc::new(OutboundNetwork::default());
    let limits = Limits { connections: shared.limit("mqtt", limit), payload };
    let allowed = Arc::new(AllowedHosts::parse(allowed, &[]).unwrap());
    let network = Arc::new(ComponentNetwork::new("shop", shared, allowed, |_| {}));
    Arc::new(ComponentMqtt::new(network, Arc::new(Connections::new(limits))))
}

async fn open(component: &ComponentMqtt, address: &str) -> Result<Connection, MqttError> {
    let (user, password) = (Mosquitto::USER.to_owned(), Mosquitto::PASSWORD.to_owned());
    component.connect(address.to_owned(), user, password, 30).await
}

/// Ends with the value.
struct Subscriber {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Subscriber {
    /// Listens to everything below `topic`; returns when it does.
    async fn start(broker: &Mosquitto, connection: &Connection, topic: &str) -> Self {
        let mut command = broker.subscriber(&format!("{topic}/#")).unwrap();
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut subscriber = Self { child, lines };
        // Until the first message arrives nobody listens yet.
        let topic = format!("{topic}/ready");
        let publisher = connection.clone();
        let publish = tokio::spawn(async move {
            loop {
                let quality = QualityOfService::AtLeastOnce;
                publisher.publish(topic.clone(), vec![b'!'], quality).await.unwrap();
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        subscriber = tokio::task::spawn_blocking(move || {
            subscriber.lines.next().unwrap().unwrap();
            subscriber
        })
        .await
        .unwrap();
        publish.abort();
        subscriber
    }

    /// The next message that is no sign of readiness.
    async fn next(self) -> (Self, String) {
        let mut this = self;
        tokio::task::spawn_blocking(move || {
            loop {
                let line = this.lines.next().unwrap().unwrap();
                if !line.contains("/ready ") {
                    return (this, line);
                }
            }
        })
        .await
        .unwrap()
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn a_message_of_every_quality_arrives() {
    let broker = Mosquitto::start().unwrap();
    let component = component(&["mqtt://127.0.0.1:*"], None, None);
    let connection = open(&component, &broker.address("a")).await.unwrap();
    let mut subscriber = Subscriber::start(&broker, &connection, "news").await;
    for (quality, text) in [
        (QualityOfService::AtMostOnce, "perhaps"),
        (QualityOfService::AtLeastOnce, "surely"),
        (QualityOfService::ExactlyOnce, "once"),
    ] {
        connection.publish("news/today".into(), text.into(), quality).await.unwrap();
        let line;
        (subscriber, line) = subscriber.next().await;
        assert_eq!(line, format!("news/today {text}"));
    }
    let long = "x".repeat(300_000);
    let quality = QualityOfService::ExactlyOnce;
    connection.publish("news/long".into(), long.clone().into(), quality).await.unwrap();
    let (_, line) = subscriber.next().await;
    assert_eq!(line.len(), "news/long ".len() + long.len());
}

#[tokio::test]
async fn who_opens_the_same_shares_one_connection() {
    let broker = Mosquitto::start().unwrap();
    let component = component(&["mqtt://127.0.0.1:*"], Some(1), Some(3));
    let first = open(&component, &broker.address("same")).await.unwrap();
    let second = open(&component, &broker.address("same")).await.unwrap();
    // A second one with this client id would end the first.
    for connection in [&first, &second, &first] {
        let quality = QualityOfService::AtLeastOnce;
        connection.publish("t".into(), b"abc".to_vec(), quality).await.unwrap();
    }
    let quality = QualityOfService::AtMostOnce;
    let long = first.publish("t".into(), b"abcd".to_vec(), quality).await.unwrap_err();
    assert!(matches!(long, MqttError::TooLong(3)), "{long}");
    for topic in ["", "a/+", "#"] {
        let wrong = first.publish(topic.into(), vec![], quality).await.unwrap_err();
        assert!(matches!(wrong, MqttError::Topic(_)), "{wrong}");
    }
}

#[tokio::test]
async fn one_connection_more_than_the_limit_waits_until_another_is_not_used() {
    let broker = Mosquitto::start().unwrap();
    let none = component(&["mqtt://127.0.0.1:*"], Some(0), None);
    let refused = open(&none, &broker.address("a")).await.unwrap_err();
    assert!(matches!(refused, MqttError::TooManyConnections), "{refused}");
    let one = component(&["mqtt://127.0.0.1:*"], Some(1), None);
    let first = open(&one, &broker.address("a")).await.unwrap();
    let address = broker.address("b");
    let mut second = std::pin::pin!(open(&one, &address));
    let wait = Duration::from_millis(300);
    assert!(tokio::time::timeout(wait, second.as_mut()).await.is_err());
    drop(first);
    second.await.unwrap();
}

#[tokio::test]
async fn every_failure_says_why() {
    let broker = Mosquitto::start().unwrap();
    let denied = component(&["mqtt://127.0.0.1"], None, None);
    let error = open(&denied, &broker.address("a")).await.unwrap_err();
    let expected = format!("address {} is not permitted", broker.address("a"));
    assert_eq!(error.to_string(), expected);
    let component = component(&["mqtt://*:*", "mqtts://*:*"], None, None);
    for address in ["nonsense", "mqtt://127.0.0.1"] {
        let error = open(&component, address).await.unwrap_err();
        assert!(matches!(error, MqttError::Address(_)), "{address}: {error}");
    }
    let nobody = open(&component, "mqtt://127.0.0.1:1?client_id=a").await.unwrap_err();
    assert!(nobody.to_string().contains("refused"), "{nobody}");
    let (address, user) = (broker.address("a"), Mosquitto::USER.to_owned());
    let wrong = component.connect(address.clone(), user, "wrong".into(), 0).await.unwrap_err();
    assert!(matches!(wrong, MqttError::Refused(_)), "{wrong}");
    let plain = open(&component, &address.replace("mqtt:", "mqtts:")).await.unwrap_err();
    assert!(matches!(plain, MqttError::Connect(_)), "{plain}");
}

#[tokio::test]
async fn a_broker_that_goes_away_is_an_error_and_then_a_new_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            // Says yes, waits for a message and leaves.
            let mut bytes = [0; 512];
            let _ = tokio::io::AsyncReadExt::read(&mut stream, &mut bytes).await;
            let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, b"\x20\x02\0\0").await;
            let _ = tokio::io::AsyncReadExt::read(&mut stream, &mut bytes).await;
        }
    });
    let component = component(&["mqtt://*:*"], None, None);
    let address = format!("mqtt://127.0.0.1:{port}?client_id=a");
    for _ in 0..2 {
        let connection = open(&component, &address).await.unwrap();
        let quality = QualityOfService::AtLeastOnce;
        let error = connection.publish("t".into(), vec![], quality).await.unwrap_err();
        assert!(matches!(error, MqttError::Closed(_)), "{error}");
    }
}

fn engine() -> Engine {
    let mut config = Config::new();
    config.wasm_component_model_async(true);
    Engine::new(&config).unwrap()
}

/// A component that imports the whole world in a file of `wit/`.
fn importer(engine: &Engine, wit: &str) -> Component {
    let mut resolve = Resolve::default();
    let package = resolve.push_str("world.wit", wit).unwrap();
    let world = resolve.select_world(&[package], None).unwrap();
    let mangling = ManglingAndAbi::Legacy(LiftLowerAbi::Sync);
    let mut module = dummy_module(&resolve, world, mangling);
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    let mut encoder = ComponentEncoder::default().validate(true).module(&module).unwrap();
    Component::new(engine, encoder.encode().unwrap()).unwrap()
}

#[test]
fn a_component_that_imports_any_version_is_linked() {
    let engine = engine();
    let mut linker: Linker<InstanceConnections> = Linker::new(&engine);
    add_to_linker(&mut linker, |connections| connections).unwrap();
    for wit in [include_str!("../wit/version-2.wit"), include_str!("../wit/version-3.wit")] {
        linker.instantiate_pre(&importer(&engine, wit)).unwrap();
    }
}
