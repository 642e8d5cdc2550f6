//! One repository of an OCI registry, read without credentials, following the OCI
//! distribution specification 1.1.

use std::fmt;

use artifact::{Blob, ImageManifest, ManifestError, media_type};
use http::header::{LINK, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Response, StatusCode, Uri};
use http_auth::parser::ChallengeParser;
use http_client::Bytes;
use semver::Version;
use serde::Deserialize;

use crate::download::{self, Download, DownloadError};

/// How many pages of tags are read.
const PAGES: usize = 100;

/// Why a repository does not give what it is asked for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RepositoryError {
    #[error(transparent)]
    Download(#[from] DownloadError),
    #[error("it wants credentials; packages are fetched without any, so it must be public")]
    Credentials,
    #[error("it does not have {0}")]
    Missing(String),
    #[error("its list of tags is not understood")]
    Tags(#[source] serde_json::Error),
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    #[error("its {tag} is no package of a component: {reason}")]
    NoPackage { tag: String, reason: String },
}

/// A repository.
pub(crate) struct Repository<'a> {
    download: &'a Download,
    host: String,
    name: String,
    /// What its token service gave.
    authorization: Option<HeaderValue>,
}

#[derive(Deserialize)]
struct TagList {
    #[serde(default)]
    tags: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

impl fmt::Display for Repository<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.name)
    }
}

impl<'a> Repository<'a> {
    /// Repository `name` of the registry at `host`; nothing is asked yet.
    pub(crate) fn new(download: &'a Download, host: &str, name: &str) -> Self {
        Self { download, host: host.to_owned(), name: name.to_owned(), authorization: None }
    }

    /// The tags that are versions, in no order.
    pub(crate) async fn versions(&mut self) -> Result<Vec<Version>, RepositoryError> {
        let mut versions = Vec::new();
        let mut page = Some(self.url("tags/list")?);
        for _ in 0..PAGES {
            let Some(url) = page else { break };
            let response = self.ask(&url, None, "a list of tags").await?;
            page = next_page(&url, response.headers())?;
            let list: TagList =
                serde_json::from_slice(response.body()).map_err(RepositoryError::Tags)?;
            let tags = list.tags.unwrap_or_default();
            versions.extend(tags.iter().filter_map(|tag| Version::parse(tag).ok()));
        }
        Ok(versions)
    }

    /// The Wasm of the package that is tagged `tag`.
    pub(crate) async fn wasm(&mut self, tag: &str) -> Result<Blob, RepositoryError> {
        let url = self.url(&format!("manifests/{tag}"))?;
        let response = self.ask(&url, Some(media_type::IMAGE_MANIFEST), tag).await?;
        let manifest = ImageManifest::parse(response.body())?;
        let no_package =
            |reason: String| RepositoryError::NoPackage { tag: tag.to_owned(), reason };
        let Some(layer) = manifest.layers.first() else {
            return Err(no_package("it has no layer".to_owned()));
        };
        if !media_type::is_wasm(&layer.media_type) {
            return Err(no_package(format!("its first layer is of type {}", layer.media_type)));
        }
        let url = self.url(&format!("blobs/{}", layer.digest))?;
        let response = self.ask(&url, None, &layer.digest.to_string()).await?;
        Ok(download::verified(response.body(), layer.digest)?)
    }

    fn url(&self, path: &str) -> Result<Uri, DownloadError> {
        let scheme = download::scheme_of(&self.host);
        download::absolute(&format!("{scheme}://{}/v2/{}/{path}", self.host, self.name))
    }

    /// What is at `url`; a token is fetched where one is wanted.
    async fn ask(
        &mut self,
        url: &Uri,
        accept: Option<&'static str>,
        what: &str,
    ) -> Result<Response<Bytes>, RepositoryError> {
        let authorization = self.authorization.as_ref();
        let mut response = self.download.ask(url.clone(), accept, authorization).await?;
        if response.status() == StatusCode::UNAUTHORIZED && self.authorization.is_none() {
            let token = self.token(response.headers()).await?;
            response = self.download.ask(url.clone(), accept, Some(&token)).await?;
            self.authorization = Some(token);
        }
        match response.status() {
            status if status.is_success() => Ok(response),
            StatusCode::NOT_FOUND => Err(RepositoryError::Missing(what.to_owned())),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(RepositoryError::Credentials),
            status => Err(DownloadError::Status(status).into()),
        }
    }

    /// What the token service that `headers` name gives to anybody.
    async fn token(&self, headers: &HeaderMap) -> Result<HeaderValue, RepositoryError> {
        let wanted = headers.get(WWW_AUTHENTICATE).and_then(|value| value.to_str().ok());
        let url = wanted.and_then(|challenge| self.token_url(challenge));
        let (_, body) = self.download.get(&url.ok_or(RepositoryError::Credentials)?).await?;
        let token = serde_json::from_slice::<Token>(&body).ok();
        let token = token.and_then(|token| token.token.or(token.access_token));
        token
            .and_then(|token| http_client::secret_header(&format!("Bearer {token}")))
            .ok_or(RepositoryError::Credentials)
    }

    /// Where a token for reading this repository is to be had.
    fn token_url(&self, challenge: &str) -> Option<String> {
        let bearer = ChallengeParser::new(challenge)
            .filter_map(Result::ok)
            .find(|challenge| challenge.scheme.eq_ignore_ascii_case("Bearer"))?;
        let parameter = |name: &str| {
            let found = bearer.params.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.to_unescaped())
        };
        let mut url = url::Url::parse(&parameter("realm")?).ok()?;
        let scope = format!("repository:{}:pull", self.name);
        let mut query = url.query_pairs_mut();
        if let Some(service) = parameter("service") {
            query.append_pair("service", &service);
        }
        query.append_pair("scope", &scope);
        drop(query);
        Some(url.into())
    }
}

/// The next page of a list, if there is one.
fn next_page(from: &Uri, headers: &HeaderMap) -> Result<Option<Uri>, DownloadError> {
    let link = headers.get(LINK).and_then(|value| value.to_str().ok());
    let next = link.and_then(|link| {
        let (target, relation) = link.strip_prefix('<')?.split_once('>')?;
        relation.contains("next").then_some(target)
    });
    next.map(|next| download::next(from, next)).transpose()
}
