//! Triggers whose servers are reached over TLS.

use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;
use integration_tests::process::{Running, output_of, wait_until};
use integration_tests::workspace::system_program;
use test_servers::{Authority, Mosquitto, Redis};

use super::*;

const SOON: Duration = Duration::from_secs(20);
/// Compiling a guest on a busy machine takes a while.
const START: Duration = Duration::from_mins(4);

/// `spinlet up` until `ready` is in its output.
fn up(spinlet: &Spinlet, name: &str, variables: &[&str], ready: &str) -> Result<Running> {
    let mut command = spinlet.command(&["up", &guest(name)?.display().to_string()]);
    command.args(variables.iter().flat_map(|variable| ["--variable", variable]));
    let mut running = Running::start(&mut command, &spinlet.folder().join(format!("{name}.log")))?;
    let appeared = || {
        let ended = running.ended()?;
        ensure!(ended.is_none(), "it has ended with {}", ended.unwrap_or_default());
        Ok(running.output().contains(ready).then_some(()))
    };
    let result = wait_until(START, appeared);
    result.with_context(|| format!("no {ready:?} in\n{}", running.output()))?;
    Ok(running)
}

fn wait_for(running: &Running, text: &str) -> Result<()> {
    let appeared = || Ok(running.output().contains(text).then_some(()));
    wait_until(SOON, appeared).with_context(|| format!("no {text:?} in\n{}", running.output()))
}

#[test]
fn messages_of_redis_arrive_over_tls() -> Result<()> {
    let authority = Authority::new()?;
    let redis = Redis::with_tls(&authority, false)?;
    let address = format!("redis_address=rediss://localhost:{}", redis.port());
    let spinlet = Spinlet::new()?.with_env("SSL_CERT_FILE", authority.certificate());
    let running = up(&spinlet, "redis-version-2", &[&address], "Redis channel orders")?;
    let mut publish = Command::new(system_program("redis-cli")?);
    publish.args(["-h", "localhost", "-p", &redis.port().to_string(), "--tls", "--cacert"]);
    publish.arg(authority.certificate()).args(["publish", "orders", "secret"]);
    assert_eq!(output_of(&mut publish, SOON)?.trim(), "1");
    wait_for(&running, "handled secret")
}

#[test]
fn messages_of_mqtt_arrive_over_tls() -> Result<()> {
    let authority = Authority::new()?;
    let broker = Mosquitto::with_tls(&authority, false)?;
    let address = format!("mqtt_address=mqtts://localhost:{}", broker.port());
    let user = format!("mqtt_user={}", Mosquitto::USER);
    let password = format!("mqtt_password={}", Mosquitto::PASSWORD);
    let spinlet = Spinlet::new()?.with_env("SSL_CERT_FILE", authority.certificate());
    let variables = [&*address, &user, &password];
    let running = up(&spinlet, "events", &variables, "MQTT topic orders/+")?;
    let mut publish = Command::new(system_program("mosquitto_pub")?);
    publish.args(["-h", "localhost", "-p", &broker.port().to_string(), "--cafile"]);
    publish.arg(authority.certificate()).args(["-u", Mosquitto::USER, "-P", Mosquitto::PASSWORD]);
    output_of(publish.args(["-q", "1", "-t", "orders/new", "-m", "secret"]), SOON)?;
    wait_for(&running, "handled secret of orders/new")
}

#[test]
fn a_server_of_a_trigger_that_nobody_trusts_is_named() -> Result<()> {
    let (redis, spinlet) = (Redis::with_tls(&Authority::new()?, false)?, Spinlet::new()?);
    let address = format!("redis_address=rediss://localhost:{}", redis.port());
    let app = guest("redis-version-2")?.display().to_string();
    let finished = spinlet.finish(&["up", &app, "--variable", &address])?;
    let text = finished.text();
    ensure!(
        !finished.status.success()
            && text.contains("cannot subscribe to channels of the Redis server localhost:")
            && text
                .contains("the TLS handshake with \"localhost\" failed: invalid peer certificate"),
        "{text}"
    );
    Ok(())
}
