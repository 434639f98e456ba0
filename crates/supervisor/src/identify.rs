//! Finding out what a path is: by running it with `--version`, never by its name.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use microagent_backend::{Backend, Error, ErrorKind, Result};
use tokio::io::AsyncReadExt;
use tokio::process::Command;

use crate::{Registry, Wanted};

/// How long a program may take to print its version.
pub const VERSION_DEADLINE: Duration = Duration::from_secs(5);

/// How much of what it prints is read, in bytes.
pub const MAX_VERSION_OUTPUT: u64 = 64 << 10;

impl Registry {
    /// The backend for the hypervisor at `path`.
    pub(crate) async fn by_path(&self, path: &Path) -> Result<Box<dyn Backend>> {
        check_executable(path)?;
        if path.extension().is_some_and(|e| e == "so") {
            return Err(self.not_built(&format!("a plugin such as {}", path.display())));
        }
        let version = version_of(path).await?;
        let first = version.lines().next().unwrap_or_default();
        let known = self.entries().iter().find(|entry| (entry.recognises)(first));
        match known {
            Some(entry) => match &entry.make {
                Some(make) => make(Wanted::Program(path)),
                None => Err(self.not_built(&format!("the driver for {first:?}"))),
            },
            None => Err(Error::new(
                ErrorKind::Usage,
                format!(
                    "supervisor {} is no hypervisor that is known: --version printed {:?}",
                    path.display(),
                    first.chars().take(80).collect::<String>()
                ),
            )
            .with_hint(format!("known are: {}", self.built_names()))),
        }
    }
}

fn check_executable(path: &Path) -> Result<()> {
    let usage = |what: &str| {
        Error::new(ErrorKind::Usage, format!("supervisor {} {what}", path.display()))
            .with_hint("give the path of a hypervisor, or a name such as 'qemu'")
    };
    let meta = match fs::metadata(path) {
        Ok(meta) => meta,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Err(usage("does not exist")),
        Err(e) => return Err(usage("cannot be read").with_source(e)),
    };
    if meta.is_dir() {
        return Err(usage("is a directory"));
    }
    if !meta.is_file() || meta.permissions().mode() & 0o111 == 0 {
        return Err(usage("is not executable"));
    }
    Ok(())
}

/// What a program prints for `--version`, run with a clean environment.
async fn version_of(path: &Path) -> Result<String> {
    let what = path.display();
    let mut child = Command::new(path)
        .arg("--version")
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        // Its own group, so that whatever it starts can be ended with it.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| {
            Error::new(ErrorKind::Usage, format!("supervisor {what} cannot be run"))
                .with_source(e)
                .with_hint("give the path of a hypervisor, or a name such as 'qemu'")
        })?;
    let group = child.id();
    let outcome = tokio::time::timeout(VERSION_DEADLINE, output_of(&mut child)).await;
    end_group(group);
    let _ = child.wait().await;
    match outcome {
        Ok(text) => text.map_err(|e| Error::io(format!("read what {what} --version prints"), e)),
        Err(_) => Err(Error::new(
            ErrorKind::Timeout,
            format!("supervisor {what} did not answer --version within {VERSION_DEADLINE:?}"),
        )),
    }
}

async fn output_of(child: &mut tokio::process::Child) -> std::io::Result<String> {
    let mut text = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        stdout.take(MAX_VERSION_OUTPUT).read_to_end(&mut text).await?;
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

fn end_group(leader: Option<u32>) {
    let leader = leader.and_then(|pid| rustix::process::Pid::from_raw(i32::try_from(pid).ok()?));
    if let Some(group) = leader {
        // It may have ended by itself; then there is nobody to signal.
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
}
