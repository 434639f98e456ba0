//! Where machines are made for tests, and what is required for that.

use std::fs;
use std::io::{PipeReader, PipeWriter};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use microagent_backend::{Backend, Exit, Lifetime, Machine, RunDir};
use microagent_machine::{
    Access, Arch, Boot, Cid, DeviceArguments, Disk, DiskId, KernelFormat, MachineSpec, MiB, Vsock,
};
use microagent_qemu::{Accel, QemuBackend, QemuOptions};
use tempfile::TempDir;

use crate::guest;

/// How long anything may take on a busy machine without KVM.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Tools to make machines with, and a directory to make them in.
pub(crate) struct Bench {
    pub(crate) backend: QemuBackend,
    pub(crate) top: TempDir,
    kernel: PathBuf,
    monitor: PathBuf,
}

impl Bench {
    /// A bench for each QEMU at hand; none, with a word why, where something is missing.
    pub(crate) fn all() -> Vec<Bench> {
        let Some(kernel) = named("MICROAGENT_KERNEL", "kernel") else { return Vec::new() };
        let Some(monitor) = monitor() else { return Vec::new() };
        let Some(busybox) = in_path("busybox") else { return Vec::new() };
        let later = std::env::var_os("MICROAGENT_QEMU10").map(PathBuf::from);
        let programs = in_path("qemu-system-x86_64").into_iter().chain(later);
        programs.map(|program| Bench::new(program, &kernel, &monitor, &busybox)).collect()
    }

    fn new(program: PathBuf, kernel: &Path, monitor: &Path, busybox: &Path) -> Self {
        let top = TempDir::new().unwrap();
        guest::initramfs(&top.path().join("initramfs"), busybox);
        let backend = QemuBackend::new(QemuOptions {
            program: Some(program),
            accel: Accel::Tcg,
            monitor: monitor.to_owned(),
            cache_dir: Some(top.path().to_owned()),
            ..QemuOptions::default()
        });
        Bench { backend, top, kernel: kernel.to_owned(), monitor: monitor.to_owned() }
    }

    /// The same tools through another handle, as another process would have.
    pub(crate) fn stranger(&self) -> QemuBackend {
        let monitor = self.monitor.clone();
        QemuBackend::new(QemuOptions { monitor, ..QemuOptions::default() })
    }

    pub(crate) fn spec(&self, what: &str) -> MachineSpec {
        MachineSpec {
            arch: Arch::X86_64,
            vcpus: 1,
            memory: MiB(128),
            disks: Vec::new(),
            vsock: Some(Vsock { cid: Cid::GUEST }),
            net: None,
            rng: true,
            boot: Some(Boot {
                kernel: self.kernel.clone(),
                format: KernelFormat::Vmlinux,
                initramfs: self.top.path().join("initramfs"),
                cmdline: format!("quiet do={what}"),
                device_arguments: DeviceArguments::Unknown,
            }),
        }
    }

    pub(crate) fn disk(&self, id: &str, access: Access) -> Disk {
        let path = self.top.path().join(format!("{id}, with a comma"));
        fs::File::create(&path).unwrap().set_len(1 << 20).unwrap();
        Disk { id: DiskId::new(id).unwrap(), path, access }
    }

    pub(crate) fn dir(&self, name: &str) -> RunDir {
        // Longer than the address of a Unix socket may be.
        RunDir::create(self.top.path().join(format!("{name}-{}", "x".repeat(150)))).unwrap()
    }

    /// Makes a machine that lives as long as the pipe that comes with it.
    pub(crate) async fn attached(
        &self,
        spec: &MachineSpec,
        dir: &RunDir,
    ) -> (Box<dyn Machine>, PipeWriter) {
        let (read, write): (PipeReader, PipeWriter) = std::io::pipe().unwrap();
        let lifetime = Lifetime::Attached { pipe: read.into(), remove: Vec::new() };
        (self.backend.create(spec, dir, lifetime).await.unwrap(), write)
    }
}

/// Starts a machine and waits for its end.
pub(crate) async fn run(machine: &dyn Machine) -> Exit {
    machine.start().await.unwrap();
    machine.wait(PATIENCE).await.unwrap().unwrap_or_else(|| {
        panic!("still runs: {}", String::from_utf8_lossy(&machine.console().last(2000).unwrap()))
    })
}

pub(crate) fn console(machine: &dyn Machine) -> String {
    String::from_utf8_lossy(&machine.console().last(1 << 20).unwrap()).into_owned()
}

/// Waits until the console shows `text`.
pub(crate) async fn shows(machine: &dyn Machine, text: &str) {
    until(&format!("console shows {text:?}"), || console(machine).contains(text)).await;
}

pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The processes of a machine, by role.
pub(crate) async fn pid(machine: &dyn Machine, role: &str) -> u32 {
    let processes = machine.isolation().await.unwrap().processes;
    processes.iter().find(|p| p.role == role).unwrap_or_else(|| panic!("no {role}")).pid
}

pub(crate) async fn pids(machine: &dyn Machine) -> Vec<u32> {
    machine.isolation().await.unwrap().processes.iter().map(|p| p.pid).collect()
}

/// Whether a process is there: one that runs, or a zombie of this process. A zombie whose
/// parent was killed is for init to reap, in its time.
pub(crate) fn exists(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let Some((_, fields)) = stat.rsplit_once(") ") else { return false };
    let mut fields = fields.split(' ');
    fields.next() != Some("Z") || fields.next() == Some(&std::process::id().to_string())
}

pub(crate) fn signal(pid: u32, name: &str) {
    let kill = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status();
    assert!(kill.unwrap().success());
}

fn required(name: &str) -> bool {
    let required = std::env::var("MICROAGENT_REQUIRE").unwrap_or_default();
    required.split(',').any(|r| r.trim() == name || r.trim() == "all")
}

fn missing<T>(name: &str, why: &str) -> Option<T> {
    assert!(!required(name), "{name} is required: {why}");
    eprintln!("SKIP: {why}");
    None
}

fn named(variable: &str, name: &str) -> Option<PathBuf> {
    let path = std::env::var_os(variable).map(PathBuf::from);
    path.or_else(|| missing(name, &format!("{variable} names no {name} to boot")))
}

fn in_path(name: &str) -> Option<PathBuf> {
    let places = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&places).map(|dir| dir.join(name)).find(|p| p.is_file());
    found
        .or_else(|| missing(name.trim_end_matches("-system-x86_64"), &format!("no {name} in PATH")))
}

/// The program `microagent-vmm`: where `MICROAGENT_LIBEXEC` says, or where cargo puts it.
fn monitor() -> Option<PathBuf> {
    let named = std::env::var_os("MICROAGENT_LIBEXEC").map(PathBuf::from);
    let exe = std::env::current_exe().unwrap();
    let built = exe.parent().and_then(Path::parent).map(Path::to_owned);
    let places = named.into_iter().chain(built);
    let found = places.map(|dir| dir.join("microagent-vmm")).find(|path| path.is_file());
    found.or_else(|| missing("microagent-vmm", "no microagent-vmm was built beside this test"))
}
