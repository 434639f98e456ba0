//! Finding out what a path is: by asking it, never by its name, but for plugins, which
//! cannot be asked before they are loaded.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use microagent_backend::{Backend, Error, ErrorKind, Result};
use tokio::time::Instant;

use crate::process::{Failed, run};
use crate::program::{Fault, Program};
use crate::words::one_line;
use crate::{ExecutableBackend, Registry, Wanted};

/// How long a program may take to print its version.
pub const VERSION_DEADLINE: Duration = Duration::from_secs(5);

/// How much of what it prints is read, in bytes.
pub const MAX_VERSION_OUTPUT: usize = 64 << 10;

/// How long it may take in all to find out what a path is.
pub const IDENTIFY_WITHIN: Duration = Duration::from_secs(9);

/// How much of a version stands in an error, in characters.
const MAX_QUOTED: usize = 80;

impl Registry {
    /// The backend for the hypervisor, plugin or supervisor at `path`.
    pub(crate) async fn by_path(&self, path: &Path) -> Result<Box<dyn Backend>> {
        let deadline = Instant::now() + IDENTIFY_WITHIN;
        let meta = look_at(path)?;
        if path.extension().is_some_and(|e| e == "so") {
            return self.plugin(path).await;
        }
        check_executable(path, &meta)?;
        let version = version_of(path).await?;
        let first = version.lines().next().unwrap_or_default();
        let known = self.entries().iter().find(|entry| (entry.recognises)(first));
        match known {
            Some(entry) => match &entry.make {
                Some(make) => make(Wanted::Program(path)),
                None => Err(self.not_built(&format!("the driver for {first:?}"))),
            },
            None => self.executable(path, first, deadline).await,
        }
    }

    async fn plugin(&self, path: &Path) -> Result<Box<dyn Backend>> {
        match self.plugin_host() {
            Some(host) => {
                Ok(Box::new(ExecutableBackend::plugin(host, path, IDENTIFY_WITHIN).await?))
            }
            None => Err(self.not_built(&format!("a plugin such as {}", path.display()))),
        }
    }

    /// The supervisor at `path`, whose `--version` nobody knows.
    async fn executable(
        &self,
        path: &Path,
        version: &str,
        deadline: Instant,
    ) -> Result<Box<dyn Backend>> {
        let absolute = std::path::absolute(path)
            .map_err(|e| Error::io(format!("resolve {}", path.display()), e))?;
        let left = deadline.saturating_duration_since(Instant::now());
        match ExecutableBackend::connect(Program::executable(absolute, Vec::new()), left).await {
            Ok(backend) => Ok(Box::new(backend)),
            Err(Fault::Refused(error)) => Err(error),
            Err(Fault::Silent(error)) if error.kind == ErrorKind::Timeout => Err(error),
            Err(Fault::Silent(error)) => {
                let printed: String = one_line(version).chars().take(MAX_QUOTED).collect();
                let message = format!(
                    "supervisor {} is no hypervisor that is known, --version printed {printed:?}, \
                     and does not speak the supervisor protocol",
                    path.display(),
                );
                Err(Error::new(ErrorKind::Usage, message)
                    .with_source(error)
                    .with_hint(format!("known are: {}", self.built_names())))
            }
        }
    }
}

fn usage(path: &Path, what: &str) -> Error {
    Error::new(ErrorKind::Usage, format!("supervisor {} {what}", path.display())).with_hint(
        "give the path of a hypervisor, a plugin or a supervisor, or a name such as 'qemu'",
    )
}

fn look_at(path: &Path) -> Result<Metadata> {
    let meta = match fs::metadata(path) {
        Ok(meta) => meta,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            return Err(usage(path, "does not exist"));
        }
        Err(e) => return Err(usage(path, "cannot be read").with_source(e)),
    };
    if meta.is_dir() {
        return Err(usage(path, "is a directory"));
    }
    if !meta.is_file() {
        return Err(usage(path, "is not a regular file"));
    }
    Ok(meta)
}

fn check_executable(path: &Path, meta: &Metadata) -> Result<()> {
    if meta.permissions().mode() & 0o111 == 0 {
        return Err(usage(path, "is not executable"));
    }
    Ok(())
}

/// What a program prints for `--version`, as far as it is read.
async fn version_of(path: &Path) -> Result<String> {
    let what = path.display();
    let absolute =
        std::path::absolute(path).map_err(|e| Error::io(format!("resolve {what}"), e))?;
    let mut command = Command::new(absolute);
    command.arg("--version").stdin(Stdio::null());
    match run(command, MAX_VERSION_OUTPUT, VERSION_DEADLINE).await {
        Ok(ran) => Ok(String::from_utf8_lossy(&ran.stdout).into_owned()),
        Err(Failed::Start(e)) => Err(usage(path, "cannot be run").with_source(e)),
        Err(Failed::Read(e)) => Err(Error::io(format!("read what {what} --version prints"), e)),
        Err(Failed::Late { .. }) => Err(Error::new(
            ErrorKind::Timeout,
            format!("supervisor {what} did not answer --version within {VERSION_DEADLINE:?}"),
        )),
    }
}
