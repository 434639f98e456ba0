//! What a workspace is compared with before it is started.

use std::path::PathBuf;

use microagent_kernel::Catalogue;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{RunError, Tools};

/// What a workspace was made with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verification {
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
    /// That of what is here now, with the kernel at `path`.
    ///
    /// # Errors
    /// Where the kernel cannot be read or is none.
    pub(crate) fn now(tools: &Tools, path: PathBuf) -> Result<Self, RunError> {
        let path = std::path::absolute(&path)
            .map_err(|e| RunError::state(format!("cannot find {}", path.display()), e))?;
        let catalogue = Catalogue::new(tools.state.kernels(), tools.shared_kernels.clone());
        let sha256 = catalogue.verify(Some(&path), None)?.sha256;
        let agent_sha256 = hex::encode(Sha256::digest(tools.agent));
        Ok(Self { kernel: FileRecord { path, sha256 }, agent_sha256 })
    }

    /// Refuses what is here now where it is not what the workspace was made with.
    ///
    /// # Errors
    /// `Diverged`, naming what it is; where the kernel cannot be read.
    pub(crate) fn check(&self, now: &Self) -> Result<(), RunError> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn made(kernel: &str, agent: &str) -> Verification {
        let kernel = FileRecord { path: "/k".into(), sha256: kernel.into() };
        Verification { kernel, agent_sha256: agent.into() }
    }

    fn check(kernel: &str, agent: &str, expect: Option<&str>) {
        let checked = made("k1", "a1").check(&made(kernel, agent));
        assert_eq!(checked.err().map(|e| e.to_string()).as_deref(), expect);
    }

    #[test]
    fn what_diverges_is_named() {
        check("k1", "a1", None);
        check(
            "k2",
            "a1",
            Some("the kernel /k is another: sha256 k2, the workspace was made with k1"),
        );
        check(
            "k1",
            "a2",
            Some(
                "the guest agent in this program is another: sha256 a2, the workspace was made with a1",
            ),
        );
    }
}
