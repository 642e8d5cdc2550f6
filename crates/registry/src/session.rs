//! One signed-in conversation with one endpoint.

use std::sync::Once;
use std::time::Duration;

use oci_client::RegistryOperation;
use oci_client::client::{Certificate, CertificateEncoding, ClientConfig, ClientProtocol};
use oci_client::secrets::RegistryAuth;

use crate::credentials::Credential;
use crate::endpoint::{Endpoint, is_loopback};
use crate::error::{Context, RegistryError, root_cause};
use crate::progress::{Event, Observer};
use crate::{Options, RetryPolicy, identity_token, retry};

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a registry may keep silent while we wait for its bytes. Uploads
/// have their own watch, because this one would also run while we send.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

const USER_AGENT: &str = concat!("spinlet/", env!("CARGO_PKG_VERSION"));

/// Hosts that no proxy can reach for us.
const NEVER_PROXIED: &str = "localhost,127.0.0.0/8,::1";

const PEM_BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const PEM_END: &str = "-----END CERTIFICATE-----";

/// One signed-in conversation.
pub(crate) struct Session {
    pub(crate) client: oci_client::Client,
    pub(crate) auth: RegistryAuth,
    pub(crate) endpoint: Endpoint,
    pub(crate) context: Context,
    pub(crate) retry: RetryPolicy,
}

impl Session {
    /// Finds the credentials and signs in. `wanted` is the reference as the
    /// person wrote it, for messages.
    pub(crate) async fn open(
        options: &Options,
        wanted: &oci_client::Reference,
        endpoint: Endpoint,
        operation: RegistryOperation,
        observer: Observer<'_>,
    ) -> Result<Self, RegistryError> {
        install_tls_provider();
        let found = options.credentials.find(&endpoint).await?;
        let mut advice = found.credential.advice(&endpoint.authority);
        if let Some(trouble) = found.trouble {
            advice = format!("{advice} ({trouble})");
        }
        let context = Context {
            registry: match endpoint.authority.as_str() {
                "index.docker.io" => "docker.io".to_owned(),
                authority => authority.to_owned(),
            },
            reference: wanted.whole(),
            advice,
            plain_http: endpoint.plain_http,
        };
        let waiting = |error: &RegistryError, wait| observer(Event::Retrying { error, wait });
        let auth = match found.credential {
            Credential::Anonymous => RegistryAuth::Anonymous,
            Credential::Basic { user, password } => {
                RegistryAuth::Basic(user, password.reveal().to_owned())
            }
            Credential::RegistryToken(token) => RegistryAuth::Bearer(token.reveal().to_owned()),
            Credential::IdentityToken(token) => {
                retry::repeat(&options.retry, waiting, async || {
                    identity_token::exchange(&endpoint, options, &context, &token, operation).await
                })
                .await?
                .map_or(RegistryAuth::Anonymous, RegistryAuth::Bearer)
            }
        };
        let client = client(&endpoint, options, operation)?;
        retry::repeat(&options.retry, waiting, async || {
            let signed_in = client.auth(&endpoint.reference, &auth, operation).await;
            signed_in.map_err(|error| context.failure(error))
        })
        .await?;
        Ok(Self { client, auth, endpoint, context, retry: options.retry.clone() })
    }

    /// Repeats a request of this session while it fails for a passing reason.
    pub(crate) async fn repeat<T>(
        &self,
        observer: Observer<'_>,
        attempt: impl AsyncFnMut() -> Result<T, RegistryError>,
    ) -> Result<T, RegistryError> {
        let waiting = |error: &RegistryError, wait| observer(Event::Retrying { error, wait });
        retry::repeat(&self.retry, waiting, attempt).await
    }
}

/// TLS needs one provider of cryptography in the process; who comes first wins,
/// and all of ours would choose this one.
fn install_tls_provider() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

fn client(
    endpoint: &Endpoint,
    options: &Options,
    operation: RegistryOperation,
) -> Result<oci_client::Client, RegistryError> {
    let certificates = certificates(options)?;
    let build = |any_certificate: bool| {
        oci_client::Client::try_from(ClientConfig {
            protocol: if endpoint.plain_http {
                ClientProtocol::Http
            } else {
                ClientProtocol::Https
            },
            accept_invalid_certificates: any_certificate,
            use_monolithic_push: true,
            extra_root_certificates: certificates
                .iter()
                .map(|pem| Certificate {
                    encoding: CertificateEncoding::Pem,
                    data: pem.clone().into_bytes(),
                })
                .collect(),
            read_timeout: (operation == RegistryOperation::Pull).then_some(READ_TIMEOUT),
            connect_timeout: Some(CONNECT_TIMEOUT),
            user_agent: USER_AGENT,
            http_proxy: proxy(options.proxy.http.as_deref(), endpoint),
            https_proxy: proxy(options.proxy.https.as_deref(), endpoint),
            no_proxy: Some(no_proxy(options)),
            ..ClientConfig::default()
        })
    };
    let client = match build(false) {
        // A machine without any trusted authority, such as a minimal container,
        // can still use a registry over plain HTTP, where nothing is proven by
        // certificates anyway.
        Err(_) if endpoint.plain_http && certificates.is_empty() => build(true),
        other => other,
    };
    client.map_err(|error| RegistryError::Client {
        registry: endpoint.authority.clone(),
        reason: root_cause(&error),
    })
}

/// A client for requests that the registry library does not know.
pub(crate) fn http_client(
    endpoint: &Endpoint,
    options: &Options,
) -> Result<reqwest::Client, RegistryError> {
    let failed = |error: reqwest::Error| RegistryError::Client {
        registry: endpoint.authority.clone(),
        reason: root_cause(&error),
    };
    let certificates: Vec<_> = certificates(options)?
        .iter()
        .map(|pem| reqwest::Certificate::from_pem(pem.as_bytes()))
        .collect::<Result<_, _>>()
        .map_err(failed)?;
    let mut builder = reqwest::Client::builder()
        .user_agent(USER_AGENT)
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(READ_TIMEOUT)
        .tls_certs_merge(certificates);
    let except = || reqwest::NoProxy::from_string(&no_proxy(options));
    if let Some(url) = proxy(options.proxy.http.as_deref(), endpoint) {
        builder = builder.proxy(reqwest::Proxy::http(url).map_err(failed)?.no_proxy(except()));
    }
    if let Some(url) = proxy(options.proxy.https.as_deref(), endpoint) {
        builder = builder.proxy(reqwest::Proxy::https(url).map_err(failed)?.no_proxy(except()));
    }
    builder.build().map_err(failed)
}

fn proxy(url: Option<&str>, endpoint: &Endpoint) -> Option<String> {
    url.filter(|url| !url.is_empty() && !is_loopback(&endpoint.authority)).map(str::to_owned)
}

fn no_proxy(options: &Options) -> String {
    match options.proxy.except.as_deref() {
        Some(except) if !except.is_empty() => format!("{NEVER_PROXIED},{except}"),
        _ => NEVER_PROXIED.to_owned(),
    }
}

/// The PEM blocks of all files, one by one as the client libraries want them.
fn certificates(options: &Options) -> Result<Vec<String>, RegistryError> {
    let mut all = Vec::new();
    for path in &options.ca_files {
        let text = fs_err::read_to_string(path)?;
        let blocks = pem_blocks(&text);
        if blocks.is_empty() {
            return Err(RegistryError::CaFile { path: path.clone() });
        }
        all.extend(blocks);
    }
    Ok(all)
}

fn pem_blocks(text: &str) -> Vec<String> {
    text.split(PEM_BEGIN)
        .skip(1)
        .filter_map(|rest| rest.split_once(PEM_END))
        .map(|(body, _)| format!("{PEM_BEGIN}{body}{PEM_END}\n"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Proxy, parse_reference};

    #[test]
    fn every_certificate_of_a_bundle_is_used() {
        let bundle =
            format!("# ours\n{PEM_BEGIN}\nAA\n{PEM_END}\n# theirs\n{PEM_BEGIN}\nBB\n{PEM_END}");
        let blocks = pem_blocks(&bundle);
        assert_eq!(blocks.len(), 2);
        assert!(blocks[1].contains("BB") && !blocks[1].contains("AA"));
    }

    #[test]
    fn a_ca_file_without_a_certificate_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let options = Options { ca_files: vec![file.path().to_owned()], ..Options::default() };
        let error = certificates(&options).unwrap_err().to_string();
        assert!(error.contains("holds no PEM certificate"), "{error}");
    }

    #[test]
    fn loopback_registries_are_reached_without_a_proxy() {
        let options = Options {
            proxy: Proxy { http: Some("http://proxy:3128".into()), ..Proxy::default() },
            ..Options::default()
        };
        let through = |text: &str| {
            let endpoint = Endpoint::origin(&parse_reference(text).unwrap(), &options);
            proxy(options.proxy.http.as_deref(), &endpoint)
        };
        assert_eq!(through("localhost:5000/app"), None);
        assert_eq!(through("registry.local/app").as_deref(), Some("http://proxy:3128"));
    }
}
