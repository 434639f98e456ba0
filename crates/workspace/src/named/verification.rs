//! What a workspace is compared with before it is started.

use std::path::PathBuf;

use microagent_image::{ResolveOptions, Source, Store};
use microagent_kernel::Catalogue;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::manifest::{ImageRecord, Manifest, OriginRecord};
use crate::{RunError, StateDir, Tools};

/// What a workspace was made with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verification {
    /// Digest of the image that its reference stood for when the workspace was made, or when
    /// that was accepted last; what its disk was made of stands beside the reference. None where
    /// that was no image.
    pub image_digest: Option<String>,
    /// Its kernel.
    pub kernel: FileRecord,
    /// SHA-256 of the guest agent, in lower-case hexadecimal.
    pub agent_sha256: String,
}

/// A file and what is in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileRecord {
    /// Where it is.
    pub path: PathBuf,
    /// SHA-256 of its content, in lower-case hexadecimal.
    pub sha256: String,
}

impl Verification {
    /// That of what is here now, with the kernel at `path` and an image of this digest.
    ///
    /// # Errors
    /// Where the kernel cannot be read or is none.
    pub(crate) fn now(
        tools: &Tools,
        path: PathBuf,
        image_digest: Option<String>,
    ) -> Result<Self, RunError> {
        let path = std::path::absolute(&path)
            .map_err(|e| RunError::state(format!("cannot find {}", path.display()), e))?;
        let catalogue = Catalogue::new(tools.state.kernels(), tools.shared_kernels.clone());
        let sha256 = catalogue.verify(Some(&path), None)?.sha256;
        let agent_sha256 = hex::encode(Sha256::digest(tools.agent));
        Ok(Self { image_digest, kernel: FileRecord { path, sha256 }, agent_sha256 })
    }

    /// That of what is here now, for a workspace that was made of what its manifest says. An
    /// image that this host no longer has is no other than it was.
    ///
    /// # Errors
    /// As [`Verification::now`].
    pub(crate) fn again(tools: &Tools, manifest: &Manifest) -> Result<Self, RunError> {
        let Manifest { origin, verification, .. } = manifest;
        let news =
            |image| meaning(&tools.state, image).filter(|digest: &String| *digest != image.digest);
        let meant = origin.image().and_then(news);
        let image_digest = meant.or_else(|| verification.image_digest.clone());
        Self::now(tools, verification.kernel.path.clone(), image_digest)
    }

    /// Refuses what is here now where it is not what the workspace was made with.
    ///
    /// # Errors
    /// `ImageMoved`; `Diverged`, naming what it is.
    pub(crate) fn check(&self, origin: &OriginRecord, now: &Self) -> Result<(), RunError> {
        if let (OriginRecord::Image(image), Some(found)) = (origin, &now.image_digest)
            && self.image_digest != now.image_digest
        {
            return Err(RunError::ImageMoved {
                reference: image.reference.clone(),
                made_of: image.digest.clone(),
                found: found.clone(),
            });
        }
        let diverged = |what: String, expected: &str, found: &str| {
            let (expected, found) = (expected.to_owned(), found.to_owned());
            Err(RunError::Diverged { what, expected, found })
        };
        let (made, here) = (&self.kernel, &now.kernel);
        if made.sha256 != here.sha256 {
            let what = format!("kernel {}", made.path.display());
            return diverged(what, &made.sha256, &here.sha256);
        }
        if self.agent_sha256 != now.agent_sha256 {
            let what = "guest agent in this program".to_owned();
            return diverged(what, &self.agent_sha256, &now.agent_sha256);
        }
        Ok(())
    }
}

/// What the reference of an image means here, as far as that is known without asking anybody.
fn meaning(state: &StateDir, image: &ImageRecord) -> Option<String> {
    if !state.images().exists() {
        return None;
    }
    let look = || {
        let source: Source = image.reference.parse()?;
        let platform = ResolveOptions::default().platform;
        Store::open(&state.images())?.meaning(&source, &platform)
    };
    match look() {
        Ok(digest) => digest.map(|digest| digest.to_string()),
        // The workspace needs nothing of it.
        Err(error) => {
            tracing::warn!(%error, image = image.reference, "cannot look for the image");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(image: &str, kernel: &str, agent: &str) -> Verification {
        let kernel = FileRecord { path: "/k".into(), sha256: kernel.into() };
        Verification { image_digest: Some(image.into()), kernel, agent_sha256: agent.into() }
    }

    fn check(image: &str, kernel: &str, agent: &str, expect: Option<&str>) {
        let of = ImageRecord { reference: "box:1".into(), digest: "i1".into() };
        let of = OriginRecord::Image(of);
        let checked = made("i1", "k1", "a1").check(&of, &made(image, kernel, agent));
        assert_eq!(checked.err().map(|e| e.to_string()).as_deref(), expect);
    }

    #[test]
    fn what_diverges_is_named() {
        check("i1", "k1", "a1", None);
        check(
            "i2",
            "k1",
            "a1",
            Some("box:1 is another image now: i2, the workspace's disk was made of i1"),
        );
        check(
            "i1",
            "k2",
            "a1",
            Some("the kernel /k is another: sha256 k2, the workspace was made with k1"),
        );
        check(
            "i1",
            "k1",
            "a2",
            Some(
                "the guest agent in this program is another: sha256 a2, the workspace was made with a1",
            ),
        );
    }
}
