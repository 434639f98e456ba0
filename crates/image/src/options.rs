//! What may be decided about a resolution.

use std::str::FromStr;

use crate::{ImageError, Platform};

/// How an image is to be resolved.
#[derive(Debug, Clone, Default)]
pub struct ResolveOptions {
    /// When the registry is asked. Local archives are always read.
    pub pull: PullPolicy,
    /// The platform to choose from an image that has several.
    pub platform: Platform,
    /// Registries, `HOST` or `HOST:PORT`, that may be spoken to without TLS. Those on a
    /// loopback address always may.
    pub insecure_registries: Vec<String>,
}

/// When a registry is asked for an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PullPolicy {
    /// Every time, so that a moved tag is noticed; layers that are cached are not fetched.
    Always,
    /// Only if the image is not cached.
    #[default]
    Missing,
    /// Not at all.
    Never,
}

impl FromStr for PullPolicy {
    type Err = ImageError;

    fn from_str(text: &str) -> Result<Self, ImageError> {
        match text {
            "always" => Ok(Self::Always),
            "missing" => Ok(Self::Missing),
            "never" => Ok(Self::Never),
            other => Err(ImageError::Unsupported {
                what: format!("pull policy '{other}'"),
                reason: "it is none of always, missing and never".to_owned(),
                hint: None,
            }),
        }
    }
}
