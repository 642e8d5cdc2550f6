//! Triggers other than HTTP, with guests of real SDKs and the distribution's
//! servers.

use std::io::Write as _;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use fs_err as fs;
use integration_tests::containerd::{Containerd, RUNTIME, Version};
use integration_tests::http;
use integration_tests::process::{Running, free_address, wait_until};
use integration_tests::registry::Registry;
use integration_tests::servers::{Mosquitto, Moto, Redis};
use integration_tests::spinlet::Spinlet;
use integration_tests::workspace::guest;
use rustix::process::Signal;

/// Compiling a guest on a busy machine takes a while.
const START: Duration = Duration::from_mins(4);
const SOON: Duration = Duration::from_secs(20);

fn app(name: &str) -> Result<String> {
    Ok(guest(name)?.display().to_string())
}

/// `spinlet up` until its output contains `ready`.
fn up(spinlet: &Spinlet, arguments: &[&str], ready: &str) -> Result<Running> {
    let mut command = spinlet.command(&["up"]);
    command.args(arguments);
    let log = spinlet.folder().join(format!("up-{}.log", free_address()?.port()));
    let mut running = Running::start(&mut command, &log)?;
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

/// How often `text` is in what was written.
fn count(running: &Running, text: &str) -> usize {
    running.output().matches(text).count()
}

mod command {
    use super::*;

    fn code_of(spinlet: &Spinlet, arguments: &[&str]) -> Result<(Option<i32>, String, String)> {
        let app = app("command")?;
        let mut all = vec!["--quiet", "up", &app, "--"];
        all.extend(arguments);
        let finished = spinlet.finish(&all)?;
        Ok((finished.status.code(), finished.stdout, finished.stderr))
    }

    #[test]
    fn a_program_runs_once_with_arguments_and_its_exit_code_is_the_apps() -> Result<()> {
        let spinlet = Spinlet::new()?;
        let (code, stdout, _) = code_of(&spinlet, &["one", "--two"])?;
        assert_eq!(stdout, "arguments: program one --two\ngreeting: hello\n");
        assert_eq!(code, Some(0));
        // WASI 0.2 knows success and failure, no other code.
        for (arguments, expected) in
            [(["exit", "0"], 0), (["exit", "42"], 1), (["return", "0"], 0), (["return", "3"], 1)]
        {
            let (code, ..) = code_of(&spinlet, &arguments)?;
            assert_eq!(code, Some(expected), "{arguments:?}");
        }
        Ok(())
    }

    #[test]
    fn a_program_that_fails_says_so_and_ends_with_1() -> Result<()> {
        let (code, _, stderr) = code_of(&Spinlet::new()?, &["panic"])?;
        assert_eq!(code, Some(1), "{stderr}");
        assert!(
            stderr.contains("asked to panic") && stderr.contains("the guest failed"),
            "{stderr}"
        );
        Ok(())
    }

    #[test]
    fn a_program_reads_the_standard_input_of_the_command_line() -> Result<()> {
        let spinlet = Spinlet::new()?;
        let app = app("command")?;
        let mut command = spinlet.command(&["--quiet", "up", &app, "--", "copy"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        child.stdin.take().context("no stdin")?.write_all(b"from a pipe\n")?;
        let output = child.wait_with_output()?;
        assert_eq!(String::from_utf8_lossy(&output.stdout), "from a pipe\n");
        assert!(output.status.success());
        Ok(())
    }

    #[test]
    fn a_program_that_is_asked_to_stop_may_finish() -> Result<()> {
        let spinlet = Spinlet::new()?;
        let app = app("command")?;
        let mut running = up(&spinlet, &[&app, "--", "sleep", "1500"], "asleep")?;
        running.signal(Signal::TERM)?;
        assert_eq!(running.wait(SOON)?.code(), Some(0), "{}", running.output());
        wait_for(&running, "awake")?;
        let mut running = up(&spinlet, &[&app, "--", "sleep", "60000"], "asleep")?;
        running.signal(Signal::TERM)?;
        wait_for(&running, "Stopping")?;
        running.signal(Signal::TERM)?;
        assert_eq!(running.wait(SOON)?.code(), Some(143), "{}", running.output());
        Ok(())
    }

    #[test]
    fn a_program_is_a_task_of_containerd_with_its_exit_code() -> Result<()> {
        let containerd = Containerd::start(Version::V2)?;
        let registry = Registry::start()?;
        let image = registry.reference("command");
        Spinlet::new()?.run(&["push", &app("command")?, &image])?;
        containerd.pull(&image)?;
        for (code, expected) in [("0", 0), ("42", 1)] {
            let arguments = ["run", "--rm", "--runtime", RUNTIME, &image, "p", "exit", code];
            let finished = containerd.try_ctr(&arguments)?;
            assert_eq!(finished.status.code(), Some(expected), "{}", finished.text());
        }
        let arguments = ["run", "--rm", "--runtime", RUNTIME, &image, "p", "an", "argument"];
        let said = containerd.ctr(&arguments)?;
        assert!(said.contains("arguments: program an argument\n"), "{said}");
        Ok(())
    }
}

mod redis {
    use super::*;

    const READY: &str = "Redis channel orders";

    fn serve(spinlet: &Spinlet, redis: &Redis, name: &str) -> Result<Running> {
        let address = format!("redis_address={}", redis.address());
        up(spinlet, &[&app(name)?, "--variable", &address], READY)
    }

    #[test]
    fn messages_reach_guests_of_both_interfaces_in_order() -> Result<()> {
        let redis = Redis::start()?;
        let spinlet = Spinlet::new()?;
        for name in ["redis-version-2", "redis-version-3"] {
            let mut running = serve(&spinlet, &redis, name)?;
            for n in 0..20 {
                assert_eq!(redis.publish("orders", &format!("number {n}."))?, 1);
            }
            redis.publish("others", "elsewhere")?;
            redis.publish("orders", "fail")?;
            redis.publish("orders", "panic")?;
            redis.publish("orders", "last")?;
            wait_for(&running, "handled last")?;
            wait_for(&running, "handled elsewhere")?;
            let output = running.output();
            let places: Vec<_> =
                (0..20).map(|n| output.find(&format!("handled number {n}."))).collect();
            assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{output}");
            assert!(output.contains("the guest answered with an error"), "{output}");
            assert!(output.contains("the guest failed"), "{output}");
            running.signal(Signal::TERM)?;
            assert_eq!(running.wait(SOON)?.code(), Some(0), "{}", running.output());
        }
        Ok(())
    }

    #[test]
    fn the_example_prints_the_messages_of_its_channel() -> Result<()> {
        let redis = Redis::start()?;
        let spinlet = Spinlet::new()?;
        let running = serve(&spinlet, &redis, "redis-rust")?;
        redis.publish("orders", "two of them")?;
        wait_for(&running, "order: two of them\n")
    }

    #[test]
    fn what_is_in_flight_is_finished_when_the_app_is_stopped() -> Result<()> {
        let redis = Redis::start()?;
        let spinlet = Spinlet::new()?;
        let mut running = serve(&spinlet, &redis, "redis-version-2")?;
        redis.publish("orders", "sleep 1000")?;
        wait_for(&running, "asleep")?;
        redis.publish("orders", "waits")?;
        running.signal(Signal::TERM)?;
        assert_eq!(running.wait(SOON)?.code(), Some(0), "{}", running.output());
        wait_for(&running, "handled sleep 1000")?;
        wait_for(&running, "handled waits")
    }

    #[test]
    fn a_server_that_restarts_is_found_again() -> Result<()> {
        let mut redis = Redis::start()?;
        let spinlet = Spinlet::new()?;
        let running = serve(&spinlet, &redis, "redis-version-2")?;
        redis.stop();
        wait_for(&running, "the connection to Redis is lost")?;
        redis.start_again()?;
        wait_until(SOON, || Ok((redis.publish("orders", "again")? == 1).then_some(())))?;
        wait_for(&running, "handled again")
    }

    #[test]
    fn wrong_triggers_are_explained_before_anything_is_compiled() -> Result<()> {
        let spinlet = Spinlet::new()?;
        let folder = spinlet.folder().join("wrong");
        fs::create_dir(&folder)?;
        fs::write(folder.join("a.wasm"), b"\0asm\x01\0\0\0")?;
        let manifest = "spin_manifest_version = 2\n[application]\nname = \"wrong\"\n\
            [[trigger.redis]]\nchannel = \"x\"\ncomponent = \"a\"\n\
            [[trigger.redis]]\nchanel = \"y\"\naddress = \"redis://h\"\ncomponent = \"a\"\n\
            [component.a]\nsource = \"a.wasm\"\n";
        fs::write(folder.join("spin.toml"), manifest)?;
        let finished = spinlet.finish(&["up", &folder.display().to_string()])?;
        let text = finished.text();
        assert_eq!(finished.status.code(), Some(1), "{text}");
        assert!(text.contains("has no address") && text.contains("chanel"), "{text}");
        assert!(!text.contains("Compil"), "{text}");
        Ok(())
    }

    #[test]
    fn a_server_that_does_not_answer_fails_the_start_in_one_sentence() -> Result<()> {
        let address = format!("redis_address=redis://:hunter2@{}", free_address()?);
        let begun = Instant::now();
        let finished =
            Spinlet::new()?.finish(&["up", &app("redis-version-2")?, "--variable", &address])?;
        let text = finished.text();
        assert_eq!(finished.status.code(), Some(1), "{text}");
        assert!(text.contains("cannot subscribe to channels of the Redis server"), "{text}");
        assert!(text.to_lowercase().contains("refused") && !text.contains("hunter2"), "{text}");
        assert!(begun.elapsed() < START, "{:?}", begun.elapsed());
        Ok(())
    }

    #[test]
    fn a_task_of_containerd_is_started_when_it_is_subscribed() -> Result<()> {
        let redis = Redis::start()?;
        let containerd = Containerd::start(Version::V2)?;
        let registry = Registry::start()?;
        let image = registry.reference("redis-version-3");
        Spinlet::new()?.run(&["push", &app("redis-version-3")?, &image])?;
        containerd.pull(&image)?;
        let log = containerd.folder().join("redis-task.log");
        let address = format!("REDIS_ADDRESS={}", redis.address());
        let arguments = [
            "run",
            "--rm",
            "--net-host",
            "--env",
            &address,
            "--runtime",
            RUNTIME,
            &image,
            "subscriber",
        ];
        let mut command = containerd.ctr_command(&arguments);
        let mut running = Running::start(&mut command, &log)?;
        wait_until(START, || {
            Ok(containerd.task("subscriber")?.filter(|task| task.status == "RUNNING"))
        })
        .with_context(|| running.output())?;
        assert_eq!(redis.publish("orders", "from a task")?, 1, "subscribed when it runs");
        wait_for(&running, "handled from a task")?;
        containerd.ctr(&["task", "kill", "-s", "SIGTERM", "subscriber"])?;
        assert_eq!(running.wait(SOON)?.code(), Some(0), "{}", running.output());
        Ok(())
    }
}

mod mqtt {
    use super::*;

    fn serve(spinlet: &Spinlet, broker: &Mosquitto, name: &str) -> Result<Running> {
        let address = format!("mqtt_address={}", broker.address());
        up(spinlet, &[&app(name)?, "--variable", &address], "MQTT topic orders/+")
    }

    #[test]
    fn messages_of_topics_reach_guests_of_both_kinds_in_order() -> Result<()> {
        let broker = Mosquitto::start()?;
        let spinlet = Spinlet::new()?;
        for name in ["events", "events-async"] {
            let mut running = serve(&spinlet, &broker, name)?;
            for n in 0..20 {
                broker.publish("orders/new", &format!("number {n}."))?;
            }
            broker.publish("orders/old", "fail")?;
            broker.publish("orders/old", "panic")?;
            broker.publish("others", "not for us")?;
            broker.publish("orders/old", "last")?;
            wait_for(&running, "handled last of orders/old")?;
            let output = running.output();
            let places: Vec<_> = (0..20)
                .map(|n| output.find(&format!("handled number {n}. of orders/new")))
                .collect();
            assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{output}");
            assert!(output.contains("the guest answered with an error: asked to fail"), "{output}");
            assert!(
                output.contains("the guest failed") && !output.contains("not for us"),
                "{output}"
            );
            running.signal(Signal::TERM)?;
            assert_eq!(running.wait(SOON)?.code(), Some(0), "{}", running.output());
        }
        Ok(())
    }

    #[test]
    fn a_message_in_flight_is_finished_when_the_app_is_stopped() -> Result<()> {
        let broker = Mosquitto::start()?;
        let spinlet = Spinlet::new()?;
        let mut running = serve(&spinlet, &broker, "events")?;
        broker.publish("orders/new", "sleep 1000")?;
        wait_for(&running, "asleep")?;
        running.signal(Signal::TERM)?;
        assert_eq!(running.wait(SOON)?.code(), Some(0), "{}", running.output());
        wait_for(&running, "handled sleep 1000")
    }

    #[test]
    fn a_broker_that_restarts_is_found_again() -> Result<()> {
        let mut broker = Mosquitto::start()?;
        let spinlet = Spinlet::new()?;
        let running = serve(&spinlet, &broker, "events")?;
        broker.stop();
        wait_for(&running, "the connection to MQTT is lost")?;
        broker.start_again()?;
        wait_for(&running, "connected to MQTT again")?;
        broker.publish("orders/new", "again")?;
        wait_for(&running, "handled again")
    }

    #[test]
    fn a_broker_that_does_not_answer_fails_the_start_in_one_sentence() -> Result<()> {
        let address = format!("mqtt_address=mqtt://{}", free_address()?);
        let finished = Spinlet::new()?.finish(&["up", &app("events")?, "--variable", &address])?;
        let text = finished.text();
        assert_eq!(finished.status.code(), Some(1), "{text}");
        assert!(text.contains("cannot subscribe to the MQTT topic \"orders/+\" on"), "{text}");
        assert!(text.contains("refused"), "{text}");
        Ok(())
    }
}

mod cron {
    use super::*;

    /// A folder with one of the guests and this trigger only.
    fn folder(spinlet: &Spinlet, name: &str, expression: &str) -> Result<String> {
        let folder = spinlet.folder().join(format!("cron-{name}"));
        fs::create_dir(&folder)?;
        let file = format!("{}.wasm", name.replace('-', "_"));
        let built = guest(name)?.join("target/wasm32-wasip1/release").join(file);
        fs::copy(built, folder.join("guest.wasm"))?;
        let manifest = format!(
            "spin_manifest_version = 2\n[application]\nname = \"cron\"\n\
             [[trigger.cron]]\ncron_expression = \"{expression}\"\ncomponent = \"clock\"\n\
             [component.clock]\nsource = \"guest.wasm\"\n"
        );
        fs::write(folder.join("spin.toml"), manifest)?;
        Ok(folder.display().to_string())
    }

    #[test]
    fn a_component_is_started_at_its_times_and_told_them() -> Result<()> {
        let spinlet = Spinlet::new()?;
        for name in ["events", "events-async"] {
            let app = folder(&spinlet, name, "* * * * * *")?;
            let mut running = up(&spinlet, &[&app], "at the times")?;
            wait_until(SOON, || Ok((count(&running, "it is ") >= 3).then_some(())))
                .with_context(|| running.output())?;
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
            let output = running.output();
            let told: Vec<u64> = output
                .lines()
                .filter_map(|line| line.strip_prefix("it is ")?.strip_suffix('.')?.parse().ok())
                .collect();
            assert!(told.windows(2).all(|pair| pair[0] < pair[1]), "{told:?}");
            assert!(told.iter().all(|time| now - time < 60), "{told:?} at {now}");
            running.signal(Signal::TERM)?;
            assert_eq!(running.wait(SOON)?.code(), Some(0), "{}", running.output());
        }
        Ok(())
    }

    #[test]
    fn an_expression_that_cannot_be_read_is_named_before_anything_is_compiled() -> Result<()> {
        let spinlet = Spinlet::new()?;
        let app = folder(&spinlet, "events", "every day")?;
        let finished = spinlet.finish(&["up", &app])?;
        let text = finished.text();
        assert_eq!(finished.status.code(), Some(1), "{text}");
        assert!(text.contains("cron_expression \"every day\""), "{text}");
        assert!(!text.contains("Compil"), "{text}");
        Ok(())
    }
}

mod wagi {
    use super::*;

    #[test]
    fn a_program_answers_requests_as_cgi_does() -> Result<()> {
        let spinlet = Spinlet::new()?;
        let served = spinlet.up(&app("wagi")?, &[])?;
        let response = served.get("/cgi/a%20b?x=1&y=2")?;
        assert_eq!(response.status, 200);
        assert_eq!(response.header("content-type"), Some("text/plain"));
        let text = response.text();
        for line in [
            "arguments: [\"/cgi\", \"x=1\", \"y=2\"]",
            "PATH_INFO=/a b",
            "X_RAW_PATH_INFO=/a%20b",
            "SCRIPT_NAME=/cgi",
            "QUERY_STRING=x=1&y=2",
            "REQUEST_METHOD=GET",
            "REMOTE_ADDR=127.0.0.1",
            "X_MATCHED_ROUTE=/cgi/...",
            "GREETING=hello",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
        let response = served.get("/cgi?redirect")?;
        assert_eq!((response.status, response.header("location")), (302, Some("/elsewhere")));
        assert_eq!(served.get("/cgi?status")?.status, 418);
        assert_eq!(served.get("/cgi?exit")?.text(), "done\n");
        assert_eq!(served.get("/cgi?nothing")?.status, 500);
        Ok(())
    }
}

mod several {
    use super::*;

    #[test]
    fn triggers_of_several_types_serve_one_app_and_end_together() -> Result<()> {
        let redis = Redis::start()?;
        let spinlet = Spinlet::new()?;
        let folder = spinlet.folder().join("several");
        fs::create_dir(&folder)?;
        for (name, file) in [("behaviours", "behaviours"), ("redis-version-2", "redis_version_2")] {
            let built = guest(name)?.join(format!("target/wasm32-wasip1/release/{file}.wasm"));
            fs::copy(built, folder.join(format!("{file}.wasm")))?;
        }
        let manifest = format!(
            "spin_manifest_version = 2\n[application]\nname = \"several\"\n\
             [[trigger.http]]\nroute = \"/b/...\"\ncomponent = \"web\"\n\
             [[trigger.redis]]\nchannel = \"orders\"\naddress = \"{}\"\ncomponent = \"queue\"\n\
             [component.web]\nsource = \"behaviours.wasm\"\n\
             [component.queue]\nsource = \"redis_version_2.wasm\"\n",
            redis.address()
        );
        fs::write(folder.join("spin.toml"), manifest)?;
        let listen = free_address()?;
        let folder = folder.display().to_string();
        let arguments = [folder.as_str(), "--listen", &listen.to_string()];
        let mut running = up(&spinlet, &arguments, "Redis channel orders")?;
        assert_eq!(http::get(listen, "/b/hello")?.status, 200);
        redis.publish("orders", "sleep 500")?;
        wait_for(&running, "asleep")?;
        running.signal(Signal::TERM)?;
        assert_eq!(running.wait(SOON)?.code(), Some(0), "{}", running.output());
        assert_eq!(count(&running, "handled sleep 500"), 1);
        Ok(())
    }
}

/// Proved with Moto, a stand-in: SQS itself cannot be had here.
mod sqs {
    use serde_json::{Value, json};

    use super::*;

    const READY: &str = "SQS queue https://sqs.eu-west-1.amazonaws.com/123456789012/orders";
    const QUEUE: &str = "https://sqs.eu-west-1.amazonaws.com/123456789012/orders";

    /// A queue whose messages come again after two seconds.
    fn queue() -> Result<Moto> {
        let moto = Moto::start("sqs")?;
        make_queue(&moto)?;
        Ok(moto)
    }

    fn make_queue(moto: &Moto) -> Result<()> {
        let attributes = json!({ "VisibilityTimeout": "2" });
        let input = json!({ "QueueName": "orders", "Attributes": attributes });
        moto.call("AmazonSQS.CreateQueue", &input).map(drop)
    }

    fn send(moto: &Moto, body: &str) -> Result<()> {
        send_with(moto, body, json!({}))
    }

    fn send_with(moto: &Moto, body: &str, attributes: Value) -> Result<()> {
        let input =
            json!({ "QueueUrl": QUEUE, "MessageBody": body, "MessageAttributes": attributes });
        moto.call("AmazonSQS.SendMessage", &input).map(drop)
    }

    /// How many messages the queue has, visible or not.
    fn left(moto: &Moto) -> Result<u64> {
        let names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"];
        let [visible, invisible] = names;
        let input = json!({ "QueueUrl": QUEUE, "AttributeNames": names });
        let answer = moto.call("AmazonSQS.GetQueueAttributes", &input)?;
        let attributes = answer.get("Attributes").context("the queue has no attributes")?;
        let number = |name: &str| {
            let text = attributes.get(name).and_then(Value::as_str).unwrap_or("0");
            text.parse::<u64>()
        };
        Ok(number(visible)? + number(invisible)?)
    }

    fn spinlet(moto: &Moto) -> Result<Spinlet> {
        let spinlet = Spinlet::new()?.with_env("AWS_ENDPOINT_URL_SQS", moto.url());
        Ok(spinlet.with_env("AWS_ACCESS_KEY_ID", "id").with_env("AWS_SECRET_ACCESS_KEY", "key"))
    }

    #[test]
    fn messages_of_queues_reach_guests_of_both_kinds_and_are_deleted_or_left() -> Result<()> {
        for name in ["sqs-messages", "sqs-messages-async"] {
            let moto = queue()?;
            let spinlet = spinlet(&moto)?;
            let mut running = up(&spinlet, &[&app(name)?], READY)?;
            let attributes = json!({
                "size": { "DataType": "Number", "StringValue": "7" },
                "bytes": { "DataType": "Binary", "BinaryValue": "AAH/" },
            });
            send_with(&moto, "with attributes", attributes)?;
            wait_for(&running, "handled with attributes.")?;
            for line in [
                "ApproximateReceiveCount is None MessageAttributeValue::Str(\"1\").",
                "size is Some(\"Number\") MessageAttributeValue::Str(\"7\").",
                "bytes is Some(\"Binary\") MessageAttributeValue::Binary([0, 1, 255]).",
            ] {
                wait_for(&running, line)?;
            }
            for n in 0..20 {
                send(&moto, &format!("number {n}"))?;
            }
            for n in 0..20 {
                wait_for(&running, &format!("handled number {n}."))?;
            }
            // What was handled is gone, what was not comes again.
            wait_until(SOON, || Ok((left(&moto)? == 0).then_some(())))?;
            for body in ["leave", "fail", "panic"] {
                send(&moto, body)?;
            }
            wait_for(&running, "the guest answered with an error: asked to fail")?;
            wait_for(&running, "asked to panic")?;
            wait_until(SOON, || Ok((count(&running, "handled leave.") >= 2).then_some(())))?;
            assert_eq!(left(&moto)?, 3);
            running.signal(Signal::TERM)?;
            assert_eq!(running.wait(SOON)?.code(), Some(0), "{}", running.output());
        }
        Ok(())
    }

    #[test]
    fn a_message_stays_with_its_guest_until_it_is_handled() -> Result<()> {
        let moto = queue()?;
        let spinlet = spinlet(&moto)?;
        let mut running = up(&spinlet, &[&app("sqs-messages")?], READY)?;
        // More than twice as long as messages stay invisible by themselves.
        send(&moto, "sleep 5000")?;
        wait_for(&running, "handled sleep 5000.")?;
        wait_until(SOON, || Ok((left(&moto)? == 0).then_some(())))?;
        assert_eq!(count(&running, "asleep"), 1, "{}", running.output());
        send(&moto, "sleep 1500")?;
        wait_until(SOON, || Ok((count(&running, "asleep") == 2).then_some(())))?;
        running.signal(Signal::TERM)?;
        assert_eq!(running.wait(SOON)?.code(), Some(0), "{}", running.output());
        wait_for(&running, "handled sleep 1500.")?;
        assert_eq!(left(&moto)?, 0, "it is deleted before the app ends");
        Ok(())
    }

    #[test]
    fn a_service_that_restarts_is_found_again() -> Result<()> {
        let mut moto = queue()?;
        let spinlet = spinlet(&moto)?;
        let running = up(&spinlet, &[&app("sqs-messages")?], READY)?;
        moto.stop();
        wait_for(&running, "cannot receive messages")?;
        moto.start_again()?;
        make_queue(&moto)?;
        send(&moto, "again")?;
        wait_for(&running, "handled again.")
    }

    #[test]
    fn an_app_whose_queue_is_not_there_does_not_start() -> Result<()> {
        let moto = Moto::start("sqs")?;
        let finished = spinlet(&moto)?.finish(&["up", &app("sqs-messages")?])?;
        assert_eq!(finished.status.code(), Some(1), "{}", finished.text());
        for text in ["cannot receive messages of the SQS queue", QUEUE] {
            assert!(finished.stderr.contains(text), "{}", finished.stderr);
        }
        Ok(())
    }
}
