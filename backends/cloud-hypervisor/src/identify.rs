//! Finding out whether a program is Cloud Hypervisor, by running it.

use std::path::Path;

use microagent_backend::Result;
use microagent_guarded::ask;

use crate::CloudHypervisorVersion;

/// Which Cloud Hypervisor the program at `path` is; `None` if it is something else.
///
/// It is run with `--version`, with a clean environment, for at most 5 s, and at most 64 KiB
/// of what it prints are read.
///
/// # Errors
/// `Io` if it cannot be run, `Timeout` if it does not end in time.
pub async fn identify(path: &Path) -> Result<Option<CloudHypervisorVersion>> {
    let said = ask(path, &["--version"]).await?;
    Ok(CloudHypervisorVersion::from_output(&said.text).filter(|_| said.success))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn programs_are_known_by_what_they_print() {
        let dir = tempfile::tempdir().unwrap();
        let check = async |script: &str, expect: Option<u32>| {
            let path = dir.path().join("program");
            microagent_tests_scripts::write(&path, &format!("#!/bin/sh\n{script}\n"));
            assert_eq!(identify(&path).await.unwrap().map(|v| v.major), expect, "{script}");
        };
        check("echo 'cloud-hypervisor v40.1'", Some(40)).await;
        check("echo 'cloud-hypervisor v40.1'; exit 1", None).await;
        check("echo hello", None).await;
        check("exit 0", None).await;
    }
}
