//! A kernel as a distribution packages it, on the native monitor: it reads of its devices in
//! ACPI tables, since arguments tell it nothing, finds each of them once, and drives them by
//! modules of its own.
//!
//! `MICROAGENT_DISTRIBUTION_KERNEL` names the kernel: a directory with `vmlinuz` and
//! `lib/modules/RELEASE`, as `ci/distribution-kernel` makes one. Without it, or without KVM, the
//! tests say `SKIP: ` and why; `distribution` or `all` in `MICROAGENT_REQUIRE` forbids the one,
//! `kvm` the other.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use microagent_backend::{Backend, ErrorKind, Exit, Lifetime, Machine, RunDir};
use microagent_conformance::{End, Guests, Script, Step};
use microagent_machine::{Access, Arch, Cid, Disk, DiskId, MachineSpec, MiB, Vsock};
use microagent_tests_conformance::{Distribution, runtime, wired};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;
use tokio::time::timeout;

/// Memory of the machines: such a kernel takes more of it than one that is made for them.
const MEMORY: MiB = MiB(256);
/// How long a guest may take from its first instruction to its last, on an emulated processor.
const END_WITHIN: Duration = Duration::from_secs(300);
/// A port of the host, of no meaning.
const PORT: u32 = 7000;
/// Length of a disk, in bytes.
const DISK_LEN: u64 = 16 << 20;

/// Two disks, a socket and a source of entropy, by the numbers of virtio 1.2, section 5.
const DEVICES: &str = "devices=0x0002 0x0002 0x0004 0x0013";

/// What the guests run on and of.
struct Host {
    backend: Arc<dyn Backend>,
    distribution: Distribution,
    scratch: TempDir,
}

/// A guest that has ended.
struct Ended {
    exit: Exit,
    said: String,
}

#[test]
fn every_device_is_found_once_and_driven() {
    every_device(1);
}

#[test]
fn so_it_is_on_two_processors() {
    every_device(2);
}

#[test]
fn a_reboot_is_a_reset_and_boots_once() {
    let Some(host) = Host::get() else { return };
    let script = Script::new([Step::say("booted")], End::Reset);
    let spec = host.spec(&script, 1);
    let ended = runtime().unwrap().block_on(async {
        let (_life, machine) = host.machine(&spec).await;
        machine.start().await.unwrap();
        ended(&*machine).await
    });
    assert_eq!(ended.exit, Exit::Reset);
    ended.said_times("booted", 1);
}

fn every_device(vcpus: u32) {
    let Some(host) = Host::get() else { return };
    let spec = MachineSpec {
        disks: vec![host.root(), host.data()],
        vsock: Some(Vsock { cid: Cid::GUEST }),
        net: None,
        rng: true,
        ..host.spec(&Script::new(steps(), End::PowerOff), vcpus)
    };
    let (ended, heard) = runtime().unwrap().block_on(async {
        let (_life, machine) = host.machine(&spec).await;
        let listener = UnixListener::bind(machine.vsock().listener_path(PORT)).unwrap();
        machine.start().await.unwrap();
        let heard = timeout(END_WITHIN, answer(&listener));
        let (ended, heard) = tokio::join!(ended(&*machine), heard);
        machine.destroy().await.unwrap();
        (ended, heard.ok())
    });
    assert_eq!(ended.exit, Exit::PowerOff);
    ended.said_times("not-loaded", 0);
    ended.said_times("virtio_mmio.device", 0);
    ended.said_times(DEVICES, 1);
    ended.said_times("disk=", 2);
    ended.said_times("disk=root", 1);
    ended.said_times("disk=data", 1);
    ended.said_times(&format!("cpus={vcpus}\r\n"), 1);
    ended.said_times("rng=yes", 1);
    ended.said_times("said-by-the-disk", 1);
    ended.said_times("got=from-the-host", 1);
    assert_eq!(heard.as_deref(), Some("from-the-guest"));
    let data = fs::read(&spec.disks[1].path).unwrap();
    assert!(data.starts_with(b"by-the-guest\0"));
}

/// What the guest does with its devices, until it powers off by what the tables say.
fn steps() -> Vec<Step> {
    let data = DiskId::new("data").unwrap();
    vec![
        Step::shell("cat /proc/cmdline"),
        Step::shell("echo devices=$(cat /sys/bus/virtio/devices/*/device | busybox sort)"),
        Step::shell("for disk in /sys/block/vd*; do echo disk=$(cat $disk/serial); done"),
        Step::CountCpus,
        Step::TryRng,
        Step::shell("mount -t ext4 -o ro $(find_disk root) /mnt"),
        Step::shell("busybox chroot /mnt /bin/busybox cat /greeting"),
        Step::Call { port: PORT, text: "from-the-guest".to_owned() },
        Step::Write { disk: data, text: "by-the-guest".to_owned() },
    ]
}

/// What the one caller sent, who then got an answer.
async fn answer(listener: &UnixListener) -> String {
    let (mut guest, _) = listener.accept().await.unwrap();
    let mut heard = String::new();
    guest.read_to_string(&mut heard).await.unwrap();
    guest.write_all(b"from-the-host").await.unwrap();
    heard
}

async fn ended(machine: &dyn Machine) -> Ended {
    let exit = machine.wait(END_WITHIN).await.unwrap();
    let said = machine.console().last(u64::MAX).unwrap();
    let said = String::from_utf8_lossy(&said).into_owned();
    // Shown with a failure, and with --show-output.
    println!("{said}");
    let exit = exit.unwrap_or_else(|| panic!("runs for more than {END_WITHIN:?}"));
    Ended { exit, said }
}

impl Ended {
    #[track_caller]
    fn said_times(&self, word: &str, expect: usize) {
        assert_eq!(self.said.matches(word).count(), expect, "{word:?}");
    }
}

impl Host {
    /// `None`, and it is said why, where there is none and none is required.
    fn get() -> Option<Self> {
        let kvm = wired().into_iter().find(|wired| wired.name == "kvm").unwrap();
        let backend = kvm.backend.clone().and_then(works);
        let backend = or_skip(backend, kvm.is_required())?;
        let distribution = or_skip(Distribution::named(), Distribution::is_required())?;
        Some(Self { backend, distribution, scratch: tempfile::tempdir().unwrap() })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    fn spec(&self, script: &Script, vcpus: u32) -> MachineSpec {
        let boot = self.distribution.guests.boot(self.scratch.path(), script).unwrap();
        MachineSpec {
            arch: Arch::HOST,
            vcpus,
            memory: MEMORY,
            disks: Vec::new(),
            vsock: None,
            net: None,
            rng: false,
            boot: Some(boot),
        }
    }

    /// A file system with a program in it.
    fn root(&self) -> Disk {
        let tree = self.path("tree");
        fs::create_dir_all(tree.join("bin")).unwrap();
        fs::copy(&self.distribution.busybox, tree.join("bin/busybox")).unwrap();
        fs::write(tree.join("greeting"), "said-by-the-disk\n").unwrap();
        let disk = self.disk("root", Access::ReadOnly);
        mke2fs(&tree, &disk.path);
        disk
    }

    /// A disk of zeroes.
    fn data(&self) -> Disk {
        self.disk("data", Access::ReadWrite)
    }

    fn disk(&self, id: &str, access: Access) -> Disk {
        let path = self.path(&format!("{id}.img"));
        fs::File::create(&path).unwrap().set_len(DISK_LEN).unwrap();
        Disk { id: DiskId::new(id).unwrap(), path, access }
    }

    /// A machine, and the life that it hangs on.
    async fn machine(&self, spec: &MachineSpec) -> (std::io::PipeWriter, Box<dyn Machine>) {
        let (pipe, life) = std::io::pipe().unwrap();
        let lifetime = Lifetime::Attached { pipe: pipe.into(), remove: Vec::new() };
        let dir = RunDir::create(self.path("machine")).unwrap();
        (life, self.backend.create(spec, &dir, lifetime).await.unwrap())
    }
}

fn mke2fs(tree: &Path, image: &Path) {
    let mut command = Command::new("mke2fs");
    command.env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin");
    command.args(["-q", "-F", "-t", "ext4", "-d"]).arg(tree).arg(image);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The backend, or why it cannot be had here.
fn works(backend: Arc<dyn Backend>) -> Result<Arc<dyn Backend>, String> {
    match runtime().unwrap().block_on(backend.probe()) {
        Err(error) if error.kind == ErrorKind::Unavailable => Err(error.to_string()),
        _ => Ok(Arc::clone(&backend)),
    }
}

fn or_skip<T>(wanted: Result<T, String>, required: bool) -> Option<T> {
    match wanted {
        Ok(wanted) => Some(wanted),
        Err(why) if required => panic!("required, and cannot be judged: {why}"),
        Err(why) => {
            eprintln!("SKIP: a distribution's kernel: {why}");
            None
        }
    }
}
