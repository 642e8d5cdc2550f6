//! Apps are compiled as a real containerd gets their images, before a task exists.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use integration_tests::artifact;
use integration_tests::code_cache::cache_entries;
use integration_tests::containerd::{Containerd, Version};
use integration_tests::http;
use integration_tests::on_every_containerd;
use integration_tests::process::{Running, wait_until};
use integration_tests::registry::Registry;
use integration_tests::spinlet::Spinlet;
use integration_tests::workspace::{guest, programs};
use rustix::process::Signal;

on_every_containerd!(
    apps_are_compiled_as_their_images_are_pulled,
    images_that_are_no_apps_or_broken_ones_are_passed_over,
    a_containerd_that_was_away_is_followed_again,
);

/// What compiles the images of a containerd.
struct ImageCompiler(Running);

impl ImageCompiler {
    fn start(containerd: &Containerd) -> Result<Self> {
        let mut command = Command::new(programs()?.join("containerd-shim-spin-v2"));
        command
            .arg("compile-images")
            .arg(containerd.folder().join("containerd.sock"))
            .arg(containerd.namespace())
            .env("SPINLET_STATE_DIR", containerd.state());
        let log = containerd.folder().join("image-compiler.log");
        Ok(Self(Running::start(&mut command, &log)?))
    }

    /// Waits until it says of `image` what contains `what`.
    fn says(&self, image: &str, what: &str) -> Result<()> {
        wait_until(Duration::from_mins(2), || {
            let said = self.0.output();
            let line = said.lines().find(|line| line.contains(image) && line.contains(what));
            Ok(line.map(drop))
        })
        .with_context(|| format!("nothing of {image} with {what:?}:\n{}", self.0.output()))
    }

    fn compiled(&self, image: &str) -> Result<()> {
        self.says(image, "in the cache")
    }

    /// Asks it to end, which it must do as one that was asked to.
    fn stop(mut self) -> Result<()> {
        self.0.signal(Signal::TERM)?;
        let status = self.0.wait(Duration::from_secs(10))?;
        ensure!(status.success(), "{status}:\n{}", self.0.output());
        Ok(())
    }
}

fn push(registry: &Registry, name: &str) -> Result<String> {
    let image = registry.reference(name);
    Spinlet::new()?.run(&["push", &guest(name)?.display().to_string(), &image])?;
    Ok(image)
}

fn apps_are_compiled_as_their_images_are_pulled(version: Version) -> Result<()> {
    let containerd = Containerd::start(version)?;
    let registry = Registry::start()?;
    let (early, late) = (push(&registry, "telemetry")?, push(&registry, "hello-rust")?);
    containerd.pull(&early)?;
    let compiler = ImageCompiler::start(&containerd)?;
    compiler.compiled(&early)?;
    let first = cache_entries(&containerd.state());
    ensure!(first.len() == 1, "{first:?}");
    containerd.pull(&late)?;
    compiler.compiled(&late)?;
    let mut ahead = cache_entries(&containerd.state());
    ensure!(ahead.len() == 2, "{ahead:?}");
    compiler.stop()?;

    let address = containerd.run(&late, "app", &[])?;
    ensure!(http::get(address, "/")?.text() == "Hello from Rust!\n", "the app does not answer");
    // Code that was made again would be another file.
    let mut found = cache_entries(&containerd.state());
    ahead.sort();
    found.sort();
    ensure!(found == ahead, "{found:?} instead of {ahead:?}");
    ensure!(containerd.stop("app", "SIGTERM")? == 0, "the app does not drain");
    Ok(())
}

fn images_that_are_no_apps_or_broken_ones_are_passed_over(version: Version) -> Result<()> {
    let containerd = Containerd::start(version)?;
    let registry = Registry::start()?;
    let compiler = ImageCompiler::start(&containerd)?;
    let wasm = b"\0asm\x0d\0\x01\0 this is no component".as_slice();
    let app = artifact::locked_app(&artifact::digest(wasm)).to_string();
    let layers = [(artifact::WASM_LAYER, wasm), (artifact::APP_LAYER, app.as_bytes())];
    let garbage = artifact::push(&registry, "garbage", &layers)?;
    let layers = [(artifact::WASM_LAYER, wasm), (artifact::APP_LAYER, b"{ no JSON".as_slice())];
    let no_app = artifact::push(&registry, "no-app", &layers)?;
    containerd.pull(&garbage)?;
    containerd.pull(&no_app)?;
    compiler.says(&garbage, "cannot be compiled")?;
    compiler.says(&no_app, "locked")?;
    let good = push(&registry, "hello-rust")?;
    containerd.pull(&good)?;
    compiler.compiled(&good)?;
    ensure!(cache_entries(&containerd.state()).len() == 1, "only one of them has code");
    compiler.stop()
}

fn a_containerd_that_was_away_is_followed_again(version: Version) -> Result<()> {
    let mut containerd = Containerd::start(version)?;
    let registry = Registry::start()?;
    let image = push(&registry, "hello-rust")?;
    let compiler = ImageCompiler::start(&containerd)?;
    containerd.restart(Signal::KILL)?;
    containerd.pull(&image)?;
    compiler.compiled(&image)?;
    compiler.stop()
}
