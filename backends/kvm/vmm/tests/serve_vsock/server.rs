//! A run directory and a server in it.

use std::fs;
use std::io::{PipeWriter, Read, pipe};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Command, ExitStatus, Stdio};

use command_fds::{CommandFdExt, FdMapping};
use microagent_vmm_protocol::{
    LIFE_FD, ServeVsockSpec, VERSION, VHOST_LISTENER_FD, VSOCK_LISTENER_FD,
};
use tempfile::TempDir;

/// A server that runs. Dropped, it is killed.
pub(crate) struct Server {
    dir: TempDir,
    child: Child,
    life: Option<PipeWriter>,
}

impl Server {
    pub(crate) fn start(attached: bool) -> Self {
        Self::start_with(attached, Stdio::inherit(), |_| ())
    }

    /// How a server ends whose specification was changed, and what it says.
    pub(crate) fn refused(change: fn(&mut ServeVsockSpec)) -> (ExitStatus, String) {
        let mut server = Self::start_with(false, Stdio::piped(), change);
        let mut text = String::new();
        server.child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
        (server.end(), text)
    }

    fn start_with(attached: bool, stderr: Stdio, change: fn(&mut ServeVsockSpec)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let listen = |name| OwnedFd::from(UnixListener::bind(dir.path().join(name)).unwrap());
        let mut fds = vec![
            FdMapping { parent_fd: listen("vhost"), child_fd: VHOST_LISTENER_FD },
            FdMapping { parent_fd: listen("vsock"), child_fd: VSOCK_LISTENER_FD },
        ];
        let life = attached.then(|| {
            let (read, write) = pipe().unwrap();
            fds.push(FdMapping { parent_fd: read.into(), child_fd: LIFE_FD });
            write
        });
        let mut command = Command::new(env!("CARGO_BIN_EXE_microagent-vmm"));
        command.arg("serve-vsock").stdin(Stdio::piped()).stderr(stderr);
        let mut child = command.fd_mappings(fds).unwrap().spawn().unwrap();
        let mut spec = ServeVsockSpec {
            version: VERSION,
            dir: dir.path().to_owned(),
            socket: "vsock".into(),
            cid: 3,
            attached,
        };
        change(&mut spec);
        serde_json::to_writer(child.stdin.take().unwrap(), &spec).unwrap();
        Self { dir, child, life }
    }

    pub(crate) fn frontend(&self) -> UnixStream {
        UnixStream::connect(self.dir.path().join("vhost")).unwrap()
    }

    pub(crate) fn listen(&self, port: u32) -> UnixListener {
        UnixListener::bind(self.dir.path().join(format!("vsock_{port}"))).unwrap()
    }

    /// `/proc/<pid>/task/<tid>/status` of each of its threads.
    pub(crate) fn threads(&self) -> Vec<String> {
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
