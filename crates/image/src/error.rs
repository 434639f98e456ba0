//! What can go wrong between a reference and its layers.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::{Digest, Platform};

/// Why an image could not be had.
///
/// A message names the thing and the value and does not repeat its source's text: whoever
/// prints it joins the chain.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// A text that is neither a reference nor a local source.
    #[error("image '{text}' is malformed: {reason}")]
    MalformedReference {
        /// The text as it was given.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A text that is no platform.
    #[error("platform '{text}' must be os/architecture or os/architecture/variant")]
    MalformedPlatform {
        /// The text as it was given.
        text: String,
    },
    /// A local source holds several images and none was named.
    #[error("'{origin}' holds several images: {names}")]
    Ambiguous {
        /// The source as it was given.
        origin: String,
        /// The names that it offers.
        names: String,
    },
    /// The image may only come from the cache, and is not in it.
    #[error("image '{reference}' is not in the cache, and pulling it is not allowed")]
    NotCached {
        /// The normalised reference.
        reference: String,
    },
    /// The registry, the archive or the store has no such image.
    #[error("image '{reference}' was not found: {reason}")]
    NotFound {
        /// The normalised reference.
        reference: String,
        /// Who was asked and what the answer was.
        reason: String,
    },
    /// The image exists, but not for the platform that is wanted.
    #[error("image '{reference}' has no {wanted} variant; it has {available}")]
    NoSuchPlatform {
        /// The normalised reference.
        reference: String,
        /// The platform that was asked for.
        wanted: Platform,
        /// The platforms that there are.
        available: String,
    },
    /// The registry wants other credentials, or none would do.
    #[error("registry '{registry}' denies access to '{reference}': {reason}")]
    Denied {
        /// The registry's host.
        registry: String,
        /// The normalised reference.
        reference: String,
        /// What the registry said.
        reason: String,
    },
    /// The registry could not be reached, or the connection broke.
    #[error("cannot fetch {what} from registry '{registry}'")]
    Network {
        /// The registry's host.
        registry: String,
        /// What was being fetched.
        what: String,
        /// The transport's own error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The registry answered, but not with what was asked for.
    #[error("registry '{registry}' answered {what} with {answer}")]
    BadAnswer {
        /// The registry's host.
        registry: String,
        /// What was asked for.
        what: String,
        /// The status and the text of its answer.
        answer: String,
    },
    /// Something took longer than its deadline.
    #[error("{what} took longer than {} s", limit.as_secs())]
    Timeout {
        /// What was waited for.
        what: String,
        /// The deadline.
        limit: Duration,
    },
    /// Content that is not what its digest says.
    #[error("{what} does not match its digest: expected {expected}, got {actual}")]
    DigestMismatch {
        /// What was read.
        what: String,
        /// The digest that it was asked for by.
        expected: Digest,
        /// The digest of what came.
        actual: Digest,
    },
    /// Content that is longer or shorter than announced.
    #[error("{what} does not have its announced size: expected {expected} bytes, got {actual}")]
    SizeMismatch {
        /// What was read.
        what: String,
        /// The announced size in bytes.
        expected: u64,
        /// The bytes that came; for content that is too long, those up to there.
        actual: u64,
    },
    /// More than a limit allows.
    #[error("{what} is over the limit: {actual}, at most {limit}")]
    Limit {
        /// What is too large or too many.
        what: String,
        /// What was found.
        actual: u64,
        /// What is allowed.
        limit: u64,
    },
    /// Content that cannot be understood.
    #[error("{what} is malformed: {reason}")]
    Malformed {
        /// What was read.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A blob that the image names is not there.
    #[error("{what} is missing from '{origin}'")]
    MissingBlob {
        /// Which blob.
        what: String,
        /// The archive, the directory or the store.
        origin: String,
    },
    /// A layer whose content is of another type than its manifest says.
    #[error("layer {digest} is announced as {announced} but holds {found}")]
    LayerType {
        /// The layer.
        digest: Digest,
        /// The media type of its descriptor.
        announced: String,
        /// What its first bytes say.
        found: String,
    },
    /// Something that is well formed but not supported.
    #[error("{what} is not supported: {reason}")]
    Unsupported {
        /// The thing, with its value.
        what: String,
        /// Why not.
        reason: String,
        /// What to do instead.
        hint: Option<String>,
    },
    /// The store was written by a newer version.
    #[error("image index '{}' has version {found}; this version reads {newest}", path.display())]
    NewerStore {
        /// The index file.
        path: PathBuf,
        /// Its version.
        found: u64,
        /// The newest version that is known here.
        newest: u64,
    },
    /// A file with credentials, or a helper that it names, is no use.
    #[error("cannot use the credentials in '{}': {reason}", path.display())]
    Credentials {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The machine cannot make TLS connections.
    #[error("cannot set up TLS")]
    Tls {
        /// The TLS library's own error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A file operation failed.
    #[error("cannot {action} '{}'", path.display())]
    Io {
        /// What was to be done with the file.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
}

/// What sort of failure an [`ImageError`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The request makes no sense as it was given.
    Usage,
    /// There is no such image, file or tag.
    NotFound,
    /// The network or the registry failed.
    Network,
    /// Content is damaged or was tampered with.
    Corrupt,
    /// Well formed, but nothing that this program can use.
    Unsupported,
    /// Access was refused.
    Denied,
    /// A file operation failed on this host.
    Io,
    /// A deadline passed.
    Timeout,
}

impl ImageError {
    /// What sort of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::MalformedReference { .. }
            | Self::MalformedPlatform { .. }
            | Self::Ambiguous { .. } => ErrorKind::Usage,
            Self::NotCached { .. } | Self::NotFound { .. } => ErrorKind::NotFound,
            Self::NoSuchPlatform { .. } | Self::Unsupported { .. } | Self::NewerStore { .. } => {
                ErrorKind::Unsupported
            }
            Self::Denied { .. } | Self::Credentials { .. } => ErrorKind::Denied,
            Self::Network { .. } | Self::BadAnswer { .. } | Self::Tls { .. } => ErrorKind::Network,
            Self::Timeout { .. } => ErrorKind::Timeout,
            Self::DigestMismatch { .. }
            | Self::SizeMismatch { .. }
            | Self::Limit { .. }
            | Self::Malformed { .. }
            | Self::MissingBlob { .. }
            | Self::LayerType { .. } => ErrorKind::Corrupt,
            Self::Io { source, .. } => match source.kind() {
                std::io::ErrorKind::NotFound => ErrorKind::NotFound,
                std::io::ErrorKind::PermissionDenied => ErrorKind::Denied,
                _ => ErrorKind::Io,
            },
        }
    }

    /// What to do about it, where there is something to do.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::MalformedReference { .. } => {
                "give NAME[:TAG] or NAME@sha256:..., oci:DIR[:TAG], oci-archive:FILE[:TAG] or \
                 docker-archive:FILE[:TAG]"
            }
            Self::Ambiguous { .. } => "append ':' and one of these names",
            Self::NotCached { .. } => "pull it first, or run with --pull missing",
            Self::NotFound { .. } => "check the name and the tag",
            Self::Denied { .. } => {
                "check the name, or log in to the registry with 'docker login', 'podman login' \
                 or 'skopeo login'"
            }
            Self::Network { source, .. } if looks_like_plain_http(source.as_ref()) => {
                "if the registry speaks plain HTTP, allow it with --insecure-registry HOST"
            }
            Self::Network { .. } => "check the network, the registry's name and the proxy settings",
            Self::Unsupported { hint, .. } => return hint.clone(),
            Self::NewerStore { .. } => {
                "use the newer microagent, or another state directory with --state-dir"
            }
            Self::Tls { .. } => {
                "install the system's certificates (the package ca-certificates) or set \
                 SSL_CERT_FILE"
            }
            _ => return None,
        };
        Some(hint.to_owned())
    }

    /// Whether the same request may succeed when it is made again at once.
    pub(crate) fn is_transient(&self) -> bool {
        matches!(self, Self::Network { .. } | Self::Timeout { .. })
    }

    pub(crate) fn io(action: &'static str, path: &Path, source: std::io::Error) -> Self {
        Self::Io { action, path: path.to_owned(), source }
    }

    pub(crate) fn malformed(what: impl Into<String>, reason: impl ToString) -> Self {
        Self::Malformed { what: what.into(), reason: reason.to_string() }
    }

    pub(crate) fn unsupported(what: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Unsupported { what: what.into(), reason: reason.into(), hint: None }
    }
}

/// Refuses `actual` of `what` over `limit`.
pub(crate) fn within(what: &str, actual: u64, limit: u64) -> crate::Result<()> {
    if actual <= limit {
        return Ok(());
    }
    Err(ImageError::Limit { what: what.to_owned(), actual, limit })
}

/// Whether somewhere in the chain TLS met an answer that is none.
fn looks_like_plain_http(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        let text = error.to_string();
        if text.contains("InvalidContentType") || text.contains("corrupt message") {
            return true;
        }
        next = error.source();
    }
    false
}
