//! What is wrong with a layer, before anyone says which layer it was.

use std::borrow::Cow;
use std::io;

use crate::RootfsError;

/// Longest entry name that is repeated in an error message, in bytes.
const SHOWN_NAME_MAX: usize = 200;

/// A fault found while reading one layer; [`Fault::of_layer`] makes it a
/// [`RootfsError`].
#[derive(Debug)]
pub(crate) enum Fault {
    Corrupt(Cow<'static, str>),
    Refused { entry: String, reason: Cow<'static, str> },
    Limit { what: &'static str, limit: u64 },
    Io { doing: &'static str, source: io::Error },
}

impl Fault {
    pub(crate) fn corrupt(reason: impl Into<Cow<'static, str>>) -> Self {
        Self::Corrupt(reason.into())
    }

    pub(crate) fn refused(entry: &[u8], reason: impl Into<Cow<'static, str>>) -> Self {
        let shown = entry.get(..SHOWN_NAME_MAX).unwrap_or(entry);
        Self::Refused { entry: String::from_utf8_lossy(shown).into_owned(), reason: reason.into() }
    }

    pub(crate) fn of_layer(self, layer: &str) -> RootfsError {
        let layer = layer.to_owned();
        match self {
            Self::Corrupt(reason) => RootfsError::Corrupt { layer, reason: reason.into_owned() },
            Self::Refused { entry, reason } => {
                RootfsError::Refused { layer, entry, reason: reason.into_owned() }
            }
            Self::Limit { what, limit } => RootfsError::Limit { layer, what, limit },
            Self::Io { doing, source } => {
                RootfsError::Io { doing: format!("{layer}: {doing}"), source }
            }
        }
    }
}

/// Fails when `value` has passed `limit`.
pub(crate) fn within(value: u64, limit: u64, what: &'static str) -> Result<(), Fault> {
    if value > limit { Err(Fault::Limit { what, limit }) } else { Ok(()) }
}
