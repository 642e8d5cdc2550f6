//! Prints the messages of a Redis channel.

use anyhow::{Context as _, Result};
use bytes::Bytes;
use spin_sdk::redis_subscriber;

/// What fails is logged by the runtime; the next message comes all the same.
#[redis_subscriber]
async fn handle(message: Bytes) -> Result<()> {
    let order = std::str::from_utf8(&message).context("the order is not text")?;
    println!("order: {order}");
    Ok(())
}
