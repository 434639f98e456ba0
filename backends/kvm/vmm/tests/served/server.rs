//! A run directory and a server in it.

use std::fs;
use std::io::{PipeWriter, Read, Write, pipe};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use command_fds::{CommandFdExt, FdMapping};
use microagent_vmm_protocol::{LIFE_FD, VHOST_LISTENER_FD};
use tempfile::TempDir;

/// Made in the directory of a server.
type InDir<T> = Box<dyn FnOnce(&Path) -> T>;

/// What a server is given.
pub(crate) struct SpecOf {
    /// Of `microagent-vmm`.
    pub(crate) argument: &'static str,
    pub(crate) attached: bool,
    /// The descriptor that it has beside those of every server.
    pub(crate) end: InDir<(OwnedFd, i32)>,
    /// What it reads, for a server in this directory.
    pub(crate) spec: InDir<Vec<u8>>,
}

/// A server that runs. Dropped, it is killed.
pub(crate) struct Server {
    dir: TempDir,
    child: Child,
    life: Option<PipeWriter>,
}

impl Server {
    pub(crate) fn start(spec: SpecOf) -> Self {
        Self::start_with(spec, Stdio::inherit())
    }

    /// How a server ends that cannot do this, and what it says.
    pub(crate) fn refused(spec: SpecOf) -> (ExitStatus, String) {
        let mut server = Self::start_with(spec, Stdio::piped());
        let mut text = String::new();
        server.child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
        (server.end(), text)
    }

    fn start_with(asked: SpecOf, stderr: Stdio) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let vhost = OwnedFd::from(UnixListener::bind(dir.path().join("vhost")).unwrap());
        let fds = [(vhost, VHOST_LISTENER_FD), (asked.end)(dir.path())];
        let mut fds: Vec<_> =
            fds.map(|(parent_fd, child_fd)| FdMapping { parent_fd, child_fd }).into();
        let life = asked.attached.then(|| {
            let (read, write) = pipe().unwrap();
            fds.push(FdMapping { parent_fd: read.into(), child_fd: LIFE_FD });
            write
        });
        let mut command = Command::new(env!("CARGO_BIN_EXE_microagent-vmm"));
        command.arg(asked.argument).stdin(Stdio::piped()).stderr(stderr);
        let mut child = command.fd_mappings(fds).unwrap().spawn().unwrap();
        child.stdin.take().unwrap().write_all(&(asked.spec)(dir.path())).unwrap();
        Self { dir, child, life }
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn frontend(&self) -> UnixStream {
        UnixStream::connect(self.dir().join("vhost")).unwrap()
    }

    /// Whether each of its threads can gain no privileges and has a filter of system calls.
    pub(crate) fn is_confined(&self) -> bool {
        let filtered = if cfg!(target_arch = "x86_64") { "Seccomp:\t2" } else { "Seccomp:\t0" };
        let has = |status: &String, line| status.lines().any(|l| l == line);
        self.threads().iter().all(|s| has(s, "NoNewPrivs:\t1") && has(s, filtered))
    }

    /// `/proc/<pid>/task/<tid>/status` of each of its threads.
    fn threads(&self) -> Vec<String> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        tasks.map(|t| fs::read_to_string(t.unwrap().path().join("status")).unwrap()).collect()
    }

    pub(crate) fn end_life(&mut self) {
        assert!(self.life.take().is_some());
    }

    pub(crate) fn end(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
