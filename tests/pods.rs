//! Pods through CRI, as the kubelet makes them.

use std::time::Duration;

use anyhow::{Result, ensure};
use integration_tests::containerd::Version;
use integration_tests::cri::{Cri, RUNC};
use integration_tests::http;
use integration_tests::linux_image::NGINX;
use serde_json::Value;

/// Runs every case on both lines of containerd.
macro_rules! on_every_containerd {
    ($($case:ident),* $(,)?) => {
        mod containerd_1_7 {
            $(#[test] fn $case() -> anyhow::Result<()> {
                super::$case(integration_tests::containerd::Version::V1_7)
            })*
        }
        mod containerd_2 {
            $(#[test] fn $case() -> anyhow::Result<()> {
                super::$case(integration_tests::containerd::Version::V2)
            })*
        }
    };
}

on_every_containerd!(a_linux_pod_serves_and_leaves_nothing_under_runc);

fn a_linux_pod_serves_and_leaves_nothing_under_runc(version: Version) -> Result<()> {
    let cri = Cri::start(version)?;
    a_linux_pod_serves_and_leaves_nothing(&cri, RUNC)
}

fn a_linux_pod_serves_and_leaves_nothing(cri: &Cri, handler: &str) -> Result<()> {
    cri.pull(NGINX)?;
    let before = cri.traces()?;
    let pod = cri.pod("web", handler, Value::Null)?;
    let web = pod.start("nginx", NGINX, Value::Null)?;
    let page = http::get(pod.address(80)?, "/")?;
    assert_eq!((page.status, page.text().as_str()), (200, "a page from the sidecar\n"));
    let said = web.exec(&["cat", "/www/index.html"])?;
    ensure!(said.stdout.trim_end() == page.text().trim_end(), "{}", said.text());
    web.stop(Duration::from_secs(10))?;
    assert_eq!(web.ended()?.code, 0);
    pod.remove()?;
    cri.nothing_new_since(&before)
}
