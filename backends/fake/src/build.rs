//! Building a machine: all of it, or nothing that is left behind.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use command_fds::{CommandFdExt, FdMapping};
use microagent_backend::{Error, ErrorKind, Lifetime, Result, RunDir};
use microagent_machine::{Access, Boot, Disk, MachineSpec};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::unix::pipe;

use crate::backend::SHELL;
use crate::files;
use crate::process::Process;
use crate::record::{self, Record};

/// How long a guard may take to say that it is ready: two starts of a shell.
const READY_WITHIN: Duration = Duration::from_secs(10);
/// Longest line in which a guard says that it is ready, in bytes.
const MAX_READY_LEN: u64 = 64;
/// Where the descriptors that hold the disks' locks begin in the guard. A shell uses
/// numbers from 10 on for itself and goes around those that are taken.
const FIRST_LOCK_FD: i32 = 32;

/// Builds a machine in `dir`, with its guest held.
pub(crate) async fn build(
    spec: &MachineSpec,
    boot: &Boot,
    dir: &RunDir,
    lifetime: Lifetime,
) -> Result<Record> {
    let script = crate::guest::script(&boot.cmdline, spec)?;
    regular_file(&boot.kernel)?;
    regular_file(&boot.initramfs)?;
    let locks = spec.disks.iter().map(lock).collect::<Result<Vec<_>>>()?;
    let life = Life::of(lifetime)?;
    let mut building = Building::begin(dir)?;
    let report = building.spawn(&script, life.stdin, &life.arguments, locks)?;
    let (guest, watcher) =
        tokio::time::timeout(READY_WITHIN, ready(report)).await.map_err(|_| {
            Error::new(ErrorKind::Timeout, format!("guard not ready within {READY_WITHIN:?}"))
        })??;
    let record = Record::new(building.guard()?, guest, watcher);
    record.write(dir)?;
    if let Some(commit) = life.commit {
        let told = File::from(commit).write_all(b"recorded\n");
        told.map_err(|e| Error::io("tell the guard that its machine is recorded", e))?;
    }
    building.done()?;
    Ok(record)
}

/// What a guard is told about its lifetime.
struct Life {
    stdin: OwnedFd,
    /// Where a detached one is told that it is recorded.
    commit: Option<OwnedFd>,
    /// `attached` or `detached`, then what goes with the machine.
    arguments: Vec<PathBuf>,
}

impl Life {
    fn of(lifetime: Lifetime) -> Result<Self> {
        match lifetime {
            Lifetime::Attached { pipe, remove } => {
                if let Some(path) = remove.iter().find(|path| !path.is_absolute()) {
                    let message = format!("'{}' to be removed is not absolute", path.display());
                    return Err(Error::new(ErrorKind::Usage, message));
                }
                let arguments = [PathBuf::from("attached")].into_iter().chain(remove).collect();
                Ok(Self { stdin: pipe, commit: None, arguments })
            }
            Lifetime::Detached => {
                let (stdin, commit) =
                    std::io::pipe().map_err(|e| Error::io("make a pipe to the guard", e))?;
                Ok(Self {
                    stdin: stdin.into(),
                    commit: Some(commit.into()),
                    arguments: vec!["detached".into()],
                })
            }
        }
    }
}

/// A machine that is not complete; dropped, it leaves nothing.
struct Building<'a> {
    dir: &'a RunDir,
    guard: Option<Child>,
    complete: bool,
}

impl<'a> Building<'a> {
    fn begin(dir: &'a RunDir) -> Result<Self> {
        for name in [record::FILE, files::CONTROL] {
            if dir.file(name).exists() {
                let message = format!("{} holds a machine already", dir.path().display());
                return Err(Error::new(ErrorKind::Conflict, message));
            }
        }
        let building = Self { dir, guard: None, complete: false };
        for name in [files::CONTROL, files::ALIVE] {
            mknodat(CWD, dir.file(name), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)
                .map_err(|e| Error::io(format!("make {}", dir.file(name).display()), e.into()))?;
        }
        files::make(dir, files::HELD)?;
        Ok(building)
    }

    /// Starts the guard; what is returned is where it reports.
    fn spawn(
        &mut self,
        script: &str,
        stdin: OwnedFd,
        life: &[PathBuf],
        locks: Vec<OwnedFd>,
    ) -> Result<pipe::Receiver> {
        let dir = std::path::absolute(self.dir.path())
            .map_err(|e| Error::io(format!("resolve {}", self.dir.path().display()), e))?;
        let mut command = Command::new(SHELL);
        command
            .args(["-c", include_str!("guard.sh"), "microagent-fake-guard"])
            .arg(&dir)
            .arg(script)
            .args(life)
            .current_dir(&dir)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            // Ctrl-C at the terminal of whoever made the machine is not for the machine.
            .process_group(0)
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mappings = locks.into_iter().zip(FIRST_LOCK_FD..);
        let mappings = mappings.map(|(parent_fd, child_fd)| FdMapping { parent_fd, child_fd });
        command
            .fd_mappings(mappings.collect())
            .map_err(|e| Error::new(ErrorKind::Io, "cannot pass on disks").with_source(e))?;
        let start = |e| Error::io(format!("start {SHELL}"), e);
        let guard = self.guard.insert(command.spawn().map_err(start)?);
        let report = guard.stdout.take().ok_or_else(|| start(std::io::ErrorKind::Other.into()))?;
        pipe::Receiver::from_owned_fd(report.into()).map_err(start)
    }

    fn guard(&self) -> Result<Process> {
        let process = self.guard.as_ref().and_then(|guard| Process::now(guard.id()));
        process.ok_or_else(|| Error::new(ErrorKind::Crashed, "the guard died at its start"))
    }

    /// Keeps what was built. A thread waits for the guard, so that it leaves no zombie for
    /// as long as this program runs, whatever becomes of the handles.
    fn done(mut self) -> Result<()> {
        let Some(mut guard) = self.guard.take() else { return Ok(()) };
        self.complete = true;
        std::thread::Builder::new()
            .name("fake-guard".into())
            .spawn(move || guard.wait())
            .map(drop)
            .map_err(|e| Error::io("start a thread that waits for the guard", e))
    }
}

impl Drop for Building<'_> {
    fn drop(&mut self) {
        if self.complete {
            return;
        }
        if let Some(guard) = &mut self.guard {
            // Nobody has waited for the guard, so its group cannot be another's by now.
            if let Some(group) = i32::try_from(guard.id()).ok().and_then(Pid::from_raw) {
                let _ = kill_process_group(group, Signal::KILL);
            }
            let _ = guard.wait();
        }
        for name in files::ALL {
            if let Err(error) = files::remove(self.dir, name) {
                tracing::warn!(%error, "a machine that could not be built left a file");
            }
        }
    }
}

/// Reads the guard's one line: the guest, and who watches the life pipe.
async fn ready(report: pipe::Receiver) -> Result<(Process, Option<Process>)> {
    let mut line = String::new();
    let read = BufReader::new(report.take(MAX_READY_LEN)).read_line(&mut line).await;
    read.map_err(|e| Error::io("read from the guard", e))?;
    let pids = line.strip_prefix("ready ").unwrap_or_default().split_whitespace();
    let mut processes = pids.map(|pid| pid.parse().ok().and_then(Process::now));
    let guest = processes.next().flatten();
    let guest =
        guest.ok_or_else(|| Error::new(ErrorKind::Crashed, format!("the guard said {line:?}")))?;
    Ok((guest, processes.next().flatten()))
}

fn regular_file(path: &Path) -> Result<File> {
    let open = |e| Error::io(format!("open {}", path.display()), e);
    let file = File::open(path).map_err(open)?;
    if file.metadata().map_err(open)?.is_file() {
        Ok(file)
    } else {
        Err(Error::new(ErrorKind::Usage, format!("{} is not a file", path.display())))
    }
}

/// Opens a disk and locks it: alone to write, together with others to read.
fn lock(disk: &Disk) -> Result<OwnedFd> {
    let path = disk.path.display();
    let open = |e| Error::io(format!("open disk {path}"), e);
    let write = disk.access == Access::ReadWrite;
    let file = OpenOptions::new().read(true).write(write).open(&disk.path).map_err(open)?;
    let len = file.metadata().map_err(open)?.len();
    if len % 512 != 0 {
        let message = format!("disk {path} has {len} bytes, not a multiple of 512");
        return Err(Error::new(ErrorKind::Usage, message));
    }
    match if write { file.try_lock() } else { file.try_lock_shared() } {
        Ok(()) => Ok(file.into()),
        Err(TryLockError::WouldBlock) => {
            Err(Error::new(ErrorKind::Conflict, format!("disk {path} is in use")))
        }
        Err(TryLockError::Error(e)) => Err(Error::io(format!("lock disk {path}"), e)),
    }
}
