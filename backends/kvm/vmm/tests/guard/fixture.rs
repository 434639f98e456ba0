//! A run directory, a guard in it, and what it reports.

use std::fs;
use std::io::{BufRead, BufReader, PipeReader, PipeWriter, pipe};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use command_fds::{CommandFdExt, FdMapping};
use microagent_vmm_protocol::{
    ChildExit, Confinement, FIRST_PASSED_FD, GuardReport, GuardSpec, LIFE_FD, VERSION,
};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags, Signal};
use tempfile::TempDir;

/// How long anything here may take.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Fixture {
    _state: TempDir,
    dir: PathBuf,
    script: String,
}

/// A file system that is there as long as this.
pub(crate) struct SmallDisk(PathBuf);

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

impl Fixture {
    /// A run directory for a child that runs `script` in a shell.
    pub(crate) fn new(script: &str) -> Self {
        let state = tempfile::tempdir().unwrap();
        let dir = state.path().canonicalize().unwrap().join("run");
        fs::create_dir(&dir).unwrap();
        Self { _state: state, dir, script: script.to_owned() }
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Has the run directory be a file system of its own, as these options say, where this
    /// test may make one.
    pub(crate) fn small_disk(&self, options: &str) -> Option<SmallDisk> {
        let made = Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "none"])
            .arg(&self.dir)
            .output()
            .unwrap();
        if !made.status.success() {
            eprintln!("SKIP: nothing can be mounted");
            let required = std::env::var("MICROAGENT_REQUIRE").unwrap_or_default();
            assert!(!["root", "all"].iter().any(|r| required.contains(r)), "{made:?}");
            return None;
        }
        Some(SmallDisk(self.dir.clone()))
    }

    pub(crate) fn spec(&self, attached: bool, remove: &[&Path]) -> GuardSpec {
        let system = ["/bin", "/usr", "/lib", "/lib64", "/etc/ld.so.cache", "/dev/zero", "/proc"];
        GuardSpec {
            version: VERSION,
            program: "/bin/sh".into(),
            args: vec!["-c".into(), self.script.clone()],
            env: vec![("NAME".into(), "value with = sign".into())],
            dir: self.dir.clone(),
            attached,
            remove: remove.iter().map(|p| p.to_path_buf()).collect(),
            console: "console".into(),
            confinement: Confinement {
                read: system.iter().map(PathBuf::from).collect(),
                write: vec![self.dir.clone(), "/dev/null".into()],
                max_file_size: 10 << 20,
                landlock_optional: true,
                ..Confinement::default()
            },
            pass: 0,
            events: None,
        }
    }

    pub(crate) fn detached(&self) -> Running {
        let mut guard = self.spawn(false);
        guard.give(&self.spec(false, &[]));
        guard
    }

    pub(crate) fn attached(&self, remove: &[&Path]) -> Running {
        let mut guard = self.spawn(true);
        guard.give(&self.spec(true, remove));
        guard
    }

    pub(crate) fn spawn(&self, attached: bool) -> Running {
        self.spawn_passing(attached, Vec::new())
    }

    /// As [`Fixture::spawn`], with descriptors for the guard's child.
    pub(crate) fn spawn_passing(&self, attached: bool, passed: Vec<OwnedFd>) -> Running {
        let mut command = Command::new(env!("CARGO_BIN_EXE_microagent-vmm"));
        command.arg("guard").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut fds: Vec<_> = (FIRST_PASSED_FD..)
            .zip(passed)
            .map(|(child_fd, parent_fd)| FdMapping { parent_fd, child_fd })
            .collect();
        let life = attached.then(|| {
            let (read, write): (PipeReader, PipeWriter) = pipe().unwrap();
            fds.push(FdMapping { parent_fd: OwnedFd::from(read), child_fd: LIFE_FD });
            write
        });
        command.fd_mappings(fds).unwrap();
        let mut child = command.spawn().unwrap();
        let reports = BufReader::new(child.stdout.take().unwrap());
        Running { child, reports, life, group: None, landlock: false }
    }

    pub(crate) fn console(&self) -> String {
        fs::read_to_string(self.dir.join("console")).unwrap()
    }

    /// The guard tells nobody that the console grew, so a test has to look.
    pub(crate) fn wait_for_console(&self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.console().contains(text) {
            assert!(Instant::now() < deadline, "no {text:?} in {:?}", self.console());
            std::thread::yield_now();
        }
    }
}

/// A guard that runs. Dropped, it is killed.
pub(crate) struct Running {
    child: Child,
    reports: BufReader<ChildStdout>,
    life: Option<PipeWriter>,
    /// The process group of its child, which has what that starts.
    group: Option<Pid>,
    /// What the guard said about Landlock when it had started its child.
    pub(crate) landlock: bool,
}

impl Running {
    pub(crate) fn give(&mut self, spec: &GuardSpec) {
        // A guard that refuses early may not read to the end.
        let _ = serde_json::to_writer(self.child.stdin.take().unwrap(), spec);
    }

    pub(crate) fn report(&mut self) -> Option<GuardReport> {
        let mut line = String::new();
        self.reports.read_line(&mut line).unwrap();
        (!line.is_empty()).then(|| serde_json::from_str(&line).unwrap())
    }

    pub(crate) fn started(&mut self) -> u32 {
        match self.report() {
            Some(GuardReport::Started { pid, landlock }) => {
                self.landlock = landlock;
                self.group = Pid::from_raw(pid.cast_signed());
                pid
            }
            other => panic!("expected a start, got {other:?}"),
        }
    }

    pub(crate) fn exited(&mut self) -> ChildExit {
        match self.report() {
            Some(GuardReport::Exited(exit)) => exit,
            other => panic!("expected an end, got {other:?}"),
        }
    }

    pub(crate) fn end_life(&mut self) {
        assert!(self.life.take().is_some());
    }

    pub(crate) fn end(&mut self) -> ExitStatus {
        assert_eq!(self.report(), None);
        self.child.wait().unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().cast_signed()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = self.group.map(|group| rustix::process::kill_process_group(group, Signal::KILL));
    }
}

pub(crate) fn is_gone(pid: u32) -> bool {
    !Path::new(&format!("/proc/{pid}")).exists()
}

pub(crate) fn pidfd_of(pid: u32) -> OwnedFd {
    let pid = Pid::from_raw(pid.cast_signed()).unwrap();
    rustix::process::pidfd_open(pid, PidfdFlags::empty()).unwrap()
}

pub(crate) fn wait_until_ended(pidfd: &OwnedFd) {
    let mut fds = [PollFd::new(pidfd, PollFlags::IN)];
    let timeout = Timespec::try_from(PATIENCE).unwrap();
    assert_eq!(rustix::event::poll(&mut fds, Some(&timeout)).unwrap(), 1);
}

/// Whether a test of Landlock has to be skipped, visibly.
pub(crate) fn landlock_is_missing() -> bool {
    let supported = microagent_confine::Ruleset::new(&Default::default()).unwrap().is_supported();
    if !supported {
        eprintln!("SKIP: this kernel has no Landlock");
        let required = std::env::var("MICROAGENT_REQUIRE").unwrap_or_default();
        assert!(!["landlock", "all"].iter().any(|r| required.contains(r)), "Landlock is required");
    }
    !supported
}
