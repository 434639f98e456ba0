//! Remembering which Cloud Hypervisor a program is.

use std::path::{Path, PathBuf};

use microagent_backend::{Error, ErrorKind, Result};
use microagent_guarded::Stamp;

use crate::CloudHypervisorVersion;
use crate::identify::identify;

/// File name of the cache in its directory.
const FILE: &str = "cloud-hypervisor.json";

/// What is known of the Cloud Hypervisors of this host, in memory and perhaps in a file.
#[derive(Debug)]
pub(crate) struct Cache(microagent_guarded::Cache<Stamp, CloudHypervisorVersion>);

impl Cache {
    /// A cache that is kept in `dir`.
    pub(crate) fn new(dir: Option<PathBuf>) -> Self {
        Self(microagent_guarded::Cache::new(dir.as_deref(), FILE))
    }

    /// Which Cloud Hypervisor is at `program`, asked only where it is not known.
    pub(crate) async fn version(&self, program: &Path) -> Result<CloudHypervisorVersion> {
        let stamp = Stamp::of(program)?;
        if let Some(known) = self.0.recall(&stamp) {
            return Ok(known);
        }
        let version = identify(program).await?.ok_or_else(|| {
            let program = program.display();
            let what = format!("{program} is no Cloud Hypervisor: its --version says otherwise");
            Error::new(ErrorKind::Unavailable, what).with_hint("give the path of one")
        })?;
        self.0.keep(stamp, version, |other| other.path == program);
        Ok(version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_none_is_unavailable() {
        let error = Cache::new(None).version(Path::new("/bin/true")).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unavailable);
        assert!(error.message.starts_with("/bin/true is no Cloud Hypervisor"), "{error}");
    }
}
