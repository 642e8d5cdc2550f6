//! The certificate authorities that apps get where their executor says so.

use base64::Engine as _;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use spinapp_api::DeploymentConfig;

/// The key of the Secret.
pub(crate) const KEY: &str = "ca-certificates.crt";
/// What the Secret is called where the executor does not say.
const DEFAULT_NAME: &str = "spin-ca";

/// The Secret that is mounted; none when the executor says nothing of it.
pub(crate) fn secret_name(config: &DeploymentConfig) -> Option<&str> {
    let named = config.ca_cert_secret.as_deref().filter(|name| !name.is_empty());
    named.or(config.install_default_ca_certs.then_some(DEFAULT_NAME))
}

/// The Secret with the authorities of Mozilla's list, for a namespace. It has no
/// owner: the apps of the namespace share it.
pub(crate) fn secret(name: &str, namespace: &str) -> Secret {
    let label = ("app.kubernetes.io/managed-by", "spinapp-controller");
    Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(namespace.to_owned()),
            labels: Some([(label.0.to_owned(), label.1.to_owned())].into()),
            ..ObjectMeta::default()
        },
        string_data: Some([(KEY.to_owned(), bundle())].into()),
        ..Secret::default()
    }
}

/// All certificates, one PEM block after the other.
fn bundle() -> String {
    let mut text = String::new();
    for certificate in webpki_root_certs::TLS_SERVER_ROOT_CERTS {
        let encoded = base64::engine::general_purpose::STANDARD.encode(certificate);
        text.push_str("-----BEGIN CERTIFICATE-----\n");
        let mut rest = encoded.as_str();
        while !rest.is_empty() {
            let (line, after) = rest.split_at(rest.len().min(64));
            text.push_str(line);
            text.push('\n');
            rest = after;
        }
        text.push_str("-----END CERTIFICATE-----\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bundle_is_pem_and_fits_into_a_secret() {
        let bundle = bundle();
        let begins = bundle.matches("-----BEGIN CERTIFICATE-----\n").count();
        assert_eq!(begins, webpki_root_certs::TLS_SERVER_ROOT_CERTS.len());
        assert!(begins > 50, "{begins} authorities");
        assert!(bundle.len() < 1 << 20, "{} bytes", bundle.len());
        assert!(bundle.lines().all(|line| line.len() <= 64));
    }

    #[test]
    fn the_name_is_that_of_the_executor_or_the_usual_one() {
        let none = DeploymentConfig::default();
        assert_eq!(secret_name(&none), None);
        let default = DeploymentConfig { install_default_ca_certs: true, ..none.clone() };
        assert_eq!(secret_name(&default), Some("spin-ca"));
        let own = DeploymentConfig { ca_cert_secret: Some("mine".to_owned()), ..default };
        assert_eq!(secret_name(&own), Some("mine"));
    }
}
