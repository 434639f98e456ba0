//! The root disk: mounted, grown or layered, and switched to.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;

use microagent_guest_protocol::initramfs::ROOT_MOUNT;
use microagent_guest_protocol::{Mount, RootDisk};
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount, mount_move};

use crate::disk::{Disk, Disks};
use crate::failure::SetupError;
use crate::mapper;
use crate::sys::ioctl::resize_ext4;

/// As much as the larger programs of an image take in one piece.
const READ_AHEAD_KIB: &str = "2048";
/// What is mounted before the root disk, and moved there.
const MOUNT_POINTS: [&str; 3] = ["dev", "proc", "sys"];

/// Mounts what is needed to find a disk and to set up a network.
pub(crate) fn mount_early() -> Result<(), SetupError> {
    let flags = MountFlags::NOSUID | MountFlags::NOEXEC | MountFlags::NODEV;
    mount_at("sysfs", "sysfs", "/sys", flags, None)?;
    mount_at("proc", "proc", "/proc", flags, None)?;
    mount_at("devtmpfs", "devtmpfs", "/dev", MountFlags::NOSUID, Some("mode=0755"))
}

/// Mounts the root disk where it is about to become `/`.
pub(crate) fn mount_root(disks: &Disks, root: &RootDisk) -> Result<(), SetupError> {
    match root {
        RootDisk::Plain { disk, grow } => {
            let disk = disks.find(disk)?;
            read_ahead(disk.name());
            mount_ext4(&disk.node(), ROOT_MOUNT, MountFlags::empty())?;
            if *grow {
                grow_to(disk)?;
            }
            Ok(())
        }
        RootDisk::Layered { base, scratch } => {
            let name = mapper::snapshot(disks.find(base)?, disks.find(scratch)?)?;
            read_ahead(name);
            // What is written here is gone with the machine: a journal would only cost.
            let node = format!("/dev/{name}");
            mount_at(&node, "ext4", ROOT_MOUNT, MountFlags::empty(), Some("noload"))
        }
    }
}

/// Has the kernel read more at once of a disk. A request costs far more than its bytes, which
/// mostly come from the host's memory: with the kernel's 128 KiB a first command took 13
/// more requests, and in an emulated guest a fifth more time.
fn read_ahead(device: &str) {
    // Without it everything works as well.
    let _ = fs::write(format!("/sys/block/{device}/queue/read_ahead_kb"), READ_AHEAD_KIB);
}

/// Makes the mounted root disk `/`, with `/dev`, `/proc` and `/sys` in it.
pub(crate) fn switch() -> Result<(), SetupError> {
    std::env::set_current_dir(ROOT_MOUNT).map_err(SetupError::path("enter", ROOT_MOUNT))?;
    for name in MOUNT_POINTS {
        make_mount_point(name)?;
    }
    for name in MOUNT_POINTS {
        let from = format!("/{name}");
        mount_move(&from, name).map_err(SetupError::path("move", from))?;
    }
    mount_move(".", "/").map_err(SetupError::path("move the root to", "/"))?;
    rustix::process::chroot(".").map_err(SetupError::path("change root to", "/"))?;
    std::env::set_current_dir("/").map_err(SetupError::path("enter", "/"))
}

/// Mounts further disks; needs the root to be `/`.
pub(crate) fn mount_disks(disks: &Disks, mounts: &[Mount]) -> Result<(), SetupError> {
    for Mount { disk, target, read_only } in mounts {
        let node = disks.find(disk)?.node();
        fs::create_dir_all(target).map_err(SetupError::path("make", target))?;
        let flags = if *read_only { MountFlags::RDONLY } else { MountFlags::empty() };
        mount_ext4(&node, target, flags)?;
    }
    Ok(())
}

/// Mounts one of the kernel's file systems, or a disk.
pub(crate) fn mount_at(
    source: &str,
    kind: &str,
    target: &str,
    flags: MountFlags,
    options: Option<&str>,
) -> Result<(), SetupError> {
    let options = options.map(|text| {
        std::ffi::CString::new(text).expect("options of this program have no zero bytes")
    });
    mount(source, target, kind, flags, options.as_deref()).map_err(|error| SetupError::Mount {
        what: if source == kind { kind.to_owned() } else { format!("{kind} of {source}") },
        target: target.to_owned(),
        error: error.into(),
        hint: hint(kind, error),
    })
}

fn mount_ext4(node: &str, target: &str, flags: MountFlags) -> Result<(), SetupError> {
    mount_at(node, "ext4", target, flags, None)
}

fn hint(kind: &str, error: Errno) -> &'static str {
    match (kind, error) {
        ("ext4", Errno::NODEV) => "; a kernel needs CONFIG_EXT4_FS",
        ("ext4", Errno::INVAL) => "; the disk holds no ext4, or one of features unknown here",
        ("devtmpfs", Errno::NODEV) => "; a kernel needs CONFIG_DEVTMPFS",
        ("tmpfs", Errno::NODEV) => "; a kernel needs CONFIG_TMPFS",
        ("devpts", Errno::NODEV) => "; a kernel needs CONFIG_UNIX98_PTYS",
        _ => "",
    }
}

/// Images that were never run as containers may lack them.
fn make_mount_point(name: &str) -> Result<(), SetupError> {
    match fs::create_dir(name) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(SetupError::path("make", format!("/{name}"))(error))
        }
        _ => Ok(()),
    }
}

fn grow_to(disk: &Disk) -> Result<(), SetupError> {
    let root = File::open(ROOT_MOUNT).map_err(SetupError::path("open", ROOT_MOUNT))?;
    let status = rustix::fs::fstatvfs(&root).map_err(SetupError::path("examine", ROOT_MOUNT))?;
    let blocks = disk.size()? / status.f_bsize.max(1);
    resize_ext4(root.as_fd(), blocks).map_err(|error| SetupError::Grow { blocks, error })
}
