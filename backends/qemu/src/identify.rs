//! Finding out which QEMU a program is and what it was built with, by running it.

use std::path::Path;

use microagent_backend::Result;
use microagent_guarded::ask;
use serde::{Deserialize, Serialize};

use crate::QemuVersion;

/// What a QEMU is and has: the same for as long as its file is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Identity {
    /// Its version.
    pub(crate) version: QemuVersion,
    /// Whether it has the machine `microvm`.
    pub(crate) microvm: bool,
    /// Whether it has `-sandbox`.
    pub(crate) sandbox: bool,
    /// Whether it has a device for disks.
    pub(crate) block: bool,
    /// Whether it has a device for vsock.
    pub(crate) vsock: bool,
    /// Whether it has a device for a network.
    pub(crate) net: bool,
    /// Whether it has a user network of its own.
    pub(crate) slirp: bool,
    /// Whether it has a device for entropy.
    pub(crate) rng: bool,
}

/// Which QEMU the program at `path` is; `None` if it is something else.
///
/// It is run with `--version`, with a clean environment, for at most 5 s, and at most 64 KiB
/// of what it prints are read.
///
/// # Errors
/// `Io` if it cannot be run, `Timeout` if it does not end in time.
pub async fn identify(path: &Path) -> Result<Option<QemuVersion>> {
    let said = ask(path, &["--version"]).await?;
    Ok(QemuVersion::from_output(&said.text).filter(|_| said.success))
}

/// Asks a program that is said to be QEMU for all that is to be known of it.
pub(crate) async fn interrogate(path: &Path) -> Result<Option<Identity>> {
    let Some(version) = identify(path).await? else { return Ok(None) };
    let (machines, sandbox, block, vsock, net, netdevs, rng) = tokio::try_join!(
        ask(path, &["-machine", "help"]),
        // Options are read in order: this gets to `-version` where the first is known.
        ask(path, &["-sandbox", "on", "-version"]),
        has_device(path, "virtio-blk-device"),
        has_device(path, "vhost-user-vsock-device"),
        has_device(path, "virtio-net-device"),
        ask(path, &["-machine", "none", "-netdev", "help"]),
        has_device(path, "virtio-rng-device"),
    )?;
    Ok(Some(Identity {
        version,
        microvm: machines.text.lines().any(|line| line.starts_with("microvm ")),
        sandbox: sandbox.success,
        block,
        vsock,
        net,
        slirp: netdevs.text.lines().any(|line| line == "user"),
        rng,
    }))
}

/// Each by its name: the list of all makes QEMU load all of its modules, and one that does
/// not fit, perhaps another build's, ends it.
async fn has_device(path: &Path, name: &str) -> Result<bool> {
    let said = ask(path, &["-machine", "none", "-device", &format!("{name},help")]).await?;
    Ok(said.success && said.text.starts_with(&format!("{name} options")))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn check(script: &str, expect: Option<QemuVersion>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("program");
        microagent_tests_scripts::write(&path, &format!("#!/bin/sh\n{script}\n"));
        assert_eq!(identify(&path).await.unwrap(), expect, "{script}");
    }

    #[tokio::test]
    async fn programs_are_known_by_what_they_print() {
        let version = QemuVersion { major: 8, minor: 0, patch: 1 };
        check("echo 'QEMU emulator version 8.0.1'", Some(version)).await;
        check("echo 'QEMU emulator version 8.0.1'; exit 1", None).await;
        check("echo hello", None).await;
        check("exit 0", None).await;
    }
}
