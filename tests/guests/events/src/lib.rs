//! Prints every message and every time; the messages `sleep MS`, `fail` and
//! `panic` are done first.

use std::time::Duration;

wit_bindgen::generate!({
    inline: r#"
        package test:events;

        world events {
            use spin:mqtt-trigger/spin-mqtt-types.{error, metadata, payload};
            use fermyon:spin-cron/cron-types@2.0.0.{error as cron-error, metadata as cron-metadata};
            export handle-message: func(message: payload, metadata: metadata) -> result<_, error>;
            export handle-cron-event: func(metadata: cron-metadata) -> result<_, cron-error>;
        }

        package spin:mqtt-trigger {
            interface spin-mqtt-types {
                variant error { other(string) }
                enum qos { at-most-once, at-least-once, exactly-once }
                record metadata { topic: string }
                type payload = list<u8>;
            }
        }

        package fermyon:spin-cron@2.0.0 {
            interface cron-types {
                record metadata { timestamp: u64 }
                variant error { other(string) }
            }
        }
    "#,
    generate_all,
});

struct Events;

export!(Events);

impl Guest for Events {
    fn handle_message(message: Vec<u8>, metadata: Metadata) -> Result<(), Error> {
        let text = String::from_utf8_lossy(&message).into_owned();
        match text.split_once(' ') {
            Some(("sleep", milliseconds)) => {
                println!("asleep");
                std::thread::sleep(Duration::from_millis(milliseconds.parse().unwrap()));
            }
            _ if text == "fail" => return Err(Error::Other("asked to fail".into())),
            _ if text == "panic" => panic!("asked to panic"),
            _ => {}
        }
        println!("handled {text} of {}", metadata.topic);
        Ok(())
    }

    fn handle_cron_event(metadata: CronMetadata) -> Result<(), CronError> {
        println!("it is {}.", metadata.timestamp);
        Ok(())
    }
}
