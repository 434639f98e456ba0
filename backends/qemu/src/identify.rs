//! Finding out which QEMU a program is and what it was built with, by running it.

use std::path::Path;
use std::process::Stdio;

use microagent_backend::{Error, ErrorKind, Result};
use rustix::process::{Pid, Signal, kill_process_group};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};

use crate::QemuVersion;
use crate::limits::{IDENTIFY_WITHIN, MAX_IDENTIFY_OUTPUT};

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
    let said = run(path, &["--version"]).await?;
    Ok(QemuVersion::from_output(&said.text).filter(|_| said.success))
}

/// Asks a program that is said to be QEMU for all that is to be known of it.
pub(crate) async fn interrogate(path: &Path) -> Result<Option<Identity>> {
    let Some(version) = identify(path).await? else { return Ok(None) };
    let (machines, sandbox, block, vsock, rng) = tokio::try_join!(
        run(path, &["-machine", "help"]),
        // Options are read in order: this gets to `-version` where the first is known.
        run(path, &["-sandbox", "on", "-version"]),
        has_device(path, "virtio-blk-device"),
        has_device(path, "vhost-user-vsock-device"),
        has_device(path, "virtio-rng-device"),
    )?;
    Ok(Some(Identity {
        version,
        microvm: machines.text.lines().any(|line| line.starts_with("microvm ")),
        sandbox: sandbox.success,
        block,
        vsock,
        rng,
    }))
}

/// Each by its name: the list of all makes QEMU load all of its modules, and one that does
/// not fit, perhaps another build's, ends it.
async fn has_device(path: &Path, name: &str) -> Result<bool> {
    let said = run(path, &["-machine", "none", "-device", &format!("{name},help")]).await?;
    Ok(said.success && said.text.starts_with(&format!("{name} options")))
}

/// What a program printed, and whether it ended well.
struct Said {
    text: String,
    success: bool,
}

async fn run(path: &Path, args: &[&str]) -> Result<Said> {
    let failed = |e| Error::io(format!("run {} {}", path.display(), args.join(" ")), e);
    let mut child = Command::new(path)
        .args(args)
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        // Its own group, so that whatever it starts can be ended with it.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    let group = child.id();
    let said = tokio::time::timeout(IDENTIFY_WITHIN, listen(&mut child)).await;
    end_group(group, &mut child);
    let _ = child.wait().await;
    match said {
        Ok(said) => said.map_err(failed),
        Err(_) => Err(Error::new(
            ErrorKind::Timeout,
            format!(
                "{} did not answer {} within {IDENTIFY_WITHIN:?}",
                path.display(),
                args.join(" ")
            ),
        )),
    }
}

async fn listen(child: &mut Child) -> std::io::Result<Said> {
    let mut text = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        stdout.take(MAX_IDENTIFY_OUTPUT).read_to_end(&mut text).await?;
    }
    let success = child.wait().await?.success();
    Ok(Said { text: String::from_utf8_lossy(&text).into_owned(), success })
}

/// Ends what is left of a group whose leader may have been waited for. The number cannot be
/// another group's by then: it stays taken while any process is in the group.
fn end_group(leader: Option<u32>, child: &mut Child) {
    if child.id().is_none() {
        return;
    }
    let leader = leader.and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
    if let Some(group) = leader {
        let _ = kill_process_group(group, Signal::KILL);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    async fn check(script: &str, expect: Option<QemuVersion>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("program");
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
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

    #[tokio::test]
    async fn what_cannot_be_run_is_named() {
        let error = identify(Path::new("/nonexistent/qemu")).await.unwrap_err();
        assert_eq!(error.message, "cannot run /nonexistent/qemu --version");
    }
}
