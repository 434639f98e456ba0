//! A monitor that runs, and a driver's connection to it.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, PipeReader, Read, Seek, Write, pipe};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use command_fds::{CommandFdExt, FdMapping};
use microagent_vmm_protocol::{
    Announcement, CONTROL_LISTENER_FD, KernelImage, MonitorSpec, MonitorState, MonitorStats,
    NET_FD, Reply, Request, SPEC_FD, VERSION, VSOCK_LISTENER_FD,
};
use rustix::fs::MemfdFlags;
use tempfile::TempDir;

/// How long anything here may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Whether tests here have to be skipped, visibly.
pub(crate) fn kvm_is_missing() -> bool {
    let Err(error) = File::options().read(true).write(true).open("/dev/kvm") else { return false };
    eprintln!("SKIP: /dev/kvm cannot be opened: {error}");
    let required = std::env::var("MICROAGENT_REQUIRE").unwrap_or_default();
    assert!(!["kvm", "all"].iter().any(|r| required.contains(r)), "KVM is required");
    true
}

/// A run directory with what a machine is made of.
pub(crate) struct Fixture {
    dir: Arc<TempDir>,
    pub(crate) spec: MonitorSpec,
    pub(crate) net: Option<OwnedFd>,
}

impl Fixture {
    /// A machine whose kernel is `kernel`.
    pub(crate) fn new(kernel: &[u8]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, content: &[u8]| {
            let path = dir.path().canonicalize().unwrap().join(name);
            fs::write(&path, content).unwrap();
            path
        };
        let spec = MonitorSpec {
            version: VERSION,
            vcpus: 1,
            memory_mib: 16,
            kernel: file("kernel", kernel),
            image: KernelImage::Vmlinux,
            initramfs: file("initramfs", &[]),
            cmdline: String::new(),
            announcement: Announcement::Arguments,
            disks: Vec::new(),
            vsock: None,
            rng: false,
            net: None,
            virtio_console: false,
        };
        Self { dir: Arc::new(dir), spec, net: None }
    }

    /// A path in the run directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().canonicalize().unwrap().join(name)
    }

    /// Starts the process with these words as its specification.
    pub(crate) fn spawn_with(&mut self, spec: &str) -> Monitor {
        let listen = |name: &str| {
            let _ = fs::remove_file(self.path(name));
            OwnedFd::from(UnixListener::bind(self.path(name)).unwrap())
        };
        let mut file = File::from(rustix::fs::memfd_create("spec", MemfdFlags::CLOEXEC).unwrap());
        file.write_all(spec.as_bytes()).unwrap();
        file.rewind().unwrap();
        let fds = [
            (listen("control"), CONTROL_LISTENER_FD),
            (listen("vsock"), VSOCK_LISTENER_FD),
            (file.into(), SPEC_FD),
        ];
        let fds = fds.into_iter().chain(self.net.take().map(|net| (net, NET_FD)));
        let fds = fds.map(|(parent_fd, child_fd)| FdMapping { parent_fd, child_fd });
        let (console, output) = pipe().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_microagent-vmm"));
        command.arg("run").current_dir(self.dir.path());
        command.stdin(Stdio::null()).stdout(output).stderr(Stdio::piped());
        let child = command.fd_mappings(fds.collect()).unwrap().spawn().unwrap();
        Monitor { child, console, control: self.path("control"), _dir: Arc::clone(&self.dir) }
    }

    /// Starts the process.
    pub(crate) fn spawn(&mut self) -> Monitor {
        let spec = serde_json::to_string(&self.spec).unwrap();
        self.spawn_with(&spec)
    }

    /// Lets the machine run to its end: what it wrote, and how the monitor ended.
    pub(crate) fn run(&mut self) -> Ended {
        let monitor = self.spawn();
        // One that fails to build is asked in vain.
        let _ = monitor.try_connect().map(|mut driver| driver.try_ask(&Request::Start));
        monitor.end()
    }
}

/// How a machine ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) console: String,
    pub(crate) log: String,
    pub(crate) code: Option<i32>,
    pub(crate) signal: Option<i32>,
}

/// A monitor. Dropped, it is killed.
pub(crate) struct Monitor {
    child: Child,
    console: PipeReader,
    control: PathBuf,
    _dir: Arc<TempDir>,
}

impl Monitor {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    fn try_connect(&self) -> std::io::Result<Driver> {
        let stream = UnixStream::connect(&self.control)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Driver(BufReader::new(stream)))
    }

    pub(crate) fn connect(&self) -> Driver {
        self.try_connect().unwrap()
    }

    /// Reads the console until there is `text`, and gives all up to it.
    pub(crate) fn wait_for(&mut self, text: &str) -> String {
        let mut seen = String::new();
        let mut byte = [0];
        while !seen.ends_with(text) {
            self.console.read_exact(&mut byte).unwrap_or_else(|_| panic!("only {seen:?}"));
            seen.push(byte[0].into());
        }
        seen
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
    }

    /// Waits for the end.
    pub(crate) fn end(mut self) -> Ended {
        let (mut console, mut log) = (String::new(), String::new());
        self.console.read_to_string(&mut console).unwrap();
        self.child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        let status: ExitStatus = self.child.wait().unwrap();
        Ended { console, log, code: status.code(), signal: status.signal() }
    }

    /// `/proc/<pid>/task/<tid>/status` of each of its threads.
    pub(crate) fn threads(&self) -> Vec<String> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.pid())).unwrap();
        let read = |path: &Path| fs::read_to_string(path.join("status")).unwrap();
        tasks.map(|task| read(&task.unwrap().path())).collect()
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A connection to the control socket.
pub(crate) struct Driver(pub(crate) BufReader<UnixStream>);

impl Driver {
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.0.get_mut().write_all(bytes).unwrap();
    }

    pub(crate) fn receive(&mut self) -> Option<Reply> {
        let mut line = String::new();
        self.0.read_line(&mut line).ok()?;
        serde_json::from_str(&line).ok()
    }

    pub(crate) fn try_ask(&mut self, request: &Request) -> Option<Reply> {
        let mut line = serde_json::to_vec(request).unwrap();
        line.push(b'\n');
        self.0.get_mut().write_all(&line).ok()?;
        self.receive()
    }

    pub(crate) fn ask(&mut self, request: &Request) -> Reply {
        self.try_ask(request).unwrap()
    }

    /// Asks for a state or a change of it.
    pub(crate) fn state(&mut self, request: &Request) -> MonitorState {
        match self.ask(request) {
            Reply::State { state, .. } => state,
            other => panic!("{request:?}: {other:?}"),
        }
    }

    pub(crate) fn stats(&mut self) -> MonitorStats {
        match self.ask(&Request::Stats) {
            Reply::Stats(stats) => stats,
            other => panic!("{other:?}"),
        }
    }
}
