//! Machines whose processes die or stand still: the real monitor, with guests of a few
//! instructions, which run on whatever KVM there is.
//!
//! Needs `/dev/kvm` and a built `microagent-vmm`.
#![allow(clippy::unwrap_used, clippy::panic)] // what fails here fails a test

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use microagent_backend::{Backend, ErrorKind, Exit, Lifetime, Machine, RunDir, State};
use microagent_conformance::{BareGuests, End, Guests, Script, Step};
use microagent_kvm::{Emulated, KvmBackend, KvmOptions};
use microagent_machine::{Arch, MachineSpec, MiB};
use tempfile::TempDir;

/// How long anything may take on a busy host.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long the end of what was killed may take: three processes of 10 s each.
const END: Duration = Duration::from_secs(30);

struct Bench {
    top: TempDir,
    monitor: PathBuf,
    spec: MachineSpec,
}

impl Bench {
    /// None, with a word why, where something is missing.
    async fn new() -> Option<Self> {
        let monitor = monitor()?;
        let top = TempDir::new().unwrap();
        let guests = BareGuests::interpreted();
        let script = Script::new([Step::say("up")], End::Never);
        let spec = MachineSpec {
            arch: Arch::X86_64,
            vcpus: 1,
            memory: MiB(16),
            disks: Vec::new(),
            vsock: None,
            net: None,
            rng: false,
            boot: Some(guests.boot(top.path(), &script).unwrap()),
        };
        let bench = Self { top, monitor, spec };
        match bench.backend().probe().await {
            Ok(_) => Some(bench),
            Err(error) => missing("kvm", &error.message),
        }
    }

    /// The backend, as another process would have it each time.
    fn backend(&self) -> KvmBackend {
        KvmBackend::new(KvmOptions {
            emulated: Emulated::Allow,
            monitor: self.monitor.clone(),
            cache_dir: Some(self.top.path().to_owned()),
        })
    }

    /// A machine whose guest runs.
    async fn running(&self, name: &str) -> Running {
        let dir = RunDir::create(self.top.path().join(name)).unwrap();
        let machine = self.backend().create(&self.spec, &dir, Lifetime::Detached).await.unwrap();
        machine.start().await.unwrap();
        let begin = Instant::now();
        while !machine.console().last(100).unwrap().starts_with(b"up") {
            assert!(begin.elapsed() < PATIENCE, "the guest says nothing");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let processes = machine.isolation().await.unwrap().processes;
        let pid = |role| processes.iter().find(|process| process.role == role).unwrap().pid;
        let (monitor, guard) = (pid("monitor"), pid("guard"));
        Running { machine, dir, monitor, guard }
    }

    async fn open(&self, dir: &RunDir) -> Box<dyn Machine> {
        self.backend().open(dir).await.unwrap()
    }
}

struct Running {
    machine: Box<dyn Machine>,
    dir: RunDir,
    monitor: u32,
    guard: u32,
}

impl Running {
    /// Destroys it, in time, and looks for what is left.
    async fn gone(self) {
        let Self { machine, dir, monitor, guard } = self;
        within(END, machine.destroy()).await.unwrap();
        assert!(!dir.path().exists());
        assert!(![monitor, guard].into_iter().any(runs), "a process is left");
    }
}

async fn within<T>(limit: Duration, what: impl Future<Output = T>) -> T {
    tokio::time::timeout(limit, what).await.unwrap_or_else(|_| panic!("not within {limit:?}"))
}

async fn crashed(machine: &dyn Machine, why: &str) {
    match machine.wait(PATIENCE).await.unwrap() {
        Some(Exit::Crashed { detail }) if detail.contains(why) => {}
        other => panic!("expected {why}: {other:?}"),
    }
    assert_eq!(machine.state().await.unwrap(), State::Stopped);
    let pause = machine.as_pause().unwrap().pause().await;
    assert_eq!(pause.unwrap_err().kind, ErrorKind::InvalidState);
}

#[tokio::test]
async fn whoever_dies_is_noticed() {
    let Some(bench) = Bench::new().await else { return };
    let check = async |of_guard: bool, name: &str, why: &str| {
        let running = bench.running(name).await;
        signal(if of_guard { running.guard } else { running.monitor }, name);
        crashed(running.machine.as_ref(), why).await;
        crashed(bench.open(&running.dir).await.as_ref(), why).await;
        running.gone().await;
    };
    check(false, "SEGV", "signal 11").await;
    check(false, "SYS", "signal 31").await;
    check(false, "TERM", "signal 15").await;
    check(true, "KILL", "its guard was killed").await;
}

#[tokio::test]
async fn a_crash_that_nobody_watched_is_told_to_whoever_asks_later() {
    let Some(bench) = Bench::new().await else { return };
    let Running { machine, dir, monitor, guard } = bench.running("m").await;
    drop(machine);
    signal(monitor, "SEGV");
    let machine = bench.open(&dir).await;
    crashed(machine.as_ref(), "signal 11").await;
    assert!(machine.console().last(100).unwrap().starts_with(b"up"));
    Running { machine, dir, monitor, guard }.gone().await;
}

#[tokio::test]
async fn a_monitor_that_stands_still_is_told_of_and_goes_on() {
    let Some(bench) = Bench::new().await else { return };
    let running = bench.running("m").await;
    signal(running.monitor, "STOP");
    let (machine, other) = (&running.machine, bench.open(&running.dir).await);
    let counters = machine.as_stats().unwrap();
    let asked = async { tokio::join!(machine.state(), other.state(), counters.read()) };
    let (state, seen, counted) = within(PATIENCE, asked).await;
    for error in [state.unwrap_err(), seen.unwrap_err(), counted.unwrap_err()] {
        assert_eq!(error.kind, ErrorKind::Timeout, "{error}");
    }
    assert_eq!(machine.wait(Duration::ZERO).await.unwrap(), None);
    signal(running.monitor, "CONT");
    assert_eq!(machine.state().await.unwrap(), State::Running);
    running.gone().await;
}

#[tokio::test]
async fn what_stands_still_is_killed_all_the_same() {
    let Some(bench) = Bench::new().await else { return };
    let check = async |of_guard: bool, name: &str| {
        let running = bench.running(name).await;
        signal(if of_guard { running.guard } else { running.monitor }, "STOP");
        within(END, running.machine.kill()).await.unwrap();
        assert_eq!(running.machine.wait(PATIENCE).await.unwrap(), Some(Exit::Killed));
        let other = bench.open(&running.dir).await;
        assert_eq!(other.wait(PATIENCE).await.unwrap(), Some(Exit::Killed));
        running.gone().await;
    };
    check(false, "monitor").await;
    check(true, "guard").await;
    let running = bench.running("both").await;
    signal(running.monitor, "STOP");
    signal(running.guard, "STOP");
    running.gone().await;
}

fn signal(pid: u32, name: &str) {
    let kill = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status();
    assert!(kill.unwrap().success());
}

/// Whether a process is there that has not ended.
fn runs(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, fields)| !fields.starts_with(['Z', 'X']))
}

/// The program `microagent-vmm`: where `MICROAGENT_LIBEXEC` says, or where cargo puts it.
fn monitor() -> Option<PathBuf> {
    let named = std::env::var_os("MICROAGENT_LIBEXEC").map(PathBuf::from);
    let exe = std::env::current_exe().unwrap();
    let built = exe.parent().and_then(Path::parent).map(Path::to_owned);
    let places = named.into_iter().chain(built);
    let found = places.map(|dir| dir.join("microagent-vmm")).find(|path| path.is_file());
    found.or_else(|| missing("all", "no microagent-vmm was built beside this test"))
}

/// Nothing, visibly; a failure where `word` is required.
fn missing<T>(word: &str, why: &str) -> Option<T> {
    let required = std::env::var("MICROAGENT_REQUIRE").unwrap_or_default();
    assert!(!required.split(',').any(|r| r.trim() == word), "{word} is required: {why}");
    eprintln!("SKIP: {why}");
    None
}
