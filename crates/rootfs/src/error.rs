//! What building or copying a root disk can fail with.

use std::io;

/// The family of a [`RootfsError`]: what a caller may decide on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The request itself makes no sense.
    Usage,
    /// A layer is damaged, truncated, or not what it is said to be.
    Corrupt,
    /// A layer holds something that is refused on purpose.
    Refused,
    /// The disk size that was asked for does not hold the image.
    TooSmall,
    /// The image is sound, but this writer or this host cannot do it.
    Unsupported,
    /// The host failed: a disk is full, a file is missing, a tool does not run.
    Io,
}

/// Why a root disk was not built or copied.
#[derive(Debug, thiserror::Error)]
pub enum RootfsError {
    /// The request contradicts itself or is out of range.
    #[error("{0}")]
    Usage(String),
    /// A layer is damaged, truncated, or of another type than declared.
    #[error("{layer}: {reason}")]
    Corrupt {
        /// Which layer, in the words of [`crate::LayerInput::description`].
        layer: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The uncompressed layer does not have the digest that the image's
    /// configuration gives it.
    #[error("{layer}: uncompressed content is {got}, expected {expected}")]
    DigestMismatch {
        /// Which layer.
        layer: String,
        /// The diff ID that was asked for.
        expected: String,
        /// The diff ID of what was read.
        got: String,
    },
    /// An entry of a layer is refused.
    #[error("{layer}: entry {entry:?}: {reason}")]
    Refused {
        /// Which layer.
        layer: String,
        /// Name of the entry as it stands in the archive, cut to a sane length.
        entry: String,
        /// Why it is refused.
        reason: String,
    },
    /// A layer, or the image as a whole, exceeds one of [`crate::Limits`].
    #[error("{layer}: more than {limit} {what}")]
    Limit {
        /// Which layer was being read when the limit was passed.
        layer: String,
        /// What was counted.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
    /// The image does not fit the size that was asked for.
    #[error("a root disk of {asked_mib} MiB is too small: the image needs {minimum_mib} MiB")]
    TooSmall {
        /// What was asked for.
        asked_mib: u64,
        /// The smallest size that works.
        minimum_mib: u64,
    },
    /// The merged image holds something that the writer cannot express.
    #[error("{what}")]
    Unsupported {
        /// What, and why not.
        what: String,
        /// What to do about it; empty when there is nothing.
        hint: &'static str,
    },
    /// An operation of the host failed.
    #[error("{doing}")]
    Io {
        /// What was being done, with the path it was done to.
        doing: String,
        /// The failure.
        source: io::Error,
    },
}

impl RootfsError {
    /// The family that this error belongs to.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Usage(_) => ErrorKind::Usage,
            Self::Corrupt { .. } | Self::DigestMismatch { .. } => ErrorKind::Corrupt,
            Self::Refused { .. } | Self::Limit { .. } => ErrorKind::Refused,
            Self::TooSmall { .. } => ErrorKind::TooSmall,
            Self::Unsupported { .. } => ErrorKind::Unsupported,
            Self::Io { .. } => ErrorKind::Io,
        }
    }

    /// What the user can do, if there is something.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Usage(_) | Self::Refused { .. } => None,
            Self::Corrupt { .. } | Self::DigestMismatch { .. } => {
                Some("fetch it again, or check how the archive was made".to_owned())
            }
            Self::Limit { .. } => {
                Some("it looks like a decompression bomb; check where it is from".to_owned())
            }
            Self::TooSmall { minimum_mib, .. } => Some(format!(
                "use --size-mib {minimum_mib} or more, or leave the size out for the default"
            )),
            Self::Unsupported { hint, .. } => (!hint.is_empty()).then(|| (*hint).to_owned()),
            Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                Some("free some space on that file system".to_owned())
            }
            Self::Io { .. } => None,
        }
    }

    /// For `map_err`: an I/O failure with what was being done.
    pub(crate) fn io(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Io { doing, source }
    }
}
