//! Prints every message; `sleep MS`, `fail` and `panic` are done first.

use std::time::Duration;

use anyhow::{Result, bail};
use bytes::Bytes;
use spin_sdk::redis_subscriber;

#[redis_subscriber]
async fn handle(message: Bytes) -> Result<()> {
    let text = String::from_utf8_lossy(&message).into_owned();
    match text.split_once(' ') {
        Some(("sleep", milliseconds)) => {
            println!("asleep");
            std::thread::sleep(Duration::from_millis(milliseconds.parse()?));
        }
        _ if text == "fail" => bail!("asked to fail"),
        _ if text == "panic" => panic!("asked to panic"),
        _ => {}
    }
    println!("handled {text}");
    Ok(())
}
