//! Remembering what a QEMU can do, since asking it takes longer than starting a machine.

use std::path::{Path, PathBuf};

use microagent_backend::{Error, ErrorKind, Result};
use microagent_guarded::Stamp;

use crate::identify::{Identity, interrogate};

/// File name of the cache in its directory.
const FILE: &str = "qemu.json";

/// What is known of the QEMUs of this host, in memory and perhaps in a file.
#[derive(Debug)]
pub(crate) struct Cache(microagent_guarded::Cache<Stamp, Identity>);

impl Cache {
    /// A cache that is kept in `dir`.
    pub(crate) fn new(dir: Option<PathBuf>) -> Self {
        Self(microagent_guarded::Cache::new(dir.as_deref(), FILE))
    }

    /// What the QEMU at `program` is and has, asked only where it is not known.
    pub(crate) async fn identity(&self, program: &Path) -> Result<Identity> {
        let stamp = Stamp::of(program)?;
        if let Some(known) = self.0.recall(&stamp) {
            return Ok(known);
        }
        let identity = interrogate(program).await?.ok_or_else(|| {
            let what = format!("{} is no QEMU: its --version says otherwise", program.display());
            Error::new(ErrorKind::Unavailable, what)
                .with_hint("give the path of a qemu-system-x86_64")
        })?;
        self.0.keep(stamp, identity.clone(), |other| other.path == program);
        Ok(identity)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A program that says it is QEMU and counts how often it was asked.
    fn impostor(dir: &Path, version: &str) -> PathBuf {
        let path = dir.join("qemu");
        let script = format!(
            "#!/bin/sh\necho >> {}\necho 'QEMU emulator version {version}'\n",
            dir.join("asked").display()
        );
        microagent_tests_scripts::write(&path, &script);
        path
    }

    #[tokio::test]
    async fn a_program_is_asked_until_it_changes() {
        let dir = tempfile::tempdir().unwrap();
        let asked = || fs::metadata(dir.path().join("asked")).unwrap().len();
        let program = impostor(dir.path(), "8.0.0");
        let kept = Some(dir.path().to_owned());
        let first = Cache::new(kept.clone());
        assert_eq!(first.identity(&program).await.unwrap().version.major, 8);
        let once = asked();
        assert!(once > 0);
        first.identity(&program).await.unwrap();
        Cache::new(kept.clone()).identity(&program).await.unwrap();
        assert_eq!(asked(), once, "asked again");

        impostor(dir.path(), "9.0.10");
        let second = Cache::new(kept).identity(&program).await.unwrap();
        assert_eq!(second.version.major, 9);
        assert!(asked() > once);
    }
}
