//! Files that an app finds beside those of its image.

use k8s_openapi::api::core::v1::{KeyToPath, SecretVolumeSource, Volume, VolumeMount};
use spinapp_api::DeploymentConfig;

use crate::ca_bundle;
use crate::runtime_config;

/// The volumes and mounts for the runtime configuration and, where the executor
/// says so, for certificate authorities.
pub(super) fn generated(
    config: &DeploymentConfig,
    runtime_config_secret: &str,
) -> Vec<(Volume, VolumeMount)> {
    let mut mounts = vec![secret_file(
        "spin-runtime-config",
        runtime_config_secret,
        runtime_config::KEY,
        "/runtime-config.toml",
    )];
    if let Some(secret) = ca_bundle::secret_name(config) {
        mounts.push(secret_file(
            "spin-ca",
            secret,
            ca_bundle::KEY,
            "/etc/ssl/certs/ca-certificates.crt",
        ));
    }
    mounts
}

/// One key of a Secret as one file. A Secret that does not exist is no obstacle:
/// the kubelet then makes an empty folder, which the shim takes for no file.
fn secret_file(volume: &str, secret: &str, key: &str, path: &str) -> (Volume, VolumeMount) {
    let source = SecretVolumeSource {
        secret_name: Some(secret.to_owned()),
        optional: Some(true),
        items: Some(vec![KeyToPath {
            key: key.to_owned(),
            path: key.to_owned(),
            ..KeyToPath::default()
        }]),
        ..SecretVolumeSource::default()
    };
    let volume_with_source =
        Volume { name: volume.to_owned(), secret: Some(source), ..Volume::default() };
    let mount = VolumeMount {
        name: volume.to_owned(),
        mount_path: path.to_owned(),
        sub_path: Some(key.to_owned()),
        read_only: Some(true),
        ..VolumeMount::default()
    };
    (volume_with_source, mount)
}
