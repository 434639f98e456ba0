//! Images in registries.
//!
//! Tokens and blobs are `oci-client`'s. Manifests are fetched here with its token, because
//! it reads a manifest of any length into memory.

use std::error::Error;
use std::future::Future;
use std::sync::Once;
use std::time::Duration;

use futures_util::StreamExt;
use oci_client::client::{ClientConfig, ClientProtocol};
use oci_client::errors::{DigestError, OciDistributionError, OciErrorCode};
use oci_client::manifest::OciDescriptor;
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, RegistryOperation};
use reqwest::StatusCode;
use reqwest::header::ACCEPT;

use super::credentials;
use crate::document::{self, Blob};
use crate::error::within;
use crate::store::BlobWriter;
use crate::{Digest, ImageError, Progress, Reference, ResolveOptions, Result, limits};

const USER_AGENT: &str = concat!("microagent/", env!("CARGO_PKG_VERSION"));
/// Bytes of a registry's error text that a message repeats.
const ERROR_TEXT: usize = 300;

/// A connection to the registry of one image, allowed to pull it.
pub(crate) struct Registry {
    reference: Reference,
    scheme: &'static str,
    client: Client,
    image: oci_client::Reference,
    http: reqwest::Client,
    auth: RegistryAuth,
    token: Option<String>,
}

impl Registry {
    pub(crate) async fn connect(reference: &Reference, options: &ResolveOptions) -> Result<Self> {
        install_crypto();
        let loopback = reference.is_loopback();
        let http = http_client(loopback)?;
        let plain = loopback || reference.is_listed(&options.insecure_registries);
        let plain = plain && !speaks_tls(&http, reference.endpoint()).await;
        let client = oci_client(reference.endpoint(), plain, loopback)?;
        let auth = credentials::find(reference).await?;
        let scheme = if plain { "http" } else { "https" };
        let image = oci_reference(reference);
        let mut registry =
            Self { reference: reference.clone(), scheme, client, image, http, auth, token: None };
        registry.token = registry.log_in().await?;
        Ok(registry)
    }

    /// The manifest or the index that the reference names.
    pub(crate) async fn root(&self) -> Result<Vec<u8>> {
        match (self.reference.digest(), self.reference.tag()) {
            (Some(digest), _) => self.manifest(digest.as_str()).await,
            (None, tag) => self.manifest(tag.unwrap_or("latest")).await,
        }
    }

    /// The manifest or the index with this digest, not verified.
    pub(crate) async fn document(&self, digest: &Digest) -> Result<Vec<u8>> {
        self.manifest(digest.as_str()).await
    }

    /// Writes a blob to `out`, from its beginning.
    pub(crate) async fn blob(
        &self,
        blob: &Blob,
        out: &mut BlobWriter,
        progress: Option<&dyn Progress>,
    ) -> Result<()> {
        let what = format!("blob {}", blob.digest);
        let descriptor =
            OciDescriptor { digest: blob.digest.to_string(), ..OciDescriptor::default() };
        let response = self.client.pull_blob_stream(&self.image, &descriptor).await;
        let mut stream = response.map_err(|error| self.oci_error(&what, error))?;
        if let Some(actual) = stream.content_length.filter(|len| *len != blob.size) {
            return Err(ImageError::SizeMismatch { what, expected: blob.size, actual });
        }
        while let Some(bytes) = stream.next().await {
            match bytes {
                Ok(bytes) => out.write(&bytes)?,
                // The content is complete and wrong: `out` says so in its own words.
                Err(error) if is_digest_error(&error) => break,
                Err(error) => return Err(self.broken(&what, error)),
            }
            if let Some(progress) = progress {
                progress.layer(blob.digest.as_str(), out.written(), Some(blob.size));
            }
        }
        Ok(())
    }

    async fn log_in(&self) -> Result<Option<String>> {
        let what = "a token";
        let token = self.client.auth(&self.image, &self.auth, RegistryOperation::Pull);
        in_time(what, token).await?.map_err(|error| self.oci_error(what, error))
    }

    async fn manifest(&self, version: &str) -> Result<Vec<u8>> {
        let what = format!("the manifest of '{}'", self.reference);
        in_time(&what, self.get_manifest(&what, version)).await?
    }

    async fn get_manifest(&self, what: &str, version: &str) -> Result<Vec<u8>> {
        let (scheme, endpoint) = (self.scheme, self.reference.endpoint());
        let repository = self.reference.repository();
        let url = format!("{scheme}://{endpoint}/v2/{repository}/manifests/{version}");
        let mut request = self.http.get(url).header(ACCEPT, document::ACCEPT.join(", "));
        request = match (&self.token, &self.auth) {
            (Some(token), _) => request.bearer_auth(token),
            (None, RegistryAuth::Basic(user, password)) => request.basic_auth(user, Some(password)),
            (None, RegistryAuth::Bearer(token)) => request.bearer_auth(token),
            (None, RegistryAuth::Anonymous) => request,
        };
        let response = request.send().await.map_err(|error| self.broken(what, error))?;
        let status = response.status();
        if status.is_success() {
            let limit = limits::MANIFEST_BYTES as usize;
            let body = self.body(what, response, limit).await?;
            within(&format!("the size of {what}"), body.len() as u64, limits::MANIFEST_BYTES)?;
            return Ok(body);
        }
        let body = self.body(what, response, ERROR_TEXT).await.unwrap_or_default();
        Err(self.refused(what, status, &String::from_utf8_lossy(&body)))
    }

    /// The body, of which no more than one piece beyond `limit` is read.
    async fn body(
        &self,
        what: &str,
        mut response: reqwest::Response,
        limit: usize,
    ) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        while body.len() <= limit {
            match response.chunk().await.map_err(|error| self.broken(what, error))? {
                Some(chunk) => body.extend_from_slice(&chunk),
                None => break,
            }
        }
        Ok(body)
    }

    fn refused(&self, what: &str, status: StatusCode, text: &str) -> ImageError {
        let registry = self.reference.registry().to_owned();
        let reference = self.reference.to_string();
        let answer = answer(status.as_u16(), text);
        match status {
            StatusCode::NOT_FOUND => ImageError::NotFound {
                reference,
                reason: format!("registry '{registry}' has no such repository, tag or digest"),
            },
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                ImageError::Denied { registry, reference, reason: answer }
            }
            _ => ImageError::BadAnswer { registry, what: what.to_owned(), answer },
        }
    }

    fn oci_error(&self, what: &str, error: OciDistributionError) -> ImageError {
        let registry = self.reference.registry().to_owned();
        let reference = self.reference.to_string();
        let denied = |reason: String| ImageError::Denied {
            registry: registry.clone(),
            reference: reference.clone(),
            reason: shown(&reason),
        };
        match error {
            OciDistributionError::RequestError(error) => self.broken(what, error),
            OciDistributionError::AuthenticationFailure(reason) => denied(reason),
            OciDistributionError::UnauthorizedError { .. } => denied("not authorized".to_owned()),
            OciDistributionError::ServerError { code, message, .. } => {
                let status = StatusCode::from_u16(code).unwrap_or_default();
                match status {
                    // A server in trouble may be out of it at the next attempt.
                    _ if status.is_server_error() => {
                        self.broken(what, std::io::Error::other(answer(code, &message)))
                    }
                    _ => self.refused(what, status, &message),
                }
            }
            OciDistributionError::RegistryError { envelope, .. } => {
                let gone = envelope.errors.iter().any(|error| {
                    matches!(error.code, OciErrorCode::BlobUnknown | OciErrorCode::NotFound)
                });
                let refused = envelope.errors.iter().any(|error| {
                    matches!(error.code, OciErrorCode::Denied | OciErrorCode::Unauthorized)
                });
                let answer = shown(&envelope.to_string());
                match (gone, refused) {
                    (true, _) => ImageError::MissingBlob {
                        what: what.to_owned(),
                        origin: format!("registry {registry}"),
                    },
                    (_, true) => denied(answer),
                    _ => ImageError::BadAnswer { registry, what: what.to_owned(), answer },
                }
            }
            other => {
                let answer = shown(&other.to_string());
                ImageError::BadAnswer { registry, what: what.to_owned(), answer }
            }
        }
    }

    fn broken(&self, what: &str, error: impl Error + Send + Sync + 'static) -> ImageError {
        if is_timeout(&error) {
            let what = format!("fetching {what} from registry '{}'", self.reference.registry());
            return ImageError::Timeout { what, limit: limits::STALL };
        }
        ImageError::Network {
            registry: self.reference.registry().to_owned(),
            what: what.to_owned(),
            source: Box::new(error),
        }
    }
}

/// Makes *ring* the provider of TLS for the process, once, and only when it is needed.
fn install_crypto() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // It fails if the program has chosen a provider already, and then that one is used.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

/// Comes first: it fails where `oci-client`, which cannot do without a default client of
/// its own, would panic because the system has no certificates.
fn http_client(loopback: bool) -> Result<reqwest::Client> {
    let mut builder = reqwest::Client::builder()
        .user_agent(USER_AGENT)
        .connect_timeout(limits::CONNECT)
        .read_timeout(limits::STALL);
    if loopback {
        builder = builder.no_proxy();
    }
    builder.build().map_err(|error| ImageError::Tls { source: Box::new(error) })
}

fn oci_client(endpoint: &str, plain: bool, loopback: bool) -> Result<Client> {
    let mut config = ClientConfig {
        user_agent: USER_AGENT,
        connect_timeout: Some(limits::CONNECT),
        read_timeout: Some(limits::STALL),
        ..ClientConfig::default()
    };
    if plain {
        config.protocol = ClientProtocol::HttpsExcept(vec![endpoint.to_owned()]);
    }
    if loopback {
        // The client has no switch for "no proxy", but one that is configured takes the
        // place of those in the environment, and this one is for no host at all.
        config.http_proxy = Some("http://127.0.0.1".to_owned());
        config.no_proxy = Some("*,0.0.0.0/0,::/0".to_owned());
    }
    Client::try_from(config).map_err(|error| ImageError::Tls { source: Box::new(error) })
}

fn oci_reference(reference: &Reference) -> oci_client::Reference {
    let (registry, repository) =
        (reference.registry().to_owned(), reference.repository().to_owned());
    match reference.digest() {
        Some(digest) => {
            oci_client::Reference::with_digest(registry, repository, digest.to_string())
        }
        None => {
            let tag = reference.tag().unwrap_or("latest").to_owned();
            oci_client::Reference::with_tag(registry, repository, tag)
        }
    }
}

/// Whether a registry that may be spoken to without TLS speaks it all the same.
async fn speaks_tls(http: &reqwest::Client, endpoint: &str) -> bool {
    let probe = http.get(format!("https://{endpoint}/v2/")).timeout(limits::TLS_PROBE);
    match probe.send().await {
        Ok(_) => true,
        // What shows a certificate, even a bad one, speaks it.
        Err(error) => chain(&error).any(|error| {
            matches!(error.downcast_ref(), Some(rustls::Error::InvalidCertificate(_)))
        }),
    }
}

async fn in_time<T>(what: &str, call: impl Future<Output = T>) -> Result<T> {
    const LIMIT: Duration = limits::ANSWER;
    tokio::time::timeout(LIMIT, call)
        .await
        .map_err(|_| ImageError::Timeout { what: format!("fetching {what}"), limit: LIMIT })
}

fn is_timeout(error: &(dyn Error + 'static)) -> bool {
    chain(error).any(|error| {
        error.downcast_ref::<reqwest::Error>().is_some_and(reqwest::Error::is_timeout)
            || error
                .downcast_ref::<std::io::Error>()
                .is_some_and(|error| error.kind() == std::io::ErrorKind::TimedOut)
    })
}

fn is_digest_error(error: &std::io::Error) -> bool {
    error.get_ref().is_some_and(|error| error.is::<DigestError>())
}

/// The error and its sources. An `io::Error` hides its content: its source is already the
/// source of that.
fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    let mut next = Some(error);
    std::iter::from_fn(move || {
        let current = next?;
        let content = current.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        next = match content {
            Some(content) => Some(content as &(dyn Error + 'static)),
            None => current.source(),
        };
        Some(current)
    })
}

fn answer(status: u16, text: &str) -> String {
    let text = shown(text);
    if text.is_empty() { format!("status {status}") } else { format!("status {status}: {text}") }
}

/// A registry's text, made fit for one line.
fn shown(text: &str) -> String {
    let printable = |c: char| if c.is_control() { ' ' } else { c };
    text.trim().chars().take(ERROR_TEXT).map(printable).collect()
}
