//! Where an image comes from.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::{Digest, ImageError, Reference};

/// A registry's image or a local one.
///
/// A path ends at its first colon, as in other tools, so a path with a colon in it cannot
/// be named. An image that is called `oci` is written `docker.io/library/oci`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// An image in a registry.
    Registry(Reference),
    /// `oci:DIR[:TAG]`: a directory in the OCI image layout.
    Layout(LocalSource),
    /// `oci-archive:FILE[:TAG]`: a tar of such a directory.
    LayoutArchive(LocalSource),
    /// `docker-archive:FILE[:TAG]`: what `docker save` writes.
    DockerArchive(LocalSource),
}

/// A local path and which of the images in it is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalSource {
    pub(crate) path: PathBuf,
    pub(crate) tag: Option<String>,
}

const LAYOUT: &str = "oci:";
const LAYOUT_ARCHIVE: &str = "oci-archive:";
const DOCKER_ARCHIVE: &str = "docker-archive:";

impl Source {
    /// The digest that the source is pinned to; without one its image may change.
    pub fn pinned(&self) -> Option<&Digest> {
        match self {
            Source::Registry(reference) => reference.digest(),
            Source::Layout(_) | Source::LayoutArchive(_) | Source::DockerArchive(_) => None,
        }
    }

    /// The same source with an absolute path, where it has one.
    pub fn absolute(&self) -> Self {
        let absolute = |local: &LocalSource| LocalSource {
            path: std::path::absolute(&local.path).unwrap_or_else(|_| local.path.clone()),
            tag: local.tag.clone(),
        };
        match self {
            Source::Registry(reference) => Source::Registry(reference.clone()),
            Source::Layout(local) => Source::Layout(absolute(local)),
            Source::LayoutArchive(local) => Source::LayoutArchive(absolute(local)),
            Source::DockerArchive(local) => Source::DockerArchive(absolute(local)),
        }
    }

    /// The name under which it is recorded.
    pub(crate) fn canonical(&self) -> String {
        self.absolute().to_string()
    }
}

impl LocalSource {
    /// The file or directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The name of the image in it, if one was given.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    fn parse(rest: &str) -> Result<Self, String> {
        let (path, tag) = match rest.split_once(':') {
            Some((path, tag)) => (path, Some(tag)),
            None => (rest, None),
        };
        if path.is_empty() {
            return Err("the path is empty".to_owned());
        }
        if rest.contains('\0') {
            return Err("it holds a NUL character".to_owned());
        }
        if tag == Some("") {
            return Err("the tag is empty".to_owned());
        }
        Ok(Self { path: path.into(), tag: tag.map(str::to_owned) })
    }
}

impl fmt::Display for LocalSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        match &self.tag {
            Some(tag) => write!(f, ":{tag}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Registry(reference) => reference.fmt(f),
            Source::Layout(local) => write!(f, "{LAYOUT}{local}"),
            Source::LayoutArchive(local) => write!(f, "{LAYOUT_ARCHIVE}{local}"),
            Source::DockerArchive(local) => write!(f, "{DOCKER_ARCHIVE}{local}"),
        }
    }
}

impl FromStr for Source {
    type Err = ImageError;

    fn from_str(text: &str) -> Result<Self, ImageError> {
        let local = |rest: &str| {
            LocalSource::parse(rest)
                .map_err(|reason| ImageError::MalformedReference { text: text.to_owned(), reason })
        };
        if let Some(rest) = text.strip_prefix(LAYOUT) {
            local(rest).map(Source::Layout)
        } else if let Some(rest) = text.strip_prefix(LAYOUT_ARCHIVE) {
            local(rest).map(Source::LayoutArchive)
        } else if let Some(rest) = text.strip_prefix(DOCKER_ARCHIVE) {
            local(rest).map(Source::DockerArchive)
        } else {
            text.parse().map(Source::Registry)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(path: &str, tag: Option<&str>) -> LocalSource {
        LocalSource { path: path.into(), tag: tag.map(str::to_owned) }
    }

    #[test]
    fn the_prefix_says_what_it_is() {
        let check = |text: &str, expect: Source| {
            assert_eq!(text.parse::<Source>().unwrap(), expect);
            assert_eq!(expect.to_string(), text);
        };
        check("oci:dir", Source::Layout(local("dir", None)));
        check("oci:a/b:v1", Source::Layout(local("a/b", Some("v1"))));
        check("oci-archive:/f.tar", Source::LayoutArchive(local("/f.tar", None)));
        check("docker-archive:f:a.b/x:1", Source::DockerArchive(local("f", Some("a.b/x:1"))));
        assert!(matches!("busybox".parse().unwrap(), Source::Registry(_)));
    }

    #[test]
    fn malformed_sources_are_usage_errors_that_name_the_text() {
        for text in ["oci:", "oci::tag", "oci:dir:", "oci-archive:", "docker-archive:", "OCI:x y"] {
            let error = text.parse::<Source>().expect_err(text);
            assert_eq!(error.kind(), crate::ErrorKind::Usage);
            assert!(error.to_string().contains(text), "{error}");
        }
    }
}
