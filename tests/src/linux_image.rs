//! Ordinary Linux images, for pause containers, sidecars and critest.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use fs_err as fs;
use serde_json::{Value, json};

use crate::artifact::{digest, push_manifest};
use crate::process::output_of;
use crate::registry::Registry;
use crate::workspace::images;

/// The image of the pause container.
pub const PAUSE: &str = "registry.k8s.io/pause:3.10";
/// A shell and its commands.
pub const BUSYBOX: &str = "registry.k8s.io/e2e-test-images/busybox:1.29-2";
/// A web server on port 80.
pub const NGINX: &str = "registry.k8s.io/e2e-test-images/nginx:1.14-2";

const TAR: &str = "application/vnd.oci.image.layer.v1.tar";
const STAGING: &str = "gcr.io/k8s-staging-cri-tools/";
const PATH: &str = "PATH=/usr/sbin:/usr/bin:/sbin:/bin";

/// Ends at SIGTERM and reaps what a shared pid namespace leaves to it.
const PAUSE_SCRIPT: &str = "trap 'exit 0' TERM INT; while :; do tail -f /dev/null & wait; done";

struct Image {
    reference: String,
    layers: &'static [&'static str],
    config: Value,
}

fn image(reference: impl Into<String>, layers: &'static [&'static str], config: Value) -> Image {
    Image { reference: reference.into(), layers, config }
}

fn busybox(reference: impl Into<String>, config: Value) -> Image {
    image(reference, &["busybox"], config)
}

fn nginx(reference: impl Into<String>, port: u16) -> Image {
    let file = format!("/etc/nginx/port-{port}.conf");
    image(
        reference,
        &["busybox", "nginx"],
        json!({ "Cmd": ["nginx", "-c", file, "-g", "daemon off;"] }),
    )
}

/// Pushes [`PAUSE`], [`BUSYBOX`] and [`NGINX`] to where a containerd with CRI
/// finds them.
///
/// # Errors
/// Fails when the images are not built or the registry does not take them.
pub fn push_basic(registry: &Registry) -> Result<()> {
    push(registry, &basic())
}

/// Pushes an image with a shell under a name of the private registry, and returns
/// its reference there.
///
/// # Errors
/// Fails when the image is not built or the registry does not take it.
pub fn push_busybox(registry: &Registry) -> Result<String> {
    let reference = registry.reference("busybox");
    push(registry, &[busybox(reference.clone(), json!({ "Cmd": ["sh"] }))])?;
    Ok(reference)
}

/// Pushes an image whose root filesystem is a folder, as docker makes one of `COPY`
/// from scratch, and returns its reference.
///
/// # Errors
/// Fails when the folder cannot be packed or the registry does not take a part.
pub fn push_folder(registry: &Registry, name: &str, folder: &Path) -> Result<String> {
    let file = tempfile::NamedTempFile::new()?;
    let mut tar = Command::new("tar");
    tar.arg("-C").arg(folder).arg("-cf").arg(file.path()).arg(".");
    output_of(&mut tar, Duration::from_secs(20))?;
    let layer = fs::read(file.path())?;
    let config = config(json!({}), &[&layer]);
    push_manifest(registry, (name, "v1"), &config, &[(TAR, &layer)])?;
    Ok(registry.reference(name))
}

/// Pushes every image that critest asks for.
///
/// # Errors
/// Fails when the images are not built or the registry does not take them.
pub fn push_for_critest(registry: &Registry) -> Result<()> {
    push(registry, &basic())?;
    push(registry, &of_critest())
}

fn basic() -> Vec<Image> {
    let pause = json!({ "Entrypoint": ["/bin/sh", "-c", PAUSE_SCRIPT] });
    vec![busybox(PAUSE, pause), busybox(BUSYBOX, json!({ "Cmd": ["sh"] })), nginx(NGINX, 80)]
}

/// The images of critest in what its cases look at: users, tags, and how many
/// different ones there are. Those of one content differ by a label.
fn of_critest() -> Vec<Image> {
    let web = "echo httpd; exec httpd -f -p 80 -h /www";
    let same = |content: &str| json!({ "Cmd": ["sh"], "Labels": { "content": content } });
    let staging = |name: &str, config: Value| busybox(format!("{STAGING}{name}"), config);
    let user = |user: &str| json!({ "Cmd": ["sh"], "User": user });
    vec![
        busybox(
            "registry.k8s.io/e2e-test-images/httpd:2.4.39-4",
            json!({ "Cmd": ["sh", "-c", web] }),
        ),
        image(
            "registry.k8s.io/e2e-test-images/nonewprivs:1.3",
            &["effective-uid"],
            json!({ "Cmd": ["/effective-uid"] }),
        ),
        busybox(
            "registry.k8s.io/pause:3.9",
            json!({ "Entrypoint": ["/bin/sh", "-c", PAUSE_SCRIPT], "Labels": { "content": "3.9" } }),
        ),
        nginx(format!("{STAGING}hostnet-nginx-amd64:latest"), 12003),
        staging("test-image-latest:latest", same("latest")),
        staging("test-image-tag:test", same("tag")),
        staging("test-image-tag:all", same("all")),
        staging("test-image-1:latest", same("1")),
        staging("test-image-2:latest", same("2")),
        staging("test-image-3:latest", same("3")),
        staging("test-image-tags:1", same("tags")),
        staging("test-image-tags:2", same("tags")),
        staging("test-image-tags:3", same("tags")),
        staging("test-image-user-uid:latest", user("1002")),
        staging("test-image-user-username:latest", user("www-data")),
        staging("test-image-user-uid-group:latest", user("1003:users")),
        staging("test-image-user-username-group:latest", user("www-data:www-data")),
        staging("test-image-predefined-group:latest", user("1000")),
    ]
}

fn push(registry: &Registry, images_wanted: &[Image]) -> Result<()> {
    let folder = images()?;
    for image in images_wanted {
        let read = |name: &&str| fs::read(folder.join(format!("{name}.tar")));
        let layers = image.layers.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        let mut config = image.config.clone();
        if let Some(config) = config.as_object_mut() {
            config.insert("Env".into(), json!([PATH]));
        }
        let config = self::config(config, &layers.iter().collect::<Vec<_>>());
        let layers: Vec<(&str, &[u8])> = layers.iter().map(|l| (TAR, l.as_slice())).collect();
        push_manifest(registry, place(&image.reference), &config, &layers)?;
    }
    Ok(())
}

/// The configuration of an image for this machine with these layers.
fn config(container: Value, layers: &[&Vec<u8>]) -> String {
    json!({
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
        "os": "linux",
        "config": container,
        "rootfs": {
            "type": "layers",
            "diff_ids": layers.iter().map(|layer| digest(layer)).collect::<Vec<_>>(),
        },
    })
    .to_string()
}

/// Repository and tag of a reference, without its registry: the private one
/// stands in for every other.
fn place(reference: &str) -> (&str, &str) {
    let (_, path) = reference.split_once('/').unwrap_or(("", reference));
    path.split_once(':').unwrap_or((path, "latest"))
}
